/* SPDX-License-Identifier: Apache-2.0 */
/* From the embeddings of a batch to counts: decode all boxes, unite masks, compare with the labels. */
#include "search/evaluator.h"

#include "model/results.h"

#include <math.h>
#include <string.h>

#define PROMPTS_PER_CALL 64

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

int64_t msx__evaluator_pixels(const msx_evaluator *e, const msx__eval_item *item) {
    const msx_image *image = e->images[item->image].image;
    return msx_image_width(image) * msx_image_height(image);
}

msx_status msx__evaluator_item_mask(const msx_evaluator *e, const msx__eval_item *item,
                                    const msx_prediction *p, int64_t prompt, uint8_t *mask) {
    int64_t n = msx__evaluator_pixels(e, item);
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
    int64_t n = msx__evaluator_pixels(e, item);
    int ignore = task->dataset->description.ignore;
    for (int64_t i = 0; i < n; i++) {
        reference[i] = image->labels[i] == task->label;
        if (image->labels[i] == ignore) mask[i] = 0;
    }
    return msx_count_masks(reference, mask, n);
}

/* Counts of items [first, last), whose prompts begin at 0. */
static msx_status count_items(const msx__eval_batch *b, const msx_prediction *p, int64_t first,
                              int64_t last) {
    const msx_evaluator *e = b->e;
    msx_counts *counts = b->result->counts;
    if (msx__eval_there_counts(b->work, p))
        return msx__eval_there_count(e, b->work, p, first, last, counts + first);
    for (int64_t k = first, prompt = 0; k < last; prompt += e->items[k++].n_boxes) {
        MSX_TRY(msx__evaluator_item_mask(e, &e->items[k], p, prompt, b->mask));
        counts[k] = count_item(e, &e->items[k], b->mask, b->reference);
    }
    return MSX_OK;
}

/* Items [first, last): their boxes in one call. */
static msx_status decode_items(msx__eval_batch *b, int64_t first, int64_t last) {
    const msx_evaluator *e = b->e;
    msx_prompts *prompts = NULL;
    msx_prediction *prediction = NULL;
    msx_status status = msx_prompts_create(&prompts, e->ctx);
    for (int64_t k = first; status >= 0 && k < last; k++)
        for (int64_t j = 0; status >= 0 && j < e->items[k].n_boxes; j++) {
            const msx__box *box = &e->boxes.items[e->items[k].first_box + j];
            status = msx_prompts_begin(prompts, e->items[k].image - b->first);
            if (status >= 0) status = msx_prompts_box(prompts, box->x0, box->y0, box->x1, box->y1);
        }
    if (status >= 0) status = msx_model_predict(&prediction, b->model, b->embedding, prompts);
    if (status == MSX_E_NOMEM && msx__eval_there_drop_inputs(b->work)) /* as for the encoder */
        status = msx_model_predict(&prediction, b->model, b->embedding, prompts);
    if (status >= 0) status = count_items(b, prediction, first, last);
    msx_prediction_free(prediction);
    msx_prompts_free(prompts);
    return status;
}

/* The items are cut so that no call exceeds PROMPTS_PER_CALL by more than one of them. */
msx_status msx__evaluator_count(msx__eval_batch *b) {
    const msx_evaluator *e = b->e;
    const msx__eval_image *last_image = &e->images[b->first + b->n - 1];
    int64_t first = e->images[b->first].first_item;
    int64_t end = last_image->first_item + last_image->n_items;
    while (first < end) {
        int64_t last = first, prompts = 0;
        while (last < end && prompts < PROMPTS_PER_CALL) prompts += e->items[last++].n_boxes;
        MSX_TRY(decode_items(b, first, last));
        first = last;
    }
    return MSX_OK;
}
