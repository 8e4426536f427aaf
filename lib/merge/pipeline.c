/* SPDX-License-Identifier: Apache-2.0 */
/* Readers, the merger and the caller meet under one lock; tensors change hands only there. */
#include "merge/pipeline.h"

#include "checkpoint/stream.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MAX_READERS = 8, TEXT = 2048 };

/* Places of tensors in a circle of memory, handed out and taken back in the order of the tensors. */
typedef struct ring {
    int64_t capacity; /* in elements, at least the largest tensor */
    int64_t head;     /* where the next one may begin */
    int64_t placed, freed;
    int64_t *at; /* place of each tensor below `placed` */
} ring;

typedef struct input {
    float *memory;
    int64_t read; /* tensors that are in memory, or were */
    bool hashed;
    msx_status status; /* of the tensor number `read`, when negative */
    char text[TEXT];
} input;

typedef struct reader {
    struct msx__pipeline *p;
    size_t first; /* reads the inputs first, first + n_readers, ... */
    pthread_t thread;
} reader;

struct msx__pipeline {
    msx__pipeline_job job;
    int64_t n_tensors;
    msx__merge_kernels kernels;
    ring in, out;
    input *inputs;
    float *results;

    pthread_mutex_t lock; /* of everything below, and of the rings and inputs */
    pthread_cond_t changed;
    bool stop;
    int64_t merged;    /* tensors whose result is in memory, or was */
    msx_status status; /* of the tensor number `merged`, when negative */
    char text[TEXT];

    bool threaded, merging; /* run beside the caller; the merger's thread was started */
    pthread_t merger;
    reader readers[MAX_READERS];
    size_t n_readers, started;
};

/* ---- rings ------------------------------------------------------------------------------------- */

/* Give tensor `placed` a place; false when it has to wait until older ones are freed. Begin and end of
 * the occupied part are equal only when it is empty. */
static bool ring_place(ring *r, int64_t elements) {
    int64_t oldest = r->freed < r->placed ? r->at[r->freed] : -1;
    if (oldest < 0)
        r->head = 0;
    else if (r->head > oldest && r->capacity - r->head < elements)
        r->head = 0;
    if (oldest >= 0 && r->head <= oldest && oldest - r->head <= elements) return false;
    r->at[r->placed++] = r->head;
    r->head += elements;
    return true;
}

static msx_status ring_open(ring *r, msx_ctx *ctx, int64_t n_tensors, int64_t capacity) {
    r->capacity = capacity;
    r->at = msx__calloc(ctx, (size_t)n_tensors, sizeof *r->at);
    return r->at ? MSX_OK : MSX_E_NOMEM;
}

/* ---- what each stage does --------------------------------------------------------------------------- */

static msx_status read_input(msx__pipeline *p, size_t k, int64_t i) {
    const msx__pipeline_job *j = &p->job;
    MSX_TRY(msx__check_cancel(j->ctx));
    return msx__read_weights(j->ctx, j->inputs[k], msx_arch_tensor_name(j->arch, i),
                             p->inputs[k].memory + p->in.at[i], msx__tensor_elements(j->arch, i),
                             true);
}

static const char *name_or_end(const msx__pipeline *p, int64_t i) {
    return i < p->n_tensors ? msx_arch_tensor_name(p->job.arch, i) : NULL;
}

static msx_status hash_input(msx__pipeline *p, size_t k) {
    char digest[MSX__SHA256_HEX]; /* the checkpoint keeps it */
    return msx_checkpoint_sha256(p->job.inputs[k], digest);
}

static msx_status merge_inputs(msx__pipeline *p, int64_t i) {
    const msx__pipeline_job *j = &p->job;
    const float *models[MSX__MAX_MODELS];
    for (size_t k = 0; k < j->n && !j->allow_nonfinite; k++)
        MSX_TRY(msx__check_finite(j->ctx, j->inputs[k], msx_arch_tensor_name(j->arch, i),
                                  p->inputs[k].memory + p->in.at[i],
                                  msx__tensor_elements(j->arch, i)));
    for (size_t k = 0; k < j->schedule->n_models; k++)
        models[k] = p->inputs[j->schedule->models[k]].memory + p->in.at[i];
    return msx__merge_tensor(j->schedule, j->arch, i, models, p->results + p->out.at[i],
                             &p->kernels);
}

/* ---- threads ---------------------------------------------------------------------------------------- */

static void keep_text(const msx_ctx *ctx, char text[TEXT]) {
    snprintf(text, TEXT, "%s", msx_ctx_error(ctx));
}

/* Wait until the inputs have room for tensor i. */
static bool wait_for_room(msx__pipeline *p, int64_t i) {
    pthread_mutex_lock(&p->lock);
    while (!p->stop && i >= p->in.placed &&
           !ring_place(&p->in, msx__tensor_elements(p->job.arch, i)))
        pthread_cond_wait(&p->changed, &p->lock);
    bool go = !p->stop;
    pthread_mutex_unlock(&p->lock);
    return go;
}

