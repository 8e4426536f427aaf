/* SPDX-License-Identifier: Apache-2.0 */
/* NSGA-II: K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and elitist multiobjective genetic
 * algorithm: NSGA-II", IEEE Trans. Evol. Comput. 6, 2002; simulated binary crossover of K. Deb,
 * R. Agrawal, Complex Systems 9, 1995; polynomial mutation of K. Deb, M. Goyal, 1996.
 *
 * Trials are cut into generations by their number. The parents of a generation are what elitist selection
 * leaves of all generations before it, found anew from the history for each trial: there is no
 * population to save. Running and failed trials are no parents. */
#include "optimize/drivers.h"
#include "optimize/fronts.h"
#include "optimize/sobol.h"

#include <math.h>
#include <string.h>

#define MIN_POPULATION 12
#define MAX_POPULATION 100
#define GENERATIONS    8 /* within the budget, when the population follows from it */
#define SAME           1e-14

enum option { POPULATION, CROSSOVER, CROSSOVER_INDEX, MUTATION_INDEX, MUTATIONS, N_OPTIONS };

static const msx_option options_table[N_OPTIONS] = {
    [POPULATION] = {"population", 0, 0, 100000,
                    "trials of a generation; 0: an eighth of the trials, 12 to 100"},
    [CROSSOVER] = {"crossover", 0.9, 0, 1, "probability of a second parent"},
    [CROSSOVER_INDEX] = {"crossover_index", 15, 0, 1000,
                         "of simulated binary crossover: higher stays closer to the parents"},
    [MUTATION_INDEX] = {"mutation_index", 20, 0, 1000,
                        "of polynomial mutation: higher makes smaller steps"},
    [MUTATIONS] = {"mutations", 1, 0, 1000, "expected number of mutated parameters"},
};

static int64_t population_size(const msx_history *h, const double *options) {
    if (options[POPULATION] >= 1) return (int64_t)options[POPULATION];
    int64_t n = h->n_trials / GENERATIONS;
    return n < MIN_POPULATION ? MIN_POPULATION : n > MAX_POPULATION ? MAX_POPULATION : n;
}

/* ---- selection ------------------------------------------------------------------------------------ */

typedef struct selection {
    int64_t *trials, n;   /* parents, then room for one more generation */
    const double **costs; /* of those */
    int64_t *order, *rank, *kept;
    double *crowding;
} selection;

/* The `size` best of all trials of the generations before that of trial h->asked. */
static msx_status select_parents(selection *s, const msx_history *h, int64_t size) {
    const int64_t last = h->asked / size * size;
    s->n = 0;
    for (int64_t begin = 0; begin < last; begin += size) {
        for (int64_t t = begin; t < begin + size; t++)
            if (h->costs[t] && !h->failed[t]) s->trials[s->n++] = t;
        for (int64_t i = 0; i < s->n; i++) s->costs[i] = h->costs[s->trials[i]];
        MSX_TRY(msx__fronts_sort(h->ctx, s->costs, s->n, h->n_objectives, s->order, s->rank,
                                 s->crowding));
        int64_t keep = s->n < size ? s->n : size;
        for (int64_t i = 0; i < keep; i++) s->kept[i] = s->trials[s->order[i]];
        memcpy(s->trials, s->kept, (size_t)keep * sizeof *s->trials);
        s->n = keep;
    }
    return MSX_OK;
}

/* Binary tournament; parents are sorted best first, by front and then by crowding. */
static const double *tournament(const selection *s, const msx_history *h, msx_rng *rng) {
    uint64_t a = msx_rng_below(rng, (uint64_t)s->n), b = msx_rng_below(rng, (uint64_t)s->n);
    return h->x[s->trials[a < b ? a : b]];
}

/* ---- variation ------------------------------------------------------------------------------------ */

/* One of the two children of a and b, in [0, 1], by simulated binary crossover. */
static double cross(double a, double b, double index, msx_rng *rng) {
    double u = msx_rng_uniform(rng);
    bool second = msx_rng_uniform(rng) < 0.5;
    if (fabs(a - b) < SAME) return a;
    double low = fmin(a, b), high = fmax(a, b), room = second ? 1 - high : low;
    double beta = 1 + 2 * room / (high - low), alpha = 2 - pow(beta, -(index + 1));
    double spread = u <= 1 / alpha ? pow(u * alpha, 1 / (index + 1))
                                   : pow(1 / (2 - u * alpha), 1 / (index + 1));
    return fmin(fmax(0.5 * (low + high + (second ? spread : -spread) * (high - low)), 0), 1);
}

