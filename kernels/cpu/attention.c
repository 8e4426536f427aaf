/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoder attention with decomposed relative position, in windows or global.
 *
 * qkv (B*g*g, 3*H*d) -> per image, head and window: keys and values are packed, then blocks of queries
 *   rel_h[q, ky] = q . table_h[qy - ky + side - 1]    one product with the whole table, then a copy
 *   out = softmax(scale * q k^T + rel_h + rel_w) v    attend.c
 * SAM pads the normalised map with zeros before qkv and does not mask the padding, so a padded key is
 * exactly the bias of qkv; padded queries are cropped by SAM and never computed here.
 */
#include "kernels/cpu/attend.h"
#include "kernels/cpu/ops.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define MIN_BLOCKS 3 /* of a job: packing the keys costs about 16 queries' worth of work */

/* One window: its corner on the grid and how much of it lies on the grid. */
typedef struct window {
    int64_t y, x, rows, cols;
} window;

/* The shape of the work, the same for all jobs, and what a thread's scratch has room for. */
typedef struct plan {
    const msxk_attention *a;
    const msx_kdev *dev;
    const msxk_tiles *t; /* of float32, for relative positions */
    msxk_cpu_head head;
    int64_t width, across, parts; /* H*d; windows of a side; jobs of a window */
    int64_t element;              /* bytes of one of q, k, v and out */
    int64_t entries, ld;          /* of a table: 2 side - 1, and whole panels of them */
    const float *tables[2];       /* packed, backwards */
    /* floats: packed keys and values; those of a window; queries, and the same in float32; products with
     * a table; rel_h or rel_w; of attend.c */
    int64_t panels, keys, queries, wide, products, bias, block, total;
} plan;

static plan make_plan(const msx_kdev *dev, const msxk_attention *a) {
    plan p = {.a = a, .dev = dev, .t = msxk_cpu_tiles(dev->path), .width = a->heads * a->dim};
    int64_t keys = a->side * a->side, blocks = (keys + MSXK_CPU_QUERIES - 1) / MSXK_CPU_QUERIES;
    p.head.t = a->low ? msxk_cpu_low_tiles(dev->path) : p.t;
    p.head.low = a->low;
    p.head.keys = keys;
    p.head.dim = a->dim;
    p.element = a->low ? sizeof(msxk_low) : sizeof(float);
    p.across = (a->grid + a->side - 1) / a->side;
    int64_t windows = a->batch * a->heads * p.across * p.across;
    p.parts = msxk_cpu_min((4 * dev->threads + windows - 1) / windows, blocks / MIN_BLOCKS);
    if (dev->threads == 1 || p.parts < 1) p.parts = 1;
    p.entries = 2 * a->side - 1;
    p.ld = (p.entries + p.t->cols - 1) / p.t->cols * p.t->cols;
    p.panels = msxk_cpu_area(msxk_cpu_head_floats(&p.head));
    p.keys = a->side != a->grid ? msxk_cpu_area(keys * a->dim) : 0;
    p.queries = msxk_cpu_area(MSXK_CPU_QUERIES * (a->dim + 1));
    p.wide = a->low ? p.queries : 0;
    p.products = MSXK_CPU_QUERIES * p.ld;
    p.bias = (MSXK_CPU_QUERIES + 1) * msxk_cpu_area(a->side);
    p.block = msxk_cpu_area(msxk_cpu_attend_floats(&p.head));
    p.total = p.panels + 2 * p.keys + p.queries + p.wide + p.products + 2 * p.bias + p.block;
    return p;
}

/* Both tables as panels, the last entry first, so that the keys of a query find theirs in order; and
 * times 1 / scale, as the products are added to q k^T before that is scaled. */
static void pack_tables(plan *p, float *panels) {
    const msxk_attention *a = p->a;
    const float *from[] = {a->rel_h, a->rel_w};
    int64_t floats = p->ld * a->dim;
    for (int i = 0; i < 2; i++, panels += floats) {
        msxk_pack_rows(p->t, panels, from[i] + (p->entries - 1) * a->dim, -a->dim, p->entries,
                       a->dim);
        for (int64_t j = 0; j < floats; j++) panels[j] *= sqrtf((float)a->dim);
        p->tables[i] = panels;
    }
}

/* Where part `part` (q, k, v) of a token is. */
static const char *locate(const plan *p, int64_t image, int64_t token, int64_t part, int64_t head) {
    const msxk_attention *a = p->a;
    int64_t row = image * a->grid * a->grid + token;
    return (const char *)a->qkv + ((row * 3 + part) * p->width + head * a->dim) * p->element;
}

/* Token of the grid that is query `i` of a window. */
static int64_t query_token(const plan *p, window w, int64_t i) {
    return (w.y + i / w.cols) * p->a->grid + w.x + i % w.cols;
}

/* Keys or values (side*side, d) of a window: real ones, the padding from the bias. */
static void gather_keys(const plan *p, void *to, int64_t image, window w, int64_t part,
                        int64_t head) {
    const msxk_attention *a = p->a;
    const float *bias = a->qkv_bias + part * p->width + head * a->dim;
    int64_t bytes = a->dim * p->element;
    char *at = to;
    for (int64_t y = 0; y < a->side; y++)
        for (int64_t x = 0; x < a->side; x++, at += bytes) {
            int64_t token = (w.y + y) * a->grid + w.x + x;
            if (y < w.rows && x < w.cols)
                memcpy(at, locate(p, image, token, part, head), (size_t)bytes);
            else if (a->low)
                msxk_cpu_round(p->dev, (msxk_low *)(void *)at, bias, a->dim);
            else
                memcpy(at, bias, (size_t)bytes);
        }
}

