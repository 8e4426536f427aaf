/* SPDX-License-Identifier: Apache-2.0 */
/* What runs over an evaluator keep on a device with memory of its own: its images as the network takes them, and
 * their labels. */
#include "search/evaluator.h"

#include "model/lanes.h"
#include "model/results.h"
#include "model/seats.h"

#include <string.h>

#define INPUT_BYTES ((int64_t)2 << 30) /* kept inputs, in all */

bool msx__eval_there_drop_inputs(msx__eval_work *w) {
    if (!w->there.inputs) return false;
    msx__seats_release(w->there.device, w->there.inputs);
    w->there.inputs = NULL;
    return true;
}

void msx__eval_there_drop(msx__eval_work *w) {
    msx__eval_there_drop_inputs(w);
    msx__seats_release(w->there.device, w->there.labels);
    msx__free(w->ctx, w->there.offset);
    msx__free(w->ctx, w->there.sizes);
    w->there = (msx__eval_there){0};
}

static msx_status send_labels(const msx_evaluator *e, msx__eval_there *t, msx_device *d) {
    int64_t pixels = 0;
    t->offset = msx__alloc(e->ctx, (size_t)e->n_images + 1, sizeof *t->offset);
    if (!t->offset) return MSX_E_NOMEM;
    for (int64_t i = 0; i <= e->n_images; i++) {
        t->offset[i] = pixels;
        if (i < e->n_images)
            pixels += msx_image_width(e->images[i].image) * msx_image_height(e->images[i].image);
    }
    float *memory;
    MSX_TRY(msx__device_alloc(d, &memory, (pixels + 1) / 2));
    t->labels = (uint16_t *)(void *)memory;
    for (int64_t i = 0; i < e->n_images; i++)
        MSX_RUN(d, upload, t->labels + t->offset[i], e->images[i].labels,
                (size_t)(t->offset[i + 1] - t->offset[i]) * sizeof *t->labels);
    return MSX_OK;
}

static msx_status make_inputs(const msx_evaluator *e, msx__eval_there *t, msx_model *model) {
    int64_t per_image = 3 * e->side * e->side, values;
    if (!msx__mul(e->n_images, per_image, &values) || values > INPUT_BYTES / (int64_t)sizeof(float))
        return MSX_OK;
    t->sizes = msx__alloc(e->ctx, 4 * (size_t)e->n_images, sizeof *t->sizes);
    if (!t->sizes) return MSX_E_NOMEM;
    MSX_TRY(msx__device_alloc(model->device, &t->inputs, values));
    for (int64_t i = 0; i < e->n_images; i++) {
        msx__extent x;
        MSX_TRY(msx__prepare_there(model, e->images[i].image, t->inputs + i * per_image, &x));
        memcpy(t->sizes + 4 * i, (int64_t[]){x.width, x.height, x.resized_width, x.resized_height},
               4 * sizeof *t->sizes);
    }
    return MSX_OK;
}

static msx_status send_all(const msx_evaluator *e, msx__eval_there *t, msx_model *model,
                           bool keep) {
    msx__seat *seat;
    MSX_TRY(msx__seat_take(t->device, 1, &seat));
    msx_model view = msx__model_at(model, seat);
    msx_status status = send_labels(e, t, &seat->device);
    if (status == MSX_OK && keep && msx__prepares_there(model)) status = make_inputs(e, t, &view);
    msx__seat_leave(t->device, seat);
    return status;
}

/* What does not fit is done without: inputs are then made anew for every run, and masks are counted on the
 * host. */
msx_status msx__eval_there_prepare(const msx_evaluator *e, msx__eval_work *w, msx_model *model,
                                   bool keep) {
    msx__eval_there *t = &w->there;
    msx_device *d = model->device;
    if (d->k->host_memory || (t->device == d && t->evaluator == e)) return MSX_OK;
    msx__eval_there_drop(w);
    t->device = d;
    t->evaluator = e;
    msx_status status = send_all(e, t, model, keep);
    if (status == MSX_OK) return MSX_OK;
    msx__eval_there_drop_inputs(w);
    if (status != MSX_E_NOMEM) {
        msx__eval_there_drop(w);
        return status;
    }
    msx__log(e->ctx, MSX_LOG_INFO, "%s: images and labels are sent with every run",
             msx_ctx_error(e->ctx));
    return MSX_OK;
}

bool msx__eval_there_counts(const msx__eval_work *w, const msx_prediction *p) {
    return w->there.labels && msx__prediction_counts(p);
}

msx_status msx__eval_there_count(const msx_evaluator *e, const msx__eval_work *w,
                                 const msx_prediction *p, int64_t first, int64_t last,
                                 msx_counts *counts) {
    size_t n = (size_t)(last - first);
    msx__counted *list = msx__alloc(e->ctx, n, sizeof *list);
    int64_t(*numbers)[5] = msx__alloc(e->ctx, n, sizeof *numbers);
    msx_status status = list && numbers ? MSX_OK : MSX_E_NOMEM;
    for (int64_t k = first, prompt = 0; status == MSX_OK && k < last; k++) {
        const msx__eval_item *item = &e->items[k];
        const msx__eval_task *task = &e->tasks[item->task];
        list[k - first] = (msx__counted){.prompt = prompt,
                                         .n_prompts = item->n_boxes,
                                         .labels = w->there.labels + w->there.offset[item->image],
                                         .label = task->label,
                                         .ignore = task->dataset->description.ignore};
        prompt += item->n_boxes;
    }
    if (status == MSX_OK) status = msx__prediction_count(numbers, p, list, (int64_t)n);
    for (size_t i = 0; status == MSX_OK && i < n; i++) {
        if (numbers[i][4]) status = msx__evaluator_not_finite(e, &e->items[first + (int64_t)i]);
        counts[i] = (msx_counts){numbers[i][0], numbers[i][1], numbers[i][2], numbers[i][3]};
    }
    msx__free(e->ctx, list);
    msx__free(e->ctx, numbers);
    return status;
}
