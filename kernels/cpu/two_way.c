/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image's side of the two-way decoder: blocks of image tokens are updated and attended to while they
 * are in the second-level cache.
 *
 * A job is a segment of one prompt's image tokens. Its part of the attention, with the maximum and the sum
 * of every (t,h), is kept apart, and the parts of a prompt are joined in order: segments follow from n
 * alone, so threads change no bit.
 */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#include <math.h>
#include <string.h>

#define SEGMENT 256 /* image tokens of a job */
#define BLOCK   64  /* and of a block: with the packed vectors it fills half of a usual L2 cache */
#define GAP     16  /* floats between rows that would meet in one set of the L1 cache */

/* Sizes, and what the scratch has room for; in floats. */
typedef struct plan {
    const msxk_two_way *w;
    const msx_kdev *dev;
    const msxk_tiles *t;
    int64_t rows, cols;     /* T*heads, and whole panels of them */
    int64_t width;          /* dim in whole panels */
    int64_t segments;       /* of a prompt */
    int64_t vectors, sums;  /* a, u or q of a prompt, packed; sums of a segment */
    int64_t part;           /* of a segment: sums, maxima and totals */
    int64_t map, scores;    /* of a block: (BLOCK, dim), and (BLOCK, cols) */
    int64_t panels, thread; /* updated tokens as panels; all of a thread */
    float *packed, *parts, *own;
} plan;

static plan make_plan(const msx_kdev *dev, const msxk_two_way *w) {
    plan p = {.w = w, .dev = dev, .t = msxk_cpu_tiles(dev->path), .rows = w->tokens * w->heads};
    p.cols = (p.rows + p.t->cols - 1) / p.t->cols * p.t->cols;
    p.width = (w->dim + p.t->cols - 1) / p.t->cols * p.t->cols;
    p.segments = (w->n + SEGMENT - 1) / SEGMENT;
    p.vectors =
        msxk_cpu_area(p.cols * w->dim > p.rows * p.width ? p.cols * w->dim : p.rows * p.width);
    p.sums = p.rows * p.width;
    p.part = msxk_cpu_area(p.sums + 2 * p.cols);
    p.map = BLOCK * (p.width + GAP);
    p.scores = BLOCK * (p.cols + GAP);
    p.panels = BLOCK * p.width;
    p.thread = msxk_cpu_area(2 * p.map + p.scores + 2 * p.cols + p.panels + p.rows * (BLOCK + GAP));
    return p;
}

/* ---- softmax over the tokens of a prompt -------------------------------------------------------- */

/* Scores (rows, T*heads) plus c become weights; `row` has room for T*heads. `heads` is a constant where
 * this is inlined, so that loops over it become vectors. */
MSXK_INLINE void weigh_heads(float *restrict scores, int64_t ld, const float *restrict c,
                             int64_t rows, int64_t tokens, int64_t heads, float *restrict row) {
    int64_t n = tokens * heads;
    for (int64_t r = 0; r < rows; r++, scores += ld) {
        for (int64_t j = 0; j < n; j++) scores[j] += c[j];
        for (int64_t h = 0; h < heads; h++) row[h] = scores[h];
        for (int64_t t = 1; t < tokens; t++)
            for (int64_t h = 0; h < heads; h++) {
                float x = scores[t * heads + h];
                row[h] = x > row[h] ? x : row[h];
            }
        for (int64_t t = 1; t < tokens; t++)
            for (int64_t h = 0; h < heads; h++) row[t * heads + h] = row[h];
        for (int64_t j = 0; j < n; j++) scores[j] = msxk_exp(scores[j] - row[j]);
        for (int64_t h = 0; h < heads; h++) row[h] = scores[h];
        for (int64_t t = 1; t < tokens; t++)
            for (int64_t h = 0; h < heads; h++) row[h] += scores[t * heads + h];
        for (int64_t h = 0; h < heads; h++) row[h] = 1.0f / row[h];
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t h = 0; h < heads; h++) scores[t * heads + h] *= row[h];
    }
}
MSXK_INLINE void weigh(float *scores, int64_t ld, const float *c, int64_t rows, int64_t tokens,
                       int64_t heads, float *row) {
    if (heads == 8)
        weigh_heads(scores, ld, c, rows, tokens, 8, row);
    else
        weigh_heads(scores, ld, c, rows, tokens, heads, row);
}
MSXK_VARIANTS(void, weigh,
              (float *scores, int64_t ld, const float *c, int64_t rows, int64_t tokens,
               int64_t heads, float *row),
              (scores, ld, c, rows, tokens, heads, row));

