/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products on paths with tiles. A job is a chunk of columns times a chunk of rows: it packs its columns
 * of W, a block of k at a time, so that they stay in the second-level cache, and walks down the rows in
 * strips of a tile's height. The epilogue runs on a strip that is still in the first-level cache.
 *
 * Elements of C are sums over k in blocks that follow from K alone: the cutting into jobs, which does
 * depend on the number of threads, changes no bit.
 */
#include "kernels/cpu/ops.h"

#include <string.h>

#define BLOCK    768 /* words of k in a block */
#define MIN_ROWS 112 /* of a job: packing W costs a few rows' worth of work */

/* The shape of the work, the same for all jobs. */
typedef struct plan {
    const msxk_gemm *g;
    const msx_kdev *dev;
    const msxk_tiles *t;
    int low;              /* A and W are bfloat16 */
    int64_t words, block; /* of k; of k in a block */
    int64_t cols, rows;   /* of a job */
    int64_t across, down; /* jobs of a problem */
    int64_t staged;       /* leading dimension of staged rows of A; 0: A is read in place */
    int buffered;         /* sums do not pass through C, which is low, or scaled */
    int64_t panels, strip, staging; /* scratch of a thread, in floats */
} plan;

static int64_t round_up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* Rows of A whose distance is a multiple of a few cache sets' reach evict each other; pairs of bfloat16
 * must start at even elements. Such rows are copied, a strip at a time. */
static int needs_staging(const msxk_gemm *g, int low) {
    if (low)
        return g->k % 2 || g->lda % 2 || g->stride_a % 2 || (uintptr_t)g->a % 4 ||
               g->lda % 1024 == 0;
    return g->lda % 512 == 0;
}

static plan make_plan(const msx_kdev *dev, const msxk_gemm *g, int threads) {
    plan p = {.g = g, .dev = dev, .low = (g->low & MSXK_LOW_A) != 0};
    p.t = p.low ? msxk_cpu_low_tiles(dev->path) : msxk_cpu_tiles(dev->path);
    p.words = p.low ? (g->k + 1) / 2 : g->k;
    p.buffered = g->low & MSXK_LOW_C || g->alpha != 1.0f;
    int64_t blocks = p.buffered || p.words == 0 ? 1 : (p.words + BLOCK - 1) / BLOCK;
    p.block = (p.words + blocks - 1) / blocks;
    p.cols = dev->panels * p.t->cols;
    p.across = (g->n + p.cols - 1) / p.cols;
    int64_t jobs = (g->batch ? g->batch : 1) * p.across;
    int64_t down = threads > 1 ? (4 * threads + jobs - 1) / jobs : 1;
    p.rows = round_up((g->m + down - 1) / down, p.t->rows);
    if (p.rows < MIN_ROWS) p.rows = round_up(MIN_ROWS, p.t->rows);
    p.down = (g->m + p.rows - 1) / p.rows;
    /* Matrix registers load 16 rows at a time: those of a copy are neighbours. */
    if (needs_staging(g, p.low) || p.t->enter) p.staged = round_up(p.block, 16) + 16;
    p.panels = p.cols * p.block;
    p.strip = p.t->rows * p.cols;
    p.staging = p.t->rows * p.staged;
    return p;
}

/* Columns [col, col + cols) of W, words [first, first + k). */
static void pack(const plan *p, float *panels, const float *w, int64_t col, int64_t cols,
                 int64_t first, int64_t k) {
    const msxk_gemm *g = p->g;
    if (!p->low) {
        if (g->w_transposed)
            msxk_pack_rows(p->t, panels, w + col * g->ldw + first, g->ldw, cols, k);
        else
            msxk_pack_columns(p->t, panels, w + first * g->ldw + col, g->ldw, cols, k);
        return;
    }
    const msxk_low *low = (const msxk_low *)(const void *)w;
    int64_t elements = msxk_cpu_min(2 * k, g->k - 2 * first);
    if (g->w_transposed && elements == 2 * k && g->ldw % 2 == 0 && (uintptr_t)w % 4 == 0)
        msxk_pack_rows(p->t, panels, w + (col * g->ldw) / 2 + first, g->ldw / 2, cols, k);
    else if (g->w_transposed)
        msxk_pack_pairs(p->t, panels, low + col * g->ldw + 2 * first, 1, g->ldw, cols, elements);
    else
        msxk_pack_pairs(p->t, panels, low + 2 * first * g->ldw + col, g->ldw, 1, cols, elements);
}

/* `rows` rows of problem `i`, words [first, first + k) of A, copied to where they do not collide. */
static const msxk_word *stage(const plan *p, float *to, int64_t i, int64_t row, int64_t rows,
                              int64_t first, int64_t k) {
    const msxk_gemm *g = p->g;
    int64_t start = i * g->stride_a + row * g->lda;
    const float *a = g->a + start + first;
    const msxk_low *low = (const msxk_low *)(const void *)g->a + start + 2 * first;
    if (!p->staged) return p->low ? (const msxk_word *)(const void *)low : a;
    int64_t elements = p->low ? msxk_cpu_min(2 * k, g->k - 2 * first) : k;
    size_t bytes = (size_t)elements * (p->low ? sizeof *low : sizeof *a);
    for (int64_t r = 0; r < rows; r++) {
        const void *from = p->low ? (const void *)(low + r * g->lda) : a + r * g->lda;
        memset(to + r * p->staged + k - (k > 0), 0, sizeof *to); /* the other half of an odd pair */
        memcpy(to + r * p->staged, from, bytes);
    }
    return to;
}

