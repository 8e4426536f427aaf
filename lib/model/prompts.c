/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting prompts. */
#include "model/results.h"

#include <math.h>
#include <string.h>

msx_status msx_prompts_create(msx_prompts **out, msx_ctx *ctx) {
    if (!ctx) return MSX_E_ARG;
    if (!out) return msx__fail(ctx, MSX_E_ARG, "msx_prompts_create: NULL argument");
    *out = msx__calloc(ctx, 1, sizeof **out);
    if (!*out) return MSX_E_NOMEM;
    (*out)->ctx = ctx;
    return MSX_OK;
}

void msx_prompts_free(msx_prompts *p) {
    if (!p) return;
    for (int64_t i = 0; i < p->n; i++) msx__free(p->ctx, p->prompts[i].mask);
    msx__free(p->ctx, p->prompts);
    msx__free(p->ctx, p->points);
    msx__free(p->ctx, p);
}

msx_status msx_prompts_begin(msx_prompts *p, int64_t image) {
    if (!p) return MSX_E_ARG;
    if (image < 0) return msx__fail(p->ctx, MSX_E_ARG, "prompt on image number %" PRId64, image);
    void *array = p->prompts;
    MSX_TRY(msx__grow(p->ctx, &array, p->n, &p->capacity, sizeof *p->prompts));
    p->prompts = array;
    p->prompts[p->n++] = (msx__prompt){.image = image, .first_point = p->n_points};
    return MSX_OK;
}

/* The prompt that is being built. */
static msx_status current(msx_prompts *p, msx__prompt **out) {
    if (!p) return MSX_E_ARG;
    if (!p->n) return msx__fail(p->ctx, MSX_E_ARG, "msx_prompts_begin() comes first");
    *out = p->prompts + p->n - 1;
    return MSX_OK;
}

msx_status msx_prompts_box(msx_prompts *p, double x0, double y0, double x1, double y1) {
    msx__prompt *q = NULL;
    MSX_TRY(current(p, &q));
    if (q->has_box)
        return msx__fail(p->ctx, MSX_E_ARG, "a prompt takes one box; begin another prompt");
    if (!isfinite(x0) || !isfinite(y0) || !isfinite(x1) || !isfinite(y1) || x0 > x1 || y0 > y1)
        return msx__fail(p->ctx, MSX_E_ARG,
                         "box %g,%g,%g,%g is not x0,y0,x1,y1 with x0 <= x1 and y0 <= y1", x0, y0,
                         x1, y1);
    q->has_box = true;
    const double box[4] = {x0, y0, x1, y1};
    memcpy(q->box, box, sizeof box);
    return MSX_OK;
}

msx_status msx_prompts_point(msx_prompts *p, double x, double y, int label) {
    msx__prompt *q = NULL;
    MSX_TRY(current(p, &q));
    if (!isfinite(x) || !isfinite(y) || (label != 0 && label != 1))
        return msx__fail(p->ctx, MSX_E_ARG,
                         "point %g,%g with label %d; labels are 1 (inside) and 0 (outside)", x, y,
                         label);
    void *array = p->points;
    MSX_TRY(msx__grow(p->ctx, &array, p->n_points, &p->point_capacity, sizeof *p->points));
    p->points = array;
    p->points[p->n_points++] = (msx__point){x, y, label};
    q->n_points++;
    return MSX_OK;
}

msx_status msx_prompts_mask(msx_prompts *p, const float *logits, int64_t n) {
    msx__prompt *q = NULL;
    MSX_TRY(current(p, &q));
    if (q->mask) return msx__fail(p->ctx, MSX_E_ARG, "a prompt takes one mask");
    if (!logits || n < 1)
        return msx__fail(p->ctx, MSX_E_ARG, "a mask prompt of %" PRId64 " logits", n);
    q->mask = msx__alloc(p->ctx, (size_t)n, sizeof *q->mask);
    if (!q->mask) return MSX_E_NOMEM;
    memcpy(q->mask, logits, (size_t)n * sizeof *q->mask);
    q->n_mask = n;
    return MSX_OK;
}

int64_t msx_prompts_count(const msx_prompts *p) {
    return p ? p->n : -1;
}
