/* SPDX-License-Identifier: Apache-2.0 */
/* Weighted sums of models and of task vectors, and the dot products of SLERP. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lines.h"

enum { BLOCK = 4096, LANES = 8 };

/* The weights, rounded once. */
static float *round_weights(msx_kdev *dev, const double *weight, size_t n) {
    float *w = msxk_cpu_scratch(dev, 1, (int64_t)n);
    for (size_t m = 0; w && m < n; m++) w[m] = (float)weight[m];
    return w;
}

/* Elements [i, end) of sum_m w[m] x[m]. */
MSXK_INLINE void linear_block(float *restrict out, const float *const *x, const float *w,
                              size_t n_models, int64_t i, int64_t end, int streamed) {
    for (; i + MSXK_LINE <= end; i += MSXK_LINE) {
        msxk_line sum, next;
        msxk_line_load(&sum, x[0] + i);
        sum *= w[0];
        for (size_t m = 1; m < n_models; m++) {
            msxk_line_load(&next, x[m] + i);
            sum += w[m] * next;
        }
        msxk_line_store(out + i, &sum, streamed);
    }
    for (; i < end; i++) {
        float sum = w[0] * x[0][i];
        for (size_t m = 1; m < n_models; m++) sum += w[m] * x[m][i];
        out[i] = sum;
    }
}
MSXK_VARIANTS(void, linear_block,
              (float *restrict out, const float *const *x, const float *w, size_t n_models,
               int64_t i, int64_t end, int streamed),
              (out, x, w, n_models, i, end, streamed));

int msxk_cpu_merge_linear(msx_kdev *dev, float *out, const float *const *x, const double *weight,
                          size_t n_models, int64_t n) {
    const float *w = round_weights(dev, weight, n_models);
    if (!w) return MSXK_E_NOMEM;
    if (n_models == 0) {
        if (n) memset(out, 0, (size_t)n * sizeof *out);
        return MSXK_OK;
    }
    int streamed = msxk_lines_streamed(out, n);
#pragma omp parallel num_threads(dev->threads) if (n > BLOCK)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i += BLOCK)
            linear_block_on[dev->path](out, x, w, n_models, i, msxk_cpu_min(i + BLOCK, n),
                                       streamed);
        msxk_lines_done(streamed);
    }
    return MSXK_OK;
}

/* Elements [i, end) of base + scale * sum_m w[m] (x[m] - base). */
MSXK_INLINE void task_block(float *restrict out, const float *restrict base, const float *const *x,
                            const float *w, size_t n_models, float scale, int64_t i, int64_t end,
                            int streamed) {
    for (; i + MSXK_LINE <= end; i += MSXK_LINE) {
        msxk_line from, sum = {0}, next;
        msxk_line_load(&from, base + i);
        for (size_t m = 0; m < n_models; m++) {
            msxk_line_load(&next, x[m] + i);
            sum += w[m] * (next - from);
        }
        sum = from + scale * sum;
        msxk_line_store(out + i, &sum, streamed);
    }
    for (; i < end; i++) {
        float sum = 0;
        for (size_t m = 0; m < n_models; m++) sum += w[m] * (x[m][i] - base[i]);
        out[i] = base[i] + scale * sum;
    }
}
MSXK_VARIANTS(void, task_block,
              (float *restrict out, const float *restrict base, const float *const *x,
               const float *w, size_t n_models, float scale, int64_t i, int64_t end, int streamed),
              (out, base, x, w, n_models, scale, i, end, streamed));

int msxk_cpu_merge_task(msx_kdev *dev, float *out, const float *base, const float *const *x,
                        const double *weight, size_t n_models, double scale, int64_t n) {
    const float *w = round_weights(dev, weight, n_models);
    if (!w) return MSXK_E_NOMEM;
    int streamed = msxk_lines_streamed(out, n);
#pragma omp parallel num_threads(dev->threads) if (n > BLOCK)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i += BLOCK)
            task_block_on[dev->path](out, base, x, w, n_models, (float)scale, i,
                                     msxk_cpu_min(i + BLOCK, n), streamed);
        msxk_lines_done(streamed);
    }
    return MSXK_OK;
}

typedef double wide __attribute__((vector_size(LANES * sizeof(double))));
typedef float narrow __attribute__((vector_size(LANES * sizeof(float))));

/* aa, ab, bb of one block in LANES interleaved sums, so that every machine adds in one order. */
MSXK_INLINE void dots_block(double sum[3], const float *a, const float *b, int64_t n) {
    wide aa = {0}, ab = {0}, bb = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        narrow u = {0}, v = {0};
        size_t bytes = (size_t)(n - i < LANES ? n - i : LANES) * sizeof *a;
        if (bytes == sizeof u) {
            memcpy(&u, a + i, sizeof u);
            memcpy(&v, b + i, sizeof v);
        } else {
            memcpy(&u, a + i, bytes);
            memcpy(&v, b + i, bytes);
        }
        wide p = __builtin_convertvector(u, wide), q = __builtin_convertvector(v, wide);
        aa += p * p;
        ab += p * q;
        bb += q * q;
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
