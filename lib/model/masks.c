/* SPDX-License-Identifier: Apache-2.0 */
/* Masks found in an image: keeping, asking, drawing. */
#include "model/masks.h"

#include <stdlib.h>
#include <string.h>

msx_status msx__masks_add(msx_masks *s, const msx__found *f) {
    void *array = s->found;
    MSX_TRY(msx__grow(s->ctx, &array, s->n, &s->capacity, sizeof *s->found));
    s->found = array;
    s->found[s->n++] = *f;
    return MSX_OK;
}

msx_status msx__masks_keep(msx_masks *s, int64_t first, const int64_t *numbers, int64_t n) {
    msx__found *from = s->found + first, *kept = msx__alloc(s->ctx, (size_t)n, sizeof *kept);
    if (!kept) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        kept[i] = from[numbers[i]];
        from[numbers[i]].runs.length = NULL;
    }
    for (int64_t i = 0; i < s->n - first; i++) msx__free(s->ctx, from[i].runs.length);
    if (n) memcpy(from, kept, (size_t)n * sizeof *kept);
    s->n = first + n;
    msx__free(s->ctx, kept);
    return MSX_OK;
}

void msx_masks_free(msx_masks *s) {
    if (!s) return;
    for (int64_t i = 0; i < s->n; i++) msx__free(s->ctx, s->found[i].runs.length);
    msx__free(s->ctx, s->found);
    msx__free(s->ctx, s);
}

int64_t msx_masks_count(const msx_masks *s) {
    return s ? s->n : -1;
}
int64_t msx_masks_width(const msx_masks *s) {
    return s ? s->width : -1;
}
int64_t msx_masks_height(const msx_masks *s) {
    return s ? s->height : -1;
}

static msx_status check_number(const msx_masks *s, int64_t i) {
    if (i >= 0 && i < s->n) return MSX_OK;
    return msx__fail(s->ctx, MSX_E_ARG, "mask %" PRId64 " of %" PRId64, i, s->n);
}

/* x0, y0, x1, y1 -> x, y, width, height */
static void place(double out[4], const int64_t box[4]) {
    for (int i = 0; i < 4; i++) out[i] = (double)(i < 2 ? box[i] : box[i] - box[i - 2]);
}

msx_status msx_masks_record(const msx_masks *s, int64_t i, msx_mask_record *out) {
    if (!s) return MSX_E_ARG;
    if (!out || out->struct_size != sizeof *out)
        return msx__fail(s->ctx, MSX_E_ARG, "msx_masks_record: NULL or struct_size not set");
    MSX_TRY(check_number(s, i));
    const msx__found *f = s->found + i;
    *out = (msx_mask_record){.struct_size = sizeof *out,
                             .area = msx__runs_area(&f->runs),
                             .predicted_iou = f->iou,
                             .point_coords = {f->point[0], f->point[1]},
                             .stability_score = f->stability};
    place(out->bbox, f->box);
    place(out->crop_box, f->crop);
    return MSX_OK;
}

const uint32_t *msx_masks_runs(const msx_masks *s, int64_t i, size_t *n) {
    bool there = s && i >= 0 && i < s->n;
    if (n) *n = there ? (size_t)s->found[i].runs.n : 0;
    return there ? s->found[i].runs.length : NULL;
}

msx_status msx_masks_image(msx_image **out, const msx_masks *s, int64_t i) {
    if (!s) return MSX_E_ARG;
    if (!out) return msx__fail(s->ctx, MSX_E_ARG, "msx_masks_image: NULL argument");
    *out = NULL;
    MSX_TRY(check_number(s, i));
    MSX_TRY(msx_image_create(out, s->ctx, s->width, s->height, 1, MSX_PIXEL_U8, NULL));
    msx__runs_decode(&s->found[i].runs, msx_image_data(*out), s->width, s->height);
    return MSX_OK;
}

/* ---- all in one picture --------------------------------------------------------------------------------- */

typedef struct sized {
    int64_t area, number;
} sized;

/* Largest first; of equal ones the later first, so that the better one lies on top. */
static int by_area(const void *left, const void *right) {
    const sized *a = left, *b = right;
    if (a->area != b->area) return a->area > b->area ? -1 : 1;
    return a->number > b->number ? -1 : a->number < b->number;
}

static void paint(const msx__runs *r, uint16_t *picture, uint16_t value, int64_t width,
                  int64_t height) {
    int64_t at = 0;
    for (int64_t i = 0; i < r->n; at += r->length[i++])
        for (int64_t k = at; i % 2 && k < at + r->length[i]; k++)
            picture[k % height * width + k / height] = value;
}

msx_status msx_masks_labels(msx_image **out, const msx_masks *s) {
    if (!s) return MSX_E_ARG;
    if (!out) return msx__fail(s->ctx, MSX_E_ARG, "msx_masks_labels: NULL argument");
    *out = NULL;
    if (s->n > UINT16_MAX)
        return msx__fail(s->ctx, MSX_E_LIMIT,
                         "%" PRId64 " masks are more than the %d values of a 16-bit picture", s->n,
                         UINT16_MAX);
    sized *order = msx__alloc(s->ctx, (size_t)s->n, sizeof *order);
    if (!order) return MSX_E_NOMEM;
    for (int64_t i = 0; i < s->n; i++) order[i] = (sized){msx__runs_area(&s->found[i].runs), i};
    qsort(order, (size_t)s->n, sizeof *order, by_area);
    msx_status status = msx_image_create(out, s->ctx, s->width, s->height, 1, MSX_PIXEL_U16, NULL);
    for (int64_t i = 0; i < s->n && status == MSX_OK; i++)
        paint(&s->found[order[i].number].runs, msx_image_data(*out),
              (uint16_t)(order[i].number + 1), s->width, s->height);
    msx__free(s->ctx, order);
    return status;
}
