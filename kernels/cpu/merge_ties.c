/* SPDX-License-Identifier: Apache-2.0 */
/* TIES: exact selection of the k largest changes, and the merge of what is kept. Magnitudes are
 * compared as the bits of |x - base|: floats without a sign order like integers, a NaN is largest. */
#include "kernels/cpu/cpu.h"

#include <string.h>

enum { BLOCK = 2048 };

static inline uint32_t magnitude(float d) {
    uint32_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits & 0x7fffffffu;
}

/* ---- selection -------------------------------------------------------------------------------- */

/* The 31 bits of a magnitude in three digits, highest first. */
static const struct digit { int shift, bits; } digits[] = {{20, 11}, {9, 11}, {0, 9}};
enum { N_DIGITS = 3, BINS = 1 << 11 };

/* Count the digit's values among the elements whose higher bits equal `prefix`. */
MSXK_INLINE void count_block(int64_t *bins, const float *base, const float *x, int64_t n,
                             struct digit d, uint32_t prefix) {
    uint32_t mask = (1u << d.bits) - 1;
    for (int64_t i = 0; i < n; i++) {
        uint32_t key = magnitude(x[i] - base[i]);
        if (key >> (d.shift + d.bits) == prefix) bins[key >> d.shift & mask]++;
    }
}
MSXK_VARIANTS(void, count_block,
              (int64_t * bins, const float *base, const float *x, int64_t n, struct digit d,
               uint32_t prefix),
              (bins, base, x, n, d, prefix));

/* Radix selection: each round fixes one digit of the k-th largest magnitude. Counts are integers, so
 * the order in which threads add them does not matter. */
int msxk_cpu_select_threshold(msx_kdev *dev, const float *base, const float *x, int64_t n,
                              int64_t k, float *threshold, int64_t *ties_kept) {
    if (k < 1 || k > n)
        return msxk_cpu_fail(dev, MSXK_E_ARG, "select: k is %lld of %lld", (long long)k,
                             (long long)n);
    int64_t area = BINS * (int64_t)(sizeof(int64_t) / sizeof(float));
    int64_t *counts = (void *)msxk_cpu_scratch(dev, dev->threads, area);
    if (!counts) return MSXK_E_NOMEM;
    uint32_t prefix = 0;
    for (int r = 0; r < N_DIGITS; r++) {
        memset(counts, 0, sizeof *counts * BINS * (size_t)dev->threads);
#pragma omp parallel for schedule(static) num_threads(dev->threads) if (n > BLOCK)
        for (int64_t begin = 0; begin < n; begin += BLOCK)
            count_block_on[dev->path](counts + (int64_t)msxk_cpu_thread() * BINS, base + begin,
                                      x + begin, msxk_cpu_min(BLOCK, n - begin), digits[r], prefix);
        for (int t = 1; t < dev->threads; t++)
            for (int b = 0; b < BINS; b++) counts[b] += counts[(int64_t)t * BINS + b];
        int b = (1 << digits[r].bits) - 1;
        for (; counts[b] < k; b--) k -= counts[b]; /* those above are all kept */
        prefix = prefix << digits[r].bits | (uint32_t)b;
    }
    memcpy(threshold, &prefix, sizeof *threshold);
    *ties_kept = k;
    return MSXK_OK;
}

/* ---- merge ------------------------------------------------------------------------------------ */

MSXK_INLINE int64_t count_equal(const float *base, const float *x, int64_t n, uint32_t at) {
    int64_t equal = 0;
    for (int64_t i = 0; i < n; i++) equal += magnitude(x[i] - base[i]) == at;
    return equal;
}
MSXK_VARIANTS(int64_t, count_equal, (const float *base, const float *x, int64_t n, uint32_t at),
              (base, x, n, at));

/* Task vector with everything but the largest magnitudes zeroed; of those equal to the threshold the
 * first `ties` of the block stay. */
