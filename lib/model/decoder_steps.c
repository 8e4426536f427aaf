/* SPDX-License-Identifier: Apache-2.0 */
/* The image's side of the mask decoder, one op after the other: every prompt has its own keys, their
 * projections and the upscaled maps in memory. For devices without sweeps. */
#include "model/decoder.h"

/* queries += attention(queries + position, keys + position, keys); norm */
static msx_status token_to_image(msx_model *m, const msx__attention *a, const msx__norm *norm,
                                 msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens, n = m->tokens;
    float *q = msx__small(m, c, MSX__Q), *out = msx__small(m, c, MSX__ATTENDED);
    float *k = c->a, *v = c->b;
    msx__linear k_plain = a->k;
    k_plain.b = NULL; /* in a->position already */
    MSX_TRY(msx__add_position(m, c));
    MSX_TRY(
        msx__linear_run(m, &a->q, q, msx__small(m, c, MSX__WITH_POSITION), p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_add(m, &k_plain, k, c->key, p, n, a->position, true));
    MSX_TRY(msx__linear_run(m, &a->v, v, c->key, p, n, MSXK_ACT_NONE));
    MSX_TRY(msx__attend(m, c, out, q, t, k, v, n * m->inner, n, m->inner));
    return msx__attended(m, a, NULL, norm, c);
}

/* keys += attention(keys + position, queries + position, queries); norm */
static msx_status image_to_token(msx_model *m, const msx__layer *l, msx__chunk *c) {
    int64_t p = c->prompts, t = c->tokens, n = m->tokens;
    const msx__attention *a = &l->image_to_token;
    float *q = c->a, *out = c->b, *k = msx__small(m, c, MSX__K), *v = msx__small(m, c, MSX__V);
    msx__linear q_plain = a->q;
    q_plain.b = NULL;
    MSX_TRY(msx__add_position(m, c));
    MSX_TRY(msx__linear_add(m, &q_plain, q, c->key, p, n, a->position, true));
    MSX_TRY(
        msx__linear_run(m, &a->k, k, msx__small(m, c, MSX__WITH_POSITION), p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__linear_run(m, &a->v, v, msx__small(m, c, MSX__QUERIES), p, t, MSXK_ACT_NONE));
    MSX_TRY(msx__attend(m, c, out, q, n, k, v, t * m->inner, t, m->inner));
    MSX_TRY(msx__linear_add(m, &a->out, c->key, out, p, n, c->key, false));
    return msx__norm_run(m, &l->norm4, c->key, c->key, p * n, MSX__DECODER_EPS, MSXK_ACT_NONE);
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

/* logits (P,M,16N) = hypernetwork vectors (P,M,C/8) times upscaled keys c->b (P,16N,C/8) */
static msx_status make_masks(msx_model *m, msx__chunk *c) {
    int64_t width = m->upscale[1].out / 4, pixels = 16 * m->tokens;
    float *vectors;
    MSX_TRY(msx__mask_vectors(m, c, &vectors));
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

msx_status msx__decode_steps(msx_model *m, msx__chunk *c) {
    for (int64_t i = 0; i < m->layers; i++) {
        const msx__layer *l = m->two_way + i;
        MSX_TRY(msx__self_attention(m, l, i == 0, c));
        MSX_TRY(token_to_image(m, &l->token_to_image, &l->norm2, c));
        MSX_TRY(msx__token_mlp(m, l, c));
        MSX_TRY(image_to_token(m, l, c));
    }
    MSX_TRY(token_to_image(m, &m->final, &m->final_norm, c));
    MSX_TRY(upscale(m, c));
    return make_masks(m, c);
}
