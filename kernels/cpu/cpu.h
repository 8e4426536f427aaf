/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the CPU backend share: the device, scratch memory, failing, the ops themselves.
 *
 * Results must not depend on the number of threads: work is cut into chunks whose size follows from
 * the shapes alone, every chunk is computed by one thread in one order, and sums are made in fixed
 * lanes. All of it also works with OpenMP left out of the build.
 */
#ifndef MSX_KERNELS_CPU_H
#define MSX_KERNELS_CPU_H

#include "kernels/cpu/paths.h"
#include "kernels/kernels.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#define MSXK_ALIGN 64 /* bytes; one cache line and one AVX-512 register */

struct msx_kdev {
    int threads, precision;
    int path;       /* paths.h */
    int keeps_path; /* it was set: asking for bfloat16 does not change it */
    int panels;     /* of W that a product works on at a time: what the second-level cache holds */
    msxk_memory memory;
    void *scratch; /* grown on demand, kept until close */
    size_t scratch_bytes;
    char error[256];
};

/* Keep a text and return `code`: `return msxk_cpu_fail(dev, MSXK_E_ARG, ...)`. */
int msxk_cpu_fail(msx_kdev *dev, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Aligned memory of the device's allocator; NULL (and the error set) when there is none. */
void *msxk_cpu_alloc(msx_kdev *dev, size_t bytes);
void msxk_cpu_release(msx_kdev *dev, void *memory);

/* `count` areas of `floats` floats each, aligned, for the running op: one per thread, say. They hold
 * garbage and stay valid until the next call. NULL (and the error set) when memory runs out. */
float *msxk_cpu_scratch(msx_kdev *dev, int64_t count, int64_t floats);
/* Distance in floats between two areas of msxk_cpu_scratch. */
static inline int64_t msxk_cpu_area(int64_t floats) {
    return (floats + 15) / 16 * 16;
}

static inline int64_t msxk_cpu_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Index of the running thread inside a parallel region, 0 without OpenMP. */
static inline int msxk_cpu_thread(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* OpenBLAS starts threads of its own unless it is called inside a parallel region of several threads
 * or may use only one. A region of one thread does not count as parallel, so each thread of a region
 * says so for itself; this lasts until the end of the region and touches nothing outside. */
static inline void msxk_cpu_single_blas(void) {
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
}

/* Let the device take a path; MSXK_E_ARG where the processor does not have it. */
int msxk_cpu_set_path(msx_kdev *dev, int path);

/* ---- merging ops (merge_combine.c, merge_ties.c) ---------------------------------------------- */

int msxk_cpu_merge_linear(msx_kdev *dev, float *out, const float *const *x, const double *weight,
                          size_t n_models, int64_t n);
int msxk_cpu_merge_task(msx_kdev *dev, float *out, const float *base, const float *const *x,
                        const double *weight, size_t n_models, double scale, int64_t n);
int msxk_cpu_select_threshold(msx_kdev *dev, const float *base, const float *x, int64_t n,
                              int64_t k, float *threshold, int64_t *ties_kept);
int msxk_cpu_merge_ties(msx_kdev *dev, float *out, const float *base, const float *const *x,
                        const float *threshold, const int64_t *ties_kept, size_t n_models,
                        double scale, int64_t n);
int msxk_cpu_dots(msx_kdev *dev, double out[3], const float *a, const float *b, int64_t n);

#endif
