/* SPDX-License-Identifier: Apache-2.0 */
/* Masks found in an image, and the steps on the way to them. */
#ifndef MSX_MODEL_MASKS_H
#define MSX_MODEL_MASKS_H

#include "core/core.h"

#include <medsamix/generate.h>

/* ---- runs (mask_runs.c) ------------------------------------------------------------------------------- */

/* Pixels column by column, alternately outside and inside. */
typedef struct msx__runs {
    uint32_t *length;
    int64_t n, capacity;
} msx__runs;

/* A mask (height, width of the crop; 0 or 1) that is the part `crop` (x0, y0, x1, y1) of a picture; outside
 * it is empty. Released with msx__free of `length`, also after a failure. */
msx_status msx__runs_encode(msx__runs *r, msx_ctx *ctx, const uint8_t *mask, const int64_t crop[4],
                            int64_t width, int64_t height);
/* The mask in a picture of zeros (height, width). */
void msx__runs_decode(const msx__runs *r, uint8_t *mask, int64_t width, int64_t height);
int64_t msx__runs_area(const msx__runs *r);

/* First and last column and row of a mask: x0, y0, x1, y1, all 0 when it is empty. */
void msx__mask_box(const uint8_t *mask, int64_t width, int64_t height, int64_t box[4]);

/* ---- which masks stay (mask_nms.c) -------------------------------------------------------------------- */

/* Non-maximum suppression of n boxes (x0, y0, x1, y1): `keep` (n) receives the numbers of those that stay,
 * by falling score, then by number; `n_keep` how many. */
msx_status msx__nms(msx_ctx *ctx, const int64_t (*boxes)[4], const float *scores, int64_t n,
                    double threshold, int64_t *keep, int64_t *n_keep);

/* ---- small regions (mask_regions.c) ------------------------------------------------------------------- */

/* Remove holes, then islands, of fewer than `least` pixels; neighbours are the 8 around a pixel. Of
 * islands that are all too small the largest stays. True when anything changed. */
msx_status msx__remove_small_regions(msx_ctx *ctx, uint8_t *mask, int64_t width, int64_t height,
                                     int64_t least, bool *changed);

/* ---- where to look (crops.c) -------------------------------------------------------------------------- */

typedef struct msx__crop {
    int64_t box[4]; /* x0, y0, x1, y1; the last two are outside */
    int64_t layer;
} msx__crop;

/* The whole image and the crops of `layers` layers. */
msx_status msx__crops_make(msx__crop **out, int64_t *n, msx_ctx *ctx, int64_t width, int64_t height,
                           int64_t layers, double overlap_ratio);
/* side * side points (x, y) at the centres of cells, row by row. */
msx_status msx__grid_make(double **out, msx_ctx *ctx, int64_t side);

/* ---- the result (masks.c) ------------------------------------------------------------------------------ */

typedef struct msx__found {
    msx__runs runs;
    int64_t box[4]; /* as msx__mask_box(), in the image */
    float iou, stability;
    double point[2]; /* in the image */
    int64_t crop[4]; /* as in msx__crop */
} msx__found;

struct msx_masks {
    msx_ctx *ctx;
    int64_t width, height;
    msx__found *found;
    int64_t n, capacity;
};

/* Append; the runs are then the set's. */
msx_status msx__masks_add(msx_masks *s, const msx__found *f);
/* From `first` on only the masks of these n numbers (from 0 at `first`) stay, in this order. */
msx_status msx__masks_keep(msx_masks *s, int64_t first, const int64_t *numbers, int64_t n);

#endif
