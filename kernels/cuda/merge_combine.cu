/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weighted sums of models and of task vectors, and the dot products of SLERP. Every operation is rounded
 * on its own and added in the order of kernels/cpu/merge_combine.c, so a merge has the same bits on
 * every backend. Limit: memory bandwidth.
 */
#include "kernels/cuda/merge.h"

#define THREADS 256

/* Element blocks and lanes of the dot products' sums; those of the CPU. */
#define DOT_BLOCK   4096
#define DOT_LANES   8
#define DOT_THREADS 32 /* few lanes: the smaller the blocks, the more multiprocessors have one */

/* WIDTH neighbours, read and written as one vector. */
template <int WIDTH> struct alignas(WIDTH * sizeof(float)) run_of { float x[WIDTH]; };

template <int WIDTH> static __global__ void linear_kernel(float *out, msxk_models m, int64_t n) {
    typedef run_of<WIDTH> run;
    int64_t i = msxk_thread();
    if (i >= n) return;
    run sum = {};
    for (int k = 0; k < m.n; k++) {
        run x = reinterpret_cast<const run *>(m.x[k])[i];
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            float product = __fmul_rn(m.weight[k], x.x[j]);
            sum.x[j] = k ? __fadd_rn(sum.x[j], product) : product;
        }
    }
    reinterpret_cast<run *>(out)[i] = sum;
}

template <int WIDTH>
static __global__ void task_kernel(float *out, const float *base, msxk_models m, float scale,
                                   int64_t n) {
    typedef run_of<WIDTH> run;
    int64_t i = msxk_thread();
    if (i >= n) return;
    run start = reinterpret_cast<const run *>(base)[i], sum = {};
    for (int k = 0; k < m.n; k++) {
        run x = reinterpret_cast<const run *>(m.x[k])[i];
#pragma unroll
        for (int j = 0; j < WIDTH; j++)
            sum.x[j] = __fadd_rn(sum.x[j], __fmul_rn(m.weight[k], __fsub_rn(x.x[j], start.x[j])));
    }
#pragma unroll
    for (int j = 0; j < WIDTH; j++) start.x[j] = __fadd_rn(start.x[j], __fmul_rn(scale, sum.x[j]));
    reinterpret_cast<run *>(out)[i] = start;
}

/* Whether n elements of all of these may be read four at a time. */
static bool are_wide(const float *out, const float *base, const msxk_models &m, int64_t n) {
    uintptr_t all = (uintptr_t)out | (uintptr_t)base;
    for (int k = 0; k < m.n; k++) all |= (uintptr_t)m.x[k];
    return n % 4 == 0 && all % 16 == 0;
}

int msxk_cuda_merge_linear(msx_kdev *dev, float *out, const float *const *x, const double *weight,
                           size_t n_models, int64_t n) {
    msxk_models m;
    MSXK_RETURN_IF(msxk_cuda_models(dev, &m, x, weight, n_models));
    if (n <= 0) return MSXK_OK;
    if (are_wide(out, NULL, m, n))
        return MSXK_LAUNCH(dev, linear_kernel<4>, msxk_cuda_blocks(n / 4, THREADS), THREADS, 0, out,
                           m, n / 4);
    return MSXK_LAUNCH(dev, linear_kernel<1>, msxk_cuda_blocks(n, THREADS), THREADS, 0, out, m, n);
}

int msxk_cuda_merge_task(msx_kdev *dev, float *out, const float *base, const float *const *x,
                         const double *weight, size_t n_models, double scale, int64_t n) {
    msxk_models m;
    MSXK_RETURN_IF(msxk_cuda_models(dev, &m, x, weight, n_models));
    if (n <= 0) return MSXK_OK;
    if (are_wide(out, base, m, n))
        return MSXK_LAUNCH(dev, task_kernel<4>, msxk_cuda_blocks(n / 4, THREADS), THREADS, 0, out,
                           base, m, (float)scale, n / 4);
    return MSXK_LAUNCH(dev, task_kernel<1>, msxk_cuda_blocks(n, THREADS), THREADS, 0, out, base, m,
                       (float)scale, n);
}

/* One thread adds one lane of one block; products of two floats are exact in double. sums (blocks,
 * lanes, 3) */
static __global__ void dots_kernel(double *sums, const float *a, const float *b, int64_t n,
                                   int64_t lanes) {
    int64_t i = msxk_thread();
    if (i >= lanes) return;
    int64_t first = i / DOT_LANES * DOT_BLOCK;
    int64_t last = first + DOT_BLOCK < n ? first + DOT_BLOCK : n;
    double aa = 0, ab = 0, bb = 0;
    for (int64_t k = first + i % DOT_LANES; k < last; k += DOT_LANES) {
        double u = a[k], v = b[k];
        aa += u * u;
        ab += u * v;
        bb += v * v;
    }
    sums[3 * i] = aa;
    sums[3 * i + 1] = ab;
    sums[3 * i + 2] = bb;
}

/* The last additions are the host's, in order: a few thousand at most. */
int msxk_cuda_dots(msx_kdev *dev, double out[3], const float *a, const float *b, int64_t n) {
    out[0] = out[1] = out[2] = 0;
    if (n <= 0) return MSXK_OK;
    int64_t blocks = (n + DOT_BLOCK - 1) / DOT_BLOCK, lanes = blocks * DOT_LANES;
    size_t bytes = (size_t)lanes * 3 * sizeof(double);
    void *memory;
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_OP, bytes, &memory));
    double *host = static_cast<double *>(msxk_cuda_host_alloc(dev, bytes));
    if (!host) return MSXK_E_NOMEM;
    int code = MSXK_LAUNCH(dev, dots_kernel, msxk_cuda_blocks(lanes, DOT_THREADS), DOT_THREADS, 0,
                           static_cast<double *>(memory), a, b, n, lanes);
    if (code == MSXK_OK) code = msxk_cuda_download(dev, host, memory, bytes);
    for (int64_t block = 0; block < blocks && code == MSXK_OK; block++)
        for (int c = 0; c < 3; c++) {
            const double *lane = host + block * DOT_LANES * 3 + c;
            double sum = lane[0];
            for (int l = 1; l < DOT_LANES; l++) sum += lane[3 * l];
            out[c] += sum;
        }
    dev->host.free(host, dev->host.payload);
    return code;
}
