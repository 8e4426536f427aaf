/* SPDX-License-Identifier: Apache-2.0 */
/* skimage.transform.resize(order=3, anti_aliasing=True, preserve_range=True), which is what MedSAM's
 * scripts call: where an axis shrinks, a Gaussian of sigma (in/out - 1) / 2; then an
 * interpolating cubic B-spline (M. Unser, A. Aldroubi, M. Eden, "Fast B-spline transforms for
 * continuous image representation and interpolation", PAMI 13(3), 1991); then clipping to the
 * input's range. skimage hands this to scipy.ndimage and treats the channels of a colour image as a
 * third axis that keeps its size. Its mode "reflect" is the boundary "mirror" there (d c b | a b c d |
 * c b a); "constant" is zeros outside: in the Gaussian's sums, and as 12 samples of zero around the
 * image before the spline's prefilter, which itself has no exact form of that boundary.
 *
 * Sums are formed in ndimage's order, in double. That matters: MedSAM truncates to 8 bit next, and a
 * flat area of value v that comes back as v - 1e-14 would become v - 1. */
#include "image/pixels.h"
#include "image/resample.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = 0,
    COLUMNS = 1,
    CHANNELS = 2,
    AXES = 3,
    TAPS = MSX__CUBIC_TAPS,
    PAD = MSX__CUBIC_PAD
};

static const double POLE = -0.267949192431122706472553658494127633; /* sqrt(3) - 2 */

/* (rows, columns, channels) of double. */
typedef struct grid {
    msx_ctx *ctx;
    int64_t extent[AXES];
    bool zero; /* outside are zeros, not the mirror image */
    double *data;
} grid;

static int64_t stride(const grid *g, int axis) {
    int64_t n = 1;
    for (int a = axis + 1; a < AXES; a++) n *= g->extent[a];
    return n;
}

/* Index i of an infinite mirrored axis, as one of 0..n-1. */
static int64_t mirror(int64_t i, int64_t n) {
    if (n == 1) return 0;
    int64_t period = 2 * n - 2;
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

/* ---- filters along lines ---------------------------------------------------------------------- */

/* numpy's pairwise sum, so that the normalised weights get the same bits. */
static double pairwise_sum(const double *a, int64_t n) {
    if (n < 8) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += a[i];
        return sum;
    }
    if (n > 128) {
        int64_t half = n / 2 - n / 2 % 8;
        return pairwise_sum(a, half) + pairwise_sum(a + half, n - half);
    }
    double r[8];
    memcpy(r, a, sizeof r);
    int64_t i = 8;
    for (; i < n - n % 8; i += 8)
        for (int k = 0; k < 8; k++) r[k] += a[i + k];
    double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; i++) sum += a[i];
    return sum;
}

msx_status msx__gaussian_make(msx__gaussian *g, msx_ctx *ctx, int64_t in, int64_t out) {
    double sigma = ((double)in / (double)out - 1) / 2;
    *g = (msx__gaussian){0};
    if (sigma <= 1e-15) return MSX_OK;
    g->radius = (int64_t)(4.0 * sigma + 0.5);
    int64_t n = 2 * g->radius + 1;
    double *all = msx__alloc(ctx, (size_t)n, sizeof *all);
    if (!all) return MSX_E_NOMEM;
    double factor = -0.5 / (sigma * sigma);
    for (int64_t i = 0; i < n; i++) {
        int64_t x = i - g->radius;
        all[i] = exp(factor * (double)(x * x));
    }
    double sum = pairwise_sum(all, n);
    for (int64_t i = 0; i <= g->radius; i++) all[i] = all[g->radius + i] / sum;
    g->w = all;
    return MSX_OK;
}

/* `line` has `n` values and room for the radius before and behind; the result goes to `out`. */
static void smooth_line(double *line, int64_t n, const msx__gaussian *g, bool zero, double *out,
                        int64_t step) {
    for (int64_t k = 1; k <= g->radius; k++) {
        line[-k] = zero ? 0 : line[mirror(-k, n)];
        line[n - 1 + k] = zero ? 0 : line[mirror(n - 1 + k, n)];
    }
    for (int64_t i = 0; i < n; i++) {
        double sum = line[i] * g->w[0];
        for (int64_t k = g->radius; k > 0; k--) sum += (line[i - k] + line[i + k]) * g->w[k];
        out[i * step] = sum;
    }
}

