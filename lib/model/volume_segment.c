/* SPDX-License-Identifier: Apache-2.0 */
/* Segmenting a volume: one sweep up through the slices and, when objects are followed, one down.
 * Source of the walk: MedSAM's 3-D extension (J. Ma et al., 2024), micro-sam (A. Archit et al., Nature
 * Methods 22, 2025). */
#include "model/results.h"
#include "model/volume_objects.h"

#include <math.h>
#include <string.h>

/* Slices that are encoded together when none waits for another's mask: small models run them side by
 * side. */
enum { BATCH = 8 };

struct msx_segmentation {
    msx_ctx *ctx;
    msx_slices *labels; /* 16 bit */
    msx__objects objects;
    int64_t slices, best_slice;
    double *boxes; /* (n_boxes, 4) on the best slice */
    size_t n_boxes;
};

typedef struct job {
    msx_ctx *ctx;
    msx_model *model;
    const msx_slices *image;
    const msx_volume_options *options;
    msx_segmentation *out;
    msx__asks asks; /* of the batch */
    msx__ask *all;  /* that had a box, of all batches */
    int64_t n_all, all_capacity;
    msx_slices *scores;       /* behind the labels, where another sweep may come; else NULL */
    uint8_t *visited;         /* slices that have labels */
    msx_image *value, *score; /* of the slice that is painted */
    uint8_t *mask;            /* union of an object's masks there */
    int64_t done, expected;
} job;

/* ---- one mask ------------------------------------------------------------------------------------------ */

static int64_t chosen(const job *j, const msx_prediction *p, int64_t prompt) {
    if (!j->options->multimask || msx_prediction_masks(p) < 2) return 0;
    const float *iou = msx_prediction_iou(p, prompt);
    int64_t best = 1;
    for (int64_t m = 2; m < msx_prediction_masks(p); m++)
        if (iou[m] > iou[best]) best = m;
    return best;
}

/* Where its own mask is higher than what is there, a label replaces it. */
static void paint(job *j, uint16_t label, const uint8_t *inside, const float *map) {
    uint16_t *value = msx_image_data(j->value);
    float *score = msx_image_data(j->score);
    for (int64_t i = 0; i < j->asks.width * j->asks.height; i++)
        if (inside[i] &&
            (!value[i] || map[i] > score[i] || (map[i] == score[i] && label < value[i]))) {
            value[i] = label;
            score[i] = map[i];
        }
}

/* Pixels of the union, its box, and its IoU with the mask before. */
static int64_t measure(const job *j, const msx__trace *before, double box[4], double *overlap) {
    int64_t n = 0, both = 0, either = 0, width = j->asks.width;
    for (int64_t y = 0; y < j->asks.height; y++)
        for (int64_t x = 0; x < width; x++) {
            bool now = j->mask[y * width + x], then = before->mask[y * width + x];
            both += now && then;
            either += now || then;
            if (!now) continue;
            if (n++ == 0) box[0] = box[2] = (double)x, box[1] = box[3] = (double)y;
            box[0] = fmin(box[0], (double)x);
            box[2] = fmax(box[2], (double)x);
            box[3] = (double)y;
        }
    *overlap = either ? (double)both / (double)either : 1;
    return n;
}

/* What the next slice will go by. True when the mask counts. */
static msx_status follow(job *j, msx__object *x, const msx__ask *ask, const float *logits,
                         bool *counts) {
    msx__trace *t = &x->trace;
    double box[4] = {0}, overlap;
    int64_t pixels = measure(j, t, box, &overlap);
    bool enough = pixels >= j->options->min_pixels;
    *counts = !ask->carried || (enough && overlap >= j->options->min_overlap);
    t->alive = *counts && enough;
    t->since = ask->carried ? t->since + 1 : 0;
    t->slice = ask->slice;
    memcpy(t->box, box, sizeof box);
    memcpy(t->mask, j->mask, (size_t)(j->asks.width * j->asks.height));
    if (j->options->propagate != MSX_PROPAGATE_MASK) return MSX_OK;
    int64_t n = j->asks.side * j->asks.side;
    if (!t->logits) t->logits = msx__alloc(j->ctx, (size_t)n, sizeof *t->logits);
    if (!t->logits) return MSX_E_NOMEM;
    memcpy(t->logits, logits, (size_t)n * sizeof *logits);
    return MSX_OK;
}

