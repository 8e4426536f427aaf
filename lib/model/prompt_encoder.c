/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SAM's prompt encoder. Points and corners become tokens: a random Fourier feature of the position
 * (Tancik et al. 2020) plus what kind of point it is. A mask becomes a map that is added to the
 * image's embedding; without one a learned vector is added everywhere.
 */
#include "model/decoder.h"

#include <math.h>
#include <string.h>

void msx__position(const msx_model *m, double x, double y, float *out) {
    int64_t half = m->channels / 2;
    for (int64_t i = 0; i < half; i++) {
        double phase = (2 * x - 1) * m->gaussian[i] + (2 * y - 1) * m->gaussian[half + i];
        out[i] = (float)sin(2 * M_PI * phase);
        out[half + i] = (float)cos(2 * M_PI * phase);
    }
}

int64_t msx__sparse_count(bool has_box, int64_t n_points) {
    if (has_box) return n_points + 2;
    return n_points ? n_points + 1 : 0; /* points alone are followed by one that is not a point */
}

/* Position (pixel centre of the input frame) plus kind. */
static float *add_token(const msx_model *m, double x, double y, const float *kind, float *out) {
    double size = (double)m->image_size;
    msx__position(m, (x + 0.5) / size, (y + 0.5) / size, out);
    for (int64_t c = 0; c < m->channels; c++) out[c] += kind[c];
    return out + m->channels;
}

void msx__prompt_tokens(const msx_model *m, const double *box, const msx__point *points,
                        int64_t n_points, double sx, double sy, float *out) {
    size_t bytes = (size_t)m->channels * sizeof *out;
    memcpy(out, m->output_tokens, (size_t)(1 + m->masks) * bytes);
    out += (1 + m->masks) * m->channels;
    for (int64_t i = 0; i < n_points; i++)
        out = add_token(m, points[i].x * sx, points[i].y * sy,
                        m->point_embed[points[i].label ? 1 : 0], out);
    if (box) {
        out = add_token(m, box[0] * sx, box[1] * sy, m->point_embed[2], out);
        add_token(m, box[2] * sx, box[3] * sy, m->point_embed[3], out);
    } else if (n_points) {
        memcpy(out, m->not_a_point, bytes);
    }
}

/* Masks (P, 4g, 4g) to c->a (P, N, C): two 2x2 convolutions of stride 2 and a 1x1 one */
static msx_status encode_masks(msx_model *m, msx__chunk *c) {
    int64_t g = m->grid, n = m->tokens, p = c->prompts;
    for (int64_t i = 0; i < p; i++)
        MSX_RUN(m->device, upload, c->b + i * 16 * n, c->mask[i], (size_t)(16 * n) * sizeof(float));
    MSX_RUN(m->device, unshuffle2, c->a, c->b, p, 2 * g, 2 * g, 1);
    MSX_TRY(msx__linear_run(m, &m->mask_in[0], c->b, c->a, p, 4 * n, MSXK_ACT_NONE));
    MSX_TRY(
        msx__norm_run(m, &m->mask_norm[0], c->b, c->b, p * 4 * n, MSX__ENCODER_EPS, MSXK_ACT_GELU));
    MSX_RUN(m->device, unshuffle2, c->a, c->b, p, g, g, m->mask_in[0].out);
    MSX_TRY(msx__linear_run(m, &m->mask_in[1], c->b, c->a, p, n, MSXK_ACT_NONE));
    MSX_TRY(msx__norm_run(m, &m->mask_norm[1], c->b, c->b, p * n, MSX__ENCODER_EPS, MSXK_ACT_GELU));
    MSX_TRY(msx__linear_run(m, &m->mask_in[2], c->a, c->b, p, n, MSXK_ACT_NONE));
    msx__tap(m, "dense", 0, c->a, p * n * m->channels);
    return MSX_OK;
}

msx_status msx__prompt_encode(msx_model *m, msx__chunk *c, const float *embedding) {
    int64_t floats = c->prompts * c->tokens * m->channels;
    MSX_RUN(m->device, upload, c->token, c->host_tokens, (size_t)floats * sizeof(float));
    msx__tap(m, "tokens", 0, c->token, floats);
    if (c->masked) MSX_TRY(encode_masks(m, c));
    if (c->masked || !msx__sweeps(m))
        MSX_RUN(m->device, gather_add, c->key, embedding, c->image, c->masked ? c->a : m->no_mask,
                c->masked, c->prompts, m->tokens * m->channels);
    return msx__sweeps(m) ? msx__first_keys(m, c, embedding) : MSX_OK;
}
