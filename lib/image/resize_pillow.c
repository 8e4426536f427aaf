/* SPDX-License-Identifier: Apache-2.0 */
/* Pillow's Image.resize(BILINEAR), as src/libImaging/Resample.c defines it: a triangle filter that
 * widens when the image shrinks (always antialiased), one axis after the other. For 8 bit the
 * weights have 22 fractional bits and the horizontal result is rounded to 8 bit before the vertical
 * pass; both are needed for equal bits. Wider types keep double weights and sums, as Pillow does
 * for its 32-bit modes. Channels are independent: unlike Pillow, colours are not weighted by alpha.
 */
#include "image/pixels.h"
#include "image/resample.h"

#include <math.h>

enum { WEIGHT_BITS = 32 - 8 - 2 };

void msx__triangle_free(msx__triangle *t, msx_ctx *ctx) {
    msx__free(ctx, t->first);
    msx__free(ctx, t->count);
    msx__free(ctx, t->weights);
    msx__free(ctx, t->rounded);
    *t = (msx__triangle){0};
}

static void set_weights(msx__triangle *t, int64_t i, int64_t in, double scale) {
    double filter_scale = scale < 1 ? 1 : scale, support = filter_scale;
    double centre = ((double)i + 0.5) * scale, sum = 0;
    int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
    if (first < 0) first = 0;
    if (end > in) end = in;
    double *w = t->weights + i * t->most;
    for (int64_t k = 0; k < end - first; k++) {
        double x = fabs(((double)(k + first) - centre + 0.5) * (1.0 / filter_scale));
        w[k] = x < 1 ? 1 - x : 0;
        sum += w[k];
    }
    for (int64_t k = 0; k < end - first; k++) {
        if (sum != 0) w[k] /= sum;
        t->rounded[i * t->most + k] = (int32_t)(0.5 + w[k] * (1 << WEIGHT_BITS));
    }
    t->first[i] = first;
    t->count[i] = end - first;
}

msx_status msx__triangle_make(msx__triangle *t, msx_ctx *ctx, int64_t in, int64_t out) {
    double scale = (double)in / (double)out;
    *t = (msx__triangle){.most = (int64_t)ceil(scale < 1 ? 1 : scale) * 2 + 1};
    int64_t n;
    if (!msx__mul(out, t->most, &n)) return msx__nomem(ctx, SIZE_MAX);
    t->first = msx__alloc(ctx, (size_t)out, sizeof *t->first);
    t->count = msx__alloc(ctx, (size_t)out, sizeof *t->count);
    t->weights = msx__calloc(ctx, (size_t)n, sizeof *t->weights);
    t->rounded = msx__calloc(ctx, (size_t)n, sizeof *t->rounded);
    if (!t->first || !t->count || !t->weights || !t->rounded) {
        msx__triangle_free(t, ctx);
        return MSX_E_NOMEM;
    }
    for (int64_t i = 0; i < out; i++) set_weights(t, i, in, scale);
    return MSX_OK;
}

/* One sample: `source` steps through the input along the axis by `step` samples. */
static uint8_t sample_u8(const msx__triangle *t, int64_t i, const uint8_t *source, int64_t step) {
    const int32_t *w = t->rounded + i * t->most;
    int32_t sum = 1 << (WEIGHT_BITS - 1);
    source += t->first[i] * step;
    for (int64_t k = 0; k < t->count[i]; k++) sum += source[k * step] * w[k];
    int32_t value = sum >> WEIGHT_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static double sample_wide(const msx__triangle *t, int64_t i, const msx_image *image, int64_t at,
                          int64_t step) {
    const double *w = t->weights + i * t->most;
    double sum = 0;
    at += t->first[i] * step;
    for (int64_t k = 0; k < t->count[i]; k++) sum += msx__sample(image, at + k * step) * w[k];
    return sum;
}

static void sample(msx_image *to, int64_t at, const msx__triangle *t, int64_t i,
                   const msx_image *from, int64_t start, int64_t step) {
    if (to->type == MSX_PIXEL_U8) {
        ((uint8_t *)to->data)[at] = sample_u8(t, i, (const uint8_t *)from->data + start, step);
    } else {
        double value = sample_wide(t, i, from, start, step);
        if (to->type == MSX_PIXEL_F32)
            ((float *)to->data)[at] = (float)value;
        else
            ((uint16_t *)to->data)[at] = (uint16_t)(value + 0.5);
    }
}

/* (h, w, c) -> (h, w2, c), and (h, w, c) -> (h2, w, c). */
static void pass_horizontal(msx_image *to, const msx_image *from, const msx__triangle *t) {
    int64_t c = to->channels;
#pragma omp parallel for num_threads(msx_ctx_threads(to->ctx))
    for (int64_t y = 0; y < to->height; y++)
        for (int64_t x = 0; x < to->width; x++)
            for (int64_t k = 0; k < c; k++)
                sample(to, (y * to->width + x) * c + k, t, x, from, y * from->width * c + k, c);
}

static void pass_vertical(msx_image *to, const msx_image *from, const msx__triangle *t) {
    int64_t row = to->width * to->channels;
#pragma omp parallel for num_threads(msx_ctx_threads(to->ctx))
    for (int64_t y = 0; y < to->height; y++)
        for (int64_t x = 0; x < row; x++) sample(to, y * row + x, t, y, from, x, row);
}

/* One pass; `vertical` chooses the axis. */
static msx_status pass(msx_image **out, const msx_image *from, bool vertical, int64_t extent) {
    msx__triangle t;
    MSX_TRY(msx__triangle_make(&t, from->ctx, vertical ? from->height : from->width, extent));
    msx_status status =
        msx__image_new(out, from->ctx, "", vertical ? from->width : extent,
                       vertical ? extent : from->height, from->channels, from->type);
    if (status == MSX_OK) (vertical ? pass_vertical : pass_horizontal)(*out, from, &t);
    msx__triangle_free(&t, from->ctx);
    return status;
}

msx_status msx__resize_pillow(msx_image **out, const msx_image *image, int64_t width,
                              int64_t height) {
    *out = NULL;
    msx_image *wide = NULL;
    if (width != image->width) MSX_TRY(pass(&wide, image, false, width));
    const msx_image *source = wide ? wide : image;
    msx_status status = MSX_OK;
    if (height != source->height)
        status = pass(out, source, true, height);
    else if (wide)
        *out = wide, wide = NULL;
    else
        status = msx_image_create(out, image->ctx, width, height, image->channels, image->type,
                                  image->data);
    msx_image_free(wide);
    return status;
}
