/* SPDX-License-Identifier: Apache-2.0 */
/* Resampling by name, and the nearest neighbour. */
#include "image/pixels.h"
#include "image/resample.h"

#include <string.h>

/* Pixel centres, as Pillow's NEAREST: source = floor((i + 0.5) * in / out). */
static msx_status resize_nearest(msx_image **out, const msx_image *image, int64_t width,
                                 int64_t height) {
    MSX_TRY(msx__image_new(out, image->ctx, "", width, height, image->channels, image->type));
    size_t pixel = msx__pixel_bytes(image->type) * (size_t)image->channels;
    const char *from = image->data;
    char *to = (*out)->data;
    double sx = (double)image->width / (double)width, sy = (double)image->height / (double)height;
    for (int64_t y = 0; y < height; y++) {
        int64_t j = (int64_t)(((double)y + 0.5) * sy);
        for (int64_t x = 0; x < width; x++) {
            int64_t i = (int64_t)(((double)x + 0.5) * sx);
            memcpy(to + (size_t)(y * width + x) * pixel,
                   from + (size_t)(j * image->width + i) * pixel, pixel);
        }
    }
    return MSX_OK;
}

static msx_status resize_skimage(msx_image **out, const msx_image *image, int64_t width,
                                 int64_t height) {
    MSX_TRY(msx__image_new(out, image->ctx, "", width, height, image->channels, MSX_PIXEL_F32));
    double *values;
    msx_status status = msx__resize_skimage(&values, image, width, height);
    if (status < 0) {
        msx_image_free(*out);
        *out = NULL;
        return status;
    }
    float *to = (*out)->data;
    for (int64_t i = 0; i < width * height * image->channels; i++) to[i] = (float)values[i];
    msx__free(image->ctx, values);
    return MSX_OK;
}

msx_status msx_image_resize(msx_image **out, const msx_image *image, int64_t width, int64_t height,
                            msx_resample how) {
    if (out) *out = NULL;
    if (!image) return MSX_E_ARG;
    if (!out) return msx__fail(image->ctx, MSX_E_ARG, "msx_image_resize: out is NULL");
    if (width < 1 || height < 1)
        return msx__fail(image->ctx, MSX_E_ARG,
                         "a size of %" PRId64 " x %" PRId64 " pixels; give at least 1 x 1", width,
                         height);
    switch (how) {
    case MSX_RESAMPLE_NEAREST:
        return resize_nearest(out, image, width, height);
    case MSX_RESAMPLE_PILLOW_BILINEAR:
        return msx__resize_pillow(out, image, width, height);
    case MSX_RESAMPLE_SKIMAGE_CUBIC:
        return resize_skimage(out, image, width, height);
    }
    return msx__fail(image->ctx, MSX_E_ARG, "resampling %d is unknown", (int)how);
}
