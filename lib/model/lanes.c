/* SPDX-License-Identifier: Apache-2.0 */
#include "model/lanes.h"

#include <stdatomic.h>
#include <stdio.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#define LANE_BYTES ((int64_t)8 << 20) /* larger pieces keep all threads busy by themselves */

/* What all lanes do, and the first failure by number of piece (-1: before any), with its text: texts
 * belong to the thread that failed. */
typedef struct run {
    const msx_model *m;
    int64_t n;
    msx__piece_fn piece;
    void *payload;
    atomic_bool stop;
    int64_t failed;
    msx_status status;
    char text[512];
} run;

static int lanes_for(const msx_model *m, int64_t n, int64_t bytes) {
#ifdef _OPENMP
    int threads = msx_ctx_threads(m->ctx);
    if (!m->device->k->host_memory || bytes > LANE_BYTES || omp_in_parallel()) return 1;
    return n < threads ? (int)n : threads;
#else
    (void)m, (void)n, (void)bytes;
    return 1;
#endif
}

static void note_failure(run *r, int64_t piece, msx_status status) {
#pragma omp critical(msx_lane_failure)
    if (r->status == MSX_OK || piece < r->failed) {
        r->failed = piece;
        r->status = status;
        snprintf(r->text, sizeof r->text, "%s", msx_ctx_error(r->m->ctx));
    }
    atomic_store(&r->stop, true);
}

/* One thread's share of the pieces. */
static void run_lane(run *r) {
    msx__seat *seat;
    msx_model view = *r->m;
    msx_status status = msx__seat_take(r->m->device, 1, &seat);
    if (status == MSX_OK)
        view = msx__model_at(r->m, seat);
    else
        note_failure(r, -1, status);
#pragma omp for schedule(dynamic) nowait
    for (int64_t i = 0; i < r->n; i++) {
        if (atomic_load(&r->stop)) continue;
        status = r->piece(&view, i, r->payload);
        if (status < 0) note_failure(r, i, status);
    }
    msx__seat_leave(r->m->device, seat);
}

static msx_status run_alone(run *r) {
    msx__seat *seat;
    MSX_TRY(msx__seat_take(r->m->device, msx_ctx_threads(r->m->ctx), &seat));
    msx_model view = msx__model_at(r->m, seat);
    msx_status status = MSX_OK;
    for (int64_t i = 0; i < r->n && status >= 0; i++) status = r->piece(&view, i, r->payload);
    msx__seat_leave(r->m->device, seat);
    return status;
}

msx_status msx__run_pieces(const msx_model *m, int64_t n, int64_t bytes, msx__piece_fn piece,
                           void *payload) {
    run r = {.m = m, .n = n, .piece = piece, .payload = payload};
    int lanes = lanes_for(m, n, bytes);
    if (lanes == 1) return run_alone(&r);
#pragma omp parallel num_threads(lanes)
    run_lane(&r);
    if (r.status < 0) return msx__fail(m->ctx, r.status, "%s", r.text);
    return MSX_OK;
}
