/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors go through in one of five ways. Where all can be cut into pieces the caller reads, merges and
 * writes each piece while it is in the cache, and other threads hash, at which the caller helps before it would
 * wait; of a draft the merger reads and merges each piece, and the caller writes. Other drafts of few threads
 * are shared: the merger takes whole tensors through reading and merging, and so does the caller when the one that
 * it is to write is not there yet. Else readers, the merger and the caller each work on another tensor. They
 * meet under one lock and tensors change hands only there. With one thread the caller does everything. */
#include "merge/pipeline.h"

#include "checkpoint/stream.h"
#include "core/hash_queue.h"
#include "merge/ring.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MAX_READERS = 8, MAX_SHARERS = 3, TEXT = 2048, LAP = 4 };

typedef struct input {
    float *memory;
    int64_t read; /* units that are in memory, or were */
    bool hashed;
    msx_status status; /* of the unit number `read`, when negative */
} input;

/* An input as the thread sees it that reads it. */
typedef struct reading {
    uint32_t crc;      /* of the tensor that is being read */
    msx_status status; /* negative when it failed, which ends it */
    char text[TEXT];
} reading;

/* Those who merge: the caller, and beside it the merger. */
enum { CALLER, MERGER, HANDS };
typedef struct hand {
    msx__merge_kernels kernels;
    reading *readings; /* of every input; readers use the caller's */
} hand;

typedef struct reader {
    struct msx__pipeline *p;
    size_t first; /* reads the inputs first, first + n_readers, ... */
    pthread_t thread;
} reader;

struct msx__pipeline {
    msx__pipeline_job job;
    msx__unit *units;
    int64_t n_units, next, begun; /* next: the caller's unit; begun: tensors of which it has one */
    hand hands[HANDS];
    msx__ring in, out;
    input *inputs;
    float *results;

    msx__hash_queue
        *queue;      /* hashes beside the caller, who does the rest; NULL: one of the other ways */
    uint64_t *marks; /* (LAP, taps): what was to be hashed when a place was filled */
    size_t taps;

    pthread_mutex_t lock; /* of everything below, and of the rings and inputs */
    pthread_cond_t changed;
    bool stop;
    int64_t taken;  /* units that somebody merges, or did */
    int64_t merged; /* units whose result is in memory, or was */
    bool *done;     /* units from `merged` on of which there is a result */
    int64_t failed; /* the first unit that failed, and why; negative: none did */
    msx_status status;
    char text[TEXT];

    bool threaded, merging; /* stages run beside the caller; the merger's thread was started */
    bool reads;             /* the merger reads, too, and there are no readers */
    bool shared;            /* and the caller does what the merger does */
    pthread_t merger;
    reader readers[MAX_READERS];
    size_t n_readers, started;
};

/* ---- what each stage does --------------------------------------------------------------------------- */

