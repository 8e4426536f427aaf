/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU device: opening, memory, scratch, errors, and the table of all its ops. */
#include "kernels/cpu/ops.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE_PAGE ((size_t)2 << 20)

static void *default_alloc(size_t bytes, void *payload) {
    (void)payload;
    return malloc(bytes);
}

static void default_free(void *memory, void *payload) {
    (void)payload;
    free(memory);
}

int msxk_cpu_fail(msx_kdev *dev, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(dev->error, sizeof dev->error, format, args);
    va_end(args);
    return code;
}

/* Products walk through panels and rows that are many pages apart: large pages, where the system has them
 * to give, are 2 to 5 % of an encoder's time. Advice only: it may fail. */
static void prefer_large_pages(char *block, size_t bytes) {
#ifdef MADV_HUGEPAGE
    if (bytes >= LARGE_PAGE) madvise(block, bytes / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#else
    (void)block, (void)bytes;
#endif
}

/* The pointer that the allocator gave stands right before the aligned block. */
void *msxk_cpu_alloc(msx_kdev *dev, size_t bytes) {
    size_t total, align = bytes >= LARGE_PAGE ? LARGE_PAGE : MSXK_ALIGN;
    char *raw = NULL;
    if (!__builtin_add_overflow(bytes, align + sizeof(void *), &total) && total <= PTRDIFF_MAX)
        raw = dev->memory.alloc(total, dev->memory.payload);
    if (!raw) {
        msxk_cpu_fail(dev, MSXK_E_NOMEM, "out of memory: %zu bytes", bytes);
        return NULL;
    }
    uintptr_t address = (uintptr_t)raw + sizeof(void *);
    char *block = raw + sizeof(void *) + (align - address % align) % align;
    memcpy(block - sizeof(void *), &raw, sizeof raw);
    prefer_large_pages(block, bytes);
    return block;
}

void msxk_cpu_release(msx_kdev *dev, void *memory) {
    if (!memory) return;
    void *raw;
    memcpy(&raw, (char *)memory - sizeof(void *), sizeof raw);
    dev->memory.free(raw, dev->memory.payload);
}

float *msxk_cpu_scratch(msx_kdev *dev, int64_t count, int64_t floats) {
    size_t bytes;
    if (__builtin_mul_overflow((size_t)count, (size_t)msxk_cpu_area(floats) * sizeof(float),
                               &bytes))
        bytes = SIZE_MAX;
    if (bytes > dev->scratch_bytes || !dev->scratch) {
        void *larger = msxk_cpu_alloc(dev, bytes);
        if (!larger) return NULL;
        msxk_cpu_release(dev, dev->scratch);
        dev->scratch = larger;
        dev->scratch_bytes = bytes;
    }
    return dev->scratch;
}

/* Panels of 32 columns and 768 words, 96 KB, beside what else is there. */
static int panels_of_cache(void) {
#ifdef _SC_LEVEL2_CACHE_SIZE
    if (sysconf(_SC_LEVEL2_CACHE_SIZE) >= 2 << 20) return 12;
#endif
    return 8;
}

static int cpu_open(msx_kdev **out, int index, int threads, const msxk_memory *memory) {
    (void)index;
    *out = NULL;
    msxk_memory m = {default_alloc, default_free, NULL};
    if (memory && memory->alloc) m = *memory;
    msx_kdev *dev = m.alloc(sizeof *dev, m.payload);
    if (!dev) return MSXK_E_NOMEM;
    memset(dev, 0, sizeof *dev);
    dev->memory = m;
    dev->threads = threads < 1 ? 1 : threads;
    dev->panels = panels_of_cache();
    int best = msxk_cpu_best_path();
    dev->path = best == MSXK_AMX ? MSXK_AVX512BF16 : best; /* until bfloat16 is asked for */
    *out = dev;
    return MSXK_OK;
}

static void cpu_close(msx_kdev *dev) {
    if (!dev) return;
    msxk_cpu_release(dev, dev->scratch);
    dev->memory.free(dev, dev->memory.payload);
}

static const char *cpu_error(const msx_kdev *dev) {
    return dev->error;
}

static void cpu_set_threads(msx_kdev *dev, int threads) {
    dev->threads = threads < 1 ? 1 : threads;
}

int msxk_cpu_set_path(msx_kdev *dev, int path) {
    if (path < MSXK_PLAIN || path > msxk_cpu_best_path() ||
        (path == MSXK_AMX && !msxk_cpu_ask_amx()))
        return msxk_cpu_fail(dev, MSXK_E_ARG, "this processor has no such path");
    dev->path = path;
    dev->keeps_path = 1;
    return MSXK_OK;
}

static int cpu_set_precision(msx_kdev *dev, int precision) {
    if (precision != MSXK_FP32 && precision != MSXK_BF16)
        return msxk_cpu_fail(dev, MSXK_E_ARG, "it computes in fp32 and bf16");
    dev->precision = precision;
    if (precision == MSXK_BF16 && !dev->keeps_path && msxk_cpu_best_path() == MSXK_AMX &&
        msxk_cpu_ask_amx())
        dev->path = MSXK_AMX;
    return MSXK_OK;
}

/* Nothing is recorded: the calls themselves are all there is. */
static int cpu_begin(msx_kdev *dev, const void *key, size_t bytes) {
    (void)dev, (void)key, (void)bytes;
    return 0;
}

static int cpu_end(msx_kdev *dev, int complete) {
    (void)dev, (void)complete;
    return MSXK_OK;
}

static int cpu_alloc(msx_kdev *dev, void **out, size_t bytes) {
    *out = msxk_cpu_alloc(dev, bytes);
    return *out ? MSXK_OK : MSXK_E_NOMEM;
}

/* Host and device memory are the same here: all three transfers are one copy. */
static int cpu_copy(msx_kdev *dev, void *dst, const void *src, size_t bytes) {
    (void)dev;
    if (bytes && dst != src) memmove(dst, src, bytes);
    return MSXK_OK;
}

static int cpu_sync(msx_kdev *dev) {
    (void)dev;
    return MSXK_OK;
}

const msx_kernels msxk_cpu = {
    .struct_size = sizeof(msx_kernels),
    .version = MSXK_VERSION,
    .name = "cpu",

    .open = cpu_open,
    .close = cpu_close,
    .error = cpu_error,
    .set_threads = cpu_set_threads,
    .alloc = cpu_alloc,
    .release = msxk_cpu_release,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .sync = cpu_sync,
    .host_memory = 1,
    .set_precision = cpu_set_precision,
    .begin = cpu_begin,
    .end = cpu_end,

    /* forward pass */
    .gemm = msxk_cpu_gemm,
    .layer_norm = msxk_cpu_layer_norm,
    .patchify = msxk_cpu_patchify,
    .add_rows = msxk_cpu_add_rows,
    .attention = msxk_cpu_attention,
    .narrow = msxk_cpu_narrow,
    .layer_norm_low = msxk_cpu_layer_norm_low,
    .patchify_low = msxk_cpu_patchify_low,
    .im2col3_low = msxk_cpu_im2col3_low,
    .im2col3 = msxk_cpu_im2col3,
    .transpose = msxk_cpu_transpose,
    .cross = msxk_cpu_cross,
    .two_way = msxk_cpu_two_way,
    .masks = msxk_cpu_masks,
    .gather_add = msxk_cpu_gather_add,
    .shuffle2 = msxk_cpu_shuffle2,
    .unshuffle2 = msxk_cpu_unshuffle2,

    /* post-processing */
    .bilinear = msxk_cpu_bilinear,
    .sigmoid = msxk_cpu_sigmoid,
    .threshold = msxk_cpu_threshold,
    .overlap = msxk_cpu_overlap,

    /* merging */
    .merge_linear = msxk_cpu_merge_linear,
    .merge_task = msxk_cpu_merge_task,
    .select_threshold = msxk_cpu_select_threshold,
    .merge_ties = msxk_cpu_merge_ties,
    .dots = msxk_cpu_dots,
};
