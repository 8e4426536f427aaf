/* SPDX-License-Identifier: Apache-2.0 */
/* OpenCV's resize(INTER_CUBIC) of 8-bit images: Keys' cubic convolution with a = -0.75 on four
 * neighbours whatever the factor (no antialiasing), edges repeated, weights rounded to 11 bits, one
 * rounding at the end. Builds of OpenCV with vector code sum the rows in float32 and differ by one
 * level here and there. R. G. Keys, "Cubic convolution interpolation for digital image processing",
 * ASSP 29(6), 1981. */
#include "image/pixels.h"
#include "image/resample.h"

#include <math.h>

enum { TAPS = 4, BITS = 11 };

/* The four samples around one output position: their indices and weights. */
typedef struct taps {
    int64_t index[TAPS];
    int32_t weight[TAPS];
} taps;

static msx_status taps_make(taps **out, msx_ctx *ctx, int64_t n, int64_t extent) {
    const float a = -0.75f;
    taps *all = msx__alloc(ctx, (size_t)extent, sizeof *all);
    if (!all) return MSX_E_NOMEM;
    double scale = (double)n / (double)extent;
    for (int64_t i = 0; i < extent; i++) {
        float x = (float)(((double)i + 0.5) * scale - 0.5), base = floorf(x), w[TAPS];
        x -= base;
        float y = 1 - x;
        w[0] = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a;
        w[1] = ((a + 2) * x - (a + 3)) * x * x + 1;
        w[2] = ((a + 2) * y - (a + 3)) * y * y + 1;
        w[3] = 1 - w[0] - w[1] - w[2];
        for (int k = 0; k < TAPS; k++) {
            int64_t at = (int64_t)base - 1 + k;
            all[i].index[k] = at < 0 ? 0 : at >= n ? n - 1 : at;
            all[i].weight[k] = (int32_t)lrintf(w[k] * (1 << BITS));
        }
    }
    *out = all;
    return MSX_OK;
}

/* (height, in, channels) bytes -> (height, width, channels) sums. */
static void resize_rows(int32_t *to, const msx_image *image, const taps *column, int64_t width) {
    const uint8_t *from = image->data;
    int64_t channels = image->channels;
#pragma omp parallel for num_threads(msx_ctx_threads(image->ctx))
    for (int64_t y = 0; y < image->height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t c = 0; c < channels; c++) {
                int32_t sum = 0;
                for (int k = 0; k < TAPS; k++)
                    sum += column[x].weight[k] *
                           from[(y * image->width + column[x].index[k]) * channels + c];
                to[(y * width + x) * channels + c] = sum;
            }
}

/* (in, width, channels) sums -> (height, width, channels) levels. */
static void resize_columns(double *to, const int32_t *from, const msx_image *image, const taps *row,
                           int64_t width, int64_t height) {
    int64_t line = width * image->channels;
#pragma omp parallel for num_threads(msx_ctx_threads(image->ctx))
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < line; x++) {
            int64_t sum = 1 << (2 * BITS - 1);
            for (int k = 0; k < TAPS; k++)
                sum += (int64_t)row[y].weight[k] * from[row[y].index[k] * line + x];
            int64_t level = sum < 0 ? 0 : sum >> (2 * BITS);
            to[y * line + x] = level > 255 ? 255 : (double)level;
        }
}

msx_status msx__resize_opencv(double **out, const msx_image *image, int64_t width, int64_t height) {
    *out = NULL;
    msx_ctx *ctx = image->ctx;
    int64_t line = width * image->channels, n_rows, n_out;
    if (!msx__mul(line, image->height, &n_rows) || !msx__mul(line, height, &n_out))
        return msx__nomem(ctx, SIZE_MAX);
    taps *column = NULL, *row = NULL;
    int32_t *rows = NULL;
    msx_status status = taps_make(&column, ctx, image->width, width);
    if (status == MSX_OK) status = taps_make(&row, ctx, image->height, height);
    if (status == MSX_OK && !(rows = msx__alloc(ctx, (size_t)n_rows, sizeof *rows)))
        status = MSX_E_NOMEM;
    if (status == MSX_OK && !(*out = msx__alloc(ctx, (size_t)n_out, sizeof **out)))
        status = MSX_E_NOMEM;
    if (status == MSX_OK) {
        resize_rows(rows, image, column, width);
        resize_columns(*out, rows, image, row, width, height);
    }
    msx__free(ctx, rows);
    msx__free(ctx, row);
    msx__free(ctx, column);
    return status;
}
