/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks from the image's tokens, without the upscaled maps ever being in memory: a panel of tokens goes
 * through both transposed convolutions and meets the masks' vectors in the first-level cache.
 *
 * Everything is turned: channels are rows and tokens are columns. So the weights are the left factor, read
 * where they stand; a product's result is the next one's right factor, a panel, as it is; and the norm over
 * channels runs down columns, all tokens side by side.
 */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#include <math.h>

#define JOB_PANELS 4 /* panels of a job: their first product reads each strip of w1 once */

/* Sizes, and a thread's scratch; in floats. */
typedef struct plan {
    const msxk_masks *m;
    const msx_kdev *dev;
    const msxk_tiles *t;
    int64_t n, jobs; /* image tokens; jobs of a prompt */
    int64_t keys, first, second,
        logits; /* of a panel: tokens turned, after w1, after w2, of masks */
    int64_t thread;
} plan;

static plan make_plan(const msx_kdev *dev, const msxk_masks *m) {
    plan p = {.m = m, .dev = dev, .t = msxk_cpu_tiles(dev->path), .n = m->grid * m->grid};
    int64_t cols = p.t->cols, job = JOB_PANELS * cols;
    p.jobs = (p.n + job - 1) / job;
    p.keys = m->dim * cols;
    p.first = 4 * m->half * cols;
    p.second = 4 * m->quarter * cols;
    p.logits = m->masks * cols;
    p.thread = msxk_cpu_area(JOB_PANELS * (p.keys + p.first) + p.second + p.logits);
    return p;
}

/* ---- down columns ------------------------------------------------------------------------------- */

/* x (rows, cols) = gelu(x + bias), one bias a row */
MSXK_INLINE void bend_cols(int fused, float *restrict x, int64_t rows, int64_t cols,
                           const float *bias) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            x[r * cols + c] = msxk_gelu_of(fused, x[r * cols + c] + bias[r]);
}

/* x (rows, cols) = gelu(norm(x + bias)), the norm down columns; biased variance in two passes */
MSXK_INLINE void norm_cols(int fused, float *restrict x, int64_t rows, int64_t cols,
                           const msxk_masks *m) {
    float mean[MSXK_MOST_COLS] = {0}, factor[MSXK_MOST_COLS] = {0};
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) mean[c] += x[r * cols + c] += m->b1[r];
    for (int64_t c = 0; c < cols; c++) mean[c] /= (float)rows;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            float d = x[r * cols + c] - mean[c];
            factor[c] += d * d;
        }
    for (int64_t c = 0; c < cols; c++) factor[c] = 1.0f / sqrtf(factor[c] / (float)rows + m->eps);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            x[r * cols + c] = msxk_gelu_of(
                fused, (x[r * cols + c] - mean[c]) * factor[c] * m->norm_w[r] + m->norm_b[r]);
}

/* As above; the number of columns is a constant on every path, so that rows of a panel are whole vectors. */
MSXK_INLINE void bend(int fused, float *x, int64_t rows, int64_t cols, const float *bias) {
    if (cols == 32)
        bend_cols(fused, x, rows, 32, bias);
    else if (cols == 16)
        bend_cols(fused, x, rows, 16, bias);
    else
        bend_cols(fused, x, rows, cols, bias);
}
MSXK_FUSED_VARIANTS(void, bend, (float *x, int64_t rows, int64_t cols, const float *bias),
                    (x, rows, cols, bias));

MSXK_INLINE void norm(int fused, float *x, int64_t rows, int64_t cols, const msxk_masks *m) {
    if (cols == 32)
        norm_cols(fused, x, rows, 32, m);
    else if (cols == 16)
        norm_cols(fused, x, rows, 16, m);
    else
        norm_cols(fused, x, rows, cols, m);
}
MSXK_FUSED_VARIANTS(void, norm, (float *x, int64_t rows, int64_t cols, const msxk_masks *m),
                    (x, rows, cols, m));

/* ---- jobs --------------------------------------------------------------------------------------- */

