/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is computed from the weights once per model, or again after an update: position encodings,
 * weights in the order in which the ops read them, and copies of the few tensors that the host needs.
 * An update makes anew what a changed tensor is part of; what can be made on the device is.
 */
#include "model/weights.h"

/* Attention `i` between tokens and image, those to the image even; NULL after the last one. */
static msx__attention *cross_attention(msx_model *m, int64_t i) {
    if (i > 2 * m->layers) return NULL;
    if (i == 2 * m->layers) return &m->final;
    return i % 2 ? &m->two_way[i / 2].image_to_token : &m->two_way[i / 2].token_to_image;
}

/* Which of its tables the decoder reads, in sweeps or in steps. */
static bool has_position(const msx_model *m, int64_t i) {
    return i == 0 || !msx__sweeps(m);
}
static bool has_absorbed_bias(const msx_model *m, int64_t i) {
    return i > 0 && i % 2 == 0 && msx__sweeps(m);
}

msx_status msx__model_place_derived(msx_model *m) {
    int64_t c = m->channels, map = m->tokens * c, table = m->tokens * m->inner;
    int64_t neck = m->neck2.out * m->neck2.in;
    int64_t up[2] = {m->upscale[0].out * m->upscale[0].in, m->upscale[1].out * m->upscale[1].in};
    int64_t total =
        2 * msx__carved(map) + msx__carved(neck) + msx__carved(up[0]) + msx__carved(up[1]);
    for (int64_t i = 0; cross_attention(m, i); i++)
        total += has_position(m, i) * msx__carved(table) + has_absorbed_bias(m, i) * msx__carved(c);
    MSX_TRY(msx__device_alloc(m->device, &m->derived, total));
    float *at = m->derived;
    m->dense_pe = msx__carve(&at, map);
    m->no_mask = msx__carve(&at, map);
    m->neck2.w = msx__carve(&at, neck);
    m->upscale[0].w = msx__carve(&at, up[0]);
    m->upscale[1].w = msx__carve(&at, up[1]);
    for (int64_t i = 0; cross_attention(m, i); i++) {
        msx__attention *a = cross_attention(m, i);
        if (has_position(m, i)) a->position = msx__carve(&at, table);
        if (has_absorbed_bias(m, i)) a->absorbed_bias = msx__carve(&at, c);
    }

    /* gaussian (2, C/2), four kinds of points, "not a point", and 1 + M output tokens */
    m->host = msx__alloc(m->ctx, (size_t)((7 + m->masks) * c), sizeof *m->host);
    if (!m->host) return MSX_E_NOMEM;
    m->gaussian = m->host;
    for (int i = 0; i < 4; i++) m->point_embed[i] = m->host + (1 + i) * c;
    m->not_a_point = m->host + 5 * c;
    m->output_tokens = m->host + 6 * c;
    return MSX_OK;
}

/* What is to be made anew: everything for `changed` NULL. */
typedef struct derivation {
    msx_model *m;
    const uint8_t *changed; /* per official tensor */
    float *buffer;          /* host (N, C) */
} derivation;

/* True when the official tensor at `place` has changed; NULL is none. */
static bool is_new(const derivation *d, const float *place) {
    if (!place || !d->changed) return place != NULL;
    for (int64_t i = 0; i < msx_arch_tensor_count(d->m->arch); i++)
        if (d->m->weights + d->m->offsets[i] == place) return d->changed[i];
    return false;
}

/* The place of an official tensor; *place NULL when it has not changed. */
static msx_status find_new(const derivation *d, const char *name, const float **place) {
    *place = msx__model_tensor(d->m, name);
    if (!*place)
        return msx__fail(d->m->ctx, MSX_E_INTERNAL, "the architecture has no tensor %s", name);
    if (!is_new(d, *place)) *place = NULL;
    return MSX_OK;
}

/* An official tensor's floats to the host, where they have changed. */
static msx_status fetch(const derivation *d, const char *name, float *out, int64_t floats) {
    const float *from;
    MSX_TRY(find_new(d, name, &from));
    if (from) MSX_RUN(d->m->device, download, out, from, (size_t)floats * sizeof *out);
    return MSX_OK;
}

static const char gaussian_name[] = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix";

static msx_status fetch_host(const derivation *d) {
    static const char *const points[] = {
        "prompt_encoder.point_embeddings.0.weight", "prompt_encoder.point_embeddings.1.weight",
        "prompt_encoder.point_embeddings.2.weight", "prompt_encoder.point_embeddings.3.weight"};
    const msx_model *m = d->m;
    int64_t c = m->channels;
    MSX_TRY(fetch(d, gaussian_name, m->gaussian, c));
    for (int i = 0; i < 4; i++) MSX_TRY(fetch(d, points[i], m->point_embed[i], c));
    MSX_TRY(fetch(d, "prompt_encoder.not_a_point_embed.weight", m->not_a_point, c));
    MSX_TRY(fetch(d, "mask_decoder.iou_token.weight", m->output_tokens, c));
    return fetch(d, "mask_decoder.mask_tokens.weight", m->output_tokens + c, m->masks * c);
}

