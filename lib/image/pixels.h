/* SPDX-License-Identifier: Apache-2.0 */
/* The image itself, and what the files of this folder share. */
#ifndef MSX_IMAGE_PIXELS_H
#define MSX_IMAGE_PIXELS_H

#include "core/core.h"

#include <medsamix/image.h>

struct msx_image {
    msx_ctx *ctx;
    int64_t width, height;
    int channels; /* 1 to 4 */
    msx_pixel type;
    void *data; /* (height, width, channels) */
};

/* Bytes of one sample, 0 for an unknown type. */
size_t msx__pixel_bytes(msx_pixel type);

/* "FILE: " or "" in front of messages. Checks extents against MSX_LIMIT_IMAGE_PIXELS; zeros. */
msx_status msx__image_new(msx_image **out, msx_ctx *ctx, const char *path, int64_t width,
                          int64_t height, int channels, msx_pixel type);

/* Sample i of the data as a double. */
static inline double msx__sample(const msx_image *image, int64_t i) {
    if (image->type == MSX_PIXEL_U8) return ((const uint8_t *)image->data)[i];
    if (image->type == MSX_PIXEL_U16) return ((const uint16_t *)image->data)[i];
    return ((const float *)image->data)[i];
}

/* What a decoder is asked for. */
typedef enum msx__decode {
    MSX__DECODE_PICTURE = 0, /* palettes become colours, 1, 2 and 4 bit grey is scaled to 8 */
    MSX__DECODE_LABELS = 1   /* one channel; sample values and palette indices as they are */
} msx__decode;

msx_status msx__png_load(msx_image **out, msx_ctx *ctx, const char *path, msx__decode how);
#ifdef MSX_HAVE_JPEG
msx_status msx__jpeg_load(msx_image **out, msx_ctx *ctx, const char *path);
#endif

#endif
