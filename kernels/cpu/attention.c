/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoder attention with decomposed relative position, in windows or global.
 *
 * qkv (B*g*g, 3*H*d) -> per image, head, window and block of up to 128 queries:
 *   rel_h[q, ky] = q . table_h[qy - ky + side - 1]    one product with the whole table, then a gather
 *   out = softmax(scale * q k^T + rel_h + rel_w) v    attend.c
 * SAM pads the normalised map with zeros before qkv and does not mask the padding, so a padded key is
 * exactly the bias of qkv; padded queries are cropped by SAM and never computed here.
 */
#include "kernels/cpu/ops.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/* Scratch of one thread, in floats. */
typedef struct areas {
    int64_t table;   /* (queries, 2 side - 1): products with a table of relative positions */
    int64_t bias;    /* (queries, side), twice */
    int64_t queries; /* (queries, d), twice: q gathered from a window, and its output */
    int64_t keys;    /* (side*side, d), twice: k and v of a window with its padding */
    int64_t block;
    int64_t total;
} areas;

static areas measure(const msxk_attention *a) {
    int64_t keys = a->side * a->side, gathered = a->side != a->grid;
    areas s = {
        .table = MSXK_CPU_QUERIES * msxk_cpu_area(2 * a->side - 1),
        .bias = MSXK_CPU_QUERIES * msxk_cpu_area(a->side),
        .queries = gathered ? MSXK_CPU_QUERIES * msxk_cpu_area(a->dim) : 0,
        .keys = gathered ? msxk_cpu_area(keys * a->dim) : 0,
        .block = msxk_cpu_area(msxk_cpu_block_floats(keys, a->dim, a->side)),
    };
    s.total = s.table + 2 * s.bias + 2 * s.queries + 2 * s.keys + s.block;
    return s;
}

/* One window: its corner on the grid and how much of it lies on the grid. */
typedef struct window {
    int64_t y, x, rows, cols;
} window;

/* Rows of the (side*side, d) keys: real ones from qkv at `channel`, the padding from the bias. */
static void gather_keys(float *out, const msxk_attention *a, const float *image, window w,
                        int64_t channel) {
    size_t bytes = (size_t)a->dim * sizeof *out;
    int64_t row = 3 * a->heads * a->dim;
    for (int64_t y = 0; y < a->side; y++)
        for (int64_t x = 0; x < a->side; x++, out += a->dim) {
            const float *from = y < w.rows && x < w.cols
                                    ? image + ((w.y + y) * a->grid + w.x + x) * row
                                    : a->qkv_bias;
            memcpy(out, from + channel, bytes);
        }
}

/* bias[i, k] = q[i] . table[p_i - k + side - 1] where p_i is the query's row (or column). */
static void relative(float *bias, float *products, const msxk_attention *a, const float *q,
                     int64_t ldq, const float *table, int64_t first, int64_t n, int64_t cols,
                     int by_row) {
    int64_t s = a->side, entries = 2 * s - 1;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)n, (blasint)entries,
                (blasint)a->dim, 1.0f, q, (blasint)ldq, table, (blasint)a->dim, 0.0f, products,
                (blasint)entries);
    for (int64_t i = 0; i < n; i++) {
        int64_t position = by_row ? (first + i) / cols : (first + i) % cols;
        const float *from = products + i * entries + position + s - 1;
        for (int64_t k = 0; k < s; k++) bias[i * s + k] = from[-k];
    }
}