/* Part [from, from + n) of a unit of input k. Views are read at once. */
static msx_status read_part(msx__pipeline *p, size_t k, reading *r, int64_t u, int64_t from,
                            int64_t n) {
    const msx__pipeline_job *j = &p->job;
    const msx__unit *unit = &p->units[u];
    const msx_checkpoint *c = j->inputs[k];
    const char *name = msx_arch_tensor_name(j->arch, unit->tensor);
    int64_t tensor = msx_checkpoint_find(c, name), first = unit->first + from;
    float *out = p->inputs[k].memory + p->in.at[u] + from;
    MSX_TRY(msx__check_cancel(j->ctx));
    if (msx__checkpoint_has_pieces(c, tensor))
        MSX_TRY(msx__checkpoint_read_piece(c, tensor, first, n, out, &r->crc));
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
 * they are hashed together and from the cache; or hash them to their ends. */
static void read_inputs(msx__pipeline *p, reading *readings, size_t first, size_t step, int64_t u) {
    const msx__pipeline_job *j = &p->job;
    int64_t elements = u < p->n_units ? p->units[u].n : 0, from = 0;
    msx_checkpoint *read[MSX__MAX_MODELS];
    size_t n = 0;
    for (size_t k = first; k < j->n; k += step)
        if (readings[k].status == MSX_OK) read[n++] = j->inputs[k];
    if (u == p->n_units || p->units[u].first == 0)
        msx__checkpoint_hash_ahead(read, n, beginning_with(p, u));
    do {
        int64_t part = elements - from < j->piece ? elements - from : j->piece;
        n = 0;
        for (size_t k = first; k < j->n; k += step) {
            reading *r = &readings[k];
            if (r->status < 0) continue;
            r->status = u < p->n_units ? read_part(p, k, r, u, from, part) : hash_input(p, k);
            if (r->status < 0)
                keep_text(j->ctx, r->text);
            else
                read[n++] = j->inputs[k];
        }
        msx__checkpoint_settle_hashes(read, n);
        from += part;
    } while (from < elements);
}

/* The first failure of a reading. */
static msx_status all_read(const msx__pipeline *p, const reading *readings) {
    for (size_t k = 0; k < p->job.n; k++)
        if (readings[k].status < 0)
            return msx__fail(p->job.ctx, readings[k].status, "%s", readings[k].text);
    return MSX_OK;
}

static msx_status merge_inputs(msx__pipeline *p, const hand *h, int64_t u) {
    const msx__pipeline_job *j = &p->job;
    const msx__unit *unit = &p->units[u];
    const float *models[MSX__MAX_MODELS];
    for (size_t k = 0; k < j->schedule->n_models; k++)
        models[k] = p->inputs[j->schedule->models[k]].memory + p->in.at[u];
    msx__merge_kernels kernels = h->kernels;
    kernels.piece = unit->n < msx__tensor_elements(j->arch, unit->tensor);
    return msx__merge_piece(j->schedule, j->arch, unit->tensor, models, unit->n,
                            p->results + p->out.at[u], &kernels);
}

static msx_status read_and_merge(msx__pipeline *p, const hand *h, int64_t u) {
    read_inputs(p, h->readings, 0, 1, u);
    MSX_TRY(all_read(p, h->readings));
    return merge_inputs(p, h, u);
}

/* ---- threads ---------------------------------------------------------------------------------------- */

/* Wait until the inputs have room for unit u. */
static bool wait_for_room(msx__pipeline *p, int64_t u) {
    pthread_mutex_lock(&p->lock);
    while (!p->stop && !msx__ring_place(&p->in, u, p->units[u].n))
        pthread_cond_wait(&p->changed, &p->lock);
    bool go = !p->stop;
    pthread_mutex_unlock(&p->lock);
    return go;
}

/* One that fails is not read on; the others are, as far as there is room. */
static void *run_reader(void *payload) {
    const reader *r = payload;
    msx__pipeline *p = r->p;
    reading *readings = p->hands[CALLER].readings;
    for (int64_t u = 0; u <= p->n_units; u++) {
        if (u < p->n_units && !wait_for_room(p, u)) break;
        read_inputs(p, readings, r->first, p->n_readers, u);
        pthread_mutex_lock(&p->lock);
        for (size_t k = r->first; k < p->job.n; k += p->n_readers) {
            input *in = &p->inputs[k];
            if (in->status < 0) continue;
            in->status = readings[k].status;
            if (in->status < 0) continue;
            in->hashed = u == p->n_units;
            in->read += u < p->n_units;
        }
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

/* With the lock: what became of unit u. The text of a failure is the context's. */
static void settle(msx__pipeline *p, int64_t u, msx_status status) {
    p->done[u] = status >= 0;
    if (status < 0 && (p->failed < 0 || u < p->failed)) {
        p->failed = u;
        p->status = status;
        keep_text(p->job.ctx, p->text);
    }
    while (p->merged < p->n_units && p->done[p->merged]) p->merged++;
    p->in.freed = p->merged;
    pthread_cond_broadcast(&p->changed);
}

/* With the lock: are all inputs of unit u there? One that is not, and failed, fails it. */
static bool has_inputs(msx__pipeline *p, int64_t u) {
    for (size_t k = 0; k < p->job.n && !p->reads; k++) {
        const input *in = &p->inputs[k];
        if (in->read > u) continue;
        if (in->status < 0) {
            msx__fail(p->job.ctx, in->status, "%s", p->hands[CALLER].readings[k].text);
            settle(p, u, in->status);
        }
        return false;
    }
    return true;
}

/* With the lock, which is given away meanwhile: merge the next unit that nobody merges. False when nothing
 * can be done now. */
static bool merge_next(msx__pipeline *p, const hand *h) {
    int64_t u = p->taken;
    if (u == p->n_units || p->failed >= 0 || !has_inputs(p, u)) return false;
    if (p->shared && !msx__ring_place(&p->in, u, p->units[u].n)) return false;
    if (!msx__ring_place(&p->out, u, p->units[u].n)) return false;
    p->taken++;
    pthread_mutex_unlock(&p->lock);
    msx_status status = p->reads ? read_and_merge(p, h, u) : merge_inputs(p, h, u);
    pthread_mutex_lock(&p->lock);
    settle(p, u, status);
    return true;
}

static void *run_merger(void *payload) {
    msx__pipeline *p = payload;
    pthread_mutex_lock(&p->lock);
    while (!p->stop && p->failed < 0 && p->taken < p->n_units)
        if (!merge_next(p, &p->hands[MERGER]) && p->failed < 0)
            pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static msx_status start_thread(msx_ctx *ctx, pthread_t *thread, void *(*run)(void *),
                               void *payload) {
    int code = pthread_create(thread, NULL, run, payload);
    if (code == 0) return MSX_OK;
    return msx__fail(ctx, MSX_E_NOMEM, "a thread cannot be started: %s", strerror(code));
}

/* ---- the pipeline ----------------------------------------------------------------------------------- */

/* As the kernels have theirs: in large pages. The caller's release them. */
static msx_status alloc_floats(msx__pipeline *p, float **out, int64_t n) {
    const msx__merge_kernels *k = &p->hands[CALLER].kernels;
    void *memory = NULL;
    int code = k->ops->alloc(k->dev, &memory, (size_t)n * sizeof **out);
    *out = memory;
    return code == MSXK_OK
               ? MSX_OK
               : msx__fail(p->job.ctx, msx__kernel_status(code), "%s", k->ops->error(k->dev));
}

static void free_floats(msx__pipeline *p, float *memory) {
    const msx__merge_kernels *k = &p->hands[CALLER].kernels;
    if (memory) k->ops->release(k->dev, memory);
}

/* Room for the largest unit, and beside the caller for what is read ahead; for a third result, where the
 * caller writes one and two are being made. */
static msx_status make_room(msx__pipeline *p) {
    msx_ctx *ctx = p->job.ctx;
    int64_t largest = 0, all = 0, lap = LAP * p->job.piece;
    /* between large ones, a small one at the beginning would keep what follows from the place behind */
    int64_t small = p->threaded && p->reads && !p->shared ? p->job.piece : 0;
    for (int64_t u = 0; u < p->n_units; u++) {
        int64_t elements = p->units[u].n;
        if (elements > largest) largest = elements;
        if (!msx__add(all, elements, &all)) all = INT64_MAX;
    }
    int64_t in = largest, out = largest;
    if (p->threaded && (!p->reads || p->shared)) out = in += p->job.ahead;
    if (p->shared) out += p->job.ahead;
    int64_t *const rooms[] = {&in, &out};
    for (int i = 0; i < 2; i++) {
        if (*rooms[i] > all) *rooms[i] = all; /* a small model fits as a whole */
        if (*rooms[i] < lap) *rooms[i] = lap;
    }
    MSX_TRY(msx__ring_open(&p->in, ctx, p->n_units, in, small, lap));
    MSX_TRY(msx__ring_open(&p->out, ctx, p->n_units, out, small, lap));
    p->inputs = msx__calloc(ctx, p->job.n, sizeof *p->inputs);
    if (!p->inputs) return MSX_E_NOMEM;
    MSX_TRY(alloc_floats(p, &p->results, out));
    for (size_t k = 0; k < p->job.n; k++) MSX_TRY(alloc_floats(p, &p->inputs[k].memory, in));
    return MSX_OK;
}

static msx_status open_hand(msx__pipeline *p, hand *h, int threads) {
    h->readings = msx__calloc(p->job.ctx, p->job.n, sizeof *h->readings);
    if (!h->readings) return MSX_E_NOMEM;
    MSX_TRY(msx__merge_kernels_open(&h->kernels, p->job.ctx));
    msx__merge_kernels_set_threads(&h->kernels, threads);
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

/* Cut tensors where that makes a stream of all. Shared tensors stay whole: the checksum of one goes through its
 * pieces in order. More threads than MAX_SHARERS are better kept busy by a merge of one tensor at a time. */
static msx_status choose_way(msx__pipeline *p, int threads) {
    msx__pipeline_job whole = p->job;
    whole.piece = INT64_MAX;
    MSX_TRY(msx__units_plan(&p->units, &p->n_units, &p->job));
    bool several = threads > 1, stream = is_stream(p), draft = several && p->job.draft;
    p->shared = draft && !stream && threads <= MAX_SHARERS;
    p->reads = p->shared || (draft && stream);
    p->threaded = several && (!stream || draft);
    if (!p->shared) return MSX_OK;
    msx__free(p->job.ctx, p->units);
    return msx__units_plan(&p->units, &p->n_units, &whole);
}

static msx_status start_readers(msx__pipeline *p, int threads) {
    p->n_readers = (size_t)threads < MAX_READERS ? (size_t)threads : MAX_READERS;
    if (p->n_readers > p->job.n) p->n_readers = p->job.n;
    for (; p->started < p->n_readers; p->started++) {
        reader *r = &p->readers[p->started];
        *r = (reader){.p = p, .first = p->started};
        MSX_TRY(start_thread(p->job.ctx, &r->thread, run_reader, r));
    }
    return MSX_OK;
}

/* The merger leaves a thread to the readers, or to the caller. Readers are no more than the processor can run:
 * what one reads is hashed together, which is cheaper (lib/core/hash_lanes.c). */
static msx_status start(msx__pipeline *p) {
    msx_ctx *ctx = p->job.ctx;
    int threads = msx_ctx_threads(ctx);
    MSX_TRY(choose_way(p, threads));
    p->done = msx__calloc(ctx, (size_t)p->n_units, sizeof *p->done);
    if (!p->done) return MSX_E_NOMEM;
    MSX_TRY(open_hand(p, &p->hands[CALLER], 1));
    MSX_TRY(make_room(p));
    if (!p->threaded) return threads > 1 ? start_stream(p, threads - 1) : MSX_OK;
    MSX_TRY(open_hand(p, &p->hands[MERGER], p->reads && !p->shared ? 1 : threads - 1));
    if (!p->reads) MSX_TRY(start_readers(p, threads));
    MSX_TRY(start_thread(ctx, &p->merger, run_merger, p));
    p->merging = true;
    return MSX_OK;
}

msx_status msx__pipeline_start(msx__pipeline **out, const msx__pipeline_job *job) {
    *out = NULL;
    msx__pipeline *p = msx__calloc(job->ctx, 1, sizeof *p);
    if (!p) return MSX_E_NOMEM;
    p->job = *job;
    p->failed = -1;
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
    const hand *h = &p->hands[CALLER];
    place_here(p, u);
    if (!p->queue) return read_and_merge(p, h, u);
    read_inputs(p, h->readings, 0, 1, u);
    msx__hash_queue_mark(p->queue, p->marks + u % LAP * (int64_t)p->taps);
    if (u % 2) msx__hash_queue_go(p->queue); /* waking is not for nothing */
    MSX_TRY(all_read(p, h->readings));
    return merge_inputs(p, h, u);
}

/* Take back the room of the results before u, and wait for that of u, or help to make it. */
static msx_status wait_for_result(msx__pipeline *p, int64_t u) {
    pthread_mutex_lock(&p->lock);
    p->out.freed = u;
    pthread_cond_broadcast(&p->changed);
    while (p->merged <= u && p->failed != u)
        if (!p->shared || !merge_next(p, &p->hands[CALLER]))
            pthread_cond_wait(&p->changed, &p->lock);
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
        if (in->status < 0)
            return msx__fail(p->job.ctx, in->status, "%s", p->hands[CALLER].readings[k].text);
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
    for (size_t k = 0; p->inputs && k < p->job.n; k++) free_floats(p, p->inputs[k].memory);
    free_floats(p, p->results);
    for (int h = 0; h < HANDS; h++) {
        msx__merge_kernels_close(&p->hands[h].kernels);
        msx__free(ctx, p->hands[h].readings);
    }
    msx__ring_close(&p->in, ctx);
    msx__ring_close(&p->out, ctx);
    msx__free(ctx, p->inputs);
    msx__free(ctx, p->done);
    msx__free(ctx, p->units);
    msx__free(ctx, p->marks);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    msx__free(ctx, p);
}
