/* SPDX-License-Identifier: Apache-2.0 */
/* From an 8-bit image to the network's input. Longest side: ResizeLongestSide and Sam.preprocess of
 * segment-anything. Square: MedSAM's scripts (preset.c). */
#include "image/preset.h"

#include "image/pixels.h"
#include "image/resample.h"

#include <string.h>

/* Colour channel c of pixel i: grey is repeated, alpha (channel 2 of 2, 4 of 4) is ignored. */
static uint8_t colour(const msx_image *image, int64_t i, int c) {
    return ((const uint8_t *)image->data)[i * image->channels + (image->channels < 3 ? 0 : c)];
}

/* The image as `channels` colour channels, 1 or 3. */
static msx_status colours(msx_image **out, const msx_image *image, int channels) {
    MSX_TRY(
        msx__image_new(out, image->ctx, "", image->width, image->height, channels, MSX_PIXEL_U8));
    uint8_t *to = (*out)->data;
    int64_t n = image->width * image->height;
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < channels; c++) to[i * channels + c] = colour(image, i, c);
    return MSX_OK;
}

/* Each channel's range to 0..255, in float32 and truncated, as micro-sam does it: the small number
 * that keeps a constant channel from dividing by zero also turns a range of 1 into 0..254. */
static void stretch(msx_image *image) {
    uint8_t *bytes = image->data;
    int64_t n = image->width * image->height * image->channels;
    for (int c = 0; c < image->channels; c++) {
        uint8_t low = 255, high = 0, level[256];
        for (int64_t i = c; i < n; i += image->channels) {
            if (bytes[i] < low) low = bytes[i];
            if (bytes[i] > high) high = bytes[i];
        }
        for (int v = low; v <= high; v++)
            level[v] = (uint8_t)((float)(v - low) / ((float)(high - low) + 1e-7f) * 255.0f);
        for (int64_t i = c; i < n; i += image->channels) bytes[i] = level[bytes[i]];
    }
}

static msx_status check_type(msx_ctx *ctx, const msx_image *image) {
    if (image->type != MSX_PIXEL_U8)
        return msx__fail(ctx, MSX_E_ARG,
                         "the network takes 8-bit images; apply msx_image_window() "
                         "to 16-bit and float ones");
    return MSX_OK;
}

msx_status msx__preset_whole(msx_image **out, msx__preset *rest, const msx__preset *p,
                             const msx_image *image) {
    MSX_TRY(check_type(image->ctx, image));
    MSX_TRY(colours(out, image, image->channels < 3 ? 1 : 3));
    if (p->stretch) stretch(*out);
    *rest = *p;
    rest->stretch = false;
    return MSX_OK;
}

const float msx__input_mean[3] = {123.675f, 116.28f, 103.53f};
const float msx__input_std[3] = {58.395f, 57.12f, 57.375f};

/* Grey is repeated before resampling where it is square, as MedSAM does: skimage interpolates across
 * the channels too. */
msx_status msx__input_colours(msx_image **out, const msx__preset *preset, const msx_image *image) {
    MSX_TRY(colours(out, image, image->channels < 3 && !preset->square ? 1 : 3));
    if (preset->stretch) stretch(*out);
    return MSX_OK;
}

msx_status msx__input_extent(const msx_image *image, int64_t size, int64_t *width,
                             int64_t *height) {
    int64_t longest = image->width > image->height ? image->width : image->height;
    double scale = (double)size / (double)longest;
    *width = (int64_t)((double)image->width * scale + 0.5);
    *height = (int64_t)((double)image->height * scale + 0.5);
    if (*width >= 1 && *height >= 1) return MSX_OK;
    return msx__fail(image->ctx, MSX_E_SHAPE,
                     "an image of %" PRId64 " x %" PRId64 " pixels has less than one row or "
                     "column left at a longest side of %" PRId64 "; crop it",
                     image->width, image->height, size);
}

