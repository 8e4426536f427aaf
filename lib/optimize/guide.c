/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/guide.h"

#include "optimize/parego.h"

#include <math.h>

#define FOREST_STREAM (UINT64_C(1) << 63) /* apart from the trials' own streams, 0, 1, 2, ... */
#define MIN_RANGE     1e-10
#define UTOPIA        0.1 /* of the range */
#define WEIGHINGS     4
/* Consecutive points of a Sobol sequence leave no holes, those so far apart are other ones. */
#define WEIGHING_STRIDE (UINT64_C(1) << 24)

msx_status msx__guide_init(msx__guide *g, const msx_history *h, bool several) {
    *g = (msx__guide){.ctx = h->ctx, .several = several, .fitted = -1};
    g->theta = msx__alloc(h->ctx, (size_t)h->n_objectives, sizeof *g->theta);
    return g->theta ? MSX_OK : MSX_E_NOMEM;
}

void msx__guide_free(msx__guide *g) {
    if (!g->ctx) return;
    msx__model_free(&g->model);
    msx__belief_free(&g->belief);
    msx__proposals_free(&g->proposals, g->ctx);
    msx__free(g->ctx, g->theta);
    *g = (msx__guide){0};
}

static void weigh(msx__guide *g, const msx_history *h, const msx__guide_options *options,
                  uint64_t index, msx_rng *rng) {
    if (options->even_weights)
        msx__parego_weights(rng->key, index, h->preference, h->n_objectives, g->theta);
    else
        msx__parego_weights_smac3(rng, h->n_objectives, g->theta);
}

/* ---- random forest ------------------------------------------------------------------------------------ */

/* Fit to the first n trials, with random numbers that only n decides: a forest that serves several
 * trials is the same when a replay has to train it late. */
static msx_status fit(msx__guide *g, const msx_history *h, const msx__guide_options *options,
                      int64_t n, uint64_t seed) {
    msx_rng rng;
    msx__rng_init(&rng, seed, FOREST_STREAM | (uint64_t)n);
    if (g->several) weigh(g, h, options, (uint64_t)n, &rng);
    g->fitted = -1;
    msx_status status = msx__model_fit(&g->model, h, n, g->several ? g->theta : NULL,
                                       &options->model, msx_rng_u64(&rng));
    if (status == MSX_OK) g->fitted = n;
    return status;
}

static msx_status ask_forest(msx__guide *g, const msx_history *h, const msx__guide_options *options,
                             msx_rng *rng) {
    int64_t initial = options->initial, every = options->retrain_after;
    int64_t n = initial + (h->asked - initial) / every * every;
    if (g->fitted != n || every == 1) {
        msx_status status = fit(g, h, options, n, rng->key);
        if (status != MSX_OK) return status;
    }
    return msx__acquire(&g->proposals, &g->model, h, &options->acquire, rng);
}

/* ---- Gaussian process --------------------------------------------------------------------------------- */

/* What has to be improved upon: the lowest mean of a row. */
static void aim_at_one(msx__utility *u, const msx__belief *b) {
    u->eta = INFINITY;
    for (int64_t i = 0; i < b->n; i++) u->eta = fmin(u->eta, b->score[i]);
}

/* Several costs are normalised and weighed; the lowest sum of a told trial (`score`) has to be improved
 * upon, and rows are as good as their weighed means. */
static void aim_at_several(msx__utility *u, msx__guide *g, const double *low, const double *high,
                           const double *score, int64_t told) {
    msx__belief *b = &g->belief;
    u->eta = INFINITY;
    for (int64_t i = 0; i < told; i++) u->eta = fmin(u->eta, score[i]);
    for (int k = 0; k < b->m; k++) {
        double range = high[k] - low[k];
        if (!(range > MIN_RANGE)) range = 1;
        u->theta[k] = g->theta[k];
        u->offset[k] = (b->centre[k] - low[k]) / range;
        u->slope[k] = b->spread[k] / range;
    }
    for (int64_t i = 0; i < b->n; i++) b->score[i] = msx__utility_weigh(u, b->means + i * b->m);
}

/* Costs are normalised by the range of the front, which the weights then cover evenly, or by that of all
 * trials, which finds the ends of the front; by turns, as neither does for itself. The ideal point lies a
 * little below the lowest costs: what is lowest in one of them could not be improved upon else. */
static void normalise(const msx__told *t, const double *front, bool whole, double *low,
                      double *high) {
    for (int k = 0; k < t->m; k++) {
        low[k] = whole ? t->low[k] : front[k];
        high[k] = whole ? t->high[k] : front[t->m + k];
        low[k] -= UTOPIA * (high[k] - low[k]);
    }
}

/* Weights whose best trial is known to be the best there is are passed over, a few times.
 * `room`: 4 m values. */
static msx_status ask_several(msx__guide *g, const msx_history *h,
                              const msx__guide_options *options, msx__told *t, msx__utility *u,
                              double *score, double *room, msx_rng *rng) {
    double *low = room, *high = low + t->m, *front = high + t->m;
    MSX_TRY(msx__told_front(t, front, front + t->m));
    for (uint64_t k = 0; k < WEIGHINGS; k++) {
        weigh(g, h, options, (uint64_t)h->asked + k * WEIGHING_STRIDE, rng);
        normalise(t, front, msx_rng_uniform(rng) < 0.5, low, high);
        for (int64_t i = 0; i < t->n; i++)
            score[i] = msx__parego_scalar(t->costs + i * t->m, low, high, g->theta, t->m);
        MSX_TRY(msx__belief_update(&g->belief, h, t, score));
        aim_at_several(u, g, low, high, score, t->n);
        MSX_TRY(msx__climb(&g->proposals, &g->belief, u, h, &options->climb, rng));
        if (!g->proposals.settled) break;
    }
    return MSX_OK;
}

static msx_status ask_one(msx__guide *g, const msx_history *h, const msx__guide_options *options,
                          msx__told *t, msx__utility *u, msx_rng *rng) {
    MSX_TRY(msx__belief_update(&g->belief, h, t, NULL));
    aim_at_one(u, &g->belief);
    return msx__climb(&g->proposals, &g->belief, u, h, &options->climb, rng);
}

static msx_status ask_process(msx__guide *g, const msx_history *h,
                              const msx__guide_options *options, msx_rng *rng) {
    const int m = h->n_objectives;
    msx__told t;
    msx__utility u = {0};
    if (!g->belief.ctx) MSX_TRY(msx__belief_init(&g->belief, h->space, m));
    MSX_TRY(msx__told_init(&t, h, h->asked));
    double *score = msx__alloc(g->ctx, (size_t)(t.n + 4 * m), sizeof *score);
    msx_status status = score ? msx__utility_init(&u, g->ctx, m, rng) : MSX_E_NOMEM;
    if (status == MSX_OK && !t.n) status = MSX_DONE_EXHAUSTED;
    if (status == MSX_OK)
        status = m > 1 ? ask_several(g, h, options, &t, &u, score, score + t.n, rng)
                       : ask_one(g, h, options, &t, &u, rng);
    msx__free(g->ctx, score);
    msx__utility_free(&u);
    msx__told_free(&t);
    return status;
}

msx_status msx__guide_consult(msx__guide *g, const msx_history *h,
                              const msx__guide_options *options, msx_rng *rng) {
    return (options->process ? ask_process : ask_forest)(g, h, options, rng);
}
