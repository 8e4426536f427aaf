/* SPDX-License-Identifier: Apache-2.0 */
/* Crops of an image and grids of points: generate_crop_boxes() and build_point_grid() of
 * segment-anything. */
#include "model/masks.h"

#include <string.h>

/* Side of each of n crops that cover `length`, overlapping their neighbours by `overlap`. */
static int64_t crop_length(int64_t length, int64_t n, int64_t overlap) {
    return (overlap * (n - 1) + length + n - 1) / n;
}

/* The n * n crops of a layer, columns of them first. */
static msx_status add_layer(msx__crop *to, msx_ctx *ctx, int64_t width, int64_t height,
                            int64_t layer, double overlap_ratio) {
    int64_t n = (int64_t)1 << layer, shorter = width < height ? width : height;
    int64_t overlap = (int64_t)(overlap_ratio * (double)shorter * (2.0 / (double)n));
    int64_t w = crop_length(width, n, overlap), h = crop_length(height, n, overlap);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++, to++) {
            int64_t x = (w - overlap) * i, y = (h - overlap) * k;
            if (x >= width || y >= height)
                return msx__fail(ctx, MSX_E_SHAPE,
                                 "an image of %" PRId64 " x %" PRId64
                                 " pixels is too small for %" PRId64 " x %" PRId64
                                 " crops; ask for fewer layers",
                                 width, height, n, n);
            *to = (msx__crop){
                {x, y, x + w < width ? x + w : width, y + h < height ? y + h : height}, layer};
        }
    return MSX_OK;
}

msx_status msx__crops_make(msx__crop **out, int64_t *n, msx_ctx *ctx, int64_t width, int64_t height,
                           int64_t layers, double overlap_ratio) {
    int64_t total = 1, first = 1;
    for (int64_t i = 1; i <= layers; i++) total += (int64_t)1 << 2 * i;
    *n = 0;
    *out = msx__alloc(ctx, (size_t)total, sizeof **out);
    if (!*out) return MSX_E_NOMEM;
    (*out)[0] = (msx__crop){{0, 0, width, height}, 0};
    for (int64_t i = 1; i <= layers; i++) {
        msx_status status = add_layer(*out + first, ctx, width, height, i, overlap_ratio);
        if (status < 0) {
            msx__free(ctx, *out);
            *out = NULL;
            return status;
        }
        first += (int64_t)1 << 2 * i;
    }
    *n = total;
    return MSX_OK;
}

/* numpy.linspace(1 / 2n, 1 - 1 / 2n, n), whose last value is exact. */
static double centre(int64_t i, int64_t n) {
    double start = 1.0 / (double)(2 * n), stop = 1 - start;
    if (n == 1) return start;
    return i == n - 1 ? stop : (double)i * ((stop - start) / (double)(n - 1)) + start;
}

msx_status msx__grid_make(double **out, msx_ctx *ctx, int64_t side) {
    *out = msx__alloc(ctx, (size_t)(side * side), 2 * sizeof **out);
    if (!*out) return MSX_E_NOMEM;
    for (int64_t i = 0; i < side * side; i++) {
        (*out)[2 * i] = centre(i % side, side);
        (*out)[2 * i + 1] = centre(i / side, side);
    }
    return MSX_OK;
}