static msx_status keep_origin(job *j, msx__object *x) {
    msx__trace *from = &x->trace, *to = &x->origin;
    uint8_t *mask = to->mask;
    float *logits = to->logits;
    int64_t n = j->asks.side * j->asks.side;
    if (from->logits && !logits) {
        logits = msx__alloc(j->ctx, (size_t)n, sizeof *logits);
        if (!logits) return MSX_E_NOMEM;
    }
    memcpy(mask, from->mask, (size_t)(j->asks.width * j->asks.height));
    if (logits) memcpy(logits, from->logits, (size_t)n * sizeof *logits);
    *to = *from;
    to->mask = mask;
    to->logits = logits;
    return MSX_OK;
}

/* ---- one slice ----------------------------------------------------------------------------------------- */

/* The union of the masks of prompts [first, last). */
static msx_status unite(job *j, const msx_prediction *p, int64_t first, int64_t last) {
    int64_t pixels = j->asks.width * j->asks.height;
    memset(j->mask, 0, (size_t)pixels);
    for (int64_t i = first; i < last; i++) {
        msx_image *mask;
        MSX_TRY(msx_prediction_mask(&mask, p, i, chosen(j, p, i)));
        const uint8_t *inside = msx_image_data(mask);
        for (int64_t at = 0; at < pixels; at++) j->mask[at] |= inside[at];
        msx_image_free(mask);
    }
    return MSX_OK;
}

/* The prompts [first, last) are those of one object on the slice. */
static msx_status finish_object(job *j, const msx_prediction *p, int64_t first, int64_t last) {
    const msx__ask *ask = j->asks.asks + first;
    msx__object *x = j->out->objects.objects + ask->object;
    bool counts = true;
    for (int64_t i = first; i < last; i++) {
        x->prompts++;
        x->iou_sum += msx_prediction_iou(p, i)[chosen(j, p, i)];
    }
    if (j->options->propagate) {
        int64_t side = j->asks.side;
        const float *logits;
        MSX_TRY(unite(j, p, first, last));
        MSX_TRY(msx__prediction_logits(&logits, p, first));
        MSX_TRY(follow(j, x, ask, logits + chosen(j, p, first) * side * side, &counts));
        if (ask->slice == x->start) MSX_TRY(keep_origin(j, x));
    }
    for (int64_t i = first; counts && i < last; i++) {
        msx_image *mask = NULL, *map = NULL;
        msx_status status = msx_prediction_mask(&mask, p, i, chosen(j, p, i));
        if (status == MSX_OK) status = msx_prediction_map(&map, p, i, chosen(j, p, i));
        if (status == MSX_OK)
            paint(j, (uint16_t)x->label, msx_image_data(mask), msx_image_data(map));
        msx_image_free(mask);
        msx_image_free(map);
        MSX_TRY(status);
    }
    return MSX_OK;
}

/* Labels of a slice, and what they were surer than; zeros at the first visit. */
static msx_status begin_canvas(job *j, int64_t slice) {
    msx_image_free(j->value);
    msx_image_free(j->score);
    j->value = j->score = NULL;
    MSX_TRY(msx_slices_read(&j->value, j->out->labels, slice));
    if (j->visited[slice] && j->scores) return msx_slices_read(&j->score, j->scores, slice);
    return msx_image_create(&j->score, j->ctx, j->asks.width, j->asks.height, 1, MSX_PIXEL_F32,
                            NULL);
}

/* The prompts [first, last) are those of one slice. */
static msx_status finish_slice(job *j, const msx_prediction *p, int64_t first, int64_t last) {
    int64_t slice = j->asks.asks[first].slice;
    MSX_TRY(begin_canvas(j, slice));
    for (int64_t i = first, end; i < last; i = end) {
        end = i + 1;
        while (end < last && j->asks.asks[end].object == j->asks.asks[i].object) end++;
        MSX_TRY(finish_object(j, p, i, end));
    }
    MSX_TRY(msx_slices_write(j->out->labels, slice, j->value));
    if (j->scores) MSX_TRY(msx_slices_write(j->scores, slice, j->score));
    j->out->slices += !j->visited[slice];
    j->visited[slice] = 1;
    return msx__progress(j->ctx, "segment", ++j->done, j->expected, __builtin_nan(""));
}