/* Queries [first, first + n) of the window's real tokens. */
static void run_block(const msx_kdev *dev, const msxk_attention *a, const areas *s, float *scratch,
                      int64_t image, int64_t head, window w, int64_t first, int64_t n) {
    int64_t width = a->heads * a->dim, row = 3 * width, channel = head * a->dim;
    const float *qkv = a->qkv + image * a->grid * a->grid * row;
    float *out = a->out + image * a->grid * a->grid * width;
    float *products = scratch, *bias_h = products + s->table, *bias_w = bias_h + s->bias;
    float *q = bias_w + s->bias, *result = q + s->queries, *k = result + s->queries;
    float *v = k + s->keys, *block = v + s->keys;
    size_t bytes = (size_t)a->dim * sizeof(float);
    msxk_cpu_block b = {
        .queries = n,
        .keys = a->side * a->side,
        .dim = a->dim,
        .scale = 1.0f / sqrtf((float)a->dim),
        .side = a->side,
        .bias_h = bias_h,
        .bias_w = bias_w,
    };
    if (a->side == a->grid) {
        b.q = qkv + first * row + channel;
        b.k = qkv + width + channel;
        b.v = qkv + 2 * width + channel;
        b.ldq = b.ldk = b.ldv = row;
        b.out = out + first * width + channel;
        b.ldo = width;
    } else {
        for (int64_t i = 0; i < n; i++) {
            int64_t y = w.y + (first + i) / w.cols, x = w.x + (first + i) % w.cols;
            memcpy(q + i * a->dim, qkv + (y * a->grid + x) * row + channel, bytes);
        }
        gather_keys(k, a, qkv, w, width + channel);
        gather_keys(v, a, qkv, w, 2 * width + channel);
        b.q = q, b.k = k, b.v = v, b.out = result;
        b.ldq = b.ldk = b.ldv = b.ldo = a->dim;
    }
    relative(bias_h, products, a, b.q, b.ldq, a->rel_h, first, n, w.cols, 1);
    relative(bias_w, products, a, b.q, b.ldq, a->rel_w, first, n, w.cols, 0);
    msxk_cpu_attend(dev, &b, block);
    for (int64_t i = 0; b.out == result && i < n; i++) {
        int64_t y = w.y + (first + i) / w.cols, x = w.x + (first + i) % w.cols;
        memcpy(out + (y * a->grid + x) * width + channel, result + i * a->dim, bytes);
    }
}

int msxk_cpu_attention(msx_kdev *dev, const msxk_attention *a) {
    if (a->batch <= 0 || a->grid <= 0 || a->heads <= 0 || a->dim <= 0) return MSXK_OK;
    if (a->side < 1) return msxk_cpu_fail(dev, MSXK_E_ARG, "attention: a window of no extent");
    if (a->side > 4096 || a->grid > 32768 || 3 * a->heads * a->dim > INT_MAX)
        return msxk_cpu_fail(dev, MSXK_E_ARG, "attention: sizes exceed what BLAS can count");
    if (a->low) return msxk_cpu_attention_low(dev, a);
    areas s = measure(a);
    float *scratch = msxk_cpu_scratch(dev, dev->threads, s.total);
    if (!scratch) return MSXK_E_NOMEM;
    int64_t across = (a->grid + a->side - 1) / a->side;
    int64_t blocks = (a->side * a->side + MSXK_CPU_QUERIES - 1) / MSXK_CPU_QUERIES;
    int64_t jobs = a->batch * a->heads * across * across * blocks;
#pragma omp parallel num_threads(dev->threads)
    {
        msxk_cpu_single_blas();
        float *mine = scratch + msxk_cpu_thread() * msxk_cpu_area(s.total);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < jobs; i++) {
            int64_t first = i % blocks * MSXK_CPU_QUERIES, cell = i / blocks % (across * across);
            int64_t head = i / blocks / (across * across) % a->heads;
            int64_t image = i / blocks / (across * across) / a->heads;
            window w = {.y = cell / across * a->side, .x = cell % across * a->side};
            w.rows = a->grid - w.y < a->side ? a->grid - w.y : a->side;
            w.cols = a->grid - w.x < a->side ? a->grid - w.x : a->side;
            int64_t n = w.rows * w.cols - first;
            if (n > MSXK_CPU_QUERIES) n = MSXK_CPU_QUERIES;
            if (n > 0) run_block(dev, a, &s, mine, image, head, w, first, n);
        }
    }
    return MSXK_OK;
}