/* `panels` panels, one `stride` behind the other: C (rows, cols) = A (rows, k) B (k, cols) */
static void multiply(const plan *p, const float *a, int64_t rows, int64_t k, const float *b,
                     int64_t stride_b, float *c, int64_t stride_c, int64_t panels) {
    int64_t strips = (rows + p->t->rows - 1) / p->t->rows;
    for (int64_t s = 0; s < strips; s++) {
        int64_t row = rows * s / strips, height = rows * (s + 1) / strips - row;
        for (int64_t i = 0; i < panels; i++)
            p->t->fn[height](k, a + row * k, k, b + i * stride_b,
                             c + i * stride_c + row * p->t->cols, p->t->cols, 0);
    }
}

/* One panel after its first product, channels (ky, kx, c), of n tokens; `at`: where each one's 4 x 4 pixels
 * begin in a mask. */
static void run_panel(const plan *p, int64_t problem, float *first, float *second, float *logits,
                      const int64_t *at, int64_t n) {
    const msxk_masks *m = p->m;
    int64_t cols = p->t->cols, side = 4 * m->grid, pixels = side * side;
    const float *vectors = m->vectors + problem * m->masks * m->quarter;
    for (int64_t k = 0; k < 4; k++) {
        float *map = first + k * m->half * cols;
        norm_on[p->dev->path](map, m->half, cols, m);
        multiply(p, m->w2, 4 * m->quarter, m->half, map, 0, second, 0, 1);
        for (int64_t l = 0; l < 4; l++) {
            float *part = second + l * m->quarter * cols;
            float *to = m->logits + problem * m->masks * pixels;
            to += (k / 2 * 2 + l / 2) * side + k % 2 * 2 + l % 2;
            bend_on[p->dev->path](part, m->quarter, cols, m->b2);
            multiply(p, vectors, m->masks, m->quarter, part, 0, logits, 0, 1);
            for (int64_t i = 0; i < m->masks; i++)
                for (int64_t c = 0; c < n; c++) to[i * pixels + at[c]] = logits[i * cols + c];
        }
    }
}

static void run_job(const plan *p, int64_t job, float *scratch) {
    const msxk_masks *m = p->m;
    int64_t problem = job / p->jobs, cols = p->t->cols, begin = job % p->jobs * JOB_PANELS * cols;
    int64_t end = msxk_cpu_min(begin + JOB_PANELS * cols, p->n);
    int64_t panels = (end - begin + cols - 1) / cols;
    const float *key = m->key + (problem * p->n + begin) * m->dim;
    float *keys = scratch, *first = keys + JOB_PANELS * p->keys;
    float *second = first + JOB_PANELS * p->first, *logits = second + p->second;
    msxk_pack_rows(p->t, keys, key, m->dim, end - begin, m->dim);
    multiply(p, m->w1, 4 * m->half, m->dim, keys, p->keys, first, p->first, panels);
    for (int64_t i = 0; i < panels; i++) {
        int64_t token = begin + i * cols, n = msxk_cpu_min(cols, end - token), at[MSXK_MOST_COLS];
        for (int64_t c = 0; c < n; c++)
            at[c] = 4 * ((token + c) / m->grid * 4 * m->grid + (token + c) % m->grid);
        run_panel(p, problem, first + i * p->first, second, logits, at, n);
    }
}

int msxk_cpu_masks(msx_kdev *dev, const msxk_masks *m) {
    if (m->batch <= 0 || m->grid <= 0 || m->masks <= 0) return MSXK_OK;
    if (m->dim <= 0 || m->half <= 0 || m->quarter <= 0)
        return msxk_cpu_fail(dev, MSXK_E_ARG, "masks of no channels");
    plan p = make_plan(dev, m);
    float *scratch = msxk_cpu_scratch(dev, dev->threads, p.thread);
    if (!scratch) return MSXK_E_NOMEM;
#pragma omp parallel for num_threads(dev->threads) schedule(dynamic)
    for (int64_t job = 0; job < m->batch * p.jobs; job++)
        run_job(&p, job, scratch + msxk_cpu_thread() * p.thread);
    return MSXK_OK;
}
