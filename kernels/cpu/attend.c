/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block of queries against all keys of a head, without their score matrix: keys are taken in
 * tiles, each row keeps its running maximum and sum (online softmax; Milakov and Gimelshein 2018, Rabe
 * and Staats 2021), and what was accumulated is rescaled when the maximum grows.
 */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#include <cblas.h>
#include <math.h>

#define TILE_KEYS 512 /* with 128 queries a tile of scores is 256 KB: half of a usual L2 cache */

/* Keys of a tile: whole rows of the key grid where there is one. */
static int64_t tile_keys(int64_t keys, int64_t side) {
    int64_t n = TILE_KEYS;
    if (side) n = side > TILE_KEYS ? side : TILE_KEYS / side * side;
    return n < keys ? n : keys;
}

int64_t msxk_cpu_block_floats(int64_t keys, int64_t dim, int64_t side) {
    return MSXK_CPU_QUERIES * (msxk_cpu_area(tile_keys(keys, side)) + msxk_cpu_area(dim) + 2);
}

MSXK_INLINE float row_max(const float *x, int64_t n, float start) {
    float lanes[MSXK_LANES];
    for (int l = 0; l < MSXK_LANES; l++) lanes[l] = start;
    int64_t i = 0;
    for (; i + MSXK_LANES <= n; i += MSXK_LANES)
        for (int l = 0; l < MSXK_LANES; l++) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (; i < n; i++) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    float m = lanes[0];
    for (int l = 1; l < MSXK_LANES; l++) m = lanes[l] > m ? lanes[l] : m;
    return m;
}

/* x = e^(x - max); returns the sum */
MSXK_INLINE float row_exp(float *x, int64_t n, float max) {
    float lanes[MSXK_LANES] = {0};
    int64_t i = 0;
    for (; i + MSXK_LANES <= n; i += MSXK_LANES)
        for (int l = 0; l < MSXK_LANES; l++) {
            x[i + l] = msxk_exp(x[i + l] - max);
            lanes[l] += x[i + l];
        }
    for (int l = 0; i < n; i++, l++) {
        x[i] = msxk_exp(x[i] - max);
        lanes[l] += x[i];
    }
    float sum = 0;
    for (int l = 0; l < MSXK_LANES; l++) sum += lanes[l];
    return sum;
}

/* Scores (queries, ld) of keys [first, first + n) become weights; the rows' maxima and sums and what
 * was accumulated so far (queries, dim) are brought up to date. */
MSXK_INLINE void soften(const msxk_cpu_block *b, int64_t first, int64_t n, float *scores,
                        int64_t ld, float *acc, float *max, float *sum) {
    for (int64_t q = 0; q < b->queries; q++) {
        float *row = scores + q * ld;
        for (int64_t y = 0; b->side && y < n / b->side; y++) {
            float *line = row + y * b->side, h = b->bias_h[q * b->side + first / b->side + y];
            const float *w = b->bias_w + q * b->side;
            for (int64_t x = 0; x < b->side; x++) line[x] += h + w[x];
        }
        float old = max[q], now = row_max(row, n, old);
        float total = row_exp(row, n, now);
        max[q] = now;
        if (first == 0) {
            sum[q] = total;
            continue;
        }
        float shrink = msxk_exp(old - now), *out = acc + q * b->dim;
        sum[q] = sum[q] * shrink + total;
        for (int64_t c = 0; c < b->dim; c++) out[c] *= shrink;
    }
}
MSXK_VARIANTS(void, soften,
              (const msxk_cpu_block *b, int64_t first, int64_t n, float *scores, int64_t ld,
               float *acc, float *max, float *sum),
              (b, first, n, scores, ld, acc, max, sum));

void msxk_cpu_attend(const msx_kdev *dev, const msxk_cpu_block *b, float *scratch) {
    int64_t tile = tile_keys(b->keys, b->side), ld = msxk_cpu_area(tile);
    float *scores = scratch, *acc = scores + MSXK_CPU_QUERIES * ld;
    float *max = acc + MSXK_CPU_QUERIES * msxk_cpu_area(b->dim), *sum = max + MSXK_CPU_QUERIES;
    for (int64_t q = 0; q < b->queries; q++) max[q] = -INFINITY;
    blasint m = (blasint)b->queries, d = (blasint)b->dim;
    for (int64_t first = 0; first < b->keys; first += tile) {
        int64_t n = b->keys - first < tile ? b->keys - first : tile;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, (blasint)n, d, b->scale, b->q,
                    (blasint)b->ldq, b->k + first * b->ldk, (blasint)b->ldk, 0.0f, scores,
                    (blasint)ld);
        soften_on[dev->path](b, first, n, scores, ld, acc, max, sum);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, d, (blasint)n, 1.0f, scores,
                    (blasint)ld, b->v + first * b->ldv, (blasint)b->ldv, first ? 1.0f : 0.0f, acc,
                    d);
    }
    for (int64_t q = 0; q < b->queries; q++) {
        float inverse = 1.0f / sum[q];
        for (int64_t c = 0; c < b->dim; c++) b->out[q * b->ldo + c] = acc[q * b->dim + c] * inverse;
    }
}