static msx_status remember_boxes(job *j) {
    for (int64_t i = 0; i < j->asks.n; i++) {
        if (!j->asks.asks[i].has_box) continue;
        void *array = j->all;
        MSX_TRY(msx__grow(j->ctx, &array, j->n_all, &j->all_capacity, sizeof *j->all));
        j->all = array;
        j->all[j->n_all++] = j->asks.asks[i];
    }
    return MSX_OK;
}

static msx_status predict(job *j, const msx_image *const *images, size_t n) {
    msx_embedding *embedding = NULL;
    msx_prediction *p = NULL;
    msx_status status = msx_model_encode(&embedding, j->model, images, n);
    if (status == MSX_OK) status = msx_model_predict(&p, j->model, embedding, j->asks.prompts);
    for (int64_t i = 0, end; status == MSX_OK && i < j->asks.n; i = end) {
        end = i + 1;
        while (end < j->asks.n && j->asks.asks[end].slice == j->asks.asks[i].slice) end++;
        status = finish_slice(j, p, i, end);
    }
    if (status == MSX_OK) status = remember_boxes(j);
    msx_prediction_free(p);
    msx_embedding_free(embedding);
    return status;
}

/* Slices that have prompts, up to BATCH of them, in one go. */
static msx_status run_batch(job *j, const int64_t *slices, size_t n, const uint8_t *active) {
    msx_image *images[BATCH] = {0};
    const msx__objects *o = &j->out->objects;
    j->asks.n = 0;
    msx_status status = msx_prompts_create(&j->asks.prompts, j->ctx);
    for (size_t i = 0; status == MSX_OK && i < n; i++) {
        status = msx_slices_read(&images[i], j->image, slices[i]);
        for (int64_t k = 0; status == MSX_OK && k < o->n; k++)
            if (active[k]) status = msx__object_ask(&j->asks, o, k, slices[i], (int64_t)i);
    }
    if (status == MSX_OK) status = predict(j, (const msx_image *const *)images, n);
    for (size_t i = 0; i < n; i++) msx_image_free(images[i]);
    msx_prompts_free(j->asks.prompts);
    j->asks.prompts = NULL;
    return status;
}

/* ---- sweeps -------------------------------------------------------------------------------------------- */

static bool wanted(const job *j, int64_t slice, const uint8_t *active) {
    const msx__objects *o = &j->out->objects;
    for (int64_t k = 0; k < o->n; k++)
        if (active[k] && msx__object_wanted(o->objects + k, slice, j->options)) return true;
    return false;
}

/* From the first slice of any object on upwards; all slices when none is followed. An object takes
 * part from its first slice on. */
static msx_status sweep(job *j, int step, uint8_t *active) {
    msx__objects *o = &j->out->objects;
    bool follows = j->options->propagate != MSX_PROPAGATE_NONE;
    int64_t slices[BATCH], count = msx_slices_count(j->image);
    size_t n = 0, most = follows ? 1 : BATCH;
    for (int64_t s = step > 0 ? 0 : count - 1; s >= 0 && s < count; s += step) {
        for (int64_t k = 0; k < o->n; k++) {
            int64_t start = o->objects[k].start;
            active[k] = !follows || (step > 0 ? s >= start : s < start);
        }
        MSX_TRY(msx__check_cancel(j->ctx));
        if (!wanted(j, s, active)) continue;
        slices[n++] = s;
        if (n < most) continue;
        MSX_TRY(run_batch(j, slices, n, active));
        n = 0;
    }
    return n ? run_batch(j, slices, n, active) : MSX_OK;
}

static void return_to_origin(msx__objects *o) {
    for (int64_t k = 0; k < o->n; k++) {
        msx__trace t = o->objects[k].trace;
        o->objects[k].trace = o->objects[k].origin;
        o->objects[k].origin = t; /* so that each is freed once */
    }
}

