/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SAM's mask decoder: a two-way transformer between a prompt's tokens and the image's keys, then
 * upscaled keys times one vector per mask. The tokens as they came in are also the tokens' position
 * encoding everywhere. 8 heads; all norms of the transformer have eps 1e-5, the upscaling's 1e-6.
 *
 *   tokens (P,T,C), keys (P,N,C) -> logits (P,M,4g,4g), iou (P,M)
 *
 * Here is the memory of a chunk of prompts, and the prompt's side. The image's side, where the work is, runs
 * as sweeps or as separate steps, whichever the device has.
 */
#include "model/decoder.h"

#include <math.h>

bool msx__sweeps(const msx_model *m) {
    return m->device->k->two_way != NULL;
}

static int64_t small_width(const msx_model *m) {
    int64_t w = m->channels > m->inner ? m->channels : m->inner;
    return w > m->decoder_mlp ? w : m->decoder_mlp;
}

/* Floats per image token of the areas a and b: two projections, the upscaled keys, encoded masks. */
static int64_t region_width(const msx_model *m) {
    int64_t widths[] = {
        2 * m->inner,          m->upscale[0].out, 4 * m->upscale[1].out, 16,
        4 * m->mask_in[0].out, m->mask_in[1].in,  m->mask_in[1].out,     m->channels};
    int64_t most = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (widths[i] > most) most = widths[i];
    return most;
}

/* The areas in the order in which they are cut off; the sum for NULL. Sweeps need a and b for encoding
 * masks only. */
static int64_t layout(const msx_model *m, msx__chunk *c, float *memory) {
    int64_t p = c->prompts, n = m->tokens;
    int64_t region = msx__sweeps(m) && !c->masked ? 0 : p * n * region_width(m);
    struct {
        float **area;
        int64_t floats;
    } areas[] = {
        {&c->token, p * c->tokens * m->channels},
        {&c->key, p * n * m->channels},
        {&c->a, region},
        {&c->b, region},
        {&c->logits, p * m->masks * 16 * n},
        {&c->iou, p * m->masks},
        {&c->small, MSX__SMALL_AREAS * msx__carved(p * c->tokens * small_width(m))},
        {&c->absorbed, msx__sweeps(m) ? msx__absorbed_floats(m, c) : 0},
    };
    int64_t sum = 0;
    for (size_t i = 0; i < sizeof areas / sizeof *areas; i++) {
        if (memory) *areas[i].area = msx__carve(&memory, areas[i].floats);
        sum += msx__carved(areas[i].floats);
    }
    return sum;
}

int64_t msx__chunk_floats(const msx_model *m, int64_t prompts, int64_t tokens, bool masked) {
    msx__chunk c = {.prompts = prompts, .tokens = tokens, .masked = masked};
    return layout(m, &c, NULL);
}

void msx__chunk_place(const msx_model *m, msx__chunk *c, float *memory) {
    layout(m, c, memory);
}

float *msx__small(const msx_model *m, const msx__chunk *c, int area) {
    return c->small + area * msx__carved(c->prompts * c->tokens * small_width(m));
}

msx_status msx__add_position(msx_model *m, msx__chunk *c) {
    MSX_RUN(m->device, add_rows, msx__small(m, c, MSX__WITH_POSITION),
            msx__small(m, c, MSX__QUERIES), c->token, 1, c->prompts * c->tokens * m->channels);
    return MSX_OK;
}

msx_status msx__attend(msx_model *m, const msx__chunk *c, float *out, const float *q, int64_t tq,
                       const float *k, const float *v, int64_t stride, int64_t tk, int64_t width) {
    int64_t shared = stride == 0; /* then the prompts' queries are queries of one problem */
    msxk_cross cross = {
        .batch = shared ? 1 : c->prompts,
        .tq = shared ? c->prompts * tq : tq,
        .tk = tk,
        .heads = MSX__HEADS,
        .dim = width / MSX__HEADS,
        .scale = 1.0f / sqrtf((float)(width / MSX__HEADS)),
        .q = q,
        .stride_q = tq * width,
        .k = k,
        .stride_k = stride,
        .v = v,
        .stride_v = stride,
        .out = out,
        .stride_out = tq * width,
    };
    MSX_RUN(m->device, cross, &cross);
    return MSX_OK;
}

