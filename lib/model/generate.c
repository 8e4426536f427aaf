/* SPDX-License-Identifier: Apache-2.0 */
/* Automatic mask generation: SamAutomaticMaskGenerator of segment-anything, in its order of steps and with
 * its comparisons in float32. */
#include "image/preset.h"
#include "model/lanes.h"
#include "model/masks.h"
#include "model/results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A box this close to the edge of a crop, but not of the image, was probably cut off, in pixels. */
#define EDGE 20

/* Values of a full-size map (logits, or probabilities) above which a pixel is inside. */
typedef struct levels {
    float mask, inner, outer; /* the mask; its stable part; what it might be */
} levels;

typedef struct job {
    msx_ctx *ctx;
    msx_model *m;
    const msx_generate_options *o;
    levels levels;
    msx_image *colours; /* of the whole image */
    msx__preset rest;   /* what is left to do to a crop */
    msx__crop *crops;
    int64_t n_crops;
    msx_point_grid *grids; /* of each layer */
    double **made;         /* points of grids made here */
    float *input;          /* (3, S, S) */
    int64_t done, total;   /* batches of points */
    msx_masks *out;
} job;

/* ---- options ---------------------------------------------------------------------------------------- */

/* In the range of an option? NaN is in none. */
static msx_status check_range(msx_ctx *ctx, const char *name, double value, double low,
                              double high) {
    if (value >= low && value <= high) return MSX_OK;
    return msx__fail(ctx, MSX_E_ARG, "%s is %g; %g to %g are possible", name, value, low, high);
}

static msx_status check_grids(msx_ctx *ctx, const msx_generate_options *o) {
    for (int64_t i = 0; i <= o->crop_n_layers; i++) {
        const msx_point_grid *g = o->point_grids + i;
        if (g->n && !g->points)
            return msx__fail(ctx, MSX_E_ARG, "point_grids: grid %" PRId64 " is NULL", i);
        for (size_t k = 0; k < 2 * g->n; k++)
            if (!(g->points[k] >= 0 && g->points[k] <= 1))
                return msx__fail(ctx, MSX_E_ARG,
                                 "point_grids: %g in grid %" PRId64 " is outside 0 to 1",
                                 g->points[k], i);
    }
    return MSX_OK;
}

