/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device: opening, errors, transfers, and the table of all its ops. */
#include "kernels/cuda/cuda.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *default_alloc(size_t bytes, void *) {
    return malloc(bytes);
}
static void default_free(void *memory, void *) {
    free(memory);
}

int msxk_cuda_fail(msx_kdev *dev, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(dev->error, sizeof dev->error, format, args);
    va_end(args);
    return code;
}

int msxk_cuda_check(msx_kdev *dev, cudaError_t error, const char *what) {
    if (error == cudaSuccess) return MSXK_OK;
    cudaGetLastError(); /* an error that is not sticky must not be met again by the next call */
    return msxk_cuda_fail(dev, error == cudaErrorMemoryAllocation ? MSXK_E_NOMEM : MSXK_E_DEVICE,
                          "%s: %s", what, cudaGetErrorString(error));
}

void *msxk_cuda_host_alloc(msx_kdev *dev, size_t bytes) {
    void *memory = dev->host.alloc(bytes ? bytes : 1, dev->host.payload);
    if (!memory) msxk_cuda_fail(dev, MSXK_E_NOMEM, "out of memory: %zu bytes on the host", bytes);
    return memory;
}

int msxk_cuda_scratch(msx_kdev *dev, int which, size_t bytes, void **out) {
    if (bytes > dev->scratch_bytes[which]) {
        if (dev->recording)
            return msxk_cuda_fail(dev, MSXK_E_DEVICE, "memory is asked for inside of a recording");
        msxk_cuda_forget_graphs(dev); /* they know the old address */
        msxk_cuda_release(dev, dev->scratch[which]);
        dev->scratch[which] = NULL;
        dev->scratch_bytes[which] = 0;
        MSXK_RETURN_IF(msxk_cuda_alloc(dev, &dev->scratch[which], bytes));
        dev->scratch_bytes[which] = bytes;
    }
    *out = dev->scratch[which];
    return MSXK_OK;
}

int msxk_cuda_allow_shared(msx_kdev *dev, const void *kernel, size_t bytes) {
    if (bytes <= 48 << 10) return MSXK_OK; /* what every kernel may have */
    if (bytes > (size_t)dev->shared_limit)
        return msxk_cuda_fail(dev, MSXK_E_DEVICE,
                              "a kernel needs %zu bytes of shared memory, the GPU has %d", bytes,
                              dev->shared_limit);
    return msxk_cuda_check(
        dev, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
        "cudaFuncSetAttribute");
}

static int start(msx_kdev *dev) {
    int count = 0, major = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver)
        return msxk_cuda_fail(dev, MSXK_E_DEVICE,
                              "there is no NVIDIA driver, or one that is too old for this plug-in");
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
        return msxk_cuda_fail(dev, MSXK_E_DEVICE, "there is no NVIDIA GPU");
    MSXK_RETURN_IF(msxk_cuda_check(dev, error, "looking for GPUs"));
    if (dev->index >= count)
        return msxk_cuda_fail(dev, MSXK_E_DEVICE, "there are %d GPUs, numbered from 0", count);
    MSXK_RETURN_IF(msxk_cuda_check(dev, cudaSetDevice(dev->index), "cudaSetDevice"));
    const struct {
        int *to;
        cudaDeviceAttr attribute;
    } attributes[] = {{&major, cudaDevAttrComputeCapabilityMajor},
                      {&dev->shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin},
                      {&dev->processors, cudaDevAttrMultiProcessorCount}};
    for (const auto &a : attributes)
        MSXK_RETURN_IF(msxk_cuda_check(dev, cudaDeviceGetAttribute(a.to, a.attribute, dev->index),
                                       "cudaDeviceGetAttribute"));
    if (major < 8)
        return msxk_cuda_fail(dev, MSXK_E_DEVICE,
                              "the GPU has compute capability %d.x; 8.0 is the least", major);
    MSXK_RETURN_IF(msxk_cuda_check(
        dev, cudaStreamCreateWithFlags(&dev->stream, cudaStreamNonBlocking), "cudaStreamCreate"));
    if (cublasLtCreate(&dev->blas) != CUBLAS_STATUS_SUCCESS)
        return msxk_cuda_fail(dev, MSXK_E_DEVICE, "cuBLASLt cannot be started");
    return msxk_cuda_make_plans(dev);
}

static int cuda_open(msx_kdev **out, int index, int, const msxk_memory *memory) {
    *out = NULL;
    msxk_memory m = {default_alloc, default_free, NULL};
    if (memory && memory->alloc) m = *memory;
    msx_kdev *dev = static_cast<msx_kdev *>(m.alloc(sizeof *dev, m.payload));
    if (!dev) return MSXK_E_NOMEM;
    memset(dev, 0, sizeof *dev);
    dev->host = m;
    dev->index = index;
    *out = dev;
    return start(dev);
}