/* Longest side to `size`; (x - mean) / std in float32; zeros right and below, after normalising. */
static msx_status longest_side(msx_image **resized, const msx__preset *preset,
                               const msx_image *image, int64_t size, float *input) {
    const float *mean = msx__input_mean, *std = msx__input_std;
    int64_t width, height;
    msx_image *plain;
    MSX_TRY(msx__input_extent(image, size, &width, &height));
    MSX_TRY(msx__input_colours(&plain, preset, image));
    msx_status status = msx__resize_pillow(resized, plain, width, height);
    msx_image_free(plain);
    MSX_TRY(status);
    memset(input, 0, sizeof *input * 3 * (size_t)(size * size));
#pragma omp parallel for num_threads(msx_ctx_threads(image->ctx))
    for (int64_t y = 0; y < height; y++)
        for (int c = 0; c < 3; c++)
            for (int64_t x = 0; x < width; x++)
                input[(c * size + y) * size + x] =
                    ((float)colour(*resized, y * width + x, c) - mean[c]) / std[c];
    return MSX_OK;
}

/* Resize (H, W, 3) to size x size. */
static msx_status square_values(double **values, msx_image **resized, const msx__preset *preset,
                                const msx_image *image, int64_t size) {
    msx_image *rgb;
    MSX_TRY(msx__input_colours(&rgb, preset, image));
    msx_status status = preset->square(values, rgb, size, size);
    msx_image_free(rgb);
    MSX_TRY(status);
    status = msx__image_new(resized, image->ctx, "", size, size, 3, MSX_PIXEL_U8);
    if (status < 0) {
        msx__free(image->ctx, *values);
        return status;
    }
    uint8_t *bytes = (*resized)->data;
    for (int64_t i = 0; i < size * size * 3; i++) {
        bytes[i] = (uint8_t)(*values)[i];
        if (preset->truncate) (*values)[i] = bytes[i];
    }
    return MSX_OK;
}

/* Square; then the image's own range to 0..1, or 0..255 to 0..1. */
static msx_status square(msx_image **resized, const msx__preset *preset, const msx_image *image,
                         int64_t size, float *input) {
    double *values, low = 0, range = 255;
    int64_t n = size * size;
    MSX_TRY(square_values(&values, resized, preset, image, size));
    if (preset->range == MSX__RANGE_MIN_MAX) {
        double high = low = values[0];
        for (int64_t i = 1; i < n * 3; i++) {
            if (values[i] < low) low = values[i];
            if (values[i] > high) high = values[i];
        }
        range = high - low > 1e-8 ? high - low : 1e-8;
    }
    for (int c = 0; c < 3; c++)
        for (int64_t i = 0; i < n; i++)
            input[c * n + i] = (float)((values[i * 3 + c] - low) / range);
    msx__free(image->ctx, values);
    return MSX_OK;
}

msx_status msx_preprocess(msx_ctx *ctx, msx_preset preset, const msx_image *image, int64_t size,
                          float *input, int64_t *resized_width, int64_t *resized_height,
                          msx_image **resized) {
    if (resized) *resized = NULL;
    if (!ctx || !image || !input) return msx__fail(ctx, MSX_E_ARG, "msx_preprocess: NULL argument");
    const msx__preset *p = msx__preset_get(preset);
    if (!p) return msx__fail(ctx, MSX_E_ARG, "preset %d is unknown", (int)preset);
    return msx__preset_apply(ctx, p, image, size, input, resized_width, resized_height, resized);
}

msx_status msx__preset_apply(msx_ctx *ctx, const msx__preset *p, const msx_image *image,
                             int64_t size, float *input, int64_t *resized_width,
                             int64_t *resized_height, msx_image **resized) {
    if (resized) *resized = NULL;
    MSX_TRY(check_type(ctx, image));
    if (size < 1 || size > 1 << 14)
        return msx__fail(ctx, MSX_E_ARG, "input size %" PRId64 " is outside 1 to 16384", size);
    msx_image *small = NULL;
    msx_status status = (p->square ? square : longest_side)(&small, p, image, size, input);
    if (status == MSX_OK) {
        if (resized_width) *resized_width = small->width;
        if (resized_height) *resized_height = small->height;
    }
    if (status == MSX_OK && resized)
        *resized = small;
    else
        msx_image_free(small);
    return status;
}