static msx_status check_options(msx_ctx *ctx, const msx_generate_options *o) {
    if (o->struct_size != sizeof *o)
        return msx__fail(ctx, MSX_E_ARG, "generate options: begin with MSX_GENERATE_OPTIONS");
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {
        {"points_per_side", (double)o->points_per_side, 1, 1024},
        {"points_per_batch", (double)o->points_per_batch, 1, 65536},
        {"pred_iou_thresh", o->pred_iou_thresh, -1e9, 1e9},
        {"stability_score_thresh", o->stability_score_thresh, -1e9, 1e9},
        {"stability_score_offset", o->stability_score_offset, 0, 1e9},
        {"box_nms_thresh", o->box_nms_thresh, 0, 1},
        {"crop_n_layers", (double)o->crop_n_layers, 0, 8},
        {"crop_nms_thresh", o->crop_nms_thresh, 0, 1},
        {"crop_overlap_ratio", o->crop_overlap_ratio, 0, nextafter(1, 0)},
        {"crop_n_points_downscale_factor", (double)o->crop_n_points_downscale_factor, 1, 1024},
        {"min_mask_region_area", (double)o->min_mask_region_area, 0, 1e15},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        MSX_TRY(check_range(ctx, ranges[i].name, ranges[i].value, ranges[i].low, ranges[i].high));
    return o->point_grids ? check_grids(ctx, o) : MSX_OK;
}

/* ---- preparing --------------------------------------------------------------------------------------- */

static levels levels_for(msx_preset preset, double offset) {
    if (msx__preset_get(preset)->post == MSX__POST_LOGITS)
        return (levels){0, (float)offset, (float)-offset};
    return (levels){0.5f, (float)(1 / (1 + exp(-offset))), (float)(1 / (1 + exp(offset)))};
}

static msx_status make_grids(job *j) {
    int64_t layers = j->o->crop_n_layers, side = j->o->points_per_side;
    j->grids = msx__calloc(j->ctx, (size_t)layers + 1, sizeof *j->grids);
    j->made = msx__calloc(j->ctx, (size_t)layers + 1, sizeof *j->made);
    if (!j->grids || !j->made) return MSX_E_NOMEM;
    for (int64_t i = 0; i <= layers; i++, side /= j->o->crop_n_points_downscale_factor) {
        if (j->o->point_grids) {
            j->grids[i] = j->o->point_grids[i];
            continue;
        }
        if (side < 1)
            return msx__fail(j->ctx, MSX_E_ARG,
                             "no point is left for the crops of layer %" PRId64 ": %" PRId64
                             " points per side, divided by %" PRId64 " in every layer",
                             i, j->o->points_per_side, j->o->crop_n_points_downscale_factor);
        MSX_TRY(msx__grid_make(&j->made[i], j->ctx, side));
        j->grids[i] = (msx_point_grid){j->made[i], (size_t)(side * side)};
    }
    return MSX_OK;
}

static int64_t batches(const job *j, const msx__crop *c) {
    int64_t n = (int64_t)j->grids[c->layer].n, step = j->o->points_per_batch;
    return (n + step - 1) / step;
}

static msx_status prepare(job *j, const msx_image *image) {
    int64_t width = msx_image_width(image), height = msx_image_height(image);
    if (j->m->masks < 2)
        return msx__fail(j->ctx, MSX_E_UNSUPPORTED, "this model has no multimask outputs");
    if (width * height > UINT32_MAX)
        return msx__fail(j->ctx, MSX_E_LIMIT, "%" PRId64 " x %" PRId64 " pixels are too many",
                         width, height);
    j->out = msx__calloc(j->ctx, 1, sizeof *j->out);
    if (!j->out) return MSX_E_NOMEM;
    *j->out = (msx_masks){.ctx = j->ctx, .width = width, .height = height};
    MSX_TRY(msx__preset_whole(&j->colours, &j->rest, msx__preset_get(j->m->preset), image));
    MSX_TRY(make_grids(j));
    MSX_TRY(msx__crops_make(&j->crops, &j->n_crops, j->ctx, width, height, j->o->crop_n_layers,
                            j->o->crop_overlap_ratio));
    for (int64_t i = 0; i < j->n_crops; i++) j->total += batches(j, j->crops + i);
    j->input =
        msx__alloc(j->ctx, (size_t)(3 * j->m->image_size * j->m->image_size), sizeof *j->input);
    return j->input ? MSX_OK : MSX_E_NOMEM;
}

/* ---- one batch of points ------------------------------------------------------------------------------ */

/* A mask of a prompt that is looked at in full size, and what came of it. */
typedef struct candidate {
    int64_t prompt, mask;
    bool found;
    msx__found f;
} candidate;

typedef struct batch {
    const job *j;
    const msx__crop *crop;
    const msx_prediction *p;
    candidate *candidates;
    int64_t n;
} batch;

/* The mask (a byte a pixel) of a map, and its stability. */
static float measure(const float *map, uint8_t *mask, int64_t pixels, levels l) {
    int64_t inner = 0, outer = 0;
    for (int64_t i = 0; i < pixels; i++) {
        inner += map[i] > l.inner;
        outer += map[i] > l.outer;
        mask[i] = map[i] > l.mask;
    }
    return (float)inner / (float)outer;
}

/* Of a box in the image. */
static bool is_cut_off(const int64_t box[4], const int64_t crop[4], int64_t width, int64_t height) {
    const int64_t image[4] = {0, 0, width, height};
    bool cut = false;
    for (int i = 0; i < 4; i++)
        cut |= llabs(box[i] - crop[i]) <= EDGE && llabs(box[i] - image[i]) > EDGE;
    return cut;
}

/* What of a map is kept; `mask` has room for it. */
static msx_status examine(const batch *b, candidate *c, const float *map, uint8_t *mask) {
    const job *j = b->j;
    const int64_t *crop = b->crop->box;
    int64_t width = crop[2] - crop[0], height = crop[3] - crop[1];
    msx__found *f = &c->f;
    f->stability = measure(map, mask, width * height, j->levels);
    float least = (float)j->o->stability_score_thresh;
    if (j->o->stability_score_thresh > 0 && !(f->stability >= least)) return MSX_OK;
    msx__mask_box(mask, width, height, f->box);
    for (int i = 0; i < 4; i++) f->box[i] += crop[i % 2];
    if (is_cut_off(f->box, crop, j->out->width, j->out->height)) return MSX_OK;
    memcpy(f->crop, crop, sizeof f->crop);
    c->found = true;
    return msx__runs_encode(&f->runs, j->ctx, mask, crop, j->out->width, j->out->height);
}

static msx_status examine_piece(msx_model *m, int64_t i, void *payload) {
    const batch *b = payload;
    candidate *c = b->candidates + i;
    msx_image *map = NULL;
    MSX_TRY(msx__check_cancel(m->ctx));
    msx_status status = msx__prediction_map_at(&map, b->p, m->device, c->prompt, c->mask);
    uint8_t *mask = NULL;
    if (status == MSX_OK) {
        mask = msx__alloc(m->ctx, (size_t)(msx_image_width(map) * msx_image_height(map)), 1);
        status = mask ? examine(b, c, msx_image_data(map), mask) : MSX_E_NOMEM;
    }
    msx__free(m->ctx, mask);
    msx_image_free(map);
    return status;
}

/* All multimask outputs of all prompts, of high predicted IoU, in the order of prompts. */
static msx_status choose(batch *b, const double *points) {
    const msx_generate_options *o = b->j->o;
    int64_t masks = msx_prediction_masks(b->p), prompts = msx_prediction_count(b->p);
    b->candidates = msx__calloc(b->j->ctx, (size_t)(prompts * masks), sizeof *b->candidates);
    if (!b->candidates) return MSX_E_NOMEM;
    for (int64_t i = 0; i < prompts; i++)
        for (int64_t k = 1; k < masks; k++) {
            float iou = msx_prediction_iou(b->p, i)[k];
            if (o->pred_iou_thresh > 0 && !(iou > (float)o->pred_iou_thresh)) continue;
            b->candidates[b->n++] =
                (candidate){.prompt = i,
                            .mask = k,
                            .f = {.iou = iou,
                                  .point = {points[2 * i] + (double)b->crop->box[0],
                                            points[2 * i + 1] + (double)b->crop->box[1]}}};
        }
    return MSX_OK;
}

static msx_status run_batch(job *j, const msx__crop *crop, const msx_embedding *e,
                            const double *points, int64_t n) {
    msx_prompts *prompts = NULL;
    msx_prediction *p = NULL;
    batch b = {.j = j, .crop = crop};
    int64_t pixels = (crop->box[2] - crop->box[0]) * (crop->box[3] - crop->box[1]);
    int64_t bytes = (2 * pixels + j->m->image_size * j->m->image_size) * (int64_t)sizeof(float);
    msx_status status = msx_prompts_create(&prompts, j->ctx);
    for (int64_t i = 0; i < n && status == MSX_OK; i++) {
        status = msx_prompts_begin(prompts, 0);
        if (status == MSX_OK)
            status = msx_prompts_point(prompts, points[2 * i], points[2 * i + 1], 1);
    }
    if (status == MSX_OK) status = msx_model_predict(&p, j->m, e, prompts);
    b.p = p;
    if (status == MSX_OK) status = choose(&b, points);
    if (status == MSX_OK) status = msx__run_pieces(j->m, b.n, bytes, examine_piece, &b);
    for (int64_t i = 0; i < b.n; i++) {
        candidate *c = b.candidates + i;
        if (status == MSX_OK && c->found) status = msx__masks_add(j->out, &c->f);
        if (status < 0 || !c->found) msx__free(j->ctx, c->f.runs.length);
    }
    msx__free(j->ctx, b.candidates);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    return status;
}

/* ---- one crop ----------------------------------------------------------------------------------------- */

/* The part `box` of an 8-bit image. */
static msx_status cut(msx_image **out, msx_ctx *ctx, const msx_image *image, const int64_t box[4]) {
    int channels = msx_image_channels(image);
    int64_t width = box[2] - box[0], height = box[3] - box[1], stride = msx_image_width(image);
    MSX_TRY(msx_image_create(out, ctx, width, height, channels, MSX_PIXEL_U8, NULL));
    const uint8_t *from = msx_image_data(image);
    uint8_t *to = msx_image_data(*out);
    for (int64_t y = 0; y < height; y++)
        memcpy(to + y * width * channels, from + ((box[1] + y) * stride + box[0]) * channels,
               (size_t)(width * channels));
    return MSX_OK;
}

static msx_status encode_crop(job *j, const int64_t box[4], msx_embedding **out) {
    msx_image *part;
    int64_t sizes[4] = {box[2] - box[0], box[3] - box[1]};
    MSX_TRY(cut(&part, j->ctx, j->colours, box));
    msx_status status = msx__preset_apply(j->ctx, &j->rest, part, j->m->image_size, j->input,
                                          &sizes[2], &sizes[3], NULL);
    msx_image_free(part);
    MSX_TRY(status);
    return msx_model_encode_input(out, j->m, j->input, sizes, 1);
}

/* Which of the masks from `first` on stay, by box and by a score for each. */
static msx_status suppress(job *j, int64_t first, const float *scores, double threshold) {
    int64_t n = j->out->n - first, kept = 0;
    int64_t(*boxes)[4] = msx__alloc(j->ctx, (size_t)n, sizeof *boxes);
    int64_t *keep = msx__alloc(j->ctx, (size_t)n, sizeof *keep);
    msx_status status = boxes && keep ? MSX_OK : MSX_E_NOMEM;
    for (int64_t i = 0; i < n && status == MSX_OK; i++)
        memcpy(boxes[i], j->out->found[first + i].box, sizeof boxes[i]);
    if (status == MSX_OK)
        status = msx__nms(j->ctx, (const int64_t(*)[4])boxes, scores, n, threshold, keep, &kept);
    if (status == MSX_OK) status = msx__masks_keep(j->out, first, keep, kept);
    msx__free(j->ctx, boxes);
    msx__free(j->ctx, keep);
    return status;
}

typedef float (*score_fn)(const msx__found *f);

static float by_iou(const msx__found *f) {
    return f->iou;
}
static float by_smaller_crop(const msx__found *f) {
    return 1.0f / (float)((f->crop[2] - f->crop[0]) * (f->crop[3] - f->crop[1]));
}

static msx_status suppress_by(job *j, int64_t first, score_fn score, double threshold) {
    int64_t n = j->out->n - first;
    float *scores = msx__alloc(j->ctx, (size_t)n, sizeof *scores);
    if (!scores) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) scores[i] = score(j->out->found + first + i);
    msx_status status = suppress(j, first, scores, threshold);
    msx__free(j->ctx, scores);
    return status;
}

