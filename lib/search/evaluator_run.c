/* SPDX-License-Identifier: Apache-2.0 */
/* Running a model over prepared slices, batch by batch: embed, decode, count. */
#include "search/evaluator.h"

#include "model/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define INPUT_BYTES  ((int64_t)1 << 30) /* kept network inputs, in all */
#define BATCH_PIXELS (4 * 1024 * 1024)  /* input pixels of one encoder call */

/* ---- inputs ------------------------------------------------------------------------------------ */

void msx__evaluator_drop_inputs(msx_evaluator *e) {
    msx__free(e->ctx, e->inputs);
    msx__free(e->ctx, e->sizes);
    e->inputs = NULL;
    e->sizes = NULL;
    e->side = 0;
}

/* Say in the last error, which speaks of an image, whose image that is. */
static msx_status name_case(const msx_evaluator *e, const msx__eval_image *image) {
    char why[256];
    snprintf(why, sizeof why, "%s", msx_ctx_error(e->ctx));
    return msx__fail(e->ctx, MSX_E_SHAPE, "%s: case %s: %s", msx_dataset_name(image->dataset),
                     image->case_name, why);
}

/* Preprocess all images once; resampling is a function of the preset and the side only. */
msx_status msx__evaluator_prepare(msx_evaluator *e, msx_preset preset, int64_t side, bool here) {
    if (e->side == side && e->preset == preset && (e->here || !here)) return MSX_OK;
    msx__evaluator_drop_inputs(e);
    int64_t values = 0;
    bool fits = here && msx__product((int64_t[]){e->n_images, 3, side, side}, 4, &values) &&
                values <= INPUT_BYTES / (int64_t)sizeof(float);
    if (fits) {
        e->inputs = msx__alloc(e->ctx, (size_t)values, sizeof *e->inputs);
        e->sizes = msx__alloc(e->ctx, 4 * (size_t)e->n_images, sizeof *e->sizes);
        if (!e->inputs || !e->sizes) return MSX_E_NOMEM;
    }
    for (int64_t i = 0; fits && i < e->n_images; i++) {
        int64_t *size = &e->sizes[4 * i];
        size[0] = msx_image_width(e->images[i].image);
        size[1] = msx_image_height(e->images[i].image);
        msx_status status =
            msx_preprocess(e->ctx, preset, e->images[i].image, side,
                           e->inputs + i * 3 * side * side, &size[2], &size[3], NULL);
        if (status == MSX_E_SHAPE) return name_case(e, &e->images[i]);
        MSX_TRY(status);
    }
    e->side = side;
    e->preset = preset;
    e->here = here;
    return MSX_OK;
}

/* ---- running ----------------------------------------------------------------------------------- */

static int64_t batch_of(int64_t side) {
    int64_t batch = BATCH_PIXELS / (side * side);
    return batch < 1 ? 1 : batch > MSX__EVAL_MAX_BATCH ? MSX__EVAL_MAX_BATCH : batch;
}

void msx__eval_work_free(msx__eval_work *w) {
    msx__activation_cache_free(w->cache);
    if (w->ctx) msx__eval_there_drop(w);
    *w = (msx__eval_work){0};
}

static msx_status run_batches(msx__eval_batch *b) {
    const msx_evaluator *e = b->e;
    const msx__eval_how *how = b->how;
    msx__eval_result *r = b->result;
    int64_t size = batch_of(e->side);
    if (how->batch && how->batch < size) size = how->batch;
    bool stop = false;
    while (r->images < e->n_images && !stop) {
        MSX_TRY(msx__check_cancel(e->ctx));
        b->first = r->images;
        b->n = e->n_images - r->images < size ? e->n_images - r->images : size;
        MSX_TRY(msx__evaluator_embed(b));
        msx_status status = msx__evaluator_count(b);
        msx_status kept = msx__evaluator_keep(b, status >= 0);
        MSX_TRY(status < 0 ? status : kept);
        r->images += b->n;
        if (how->watch) MSX_TRY(how->watch(r, &stop, how->payload));
        if (how->stage) MSX_TRY(msx__progress(e->ctx, how->stage, r->images, e->n_images, NAN));
    }
    return MSX_OK;
}