/* Read tensor i of the reader's inputs, or hash them to their ends. One that fails is not read on; the
 * others are, as far as there is room. */
static void read_tensor(const reader *r, int64_t i) {
    msx__pipeline *p = r->p;
    msx_status status[MSX__MAX_MODELS];
    msx_checkpoint *read[MSX__MAX_MODELS];
    size_t n = 0;
    for (size_t k = r->first; k < p->job.n; k += p->n_readers)
        if (p->inputs[k].status == MSX_OK) read[n++] = p->job.inputs[k];
    msx__checkpoint_hash_ahead(read, n, name_or_end(p, i));
    n = 0;
    for (size_t k = r->first; k < p->job.n; k += p->n_readers) {
        input *in = &p->inputs[k];
        if (in->status < 0) continue;
        status[k] = i < p->n_tensors ? read_input(p, k, i) : hash_input(p, k);
        if (status[k] < 0)
            keep_text(p->job.ctx, in->text);
        else
            read[n++] = p->job.inputs[k];
    }
    msx__checkpoint_settle_hashes(read, n);
    pthread_mutex_lock(&p->lock);
    for (size_t k = r->first; k < p->job.n; k += p->n_readers) {
        input *in = &p->inputs[k];
        if (in->status < 0) continue;
        in->status = status[k];
        if (status[k] < 0) continue;
        in->hashed = i == p->n_tensors;
        in->read += i < p->n_tensors;
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void *run_reader(void *payload) {
    const reader *r = payload;
    for (int64_t i = 0; i <= r->p->n_tensors; i++) {
        if (i < r->p->n_tensors && !wait_for_room(r->p, i)) break;
        read_tensor(r, i);
    }
    return NULL;
}

/* Wait for all inputs of tensor i and for room for its result; false when the merger is to end. */
static bool wait_for_inputs(msx__pipeline *p, int64_t i) {
    pthread_mutex_lock(&p->lock);
    for (size_t k = 0; k < p->job.n && p->status == MSX_OK; k++) {
        const input *in = &p->inputs[k];
        while (!p->stop && in->read <= i && in->status == MSX_OK)
            pthread_cond_wait(&p->changed, &p->lock);
        if (in->read > i || p->stop) continue;
        p->status = in->status;
        memcpy(p->text, in->text, sizeof p->text);
        pthread_cond_broadcast(&p->changed);
    }
    while (!p->stop && p->status == MSX_OK &&
           !ring_place(&p->out, msx__tensor_elements(p->job.arch, i)))
        pthread_cond_wait(&p->changed, &p->lock);
    bool go = !p->stop && p->status == MSX_OK;
    pthread_mutex_unlock(&p->lock);
    return go;
}

static void *run_merger(void *payload) {
    msx__pipeline *p = payload;
    for (int64_t i = 0; i < p->n_tensors && wait_for_inputs(p, i); i++) {
        msx_status status = merge_inputs(p, i);
        pthread_mutex_lock(&p->lock);
        p->status = status;
        if (status < 0)
            keep_text(p->job.ctx, p->text);
        else
            p->merged = p->in.freed = i + 1;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
        if (status < 0) break;
    }
    return NULL;
}

static msx_status start_thread(msx_ctx *ctx, pthread_t *thread, void *(*run)(void *),
                               void *payload) {
    int code = pthread_create(thread, NULL, run, payload);
    if (code == 0) return MSX_OK;
    return msx__fail(ctx, MSX_E_NOMEM, "a thread cannot be started: %s", strerror(code));
}

/* ---- the pipeline ----------------------------------------------------------------------------------- */

static msx_status make_room(msx__pipeline *p) {
    msx_ctx *ctx = p->job.ctx;
    int64_t largest = 0, all = 0;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        int64_t elements = msx__tensor_elements(p->job.arch, i);
        if (elements > largest) largest = elements;
        if (!msx__add(all, elements, &all)) all = INT64_MAX;
    }
    /* a small model fits as a whole */
    int64_t room = p->threaded ? largest + p->job.ahead : largest;
    if (room > all) room = all;
    MSX_TRY(ring_open(&p->in, ctx, p->n_tensors, room));
    MSX_TRY(ring_open(&p->out, ctx, p->n_tensors, room));
    p->inputs = msx__calloc(ctx, p->job.n, sizeof *p->inputs);
    p->results = msx__alloc(ctx, (size_t)room, sizeof *p->results);
    if (!p->inputs || !p->results) return MSX_E_NOMEM;
    for (size_t k = 0; k < p->job.n; k++) {
        p->inputs[k].memory = msx__alloc(ctx, (size_t)room, sizeof(float));
        if (!p->inputs[k].memory) return MSX_E_NOMEM;
    }
    return MSX_OK;
}

/* The merger leaves a thread to the readers. These are no more than the processor can run: what one reads
 * is hashed together, which is cheaper (lib/core/hash_lanes.c). */
static msx_status start(msx__pipeline *p) {
    msx_ctx *ctx = p->job.ctx;
    int threads = msx_ctx_threads(ctx);
    p->threaded = threads > 1;
    MSX_TRY(msx__merge_kernels_open(&p->kernels, ctx));
    msx__merge_kernels_set_threads(&p->kernels, threads > 1 ? threads - 1 : 1);
    MSX_TRY(make_room(p));
    if (!p->threaded) return MSX_OK;
    p->n_readers = (size_t)threads < MAX_READERS ? (size_t)threads : MAX_READERS;
    if (p->n_readers > p->job.n) p->n_readers = p->job.n;
    for (; p->started < p->n_readers; p->started++) {
        reader *r = &p->readers[p->started];
        *r = (reader){.p = p, .first = p->started};
        MSX_TRY(start_thread(ctx, &r->thread, run_reader, r));
    }
    MSX_TRY(start_thread(ctx, &p->merger, run_merger, p));
    p->merging = true;
    return MSX_OK;
}

msx_status msx__pipeline_start(msx__pipeline **out, const msx__pipeline_job *job) {
    *out = NULL;
    msx__pipeline *p = msx__calloc(job->ctx, 1, sizeof *p);
    if (!p) return MSX_E_NOMEM;
    p->job = *job;
    p->n_tensors = msx_arch_tensor_count(job->arch);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    msx_status status = start(p);
    if (status < 0) {
        msx__pipeline_free(p);
        return status;
    }
    *out = p;
    return MSX_OK;
}

/* Tensor i without any other thread. */
static msx_status make_here(msx__pipeline *p, int64_t i) {
    int64_t elements = msx__tensor_elements(p->job.arch, i);
    p->in.freed = p->out.freed = i;
    ring_place(&p->in, elements);
    ring_place(&p->out, elements);
    msx__checkpoint_hash_ahead(p->job.inputs, p->job.n, name_or_end(p, i));
    for (size_t k = 0; k < p->job.n; k++) MSX_TRY(read_input(p, k, i));
    msx__checkpoint_settle_hashes(p->job.inputs, p->job.n);
    return merge_inputs(p, i);
}

/* Take back the room of the results before i, and wait for that of i. */
static msx_status wait_for_result(msx__pipeline *p, int64_t i) {
    pthread_mutex_lock(&p->lock);
    p->out.freed = i;
    pthread_cond_broadcast(&p->changed);
    while (p->merged <= i && p->status == MSX_OK) pthread_cond_wait(&p->changed, &p->lock);
    msx_status status = p->merged > i ? MSX_OK : p->status;
    pthread_mutex_unlock(&p->lock);
    return status < 0 ? msx__fail(p->job.ctx, status, "%s", p->text) : MSX_OK;
}

msx_status msx__pipeline_next(msx__pipeline *p, int64_t i, const float **values) {
    MSX_TRY(msx__progress(p->job.ctx, "merge", i, p->n_tensors, NAN));
    MSX_TRY(p->threaded ? wait_for_result(p, i) : make_here(p, i));
    *values = p->results + p->out.at[i];
    return MSX_OK;
}

msx_status msx__pipeline_finish(msx__pipeline *p) {
    MSX_TRY(msx__progress(p->job.ctx, "merge", p->n_tensors, p->n_tensors, NAN));
    if (!p->threaded) msx__checkpoint_hash_ahead(p->job.inputs, p->job.n, NULL);
    for (size_t k = 0; k < p->job.n; k++) {
        if (!p->threaded) {
            MSX_TRY(hash_input(p, k));
            continue;
        }
        const input *in = &p->inputs[k];
        pthread_mutex_lock(&p->lock);
        while (!in->hashed && in->status == MSX_OK) pthread_cond_wait(&p->changed, &p->lock);
        pthread_mutex_unlock(&p->lock);
        if (in->status < 0) return msx__fail(p->job.ctx, in->status, "%s", in->text);
    }
    return MSX_OK;
}

void msx__pipeline_free(msx__pipeline *p) {
    if (!p) return;
    msx_ctx *ctx = p->job.ctx;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    for (size_t r = 0; r < p->started; r++) pthread_join(p->readers[r].thread, NULL);
    if (p->merging) pthread_join(p->merger, NULL);
    for (size_t k = 0; p->inputs && k < p->job.n; k++) msx__free(ctx, p->inputs[k].memory);
    msx__merge_kernels_close(&p->kernels);
    msx__free(ctx, p->inputs);
    msx__free(ctx, p->results);
    msx__free(ctx, p->in.at);
    msx__free(ctx, p->out.at);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    msx__free(ctx, p);
}