MSXK_INLINE void trim_block(float *restrict d, const float *base, const float *x, int64_t n,
                            uint32_t at, int64_t equal, int64_t ties) {
    if (equal == 0 || ties <= 0 || ties >= equal) {
        uint32_t least = at + (ties <= 0); /* without ties to break, one comparison decides */
        for (int64_t i = 0; i < n; i++) {
            float change = x[i] - base[i];
            d[i] = magnitude(change) >= least ? change : 0;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float change = x[i] - base[i];
        uint32_t key = magnitude(change);
        d[i] = key > at || (key == at && ties-- > 0) ? change : 0;
    }
}
MSXK_VARIANTS(void, trim_block,
              (float *restrict d, const float *base, const float *x, int64_t n, uint32_t at,
               int64_t equal, int64_t ties),
              (d, base, x, n, at, equal, ties));

/* Elect signs and average the agreeing changes. d (n_models, BLOCK). */
MSXK_INLINE void elect_block(float *restrict out, const float *restrict base,
                             const float *restrict d, size_t n_models, float scale, int64_t n) {
    float elected[BLOCK], sum[BLOCK], count[BLOCK];
    for (int64_t i = 0; i < n; i++) elected[i] = sum[i] = count[i] = 0;
    for (size_t m = 0; m < n_models; m++)
        for (int64_t i = 0; i < n; i++) elected[i] += d[m * BLOCK + (size_t)i];
    for (size_t m = 0; m < n_models; m++)
        for (int64_t i = 0; i < n; i++) {
            float change = d[m * BLOCK + (size_t)i];
            int agrees = elected[i] >= 0 ? change > 0 : change < 0;
            sum[i] += agrees ? change : 0;
            count[i] += agrees ? 1.0f : 0;
        }
    for (int64_t i = 0; i < n; i++)
        out[i] = count[i] > 0 ? base[i] + scale * (sum[i] / count[i]) : base[i];
}
MSXK_VARIANTS(void, elect_block,
              (float *restrict out, const float *restrict base, const float *restrict d,
               size_t n_models, float scale, int64_t n),
              (out, base, d, n_models, scale, n));

int msxk_cpu_merge_ties(msx_kdev *dev, float *out, const float *base, const float *const *x,
                        const float *threshold, const int64_t *ties_kept, size_t n_models,
                        double scale, int64_t n) {
    int64_t models = (int64_t)n_models, blocks = (n + BLOCK - 1) / BLOCK;
    /* before[m * (blocks + 1) + k]: elements equal to the threshold in front of block k */
    int64_t *before = msxk_cpu_alloc(dev, sizeof *before * (size_t)(models * (blocks + 1)));
    float *trimmed = msxk_cpu_scratch(dev, dev->threads, models * BLOCK);
    if (!before || !trimmed) {
        msxk_cpu_release(dev, before);
        return MSXK_E_NOMEM;
    }
    for (int64_t m = 0; m < models; m++) {
        int64_t *equal = before + m * (blocks + 1);
#pragma omp parallel for schedule(static) num_threads(dev->threads) if (blocks > 1)
        for (int64_t k = 0; k < blocks; k++)
            equal[k + 1] = count_equal_on[dev->path](base + k * BLOCK, x[m] + k * BLOCK,
                                                     msxk_cpu_min(BLOCK, n - k * BLOCK),
                                                     magnitude(threshold[m]));
        equal[0] = 0;
        for (int64_t k = 0; k < blocks; k++) equal[k + 1] += equal[k];
    }
#pragma omp parallel for schedule(static) num_threads(dev->threads) if (blocks > 1)
    for (int64_t k = 0; k < blocks; k++) {
        int64_t start = k * BLOCK, length = msxk_cpu_min(BLOCK, n - start);
        float *d = trimmed + msxk_cpu_thread() * msxk_cpu_area(models * BLOCK);
        for (int64_t m = 0; m < models; m++) {
            const int64_t *equal = before + m * (blocks + 1);
            if (ties_kept[m] < 0)
                memset(d + m * BLOCK, 0, sizeof *d * (size_t)length);
            else
                trim_block_on[dev->path](d + m * BLOCK, base + start, x[m] + start, length,
                                         magnitude(threshold[m]), equal[k + 1] - equal[k],
                                         ties_kept[m] - equal[k]);
        }
        elect_block_on[dev->path](out + start, base + start, d, n_models, (float)scale, length);
    }
    msxk_cpu_release(dev, before);
    return MSXK_OK;
}
