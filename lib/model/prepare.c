/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs made on the device from 8-bit images: the tables come from lib/image, the loops are the
 * device's, and the bits are those of msx_preprocess(). */
#include "model/network.h"
#include "model/results.h"

#include "image/resample.h"

enum { ROWS, COLUMNS, CHANNELS, AXES };

bool msx__device_prepares(const msx_device *d, msx_preset preset) {
    const msx__preset *p = msx__preset_get(preset);
    return d->k->prepare_longest && (!p->square || p->square == msx__resize_skimage ||
                                     p->square == msx__resize_skimage_zero);
}

bool msx__prepares_there(const msx_model *m) {
    return msx__device_prepares(m->device, m->preset);
}

/* ---- longest side --------------------------------------------------------------------------------- */

static msxk_triangle triangle_of(const msx__triangle *t, int64_t in, int64_t out) {
    return (msxk_triangle){in, out, t->most, t->first, t->count, t->rounded};
}

static msx_status longest(msx_model *m, const msx_image *plain, int64_t width, int64_t height,
                          float *input) {
    msx__triangle t[2] = {{0}};
    int64_t in[2] = {msx_image_width(plain), msx_image_height(plain)}, out[2] = {width, height};
    msx_status status = MSX_OK;
    for (int i = 0; i < 2 && status == MSX_OK; i++)
        if (in[i] != out[i]) status = msx__triangle_make(&t[i], m->ctx, in[i], out[i]);
    msxk_longest p = {.image = msx_image_data(plain),
                      .channels = msx_image_channels(plain),
                      .size = m->image_size,
                      .across = triangle_of(&t[0], in[0], out[0]),
                      .down = triangle_of(&t[1], in[1], out[1])};
    for (int c = 0; c < 3; c++) {
        p.mean[c] = msx__input_mean[c];
        p.std[c] = msx__input_std[c];
    }
    if (status == MSX_OK)
        status =
            msx__device_status(m->device, m->device->k->prepare_longest(m->device->dev, input, &p));
    for (int i = 0; i < 2; i++) msx__triangle_free(&t[i], m->ctx);
    return status;
}

/* ---- square ---------------------------------------------------------------------------------------- */

/* The tables of one square input, and the op's view of them. */
typedef struct tables {
    msx__gaussian gaussian[AXES];
    msx__cubic_tap *taps[AXES];
    msxk_spline_tap *given[AXES];
} tables;

static void tables_free(tables *t, msx_ctx *ctx) {
    for (int i = 0; i < AXES; i++) {
        msx__free(ctx, t->gaussian[i].w);
        msx__free(ctx, t->taps[i]);
        msx__free(ctx, t->given[i]);
    }
}

/* Axis `i` of an image that is `extent` large with its zeros. */
static msx_status make_taps(tables *t, msx_ctx *ctx, int i, const int64_t extent[AXES], int64_t pad,
                            int64_t out) {
    int64_t step = 1;
    for (int k = i + 1; k < AXES; k++) step *= extent[k];
    MSX_TRY(msx__cubic_taps_make(&t->taps[i], ctx, extent[i], step, pad, out));
    t->given[i] = msx__alloc(ctx, (size_t)out, sizeof *t->given[i]);
    if (!t->given[i]) return MSX_E_NOMEM;
    for (int64_t at = 0; at < out; at++)
        for (int k = 0; k < MSX__CUBIC_TAPS; k++) {
            t->given[i][at].offset[k] = t->taps[i][at].offset[k];
            t->given[i][at].weight[k] = t->taps[i][at].weight[k];
        }
    return MSX_OK;
}

static void set_range(msxk_square *p, const msx_image *rgb) {
    const uint8_t *bytes = msx_image_data(rgb);
    int64_t n = msx_image_width(rgb) * msx_image_height(rgb) * 3;
    uint8_t low = bytes[0], high = bytes[0];
    for (int64_t i = 1; i < n; i++) {
        if (bytes[i] < low) low = bytes[i];
        if (bytes[i] > high) high = bytes[i];
    }
    p->low = low;
    p->high = high;
}

/* As resize_skimage.c: the channels are a third axis of an image, but not of one with zeros around. */
static msx_status square(msx_model *m, const msx__preset *preset, const msx_image *rgb,
                         float *input) {
    tables t = {0};
    bool zero = preset->square == msx__resize_skimage_zero;
    int64_t pad = zero ? MSX__CUBIC_PAD : 0, size = m->image_size;
    const int64_t in[AXES] = {msx_image_height(rgb), msx_image_width(rgb), 3},
                  out[AXES] = {size, size, 3};
    const int64_t padded[AXES] = {in[ROWS] + 2 * pad, in[COLUMNS] + 2 * pad, 3};
    msxk_square p = {.image = msx_image_data(rgb),
                     .size = size,
                     .pad = pad,
                     .zero = zero,
                     .truncate = preset->truncate,
                     .full = preset->range == MSX__RANGE_255};
    msx_status status = MSX_OK;
    set_range(&p, rgb);
    for (int i = 0; i < AXES && status == MSX_OK; i++) {
        status = msx__gaussian_make(&t.gaussian[i], m->ctx, in[i], out[i]);
        if (status == MSX_OK && (i != CHANNELS || !zero))
            status = make_taps(&t, m->ctx, i, padded, pad, out[i]);
        p.axis[i] = (msxk_spline){in[i], out[i], t.gaussian[i].radius, t.gaussian[i].w, t.given[i]};
    }
    if (status == MSX_OK)
        status =
            msx__device_status(m->device, m->device->k->prepare_square(m->device->dev, input, &p));
    tables_free(&t, m->ctx);
    return status;
}

/* ---- either ------------------------------------------------------------------------------------------ */

msx_status msx__image_extent(const msx_model *m, const msx_image *image, msx__extent *x) {
    *x = (msx__extent){msx_image_width(image), msx_image_height(image), m->image_size,
                       m->image_size};
    if (msx__preset_get(m->preset)->square) return MSX_OK;
    return msx__input_extent(image, m->image_size, &x->resized_width, &x->resized_height);
}

msx_status msx__prepare_there(msx_model *m, const msx_image *image, float *input, msx__extent *x) {
    const msx__preset *preset = msx__preset_get(m->preset);
    msx_image *plain;
    if (msx_image_type(image) != MSX_PIXEL_U8)
        return msx__fail(m->ctx, MSX_E_ARG,
                         "the network takes 8-bit images; apply msx_image_window() "
                         "to 16-bit and float ones");
    MSX_TRY(msx__image_extent(m, image, x));
    MSX_TRY(msx__input_colours(&plain, preset, image));
    msx_status status = preset->square
                            ? square(m, preset, plain, input)
                            : longest(m, plain, x->resized_width, x->resized_height, input);
    msx_image_free(plain);
    return status;
}
