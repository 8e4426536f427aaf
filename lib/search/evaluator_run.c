/* SPDX-License-Identifier: Apache-2.0 */
/* Running a model over prepared slices: encode in batches, decode all boxes of a batch, count. */
#include "search/evaluator.h"

#include "model/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define INPUT_BYTES      ((int64_t)1 << 30) /* kept network inputs, in all */
#define EMBEDDING_BYTES  ((int64_t)2 << 30) /* kept embeddings, in all */
#define BATCH_PIXELS     (4 * 1024 * 1024)  /* input pixels of one encoder call */
#define MAX_BATCH        16
#define PROMPTS_PER_CALL 64

void msx__evaluator_drop_inputs(msx_evaluator *e) {
    msx__free(e->ctx, e->inputs);
    msx__free(e->ctx, e->sizes);
    e->inputs = NULL;
    e->sizes = NULL;
    e->side = 0;
}

static int64_t batch_of(int64_t side) {
    int64_t batch = BATCH_PIXELS / (side * side);
    return batch < 1 ? 1 : batch > MAX_BATCH ? MAX_BATCH : batch;
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

static msx_status encode_once(msx_embedding **out, const msx_evaluator *e, const msx__eval_there *t,
                              msx_model *model, int64_t first, int64_t n) {
    int64_t at = first * 3 * e->side * e->side;
    if (t->inputs)
        return msx__model_encode_there(out, model, t->inputs + at, t->sizes + 4 * first, (size_t)n);
    if (e->inputs)
        return msx_model_encode_input(out, model, e->inputs + at, e->sizes + 4 * first, (size_t)n);
    const msx_image *images[MAX_BATCH];
    for (int64_t i = 0; i < n; i++) images[i] = e->images[first + i].image;
    return msx_model_encode(out, model, images, (size_t)n);
}

/* Kept inputs make room when the device has no memory left to work with. */
static msx_status encode(msx_embedding **out, const msx_evaluator *e, msx__eval_work *w,
                         msx_model *model, int64_t first, int64_t n) {
    msx_status status = encode_once(out, e, &w->there, model, first, n);
    if (status == MSX_E_NOMEM && msx__eval_there_drop_inputs(w))
        status = encode_once(out, e, &w->there, model, first, n);
    return status;
}

msx_status msx__evaluator_not_finite(const msx_evaluator *e, const msx__eval_item *item) {
    return msx__fail(e->ctx, MSX_E_FORMAT,
                     "%s: case %s: the network's output is not finite; its weights are unusable",
                     e->tasks[item->task].name, e->images[item->image].case_name);
}

/* A NaN or infinity in mask 0 would count as background and pass for a bad Dice. */
static msx_status check_finite(const msx_evaluator *e, const msx__eval_item *item,
                               const msx_prediction *p, int64_t prompt) {
    const float *logits;
    int64_t side = msx_prediction_side(p);
    MSX_TRY(msx__prediction_logits(&logits, p, prompt));
    for (int64_t i = 0; i < side * side; i++)
        if (!isfinite(logits[i])) return msx__evaluator_not_finite(e, item);
    return MSX_OK;
}

static msx_status add_mask(const msx_prediction *p, int64_t prompt, uint8_t *mask, int64_t n) {
    msx_image *one;
    MSX_TRY(msx_prediction_mask(&one, p, prompt, 0));
    const uint8_t *pixels = msx_image_data(one);
    for (int64_t i = 0; i < n; i++) mask[i] |= pixels[i];
    msx_image_free(one);
    return MSX_OK;
}

static int64_t pixels_of(const msx_evaluator *e, const msx__eval_item *item) {
    const msx_image *image = e->images[item->image].image;
    return msx_image_width(image) * msx_image_height(image);
}

msx_status msx__evaluator_item_mask(const msx_evaluator *e, const msx__eval_item *item,
                                    const msx_prediction *p, int64_t prompt, uint8_t *mask) {
    int64_t n = pixels_of(e, item);
    memset(mask, 0, (size_t)n);
    for (int64_t b = 0; b < item->n_boxes; b++) {
        MSX_TRY(check_finite(e, item, p, prompt + b));
        MSX_TRY(add_mask(p, prompt + b, mask, n));
    }
    return MSX_OK;
}

/* The task's label against the mask. Pixels of the label "ignore" belong to neither. */
static msx_counts count_item(const msx_evaluator *e, const msx__eval_item *item, uint8_t *mask,
                             uint8_t *reference) {
    const msx__eval_image *image = &e->images[item->image];
    const msx__eval_task *task = &e->tasks[item->task];
    int64_t n = pixels_of(e, item);
    int ignore = task->dataset->description.ignore;
    for (int64_t i = 0; i < n; i++) {
        reference[i] = image->labels[i] == task->label;
        if (image->labels[i] == ignore) mask[i] = 0;
    }
    return msx_count_masks(reference, mask, n);
}

/* One encoded batch in work. */
typedef struct batch {
    msx_evaluator *e;
    msx_model *model;
    msx__eval_work *work;
    const msx_embedding *embedding;
    int64_t first_image;
    uint8_t *mask, *reference; /* of the largest image */
    msx__buffer case_name;     /* "Dataset/case" */
    msx_score *score;
} batch;

/* Counts of items [first, last), whose prompts begin at 0. */
static msx_status count_items(batch *b, const msx_prediction *p, int64_t first, int64_t last,
                              msx_counts *counts) {
    const msx_evaluator *e = b->e;
    if (msx__eval_there_counts(b->work, p))
        return msx__eval_there_count(e, b->work, p, first, last, counts);
    for (int64_t k = first, prompt = 0; k < last; prompt += e->items[k++].n_boxes) {
        MSX_TRY(msx__evaluator_item_mask(e, &e->items[k], p, prompt, b->mask));
        counts[k - first] = count_item(e, &e->items[k], b->mask, b->reference);
    }
    return MSX_OK;
}

static msx_status add_row(batch *b, const msx__eval_item *item, msx_counts counts) {
    const msx__eval_image *image = &b->e->images[item->image];
    b->case_name.length = 0;
    msx__buffer_printf(&b->case_name, "%s/%s", image->dataset->name, image->case_name);
    if (b->case_name.failed) return MSX_E_NOMEM;
    return msx_score_add(b->score, b->case_name.data, b->e->tasks[item->task].name, image->slice,
                         counts);
}

/* Items [first, last): their boxes in one call. */
static msx_status decode_items(batch *b, int64_t first, int64_t last) {
    msx_evaluator *e = b->e;
    msx_prompts *prompts = NULL;
    msx_prediction *prediction = NULL;
    msx_status status = msx_prompts_create(&prompts, e->ctx);
    for (int64_t k = first; status >= 0 && k < last; k++)
        for (int64_t j = 0; status >= 0 && j < e->items[k].n_boxes; j++) {
            const msx__box *box = &e->boxes.items[e->items[k].first_box + j];
            status = msx_prompts_begin(prompts, e->items[k].image - b->first_image);
            if (status >= 0) status = msx_prompts_box(prompts, box->x0, box->y0, box->x1, box->y1);
        }
    if (status >= 0) status = msx_model_predict(&prediction, b->model, b->embedding, prompts);
    if (status == MSX_E_NOMEM && msx__eval_there_drop_inputs(b->work)) /* as in encode() */
        status = msx_model_predict(&prediction, b->model, b->embedding, prompts);
    msx_counts *counts = msx__alloc(e->ctx, (size_t)(last - first), sizeof *counts);
    if (!counts) status = MSX_E_NOMEM;
    if (status >= 0) status = count_items(b, prediction, first, last, counts);
    for (int64_t k = first; status >= 0 && k < last; k++)
        status = add_row(b, &e->items[k], counts[k - first]);
    msx__free(e->ctx, counts);
    msx_prediction_free(prediction);
    msx_prompts_free(prompts);
    return status;
}

/* Cut the items of a batch's images so that no call exceeds PROMPTS_PER_CALL by more than one item. */
static msx_status decode_batch(batch *b, int64_t n_images) {
    const msx_evaluator *e = b->e;
    const msx__eval_image *last_image = &e->images[b->first_image + n_images - 1];
    int64_t first = e->images[b->first_image].first_item;
    int64_t end = last_image->first_item + last_image->n_items;
    while (first < end) {
        int64_t last = first, prompts = 0;
        while (last < end && prompts < PROMPTS_PER_CALL) prompts += e->items[last++].n_boxes;
        MSX_TRY(decode_items(b, first, last));
        first = last;
    }
    return MSX_OK;
}

static bool embeddings_fit(const msx_evaluator *e, const msx_model *model) {
    int64_t grid = msx_arch_get(msx_model_arch(model), MSX_ARCH_GRID), values;
    int64_t width = msx_arch_get(msx_model_arch(model), MSX_ARCH_DECODER_WIDTH);
    return msx__product((int64_t[]){e->n_images, width, grid, grid}, 4, &values) &&
           values <= EMBEDDING_BYTES / (int64_t)sizeof(float);
}

static void drop_embeddings(msx__eval_work *w) {
    for (int64_t i = 0; i < w->n_embeddings; i++) msx_embedding_free(w->embeddings[i]);
    w->n_embeddings = 0;
}

void msx__eval_work_free(msx__eval_work *w) {
    drop_embeddings(w);
    if (w->ctx) {
        msx__eval_there_drop(w);
        msx__free(w->ctx, w->embeddings);
    }
    *w = (msx__eval_work){0};
}

/* All batches. Kept embeddings are used only when all of them are there: a run that was cancelled in
 * between leaves none behind. */
static msx_status run_batches(batch *b, int flags, const char *stage) {
    msx_evaluator *e = b->e;
    msx__eval_work *w = b->work;
    int64_t size = batch_of(e->side), n_batches = (e->n_images + size - 1) / size;
    bool reuse = (flags & MSX__EVAL_REUSE) && w->n_embeddings == n_batches;
    bool keep = !reuse && (flags & MSX__EVAL_KEEP) && embeddings_fit(e, b->model);
    if (!reuse) drop_embeddings(w);
    if (keep && !w->embeddings &&
        !(w->embeddings = msx__calloc(e->ctx, (size_t)n_batches, sizeof *w->embeddings)))
        return MSX_E_NOMEM;
    for (int64_t i = 0; i < n_batches; i++) {
        MSX_TRY(msx__check_cancel(e->ctx));
        b->first_image = i * size;
        int64_t n = e->n_images - b->first_image < size ? e->n_images - b->first_image : size;
        msx_embedding *made = NULL;
        if (!reuse) MSX_TRY(encode(&made, e, w, b->model, b->first_image, n));
        b->embedding = reuse ? w->embeddings[i] : made;
        msx_status status = decode_batch(b, n);
        if (keep && status >= 0)
            w->embeddings[w->n_embeddings++] = made;
        else
            msx_embedding_free(made);
        MSX_TRY(status);
        if (stage) MSX_TRY(msx__progress(e->ctx, stage, b->first_image + n, e->n_images, NAN));
    }
    return MSX_OK;
}

msx_status msx__evaluator_run(msx_score **out, msx_evaluator *e, msx_model *model,
                              msx__eval_work *work, int flags, const char *stage) {
    *out = NULL;
    if (e->n_images == 0)
        return msx__fail(e->ctx, MSX_E_FORMAT,
                         "nothing to score: no task has a slice with %" PRId64 " labelled pixels",
                         e->min_object);
    MSX_TRY(msx__evaluator_prepare(e, msx_model_preset(model),
                                   msx_arch_get(msx_model_arch(model), MSX_ARCH_IMAGE_SIZE),
                                   !msx__prepares_there(model)));
    work->ctx = e->ctx;
    MSX_TRY(msx__eval_there_prepare(e, work, model, flags & MSX__EVAL_KEEP));
    int64_t largest = 0;
    for (int64_t i = 0; i < e->n_images; i++) {
        int64_t n = msx_image_width(e->images[i].image) * msx_image_height(e->images[i].image);
        if (n > largest) largest = n;
    }
    batch b = {.e = e, .model = model, .work = work};
    msx__buffer_init(&b.case_name, e->ctx);
    b.mask = msx__alloc(e->ctx, (size_t)largest, 1);
    b.reference = msx__alloc(e->ctx, (size_t)largest, 1);
    msx_status status = b.mask && b.reference ? msx_score_create(&b.score, e->ctx) : MSX_E_NOMEM;
    if (status >= 0) status = run_batches(&b, flags, stage);
    if (!(flags & MSX__EVAL_KEEP)) msx__eval_there_drop(work);
    msx__free(e->ctx, b.mask);
    msx__free(e->ctx, b.reference);
    msx__buffer_free(&b.case_name);
    if (status < 0) {
        msx_score_free(b.score);
        return status;
    }
    *out = b.score;
    return MSX_OK;
}

msx_status msx_evaluator_run(msx_score **out, msx_evaluator *e, msx_model *model) {
    if (!e) return MSX_E_ARG;
    if (!out || !model) return msx__fail(e->ctx, MSX_E_ARG, "msx_evaluator_run: NULL argument");
    msx__eval_work work = {0};
    msx_status status = msx__evaluator_run(out, e, model, &work, 0, "score");
    msx__eval_work_free(&work);
    return status;
}
