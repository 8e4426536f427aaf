/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image's side of the mask decoder as sweeps over the image's tokens, with fewer multiplications than
 * the network as written:
 *
 *   A prompt has few tokens, so the projections of both cross attentions are absorbed into its side. With
 *   k = W_k x + b_k, a score q.k is (W_k^T q).x + q.b_k, and the weighted sum of values W_v x is W_v times
 *   the weighted sum of x; the other direction likewise. A bias of keys that all keys share falls out of
 *   the softmax, a bias of values passes through it.
 *   Layer i's attention from the image and layer i+1's attention to it meet in one sweep: the latter's
 *   queries do not depend on the image's tokens in between.
 *   In the first layer all prompts of an image without a mask see the same keys: their projections are made
 *   once for all of them.
 */
#include "model/decoder.h"

#include <math.h>

/* Vectors (P,T,H,C): of scores and values of the attention from the image, of scores of the attention to
 * it, and what that gave. */
enum { A, U, TO, SEEN, VECTORS };

static int64_t vector_floats(const msx_model *m, const msx__chunk *c) {
    return msx__carved(c->prompts * c->tokens * MSX__HEADS * m->channels);
}

int64_t msx__absorbed_floats(const msx_model *m, const msx__chunk *c) {
    return VECTORS * vector_floats(m, c) + c->prompts * c->tokens * MSX__HEADS;
}

static float *vectors(const msx_model *m, const msx__chunk *c, int which) {
    return c->absorbed + which * vector_floats(m, c);
}

/* Head by head, the rows of all prompts' tokens together: a product of x (PT, I or H*C) and a weight. */
static msxk_gemm by_head(const msx_model *m, const msx__chunk *c, const float *x, float *out) {
    int64_t d = m->inner / MSX__HEADS;
    return (msxk_gemm){
        .m = c->prompts * c->tokens,
        .n = m->channels,
        .k = d,
        .a = x,
        .lda = m->inner,
        .c = out,
        .ldc = MSX__HEADS * m->channels,
        .alpha = 1.0f,
        .batch = MSX__HEADS,
        .stride_a = d,
        .stride_c = m->channels,
    };
}

/* out (PT, H, C) = scale times x (PT, I) through the projection `l` (I, C) backwards */
static msx_status absorb(msx_model *m, const msx__chunk *c, const msx__linear *l, const float *x,
                         float *out) {
    msxk_gemm g = by_head(m, c, x, out);
    g.w = l->w;
    g.ldw = m->channels;
    g.stride_w = g.k * m->channels;
    g.alpha = 1.0f / sqrtf((float)g.k);
    MSX_RUN(m->device, gemm, &g);
    return MSX_OK;
}