/* From samples to B-spline coefficients: one causal and one anticausal recursion. */
static void spline_line(double *c, int64_t n) {
    const double z = POLE, gain = (1.0 - z) * (1.0 - 1.0 / z);
    for (int64_t i = 0; i < n; i++) c[i] *= gain;
    const double z_last = pow(z, (double)(n - 1));
    double power = z;
    c[0] = c[0] + z_last * c[n - 1];
    for (int64_t i = 1; i < n - 1; i++) {
        c[0] += power * (c[i] + z_last * c[n - 1 - i]);
        power *= z;
    }
    c[0] /= 1 - z_last * z_last;
    for (int64_t i = 1; i < n; i++) c[i] += z * c[i - 1];
    c[n - 1] = (z * c[n - 2] + c[n - 1]) * z / (z * z - 1);
    for (int64_t i = n - 2; i >= 0; i--) c[i] = z * (c[i + 1] - c[i]);
}

/* Filter every line along an axis in place: smooth with `g`, or spline coefficients when NULL. Each
 * worker copies lines into a buffer of its own. */
static msx_status filter_axis(grid *image, int axis, const msx__gaussian *g) {
    int64_t n = image->extent[axis], step = stride(image, axis);
    int64_t lines = image->extent[0] * image->extent[1] * image->extent[2] / n;
    int64_t margin = g ? g->radius : 0, room = n + 2 * margin;
    int workers = msx_ctx_threads(image->ctx);
    double *buffers = msx__alloc(image->ctx, (size_t)workers, (size_t)room * sizeof *buffers);
    if (!buffers) return MSX_E_NOMEM;
#pragma omp parallel for num_threads(workers)
    for (int w = 0; w < workers; w++) {
        double *line = buffers + w * room + margin;
        for (int64_t l = w; l < lines; l += workers) {
            double *at = image->data + l / step * step * n + l % step;
            for (int64_t i = 0; i < n; i++) line[i] = at[i * step];
            if (g) {
                smooth_line(line, n, g, image->zero, at, step);
            } else {
                spline_line(line, n);
                for (int64_t i = 0; i < n; i++) at[i * step] = line[i];
            }
        }
    }
    msx__free(image->ctx, buffers);
    return MSX_OK;
}

static msx_status smooth(grid *image, const int64_t out[AXES]) {
    for (int axis = 0; axis < AXES; axis++) {
        msx__gaussian g;
        MSX_TRY(msx__gaussian_make(&g, image->ctx, image->extent[axis], out[axis]));
        msx_status status = g.w ? filter_axis(image, axis, &g) : MSX_OK;
        msx__free(image->ctx, g.w);
        MSX_TRY(status);
    }
    return MSX_OK;
}

/* Put PAD zeros around the rows and columns. */
static msx_status surround(grid *image) {
    int64_t height = image->extent[ROWS], line = image->extent[COLUMNS] * image->extent[CHANNELS];
    int64_t margin = PAD * image->extent[CHANNELS], longer = line + 2 * margin, n;
    if (!msx__mul(longer, height + 2 * PAD, &n)) return msx__nomem(image->ctx, SIZE_MAX);
    double *data = msx__calloc(image->ctx, (size_t)n, sizeof *data);
    if (!data) return MSX_E_NOMEM;
    for (int64_t y = 0; y < height; y++)
        memcpy(data + (y + PAD) * longer + margin, image->data + y * line,
               (size_t)line * sizeof *data);
    msx__free(image->ctx, image->data);
    image->data = data;
    image->extent[ROWS] += 2 * PAD;
    image->extent[COLUMNS] += 2 * PAD;
    return MSX_OK;
}

/* ---- interpolation ----------------------------------------------------------------------------- */

msx_status msx__cubic_taps_make(msx__cubic_tap **out, msx_ctx *ctx, int64_t n, int64_t step,
                                int64_t pad, int64_t extent) {
    msx__cubic_tap *all = msx__alloc(ctx, (size_t)extent, sizeof *all);
    if (!all) return MSX_E_NOMEM;
    double scale = (double)(n - 2 * pad) / (double)extent;
    for (int64_t i = 0; i < extent; i++) {
        double position = ((double)i + 0.5) * scale - 0.5 + (double)pad;
        if (position < 0) position = n == 1 ? 0 : -position;
        int64_t first = (int64_t)floor(position) - 1;
        double y = position - floor(position), z = 1.0 - y;
        double *w = all[i].weight;
        w[0] = z * z * z / 6.0;
        w[1] = (y * y * (y - 2.0) * 3.0 + 4.0) / 6.0;
        w[2] = (z * z * (z - 2.0) * 3.0 + 4.0) / 6.0;
        w[3] = 1.0 - w[0] - w[1] - w[2];
        for (int k = 0; k < TAPS; k++) all[i].offset[k] = mirror(first + k, n) * step;
    }
    *out = all;
    return MSX_OK;
}

