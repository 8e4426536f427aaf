/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the CUDA backend share: the device, launching, failing, memory.
 *
 * One msx_kdev is one stream of one GPU with its own cuBLASLt handle, memory and scratch; nothing is
 * global, so handles do not know of each other. Kernels handle any size (tails, no rows), use float32
 * for sums and never fast-math. The same sources are compiled by nvcc and, for tests, by the host's
 * C++ compiler against an emulation of CUDA (tests/cuda_on_cpu): kernels are therefore launched by
 * MSXK_LAUNCH alone, find their shared memory by MSXK_SHARED and reach special instructions through
 * instructions.h.
 */
#ifndef MSX_KERNELS_CUDA_H
#define MSX_KERNELS_CUDA_H

#include "kernels/kernels.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

/* One allocation of the device, in use or kept for the next one. (memory.cu) */
struct msxk_block {
    void *memory;
    size_t bytes;
    bool used;
};

/* Calls that were made before under one key. (graph.cu) */
struct msxk_graph;

/* What cuBLASLt needs to repeat a product of one shape. (gemm.cu) */
struct msxk_gemm_plan;

/* Who uses which scratch area: an op and what it calls must not share one. */
enum {
    MSXK_SCRATCH_OP,
    MSXK_SCRATCH_GEMM,
    MSXK_SCRATCH_BIAS,
    MSXK_SCRATCH_SELECT, /* of merge_ties.cu alone: holds state between ops */
    MSXK_SCRATCHES
};

struct msx_kdev {
    int index; /* of the GPU */
    int precision;
    int shared_limit; /* bytes of shared memory that a block may have */
    int processors;
    msxk_memory host;
    cudaStream_t stream;

    msxk_block *blocks;
    size_t n_blocks, block_capacity;
    size_t used, kept, peak, budget; /* bytes; budget 0: what the GPU has */

    void *scratch[MSXK_SCRATCHES]; /* grown on demand, kept until close */
    size_t scratch_bytes[MSXK_SCRATCHES];

    msxk_graph *graphs; /* of MSXK_GRAPHS */
    size_t next_graph;
    msxk_graph *recording; /* between begin and end */

    cublasLtHandle_t blas;
    msxk_gemm_plan *plans;
    size_t n_plans, next_plan;

    char error[256];
};

/* ---- device.cu, memory.cu ---------------------------------------------------------------------- */