/* One strip of C in problem `i`, from words [first, first + k) of k. */
static void run_strip(const plan *p, float *scratch, int64_t i, int64_t row, int64_t rows,
                      int64_t col, int64_t cols, int64_t first, int64_t k) {
    const msxk_gemm *g = p->g;
    const float *residual = NULL, *panels = scratch;
    float *strip = scratch + p->panels, *staging = strip + p->strip;
    const msxk_word *a = stage(p, staging, i, row, rows, first, k);
    int64_t lda = p->staged ? p->staged : p->low ? g->lda / 2 : g->lda;
    int in_place = g->residual == g->c && g->residual;
    int low_c = (g->low & MSXK_LOW_C) != 0, direct = !p->buffered && cols % p->t->cols == 0;
    int64_t at = i * g->stride_c + row * g->ldc + col;
    float *c = g->c + (low_c ? 0 : at), *to = direct ? c : strip;
    int64_t ld = direct ? g->ldc : p->cols;
    int accumulate = first > 0 || (in_place && !p->buffered);
    if (accumulate && !direct)
        for (int64_t r = 0; r < rows; r++)
            memcpy(to + r * ld, c + r * g->ldc, (size_t)cols * sizeof *c);
    msxk_multiply(p->t, rows, cols, k, a, lda, panels, to, ld, accumulate);
    if (first + k == p->words) {
        if (g->residual && (!in_place || p->buffered))
            residual = g->residual + i * g->stride_r + row * g->ldr + col;
        for (int64_t r = 0; g->alpha != 1.0f && r < rows; r++)
            for (int64_t j = 0; j < cols; j++) to[r * ld + j] *= g->alpha;
        msxk_cpu_epilogue(p->dev, to, ld, rows, cols, g->bias ? g->bias + col : NULL, g->act,
                          residual, g->ldr);
    }
    for (int64_t r = 0; !direct && r < rows; r++)
        if (low_c)
            msxk_cpu_round(p->dev, (msxk_low *)(void *)g->c + at + r * g->ldc, to + r * ld, cols);
        else
            memcpy(c + r * g->ldc, to + r * ld, (size_t)cols * sizeof *c);
}

static void run_job(const plan *p, float *scratch, int64_t job) {
    const msxk_gemm *g = p->g;
    int64_t i = job / (p->down * p->across), top = job / p->across % p->down * p->rows;
    int64_t col = job % p->across * p->cols, cols = msxk_cpu_min(p->cols, g->n - col);
    int64_t height = msxk_cpu_min(p->rows, g->m - top);
    int64_t strips = (height + p->t->rows - 1) / p->t->rows, first = 0;
    const float *w =
        p->low
            ? (const float *)(const void *)((const msxk_low *)(const void *)g->w + i * g->stride_w)
            : g->w + i * g->stride_w;
    do {
        int64_t k = msxk_cpu_min(p->block, p->words - first);
        pack(p, scratch, w, col, cols, first, k);
        for (int64_t s = 0; s < strips; s++) {
            int64_t row = height * s / strips, rows = height * (s + 1) / strips - row;
            run_strip(p, scratch, i, top + row, rows, col, cols, first, k);
        }
        first += k;
    } while (first < p->words);
}

/* Problems that share W and follow each other at the distance of rows are one tall problem: W is packed
 * once. */
static msxk_gemm stack(const msxk_gemm *g) {
    msxk_gemm tall = *g;
    if (g->batch < 2 || g->stride_w) return tall;
    if (g->m == 1) tall.lda = g->stride_a, tall.ldc = g->stride_c, tall.ldr = g->stride_r;
    if (g->stride_a != g->m * tall.lda || g->stride_c != g->m * tall.ldc ||
        (g->residual && g->stride_r != g->m * tall.ldr))
        return *g;
    tall.m *= g->batch;
    tall.batch = 1;
    return tall;
}

int msxk_cpu_gemm_tiles(msx_kdev *dev, const msxk_gemm *given, int threads) {
    msxk_gemm tall = stack(given), *g = &tall;
    plan p = make_plan(dev, g, threads);
    int64_t floats = p.panels + p.strip + p.staging;
    float *scratch = msxk_cpu_scratch(dev, threads, floats);
    if (!scratch) return MSXK_E_NOMEM;
    int64_t jobs = (g->batch ? g->batch : 1) * p.down * p.across;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t job = 0; job < jobs; job++)
        run_job(&p, scratch + msxk_cpu_thread() * msxk_cpu_area(floats), job);
    return MSXK_OK;
}