/* `t[CHANNELS]` is NULL where the channels are images of their own. */
static double interpolate(const double *from, msx__cubic_tap *const t[AXES], int64_t y, int64_t x,
                          int64_t c) {
    const msx__cubic_tap *row = t[ROWS] + y, *column = t[COLUMNS] + x;
    const msx__cubic_tap *channel = t[CHANNELS] ? t[CHANNELS] + c : NULL;
    double sum = 0;
    for (int j = 0; j < TAPS; j++)
        for (int i = 0; i < TAPS; i++) {
            const double *at = from + row->offset[j] + column->offset[i];
            for (int k = 0; k < (channel ? TAPS : 1); k++) {
                double value = at[channel ? channel->offset[k] : c];
                value *= row->weight[j];
                value *= column->weight[i];
                sum += channel ? value * channel->weight[k] : value;
            }
        }
    return sum;
}

static void interpolate_all(grid *to, const double *from, msx__cubic_tap *const t[AXES]) {
    const int64_t *n = to->extent;
#pragma omp parallel for num_threads(msx_ctx_threads(to->ctx))
    for (int64_t y = 0; y < n[ROWS]; y++)
        for (int64_t x = 0; x < n[COLUMNS]; x++)
            for (int64_t c = 0; c < n[CHANNELS]; c++)
                to->data[(y * n[COLUMNS] + x) * n[CHANNELS] + c] = interpolate(from, t, y, x, c);
}

/* Smallest and largest value. */
static void range_of(const grid *g, double range[2]) {
    int64_t n = g->extent[0] * g->extent[1] * g->extent[2];
    range[0] = range[1] = g->data[0];
    for (int64_t i = 1; i < n; i++) {
        range[0] = fmin(range[0], g->data[i]);
        range[1] = fmax(range[1], g->data[i]);
    }
}

/* To the input's range; the zeros outside belong to it when the result reaches them. */
static void clip(grid *g, double range[2]) {
    double reached[2] = {1, 1};
    if (g->zero) range_of(g, reached);
    if (reached[0] <= 0 && reached[1] >= 0) {
        range[0] = fmin(range[0], 0);
        range[1] = fmax(range[1], 0);
    }
    int64_t n = g->extent[0] * g->extent[1] * g->extent[2];
    for (int64_t i = 0; i < n; i++) {
        double v = g->data[i];
        g->data[i] = v < range[0] ? range[0] : v > range[1] ? range[1] : v;
    }
}

static msx_status resize_grid(grid *to, grid *from) {
    /* One channel is a 2-D image to skimage: no third axis to interpolate along. With zeros outside
     * that axis gives back its samples to within rounding, and nothing truncates them. */
    int axes = from->extent[CHANNELS] == 1 || from->zero ? CHANNELS : AXES;
    double range[2];
    range_of(from, range);
    MSX_TRY(smooth(from, to->extent));
    if (from->zero) MSX_TRY(surround(from));
    msx__cubic_tap *t[AXES] = {NULL, NULL, NULL};
    msx_status status = MSX_OK;
    for (int axis = 0; axis < axes && status == MSX_OK; axis++) {
        if (from->extent[axis] > 1) status = filter_axis(from, axis, NULL);
        if (status == MSX_OK)
            status =
                msx__cubic_taps_make(&t[axis], from->ctx, from->extent[axis], stride(from, axis),
                                     from->zero ? PAD : 0, to->extent[axis]);
    }
    if (status == MSX_OK) {
        interpolate_all(to, from->data, t);
        clip(to, range);
    }
    for (int axis = 0; axis < axes; axis++) msx__free(from->ctx, t[axis]);
    return status;
}

static msx_status resize(double **out, const msx_image *image, int64_t width, int64_t height,
                         bool zero) {
    *out = NULL;
    msx_ctx *ctx = image->ctx;
    int64_t n_in = image->width * image->height * image->channels, n_out;
    if (!msx__product((int64_t[]){width, height, image->channels}, 3, &n_out))
        return msx__nomem(ctx, SIZE_MAX);
    grid from = {ctx, {image->height, image->width, image->channels}, zero, NULL};
    grid to = {ctx, {height, width, image->channels}, zero, NULL};
    from.data = msx__alloc(ctx, (size_t)n_in, sizeof *from.data);
    to.data = msx__alloc(ctx, (size_t)n_out, sizeof *to.data);
    msx_status status = from.data && to.data ? MSX_OK : MSX_E_NOMEM;
    if (status == MSX_OK) {
        for (int64_t i = 0; i < n_in; i++) from.data[i] = msx__sample(image, i);
        status = resize_grid(&to, &from);
    }
    msx__free(ctx, from.data);
    if (status < 0)
        msx__free(ctx, to.data);
    else
        *out = to.data;
    return status;
}

msx_status msx__resize_skimage(double **out, const msx_image *image, int64_t width,
                               int64_t height) {
    return resize(out, image, width, height, false);
}

msx_status msx__resize_skimage_zero(double **out, const msx_image *image, int64_t width,
                                    int64_t height) {
    return resize(out, image, width, height, true);
}