static msx_status run_sweeps(job *j) {
    msx__objects *o = &j->out->objects;
    uint8_t *active = msx__calloc(j->ctx, (size_t)o->n, 1);
    if (!active) return MSX_E_NOMEM;
    msx_status status = sweep(j, 1, active);
    if (status == MSX_OK && j->options->propagate) {
        return_to_origin(o);
        status = sweep(j, -1, active);
    }
    msx__free(j->ctx, active);
    return status;
}

/* ---- the result ---------------------------------------------------------------------------------------- */

static msx_status count_slice(job *j, int64_t slice, int32_t *index, int64_t *most) {
    msx_image *image;
    int64_t labelled = 0;
    MSX_TRY(msx_slices_read(&image, j->out->labels, slice));
    const uint16_t *value = msx_image_data(image);
    for (int64_t i = 0; i < j->asks.width * j->asks.height; i++) {
        if (!value[i]) continue;
        msx__object *x = j->out->objects.objects + index[value[i]];
        if (x->voxels++ == 0) x->first = slice;
        x->last = slice;
        labelled++;
    }
    msx_image_free(image);
    if (labelled > *most) {
        *most = labelled;
        j->out->best_slice = slice;
    }
    return MSX_OK;
}

static msx_status keep_boxes(job *j) {
    msx_segmentation *out = j->out;
    for (int64_t i = 0; i < j->n_all; i++) out->n_boxes += j->all[i].slice == out->best_slice;
    out->boxes = msx__alloc(j->ctx, out->n_boxes * 4, sizeof *out->boxes);
    if (!out->boxes) return MSX_E_NOMEM;
    double *to = out->boxes;
    for (int64_t i = 0; i < j->n_all; i++)
        if (j->all[i].slice == out->best_slice) {
            memcpy(to, j->all[i].box, sizeof j->all[i].box);
            to += 4;
        }
    return MSX_OK;
}