/* Keep a text and return `code`. */
int msxk_cuda_fail(msx_kdev *dev, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* MSXK_OK, or the text of a CUDA error kept and its code returned. */
int msxk_cuda_check(msx_kdev *dev, cudaError_t error, const char *what);

int msxk_cuda_alloc(msx_kdev *dev, void **out, size_t bytes);
void msxk_cuda_release(msx_kdev *dev, void *memory);
/* Everything that is kept for later goes back to the GPU; all of it with `used`. */
void msxk_cuda_trim(msx_kdev *dev, bool used);

/* At least `bytes` of scratch area `which`, valid until its next call. */
int msxk_cuda_scratch(msx_kdev *dev, int which, size_t bytes, void **out);

int msxk_cuda_download(msx_kdev *dev, void *host, const void *src, size_t bytes);

/* Host memory of the device's allocator. */
void *msxk_cuda_host_alloc(msx_kdev *dev, size_t bytes);

/* Let blocks of `kernel` have `bytes` of shared memory. */
int msxk_cuda_allow_shared(msx_kdev *dev, const void *kernel, size_t bytes);

int msxk_cuda_make_plans(msx_kdev *dev);
void msxk_cuda_forget_plans(msx_kdev *dev);

int msxk_cuda_begin(msx_kdev *dev, const void *key, size_t bytes);
int msxk_cuda_end(msx_kdev *dev, int complete);
/* Recordings know addresses: they go when one of those is given up. */
void msxk_cuda_forget_graphs(msx_kdev *dev);

#define MSXK_RETURN_IF(call)                                                                       \
    do {                                                                                           \
        int msxk_code = (call);                                                                    \
        if (msxk_code != MSXK_OK) return msxk_code;                                                \
    } while (0)

/* ---- launching --------------------------------------------------------------------------------- */

#ifdef __CUDACC__
/* kernel<<<grid, block, shared bytes>>>(...) on the device's stream; MSXK_OK or an error. */
/* clang-format off */
#define MSXK_LAUNCH(dev, kernel, grid, block, shared, ...)                                         \
    ((kernel)<<<(grid), (block), (shared), (dev)->stream>>>(__VA_ARGS__),                          \
     msxk_cuda_check(dev, cudaGetLastError(), #kernel))
/* clang-format on */
/* `name`: the block's dynamic shared memory. */
#define MSXK_SHARED(type, name)                                                                    \
    extern __shared__ __align__(16) unsigned char msxk_shared_memory[];                            \
    type *name = reinterpret_cast<type *>(msxk_shared_memory)
#else
#define MSXK_LAUNCH(dev, kernel, grid, block, shared, ...)                                         \
    (on_cpu::launch(grid, block, shared, (dev)->stream, kernel, __VA_ARGS__),                      \
     msxk_cuda_check(dev, cudaGetLastError(), #kernel))
#define MSXK_SHARED(type, name) type *name = static_cast<type *>(on_cpu::shared_memory())
#endif

/* Blocks of `each` items that cover n. */
static inline unsigned msxk_cuda_blocks(int64_t n, int64_t each) {
    return (unsigned)((n + each - 1) / each);
}

/* ---- what kernels share ------------------------------------------------------------------------ */

/* Index of the thread in a grid of one dimension. */
static __device__ __forceinline__ int64_t msxk_thread(void) {
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* WIDTH neighbours, read and written as one vector. */
template <class T, int WIDTH> struct alignas(WIDTH * sizeof(T)) msxk_run { T x[WIDTH]; };

/* Whether runs of `width` elements of `size` bytes may be read at all of these addresses, or'ed together,
 * and cover n of them. */
static inline bool msxk_is_wide(uintptr_t addresses, int64_t n, int width, size_t size) {
    return n % width == 0 && addresses % ((size_t)width * size) == 0;
}

/* 32-bit divisions cost a quarter of 64-bit ones: kernels that find their place by dividing an index do so
 * in 32 bits where all indices fit. */
static inline bool msxk_is_small(int64_t n) {
    return n < (int64_t)1 << 31;
}

/* x * Phi(x): the exact GELU, without the cancellation of 1 + erf in the negative tail. */
static __device__ __forceinline__ float msxk_gelu(float x) {
    return x * normcdff(x);
}

static __device__ __forceinline__ float msxk_activate(float x, int act) {
    if (act == MSXK_ACT_GELU) return msxk_gelu(x);
    return act == MSXK_ACT_RELU ? fmaxf(x, 0.0f) : x;
}

static __device__ __forceinline__ float msxk_warp_sum(float x) {
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

/* ---- ops, one line a slot of the table; shapes and contracts: kernels.h ------------------------- */

int msxk_cuda_prepare_longest(msx_kdev *dev, float *input, const msxk_longest *p);
int msxk_cuda_prepare_square(msx_kdev *dev, float *input, const msxk_square *p);

int msxk_cuda_gemm(msx_kdev *dev, const msxk_gemm *g);

int msxk_cuda_layer_norm(msx_kdev *dev, float *y, const float *x, const float *w, const float *b,
                         int64_t rows, int64_t cols, float eps, int act);
int msxk_cuda_layer_norm_low(msx_kdev *dev, msxk_low *y, const float *x, const float *w,
                             const float *b, int64_t rows, int64_t cols, float eps, int act);

int msxk_cuda_attention(msx_kdev *dev, const msxk_attention *a);
int msxk_cuda_attention_low(msx_kdev *dev, const msxk_attention *a);
int msxk_cuda_cross(msx_kdev *dev, const msxk_cross *c);

int msxk_cuda_narrow(msx_kdev *dev, msxk_low *y, const float *x, int64_t n);
int msxk_cuda_patchify(msx_kdev *dev, float *rows, const float *image, int64_t batch, int64_t grid,
                       int64_t patch);
int msxk_cuda_patchify_low(msx_kdev *dev, msxk_low *rows, const float *image, int64_t batch,
                           int64_t grid, int64_t patch);
int msxk_cuda_add_rows(msx_kdev *dev, float *y, const float *x, const float *add, int64_t batch,
                       int64_t n);
int msxk_cuda_im2col3(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t grid,
                      int64_t channels);
int msxk_cuda_im2col3_low(msx_kdev *dev, msxk_low *rows, const msxk_low *x, int64_t batch,
                          int64_t grid, int64_t channels);
int msxk_cuda_transpose(msx_kdev *dev, float *y, const float *x, int64_t batch, int64_t rows,
                        int64_t cols);
int msxk_cuda_gather_add(msx_kdev *dev, float *y, const float *x, const int64_t *index,
                         const float *add, int add_per_prompt, int64_t prompts, int64_t n);
int msxk_cuda_shuffle2(msx_kdev *dev, float *out, const float *in, const float *bias, int64_t batch,
                       int64_t h, int64_t w, int64_t channels, int act);
int msxk_cuda_unshuffle2(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t h,
                         int64_t w, int64_t channels);

int msxk_cuda_bilinear(msx_kdev *dev, float *out, const float *in, int64_t n, int64_t in_h,
                       int64_t in_w, int64_t crop_h, int64_t crop_w, int64_t out_h, int64_t out_w);
int msxk_cuda_sigmoid(msx_kdev *dev, float *y, const float *x, int64_t n);
int msxk_cuda_threshold(msx_kdev *dev, uint8_t *mask, const float *x, int64_t n, float threshold);
int msxk_cuda_overlap(msx_kdev *dev, int64_t counts[4], const uint8_t *reference,
                      const uint8_t *prediction, int64_t n);
int msxk_cuda_count_objects(msx_kdev *dev, int64_t (*counts)[5], const msxk_object *objects,
                            int64_t n, int64_t side, int64_t middle);

int msxk_cuda_merge_linear(msx_kdev *dev, float *out, const float *const *x, const double *weight,
                           size_t n_models, int64_t n);
int msxk_cuda_merge_task(msx_kdev *dev, float *out, const float *base, const float *const *x,
                         const double *weight, size_t n_models, double scale, int64_t n);
int msxk_cuda_select_threshold(msx_kdev *dev, const float *base, const float *x, int64_t n,
                               int64_t k, float *threshold, int64_t *ties_kept);
int msxk_cuda_merge_ties(msx_kdev *dev, float *out, const float *base, const float *const *x,
                         const float *threshold, const int64_t *ties_kept, size_t n_models,
                         double scale, int64_t n);
int msxk_cuda_merge_ties_top(msx_kdev *dev, float *out, const float *base, const float *const *x,
                             size_t n_models, int64_t k, double scale, int64_t n);
int msxk_cuda_dots(msx_kdev *dev, double out[3], const float *a, const float *b, int64_t n);

#endif
