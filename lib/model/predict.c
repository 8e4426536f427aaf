/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding prompts. Prompts with equally many tokens, all with or all without a mask, run together, in
 * chunks that fit a fixed amount of memory; where the device decodes in sweeps, those without a mask that
 * are on one image. A prompt's result does not depend on its company. */
#include "model/lanes.h"
#include "model/results.h"

#include <stdlib.h>
#include <string.h>

/* Working memory of one chunk. On a CPU it should stay in cache; sweeps stream it, and gain from prompts that
 * share reading the weights. On a device it is what 16 prompts of a 1024 x 1024 input take, which are enough
 * to fill a large one. */
#define HOST_BUDGET   ((int64_t)4 << 20)
#define SWEEP_BUDGET  ((int64_t)64 << 20)
#define SWEEP_PROMPTS 8
#define DEVICE_BUDGET ((int64_t)384 << 20)

/* A prompt's place in the order of decoding. */
typedef struct entry {
    int64_t image, tokens, prompt; /* image: 0 where chunks may have several */
    int has_mask;
} entry;

static int compare_entries(const void *left, const void *right) {
    const entry *a = left, *b = right;
    if (a->has_mask != b->has_mask) return a->has_mask - b->has_mask;
    if (a->image != b->image) return a->image < b->image ? -1 : 1;
    if (a->tokens != b->tokens) return a->tokens < b->tokens ? -1 : 1;
    return a->prompt < b->prompt ? -1 : a->prompt > b->prompt;
}

/* One call of msx_model_predict. */
typedef struct run {
    const msx_embedding *e;
    const msx_prompts *p;
    msx_prediction *out;
    entry *order;
    int64_t *starts; /* of the chunks in the order, and the end */
    int64_t chunks;
} run;

static msx_status check_prompts(const msx_model *m, const msx_embedding *e, const msx_prompts *p) {
    int64_t mask = 16 * m->tokens;
    if (e->channels != m->channels || e->tokens != m->tokens || e->device != m->device)
        return msx__fail(m->ctx, MSX_E_SHAPE,
                         "the embedding was made by a model of another shape or on another device");
    for (int64_t i = 0; i < p->n; i++) {
        const msx__prompt *q = p->prompts + i;
        if (q->image >= e->n)
            return msx__fail(m->ctx, MSX_E_ARG,
                             "prompt %" PRId64 " is on image %" PRId64 " of %" PRId64, i, q->image,
                             e->n);
        if (q->mask && q->n_mask != mask)
            return msx__fail(m->ctx, MSX_E_SHAPE,
                             "prompt %" PRId64 ": a mask of %" PRId64
                             " logits; this model takes %" PRId64 " x %" PRId64,
                             i, q->n_mask, 4 * m->grid, 4 * m->grid);
    }
    return MSX_OK;
}

/* A prompt's tokens, with its coordinates taken to the frame of the input. */
static void fill_tokens(const msx_model *m, const run *r, const msx__prompt *q, float *out) {
    const msx__extent *x = r->e->extents + q->image;
    double sx = (double)x->resized_width / (double)x->width;
    double sy = (double)x->resized_height / (double)x->height;
    const msx__point *points = q->n_points ? r->p->points + q->first_point : NULL;
    msx__prompt_tokens(m, q->has_box ? q->box : NULL, points, q->n_points, sx, sy, out);
}

/* How many entries from `i` on are prompts one after the other: their results go in one piece. */
static int64_t run_length(const entry *entries, int64_t i, int64_t n) {
    int64_t length = 1;
    while (i + length < n && entries[i + length].prompt == entries[i].prompt + length) length++;
    return length;
}

/* Decoding in device memory, and results to their places. */
static msx_status decode_chunk(msx_model *m, const run *r, const entry *entries, msx__chunk *c) {
    int64_t floats = m->masks * 16 * m->tokens;
    float *memory;
    MSX_TRY(msx__model_work(m, msx__chunk_floats(m, c->prompts, c->tokens, c->masked), &memory));
    msx__chunk_place(m, c, memory);
    MSX_TRY(msx__prompt_encode(m, c, r->e->data));
    MSX_TRY(msx__decode(m, c));
    for (int64_t i = 0, length; i < c->prompts; i += length) {
        int64_t at = entries[i].prompt;
        length = run_length(entries, i, c->prompts);
        size_t bytes = (size_t)(length * floats) * sizeof(float);
        if (r->out->there)
            MSX_RUN(m->device, copy, r->out->there + at * floats, c->logits + i * floats, bytes);
        else
            MSX_RUN(m->device, download, r->out->logits + at * floats, c->logits + i * floats,
                    bytes);
        MSX_RUN(m->device, download, r->out->iou + at * m->masks, c->iou + i * m->masks,
                (size_t)(length * m->masks) * sizeof(float));
    }
    return MSX_OK;
}

