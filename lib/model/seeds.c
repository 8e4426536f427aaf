/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting prompts on the slices of a volume. */
#include "model/seeds.h"

#include <math.h>
#include <string.h>

msx_status msx_seeds_create(msx_seeds **out, msx_ctx *ctx) {
    if (out) *out = NULL;
    if (!out || !ctx) return msx__fail(ctx, MSX_E_ARG, "msx_seeds_create: NULL argument");
    *out = msx__calloc(ctx, 1, sizeof **out);
    if (!*out) return MSX_E_NOMEM;
    (*out)->ctx = ctx;
    return MSX_OK;
}

void msx_seeds_free(msx_seeds *s) {
    if (!s) return;
    for (int64_t i = 0; i < s->n_files; i++) msx__free(s->ctx, s->files[i]);
    msx__free(s->ctx, s->files);
    msx__free(s->ctx, s->seeds);
    msx__free(s->ctx, s);
}

int64_t msx_seeds_count(const msx_seeds *s) {
    return s ? s->n : 0;
}

static msx_status check(const msx_seeds *s, const msx__seed *seed) {
    if (seed->label < 1 || seed->label > MSX__MAX_LABEL)
        return msx__fail(s->ctx, MSX_E_ARG, "label %d of an object is outside 1 to %d", seed->label,
                         MSX__MAX_LABEL);
    if (seed->first < 0 || seed->first > seed->last)
        return msx__fail(s->ctx, MSX_E_ARG,
                         "slices %" PRId64 " to %" PRId64 " are none; slices count from 0",
                         seed->first, seed->last);
    const double *b = seed->at;
    bool finite = true;
    for (int i = 0; i < 4; i++) finite &= isfinite(b[i]) != 0;
    if (seed->point && !finite)
        return msx__fail(s->ctx, MSX_E_ARG, "point %g,%g is not finite", b[0], b[1]);
    if (!seed->point && (!finite || b[0] > b[2] || b[1] > b[3]))
        return msx__fail(s->ctx, MSX_E_ARG,
                         "box %g,%g,%g,%g is not x0,y0,x1,y1 with x0 <= x1 and y0 <= y1", b[0],
                         b[1], b[2], b[3]);
    return MSX_OK;
}

msx_status msx__seeds_add(msx_seeds *s, const msx__seed *seed) {
    MSX_TRY(check(s, seed));
    void *array = s->seeds;
    MSX_TRY(msx__grow(s->ctx, &array, s->n, &s->capacity, sizeof *s->seeds));
    s->seeds = array;
    s->seeds[s->n++] = *seed;
    return MSX_OK;
}

msx_status msx_seeds_box(msx_seeds *s, int label, int64_t first, int64_t last,
                         const double box[4]) {
    if (!s || !box) return msx__fail(s ? s->ctx : NULL, MSX_E_ARG, "msx_seeds_box: NULL argument");
    msx__seed seed = {.label = label, .first = first, .last = last};
    memcpy(seed.at, box, sizeof seed.at);
    return msx__seeds_add(s, &seed);
}

msx_status msx_seeds_point(msx_seeds *s, int label, int64_t slice, double x, double y, int inside) {
    if (!s) return MSX_E_ARG;
    if (inside != 0 && inside != 1)
        return msx__fail(s->ctx, MSX_E_ARG, "point %g,%g is %d; 1 is inside, 0 outside", x, y,
                         inside);
    return msx__seeds_add(
        s, &(msx__seed){label, true, inside == 1, slice, slice, {x, y, x, y}, NULL, 0});
}

/* ---- from labels -------------------------------------------------------------------------------------- */

/* The smallest box around a label; both corners lie on it. x0 > x1 when it has not been seen. */
typedef struct extent {
    int64_t x0, y0, x1, y1;
} extent;
static const extent unseen = {INT64_MAX, INT64_MAX, -1, -1};

static int label_at(const msx_image *slice, int64_t i) {
    return msx_image_type(slice) == MSX_PIXEL_U8 ? ((const uint8_t *)msx_image_data(slice))[i]
                                                 : ((const uint16_t *)msx_image_data(slice))[i];
}

/* `extents` has an entry per label, all unseen before and after. */
static msx_status add_slice(msx_seeds *s, const msx_image *slice, int64_t index, extent *extents) {
    int64_t width = msx_image_width(slice), height = msx_image_height(slice);
    int largest = 0;
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            int label = label_at(slice, y * width + x);
            if (!label) continue;
            extent *e = extents + label;
            if (label > largest) largest = label;
            if (x < e->x0) e->x0 = x;
            if (y < e->y0) e->y0 = y;
            if (x > e->x1) e->x1 = x;
            if (y > e->y1) e->y1 = y;
        }
    for (int label = 1; label <= largest; label++) {
        extent e = extents[label];
        if (e.x0 > e.x1) continue;
        const double box[4] = {(double)e.x0, (double)e.y0, (double)e.x1, (double)e.y1};
        MSX_TRY(msx_seeds_box(s, label, index, index, box));
        extents[label] = unseen;
    }
    return MSX_OK;
}

msx_status msx_seeds_labels(msx_seeds *s, const msx_slices *labels) {
    if (!s || !labels)
        return msx__fail(s ? s->ctx : NULL, MSX_E_ARG, "msx_seeds_labels: NULL argument");
    extent *extents = msx__alloc(s->ctx, MSX__MAX_LABEL + 1, sizeof *extents);
    if (!extents) return MSX_E_NOMEM;
    for (int i = 0; i <= MSX__MAX_LABEL; i++) extents[i] = unseen;
    int64_t before = s->n;
    msx_status status = MSX_OK;
    for (int64_t k = 0; status == MSX_OK && k < msx_slices_count(labels); k++) {
        msx_image *slice;
        status = msx__check_cancel(s->ctx);
        if (status == MSX_OK) status = msx_slices_read(&slice, labels, k);
        if (status < 0) break;
        status = msx_image_type(slice) == MSX_PIXEL_F32
                     ? msx__fail(s->ctx, MSX_E_ARG, "labels are 8 or 16 bit slices")
                     : add_slice(s, slice, k, extents);
        msx_image_free(slice);
    }
    msx__free(s->ctx, extents);
    if (status == MSX_OK && s->n == before)
        status = msx__fail(s->ctx, MSX_E_FORMAT, "there is no label at all; nothing to segment");
    if (status < 0) s->n = before;
    return status;
}