msx_status msx__evaluator_run(msx_evaluator *e, msx_model *model, msx__eval_work *work,
                              const msx__eval_how *how, msx__eval_result *r) {
    if (e->n_images == 0)
        return msx__fail(e->ctx, MSX_E_FORMAT,
                         "nothing to score: no task has a slice with %" PRId64 " labelled pixels",
                         e->min_object);
    r->images = r->blocks_run = r->blocks_reused = 0;
    MSX_TRY(msx__evaluator_prepare(e, msx_model_preset(model),
                                   msx_arch_get(msx_model_arch(model), MSX_ARCH_IMAGE_SIZE),
                                   !msx__prepares_there(model)));
    work->ctx = e->ctx;
    MSX_TRY(msx__eval_there_prepare(e, work, model, how->keep));
    int64_t largest = 0;
    for (int64_t k = 0; k < e->n_items; k++) {
        int64_t pixels = msx__evaluator_pixels(e, &e->items[k]);
        if (pixels > largest) largest = pixels;
    }
    msx__eval_batch b = {.e = e, .model = model, .work = work, .how = how, .result = r};
    b.mask = msx__alloc(e->ctx, (size_t)largest, 1);
    b.reference = msx__alloc(e->ctx, (size_t)largest, 1);
    msx_status status = b.mask && b.reference ? run_batches(&b) : MSX_E_NOMEM;
    if (!how->keep) msx__eval_there_drop(work);
    msx__free(e->ctx, b.mask);
    msx__free(e->ctx, b.reference);
    return status;
}

/* ---- scores ------------------------------------------------------------------------------------ */

static msx_status add_rows(msx_score *score, const msx_evaluator *e, const msx__eval_result *r,
                           int64_t i, msx__buffer *case_name) {
    const msx__eval_image *image = &e->images[i];
    case_name->length = 0;
    msx__buffer_printf(case_name, "%s/%s", image->dataset->name, image->case_name);
    if (case_name->failed) return MSX_E_NOMEM;
    for (int64_t k = image->first_item; k < image->first_item + image->n_items; k++)
        MSX_TRY(msx_score_add(score, case_name->data, e->tasks[e->items[k].task].name, image->slice,
                              r->counts[k]));
    return MSX_OK;
}

msx_status msx__evaluator_score(msx_score **out, const msx_evaluator *e,
                                const msx__eval_result *r) {
    *out = NULL;
    msx_score *score;
    MSX_TRY(msx_score_create(&score, e->ctx));
    msx__buffer case_name;
    msx__buffer_init(&case_name, e->ctx);
    msx_status status = MSX_OK;
    for (int64_t i = 0; status >= 0 && i < e->n_images; i++) {
        int64_t image = e->natural ? e->natural[i] : i;
        if (image < r->images) status = add_rows(score, e, r, image, &case_name);
    }
    msx__buffer_free(&case_name);
    if (status < 0) {
        msx_score_free(score);
        return status;
    }
    *out = score;
    return MSX_OK;
}

msx_status msx_evaluator_run(msx_score **out, msx_evaluator *e, msx_model *model) {
    if (!e) return MSX_E_ARG;
    if (!out || !model) return msx__fail(e->ctx, MSX_E_ARG, "msx_evaluator_run: NULL argument");
    *out = NULL;
    msx__eval_result r = {.counts = msx__alloc(e->ctx, (size_t)e->n_items, sizeof *r.counts)};
    msx__eval_work work = {0};
    const msx__eval_how how = {.stage = "score"};
    msx_status status = r.counts ? MSX_OK : MSX_E_NOMEM;
    if (status >= 0) status = msx__evaluator_run(e, model, &work, &how, &r);
    if (status >= 0) status = msx__evaluator_score(out, e, &r);
    msx__eval_work_free(&work);
    msx__free(e->ctx, r.counts);
    return status;
}
