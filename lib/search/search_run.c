/* SPDX-License-Identifier: Apache-2.0 */
/* The search loop: ask, merge, segment, count, tell, store.
 *
 * A trial is written when it is finished and not before, so a kill loses at most the one in flight.
 * The optimizer is rebuilt from the stored trials in every run; what it proposes is a function of
 * them, so the continuation is the one an uninterrupted run would have had. */
#include "search/search.h"

#include <medsamix/sys/optimizer_driver.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORKER_NAME 96

typedef struct loop {
    msx_search *s;
    msx_optimizer *optimizer;
    int n_objectives;
    char worker[WORKER_NAME];
    double *x;
    msx__search_outcome outcome;
    uint64_t history[MSX__STORE_HISTORY_WORDS]; /* of the trial in work */
    int64_t best;                               /* trial of the lowest mean cost; -1: none */
} loop;

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* "host:process:thread" */
static void name_worker(char out[WORKER_NAME]) {
    char host[WORKER_NAME - 32] = "";
    if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "unknown");
    snprintf(out, WORKER_NAME, "%s:%ld:0", host, (long)getpid());
}

/* An optimizer of one objective sees the mean over the tasks. */
static const double *objectives(const loop *l, const double *costs, double *mean) {
    if (!costs || l->n_objectives == l->s->n_tasks) return costs;
    *mean = 0;
    for (int64_t t = 0; t < l->s->n_tasks; t++) *mean += costs[t];
    *mean /= (double)l->s->n_tasks;
    return mean;
}

/* ---- beginning --------------------------------------------------------------------------------- */

typedef struct queue {
    loop *l;
    double *x; /* configurations enqueued so far, one after the other */
    int64_t n;
} queue;

static msx_status enqueue_once(queue *q, const double *x) {
    const msx_space *space = q->l->s->space.space;
    int64_t width = msx_space_count(space);
    for (int64_t i = 0; i < q->n; i++)
        if (msx_space_equal(space, q->x + i * width, x)) return MSX_OK;
    memcpy(q->x + q->n++ * width, x, (size_t)width * sizeof *x);
    return msx_optimizer_enqueue(q->l->optimizer, x);
}

/* First trials: every model alone, every method with its defaults everywhere, the default
 * configuration. So the result is never worse on the calibration images than any of them. */
static msx_status enqueue_first(loop *l) {
    const msx__merge_space *space = &l->s->space;
    size_t width = (size_t)msx_space_count(space->space);
    queue q = {.l = l};
    q.x = msx__alloc(l->s->ctx, (space->n_models + space->n_methods + 1) * width, sizeof *q.x);
    if (!q.x) return MSX_E_NOMEM;
    msx_status status = MSX_OK;
    for (size_t i = 0; status >= 0 && i < space->n_models; i++)
        if (msx__merge_space_single(space, i, l->x)) status = enqueue_once(&q, l->x);
    for (size_t i = 0; status >= 0 && i < space->n_methods; i++)
        if (msx__merge_space_uniform(space, space->methods[i]->name, l->x))
            status = enqueue_once(&q, l->x);
    msx_space_default(space->space, l->x);
    if (status >= 0) status = enqueue_once(&q, l->x);
    msx__free(l->s->ctx, q.x);
    return status;
}

static msx_status replay(loop *l) {
    msx_search *s = l->s;
    double mean;
    for (int64_t i = 0; i < s->n_trials; i++) {
        uint64_t state[MSX__STORE_HISTORY_WORDS];
        if (i == s->n_trials - 1) {
            msx_optimizer_rng_state(l->optimizer, state);
            if (memcmp(state, s->history, sizeof state) != 0)
                return msx__fail(s->ctx, MSX_E_STORE,
                                 "%s: the last trial does not follow from those before it: the "
                                 "file is damaged or of another version; start a new store",
                                 s->options.store);
        }
        MSX_TRY(msx_optimizer_replay(l->optimizer, s->trials[i].x,
                                     objectives(l, s->trials[i].costs, &mean)));
    }
    return MSX_OK;
}

static msx_status begin(loop *l) {
    msx_search *s = l->s;
    const msx_optimizer_driver *d = msx_optimizer_driver_find(s->ctx, s->optimizer_name);
    if (!d) return msx__fail(s->ctx, MSX_E_NOTFOUND, "optimizer '%s' is gone", s->optimizer_name);
    l->n_objectives = d->max_objectives == 1 ? 1 : (int)s->n_tasks;
    l->x = msx__alloc(s->ctx, (size_t)msx_space_count(s->space.space), sizeof *l->x);
    l->outcome.costs = msx__alloc(s->ctx, (size_t)s->n_tasks, sizeof *l->outcome.costs);
    l->outcome.dice = msx__alloc(s->ctx, (size_t)s->evaluator->n_items, sizeof *l->outcome.dice);
    if (!l->x || !l->outcome.costs || !l->outcome.dice) return MSX_E_NOMEM;
    MSX_TRY(msx_optimizer_create(&l->optimizer, s->ctx, s->optimizer_name, s->space.space,
                                 l->n_objectives, s->design_trials, (uint64_t)s->options.seed));
    for (size_t i = 0; i < s->options.n_driver; i++)
        MSX_TRY(
            msx_optimizer_set(l->optimizer, s->options.driver[i].key, s->options.driver[i].value));
    MSX_TRY(enqueue_first(l));
    MSX_TRY(replay(l));
    l->best = msx_search_best(s);
    return MSX_OK;
}

