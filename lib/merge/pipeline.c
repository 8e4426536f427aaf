/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors go through in one of four ways. Where all can be cut into pieces the caller reads, merges and
 * writes each piece while it is in the cache, and other threads hash, at which the caller helps before it would
 * wait; of a draft the merger reads and merges each piece, and the caller writes. Else readers, the merger and
 * the caller each work on another tensor; they meet under one lock and tensors change hands only there. With one
 * thread the caller does everything. */
#include "merge/pipeline.h"

#include "checkpoint/stream.h"
#include "core/hash_queue.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MAX_READERS = 8, TEXT = 2048, LAP = 4 };

/* Places of units in a circle of memory, handed out and taken back in their order. Small ones stay in its
 * first part, which is in the cache. */
typedef struct ring {
    int64_t capacity;   /* in elements, at least the largest unit */
    int64_t small, lap; /* units up to that size stay in that first part */
    int64_t head;       /* where the next one may begin */
    int64_t placed, freed;
    int64_t *at; /* place of each unit below `placed` */
} ring;

typedef struct input {
    float *memory;
    int64_t read; /* units that are in memory, or were */
    uint32_t crc; /* of the tensor that is being read */
    bool hashed;
    msx_status status; /* of the unit number `read`, when negative */
    char text[TEXT];
} input;

typedef struct reader {
    struct msx__pipeline *p;
    size_t first; /* reads the inputs first, first + n_readers, ... */
    pthread_t thread;
} reader;

struct msx__pipeline {
    msx__pipeline_job job;
    msx__unit *units;
    int64_t n_units, next, begun; /* next: the caller's unit; begun: tensors of which it has one */
    msx__merge_kernels kernels;
    ring in, out;
    input *inputs;
    float *results;

    msx__hash_queue
        *queue;      /* hashes beside the caller, who does the rest; NULL: one of the other ways */
    uint64_t *marks; /* (LAP, taps): what was to be hashed when a place was filled */
    size_t taps;

    pthread_mutex_t lock; /* of everything below, and of the rings and inputs */
    pthread_cond_t changed;
    bool stop;
    int64_t merged;    /* units whose result is in memory, or was */
    msx_status status; /* of the unit number `merged`, when negative */
    char text[TEXT];

    bool threaded, merging; /* stages run beside the caller; the merger's thread was started */
    bool reads;             /* the merger reads, too, and there are no readers */
    pthread_t merger;
    reader readers[MAX_READERS];
    size_t n_readers, started;
};

/* ---- rings ------------------------------------------------------------------------------------- */

/* Give unit `placed` a place; false when it has to wait until older ones are freed. Begin and end of
 * the occupied part are equal only when it is empty. */
static bool ring_place(ring *r, int64_t elements) {
    int64_t oldest = r->freed < r->placed ? r->at[r->freed] : -1;
    int64_t end = elements <= r->small ? r->lap : r->capacity;
    if (oldest < 0)
        r->head = 0;
    else if (r->head > oldest && end - r->head < elements)
        r->head = 0;
    if (oldest >= 0 && r->head <= oldest && oldest - r->head <= elements) return false;
    r->at[r->placed++] = r->head;
    r->head += elements;
    return true;
}

static msx_status ring_open(ring *r, msx__pipeline *p, int64_t capacity) {
    r->capacity = capacity;
    r->small = p->job.piece;
    r->lap = LAP * p->job.piece < capacity ? LAP * p->job.piece : capacity;
    r->at = msx__calloc(p->job.ctx, (size_t)p->n_units, sizeof *r->at);
    return r->at ? MSX_OK : MSX_E_NOMEM;
}

/* ---- what each stage does --------------------------------------------------------------------------- */

/* Part [from, from + n) of a unit of input k. Views are read at once. */
static msx_status read_part(msx__pipeline *p, size_t k, int64_t u, int64_t from, int64_t n) {
    const msx__pipeline_job *j = &p->job;
    const msx__unit *unit = &p->units[u];
    const msx_checkpoint *c = j->inputs[k];
    const char *name = msx_arch_tensor_name(j->arch, unit->tensor);
    int64_t tensor = msx_checkpoint_find(c, name), first = unit->first + from;
    float *out = p->inputs[k].memory + p->in.at[u] + from;
    MSX_TRY(msx__check_cancel(j->ctx));
    if (msx__checkpoint_has_pieces(c, tensor))
        MSX_TRY(msx__checkpoint_read_piece(c, tensor, first, n, out, &p->inputs[k].crc));
    else if (from == 0)
        MSX_TRY(msx_checkpoint_read(c, tensor, out, unit->n));
    return j->allow_nonfinite ? MSX_OK : msx__check_finite(j->ctx, c, name, out, first, n);
}

