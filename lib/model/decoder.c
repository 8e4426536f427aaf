/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SAM's mask decoder: a two-way transformer between a prompt's tokens and the image's keys, then
 * upscaled keys times one vector per mask. The tokens as they came in are also the tokens' position
 * encoding everywhere. 8 heads; all norms of the transformer have eps 1e-5, the upscaling's 1e-6.
 *
 *   tokens (P,T,C), keys (P,N,C) -> logits (P,M,4g,4g), iou (P,M)
 */
#include "model/network.h"

#include <math.h>

#define HEADS 8

/* Token-sized intermediates: `count` areas as wide as the widest. */
enum { QUERIES, WITH_POSITION, Q, K, V, ATTENDED, SMALL_AREAS };

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

/* The areas in the order in which they are cut off; the sum for NULL. */
static int64_t layout(const msx_model *m, msx__chunk *c, float *memory) {
    int64_t p = c->prompts, n = m->tokens;
    struct {
        float **area;
        int64_t floats;
    } areas[] = {
        {&c->token, p * c->tokens * m->channels},
        {&c->key, p * n * m->channels},
        {&c->a, p * n * region_width(m)},
        {&c->b, p * n * region_width(m)},
        {&c->logits, p * m->masks * 16 * n},
        {&c->iou, p * m->masks},
        {&c->small, SMALL_AREAS * msx__carved(p * c->tokens * small_width(m))},
    };
    int64_t sum = 0;
    for (size_t i = 0; i < sizeof areas / sizeof *areas; i++) {
        if (memory) *areas[i].area = msx__carve(&memory, areas[i].floats);
        sum += msx__carved(areas[i].floats);
    }
    return sum;
}

int64_t msx__chunk_floats(const msx_model *m, int64_t prompts, int64_t tokens) {
    msx__chunk c = {.prompts = prompts, .tokens = tokens};
    return layout(m, &c, NULL);
}

void msx__chunk_place(const msx_model *m, msx__chunk *c, float *memory) {
    layout(m, c, memory);
}

static float *small(const msx_model *m, const msx__chunk *c, int area) {
    return c->small + area * msx__carved(c->prompts * c->tokens * small_width(m));
}

/* queries + position, into its area */
static msx_status add_position(msx_model *m, msx__chunk *c) {
    MSX_RUN(m->device, add_rows, small(m, c, WITH_POSITION), small(m, c, QUERIES), c->token, 1,
            c->prompts * c->tokens * m->channels);
    return MSX_OK;
}

static msx_status attend(msx_model *m, const msx__chunk *c, float *out, const float *q, int64_t tq,
                         const float *k, const float *v, int64_t tk, int64_t width) {
    msxk_cross cross = {
        .batch = c->prompts,
        .tq = tq,
        .tk = tk,
        .heads = HEADS,
        .dim = width / HEADS,
        .scale = 1.0f / sqrtf((float)(width / HEADS)),
        .q = q,
        .stride_q = tq * width,
        .k = k,
        .stride_k = tk * width,
        .v = v,
        .stride_v = tk * width,
        .out = out,
        .stride_out = tq * width,
    };
    MSX_RUN(m->device, cross, &cross);
    return MSX_OK;
}

