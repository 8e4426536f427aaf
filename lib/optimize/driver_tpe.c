/* SPDX-License-Identifier: Apache-2.0 */
/* The tree-structured Parzen estimator: J. Bergstra, R. Bardenet, Y. Bengio, B. Kegl, "Algorithms for
 * hyper-parameter optimization", NIPS 2011; its multivariate form with the defaults of Optuna 5:
 * S. Watanabe, arXiv 2304.11127. Several objectives: Y. Ozaki et al., "Multiobjective tree-structured
 * Parzen estimator", JAIR 73, 2022.
 *
 * Parameters under one condition are modelled and proposed together, from the trials in which they were
 * active: those without a parent first, then what their values switch on. */
#include "optimize/drivers.h"
#include "optimize/fronts.h"
#include "optimize/parzen.h"

#include <math.h>
#include <string.h>

#define MOST_BELOW 25
#define MOST_ABOVE 2000 /* newest trials of the rest; older ones have faded */

enum option { STARTUP, CANDIDATES, GAMMA, PRIOR_WEIGHT, N_OPTIONS };

static const msx_option options_table[N_OPTIONS] = {
    [STARTUP] = {"startup", 10, 1, 1000000, "random trials before the estimator"},
    [CANDIDATES] = {"candidates", 24, 1, 1000000, "draws of which the most promising is proposed"},
    [GAMMA] = {"gamma", 0.1, 0.001, 1, "share of the trials, at most 25, that count as good"},
    [PRIOR_WEIGHT] = {"prior_weight", 1, 0.001, 1000, "of the uniform part, in trials"},
};

/* Good trials, and the others, by number. A running trial counts as one of the others, so that the next
 * proposal keeps away from it. */
typedef struct division {
    int64_t n_below, n_above, told;
    int64_t *below, *above;
} division;

static void split(division *v, const msx_history *h, const int64_t *told, const int64_t *order,
                  uint8_t *good, double gamma) {
    int64_t n = (int64_t)ceil(gamma * (double)v->told);
    if (n > MOST_BELOW) n = MOST_BELOW;
    memset(good, 0, (size_t)h->asked);
    for (int64_t i = 0; i < n; i++) good[told[order[i]]] = 1;
    for (int64_t t = 0; t < h->asked; t++)
        if (good[t]) v->below[v->n_below++] = t;
    for (int64_t t = h->asked - 1; t >= 0 && v->n_above < MOST_ABOVE; t--)
        if (!good[t]) v->above[v->n_above++] = t;
    for (int64_t i = 0; i < v->n_above / 2; i++) {
        int64_t swap = v->above[i];
        v->above[i] = v->above[v->n_above - 1 - i];
        v->above[v->n_above - 1 - i] = swap;
    }
}

static msx_status divide(division *v, const msx_history *h, double gamma) {
    const size_t n = (size_t)h->asked;
    msx_ctx *ctx = h->ctx;
    *v = (division){0};
    v->below = msx__alloc(ctx, 2 * n, sizeof *v->below);
    int64_t *told = msx__alloc(ctx, 3 * n, sizeof *told);
    const double **costs = msx__alloc(ctx, n, sizeof *costs);
    double *crowding = msx__alloc(ctx, n, sizeof *crowding);
    uint8_t *good = msx__alloc(ctx, n, 1);
    msx_status status = v->below && told && costs && crowding && good ? MSX_OK : MSX_E_NOMEM;
    if (status == MSX_OK) {
        v->above = v->below + n;
        for (int64_t t = 0; t < h->asked; t++)
            if (h->costs[t] && !h->failed[t]) {
                told[v->told] = t;
                costs[v->told++] = h->costs[t];
            }
        int64_t *order = told + n, *rank = order + n;
        status = msx__fronts_sort(ctx, costs, v->told, h->n_objectives, order, rank, crowding);
        if (status == MSX_OK) split(v, h, told, order, good, gamma);
    }
    msx__free(ctx, told);
    msx__free(ctx, costs);
    msx__free(ctx, crowding);
    msx__free(ctx, good);
    if (status != MSX_OK) msx__free(ctx, v->below);
    return status;
}

/* ---- one group of parameters ------------------------------------------------------------------------ */

/* Rows of those trials in which the group's first parameter is active. */
static int64_t active_rows(const msx_history *h, const int64_t *trials, int64_t n, int32_t first,
                           const double **rows) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(h->x[trials[i]][first])) rows[count++] = h->x[trials[i]];
    return count;
}