/* Name of the tensor that begins with unit u; NULL behind the last. */
static const char *beginning_with(const msx__pipeline *p, int64_t u) {
    return u < p->n_units ? msx_arch_tensor_name(p->job.arch, p->units[u].tensor) : NULL;
}

static msx_status hash_input(msx__pipeline *p, size_t k) {
    char digest[MSX__SHA256_HEX]; /* the checkpoint keeps it */
    if (p->job.draft) return MSX_OK;
    return msx_checkpoint_sha256(p->job.inputs[k], digest);
}

static void keep_text(const msx_ctx *ctx, char text[TEXT]) {
    snprintf(text, TEXT, "%s", msx_ctx_error(ctx));
}

/* Read unit u of the inputs first, first + step, ... that have not failed, piece by piece of each, so that
 * they are hashed together and from the cache; or hash them to their ends. status[k] of each. */
static void read_inputs(msx__pipeline *p, size_t first, size_t step, int64_t u,
                        msx_status *status) {
    const msx__pipeline_job *j = &p->job;
    int64_t elements = u < p->n_units ? p->units[u].n : 0, from = 0;
    msx_checkpoint *read[MSX__MAX_MODELS];
    size_t n = 0;
    for (size_t k = first; k < j->n; k += step) {
        status[k] = p->inputs[k].status;
        if (status[k] == MSX_OK) read[n++] = j->inputs[k];
    }
    if (u == p->n_units || p->units[u].first == 0)
        msx__checkpoint_hash_ahead(read, n, beginning_with(p, u));
    do {
        int64_t part = elements - from < j->piece ? elements - from : j->piece;
        n = 0;
        for (size_t k = first; k < j->n; k += step) {
            if (status[k] < 0) continue;
            status[k] = u < p->n_units ? read_part(p, k, u, from, part) : hash_input(p, k);
            if (status[k] < 0)
                keep_text(j->ctx, p->inputs[k].text);
            else
                read[n++] = j->inputs[k];
        }
        msx__checkpoint_settle_hashes(read, n);
        from += part;
    } while (from < elements);
}

static msx_status merge_inputs(msx__pipeline *p, int64_t u) {
    const msx__pipeline_job *j = &p->job;
    const msx__unit *unit = &p->units[u];
    const float *models[MSX__MAX_MODELS];
    for (size_t k = 0; k < j->schedule->n_models; k++)
        models[k] = p->inputs[j->schedule->models[k]].memory + p->in.at[u];
    msx__merge_kernels kernels = p->kernels;
    kernels.piece = unit->n < msx__tensor_elements(j->arch, unit->tensor);
    return msx__merge_piece(j->schedule, j->arch, unit->tensor, models, unit->n,
                            p->results + p->out.at[u], &kernels);
}

static msx_status read_and_merge(msx__pipeline *p, int64_t u) {
    msx_status status[MSX__MAX_MODELS];
    read_inputs(p, 0, 1, u, status);
    for (size_t k = 0; k < p->job.n; k++)
        if (status[k] < 0) return msx__fail(p->job.ctx, status[k], "%s", p->inputs[k].text);
    return merge_inputs(p, u);
}

/* ---- threads ---------------------------------------------------------------------------------------- */

/* Wait until the inputs have room for unit u. */
static bool wait_for_room(msx__pipeline *p, int64_t u) {
    pthread_mutex_lock(&p->lock);
    while (!p->stop && u >= p->in.placed && !ring_place(&p->in, p->units[u].n))
        pthread_cond_wait(&p->changed, &p->lock);
    bool go = !p->stop;
    pthread_mutex_unlock(&p->lock);
    return go;
}