/* The first layer has neither position nor residual: its queries are nothing but position. */
msx_status msx__self_attention(msx_model *m, const msx__layer *l, bool first, msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens;
    float *queries = msx__small(m, c, MSX__QUERIES), *q = msx__small(m, c, MSX__Q);
    float *k = msx__small(m, c, MSX__K), *v = msx__small(m, c, MSX__V);
    float *out = msx__small(m, c, MSX__ATTENDED);
    const float *from = first ? c->token : msx__small(m, c, MSX__WITH_POSITION);
    if (!first) MSX_TRY(msx__add_position(m, c));
    MSX_TRY(msx__linear_run(m, &l->self.q, q, from, p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_run(m, &l->self.k, k, from, p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_run(m, &l->self.v, v, first ? c->token : queries, p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__attend(m, c, out, q, t, k, v, t * m->channels, t, m->channels));
    MSX_TRY(msx__linear_add(m, &l->self.out, queries, out, p, t, first ? NULL : queries, false));
    return msx__norm_run(m, &l->norm1, queries, queries, p * t, MSX__DECODER_EPS, MSXK_ACT_NONE);
}

msx_status msx__attended(msx_model *m, const msx__attention *a, const float *bias,
                         const msx__norm *norm, msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens;
    float *queries = msx__small(m, c, MSX__QUERIES), *out = msx__small(m, c, MSX__ATTENDED);
    msx__linear projection = a->out;
    if (bias) projection.b = bias;
    MSX_TRY(msx__linear_add(m, &projection, queries, out, p, t, queries, false));
    return msx__norm_run(m, norm, queries, queries, p * t, MSX__DECODER_EPS, MSXK_ACT_NONE);
}

msx_status msx__token_mlp(msx_model *m, const msx__layer *l, msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens;
    float *queries = msx__small(m, c, MSX__QUERIES), *hidden = msx__small(m, c, MSX__ATTENDED);
    MSX_TRY(msx__linear_run(m, &l->lin1, hidden, queries, p, t, MSXK_ACT_RELU));
    MSX_TRY(msx__linear_add(m, &l->lin2, queries, hidden, p, t, queries, false));
    return msx__norm_run(m, &l->norm3, queries, queries, p * t, MSX__DECODER_EPS, MSXK_ACT_NONE);
}

/* One token of every prompt through three linear layers with ReLU between; out rows `stride` apart. */
static msx_status run_mlp(msx_model *m, const msx__mlp *mlp, const msx__chunk *c, int64_t token,
                          float *out, int64_t stride) {
    const float *x = msx__small(m, c, MSX__QUERIES) + token * m->channels;
    int64_t x_stride = c->tokens * m->channels;
    for (int i = 0; i < 3; i++) {
        const msx__linear *l = mlp->layer + i;
        float *y = i == 2 ? out : msx__small(m, c, i == 0 ? MSX__Q : MSX__K);
        int64_t y_stride = i == 2 ? stride : l->out;
        msxk_gemm g = {
            .m = 1,
            .n = l->out,
            .k = l->in,
            .a = x,
            .lda = l->in,
            .w = l->w,
            .ldw = l->in,
            .w_transposed = 1,
            .bias = l->b,
            .c = y,
            .ldc = l->out,
            .alpha = 1.0f,
            .act = i < 2 ? MSXK_ACT_RELU : MSXK_ACT_NONE,
            .batch = c->prompts,
            .stride_a = x_stride,
            .stride_c = y_stride,
        };
        MSX_RUN(m->device, gemm, &g);
        x = y;
        x_stride = y_stride;
    }
    return MSX_OK;
}

msx_status msx__mask_vectors(msx_model *m, msx__chunk *c, float **out) {
    int64_t width = m->upscale[1].out / 4;
    *out = msx__small(m, c, MSX__ATTENDED);
    for (int64_t i = 0; i < m->masks; i++)
        MSX_TRY(run_mlp(m, m->hyper + i, c, 1 + i, *out + i * width, m->masks * width));
    return MSX_OK;
}

static msx_status run_decoder(msx_model *m, void *payload) {
    msx__chunk *c = payload;
    MSX_TRY(msx__sweeps(m) ? msx__decode_sweeps(m, c) : msx__decode_steps(m, c));
    return run_mlp(m, &m->iou, c, 0, c->iou, m->masks);
}

msx_status msx__decode(msx_model *m, msx__chunk *c) {
    msx__repeat_key key = {
        .what = MSX__REPEAT_DECODE, .memory = c->token, .sizes = {c->prompts, c->tokens}};
    return msx__repeat(m, key, run_decoder, c);
}