static double mutate(double x, double index, msx_rng *rng) {
    double u = msx_rng_uniform(rng), power = 1 / (index + 1), step;
    if (u < 0.5)
        step = pow(2 * u + (1 - 2 * u) * pow(1 - x, index + 1), power) - 1;
    else
        step = 1 - pow(2 * (1 - u) + (2 * u - 1) * pow(x, index + 1), power);
    return fmin(fmax(x + step, 0), 1);
}

/* Parameters of a child in order, so that parents are decided before what depends on them. One that only
 * one parent has comes from there; one that neither has is drawn. */
static void breed(const msx_history *h, const double *options, const double *a, const double *b,
                  msx_rng *rng, double *x) {
    const msx_space *s = h->space;
    int64_t active = 0;
    for (int64_t i = 0; i < s->n; i++) active += !isnan(a[i]);
    const double rate = options[MUTATIONS] / (double)(active ? active : 1);
    for (int64_t i = 0; i < s->n; i++) {
        const msx__param *p = &s->params[i];
        x[i] = NAN;
        if (!msx__space_active(s, x, i)) continue;
        bool choice = p->kind == MSX_PARAM_CATEGORICAL, changed = msx_rng_uniform(rng) < rate;
        if ((isnan(a[i]) && isnan(b[i])) || (choice && changed)) {
            x[i] = msx__space_quantile(p, msx_rng_uniform(rng));
            continue;
        }
        bool from_b = isnan(a[i]) || (!isnan(b[i]) && msx_rng_uniform(rng) < 0.5);
        x[i] = from_b ? b[i] : a[i];
        if (choice || msx__space_values(p) < 2) continue;
        double u = msx__space_encode(p, x[i]);
        /* As in Deb's program, half of the numbers that both parents have are crossed. */
        if (!isnan(a[i]) && !isnan(b[i]) && msx_rng_uniform(rng) < 0.5)
            u = cross(msx__space_encode(p, a[i]), msx__space_encode(p, b[i]),
                      options[CROSSOVER_INDEX], rng);
        if (changed) u = mutate(u, options[MUTATION_INDEX], rng);
        x[i] = msx__space_decode(p, u);
    }
}

static msx_status propose(void *state, const msx_history *h, const double *options, msx_rng *rng,
                          int attempt, double *x, const char **origin, void *payload) {
    (void)state, (void)payload;
    const int64_t size = population_size(h, options);
    if (h->asked < size && attempt == 0) {
        msx__space_sobol(h->space, rng->key, (uint64_t)h->asked, x);
        *origin = "sobol";
        return MSX_OK;
    }
    const size_t room = (size_t)(2 * size);
    selection s = {0};
    s.trials = msx__alloc(h->ctx, 4 * room, sizeof *s.trials);
    s.costs = msx__alloc(h->ctx, room, sizeof *s.costs);
    s.crowding = msx__alloc(h->ctx, room, sizeof *s.crowding);
    msx_status status = s.trials && s.costs && s.crowding ? MSX_OK : MSX_E_NOMEM;
    if (status == MSX_OK) {
        s.order = s.trials + room;
        s.rank = s.order + room;
        s.kept = s.rank + room;
        status = select_parents(&s, h, size);
    }
    if (status == MSX_OK && s.n) {
        const double *a = tournament(&s, h, rng), *b = tournament(&s, h, rng);
        breed(h, options, a, msx_rng_uniform(rng) < options[CROSSOVER] ? b : a, rng, x);
        *origin = "model";
    } else if (status == MSX_OK) {
        msx__space_draw(h->space, rng, x);
        *origin = "random";
    }
    msx__free(h->ctx, s.trials);
    msx__free(h->ctx, s.costs);
    msx__free(h->ctx, s.crowding);
    return status;
}

const msx_optimizer_driver msx__driver_nsga2 = {
    .struct_size = sizeof msx__driver_nsga2,
    .name = "nsga2",
    .about = "genetic algorithm with non-dominated sorting and crowding",
    .source = "K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, \"A fast and elitist multiobjective "
              "genetic algorithm: NSGA-II\", IEEE Trans. Evol. Comput. 6, 2002",
    .options = options_table,
    .n_options = N_OPTIONS,
    .propose = propose,
};
