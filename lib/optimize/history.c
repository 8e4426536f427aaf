/* SPDX-License-Identifier: Apache-2.0 */
/* What an optimizer was asked and told. */
#include "optimize/optimizer.h"

#include <math.h>
#include <string.h>

/* Grow one array to `capacity` entries; on failure it keeps its size. */
static msx_status grow(msx_ctx *ctx, void **array, int64_t capacity, size_t size) {
    void *p = msx__realloc(ctx, *array, (size_t)capacity, size);
    if (!p) return MSX_E_NOMEM;
    *array = p;
    return MSX_OK;
}

msx_status msx__optimizer_append(msx_optimizer *o, const double *x) {
    if (o->n == o->capacity) {
        int64_t capacity = o->capacity ? 2 * o->capacity : 64;
        MSX_TRY(grow(o->ctx, (void **)&o->trials, capacity, sizeof *o->trials));
        MSX_TRY(grow(o->ctx, (void **)&o->x, capacity, sizeof *o->x));
        MSX_TRY(grow(o->ctx, (void **)&o->costs, capacity, sizeof *o->costs));
        MSX_TRY(grow(o->ctx, (void **)&o->failed, capacity, sizeof *o->failed));
        MSX_TRY(grow(o->ctx, (void **)&o->visible, capacity, sizeof *o->visible));
        o->capacity = capacity;
    }
    size_t n = (size_t)o->space->n;
    double *values = msx__alloc(o->ctx, n + (size_t)o->n_objectives, sizeof *values);
    if (!values) return MSX_E_NOMEM;
    memcpy(values, x, n * sizeof *values);
    o->trials[o->n] = (msx__trial){values, msx__space_hash(o->space, values), MSX__TRIAL_RUNNING};
    o->x[o->n] = values;
    o->costs[o->n] = NULL;
    o->failed[o->n] = 0;
    o->n++;
    return MSX_OK;
}

bool msx__optimizer_seen(const msx_optimizer *o, const double *x) {
    uint64_t hash = msx__space_hash(o->space, x);
    for (int64_t i = 0; i < o->n; i++)
        if (o->trials[i].hash == hash && msx_space_equal(o->space, o->x[i], x)) return true;
    return false;
}

void msx__optimizer_finish(msx_optimizer *o, int64_t trial, const double *costs) {
    msx__trial *t = &o->trials[trial];
    if (!costs) {
        t->state = MSX__TRIAL_FAILED;
        o->failed[trial] = 1;
        o->costs[trial] = o->worst; /* 0 until something succeeds: all alike teach nothing */
        return;
    }
    double *kept = t->values + o->space->n;
    for (int k = 0; k < o->n_objectives; k++) {
        kept[k] = costs[k];
        if (!o->any_worst || costs[k] > o->worst[k]) o->worst[k] = costs[k];
    }
    o->any_worst = true;
    t->state = MSX__TRIAL_OK;
    o->costs[trial] = kept;
}

msx_status msx_optimizer_tell(msx_optimizer *o, int64_t trial, const double *costs) {
    if (!o) return MSX_E_ARG;
    if (trial < 0 || trial >= o->n)
        return msx__fail(o->ctx, MSX_E_ARG, "optimizer: trial %" PRId64 " was not asked for",
                         trial);
    if (o->trials[trial].state != MSX__TRIAL_RUNNING)
        return msx__fail(o->ctx, MSX_E_ARG, "optimizer: trial %" PRId64 " was told already", trial);
    for (int k = 0; costs && k < o->n_objectives; k++)
        if (!isfinite(costs[k]))
            return msx__fail(o->ctx, MSX_E_ARG,
                             "optimizer: cost %d of trial %" PRId64
                             " is not finite; tell NULL for a failed trial",
                             k, trial);
    msx__optimizer_finish(o, trial, costs);
    return MSX_OK;
}

int64_t msx_optimizer_trials(const msx_optimizer *o) {
    return o ? o->n : 0;
}

const double *msx_optimizer_trial_x(const msx_optimizer *o, int64_t trial) {
    return o && trial >= 0 && trial < o->n ? o->x[trial] : NULL;
}

const double *msx_optimizer_trial_costs(const msx_optimizer *o, int64_t trial) {
    if (!o || trial < 0 || trial >= o->n || o->trials[trial].state != MSX__TRIAL_OK) return NULL;
    return o->costs[trial];
}

int64_t msx_optimizer_best(const msx_optimizer *o) {
    int64_t best = -1;
    for (int64_t i = 0; o && i < o->n; i++)
        if (o->trials[i].state == MSX__TRIAL_OK && (best < 0 || o->costs[i][0] < o->costs[best][0]))
            best = i;
    return best;
}

/* The generator of a trial is (seed, trial number), so its state is those two. The other two words
 * digest the configurations and the outcomes: a store whose history was tampered with, or belongs to
 * another space, is noticed. */
void msx_optimizer_rng_state(const msx_optimizer *o, uint64_t out[4]) {
    if (!out) return;
    memset(out, 0, 4 * sizeof *out);
    if (!o) return;
    out[0] = o->seed;
    out[1] = (uint64_t)o->n;
    for (int64_t i = 0; i < o->n; i++) {
        uint64_t words[3] = {out[2], o->trials[i].hash, 0};
        out[2] = msx__hash64(words, 2 * sizeof *words);
        words[0] = out[3];
        words[1] = (uint64_t)o->trials[i].state;
        for (int k = 0; k < o->n_objectives; k++) {
            if (o->trials[i].state == MSX__TRIAL_OK) memcpy(&words[2], &o->costs[i][k], 8);
            out[3] = words[0] = msx__hash64(words, sizeof words);
        }
    }
}