/* ---- softmax over the image tokens -------------------------------------------------------------- */

/* Scores (rows, n) of more image tokens become weights, transposed to (n, rows): maxima and totals (n) are
 * brought up to date; `shrink` (n) is what earlier sums are to be multiplied by. */
MSXK_INLINE void soften(float *restrict scores, int64_t ld, int64_t rows, int64_t n, int started,
                        float *restrict max, float *restrict total, float *restrict shrink,
                        float *restrict turned, int64_t ld_turned) {
    for (int64_t j = 0; j < n; j++) shrink[j] = started ? max[j] : scores[j];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++)
            shrink[j] = scores[r * ld + j] > shrink[j] ? scores[r * ld + j] : shrink[j];
    for (int64_t j = 0; j < n; j++) {
        float most = shrink[j];
        shrink[j] = started ? msxk_exp(max[j] - most) : 0.0f;
        total[j] = started ? total[j] * shrink[j] : 0.0f;
        max[j] = most;
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) {
            scores[r * ld + j] = msxk_exp(scores[r * ld + j] - max[j]);
            total[j] += scores[r * ld + j];
        }
    for (int64_t j = 0; j < n; j++)
        for (int64_t r = 0; r < rows; r++) turned[j * ld_turned + r] = scores[r * ld + j];
}
MSXK_VARIANTS(void, soften,
              (float *scores, int64_t ld, int64_t rows, int64_t n, int started, float *max,
               float *total, float *shrink, float *turned, int64_t ld_turned),
              (scores, ld, rows, n, started, max, total, shrink, turned, ld_turned));

MSXK_INLINE void scale_rows(float *x, int64_t ld, int64_t rows, int64_t cols, const float *factor) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) x[r * ld + c] *= factor[r];
}
MSXK_VARIANTS(void, scale_rows,
              (float *x, int64_t ld, int64_t rows, int64_t cols, const float *factor),
              (x, ld, rows, cols, factor));

/* y = x + add, rows (rows, cols); add is one row where its leading dimension is 0 */
MSXK_INLINE void sum_rows(float *y, int64_t ldy, const float *x, int64_t ldx, const float *add,
                          int64_t ld_add, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) y[r * ldy + c] = x[r * ldx + c] + add[r * ld_add + c];
}
MSXK_VARIANTS(void, sum_rows,
              (float *y, int64_t ldy, const float *x, int64_t ldx, const float *add, int64_t ld_add,
               int64_t rows, int64_t cols),
              (y, ldy, x, ldx, add, ld_add, rows, cols));

/* ---- jobs --------------------------------------------------------------------------------------- */

/* Problem i's a and q as columns, u as rows, in panels. */
static void pack_vectors(const plan *p, int64_t i) {
    const msxk_two_way *w = p->w;
    int64_t from = i * p->rows * w->dim;
    float *to = p->packed + 3 * i * p->vectors;
    msxk_pack_rows(p->t, to, w->a + from, w->dim, p->rows, w->dim);
    msxk_pack_columns(p->t, to + p->vectors, w->u + from, w->dim, w->dim, p->rows);
    msxk_pack_rows(p->t, to + 2 * p->vectors, w->q + from, w->dim, p->rows, w->dim);
}

/* Image tokens [first, first + n) of problem i: updated, in `y` and where the caller wants them. */
static void update(const plan *p, int64_t i, int64_t first, int64_t n, float *y, float *x,
                   float *scores, float *row) {
    const msxk_two_way *w = p->w;
    const float *vectors = p->packed + 3 * i * p->vectors;
    const float *key = w->key + i * w->stride_key + first * w->dim;
    int64_t ld = p->width + GAP, ld_scores = p->cols + GAP;
    sum_rows_on[p->dev->path](x, ld, key, w->dim, w->position + first * w->dim, w->dim, n, w->dim);
    msxk_multiply(p->t, n, p->rows, w->dim, x, ld, vectors, scores, ld_scores, 0);
    weigh_on[p->dev->path](scores, ld_scores, w->c + i * p->rows, n, w->tokens, w->heads, row);
    sum_rows_on[p->dev->path](y, ld, key, w->dim, w->bias, 0, n, w->dim);
    msxk_multiply(p->t, n, w->dim, p->rows, scores, ld_scores, vectors + p->vectors, y, ld, 1);
    float *to = w->updated + (i * w->n + first) * w->dim;
    for (int64_t r = 0; r < n; r++, to += w->dim) {
        msxk_cpu_norm_rows(p->dev, y + r * ld, y + r * ld, w->norm_w, w->norm_b, 1, w->dim, w->eps);
        memcpy(to, y + r * ld, (size_t)w->dim * sizeof *to);
    }
}