static msx_status count(job *j) {
    msx_segmentation *out = j->out;
    int32_t *index = msx__calloc(j->ctx, MSX__MAX_LABEL + 1, sizeof *index);
    if (!index) return MSX_E_NOMEM;
    for (int64_t i = 0; i < out->objects.n; i++) index[out->objects.objects[i].label] = (int32_t)i;
    int64_t most = 0, slices = msx_slices_count(j->image);
    msx_status status = MSX_OK;
    out->best_slice = -1;
    for (int64_t s = 0; status == MSX_OK && s < slices; s++) {
        if (!j->visited[s]) continue;
        if (out->best_slice < 0) out->best_slice = s;
        status = count_slice(j, s, index, &most);
    }
    msx__free(j->ctx, index);
    return status < 0 ? status : keep_boxes(j);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static msx_status check_options(msx_ctx *ctx, const msx_volume_options *o) {
    if (o->struct_size != sizeof *o)
        return msx__fail(ctx, MSX_E_ARG, "volume options: begin with MSX_VOLUME_OPTIONS");
    if ((int)o->propagate < MSX_PROPAGATE_NONE || o->propagate > MSX_PROPAGATE_MASK)
        return msx__fail(ctx, MSX_E_ARG, "propagation %d is unknown", (int)o->propagate);
    if (!(o->margin >= 0) || !isfinite(o->margin))
        return msx__fail(ctx, MSX_E_ARG, "margin %g is not 0 or more", o->margin);
    if (o->min_pixels < 1)
        return msx__fail(ctx, MSX_E_ARG, "min_pixels %" PRId64 " is not 1 or more", o->min_pixels);
    if (!(o->min_overlap >= 0 && o->min_overlap <= 1))
        return msx__fail(ctx, MSX_E_ARG, "min_overlap %g is outside 0 to 1", o->min_overlap);
    if (o->reach < 0) return msx__fail(ctx, MSX_E_ARG, "reach %" PRId64 " is below 0", o->reach);
    return MSX_OK;
}

static msx_status prepare(job *j, const msx_seeds *seeds) {
    bool follows = j->options->propagate != MSX_PROPAGATE_NONE;
    msx__objects *o = &j->out->objects;
    MSX_TRY(msx__objects_make(o, j->ctx, seeds, j->image, j->options->propagate));
    MSX_TRY(msx_slices_create_like(&j->out->labels, j->image, MSX_PIXEL_U16));
    if (follows && o->n > 1) MSX_TRY(msx_slices_create_like(&j->scores, j->image, MSX_PIXEL_F32));
    j->asks = (msx__asks){.ctx = j->ctx,
                          .options = j->options,
                          .width = msx_slices_width(j->image),
                          .height = msx_slices_height(j->image),
                          .side = 4 * msx_arch_get(msx_model_arch(j->model), MSX_ARCH_GRID)};
    int64_t slices = msx_slices_count(j->image);
    j->visited = msx__calloc(j->ctx, (size_t)slices, 1);
    j->mask = msx__alloc(j->ctx, (size_t)(j->asks.width * j->asks.height), 1);
    if (!j->visited || !j->mask) return MSX_E_NOMEM;
    /* How far objects will be followed is not known; without that, how many slices have prompts is. */
    for (int64_t s = 0; !follows && s < slices; s++)
        for (int64_t k = 0; k < o->n; k++)
            if (msx__object_wanted(o->objects + k, s, j->options)) {
                j->expected++;
                break;
            }
    return MSX_OK;
}

msx_status msx_segment_volume(msx_segmentation **out, msx_model *m, const msx_slices *image,
                              const msx_seeds *seeds, const msx_volume_options *o) {
    static const msx_volume_options defaults = MSX_VOLUME_OPTIONS;
    if (out) *out = NULL;
    if (!out || !m || !image || !seeds)
        return msx__fail(seeds ? seeds->ctx : NULL, MSX_E_ARG, "msx_segment_volume: NULL argument");
    msx_ctx *ctx = seeds->ctx;
    if (!o) o = &defaults;
    MSX_TRY(check_options(ctx, o));
    job j = {.ctx = ctx, .model = m, .image = image, .options = o};
    j.out = msx__calloc(ctx, 1, sizeof *j.out);
    if (!j.out) return MSX_E_NOMEM;
    j.out->ctx = ctx;
    msx_status status = prepare(&j, seeds);
    if (status == MSX_OK) status = run_sweeps(&j);
    if (status == MSX_OK) status = count(&j);
    msx__free(ctx, j.asks.asks);
    msx__free(ctx, j.all);
    msx__free(ctx, j.visited);
    msx__free(ctx, j.mask);
    msx_image_free(j.value);
    msx_image_free(j.score);
    msx_slices_free(j.scores);
    if (status < 0)
        msx_segmentation_free(j.out);
    else
        *out = j.out;
    return status;
}

void msx_segmentation_free(msx_segmentation *s) {
    if (!s) return;
    msx__objects_free(&s->objects);
    msx_slices_free(s->labels);
    msx__free(s->ctx, s->boxes);
    msx__free(s->ctx, s);
}

const msx_slices *msx_segmentation_labels(const msx_segmentation *s) {
    return s ? s->labels : NULL;
}

int64_t msx_segmentation_slices(const msx_segmentation *s) {
    return s ? s->slices : 0;
}

int64_t msx_segmentation_objects(const msx_segmentation *s) {
    return s ? s->objects.n : 0;
}

msx_status msx_segmentation_object(const msx_segmentation *s, int64_t i,
                                   msx_segmented_object *out) {
    if (!s || !out || out->struct_size != sizeof *out)
        return msx__fail(s ? s->ctx : NULL, MSX_E_ARG,
                         "msx_segmentation_object: NULL argument or struct_size not set");
    if (i < 0 || i >= s->objects.n)
        return msx__fail(s->ctx, MSX_E_ARG, "object %" PRId64 " is outside 0 to %" PRId64, i,
                         s->objects.n - 1);
    const msx__object *x = s->objects.objects + i;
    *out = (msx_segmented_object){sizeof *out,
                                  x->label,
                                  x->prompts,
                                  x->voxels,
                                  x->first,
                                  x->last,
                                  x->prompts ? x->iou_sum / (double)x->prompts : NAN};
    return MSX_OK;
}

int64_t msx_segmentation_best_slice(const msx_segmentation *s) {
    return s ? s->best_slice : -1;
}

const double *msx_segmentation_boxes(const msx_segmentation *s, size_t *n) {
    if (n) *n = s ? s->n_boxes : 0;
    return s ? s->boxes : NULL;
}