/* Chunk `number`: entries that are alike. */
static msx_status run_chunk(msx_model *m, int64_t number, void *payload) {
    const run *r = payload;
    const entry *entries = r->order + r->starts[number];
    int64_t n = r->starts[number + 1] - r->starts[number], tokens = entries->tokens;
    MSX_TRY(msx__check_cancel(m->ctx));
    size_t token_bytes = (size_t)(tokens * m->channels) * sizeof(float);
    float *host_tokens = msx__alloc(m->ctx, (size_t)n, token_bytes);
    int64_t *image = msx__alloc(m->ctx, (size_t)n, sizeof *image);
    const float **masks = msx__alloc(m->ctx, (size_t)n, sizeof *masks);
    msx_status status = host_tokens && image && masks ? MSX_OK : MSX_E_NOMEM;
    for (int64_t i = 0; i < n && status == MSX_OK; i++) {
        const msx__prompt *q = r->p->prompts + entries[i].prompt;
        fill_tokens(m, r, q, host_tokens + i * tokens * m->channels);
        image[i] = q->image;
        masks[i] = q->mask;
    }
    msx__chunk c = {.prompts = n,
                    .tokens = tokens,
                    .host_tokens = host_tokens,
                    .image = image,
                    .masked = entries->has_mask,
                    .mask = masks};
    if (status == MSX_OK) status = decode_chunk(m, r, entries, &c);
    msx__free(m->ctx, host_tokens);
    msx__free(m->ctx, image);
    msx__free(m->ctx, masks);
    return status;
}

/* Entries that may share a chunk with `e`, by memory and, as chunks may run side by side, threads. */
static int64_t most_prompts(const msx_model *m, const run *r, const entry *e) {
    int64_t bytes = msx__chunk_floats(m, 1, e->tokens, e->has_mask) * (int64_t)sizeof(float);
    if (!m->device->k->host_memory) return DEVICE_BUDGET / bytes;
    if (e->has_mask || !msx__sweeps(m)) return HOST_BUDGET / bytes;
    int64_t threads = msx_ctx_threads(m->ctx), most = (r->p->n + threads - 1) / threads;
    if (most > SWEEP_PROMPTS) most = SWEEP_PROMPTS;
    return most < SWEEP_BUDGET / bytes ? most : SWEEP_BUDGET / bytes;
}

/* How many of the entries from `first` on run together. */
static int64_t chunk_length(const msx_model *m, const run *r, int64_t first) {
    const entry *e = r->order + first;
    int64_t most = most_prompts(m, r, e), n = 1;
    while (n < most && first + n < r->p->n && e[n].tokens == e->tokens && e[n].image == e->image &&
           e[n].has_mask == e->has_mask)
        n++;
    return n;
}

static msx_status run_all(msx_model *m, run *r) {
    int64_t n = r->p->n, largest = 0;
    r->order = msx__alloc(m->ctx, (size_t)n, sizeof *r->order);
    r->starts = msx__alloc(m->ctx, (size_t)n + 1, sizeof *r->starts);
    if (!r->order || !r->starts) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        const msx__prompt *q = r->p->prompts + i;
        int64_t tokens = 1 + m->masks + msx__sparse_count(q->has_box, q->n_points);
        int64_t image = msx__sweeps(m) && !q->mask ? q->image : 0;
        r->order[i] = (entry){image, tokens, i, q->mask != NULL};
    }
    qsort(r->order, (size_t)n, sizeof *r->order, compare_entries);
    for (int64_t first = 0, length; first < n; first += length) {
        length = chunk_length(m, r, first);
        const entry *e = r->order + first;
        int64_t floats = msx__chunk_floats(m, length, e->tokens, e->has_mask);
        if (floats > largest) largest = floats;
        r->starts[r->chunks++] = first;
    }
    r->starts[r->chunks] = n;
    return msx__run_pieces(m, r->chunks, largest * (int64_t)sizeof(float), run_chunk, r);
}

static msx_status create(msx_prediction **out, const msx_model *m, const msx_embedding *e,
                         const msx_prompts *p) {
    msx_prediction *r = msx__calloc(m->ctx, 1, sizeof *r);
    *out = r;
    if (!r) return MSX_E_NOMEM;
    *r = (msx_prediction){.ctx = m->ctx,
                          .device = m->device,
                          .preset = m->preset,
                          .n = p->n,
                          .masks = m->masks,
                          .side = 4 * m->grid,
                          .image_size = m->image_size};
    MSX_TRY(msx__prediction_room(r));
    r->iou = msx__alloc(m->ctx, (size_t)p->n, (size_t)m->masks * sizeof *r->iou);
    r->extents = msx__alloc(m->ctx, (size_t)p->n, sizeof *r->extents);
    if (!r->iou || !r->extents) return MSX_E_NOMEM;
    for (int64_t i = 0; i < p->n; i++) r->extents[i] = e->extents[p->prompts[i].image];
    return MSX_OK;
}

msx_status msx_model_predict(msx_prediction **out, msx_model *m, const msx_embedding *e,
                             const msx_prompts *p) {
    if (!m) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || !e || !p) return msx__fail(m->ctx, MSX_E_ARG, "msx_model_predict: NULL argument");
    MSX_TRY(check_prompts(m, e, p));
    msx_prediction *result;
    msx_status status = create(&result, m, e, p);
    run r = {.e = e, .p = p, .out = result};
    if (status == MSX_OK && p->n) status = run_all(m, &r);
    msx__free(m->ctx, r.order);
    msx__free(m->ctx, r.starts);
    if (status < 0) {
        msx_prediction_free(result);
        return status;
    }
    *out = result;
    return MSX_OK;
}
