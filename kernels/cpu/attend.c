/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block of queries against all keys of a head: keys are taken in tiles, each query keeps its running
 * maximum and sum (online softmax; Milakov and Gimelshein 2018, Rabe and Staats 2021), and what was
 * accumulated is rescaled when the maximum grows.
 *
 * The queries of a tile of keys go in strips of a register tile's height, so that their scores, from
 * the bias that products are added to until the weights meet the values, stay in the first-level cache.
 */
#include "kernels/cpu/attend.h"

#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#include <math.h>

#define TILE_KEYS 256              /* a multiple of every panel's columns and of 2 */
#define LD_SCORES (TILE_KEYS + 16) /* no multiple of what the cache's sets repeat after */
#define LD_LOW    (LD_SCORES / 2)
#define LOG2_E    1.44269504f

static int64_t padded_dim(const msxk_cpu_head *h) {
    return (h->dim + h->t->cols - 1) / h->t->cols * h->t->cols;
}

static int64_t key_floats(const msxk_cpu_head *h) {
    return msxk_cpu_area(msxk_panel_words(h->t, h->keys, msxk_cpu_words(h, h->dim)));
}

int64_t msxk_cpu_head_floats(const msxk_cpu_head *h) {
    return key_floats(h) + msxk_panel_words(h->t, h->dim, msxk_cpu_words(h, h->keys));
}

void msxk_cpu_head_pack(msxk_cpu_head *h, float *panels, const void *k, int64_t ldk, const void *v,
                        int64_t ldv) {
    float *values = panels + key_floats(h);
    h->k = panels;
    h->v = values;
    if (!h->low) {
        msxk_pack_rows(h->t, panels, k, ldk, h->keys, h->dim);
        msxk_pack_columns(h->t, values, v, ldv, h->dim, h->keys);
        return;
    }
    if (h->dim % 2 == 0 && ldk % 2 == 0 && (uintptr_t)k % 4 == 0)
        msxk_pack_rows(h->t, panels, k, ldk / 2, h->keys, h->dim / 2);
    else
        msxk_pack_pairs(h->t, panels, k, 1, ldk, h->keys, h->dim);
    msxk_pack_pairs(h->t, values, v, ldv, 1, h->dim, h->keys);
}

int64_t msxk_cpu_attend_floats(const msxk_cpu_head *h) {
    return MSXK_MOST_ROWS * (LD_SCORES + LD_LOW) +
           MSXK_CPU_QUERIES * (padded_dim(h) + MSXK_LANES + 1);
}

/* The bias of queries [row, row + rows) and keys [first, first + n). Rows of the key grid are written in
 * whole vectors; what a vector has too much, the next row or nobody reads. */
MSXK_INLINE void begin(float *scores, const msxk_cpu_queries *q, int64_t row, int64_t rows,
                       int64_t first, int64_t n) {
    int64_t ld = msxk_cpu_area(q->side);
    for (int64_t r = row; r < row + rows; r++, scores += LD_SCORES) {
        const float *h = q->bias_h + r * ld + first / q->side, *w = q->bias_w + r * ld;
        int64_t from = first % q->side, done = 0;
        for (; done < n; h++, from = 0) {
            int64_t cols = q->side - from < n - done ? q->side - from : n - done;
            float *to = scores + done, add = *h;
            for (int64_t x = 0; x < cols; x += MSXK_LANES)
                for (int l = 0; l < MSXK_LANES; l++) to[x + l] = add + w[from + x + l];
            done += cols;
        }
    }
}
MSXK_VARIANTS(void, begin,
              (float *scores, const msxk_cpu_queries *q, int64_t row, int64_t rows, int64_t first,
               int64_t n),
              (scores, q, row, rows, first, n));

MSXK_INLINE float greater(float a, float b) {
    return a > b ? a : b;
}

/* Four vectors at a time: maxima that follow from each other wait for each other. */
MSXK_INLINE float row_max(const float *x, int64_t n) {
    enum { L = MSXK_LANES };
    float lanes[L];
    for (int l = 0; l < L; l++) lanes[l] = -INFINITY;
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int l = 0; l < L; l++) {
            const float *at = x + i + l;
            lanes[l] =
                greater(greater(greater(at[0], at[L]), greater(at[2 * L], at[3 * L])), lanes[l]);
        }
    for (; i + L <= n; i += L)
        for (int l = 0; l < L; l++) lanes[l] = greater(x[i + l], lanes[l]);
    for (int l = 0; i < n; i++, l++) lanes[l] = greater(x[i], lanes[l]);
    return msxk_max_lanes(lanes);
}

/* x = 2^(scale * x - max), added to the lanes of `sum` */
MSXK_INLINE void row_exp(int fused, float *x, int64_t n, float scale, float max, float *sum) {
    float lanes[MSXK_LANES];
    int64_t i = 0;
    for (int l = 0; l < MSXK_LANES; l++) lanes[l] = sum[l];
    for (; i + MSXK_LANES <= n; i += MSXK_LANES)
        for (int l = 0; l < MSXK_LANES; l++) {
            x[i + l] = msxk_exp2_of(fused, msxk_mul_add(fused, x[i + l], scale, -max));
            lanes[l] += x[i + l];
        }
    for (int l = 0; i < n; i++, l++) {
        x[i] = msxk_exp2_of(fused, msxk_mul_add(fused, x[i], scale, -max));
        lanes[l] += x[i];
    }
    for (int l = 0; l < MSXK_LANES; l++) sum[l] = lanes[l];
}

