/* SPDX-License-Identifier: Apache-2.0 */
/* Weighted sums of models and of task vectors, and the dot products of SLERP. */
#include "kernels/cpu/cpu.h"

enum { BLOCK = 4096, LANES = 8 };

/* The weights, rounded once. */
static float *round_weights(msx_kdev *dev, const double *weight, size_t n) {
    float *w = msxk_cpu_scratch(dev, 1, (int64_t)n);
    for (size_t m = 0; w && m < n; m++) w[m] = (float)weight[m];
    return w;
}

MSXK_INLINE void linear_block(float *restrict out, const float *const *x, const float *w,
                              size_t n_models, int64_t begin, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = n_models ? w[0] * x[0][begin + i] : 0;
    for (size_t m = 1; m < n_models; m++) {
        const float *xm = x[m] + begin;
        for (int64_t i = 0; i < n; i++) out[i] += w[m] * xm[i];
    }
}
MSXK_VARIANTS(void, linear_block,
              (float *restrict out, const float *const *x, const float *w, size_t n_models,
               int64_t begin, int64_t n),
              (out, x, w, n_models, begin, n));

int msxk_cpu_merge_linear(msx_kdev *dev, float *out, const float *const *x, const double *weight,
                          size_t n_models, int64_t n) {
    const float *w = round_weights(dev, weight, n_models);
    if (!w) return MSXK_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(dev->threads) if (n > BLOCK)
    for (int64_t begin = 0; begin < n; begin += BLOCK)
        linear_block_on[dev->path](out + begin, x, w, n_models, begin,
                                   msxk_cpu_min(BLOCK, n - begin));
    return MSXK_OK;
}

MSXK_INLINE void task_block(float *restrict out, const float *restrict base, const float *const *x,
                            const float *w, size_t n_models, float scale, int64_t begin,
                            int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = 0;
    for (size_t m = 0; m < n_models; m++) {
        const float *xm = x[m] + begin;
        for (int64_t i = 0; i < n; i++) out[i] += w[m] * (xm[i] - base[i]);
    }
    for (int64_t i = 0; i < n; i++) out[i] = base[i] + scale * out[i];
}
MSXK_VARIANTS(void, task_block,
              (float *restrict out, const float *restrict base, const float *const *x,
               const float *w, size_t n_models, float scale, int64_t begin, int64_t n),
              (out, base, x, w, n_models, scale, begin, n));

int msxk_cpu_merge_task(msx_kdev *dev, float *out, const float *base, const float *const *x,
                        const double *weight, size_t n_models, double scale, int64_t n) {
    const float *w = round_weights(dev, weight, n_models);
    if (!w) return MSXK_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(dev->threads) if (n > BLOCK)
    for (int64_t begin = 0; begin < n; begin += BLOCK)
        task_block_on[dev->path](out + begin, base + begin, x, w, n_models, (float)scale, begin,
                                 msxk_cpu_min(BLOCK, n - begin));
    return MSXK_OK;
}

/* aa, ab, bb of one block in LANES interleaved sums, so that every machine adds in one order. */
MSXK_INLINE void dots_block(double sum[3], const float *a, const float *b, int64_t n) {
    double aa[LANES] = {0}, ab[LANES] = {0}, bb[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            double u = a[i + l], v = b[i + l];
            aa[l] += u * u;
            ab[l] += u * v;
            bb[l] += v * v;
        }
    for (int l = 0; i < n; i++, l++) {
        double u = a[i], v = b[i];
        aa[l] += u * u;
        ab[l] += u * v;
        bb[l] += v * v;
    }
    for (int l = 1; l < LANES; l++) {
        aa[0] += aa[l];
        ab[0] += ab[l];
        bb[0] += bb[l];
    }
    sum[0] = aa[0];
    sum[1] = ab[0];
    sum[2] = bb[0];
}
MSXK_VARIANTS(void, dots_block, (double sum[3], const float *a, const float *b, int64_t n),
              (sum, a, b, n));

int msxk_cpu_dots(msx_kdev *dev, double out[3], const float *a, const float *b, int64_t n) {
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
    double *sums = (void *)msxk_cpu_scratch(dev, blocks, 3 * (int64_t)(sizeof(double) / 4));
    if (!sums) return MSXK_E_NOMEM;
#pragma omp parallel for schedule(static) num_threads(dev->threads) if (blocks > 1)
    for (int64_t k = 0; k < blocks; k++)
        dots_block_on[dev->path](sums + 3 * k, a + k * BLOCK, b + k * BLOCK,
                                 msxk_cpu_min(BLOCK, n - k * BLOCK));
    out[0] = out[1] = out[2] = 0;
    for (int64_t k = 0; k < blocks; k++)
        for (int c = 0; c < 3; c++) out[c] += sums[3 * k + c];
    return MSXK_OK;
}