static msx_status run_crop(job *j, const msx__crop *c) {
    const msx_point_grid *g = j->grids + c->layer;
    int64_t first = j->out->n, n = (int64_t)g->n, step = j->o->points_per_batch;
    double width = (double)(c->box[2] - c->box[0]), height = (double)(c->box[3] - c->box[1]);
    msx_embedding *e;
    MSX_TRY(encode_crop(j, c->box, &e));
    double *points = msx__alloc(j->ctx, g->n, 2 * sizeof *points);
    msx_status status = points ? MSX_OK : MSX_E_NOMEM;
    for (int64_t i = 0; i < 2 * n && points; i++)
        points[i] = g->points[i] * (i % 2 ? height : width);
    for (int64_t i = 0; i < n && status == MSX_OK; i += step) {
        status = run_batch(j, c, e, points + 2 * i, n - i < step ? n - i : step);
        if (status == MSX_OK)
            status = msx__progress(j->ctx, "generate", ++j->done, j->total, (double)NAN);
    }
    msx__free(j->ctx, points);
    msx_embedding_free(e);
    MSX_TRY(status);
    return suppress_by(j, first, by_iou, j->o->box_nms_thresh);
}

/* ---- small regions ------------------------------------------------------------------------------------ */

/* The mask again without them; `score` 1 when there were none, so that such masks win. */
static msx_status clean(job *j, msx__found *f, uint8_t *mask, float *score) {
    const msx_masks *s = j->out;
    const int64_t whole[4] = {0, 0, s->width, s->height};
    bool changed;
    memset(mask, 0, (size_t)(s->width * s->height));
    msx__runs_decode(&f->runs, mask, s->width, s->height);
    MSX_TRY(msx__remove_small_regions(j->ctx, mask, s->width, s->height, j->o->min_mask_region_area,
                                      &changed));
    *score = changed ? 0 : 1;
    if (!changed) return MSX_OK;
    msx__free(j->ctx, f->runs.length);
    msx__mask_box(mask, s->width, s->height, f->box);
    return msx__runs_encode(&f->runs, j->ctx, mask, whole, s->width, s->height);
}

