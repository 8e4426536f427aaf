/* SPDX-License-Identifier: Apache-2.0 */
/* A line of segments for every tap; a thread hashes the heads of the lines that are its own. Where the reading
 * thread would wait for them it hashes a head itself: with two threads that is a tenth of the time of a
 * merge. */
#include "core/hash_queue.h"

#include <pthread.h>
#include <string.h>

enum { LINE = 16, GAPS = 2, MAX_THREADS = 64 };

typedef struct segment {
    const void *bytes;
    size_t n;
} segment;

typedef struct line {
    msx__file_tap *tap;
    segment segments[LINE];
    uint64_t added;       /* by the reading thread alone */
    uint64_t shown, done; /* under the lock: to be hashed, hashed */
    bool taken;           /* under the lock: a thread hashes its head */
    void *gaps[GAPS];
    uint64_t gap_used[GAPS]; /* `added` behind their last use */
    size_t next_gap;
} line;

typedef struct worker {
    msx__hash_queue *q;
    size_t first, step; /* has the lines first, first + step, ... */
    pthread_t thread;
} worker;

struct msx__hash_queue {
    msx_ctx *ctx;
    line *lines;
    size_t n, n_workers;
    pthread_mutex_t lock;
    pthread_cond_t shown, done;
    bool stop, awaited; /* awaited: the reading thread had to wait the last time that it asked */
    worker workers[MAX_THREADS];
};

/* ---- the threads ----------------------------------------------------------------------------------- */

static uint64_t left(const line *l) {
    return l->shown - l->done;
}

/* Heads of the lines first, first + step, ..., at most MSX__TAPS; under the lock. While the reading thread waits
 * two threads are at it: each leaves the other one of three, the shortest. One line alone is slower. */
static size_t take_heads(msx__hash_queue *q, size_t first, size_t step, line *heads[MSX__TAPS]) {
    size_t n = 0, shortest = 0;
    for (size_t i = first; i < q->n && n < MSX__TAPS; i += step)
        if (left(&q->lines[i]) && !q->lines[i].taken) heads[n++] = &q->lines[i];
    for (size_t i = 1; i < n; i++)
        if (left(heads[i]) <= left(heads[shortest])) shortest = i;
    if (n == MSX__TAPS && q->awaited) heads[shortest] = heads[--n];
    for (size_t i = 0; i < n; i++) heads[i]->taken = true;
    return n;
}

static void put_back(line *const *heads, size_t n) {
    for (size_t i = 0; i < n; i++) {
        heads[i]->done++;
        heads[i]->taken = false;
    }
}

static void hash_heads(line *const *heads, size_t n) {
    msx__sha256 *hashes[MSX__TAPS];
    const void *bytes[MSX__TAPS];
    size_t sizes[MSX__TAPS];
    for (size_t i = 0; i < n; i++) {
        const segment *s = &heads[i]->segments[heads[i]->done % LINE];
        hashes[i] = &heads[i]->tap->hash;
        bytes[i] = s->bytes;
        sizes[i] = s->n;
    }
    msx__sha256_add_all(hashes, bytes, sizes, n);
}

static void *run(void *payload) {
    const worker *w = payload;
    msx__hash_queue *q = w->q;
    line *heads[MSX__TAPS];
    pthread_mutex_lock(&q->lock);
    for (;;) {
        size_t n = take_heads(q, w->first, w->step, heads);
        if (n == 0 && q->stop) break;
        if (n == 0) {
            pthread_cond_wait(&q->shown, &q->lock);
            continue;
        }
        pthread_mutex_unlock(&q->lock);
        hash_heads(heads, n);
        pthread_mutex_lock(&q->lock);
        put_back(heads, n);
        pthread_mutex_unlock(&q->lock);
        pthread_cond_signal(&q->done);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* ---- the reading thread ---------------------------------------------------------------------------- */

/* Waking is outside of the lock, or who wakes up would find it taken and sleep again. */
void msx__hash_queue_go(msx__hash_queue *q) {
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < q->n; i++) q->lines[i].shown = q->lines[i].added;
    pthread_mutex_unlock(&q->lock);
    pthread_cond_broadcast(&q->shown);
}

void msx__hash_queue_mark(const msx__hash_queue *q, uint64_t *marks) {
    for (size_t i = 0; i < q->n; i++) marks[i] = q->lines[i].added;
}

/* Hash heads that no one is at; false when there are none. Under the lock, which is released meanwhile. */
static bool help(msx__hash_queue *q) {
    line *heads[MSX__TAPS];
    size_t n = take_heads(q, 0, 1, heads);
    if (n == 0) return false;
    pthread_mutex_unlock(&q->lock);
    hash_heads(heads, n);
    pthread_mutex_lock(&q->lock);
    put_back(heads, n);
    pthread_cond_broadcast(&q->shown); /* their workers may have found them taken */
    return true;
}

/* Wait until as much of n lines is hashed. */
static void wait_for(msx__hash_queue *q, const line *lines, const uint64_t *marks, size_t n) {
    bool hidden = false, waited = false;
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < n; i++) hidden |= lines[i].shown < marks[i];
    for (size_t i = 0; i < n && !hidden; i++)
        while (lines[i].done < marks[i]) {
            q->awaited = waited = true;
            if (!help(q)) pthread_cond_wait(&q->done, &q->lock);
        }
    q->awaited = waited;
    pthread_mutex_unlock(&q->lock);
    if (!hidden) return;
    msx__hash_queue_go(q);
    wait_for(q, lines, marks, n);
}

