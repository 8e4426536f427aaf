/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C (M,N) = act(alpha * A (M,K) op(W) + bias) + residual, `batch` times.
 *
 * On paths with tiles of their own gemm_tiles.c multiplies, elsewhere CBLAS, but the division of the work is ours: a BLAS cuts a product by the number of
 * threads, and where the cuts fall decides the last bits. Chunks here follow from (M, N, K) alone and
 * begin anew in every problem of a batch, so that neither threads nor neighbours in a batch change a
 * result. The epilogue runs on a chunk while it is in cache.
 */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#include <cblas.h>
#include <limits.h>

#define MIN_ROWS   256         /* rows of a chunk: packing W costs a few rows' worth of work */
#define MAX_ROWS   2048        /* rows of a chunk when each is little work */
#define MAX_COLS   1024        /* columns of a chunk when there are many */
#define CHUNK_WORK (5LL << 18) /* multiplications that are worth a chunk of its own */
#define SERIAL     (1LL << 19) /* multiplications that are not worth waking threads */

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Rows of a chunk: about CHUNK_WORK multiplications, of equal size so that no small one is left. */
static int64_t chunk_rows(int64_t m, int64_t cols, int64_t k) {
    int64_t rows = CHUNK_WORK / (cols * (k > 0 ? k : 1));
    if (rows < MIN_ROWS) rows = MIN_ROWS;
    if (rows > MAX_ROWS) rows = MAX_ROWS;
    int64_t chunks = (m + rows - 1) / rows;
    return ((m + chunks - 1) / chunks + 15) / 16 * 16;
}

MSXK_INLINE void finish(int fused, float *x, int64_t ld, int64_t rows, int64_t cols,
                        const float *bias, int act, const float *residual, int64_t ldr) {
    for (int64_t r = 0; r < rows; r++) {
        float *row = x + r * ld;
        if (bias)
            for (int64_t c = 0; c < cols; c++) row[c] += bias[c];
        if (act == MSXK_ACT_GELU)
            for (int64_t c = 0; c < cols; c++) row[c] = msxk_gelu_of(fused, row[c]);
        if (act == MSXK_ACT_RELU)
            for (int64_t c = 0; c < cols; c++) row[c] = row[c] < 0.0f ? 0.0f : row[c];
        if (residual) {
            const float *add = residual + r * ldr;
            for (int64_t c = 0; c < cols; c++) row[c] += add[c];
        }
    }
}
MSXK_FUSED_VARIANTS(void, finish,
                    (float *x, int64_t ld, int64_t rows, int64_t cols, const float *bias, int act,
                     const float *residual, int64_t ldr),
                    (x, ld, rows, cols, bias, act, residual, ldr));

void msxk_cpu_epilogue(const msx_kdev *dev, float *x, int64_t ld, int64_t rows, int64_t cols,
                       const float *bias, int act, const float *residual, int64_t ldr) {
    if (bias || act != MSXK_ACT_NONE || residual)
        finish_on[dev->path](x, ld, rows, cols, bias, act, residual, ldr);
}

/* One chunk: rows [row, row + rows) and columns [col, col + cols) of problem p. A residual that is C
 * itself is accumulated upon by the product. */
static void run_chunk(const msx_kdev *dev, const msxk_gemm *g, int64_t p, int64_t row, int64_t rows,
                      int64_t col, int64_t cols) {
    const float *a = g->a + p * g->stride_a + row * g->lda;
    const float *w = g->w + p * g->stride_w + col * (g->w_transposed ? g->ldw : 1);
    const float *bias = g->bias ? g->bias + col : NULL;
    const float *residual = NULL;
    float *c = g->c + p * g->stride_c + row * g->ldc + col;
    int in_place = g->residual == g->c;
    if (g->residual && !in_place) residual = g->residual + p * g->stride_r + row * g->ldr + col;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, g->w_transposed ? CblasTrans : CblasNoTrans,
                (blasint)rows, (blasint)cols, (blasint)g->k, g->alpha, a, (blasint)g->lda, w,
                (blasint)g->ldw, in_place ? 1.0f : 0.0f, c, (blasint)g->ldc);
    msxk_cpu_epilogue(dev, c, g->ldc, rows, cols, bias, g->act, residual, g->ldr);
}

int msxk_cpu_gemm(msx_kdev *dev, const msxk_gemm *g) {
    int64_t batch = g->batch ? g->batch : 1;
    if (g->m <= 0 || g->n <= 0 || batch < 0) return MSXK_OK;
    const int64_t extents[] = {g->m, g->n, g->k, g->lda, g->ldw, g->ldc, g->ldr};
    for (size_t i = 0; i < sizeof extents / sizeof *extents; i++)
        if (extents[i] > INT_MAX)
            return msxk_cpu_fail(dev, MSXK_E_ARG, "gemm: %lld exceeds what BLAS can count",
                                 (long long)extents[i]);
    if (g->residual == g->c && (g->act != MSXK_ACT_NONE || g->ldr != g->ldc))
        return msxk_cpu_fail(dev, MSXK_E_ARG, "gemm: a residual in place takes no activation");
    int low = g->low & (MSXK_LOW_A | MSXK_LOW_W);
    if (low && low != (MSXK_LOW_A | MSXK_LOW_W))
        return msxk_cpu_fail(dev, MSXK_E_ARG, "gemm: only one factor is low");
    if (g->low & MSXK_LOW_C && g->residual)
        return msxk_cpu_fail(dev, MSXK_E_ARG, "gemm: a low result takes no residual");
    int threads = batch * g->m * g->n * (g->k + 1) > SERIAL ? dev->threads : 1;
    if (low ? msxk_cpu_low_tiles(dev->path) != NULL : dev->path != MSXK_PLAIN)
        return msxk_cpu_gemm_tiles(dev, g, threads);
    if (g->low) return msxk_cpu_gemm_low(dev, g);
    int64_t cols = g->n <= MAX_COLS * 3 / 2 ? g->n : MAX_COLS;
    int64_t rows = chunk_rows(g->m, cols, g->k);
    int64_t across = (g->n + cols - 1) / cols, down = (g->m + rows - 1) / rows;
    int64_t chunks = batch * down * across;
#pragma omp parallel num_threads(threads)
    {
        msxk_cpu_single_blas();
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < chunks; i++) {
            int64_t p = i / (down * across), row = i / across % down * rows,
                    col = i % across * cols;
            run_chunk(dev, g, p, row, smaller(rows, g->m - row), col, smaller(cols, g->n - col));
        }
    }
    return MSXK_OK;
}
