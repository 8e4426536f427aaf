/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SAM's image encoder (Kirillov et al. 2023; a ViT with windows as in Li et al. 2022):
 *   patches -> linear + position -> blocks [x += attention(norm(x)); x += mlp(norm(x))] -> neck
 * There is no norm after the last block. x is float32; y and h feed products and are of the device's
 * low format where the model has one ("mixed").
 */
#include "model/network.h"

/* Working memory that one batch may use on a device of its own. On the host one image at a time stays
 * closest to the cache. */
#define DEVICE_BUDGET ((int64_t)2 << 30)

/* Per image, in floats: x and y (N, D or C), and h, the widest intermediate. */
static int64_t narrow_floats(const msx_model *m) {
    return m->tokens * (m->width > m->channels ? m->width : m->channels);
}
static int64_t wide_floats(const msx_model *m) {
    int64_t widths[] = {3 * m->width, m->hidden, m->patch_embed.in, 9 * m->channels}, most = 0;
    for (int i = 0; i < 4; i++)
        if (widths[i] > most) most = widths[i];
    return m->tokens * most;
}

/* What `floats` mixed elements take. */
static int64_t mixed(const msx_model *m, int64_t floats) {
    return m->low ? (floats + 1) / 2 : floats;
}

int64_t msx__encode_bytes(const msx_model *m) {
    return (narrow_floats(m) + mixed(m, narrow_floats(m) + wide_floats(m))) *
           (int64_t)sizeof(float);
}

int64_t msx__encode_batch(const msx_model *m) {
    int64_t n = m->device->k->host_memory ? 1 : DEVICE_BUDGET / msx__encode_bytes(m);
    return n < 1 ? 1 : n;
}

/* x (B,N,D); y (B,N,D) and h (B,N,wide) are overwritten. */
static msx_status run_block(msx_model *m, const msx__block *b, int64_t batch, float *x, float *y,
                            float *h) {
    int64_t n = m->tokens, rows = batch * n;
    MSX_TRY(msx__norm_run_mixed(m, &b->norm1, y, x, rows, MSX__ENCODER_EPS));
    MSX_TRY(msx__linear_run_mixed(m, &b->qkv, h, y, batch, n, MSXK_ACT_NONE));
    msxk_attention attention = {
        .batch = batch,
        .grid = m->grid,
        .side = b->side,
        .heads = m->heads,
        .dim = m->width / m->heads,
        .qkv = h,
        .qkv_bias = b->qkv.b,
        .rel_h = b->rel_h,
        .rel_w = b->rel_w,
        .out = y,
        .low = m->low != NULL,
    };
    MSX_RUN(m->device, attention, &attention);
    MSX_TRY(msx__linear_add_mixed(m, &b->proj, x, y, batch, n, x));
    MSX_TRY(msx__norm_run_mixed(m, &b->norm2, y, x, rows, MSX__ENCODER_EPS));
    MSX_TRY(msx__linear_run_mixed(m, &b->lin1, h, y, batch, n, MSXK_ACT_GELU));
    return msx__linear_add_mixed(m, &b->lin2, x, h, batch, n, x);
}

/* x (B,N,D), overwritten, -> out (B,N,C): 1x1 convolution, norm, 3x3 convolution, norm */
static msx_status run_neck(msx_model *m, int64_t batch, float *x, float *y, float *h, float *out) {
    int64_t n = m->tokens, rows = batch * n;
    if (m->low) MSX_RUN(m->device, narrow, (msxk_low *)(void *)y, x, rows * m->width);
    MSX_TRY(msx__linear_add_mixed(m, &m->neck1, out, m->low ? y : x, batch, n, NULL));
    MSX_TRY(msx__norm_run_mixed(m, &m->neck_norm1, y, out, rows, MSX__ENCODER_EPS));
    if (m->low)
        MSX_RUN(m->device, im2col3_low, (msxk_low *)(void *)h, (msxk_low *)(void *)y, batch,
                m->grid, m->channels);
    else
        MSX_RUN(m->device, im2col3, h, y, batch, m->grid, m->channels);
    MSX_TRY(msx__linear_add_mixed(m, &m->neck2, out, h, batch, n, NULL));
    return msx__norm_run(m, &m->neck_norm2, out, out, rows, MSX__ENCODER_EPS, MSXK_ACT_NONE);
}

/* Memory of one batch, and the piece of the network that is run on it: from boundary `first` (INPUT: from
 * the input) to boundary `last` (m->depth + 1: through the neck). */