void msx__hash_queue_wait(msx__hash_queue *q, const uint64_t *marks) {
    wait_for(q, q->lines, marks, q->n);
}

void msx__hash_queue_add(msx__hash_queue *q, size_t tap, const void *bytes, size_t n) {
    line *l = &q->lines[tap];
    if (n == 0) return;
    if (l->added >= LINE) wait_for(q, l, &(uint64_t){l->added - LINE + 1}, 1);
    l->segments[l->added % LINE] = (segment){bytes, n};
    l->added++;
}

void *msx__hash_queue_gap(msx__hash_queue *q, size_t tap) {
    line *l = &q->lines[tap];
    size_t g = l->next_gap;
    if (!l->gaps[g] && !(l->gaps[g] = msx__alloc(q->ctx, MSX__HASH_GAP, 1))) return NULL;
    wait_for(q, l, &l->gap_used[g], 1);
    l->gap_used[g] = l->added + 1; /* behind the segment that it becomes */
    l->next_gap = (g + 1) % GAPS;
    return l->gaps[g];
}

/* ---- life ------------------------------------------------------------------------------------------ */

msx_status msx__hash_queue_start(msx__hash_queue **out, msx_ctx *ctx, msx__file_tap *const *taps,
                                 size_t n, int threads) {
    *out = NULL;
    msx__hash_queue *q = msx__calloc(ctx, 1, sizeof *q);
    line *lines = q ? msx__calloc(ctx, n, sizeof *lines) : NULL;
    if (!lines) {
        msx__free(ctx, q);
        return MSX_E_NOMEM;
    }
    q->ctx = ctx;
    q->lines = lines;
    q->n = n;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->shown, NULL);
    pthread_cond_init(&q->done, NULL);
    for (size_t i = 0; i < n; i++) {
        lines[i].tap = taps[i];
        taps[i]->queue = q;
        taps[i]->number = i;
    }
    size_t wanted = threads < 1 ? 1 : threads < MAX_THREADS ? (size_t)threads : MAX_THREADS;
    if (wanted > n) wanted = n;
    int code = 0;
    q->n_workers = wanted;
    for (size_t i = 0; i < wanted && code == 0; i++) {
        q->workers[i] = (worker){.q = q, .first = i, .step = wanted};
        code = pthread_create(&q->workers[i].thread, NULL, run, &q->workers[i]);
        if (code) q->n_workers = i;
    }
    if (code) {
        msx__hash_queue_stop(q);
        return msx__fail(ctx, MSX_E_NOMEM, "a thread cannot be started: %s", strerror(code));
    }
    *out = q;
    return MSX_OK;
}

void msx__hash_queue_stop(msx__hash_queue *q) {
    if (!q) return;
    msx_ctx *ctx = q->ctx;
    msx__hash_queue_go(q);
    if (q->n_workers)
        for (size_t i = 0; i < q->n; i++) wait_for(q, &q->lines[i], &q->lines[i].added, 1);
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_broadcast(&q->shown);
    pthread_mutex_unlock(&q->lock);
    for (size_t i = 0; i < q->n_workers; i++) pthread_join(q->workers[i].thread, NULL);
    for (size_t i = 0; i < q->n; i++) {
        q->lines[i].tap->queue = NULL;
        for (int g = 0; g < GAPS; g++) msx__free(ctx, q->lines[i].gaps[g]);
    }
    pthread_cond_destroy(&q->shown);
    pthread_cond_destroy(&q->done);
    pthread_mutex_destroy(&q->lock);
    msx__free(ctx, q->lines);
    msx__free(ctx, q);
}