/* ---- one trial --------------------------------------------------------------------------------- */

/* Costs of the configuration in l->x; *failed when the merge is of no use, which is a result too. */
static msx_status evaluate(loop *l, bool *failed) {
    msx_plan *plan;
    MSX_TRY(msx__merge_space_plan(&plan, &l->s->space, l->x));
    MSX_TRY(msx__search_apply(&l->s->worker, plan));
    msx_status status = msx__search_costs(&l->s->worker, &l->outcome);
    *failed = status == MSX_E_FORMAT;
    if (status < 0 && !*failed) return status;
    for (int64_t t = 0; !*failed && t < l->s->n_tasks; t++)
        *failed = !isfinite(l->outcome.costs[t]);
    return MSX_OK;
}

static msx_status keep(loop *l, int64_t number, const double *costs, double seconds) {
    msx_search *s = l->s;
    const msx__search_outcome *o = &l->outcome;
    double mean = NAN, finished = now(CLOCK_REALTIME);
    for (int64_t t = 0; costs && t < s->n_tasks; t++) mean = (t ? mean : 0) + costs[t];
    msx__store_trial row = {
        .number = number,
        .state = costs ? MSX__STORE_DONE : MSX__STORE_FAILED,
        .origin = msx_optimizer_origin(l->optimizer),
        .x = l->x,
        .costs = costs,
        .dice = costs ? o->dice : NULL,
        .plan = msx_plan_text(s->worker.previous),
        .error = costs ? NULL : "the network's output is not finite",
        .mean_cost = mean / (double)s->n_tasks,
        .worker = l->worker,
        .attempt = 1,
        .started = finished - seconds,
        .finished = finished,
        .seconds = seconds,
        .images = costs ? o->images : 0,
        .blocks_run = costs ? o->blocks_run : 0,
        .blocks_reused = costs ? o->blocks_reused : 0,
    };
    if (!row.plan) return MSX_E_NOMEM;
    memcpy(row.history, l->history, sizeof row.history);
    MSX_TRY(msx__store_add_trial(s->store, &row));
    memcpy(s->history, row.history, sizeof s->history);
    return msx__search_add_trial(s, l->x, costs, row.origin);
}

static msx_status run_trial(loop *l) {
    double began = now(CLOCK_MONOTONIC);
    int64_t number;
    msx_optimizer_rng_state(l->optimizer, l->history);
    msx_status status = msx_optimizer_ask(l->optimizer, l->x, &number);
    if (status != MSX_OK) return status;
    bool failed;
    MSX_TRY(evaluate(l, &failed));
    const double *costs = failed ? NULL : l->outcome.costs;
    double mean;
    MSX_TRY(msx_optimizer_tell(l->optimizer, number, objectives(l, costs, &mean)));
    MSX_TRY(keep(l, number, costs, now(CLOCK_MONOTONIC) - began));
    const msx__trial *t = &l->s->trials[number];
    if (costs && (l->best < 0 || t->mean < l->s->trials[l->best].mean)) {
        l->best = number;
        msx__log(l->s->ctx, MSX_LOG_DEBUG, "trial %" PRId64 " (%s): mean Dice %.4f", number,
                 t->origin, 1 - t->mean);
    }
    return MSX_OK;
}

static msx_status report(const loop *l) {
    const msx_search *s = l->s;
    double best = l->best < 0 ? NAN : 1 - s->trials[l->best].mean;
    return msx__progress(s->ctx, "search", s->n_trials, s->options.trials, best);
}

static msx_status run(loop *l) {
    MSX_TRY(begin(l));
    MSX_TRY(report(l));
    while (l->s->n_trials < l->s->options.trials) {
        MSX_TRY(msx__check_cancel(l->s->ctx));
        msx_status status = run_trial(l);
        if (status != MSX_OK) return status;
        MSX_TRY(report(l));
    }
    return MSX_DONE_TRIALS;
}

msx_status msx_search_run(msx_search *s) {
    if (!s) return MSX_E_ARG;
    MSX_TRY(msx__search_prepare(s));
    if (s->n_trials >= s->options.trials) return MSX_DONE_TRIALS;
    loop l = {.s = s, .best = -1};
    name_worker(l.worker);
    msx_status status = run(&l);
    msx_optimizer_free(l.optimizer);
    msx__free(s->ctx, l.x);
    msx__free(s->ctx, l.outcome.costs);
    msx__free(s->ctx, l.outcome.dice);
    return status;
}