/* Scores (rows, n) become weights; the rows' maxima, the lanes of their sums and what was accumulated so far
 * (rows, dim) are brought up to date. `scale` and the maxima are of powers of 2. */
MSXK_INLINE void soften(int fused, float *scores, int64_t rows, int64_t n, float scale, int started,
                        float *acc, int64_t ld, int64_t dim, float *max, float *sum) {
    float shrink[MSXK_MOST_ROWS];
    for (int64_t r = 0; r < rows; r++) {
        float most = row_max(scores + r * LD_SCORES, n) * scale;
        if (started && max[r] > most) most = max[r];
        shrink[r] = started ? msxk_exp2_of(fused, max[r] - most) : 0.0f;
        max[r] = most;
    }
    for (int64_t r = 0; r < rows; r++, sum += MSXK_LANES, acc += ld) {
        if (!started)
            for (int l = 0; l < MSXK_LANES; l++) sum[l] = 0;
        else if (shrink[r] != 1.0f) {
            for (int l = 0; l < MSXK_LANES; l++) sum[l] *= shrink[r];
            for (int64_t c = 0; c < dim; c++) acc[c] *= shrink[r];
        }
        row_exp(fused, scores + r * LD_SCORES, n, scale, max[r], sum);
    }
}
MSXK_FUSED_VARIANTS(void, soften,
                    (float *scores, int64_t rows, int64_t n, float scale, int started, float *acc,
                     int64_t ld, int64_t dim, float *max, float *sum),
                    (scores, rows, n, scale, started, acc, ld, dim, max, sum));

/* Weights (rows, n) as pairs of bfloat16; the partner of an odd last one is zero. */
static void pair_up(const msx_kdev *dev, float *pairs, const float *weights, int64_t rows,
                    int64_t n) {
    for (int64_t r = 0; r < rows; r++) {
        msxk_low *to = (msxk_low *)(void *)(pairs + r * LD_LOW);
        msxk_cpu_round(dev, to, weights + r * LD_SCORES, n);
        if (n % 2) to[n] = 0;
    }
}

/* Queries [row, row + rows) against keys [first, first + n). */
static void run_strip(const msx_kdev *dev, const msxk_cpu_head *h, const msxk_cpu_queries *q,
                      int64_t row, int64_t rows, int64_t first, int64_t n, float *scores,
                      float *acc, float *max, float *sum) {
    int64_t cols = h->t->cols, channels = msxk_cpu_words(h, h->dim), ld = padded_dim(h);
    int64_t words = msxk_cpu_words(h, n), start = msxk_cpu_words(h, first);
    float *pairs = scores + MSXK_MOST_ROWS * LD_SCORES;
    msxk_tile_fn tile = h->t->fn[rows];
    acc += row * ld;
    if (q->side) begin_on[dev->path](scores, q, row, rows, first, n);
    msxk_tiles_enter(h->t, (int)rows);
    for (int64_t key = 0; key < n; key += cols)
        tile(channels, q->q + row * q->ldq, q->ldq, h->k + (first + key) * channels, scores + key,
             LD_SCORES, q->side != 0);
    soften_on[dev->path](scores, rows, n, q->scale * LOG2_E, first > 0, acc, ld, h->dim, max + row,
                         sum + row * MSXK_LANES);
    if (h->low) pair_up(dev, pairs, scores, rows, n);
    for (int64_t c = 0; c < h->dim; c += cols)
        tile(words, h->low ? pairs : scores, h->low ? LD_LOW : LD_SCORES,
             h->v + c * msxk_cpu_words(h, h->keys) + start * cols, acc + c, ld, first > 0);
    msxk_tiles_leave(h->t);
}

void msxk_cpu_attend(const msx_kdev *dev, const msxk_cpu_head *h, const msxk_cpu_queries *q,
                     float *scratch) {
    int64_t ld = padded_dim(h), strips = (q->n + h->t->rows - 1) / h->t->rows;
    float *scores = scratch, *acc = scores + MSXK_MOST_ROWS * (LD_SCORES + LD_LOW);
    float *sum = acc + MSXK_CPU_QUERIES * ld, *max = sum + MSXK_CPU_QUERIES * MSXK_LANES;
    for (int64_t first = 0; first < h->keys; first += TILE_KEYS)
        for (int64_t s = 0; s < strips; s++) {
            int64_t row = q->n * s / strips, rows = q->n * (s + 1) / strips - row;
            run_strip(dev, h, q, row, rows, first, msxk_cpu_min(TILE_KEYS, h->keys - first), scores,
                      acc, max, sum);
        }
    for (int64_t r = 0; r < q->n; r++) {
        float inverse = 1.0f / msxk_sum_lanes(sum + r * MSXK_LANES), *row = acc + r * ld;
        for (int64_t c = 0; c < h->dim; c++) row[c] *= inverse;
        if (h->low)
            msxk_cpu_round(dev, (msxk_low *)(void *)q->out + r * q->ldo, row, h->dim);
        else
            memcpy(q->out + r * q->ldo, row, (size_t)h->dim * sizeof *row);
    }
}