static void run_segment(const plan *p, int64_t job, float *scratch) {
    const msxk_two_way *w = p->w;
    int64_t i = job / p->segments, begin = job % p->segments * SEGMENT;
    int64_t end = msxk_cpu_min(begin + SEGMENT, w->n), ld = p->width + GAP;
    int64_t ld_scores = p->cols + GAP, ld_turned = BLOCK + GAP;
    float *y = scratch, *x = y + p->map, *scores = x + p->map, *row = scores + p->scores;
    float *shrink = row + p->cols, *panels = shrink + p->cols, *turned = panels + p->panels;
    float *sums = p->parts + job * p->part, *max = sums + p->sums, *total = max + p->cols;
    for (int64_t first = begin; first < end; first += BLOCK) {
        int64_t n = msxk_cpu_min(BLOCK, end - first);
        int started = first > begin;
        update(p, i, first, n, y, x, scores, row);
        sum_rows_on[p->dev->path](x, ld, y, ld, w->position + first * w->dim, w->dim, n, w->dim);
        msxk_multiply(p->t, n, p->rows, w->dim, x, ld, p->packed + (3 * i + 2) * p->vectors, scores,
                      ld_scores, 0);
        soften_on[p->dev->path](scores, ld_scores, n, p->rows, started, max, total, shrink, turned,
                                ld_turned);
        if (started) scale_rows_on[p->dev->path](sums, p->width, p->rows, p->width, shrink);
        msxk_pack_columns(p->t, panels, y, ld, w->dim, n);
        msxk_multiply(p->t, p->rows, w->dim, n, turned, ld_turned, panels, sums, p->width, started);
    }
}

/* out[j] of problem i from the parts of its segments */
static void join(const plan *p, int64_t i, int64_t j) {
    const float *first = p->parts + i * p->segments * p->part;
    int64_t dim = p->w->dim;
    float most = -INFINITY, total = 0, *out = p->w->out + (i * p->rows + j) * dim;
    for (int64_t s = 0; s < p->segments; s++) {
        float here = first[s * p->part + p->sums + j];
        most = here > most ? here : most;
    }
    memset(out, 0, (size_t)dim * sizeof *out);
    for (int64_t s = 0; s < p->segments; s++) {
        const float *part = first + s * p->part, *sums = part + j * p->width;
        float factor = msxk_exp(part[p->sums + j] - most);
        total += factor * part[p->sums + p->cols + j];
        for (int64_t c = 0; c < dim; c++) out[c] += factor * sums[c];
    }
    for (int64_t c = 0; c < dim; c++) out[c] *= 1.0f / total;
}

int msxk_cpu_two_way(msx_kdev *dev, const msxk_two_way *w) {
    if (w->batch <= 0 || w->n <= 0 || w->tokens <= 0 || w->heads <= 0 || w->dim <= 0)
        return MSXK_OK;
    plan p = make_plan(dev, w);
    int64_t packed = 3 * w->batch * p.vectors, jobs = w->batch * p.segments;
    p.packed = msxk_cpu_scratch(dev, 1, packed + jobs * p.part + dev->threads * p.thread);
    if (!p.packed) return MSXK_E_NOMEM;
    p.parts = p.packed + packed;
    p.own = p.parts + jobs * p.part;
#pragma omp parallel num_threads(dev->threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < w->batch; i++) pack_vectors(&p, i);
#pragma omp for schedule(dynamic)
        for (int64_t job = 0; job < jobs; job++)
            run_segment(&p, job, p.own + msxk_cpu_thread() * p.thread);
#pragma omp for schedule(static)
        for (int64_t j = 0; j < w->batch * p.rows; j++) join(&p, j / p.rows, j % p.rows);
    }
    return MSXK_OK;
}