/* The first layer has neither position nor residual: its queries are nothing but position. */
static msx_status self_attention(msx_model *m, const msx__layer *l, bool first, msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens;
    float *queries = small(m, c, QUERIES), *positioned = small(m, c, WITH_POSITION);
    float *q = small(m, c, Q), *k = small(m, c, K), *v = small(m, c, V);
    float *out = small(m, c, ATTENDED);
    const float *from = first ? c->token : positioned;
    if (!first) MSX_TRY(add_position(m, c));
    MSX_TRY(msx__linear_run(m, &l->self.q, q, from, p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_run(m, &l->self.k, k, from, p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_run(m, &l->self.v, v, first ? c->token : queries, p, t, MSXK_ACT_NONE));
    MSX_TRY(attend(m, c, out, q, t, k, v, t, m->channels));
    MSX_TRY(msx__linear_add(m, &l->self.out, queries, out, p, t, first ? NULL : queries, false));
    return msx__norm_run(m, &l->norm1, queries, queries, p * t, MSX__DECODER_EPS, MSXK_ACT_NONE);
}

/* queries += attention(queries + position, keys + position, keys); norm */
static msx_status token_to_image(msx_model *m, const msx__attention *a, const msx__norm *norm,
                                 msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens, n = m->tokens;
    float *queries = small(m, c, QUERIES), *q = small(m, c, Q), *out = small(m, c, ATTENDED);
    float *k = c->a, *v = c->b;
    msx__linear k_plain = a->k;
    k_plain.b = NULL; /* in a->position already */
    MSX_TRY(add_position(m, c));
    MSX_TRY(msx__linear_run(m, &a->q, q, small(m, c, WITH_POSITION), p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_add(m, &k_plain, k, c->key, p, n, a->position, true));
    MSX_TRY(msx__linear_run(m, &a->v, v, c->key, p, n, MSXK_ACT_NONE));
    MSX_TRY(attend(m, c, out, q, t, k, v, n, m->inner));
    MSX_TRY(msx__linear_add(m, &a->out, queries, out, p, t, queries, false));
    return msx__norm_run(m, norm, queries, queries, p * t, MSX__DECODER_EPS, MSXK_ACT_NONE);
}

/* keys += attention(keys + position, queries + position, queries); norm */
static msx_status image_to_token(msx_model *m, const msx__layer *l, msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens, n = m->tokens;
    const msx__attention *a = &l->image_to_token;
    float *q = c->a, *out = c->b, *k = small(m, c, K), *v = small(m, c, V);
    msx__linear q_plain = a->q;
    q_plain.b = NULL;
    MSX_TRY(add_position(m, c));
    MSX_TRY(msx__linear_add(m, &q_plain, q, c->key, p, n, a->position, true));
    MSX_TRY(msx__linear_run(m, &a->k, k, small(m, c, WITH_POSITION), p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_run(m, &a->v, v, small(m, c, QUERIES), p, t, MSXK_ACT_NONE));
    MSX_TRY(attend(m, c, out, q, n, k, v, t, m->inner));
    MSX_TRY(msx__linear_add(m, &a->out, c->key, out, p, n, c->key, false));
    return msx__norm_run(m, &l->norm4, c->key, c->key, p * n, MSX__DECODER_EPS, MSXK_ACT_NONE);
}

static msx_status run_layer(msx_model *m, const msx__layer *l, bool first, msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens;
    float *queries = small(m, c, QUERIES), *hidden = small(m, c, ATTENDED);
    MSX_TRY(self_attention(m, l, first, c));
    MSX_TRY(token_to_image(m, &l->token_to_image, &l->norm2, c));
    MSX_TRY(msx__linear_run(m, &l->lin1, hidden, queries, p, t, MSXK_ACT_RELU));
    MSX_TRY(msx__linear_add(m, &l->lin2, queries, hidden, p, t, queries, false));
    MSX_TRY(msx__norm_run(m, &l->norm3, queries, queries, p * t, MSX__DECODER_EPS, MSXK_ACT_NONE));
    return image_to_token(m, l, c);
}

/* keys (P,N,C) -> c->b (P,16N,C/8): two transposed 2x2 convolutions of stride 2; as the stride equals
 * the kernel, each is a product and a shuffle of pixels */
static msx_status upscale(msx_model *m, msx__chunk *c) {
    int64_t g = m->grid, n = m->tokens, p = c->prompts;
    int64_t half = m->upscale[0].out / 4, quarter = m->upscale[1].out / 4;
    MSX_TRY(msx__linear_run(m, &m->upscale[0], c->a, c->key, p, n, MSXK_ACT_NONE));
    MSX_RUN(m->device, shuffle2, c->b, c->a, m->upscale_bias[0], p, g, g, half, MSXK_ACT_NONE);
    MSX_TRY(
        msx__norm_run(m, &m->upscale_norm, c->b, c->b, p * 4 * n, MSX__ENCODER_EPS, MSXK_ACT_GELU));
    MSX_TRY(msx__linear_run(m, &m->upscale[1], c->a, c->b, p, 4 * n, MSXK_ACT_NONE));
    MSX_RUN(m->device, shuffle2, c->b, c->a, m->upscale_bias[1], p, 2 * g, 2 * g, quarter,
            MSXK_ACT_GELU);
    return MSX_OK;
}

/* One token of every prompt through three linear layers with ReLU between; out rows `stride` apart. */
static msx_status run_mlp(msx_model *m, const msx__mlp *mlp, const msx__chunk *c, int64_t token,
                          float *out, int64_t stride) {
    const float *x = small(m, c, QUERIES) + token * m->channels;
    int64_t x_stride = c->tokens * m->channels;
    for (int i = 0; i < 3; i++) {
        const msx__linear *l = mlp->layer + i;
        float *y = i == 2 ? out : small(m, c, i == 0 ? Q : K);
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

/* logits (P,M,16N) = hypernetwork vectors (P,M,C/8) times upscaled keys c->b (P,16N,C/8) */
static msx_status make_masks(msx_model *m, msx__chunk *c) {
    int64_t width = m->upscale[1].out / 4, pixels = 16 * m->tokens;
    float *vectors = small(m, c, ATTENDED);
    for (int64_t i = 0; i < m->masks; i++)
        MSX_TRY(run_mlp(m, m->hyper + i, c, 1 + i, vectors + i * width, m->masks * width));
    msxk_gemm g = {
        .m = m->masks,
        .n = pixels,
        .k = width,
        .a = vectors,
        .lda = width,
        .w = c->b,
        .ldw = width,
        .w_transposed = 1,
        .c = c->logits,
        .ldc = pixels,
        .alpha = 1.0f,
        .batch = c->prompts,
        .stride_a = m->masks * width,
        .stride_w = pixels * width,
        .stride_c = m->masks * pixels,
    };
    MSX_RUN(m->device, gemm, &g);
    return MSX_OK;
}

static msx_status run_decoder(msx_model *m, void *payload) {
    msx__chunk *c = payload;
    for (int64_t i = 0; i < m->layers; i++) MSX_TRY(run_layer(m, m->two_way + i, i == 0, c));
    MSX_TRY(token_to_image(m, &m->final, &m->final_norm, c));
    MSX_TRY(upscale(m, c));
    MSX_TRY(make_masks(m, c));
    return run_mlp(m, &m->iou, c, 0, c->iou, m->masks);
}

msx_status msx__decode(msx_model *m, msx__chunk *c) {
    msx__repeat_key key = {
        .what = MSX__REPEAT_DECODE, .memory = c->token, .sizes = {c->prompts, c->tokens}};
    return msx__repeat(m, key, run_decoder, c);
}