/* (N, C): the position of every token's centre; *made when it is new */
static msx_status derive_positions(const derivation *d, bool *made) {
    msx_model *m = d->m;
    const float *gaussian;
    int64_t c = m->channels, g = m->grid;
    MSX_TRY(find_new(d, gaussian_name, &gaussian));
    *made = gaussian != NULL;
    if (!*made) return MSX_OK;
    for (int64_t i = 0; i < m->tokens; i++)
        msx__position(m, ((double)(i % g) + 0.5) / (double)g, ((double)(i / g) + 0.5) / (double)g,
                      d->buffer + i * c);
    MSX_RUN(m->device, upload, m->dense_pe, d->buffer, (size_t)(m->tokens * c) * sizeof(float));
    return MSX_OK;
}

/* (N, C): the vector that stands for "no mask" N times, which is an empty product's bias */
static msx_status derive_no_mask(const derivation *d) {
    msx_model *m = d->m;
    const float *vector;
    MSX_TRY(find_new(d, "prompt_encoder.no_mask_embed.weight", &vector));
    if (!vector) return MSX_OK;
    msxk_gemm g = {.m = m->tokens,
                   .n = m->channels,
                   .a = vector,
                   .w = vector,
                   .ldw = m->channels,
                   .bias = vector,
                   .c = m->no_mask,
                   .ldc = m->channels,
                   .alpha = 1.0f};
    MSX_RUN(m->device, gemm, &g);
    return MSX_OK;
}

/* (out, in, 3, 3) -> (out, 3, 3, in) */
static msx_status derive_neck(const derivation *d) {
    const msx__linear *l = &d->m->neck2;
    const float *from;
    MSX_TRY(find_new(d, "image_encoder.neck.2.weight", &from));
    if (from) MSX_RUN(d->m->device, transpose, (float *)l->w, from, l->out, l->in / 9, 9);
    return MSX_OK;
}

/* (in, out, 2, 2) -> (in, 2, 2, out) -> (2, 2, out, in) */
static msx_status derive_upscale(const derivation *d, int i) {
    static const char *const names[] = {"mask_decoder.output_upscaling.0.weight",
                                        "mask_decoder.output_upscaling.3.weight"};
    msx_model *m = d->m;
    const msx__linear *l = m->upscale + i;
    const float *from;
    float *turned;
    MSX_TRY(find_new(d, names[i], &from));
    if (!from) return MSX_OK;
    MSX_TRY(msx__model_work(m, l->out * l->in, &turned));
    MSX_RUN(m->device, transpose, turned, from, l->in, l->out / 4, 4);
    MSX_RUN(m->device, transpose, (float *)l->w, turned, 1, l->in, l->out);
    return MSX_OK;
}

static msx_status derive_position(const derivation *d, const msx__attention *a,
                                  const msx__linear *l, bool moved) {
    msx_model *m = d->m;
    if (!a->position || (!moved && !is_new(d, l->w) && !is_new(d, l->b))) return MSX_OK;
    return msx__linear_run(m, l, a->position, m->dense_pe, 1, m->tokens, MSXK_ACT_NONE);
}

static msx_status derive_absorbed_bias(const derivation *d, const msx__attention *a) {
    bool stale = is_new(d, a->out.w) || is_new(d, a->out.b) || is_new(d, a->v.b);
    if (!a->absorbed_bias || !stale) return MSX_OK;
    return msx__linear_run(d->m, &a->out, a->absorbed_bias, a->v.b, 1, 1, MSXK_ACT_NONE);
}

static msx_status derive_tables(const derivation *d, bool moved) {
    for (int64_t i = 0; cross_attention(d->m, i); i++) {
        const msx__attention *a = cross_attention(d->m, i);
        MSX_TRY(derive_position(d, a, i % 2 ? &a->q : &a->k, moved));
        MSX_TRY(derive_absorbed_bias(d, a));
    }
    return MSX_OK;
}

/* Matrices in the low format; the neck's is derived itself. */
static msx_status derive_low(const derivation *d) {
    const float *neck;
    msx__linear *l;
    MSX_TRY(find_new(d, "image_encoder.neck.2.weight", &neck));
    for (int64_t i = 0; d->m->low && (l = msx__model_low_matrix(d->m, i)); i++) {
        if (l == &d->m->neck2 ? neck != NULL : is_new(d, l->w))
            MSX_RUN(d->m->device, narrow, l->low, l->w, l->out * l->in);
        if (is_new(d, l->b)) MSX_RUN(d->m->device, narrow, l->low_b, l->b, l->out);
    }
    return MSX_OK;
}

msx_status msx__model_derive(msx_model *m, const uint8_t *changed) {
    derivation d = {.m = m, .changed = changed};
    bool moved = false;
    d.buffer = msx__alloc(m->ctx, (size_t)(m->tokens * m->channels), sizeof *d.buffer);
    if (!d.buffer) return MSX_E_NOMEM;
    msx_status status = fetch_host(&d);
    if (status == MSX_OK) status = derive_positions(&d, &moved);
    if (status == MSX_OK) status = derive_no_mask(&d);
    if (status == MSX_OK) status = derive_neck(&d);
    for (int i = 0; i < 2 && status == MSX_OK; i++) status = derive_upscale(&d, i);
    if (status == MSX_OK) status = derive_tables(&d, moved);
    if (status == MSX_OK) status = derive_low(&d);
    msx__free(m->ctx, d.buffer);
    return status;
}
