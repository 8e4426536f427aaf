/* SPDX-License-Identifier: Apache-2.0 */
/* Resampling, and the tables that it works from: filled here, read by the loops of this folder and by
 * those of devices that prepare their inputs themselves. */
#ifndef MSX_IMAGE_RESAMPLE_H
#define MSX_IMAGE_RESAMPLE_H

#include "image/preset.h"

/* Pillow's Image.resize(BILINEAR): (height, width, channels) -> (h2, w2, channels). */
msx_status msx__resize_pillow(msx_image **out, const msx_image *image, int64_t width,
                              int64_t height);

/* skimage's cubic resize, before any rounding: (height, width, channels) doubles, msx__free. Outside
 * the image the first continues it as its mirror image, the second with zeros. */
msx_status msx__resize_skimage(double **out, const msx_image *image, int64_t width, int64_t height);
msx_status msx__resize_skimage_zero(double **out, const msx_image *image, int64_t width,
                                    int64_t height);

/* OpenCV's INTER_CUBIC of an 8-bit image: the same layout, integers in 0..255. */
msx_status msx__resize_opencv(double **out, const msx_image *image, int64_t width, int64_t height);

/* ---- Pillow's triangle (resize_pillow.c) ------------------------------------------------------- */

/* For each output position: first input position, number of them, and their weights. */
typedef struct msx__triangle {
    int64_t most; /* weights stored per output position */
    int64_t *first, *count;
    double *weights;  /* (out, most) */
    int32_t *rounded; /* (out, most), 22 fractional bits */
} msx__triangle;

msx_status msx__triangle_make(msx__triangle *t, msx_ctx *ctx, int64_t in, int64_t out);
void msx__triangle_free(msx__triangle *t, msx_ctx *ctx); /* accepts a zeroed struct */

/* ---- skimage's Gaussian and cubic spline (resize_skimage.c) ------------------------------------ */

/* Gaussian weights of one side: w[0] is the centre's. */
typedef struct msx__gaussian {
    int64_t radius;
    double *w; /* NULL: the axis does not shrink, nothing is smoothed */
} msx__gaussian;

msx_status msx__gaussian_make(msx__gaussian *g, msx_ctx *ctx, int64_t in, int64_t out);

/* The four coefficients around one output position: offsets into the data, and weights. */
enum {
    MSX__CUBIC_TAPS = 4,
    MSX__CUBIC_PAD = 12 /* zeros around an image, where zeros are outside */
};
typedef struct msx__cubic_tap {
    int64_t offset[MSX__CUBIC_TAPS];
    double weight[MSX__CUBIC_TAPS];
} msx__cubic_tap;

/* Of an axis of n samples (`pad` of them zeros at either end) that lie `step` apart. */
msx_status msx__cubic_taps_make(msx__cubic_tap **out, msx_ctx *ctx, int64_t n, int64_t step,
                                int64_t pad, int64_t extent);

/* ---- inputs (preprocess.c) --------------------------------------------------------------------- */

/* What is resampled: the image as colours, 1 or 3 channels of 8 bit, stretched where the preset says
 * so. */
msx_status msx__input_colours(msx_image **out, const msx__preset *preset, const msx_image *image);

/* What of an input of `size` a longest-side preset fills. MSX_E_SHAPE when a side is gone. */
msx_status msx__input_extent(const msx_image *image, int64_t size, int64_t *width, int64_t *height);

/* (x - mean) / std, by colour */
extern const float msx__input_mean[3], msx__input_std[3];

#endif