enum { INPUT = -1 };
typedef struct encoding {
    int64_t batch, first, last;
    const float *input; /* (B,3,S,S) */
    float *x, *y, *h, *out;
} encoding;

/* input -> x (B,N,D) at boundary 0 */
static msx_status run_patches(msx_model *m, const encoding *e) {
    int64_t n = m->tokens;
    if (m->low)
        MSX_RUN(m->device, patchify_low, (msxk_low *)(void *)e->h, e->input, e->batch, m->grid,
                m->patch);
    else
        MSX_RUN(m->device, patchify, e->h, e->input, e->batch, m->grid, m->patch);
    MSX_TRY(msx__linear_add_mixed(m, &m->patch_embed, e->x, e->h, e->batch, n, NULL));
    msx__tap(m, "patch_embed", 0, e->x, e->batch * n * m->width);
    MSX_RUN(m->device, add_rows, e->x, e->x, m->pos_embed, e->batch, n * m->width);
    return MSX_OK;
}

static msx_status run_piece(msx_model *m, void *payload) {
    const encoding *e = payload;
    int64_t floats = e->batch * m->tokens * m->width;
    int64_t end = e->last < m->depth ? e->last : m->depth;
    if (e->first == INPUT) MSX_TRY(run_patches(m, e));
    for (int64_t i = e->first < 0 ? 0 : e->first; i < end; i++) {
        MSX_TRY(msx__check_cancel(m->ctx));
        MSX_TRY(run_block(m, m->blocks + i, e->batch, e->x, e->y, e->h));
        msx__tap(m, "block", i, e->x, floats);
    }
    return e->last > m->depth ? run_neck(m, e->batch, e->x, e->y, e->h, e->out) : MSX_OK;
}

/* Everything that is asked for, piece by piece: x is copied out between two pieces and not inside of one,
 * so that what a device repeats only touches the working memory. */
static msx_status run_pieces(msx_model *m, encoding *e, const msx__passage *p,
                             msx__repeat_key key) {
    size_t bytes = (size_t)(e->batch * m->tokens * m->width) * sizeof(float);
    int64_t at = p->x ? p->first : INPUT;
    if (p->x) MSX_RUN(m->device, copy, e->x, p->x, bytes);
    do {
        e->first = at;
        do at++;
        while (at <= m->depth && !(p->keep && p->keep[at]));
        e->last = at;
        key.sizes[1] = e->first * (m->depth + 2) + e->last;
        MSX_TRY(msx__repeat(m, key, run_piece, e));
        if (at <= m->depth) MSX_RUN(m->device, copy, p->keep[at], e->x, bytes);
    } while (at <= m->depth);
    return MSX_OK;
}

/* On a device of its own the input and the result have places in the working memory, so that the same
 * calls with the same arguments come again for every batch. */
msx_status msx__encode(msx_model *m, const msx__input *in, const msx__passage *p, int64_t batch,
                       float *out) {
    static const msx__passage all = {0};
    if (!p) p = &all;
    int64_t narrow = batch * narrow_floats(m), wide = mixed(m, batch * wide_floats(m));
    int64_t pixels = p->x ? 0 : batch * 3 * m->image_size * m->image_size;
    int64_t result = batch * m->tokens * m->channels;
    bool host = m->device->k->host_memory;
    float *memory;
    MSX_TRY(msx__model_work(m,
                            msx__carved(narrow) + msx__carved(mixed(m, narrow)) +
                                msx__carved(wide) +
                                (host ? 0 : msx__carved(result) + msx__carved(pixels)),
                            &memory));
    encoding e = {.batch = batch, .input = p->x ? NULL : in->host, .out = out};
    msx__repeat_key key = {.what = MSX__REPEAT_ENCODE, .memory = memory, .sizes = {batch}};
    e.x = msx__carve(&memory, narrow);
    e.y = msx__carve(&memory, mixed(m, narrow));
    e.h = msx__carve(&memory, wide);
    if (host) return run_pieces(m, &e, p, key);
    e.out = msx__carve(&memory, result);
    float *there = msx__carve(&memory, pixels);
    e.input = there;
    if (!p->x && in->host)
        MSX_RUN(m->device, upload, there, in->host, (size_t)pixels * sizeof *there);
    else if (!p->x)
        MSX_TRY(in->fill(m, there, batch, in->payload));
    MSX_TRY(run_pieces(m, &e, p, key));
    MSX_RUN(m->device, copy, out, e.out, (size_t)result * sizeof *out);
    return MSX_OK;
}
