/* SPDX-License-Identifier: Apache-2.0 */
/* TIES: trim every change, elect signs, average what agrees. Magnitudes are compared as the bits of
 * |x - base|, which order like the numbers; a NaN is largest. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lines.h"

typedef struct ties {
    float *out;
    const float *base;
    const float *const *x;
    int64_t n_models, n;
    float scale;
    int streamed;
} ties;

enum { BLOCK = 512 }; /* a block of a few models stays in the nearest cache */

/* All NaNs are equal, as in merge_select.c. */
static inline int32_t magnitude(float d) {
    int32_t bits;
    memcpy(&bits, &d, sizeof bits);
    bits &= INT32_MAX;
    return bits < 0x7fc00000 ? bits : 0x7fc00000;
}

/* The change with all but its magnitudes above `bound` zeroed; how many are equal to `at`. */
MSXK_INLINE int64_t trim_block(float *restrict d, const float *restrict base,
                               const float *restrict x, int64_t n, int32_t bound, int32_t at) {
    int32_t equal = 0;
    for (int64_t i = 0; i < n; i++) {
        float change = x[i] - base[i];
        int32_t key = magnitude(change);
        d[i] = key > bound ? change : 0;
        equal += key == at;
    }
    return equal;
}
MSXK_VARIANTS(int64_t, trim_block,
              (float *restrict d, const float *restrict base, const float *restrict x, int64_t n,
               int32_t bound, int32_t at),
              (d, base, x, n, bound, at));

/* The same, but of the magnitudes equal to `at` only the first `kept`. */
static void trim_counting(float *d, const float *base, const float *x, int64_t n, int32_t at,
                          int64_t kept) {
    for (int64_t i = 0; i < n; i++) {
        float change = x[i] - base[i];
        int32_t key = magnitude(change);
        d[i] = key > at || (key == at && kept-- > 0) ? change : 0;
    }
}

/* Elect signs and average the agreeing changes. d (n_models, BLOCK). */
MSXK_INLINE void elect_block(float *restrict out, const float *restrict base,
                             const float *restrict d, int64_t n_models, float scale, int64_t n,
                             int streamed) {
    float elected[BLOCK], sum[BLOCK], count[BLOCK];
    for (int64_t i = 0; i < n; i++) elected[i] = sum[i] = count[i] = 0;
    for (int64_t m = 0; m < n_models; m++)
        for (int64_t i = 0; i < n; i++) elected[i] += d[m * BLOCK + i];
    for (int64_t m = 0; m < n_models; m++)
        for (int64_t i = 0; i < n; i++) {
            float change = d[m * BLOCK + i];
            int agrees = elected[i] >= 0 ? change > 0 : change < 0;
            sum[i] += agrees ? change : 0;
            count[i] += agrees ? 1.0f : 0;
        }
    for (int64_t i = 0; i < n; i++)
        sum[i] = count[i] > 0 ? base[i] + scale * (sum[i] / count[i]) : base[i];
    int64_t i = 0;
    for (; streamed && i + MSXK_LINE <= n; i += MSXK_LINE) {
        msxk_line line;
        msxk_line_load(&line, sum + i);
        msxk_line_store(out + i, &line, 1);
    }
    if (i < n) memcpy(out + i, sum + i, (size_t)(n - i) * sizeof *out);
}
MSXK_VARIANTS(void, elect_block,
              (float *restrict out, const float *restrict base, const float *restrict d,
               int64_t n_models, float scale, int64_t n, int streamed),
              (out, base, d, n_models, scale, n, streamed));

/* Merge every block as if all equal to a threshold were kept, which nearly always they are. equal
 * (blocks, n_models): how many each block has. bound, at (n_models); d: room per thread. */
static void merge_blocks(msx_kdev *dev, const ties *t, int64_t blocks, int64_t *equal,
                         const int32_t *bound, const int32_t *at, float *room) {
    int64_t models = t->n_models;
#pragma omp parallel num_threads(dev->threads) if (blocks > 8)
    {
        float *d = room + msxk_cpu_thread() * msxk_cpu_area(models * BLOCK);
#pragma omp for schedule(static)
        for (int64_t k = 0; k < blocks; k++) {
            int64_t i = k * BLOCK, n = msxk_cpu_min(BLOCK, t->n - i);
            for (int64_t m = 0; m < models; m++)
                equal[k * models + m] = trim_block_on[dev->path](d + m * BLOCK, t->base + i,
                                                                 t->x[m] + i, n, bound[m], at[m]);
            elect_block_on[dev->path](t->out + i, t->base + i, d, models, t->scale, n, t->streamed);
        }
        msxk_lines_done(t->streamed);
    }
}

/* Merge those blocks again in which too many were kept. equal (blocks, n_models) becomes the number in
 * front of each block. */
static void mend_blocks(msx_kdev *dev, const ties *t, int64_t blocks, int64_t *equal,
                        const int64_t *kept, const int32_t *bound, const int32_t *at, float *room) {
    int64_t models = t->n_models;
    int more = 0;
    for (int64_t m = 0; m < models; m++) {
        int64_t before = 0;
        for (int64_t k = 0; k < blocks; k++) {
            int64_t here = equal[k * models + m];
            equal[k * models + m] = before;
            before += here;
        }
        more |= kept[m] >= 0 && before > kept[m];
    }
    if (!more) return;
#pragma omp parallel for schedule(static) num_threads(dev->threads) if (blocks > 8)
    for (int64_t k = 0; k < blocks; k++) {
        float *d = room + msxk_cpu_thread() * msxk_cpu_area(models * BLOCK);
        int64_t i = k * BLOCK, n = msxk_cpu_min(BLOCK, t->n - i);
        int wrong = 0;
        for (int64_t m = 0; m < models; m++) {
            int64_t left = kept[m] - equal[k * models + m];
            int64_t here = trim_block_on[dev->path](d + m * BLOCK, t->base + i, t->x[m] + i, n,
                                                    bound[m], at[m]);
            if (kept[m] < 0 || here <= left || here == 0) continue;
            trim_counting(d + m * BLOCK, t->base + i, t->x[m] + i, n, at[m], left);
            wrong = 1;
        }
        if (wrong) elect_block_on[dev->path](t->out + i, t->base + i, d, models, t->scale, n, 0);
    }
}

int msxk_cpu_merge_ties(msx_kdev *dev, float *out, const float *base, const float *const *x,
                        const float *threshold, const int64_t *ties_kept, size_t n_models,
                        double scale, int64_t n) {
    int64_t models = (int64_t)n_models, blocks = (n + BLOCK - 1) / BLOCK;
    const ties t = {out, base, x, models, n, (float)scale, msxk_lines_streamed(out, n)};
    int64_t *equal = msxk_cpu_alloc(dev, sizeof *equal * (size_t)(models * blocks));
    int32_t *at = msxk_cpu_alloc(dev, 2 * sizeof *at * (size_t)models);
    float *room = msxk_cpu_scratch(dev, dev->threads, models * BLOCK);
    if (equal && at && room) {
        int32_t *bound = at + models;
        for (int64_t m = 0; m < models; m++) {
            at[m] = ties_kept[m] < 0 ? INT32_MAX : magnitude(threshold[m]);
            bound[m] = ties_kept[m] < 0 ? INT32_MAX : at[m] - 1;
        }
        merge_blocks(dev, &t, blocks, equal, bound, at, room);
        mend_blocks(dev, &t, blocks, equal, ties_kept, bound, at, room);
    }
    int code = equal && at && room ? MSXK_OK : MSXK_E_NOMEM;
    msxk_cpu_release(dev, equal);
    msxk_cpu_release(dev, at);
    return code;
}
