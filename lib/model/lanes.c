/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: views of one model with the same weights, each with an opened device and working memory of its
 * own, for one thread. */
#include "model/lanes.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#define LANE_BYTES ((int64_t)8 << 20) /* larger pieces keep all threads busy by themselves */

struct msx__lane {
    msx_device device;
    msx_model view;
};

/* The first failure, by number of piece, with its text: texts belong to the thread that failed. */
typedef struct failure {
    int64_t piece;
    msx_status status;
    char text[512];
} failure;

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

static int thread_number(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static msx_status open_lane(msx_model *m, msx__lane *lane) {
    msxk_memory memory = msx__device_memory(m->ctx);
    lane->device = *m->device;
    if (m->device->k->open(&lane->device.dev, 0, 1, &memory) != MSXK_OK)
        return msx__fail(m->ctx, MSX_E_NOMEM, "device %s: out of memory", m->device->name);
    int code = lane->device.k->set_precision(lane->device.dev, (int)m->device->precision);
    msx_status status = msx__device_status(&lane->device, code);
    if (status < 0) lane->device.k->close(lane->device.dev);
    return status;
}

static msx_status need_lanes(msx_model *m, int n) {
    if (n > m->n_lanes) {
        msx__lane *lanes = msx__realloc(m->ctx, m->lanes, (size_t)n, sizeof *lanes);
        if (!lanes) return MSX_E_NOMEM;
        m->lanes = lanes;
        for (; m->n_lanes < n; m->n_lanes++) {
            memset(lanes + m->n_lanes, 0, sizeof *lanes);
            MSX_TRY(open_lane(m, lanes + m->n_lanes));
        }
    }
    for (int i = 0; i < n; i++) {
        msx_model *view = &m->lanes[i].view;
        float *work = view->work, *shared = view->shared;
        int64_t floats = view->work_floats;
        *view = *m;
        view->device = &m->lanes[i].device;
        view->work = work;
        view->shared = shared;
        view->work_floats = floats;
    }
    return MSX_OK;
}

void msx__lanes_free(msx_model *m) {
    for (int i = 0; i < m->n_lanes; i++) {
        msx__lane *lane = m->lanes + i;
        msx__device_release(&lane->device, lane->view.work);
        msx__device_release(&lane->device, lane->view.shared);
        lane->device.k->close(lane->device.dev);
    }
    msx__free(m->ctx, m->lanes);
    m->lanes = NULL;
    m->n_lanes = 0;
}

static void note_failure(failure *first, const msx_ctx *ctx, int64_t piece, msx_status status) {
#pragma omp critical(msx_lane_failure)
    if (first->status == MSX_OK || piece < first->piece) {
        first->piece = piece;
        first->status = status;
        snprintf(first->text, sizeof first->text, "%s", msx_ctx_error(ctx));
    }
}

msx_status msx__run_pieces(msx_model *m, int64_t n, int64_t bytes, msx__piece_fn piece,
                           void *payload) {
    int lanes = lanes_for(m, n, bytes);
    if (lanes == 1) {
        for (int64_t i = 0; i < n; i++) MSX_TRY(piece(m, i, payload));
        return MSX_OK;
    }
    MSX_TRY(need_lanes(m, lanes));
    failure first = {0};
    atomic_bool stop = false;
#pragma omp parallel for num_threads(lanes) schedule(dynamic)
    for (int64_t i = 0; i < n; i++) {
        if (atomic_load(&stop)) continue;
        msx_status status = piece(&m->lanes[thread_number()].view, i, payload);
        if (status < 0) {
            note_failure(&first, m->ctx, i, status);
            atomic_store(&stop, true);
        }
    }
    if (first.status < 0) return msx__fail(m->ctx, first.status, "%s", first.text);
    return MSX_OK;
}