/* One that fails is not read on; the others are, as far as there is room. */
static void *run_reader(void *payload) {
    const reader *r = payload;
    msx__pipeline *p = r->p;
    msx_status status[MSX__MAX_MODELS];
    for (int64_t u = 0; u <= p->n_units; u++) {
        if (u < p->n_units && !wait_for_room(p, u)) break;
        read_inputs(p, r->first, p->n_readers, u, status);
        pthread_mutex_lock(&p->lock);
        for (size_t k = r->first; k < p->job.n; k += p->n_readers) {
            input *in = &p->inputs[k];
            if (in->status < 0) continue;
            in->status = status[k];
            if (status[k] < 0) continue;
            in->hashed = u == p->n_units;
            in->read += u < p->n_units;
        }
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

/* Wait for all inputs of unit u and for room for its result; false when the merger is to end. */
static bool wait_for_inputs(msx__pipeline *p, int64_t u) {
    pthread_mutex_lock(&p->lock);
    for (size_t k = 0; k < p->job.n && p->status == MSX_OK && !p->reads; k++) {
        const input *in = &p->inputs[k];
        while (!p->stop && in->read <= u && in->status == MSX_OK)
            pthread_cond_wait(&p->changed, &p->lock);
        if (in->read > u || p->stop) continue;
        p->status = in->status;
        memcpy(p->text, in->text, sizeof p->text);
        pthread_cond_broadcast(&p->changed);
    }
    while (!p->stop && p->status == MSX_OK && !ring_place(&p->out, p->units[u].n))
        pthread_cond_wait(&p->changed, &p->lock);
    bool go = !p->stop && p->status == MSX_OK;
    pthread_mutex_unlock(&p->lock);
    return go;
}

static void *run_merger(void *payload) {
    msx__pipeline *p = payload;
    for (int64_t u = 0; u < p->n_units && wait_for_inputs(p, u); u++) {
        msx_status status = p->reads ? read_and_merge(p, u) : merge_inputs(p, u);
        pthread_mutex_lock(&p->lock);
        p->status = status;
        if (status < 0)
            keep_text(p->job.ctx, p->text);
        else
            p->merged = p->in.freed = u + 1;
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

/* Room for the largest unit, and beside the caller for what is read ahead. */
static msx_status make_room(msx__pipeline *p) {
    msx_ctx *ctx = p->job.ctx;
    int64_t largest = 0, all = 0;
    for (int64_t u = 0; u < p->n_units; u++) {
        int64_t elements = p->units[u].n;
        if (elements > largest) largest = elements;
        if (!msx__add(all, elements, &all)) all = INT64_MAX;
    }
    int64_t room = largest;
    if (p->threaded && !p->reads) room += p->job.ahead;
    if (room < LAP * p->job.piece)
        room = LAP * p->job.piece;
    else if (room > all)
        room = all; /* a small model fits as a whole */
    MSX_TRY(ring_open(&p->in, p, room));
    MSX_TRY(ring_open(&p->out, p, room));
    p->inputs = msx__calloc(ctx, p->job.n, sizeof *p->inputs);
    p->results = msx__alloc(ctx, (size_t)room, sizeof *p->results);
    if (!p->inputs || !p->results) return MSX_E_NOMEM;
    for (size_t k = 0; k < p->job.n; k++) {
        p->inputs[k].memory = msx__alloc(ctx, (size_t)room, sizeof(float));
        if (!p->inputs[k].memory) return MSX_E_NOMEM;
    }
    return MSX_OK;
}

/* Can all be read, hashed if that is to be, merged and written piece by piece? */
static bool is_stream(const msx__pipeline *p) {
    for (int64_t u = 0; u < p->n_units; u++)
        if (p->units[u].n > p->job.piece) return false;
    for (size_t k = 0; k < p->job.n && !p->job.draft; k++)
        if (!msx__checkpoint_is_plain(p->job.inputs[k])) return false;
    return true;
}

static msx_status start_stream(msx__pipeline *p, int threads) {
    const msx__pipeline_job *j = &p->job;
    p->taps = msx__checkpoint_taps(j->inputs, j->n);
    p->marks = msx__calloc(j->ctx, LAP * p->taps, sizeof *p->marks);
    if (!p->marks) return MSX_E_NOMEM;
    return msx__checkpoint_hash_beside(&p->queue, j->inputs, j->n, threads);
}

/* The merger leaves a thread to the readers. These are no more than the processor can run: what one reads
 * is hashed together, which is cheaper (lib/core/hash_lanes.c). */
static msx_status start(msx__pipeline *p) {
    msx_ctx *ctx = p->job.ctx;
    int threads = msx_ctx_threads(ctx);
    MSX_TRY(msx__units_plan(&p->units, &p->n_units, &p->job));
    bool stream = threads > 1 && is_stream(p);
    p->reads = stream && p->job.draft;
    p->threaded = threads > 1 && (!stream || p->reads);
    MSX_TRY(msx__merge_kernels_open(&p->kernels, ctx));
    msx__merge_kernels_set_threads(&p->kernels, p->threaded && !p->reads ? threads - 1 : 1);
    MSX_TRY(make_room(p));
    if (!p->threaded) return stream ? start_stream(p, threads - 1) : MSX_OK;
    p->n_readers = (size_t)threads < MAX_READERS ? (size_t)threads : MAX_READERS;
    if (p->n_readers > p->job.n) p->n_readers = p->job.n;
    if (p->reads) p->n_readers = 0;
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

/* Unit u on the caller's thread. A place for it is where nothing is needed any more: it was hashed. */
static void place_here(msx__pipeline *p, int64_t u) {
    if (p->queue && u >= LAP) msx__hash_queue_wait(p->queue, p->marks + u % LAP * (int64_t)p->taps);
    p->in.at[u] = p->queue ? u % LAP * p->job.piece : 0;
    p->out.at[u] = 0;
}

static msx_status make_here(msx__pipeline *p, int64_t u) {
    msx_status status[MSX__MAX_MODELS];
    place_here(p, u);
    if (!p->queue) return read_and_merge(p, u);
    read_inputs(p, 0, 1, u, status);
    msx__hash_queue_mark(p->queue, p->marks + u % LAP * (int64_t)p->taps);
    if (u % 2) msx__hash_queue_go(p->queue); /* waking is not for nothing */
    for (size_t k = 0; k < p->job.n; k++)
        if (status[k] < 0) return msx__fail(p->job.ctx, status[k], "%s", p->inputs[k].text);
    return merge_inputs(p, u);
}

/* Take back the room of the results before u, and wait for that of u. */
static msx_status wait_for_result(msx__pipeline *p, int64_t u) {
    pthread_mutex_lock(&p->lock);
    p->out.freed = u;
    pthread_cond_broadcast(&p->changed);
    while (p->merged <= u && p->status == MSX_OK) pthread_cond_wait(&p->changed, &p->lock);
    msx_status status = p->merged > u ? MSX_OK : p->status;
    pthread_mutex_unlock(&p->lock);
    return status < 0 ? msx__fail(p->job.ctx, status, "%s", p->text) : MSX_OK;
}

msx_status msx__pipeline_next(msx__pipeline *p, int64_t tensor, int64_t first, const float **values,
                              int64_t *n) {
    int64_t u = p->next;
    if (u >= p->n_units || p->units[u].tensor != tensor || p->units[u].first != first)
        return msx__fail(p->job.ctx, MSX_E_INTERNAL, "tensors are merged in order only");
    if (!first)
        MSX_TRY(msx__progress(p->job.ctx, "merge", p->begun++, msx_arch_tensor_count(p->job.arch),
                              NAN));
    MSX_TRY(p->threaded ? wait_for_result(p, u) : make_here(p, u));
    p->next++;
    *values = p->results + p->out.at[u];
    *n = p->units[u].n;
    return MSX_OK;
}

msx_status msx__pipeline_finish(msx__pipeline *p) {
    int64_t tensors = msx_arch_tensor_count(p->job.arch);
    MSX_TRY(msx__progress(p->job.ctx, "merge", tensors, tensors, NAN));
    msx__hash_queue_stop(p->queue);
    p->queue = NULL;
    if (p->job.draft) return MSX_OK;
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
    msx__hash_queue_stop(p->queue); /* before the memory that it hashes */
    for (size_t k = 0; p->inputs && k < p->job.n; k++) msx__free(ctx, p->inputs[k].memory);
    msx__merge_kernels_close(&p->kernels);
    msx__free(ctx, p->inputs);
    msx__free(ctx, p->results);
    msx__free(ctx, p->units);
    msx__free(ctx, p->marks);
    msx__free(ctx, p->in.at);
    msx__free(ctx, p->out.at);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    msx__free(ctx, p);
}
