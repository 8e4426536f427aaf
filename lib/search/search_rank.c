/* SPDX-License-Identifier: Apache-2.0 */
/* Which trials are best: by mean cost, then by the worst regret over the tasks, then the earliest. */
#include "search/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct rank {
    double mean, regret;
    int64_t trial;
} rank;

/* Trials that were stopped early have running costs, so they are never the best. */
static bool is_done(const msx__trial *t) {
    return t->state == MSX__STORE_DONE && t->costs;
}

/* Lowest cost of a task over the first n trials. */
static double best_of_task(const msx_search *s, int64_t n, int64_t task) {
    double best = INFINITY;
    for (int64_t i = 0; i < n; i++)
        if (is_done(&s->trials[i]) && s->trials[i].costs[task] < best)
            best = s->trials[i].costs[task];
    return best;
}

/* How far a trial is behind the best of a task, on the task where that is most. */
static double worst_regret(const msx_search *s, int64_t n, const msx__trial *t) {
    double worst = 0;
    for (int64_t k = 0; k < s->n_tasks; k++) {
        double regret = t->costs[k] - best_of_task(s, n, k);
        if (regret > worst) worst = regret;
    }
    return worst;
}

static int by_rank(const void *a, const void *b) {
    const rank *x = a, *y = b;
    if (x->mean != y->mean) return x->mean < y->mean ? -1 : 1;
    if (x->regret != y->regret) return x->regret < y->regret ? -1 : 1;
    return x->trial < y->trial ? -1 : x->trial > y->trial;
}

/* Regret decides ties only, so it is computed for ties only. */
int64_t msx__search_best_of(const msx_search *s, int64_t n) {
    int64_t best = -1, ties = 0;
    for (int64_t i = 0; i < n; i++) {
        const msx__trial *t = &s->trials[i];
        if (!is_done(t) || (best >= 0 && t->mean > s->trials[best].mean)) continue;
        ties = best >= 0 && t->mean == s->trials[best].mean ? ties + 1 : 0;
        if (ties == 0) best = i;
    }
    if (ties == 0) return best;
    rank least = {.mean = INFINITY};
    double mean = s->trials[best].mean;
    for (int64_t i = best; i < n; i++) {
        if (!is_done(&s->trials[i]) || s->trials[i].mean != mean) continue;
        rank r = {mean, worst_regret(s, n, &s->trials[i]), i};
        if (by_rank(&r, &least) < 0) least = r;
    }
    return least.trial;
}

int64_t msx_search_best(const msx_search *s) {
    return s ? msx__search_best_of(s, s->n_trials) : -1;
}

int64_t msx_search_front(const msx_search *s, int64_t *out, int64_t n) {
    if (!s || s->n_trials == 0) return 0;
    size_t trials = (size_t)s->n_trials, tasks = (size_t)s->n_tasks;
    double *costs = msx__alloc(s->ctx, trials * tasks, sizeof *costs);
    uint8_t *member = msx__alloc(s->ctx, trials, 1);
    rank *ranks = msx__alloc(s->ctx, trials, sizeof *ranks);
    int64_t found = 0;
    if (costs && member && ranks) {
        for (size_t i = 0; i < trials; i++)
            for (size_t k = 0; k < tasks; k++)
                costs[i * tasks + k] = is_done(&s->trials[i]) ? s->trials[i].costs[k] : NAN;
        msx_pareto_front(costs, s->n_trials, s->n_tasks, member);
        for (int64_t i = 0; i < s->n_trials; i++)
            if (member[i] && is_done(&s->trials[i]))
                ranks[found++] =
                    (rank){s->trials[i].mean, worst_regret(s, s->n_trials, &s->trials[i]), i};
        if (found > 1) qsort(ranks, (size_t)found, sizeof *ranks, by_rank);
        for (int64_t i = 0; out && i < found && i < n; i++) out[i] = ranks[i].trial;
    }
    msx__free(s->ctx, costs);
    msx__free(s->ctx, member);
    msx__free(s->ctx, ranks);
    return found;
}
