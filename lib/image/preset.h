/* SPDX-License-Identifier: Apache-2.0 */
/* What a preset consists of. */
#ifndef MSX_IMAGE_PRESET_H
#define MSX_IMAGE_PRESET_H

#include "core/core.h"

#include <medsamix/image.h>

/* From the resized values (0..255) to the input. */
typedef enum msx__range {
    MSX__RANGE_MEAN_STD = 1, /* (x - mean) / std of each colour */
    MSX__RANGE_MIN_MAX = 2,  /* the image's own range to 0..1, all colours together */
    MSX__RANGE_255 = 3       /* x / 255 */
} msx__range;

/* From logits to a mask. */
typedef enum msx__post {
    MSX__POST_LOGITS = 1, /* two bilinear steps, > 0 */
    MSX__POST_SIGMOID = 2 /* sigmoid, one bilinear step, > 0.5 */
} msx__post;

/* (height, width, channels) of the image to doubles in 0..255; msx__free. */
typedef msx_status (*msx__square_fn)(double **out, const msx_image *image, int64_t width,
                                     int64_t height);

typedef struct msx__preset {
    msx_preset preset;
    const char *name;
    bool stretch;          /* each colour to 0..255 before resizing */
    msx__square_fn square; /* how to resize to S x S; NULL: longest side to S, Pillow, padded */
    bool truncate;         /* the resized values to 8 bit */
    msx__range range;
    msx__post post;
} msx__preset;

/* NULL when unknown. */
const msx__preset *msx__preset_get(msx_preset preset);

/* msx_preprocess() by a preset that need not be one of the table. */
msx_status msx__preset_apply(msx_ctx *ctx, const msx__preset *p, const msx_image *image,
                             int64_t size, float *input, int64_t *resized_width,
                             int64_t *resized_height, msx_image **resized);

/* For parts of an image: its colours (1 or 3 channels, 8 bit) as the preset makes them from the whole of
 * it, and the preset that is then left to apply to a part. */
msx_status msx__preset_whole(msx_image **out, msx__preset *rest, const msx__preset *p,
                             const msx_image *image);

#endif