/* The tokens as keys and values of the attention from the image: a, c and u of msxk_two_way. */
static msx_status absorb_tokens(msx_model *m, const msx__attention *a, msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens;
    float *k = msx__small(m, c, MSX__K), *v = msx__small(m, c, MSX__V);
    MSX_TRY(msx__add_position(m, c));
    MSX_TRY(
        msx__linear_run(m, &a->k, k, msx__small(m, c, MSX__WITH_POSITION), p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_run(m, &a->v, v, msx__small(m, c, MSX__QUERIES), p, t, MSXK_ACT_NONE));
    MSX_TRY(absorb(m, c, &a->q, k, vectors(m, c, A)));
    msxk_gemm constant = by_head(m, c, k, vectors(m, c, VECTORS));
    constant.n = 1;
    constant.w = a->q.b;
    constant.ldw = constant.stride_w = constant.k;
    constant.w_transposed = 1;
    constant.ldc = MSX__HEADS;
    constant.stride_c = 1;
    constant.alpha = 1.0f / sqrtf((float)constant.k);
    MSX_RUN(m->device, gemm, &constant);
    msxk_gemm u = by_head(m, c, v, vectors(m, c, U));
    u.w = a->out.w;
    u.ldw = m->inner;
    u.stride_w = u.k;
    u.w_transposed = 1;
    MSX_RUN(m->device, gemm, &u);
    return MSX_OK;
}

/* The tokens as queries of the attention to the image. */
static msx_status absorb_queries(msx_model *m, const msx__attention *a, msx__chunk *c) {
    float *q = msx__small(m, c, MSX__Q);
    MSX_TRY(msx__add_position(m, c));
    MSX_TRY(msx__linear_run(m, &a->q, q, msx__small(m, c, MSX__WITH_POSITION), c->prompts,
                            c->tokens, MSXK_ACT_NONE));
    return absorb(m, c, &a->k, q, vectors(m, c, TO));
}

/* ATTENDED (PT, I) = what each head saw (PT, H, C) through the values' projection, without its bias */
static msx_status project_seen(msx_model *m, const msx__attention *a, msx__chunk *c) {
    msxk_gemm g = by_head(m, c, vectors(m, c, SEEN), msx__small(m, c, MSX__ATTENDED));
    g.lda = MSX__HEADS * m->channels;
    g.stride_a = m->channels;
    g.n = g.stride_c = m->inner / MSX__HEADS;
    g.k = m->channels;
    g.w = a->v.w;
    g.ldw = m->channels;
    g.stride_w = g.n * m->channels;
    g.w_transposed = 1;
    g.ldc = m->inner;
    MSX_RUN(m->device, gemm, &g);
    return MSX_OK;
}

/* The first layer's attention to the image, whose keys and values are there already. */
static msx_status first_to_image(msx_model *m, msx__chunk *c) {
    const msx__layer *l = m->two_way;
    const msx__attention *a = &l->token_to_image;
    float *q = msx__small(m, c, MSX__Q), *out = msx__small(m, c, MSX__ATTENDED);
    int64_t stride = c->masked ? m->tokens * m->inner : 0;
    MSX_TRY(msx__add_position(m, c));
    MSX_TRY(msx__linear_run(m, &a->q, q, msx__small(m, c, MSX__WITH_POSITION), c->prompts,
                            c->tokens, MSXK_ACT_NONE));
    MSX_TRY(
        msx__attend(m, c, out, q, c->tokens, c->first_k, c->first_v, stride, m->tokens, m->inner));
    return msx__attended(m, a, NULL, &l->norm2, c);
}

/* Layer i's attention from the image, and the next attention to it. */
static msx_status sweep(msx_model *m, int64_t i, msx__chunk *c) {
    const msx__layer *l = m->two_way + i;
    int64_t map = m->tokens * m->channels;
    msxk_two_way w = {
        .batch = c->prompts,
        .n = m->tokens,
        .tokens = c->tokens,
        .heads = MSX__HEADS,
        .dim = m->channels,
        .key = i ? c->key : c->first_key,
        .stride_key = i || c->masked ? map : 0,
        .position = m->dense_pe,
        .a = vectors(m, c, A),
        .c = vectors(m, c, VECTORS),
        .u = vectors(m, c, U),
        .bias = l->image_to_token.out.b,
        .norm_w = l->norm4.w,
        .norm_b = l->norm4.b,
        .eps = MSX__DECODER_EPS,
        .updated = c->key,
        .q = vectors(m, c, TO),
        .out = vectors(m, c, SEEN),
    };
    MSX_RUN(m->device, two_way, &w);
    return MSX_OK;
}

static msx_status make_masks(msx_model *m, msx__chunk *c) {
    msxk_masks k = {
        .batch = c->prompts,
        .grid = m->grid,
        .dim = m->channels,
        .half = m->upscale[0].out / 4,
        .quarter = m->upscale[1].out / 4,
        .masks = m->masks,
        .key = c->key,
        .w1 = m->upscale[0].w,
        .b1 = m->upscale_bias[0],
        .norm_w = m->upscale_norm.w,
        .norm_b = m->upscale_norm.b,
        .eps = MSX__ENCODER_EPS,
        .w2 = m->upscale[1].w,
        .b2 = m->upscale_bias[1],
        .logits = c->logits,
    };
    float *out;
    MSX_TRY(msx__mask_vectors(m, c, &out));
    k.vectors = out;
    MSX_RUN(m->device, masks, &k);
    return MSX_OK;
}

/* Maps (maps, N, C) as the first layer's keys and values (maps, N, I). */
static msx_status project(msx_model *m, int64_t maps, const float *key, float *k, float *v) {
    const msx__attention *a = &m->two_way->token_to_image;
    msx__linear plain = a->k;
    plain.b = NULL; /* in a->position already */
    MSX_TRY(msx__linear_add(m, &plain, k, key, maps, m->tokens, a->position, true));
    return msx__linear_run(m, &a->v, v, key, maps, m->tokens, MSXK_ACT_NONE);
}

msx_status msx__first_keys(msx_model *m, msx__chunk *c, const float *embedding) {
    int64_t map = m->tokens * m->channels, projected = m->tokens * m->inner;
    if (c->masked) {
        c->first_key = c->key, c->first_k = c->a, c->first_v = c->b;
        return project(m, c->prompts, c->key, c->a, c->b);
    }
    float *memory;
    MSX_TRY(msx__model_shared(m, msx__carved(map) + 2 * msx__carved(projected), &memory));
    float *key = msx__carve(&memory, map);
    float *k = msx__carve(&memory, projected), *v = msx__carve(&memory, projected);
    c->first_key = key, c->first_k = k, c->first_v = v;
    if (m->shared_image == *c->image) return MSX_OK;
    m->shared_image = -1;
    MSX_RUN(m->device, gather_add, key, embedding, c->image, m->no_mask, 0, 1, map);
    MSX_TRY(project(m, 1, key, k, v));
    m->shared_image = *c->image;
    return MSX_OK;
}

msx_status msx__decode_sweeps(msx_model *m, msx__chunk *c) {
    MSX_TRY(msx__self_attention(m, m->two_way, true, c));
    MSX_TRY(first_to_image(m, c));
    for (int64_t i = 0; i < m->layers; i++) {
        const msx__layer *next = i + 1 < m->layers ? m->two_way + i + 1 : NULL;
        const msx__attention *to = next ? &next->token_to_image : &m->final;
        MSX_TRY(msx__token_mlp(m, m->two_way + i, c));
        MSX_TRY(absorb_tokens(m, &m->two_way[i].image_to_token, c));
        if (next) MSX_TRY(msx__self_attention(m, next, false, c));
        MSX_TRY(absorb_queries(m, to, c));
        MSX_TRY(sweep(m, i, c));
        MSX_TRY(project_seen(m, to, c));
        MSX_TRY(msx__attended(m, to, to->absorbed_bias, next ? &next->norm2 : &m->final_norm, c));
    }
    return make_masks(m, c);
}