typedef struct room {
    int32_t *dims;        /* (d) */
    const double **rows;  /* (asked) */
    double *best, *place; /* (d) */
} room;

/* The candidate drawn from the density of good trials at which it exceeds that of the others most. */
static msx_status propose_group(const msx_history *h, const double *options, const division *v,
                                const room *r, int64_t d, msx_rng *rng, double *x) {
    const msx_space *s = h->space;
    msx__parzen good = {0}, other = {0};
    const double prior = options[PRIOR_WEIGHT];
    int64_t n = active_rows(h, v->below, v->n_below, r->dims[0], r->rows);
    MSX_TRY(msx__parzen_init(&good, s, r->dims, d, r->rows, n, prior));
    n = active_rows(h, v->above, v->n_above, r->dims[0], r->rows);
    msx_status status = msx__parzen_init(&other, s, r->dims, d, r->rows, n, prior);
    double highest = -INFINITY;
    for (int64_t c = 0; status == MSX_OK && c < (int64_t)options[CANDIDATES]; c++) {
        msx__parzen_draw(&good, rng, r->place);
        double ratio = msx__parzen_log(&good, r->place) - msx__parzen_log(&other, r->place);
        if (c && ratio <= highest) continue;
        highest = ratio;
        memcpy(r->best, r->place, (size_t)d * sizeof *r->best);
    }
    for (int64_t k = 0; status == MSX_OK && k < d; k++) {
        const msx__param *p = &s->params[r->dims[k]];
        x[r->dims[k]] =
            p->kind == MSX_PARAM_CATEGORICAL ? r->best[k] : msx__space_decode(p, r->best[k]);
    }
    msx__parzen_free(&good);
    msx__parzen_free(&other);
    return status;
}

static bool same_condition(const msx__param *a, const msx__param *b) {
    return a->parent == b->parent && (a->parent < 0 || !memcmp(a->when, b->when, sizeof a->when));
}

static msx_status propose_all(const msx_history *h, const double *options, const division *v,
                              const room *r, msx_rng *rng, double *x) {
    const msx_space *s = h->space;
    for (int64_t i = 0; i < s->n; i++) x[i] = NAN;
    for (int64_t i = 0; i < s->n; i++) {
        if (!isnan(x[i]) || !msx__space_active(s, x, i)) continue;
        int64_t d = 0;
        for (int64_t k = i; k < s->n; k++)
            if (same_condition(&s->params[i], &s->params[k])) r->dims[d++] = (int32_t)k;
        MSX_TRY(propose_group(h, options, v, r, d, rng, x));
    }
    return MSX_OK;
}

static msx_status propose(void *state, const msx_history *h, const double *options, msx_rng *rng,
                          int attempt, double *x, const char **origin, void *payload) {
    (void)state, (void)payload, (void)attempt;
    division v;
    room r = {0};
    MSX_TRY(divide(&v, h, options[GAMMA]));
    msx_status status = MSX_OK;
    if (v.told < (int64_t)options[STARTUP]) {
        msx__space_draw(h->space, rng, x);
        *origin = "random";
    } else {
        const size_t d = (size_t)h->space->n;
        r.dims = msx__alloc(h->ctx, d, sizeof *r.dims);
        r.rows = msx__alloc(h->ctx, (size_t)h->asked, sizeof *r.rows);
        r.best = msx__alloc(h->ctx, 2 * d, sizeof *r.best);
        status = r.dims && r.rows && r.best ? MSX_OK : MSX_E_NOMEM;
        if (status == MSX_OK) {
            r.place = r.best + d;
            status = propose_all(h, options, &v, &r, rng, x);
        }
        *origin = "model";
        msx__free(h->ctx, r.dims);
        msx__free(h->ctx, r.rows);
        msx__free(h->ctx, r.best);
    }
    msx__free(h->ctx, v.below);
    return status;
}

const msx_optimizer_driver msx__driver_tpe = {
    .struct_size = sizeof msx__driver_tpe,
    .name = "tpe",
    .about = "tree-structured Parzen estimator",
    .source = "J. Bergstra, R. Bardenet, Y. Bengio, B. Kegl, \"Algorithms for hyper-parameter "
              "optimization\", NIPS 2011",
    .options = options_table,
    .n_options = N_OPTIONS,
    .propose = propose,
};
