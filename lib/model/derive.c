/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is computed from the weights once per model, or again after an update: position encodings,
 * weights in the order in which the ops read them, and copies of the few tensors that the host needs.
 * All of it costs less than a hundredth of encoding one image, so an update does not ask what of it
 * is stale.
 */
#include "model/weights.h"

#include <string.h>

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

/* An official tensor's floats to the host. */
static msx_status fetch(msx_model *m, const char *name, float *out, int64_t floats) {
    const float *from = msx__model_tensor(m, name);
    if (!from) return msx__fail(m->ctx, MSX_E_INTERNAL, "the architecture has no tensor %s", name);
    MSX_RUN(m->device, download, out, from, (size_t)floats * sizeof *out);
    return MSX_OK;
}

static msx_status fetch_host(msx_model *m) {
    static const char *const points[] = {
        "prompt_encoder.point_embeddings.0.weight", "prompt_encoder.point_embeddings.1.weight",
        "prompt_encoder.point_embeddings.2.weight", "prompt_encoder.point_embeddings.3.weight"};
    int64_t c = m->channels;
    MSX_TRY(
        fetch(m, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", m->gaussian, c));
    for (int i = 0; i < 4; i++) MSX_TRY(fetch(m, points[i], m->point_embed[i], c));
    MSX_TRY(fetch(m, "prompt_encoder.not_a_point_embed.weight", m->not_a_point, c));
    MSX_TRY(fetch(m, "mask_decoder.iou_token.weight", m->output_tokens, c));
    return fetch(m, "mask_decoder.mask_tokens.weight", m->output_tokens + c, m->masks * c);
}

/* (N, C): the position of every token's centre; and the vector that stands for "no mask" N times */
static msx_status derive_maps(msx_model *m, float *buffer) {
    int64_t c = m->channels, g = m->grid;
    size_t bytes = (size_t)(m->tokens * c) * sizeof *buffer;
    for (int64_t i = 0; i < m->tokens; i++)
        msx__position(m, ((double)(i % g) + 0.5) / (double)g, ((double)(i / g) + 0.5) / (double)g,
                      buffer + i * c);
    MSX_RUN(m->device, upload, m->dense_pe, buffer, bytes);
    MSX_TRY(fetch(m, "prompt_encoder.no_mask_embed.weight", buffer, c));
    for (int64_t i = 1; i < m->tokens; i++)
        memcpy(buffer + i * c, buffer, (size_t)c * sizeof *buffer);
    MSX_RUN(m->device, upload, m->no_mask, buffer, bytes);
    return MSX_OK;
}

/* to[a][k][b] = from[a][b][k] */
static void swap_last(float *to, const float *from, int64_t na, int64_t nb, int64_t nk) {
    for (int64_t a = 0; a < na; a++)
        for (int64_t k = 0; k < nk; k++)
            for (int64_t b = 0; b < nb; b++) *to++ = from[(a * nb + b) * nk + k];
}

/* (out, in, 3, 3) -> (out, 3, 3, in) */
static msx_status derive_neck(msx_model *m, float *buffer, float *turned) {
    int64_t floats = m->neck2.out * m->neck2.in;
    MSX_TRY(fetch(m, "image_encoder.neck.2.weight", buffer, floats));
    swap_last(turned, buffer, m->neck2.out, m->neck2.in / 9, 9);
    MSX_RUN(m->device, upload, (float *)m->neck2.w, turned, (size_t)floats * sizeof *turned);
    return MSX_OK;
}

/* (in, out, 2, 2) -> (2, 2, out, in) */
static msx_status derive_upscale(msx_model *m, int i, float *buffer, float *turned) {
    const msx__linear *l = m->upscale + i;
    int64_t floats = l->out * l->in, out = l->out / 4;
    MSX_TRY(fetch(
        m, i ? "mask_decoder.output_upscaling.3.weight" : "mask_decoder.output_upscaling.0.weight",
        buffer, floats));
    for (int64_t k = 0; k < 4; k++)
        for (int64_t o = 0; o < out; o++)
            for (int64_t in = 0; in < l->in; in++)
                turned[(k * out + o) * l->in + in] = buffer[(in * out + o) * 4 + k];
    MSX_RUN(m->device, upload, (float *)l->w, turned, (size_t)floats * sizeof *turned);
    return MSX_OK;
}

static msx_status derive_tables(msx_model *m) {
    for (int64_t i = 0; cross_attention(m, i); i++) {
        const msx__attention *a = cross_attention(m, i);
        if (a->position)
            MSX_TRY(msx__linear_run(m, i % 2 ? &a->q : &a->k, a->position, m->dense_pe, 1,
                                    m->tokens, MSXK_ACT_NONE));
        if (a->absorbed_bias)
            MSX_TRY(msx__linear_run(m, &a->out, a->absorbed_bias, a->v.b, 1, 1, MSXK_ACT_NONE));
    }
    return MSX_OK;
}

msx_status msx__model_derive(msx_model *m) {
    int64_t floats = m->tokens * m->channels;
    int64_t turned[] = {m->neck2.out * m->neck2.in, m->upscale[0].out * m->upscale[0].in,
                        m->upscale[1].out * m->upscale[1].in};
    for (int i = 0; i < 3; i++)
        if (turned[i] > floats) floats = turned[i];
    float *buffer = msx__alloc(m->ctx, (size_t)floats, 2 * sizeof *buffer);
    if (!buffer) return MSX_E_NOMEM;
    msx_status status = fetch_host(m);
    if (status == MSX_OK) status = derive_maps(m, buffer);
    if (status == MSX_OK) status = derive_neck(m, buffer, buffer + floats);
    for (int i = 0; i < 2 && status == MSX_OK; i++)
        status = derive_upscale(m, i, buffer, buffer + floats);
    if (status == MSX_OK) status = derive_tables(m);
    if (status == MSX_OK && m->low) status = msx__model_narrow(m);
    msx__free(m->ctx, buffer);
    return status;
}
