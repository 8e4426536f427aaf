/* SPDX-License-Identifier: Apache-2.0 */
/* CMA-ES with categories (cma.c), restarted with twice the population when it has converged: A. Auger,
 * N. Hansen, "A restart CMA evolution strategy with increasing population size", CEC 2005.
 *
 * Trials are cut into generations by their number. The distribution follows from the finished
 * generations, whose trials are sorted by cost (failed ones last, equal ones by number); a trial is drawn
 * from what is known when it is asked. Taking in a history again therefore gives the same distribution. */
#include "optimize/cma.h"
#include "optimize/drivers.h"

#include <math.h>
#include <stdlib.h>

#define STREAM         (UINT64_C(1) << 62) /* of a generation, apart from the trials' own */
#define RESTARTED      (UINT64_C(1) << 61)
#define MAX_POPULATION 100000

enum option { POPULATION, SIGMA, RESTARTS, N_OPTIONS };

static const msx_option options_table[N_OPTIONS] = {
    [POPULATION] = {"population", 0, 0, MAX_POPULATION,
                    "trials of a generation; 0: 4 + 3 log(number of parameters)"},
    [SIGMA] = {"sigma", 0.25, 0.0001, 1, "first deviation of a number, as a share of its range"},
    [RESTARTS] = {"restarts", 1, 0, 1, "1: start again with twice the population when converged"},
};

typedef struct evolution {
    msx__cma cma;
    int64_t done;       /* trials in the generations taken in */
    int64_t generation; /* their number */
} evolution;

static msx_status create(void **state, const msx_history *h, const double *options, void *payload) {
    (void)payload;
    evolution *e = msx__calloc(h->ctx, 1, sizeof *e);
    if (!e) return MSX_E_NOMEM;
    msx_status status =
        msx__cma_init(&e->cma, h->space, (int64_t)options[POPULATION], options[SIGMA], NULL);
    if (status < 0) {
        msx__free(h->ctx, e);
        return status;
    }
    *state = e;
    return MSX_OK;
}

static void destroy(void *state, void *payload) {
    (void)payload;
    evolution *e = state;
    msx_ctx *ctx = e->cma.ctx;
    msx__cma_free(&e->cma);
    msx__free(ctx, e);
}

typedef struct ranked {
    double cost;
    int64_t trial;
} ranked;

static int by_cost(const void *a, const void *b) {
    const ranked *p = a, *q = b;
    if (p->cost != q->cost) return p->cost < q->cost ? -1 : 1;
    return (p->trial > q->trial) - (p->trial < q->trial);
}

static bool complete(const msx_history *h, int64_t begin, int64_t size) {
    if (begin + size > h->asked) return false;
    for (int64_t t = begin; t < begin + size; t++)
        if (!h->costs[t]) return false;
    return true;
}

static msx_status take_in(evolution *e, const msx_history *h, uint64_t seed) {
    const int64_t size = e->cma.population;
    ranked *rows = msx__alloc(h->ctx, (size_t)size, sizeof *rows);
    const double **x = msx__alloc(h->ctx, (size_t)size, sizeof *x);
    msx_status status = rows && x ? MSX_OK : MSX_E_NOMEM;
    if (status == MSX_OK) {
        for (int64_t i = 0; i < size; i++) {
            int64_t t = e->done + i;
            rows[i] = (ranked){h->failed[t] ? INFINITY : h->costs[t][0], t};
        }
        qsort(rows, (size_t)size, sizeof *rows, by_cost);
        for (int64_t i = 0; i < size; i++) x[i] = h->x[rows[i].trial];
        msx_rng rng;
        msx__rng_init(&rng, seed, STREAM | (uint64_t)e->generation);
        msx__cma_learn(&e->cma, x, rows[0].cost, &rng);
        e->done += size;
        e->generation++;
    }
    msx__free(h->ctx, rows);
    msx__free(h->ctx, x);
    return status;
}

static msx_status restart(evolution *e, const double *options, uint64_t seed) {
    msx__cma next;
    msx_rng rng;
    int64_t size = e->cma.population, wider = size <= MAX_POPULATION / 2 ? 2 * size : size;
    msx__rng_init(&rng, seed, STREAM | RESTARTED | (uint64_t)e->generation);
    MSX_TRY(msx__cma_init(&next, e->cma.space, wider, options[SIGMA], &rng));
    msx__cma_free(&e->cma);
    e->cma = next;
    return MSX_OK;
}

static msx_status propose(void *state, const msx_history *h, const double *options, msx_rng *rng,
                          int attempt, double *x, const char **origin, void *payload) {
    (void)attempt, (void)payload;
    evolution *e = state;
    for (;;) { /* a restart that lacked memory is made up for the next time */
        if (options[RESTARTS] >= 0.5 && msx__cma_converged(&e->cma))
            MSX_TRY(restart(e, options, rng->key));
        if (!complete(h, e->done, e->cma.population)) break;
        MSX_TRY(take_in(e, h, rng->key));
    }
    msx__cma_draw(&e->cma, rng, x);
    *origin = "model";
    return MSX_OK;
}

const msx_optimizer_driver msx__driver_cmaes = {
    .struct_size = sizeof msx__driver_cmaes,
    .name = "cmaes",
    .about = "evolution of a normal distribution, and of frequencies for choices",
    .source =
        "N. Hansen, \"The CMA evolution strategy: a tutorial\", arXiv 1604.00772; R. Hamano et "
        "al., \"CatCMA\", GECCO 2024",
    .max_objectives = 1,
    .options = options_table,
    .n_options = N_OPTIONS,
    .create = create,
    .destroy = destroy,
    .propose = propose,
};