static msx_status clean_all(job *j) {
    msx_masks *s = j->out;
    uint8_t *mask = msx__alloc(j->ctx, (size_t)(s->width * s->height), 1);
    float *scores = msx__alloc(j->ctx, (size_t)s->n, sizeof *scores);
    msx_status status = mask && scores ? MSX_OK : MSX_E_NOMEM;
    for (int64_t i = 0; i < s->n && status == MSX_OK; i++) {
        status = msx__check_cancel(j->ctx);
        if (status == MSX_OK) status = clean(j, s->found + i, mask, scores + i);
    }
    if (status == MSX_OK)
        status = suppress(j, 0, scores, fmax(j->o->box_nms_thresh, j->o->crop_nms_thresh));
    msx__free(j->ctx, mask);
    msx__free(j->ctx, scores);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------------------ */

static msx_status run(job *j, const msx_image *image) {
    MSX_TRY(prepare(j, image));
    for (int64_t i = 0; i < j->n_crops; i++) MSX_TRY(run_crop(j, j->crops + i));
    if (j->n_crops > 1) MSX_TRY(suppress_by(j, 0, by_smaller_crop, j->o->crop_nms_thresh));
    return j->o->min_mask_region_area > 0 ? clean_all(j) : MSX_OK;
}

msx_status msx_masks_generate(msx_masks **out, msx_model *m, const msx_image *image,
                              const msx_generate_options *o) {
    static const msx_generate_options defaults = MSX_GENERATE_OPTIONS;
    if (!m) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || !image) return msx__fail(m->ctx, MSX_E_ARG, "msx_masks_generate: NULL argument");
    if (!o) o = &defaults;
    MSX_TRY(check_options(m->ctx, o));
    job j = {
        .ctx = m->ctx, .m = m, .o = o, .levels = levels_for(m->preset, o->stability_score_offset)};
    msx_status status = run(&j, image);
    for (int64_t i = 0; j.made && i <= o->crop_n_layers; i++) msx__free(j.ctx, j.made[i]);
    msx__free(j.ctx, j.made);
    msx__free(j.ctx, j.grids);
    msx__free(j.ctx, j.crops);
    msx__free(j.ctx, j.input);
    msx_image_free(j.colours);
    if (status < 0)
        msx_masks_free(j.out);
    else
        *out = j.out;
    return status;
}