static void cuda_close(msx_kdev *dev) {
    if (!dev) return;
    if (dev->stream) {
        cudaSetDevice(dev->index);
        cudaStreamSynchronize(dev->stream);
        msxk_cuda_forget_graphs(dev);
        msxk_cuda_forget_plans(dev);
        msxk_cuda_trim(dev, true);
        if (dev->blas) cublasLtDestroy(dev->blas);
        cudaStreamDestroy(dev->stream);
    }
    if (dev->blocks) dev->host.free(dev->blocks, dev->host.payload);
    dev->host.free(dev, dev->host.payload);
}

static const char *cuda_error(const msx_kdev *dev) {
    return dev->error;
}

/* The host's threads have nothing to do here. */
static void cuda_set_threads(msx_kdev *, int) {
}

static int cuda_set_precision(msx_kdev *dev, int precision) {
    if (precision < MSXK_FP32 || precision > MSXK_BF16)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "it computes in fp32, tf32, fp16 and bf16");
    dev->precision = precision;
    return MSXK_OK;
}

static int cuda_set_budget(msx_kdev *dev, size_t bytes) {
    dev->budget = bytes;
    return MSXK_OK;
}

static void cuda_usage(const msx_kdev *dev, size_t bytes[2]) {
    bytes[0] = dev->used;
    bytes[1] = dev->peak;
}

static int cuda_sync(msx_kdev *dev) {
    return msxk_cuda_check(dev, cudaStreamSynchronize(dev->stream), "waiting for the GPU");
}

/* The host's memory is pageable: it has been read when cudaMemcpyAsync returns, and may change. */
static int cuda_upload(msx_kdev *dev, void *dst, const void *host, size_t bytes) {
    if (!bytes) return MSXK_OK;
    return msxk_cuda_check(
        dev, cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, dev->stream), "upload");
}

int msxk_cuda_download(msx_kdev *dev, void *host, const void *src, size_t bytes) {
    if (!bytes) return MSXK_OK;
    MSXK_RETURN_IF(msxk_cuda_check(
        dev, cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, dev->stream), "download"));
    return cuda_sync(dev);
}

static int cuda_copy(msx_kdev *dev, void *dst, const void *src, size_t bytes) {
    if (!bytes || dst == src) return MSXK_OK;
    return msxk_cuda_check(
        dev, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, dev->stream), "copy");
}

/* A thread works on one GPU at a time, and which one is the thread's state, so every op says it anew;
 * this costs nothing where it does not change. */
template <auto OP> struct on_device;
template <class... ARGS, int (*OP)(msx_kdev *, ARGS...)> struct on_device<OP> {
    static int run(msx_kdev *dev, ARGS... args) {
        MSXK_RETURN_IF(msxk_cuda_check(dev, cudaSetDevice(dev->index), "cudaSetDevice"));
        return OP(dev, args...);
    }
};

static void cuda_release(msx_kdev *dev, void *memory) {
    cudaSetDevice(dev->index);
    msxk_cuda_release(dev, memory);
}

#define OP(name) on_device<msxk_cuda_##name>::run

extern "C" __attribute__((visibility("default"))) const msx_kernels msxk_cuda;
const msx_kernels msxk_cuda = {
    .struct_size = sizeof(msx_kernels),
    .version = MSXK_VERSION,
    .name = "cuda",

    .open = cuda_open,
    .close = cuda_close,
    .error = cuda_error,
    .set_threads = cuda_set_threads,
    .alloc = OP(alloc),
    .release = cuda_release,
    .upload = on_device<cuda_upload>::run,
    .download = OP(download),
    .copy = on_device<cuda_copy>::run,
    .sync = on_device<cuda_sync>::run,
    .host_memory = 0,
    .set_budget = cuda_set_budget,
    .usage = cuda_usage,
    .set_precision = cuda_set_precision,
    .begin = OP(begin),
    .end = OP(end),

    /* preprocessing */
    .prepare_longest = OP(prepare_longest),
    .prepare_square = OP(prepare_square),

    /* forward pass */
    .gemm = OP(gemm),
    .layer_norm = OP(layer_norm),
    .patchify = OP(patchify),
    .add_rows = OP(add_rows),
    .attention = OP(attention),
    .narrow = OP(narrow),
    .layer_norm_low = OP(layer_norm_low),
    .patchify_low = OP(patchify_low),
    .im2col3_low = OP(im2col3_low),
    .im2col3 = OP(im2col3),
    .transpose = OP(transpose),
    .cross = OP(cross),
    .two_way = NULL, /* the steps one by one */
    .masks = NULL,
    .gather_add = OP(gather_add),
    .shuffle2 = OP(shuffle2),
    .unshuffle2 = OP(unshuffle2),

    /* post-processing */
    .bilinear = OP(bilinear),
    .sigmoid = OP(sigmoid),
    .threshold = OP(threshold),
    .overlap = OP(overlap),
    .count_objects = OP(count_objects),

    /* merging */
    .merge_linear = OP(merge_linear),
    .merge_task = OP(merge_task),
    .select_threshold = OP(select_threshold),
    .merge_ties = OP(merge_ties),
    .merge_ties_top = OP(merge_ties_top),
    .dots = OP(dots),
};
