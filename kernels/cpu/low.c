/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Low precision on the CPU is bfloat16: the upper half of a float32. Products and attention widen
 * their operands, compute as in float32 and round the result once, so the format of the operands is
 * all that differs.
 */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#define CHUNK        8192
#define SERIAL_ITEMS (1 << 17)

/* Nearest even; a NaN keeps its sign and stays one. */
MSXK_INLINE void round_row(msxk_low *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        y[i] = (msxk_low)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
    }
}
MSXK_VARIANTS(void, round_row, (msxk_low * y, const float *x, int64_t n), (y, x, n));

MSXK_INLINE void widen_row(float *y, const msxk_low *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(y + i, &bits, sizeof bits);
    }
}
MSXK_VARIANTS(void, widen_row, (float *y, const msxk_low *x, int64_t n), (y, x, n));

void msxk_cpu_round(const msx_kdev *dev, msxk_low *y, const float *x, int64_t n) {
    round_row_on[dev->path](y, x, n);
}

void msxk_cpu_widen(const msx_kdev *dev, float *y, const msxk_low *x, int64_t n) {
    widen_row_on[dev->path](y, x, n);
}

int msxk_cpu_narrow(msx_kdev *dev, msxk_low *y, const float *x, int64_t n) {
    int threads = n > SERIAL_ITEMS ? dev->threads : 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t first = 0; first < n; first += CHUNK)
        msxk_cpu_round(dev, y + first, x + first, msxk_cpu_min(CHUNK, n - first));
    return MSXK_OK;
}

/* `rows` rows of `cols` elements, `from` with leading dimension `ld`; the copy is without gaps. */
static void widen_rows(const msx_kdev *dev, float *to, const void *from, int64_t rows, int64_t cols,
                       int64_t ld) {
    int threads = rows * cols > SERIAL_ITEMS ? dev->threads : 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        msxk_cpu_widen(dev, to + r * cols, (const msxk_low *)from + r * ld, cols);
}

static void round_rows(const msx_kdev *dev, void *to, int64_t ld, const float *from, int64_t rows,
                       int64_t cols) {
    int threads = rows * cols > SERIAL_ITEMS ? dev->threads : 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        msxk_cpu_round(dev, (msxk_low *)to + r * ld, from + r * cols, cols);
}

/* Element `i` of an operand that may be low. */
static const float *element(const float *x, int low, int64_t i) {
    return low ? (const float *)(const void *)((const msxk_low *)(const void *)x + i) : x + i;
}

/* One problem after the other, each in float32 between widened operands and a rounded result. */
int msxk_cpu_gemm_low(msx_kdev *dev, const msxk_gemm *g) {
    int low_in = g->low & (MSXK_LOW_A | MSXK_LOW_W), low_out = g->low & MSXK_LOW_C;
    int64_t w_rows = g->w_transposed ? g->n : g->k, w_cols = g->w_transposed ? g->k : g->n;
    int64_t a_floats = low_in ? msxk_cpu_area(g->m * g->k) : 0;
    int64_t w_floats = low_in ? msxk_cpu_area(w_rows * w_cols) : 0;
    int64_t c_floats = low_out ? g->m * g->n : 0;
    float *a = msxk_cpu_alloc(dev, (size_t)(a_floats + w_floats + c_floats) * sizeof *a);
    if (!a) return MSXK_E_NOMEM;
    float *w = a + a_floats, *c = w + w_floats;
    int code = MSXK_OK;
    for (int64_t p = 0; p < (g->batch ? g->batch : 1) && code == MSXK_OK; p++) {
        msxk_gemm one = *g;
        one.low = 0;
        one.batch = 1;
        one.a = element(g->a, low_in, p * g->stride_a);
        one.w = element(g->w, low_in, p * g->stride_w);
        one.c = g->c + (low_out ? 0 : p * g->stride_c);
        if (g->residual) one.residual = g->residual + p * g->stride_r;
        if (low_in) {
            widen_rows(dev, a, one.a, g->m, g->k, g->lda);
            if (p == 0 || g->stride_w) widen_rows(dev, w, one.w, w_rows, w_cols, g->ldw);
            one.a = a, one.w = w;
            one.lda = g->k > 0 ? g->k : 1;
            one.ldw = w_cols > 0 ? w_cols : 1;
        }
        if (low_out) one.c = c, one.ldc = g->n;
        code = msxk_cpu_gemm(dev, &one);
        if (low_out && code == MSXK_OK)
            round_rows(dev, (msxk_low *)(void *)g->c + p * g->stride_c, g->ldc, c, g->m, g->n);
    }
    msxk_cpu_release(dev, a);
    return code;
}

int msxk_cpu_attention_low(msx_kdev *dev, const msxk_attention *a) {
    int64_t width = a->heads * a->dim, rows = a->batch * a->grid * a->grid;
    int64_t qkv_floats = msxk_cpu_area(rows * 3 * width), bias_floats = msxk_cpu_area(3 * width);
    int64_t floats = qkv_floats + bias_floats + rows * width + 2 * width;
    float *qkv = msxk_cpu_alloc(dev, (size_t)floats * sizeof *qkv);
    if (!qkv) return MSXK_E_NOMEM;
    float *bias = qkv + qkv_floats, *out = bias + bias_floats;
    msxk_low *rounded = (msxk_low *)(void *)(out + rows * width);
    widen_rows(dev, qkv, a->qkv, rows, 3 * width, 3 * width);
    msxk_cpu_round(dev, rounded, a->qkv_bias, 3 * width);
    msxk_cpu_widen(dev, bias, rounded, 3 * width);
    msxk_attention wide = *a;
    wide.low = 0;
    wide.qkv = qkv;
    wide.qkv_bias = bias;
    wide.out = out;
    int code = msxk_cpu_attention(dev, &wide);
    if (code == MSXK_OK) round_rows(dev, a->out, width, out, rows, width);
    msxk_cpu_release(dev, qkv);
    return code;
}