static void pack_keys(const plan *p, msxk_cpu_head *head, float *scratch, int64_t image, window w,
                      int64_t number) {
    const msxk_attention *a = p->a;
    const void *k = locate(p, image, 0, 1, number), *v = locate(p, image, 0, 2, number);
    float *keys = scratch + p->panels, *values = keys + p->keys;
    int64_t ld = 3 * p->width;
    if (a->side != a->grid) {
        gather_keys(p, keys, image, w, 1, number);
        gather_keys(p, values, image, w, 2, number);
        k = keys, v = values, ld = a->dim;
    }
    msxk_cpu_head_pack(head, scratch, k, ld, v, ld);
}

/* bias[i, k] = q[i] . table[p_i - k + side - 1] / scale where p_i is the query's row (or column). */
static void relative(const plan *p, float *bias, float *products, const float *q, int which,
                     int64_t first, int64_t n, int64_t cols) {
    int64_t s = p->a->side, ld = msxk_cpu_area(s);
    msxk_multiply(p->t, n, p->entries, p->a->dim, q, p->a->dim, p->tables[which], products, p->ld,
                  0);
    for (int64_t i = 0; i < n; i++) {
        int64_t position = which == 0 ? (first + i) / cols : (first + i) % cols;
        memcpy(bias + i * ld, products + i * p->ld + s - 1 - position, (size_t)s * sizeof *bias);
    }
}

/* Queries [first, first + n) of the window's real tokens. */
static void run_block(const plan *p, const msxk_cpu_head *head, float *scratch, int64_t image,
                      int64_t number, window w, int64_t first, int64_t n) {
    const msxk_attention *a = p->a;
    float *q = scratch + p->panels + 2 * p->keys, *wide = p->wide ? q + p->queries : q;
    float *products = q + p->queries + p->wide, *bias_h = products + p->products;
    float *bias_w = bias_h + p->bias, *block = bias_w + p->bias;
    int64_t ld = msxk_cpu_words(head, a->dim), bytes = a->dim * p->element;
    char *out =
        (char *)a->out + (image * a->grid * a->grid * p->width + number * a->dim) * p->element;
    for (int64_t i = 0; i < n; i++) {
        msxk_low *odd = (msxk_low *)(void *)(q + i * ld) + a->dim;
        if (a->low && a->dim % 2) *odd = 0;
        memcpy(q + i * ld, locate(p, image, query_token(p, w, first + i), 0, number),
               (size_t)bytes);
        if (a->low)
            msxk_cpu_widen(p->dev, wide + i * a->dim, (msxk_low *)(void *)(q + i * ld), a->dim);
    }
    relative(p, bias_h, products, wide, 0, first, n, w.cols);
    relative(p, bias_w, products, wide, 1, first, n, w.cols);
    int64_t ldo = a->low ? 2 * ld : ld;
    msxk_cpu_queries queries = {.n = n,
                                .q = q,
                                .ldq = ld,
                                .scale = 1.0f / sqrtf((float)a->dim),
                                .side = a->side,
                                .bias_h = bias_h,
                                .bias_w = bias_w,
                                .out = q,
                                .ldo = ldo};
    msxk_cpu_attend(p->dev, head, &queries, block);
    for (int64_t i = 0; i < n; i++)
        memcpy(out + query_token(p, w, first + i) * p->width * p->element, q + i * ld,
               (size_t)bytes);
}

static void run_job(const plan *p, float *scratch, int64_t job) {
    const msxk_attention *a = p->a;
    int64_t part = job % p->parts, cell = job / p->parts % (p->across * p->across);
    int64_t head = job / p->parts / (p->across * p->across) % a->heads;
    int64_t image = job / p->parts / (p->across * p->across) / a->heads;
    window w = {.y = cell / p->across * a->side, .x = cell % p->across * a->side};
    w.rows = msxk_cpu_min(a->side, a->grid - w.y);
    w.cols = msxk_cpu_min(a->side, a->grid - w.x);
    int64_t n = w.rows * w.cols, blocks = (n + MSXK_CPU_QUERIES - 1) / MSXK_CPU_QUERIES;
    int64_t last = blocks * (part + 1) / p->parts;
    msxk_cpu_head packed = p->head;
    pack_keys(p, &packed, scratch, image, w, head);
    for (int64_t b = blocks * part / p->parts; b < last; b++) {
        int64_t first = n * b / blocks;
        run_block(p, &packed, scratch, image, head, w, first, n * (b + 1) / blocks - first);
    }
}

int msxk_cpu_attention(msx_kdev *dev, const msxk_attention *a) {
    if (a->batch <= 0 || a->grid <= 0 || a->heads <= 0 || a->dim <= 0) return MSXK_OK;
    if (a->side < 1) return msxk_cpu_fail(dev, MSXK_E_ARG, "attention: a window of no extent");
    if (a->low && !msxk_cpu_low_tiles(dev->path)) return msxk_cpu_attention_low(dev, a);
    plan p = make_plan(dev, a);
    int64_t tables = msxk_cpu_area(2 * p.ld * a->dim), area = msxk_cpu_area(p.total);
    float *scratch = msxk_cpu_scratch(dev, 1, tables + dev->threads * area);
    if (!scratch) return MSXK_E_NOMEM;
    pack_tables(&p, scratch);
    int64_t jobs = a->batch * a->heads * p.across * p.across * p.parts;
#pragma omp parallel for num_threads(dev->threads) schedule(dynamic)
    for (int64_t i = 0; i < jobs; i++) run_job(&p, scratch + tables + msxk_cpu_thread() * area, i);
    return MSXK_OK;
}
