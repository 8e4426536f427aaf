/* SPDX-License-Identifier: Apache-2.0 */
/* The embeddings of a batch: from the cache, from the deepest boundary that the cache has, or from the
 * input; and what is left in the cache for later trials. */
#include "search/evaluator.h"

#include "model/results.h"
#include "model/seats.h"

#define TRIALS_KEPT 4 /* so many trials' worth must fit, or fewer boundaries are kept */

static void release_x(void *value, void *payload) {
    msx__seats_release(payload, value);
}

static void release_embedding(void *value, void *payload) {
    (void)payload;
    msx_embedding_free(value);
}

static bool caches(const msx__eval_batch *b) {
    return b->work->cache && b->how->prefix;
}

static msx__cache_key key_of(const msx__eval_batch *b, int64_t boundary) {
    return msx__prefix_key(b->how->prefix, boundary, b->first, b->n);
}

static int64_t bytes_of(const msx__eval_batch *b, int64_t width) {
    return b->n * b->model->tokens * width * (int64_t)sizeof(float);
}

/* ---- encoding ---------------------------------------------------------------------------------- */

/* From inputs on the device, on the host, or from images. */
static msx_status encode_once(const msx__eval_batch *b, const msx__passage *passage,
                              msx_embedding **out) {
    const msx_evaluator *e = b->e;
    const msx__eval_there *t = &b->work->there;
    const msx_image *images[MSX__EVAL_MAX_BATCH];
    int64_t at = b->first * 3 * e->side * e->side;
    msx__sources from = {.images = images};
    for (int64_t i = 0; i < b->n; i++) images[i] = e->images[b->first + i].image;
    if (t->inputs)
        from = (msx__sources){
            .input = t->inputs + at, .sizes = t->sizes + 4 * b->first, .there = true};
    else if (e->inputs)
        from = (msx__sources){.input = e->inputs + at, .sizes = e->sizes + 4 * b->first};
    return msx__model_encode_part(out, b->model, &from, passage, (size_t)b->n);
}

/* Kept inputs make room when the device has no memory left to work with. */
static msx_status encode(const msx__eval_batch *b, const msx__passage *passage,
                         msx_embedding **out) {
    msx_status status = encode_once(b, passage, out);
    if (status == MSX_E_NOMEM && msx__eval_there_drop_inputs(b->work))
        status = encode_once(b, passage, out);
    return status;
}

/* ---- what the cache has and gets --------------------------------------------------------------- */

/* Places for x at the boundaries behind `first` that are worth keeping, spread over those at which trials
 * can part when the budget does not hold all of them. Memory that is not there is no failure: less is
 * kept then. */
static void choose(const msx__eval_batch *b, int64_t first, float **keep) {
    msx_model *m = b->model;
    const bool *parts = b->how->prefix->parts;
    int64_t x = bytes_of(b, m->width), embedding = bytes_of(b, m->channels);
    int64_t batches = (b->e->n_images + b->n - 1) / b->n;
    int64_t budget = msx__activation_cache_budget(b->work->cache) / TRIALS_KEPT / batches;
    int64_t most = budget > embedding ? (budget - embedding) / x : 0, n = 0, seen = 0;
    for (int64_t k = 1; k <= m->depth; k++) n += parts[k];
    if (most > n) most = n;
    for (int64_t k = 1; k <= m->depth; k++) {
        if (!parts[k]) continue;
        bool chosen = seen * most / n != (seen + 1) * most / n;
        seen++;
        if (chosen && k > first &&
            msx__seats_alloc(m->device, &keep[k], x / (int64_t)sizeof(float)) < 0)
            keep[k] = NULL;
    }
}

/* Hand over what was kept, or release it after a failure. */
static msx_status hand_over(const msx__eval_batch *b, float **keep, msx_status status) {
    msx_model *m = b->model;
    for (int64_t k = 1; k <= m->depth; k++) {
        if (!keep[k]) continue;
        msx__cache_key key = key_of(b, k);
        if (status >= 0)
            status = msx__activation_cache_put(b->work->cache, &key, keep[k], bytes_of(b, m->width),
                                               release_x, m->device);
        else
            msx__seats_release(m->device, keep[k]);
    }
    return status;
}

/* The deepest boundary whose x is kept; 0 and *x NULL when none is. */
static int64_t find_start(const msx__eval_batch *b, const float **x) {
    for (int64_t k = b->model->depth; k > 0; k--) {
        msx__cache_key key = key_of(b, k);
        if ((*x = msx__activation_cache_get(b->work->cache, &key))) return k;
    }
    return 0;
}

static void account(const msx__eval_batch *b, int64_t reused) {
    b->result->blocks_run += b->n * (b->model->depth - reused);
    b->result->blocks_reused += b->n * reused;
}

static msx_status encode_cached(msx__eval_batch *b, int64_t *start) {
    float **keep = msx__calloc(b->e->ctx, (size_t)b->model->depth + 1, sizeof *keep);
    if (!keep) return MSX_E_NOMEM;
    msx__passage passage = {.keep = keep};
    *start = passage.first = find_start(b, &passage.x);
    choose(b, passage.first, keep);
    msx_status status = encode(b, &passage, &b->made);
    status = hand_over(b, keep, status);
    msx__free(b->e->ctx, keep);
    if (status >= 0) return MSX_OK;
    msx_embedding_free(b->made);
    b->made = NULL;
    return status;
}

/* Without memory for both the cache and the network, the network is served. */
static msx_status encode_or_clear(msx__eval_batch *b, int64_t *start) {
    msx_status status = encode_cached(b, start);
    if (status != MSX_E_NOMEM) return status;
    msx__activation_cache_clear(b->work->cache);
    *start = 0;
    return encode(b, NULL, &b->made);
}

msx_status msx__evaluator_embed(msx__eval_batch *b) {
    int64_t start = 0;
    b->made = NULL;
    b->embedding = NULL;
    if (caches(b)) {
        msx__cache_key key = key_of(b, b->model->depth + 1);
        b->embedding = msx__activation_cache_get(b->work->cache, &key);
    }
    if (b->embedding) {
        account(b, b->model->depth);
        return MSX_OK;
    }
    MSX_TRY(caches(b) ? encode_or_clear(b, &start) : encode(b, NULL, &b->made));
    account(b, start);
    b->embedding = b->made;
    return MSX_OK;
}

/* Only now that it was used: the cache may drop it at once. */
msx_status msx__evaluator_keep(msx__eval_batch *b, bool good) {
    msx_embedding *made = b->made;
    b->made = NULL;
    if (!made || !good || !caches(b)) {
        msx_embedding_free(made);
        return MSX_OK;
    }
    msx__cache_key key = key_of(b, b->model->depth + 1);
    return msx__activation_cache_put(b->work->cache, &key, made, bytes_of(b, b->model->channels),
                                     release_embedding, NULL);
}
