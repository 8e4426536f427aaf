/* SPDX-License-Identifier: Apache-2.0 */
/* Trials for evaluators of the caller: ask leases one, tell writes what it is worth. The store decides
 * as it does among the workers of a run, so both may work on one search. */
#include "search/search_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CALLER "outside" /* the worker's name begins with it: no process whose end could be seen */

/* What is kept between two asks, so that the optimizer need not be rebuilt. */
typedef struct msx__asker {
    msx__run run;
    msx__runner runner;
} msx__asker;

void msx__search_free_asker(msx_search *s) {
    msx__asker *a = s->asker;
    if (!a) return;
    msx__proposer_free(&a->run.proposer);
    msx__run_free_locks(&a->run);
    msx__free(s->ctx, a);
    s->asker = NULL;
}

static msx_status make_asker(msx_search *s) {
    msx__asker *a = msx__calloc(s->ctx, 1, sizeof *a);
    if (!a) return MSX_E_NOMEM;
    a->run = (msx__run){.s = s, .runners = &a->runner, .n_runners = 1, .best = -1};
    a->runner = (msx__runner){.run = &a->run, .number = -1};
    snprintf(a->runner.name, sizeof a->runner.name, CALLER "%s%s", *s->options.worker ? ":" : "",
             s->options.worker);
    msx__run_init_locks(&a->run);
    s->asker = a;
    msx_status status = msx__proposer_create(&a->run.proposer, s);
    if (status < 0) msx__search_free_asker(s);
    return status;
}

msx_status msx_search_ask(msx_search *s, int64_t *trial) {
    if (!s) return MSX_E_ARG;
    if (!trial) return msx__fail(s->ctx, MSX_E_ARG, "msx_search_ask: no place for the number");
    *trial = -1;
    MSX_TRY(msx__search_prepare(s));
    if (!s->asker) MSX_TRY(make_asker(s));
    int64_t known;
    msx_status status;
    do { /* another may be faster; there may be more to propose then */
        MSX_TRY(msx__check_cancel(s->ctx));
        known = s->n_trials;
        status = msx__run_look(&s->asker->runner, trial);
        if (status == MSX_OK && *trial < 0) MSX_TRY(msx__search_read_trials(s));
    } while (status == MSX_OK && *trial < 0 && s->n_trials > known);
    return status == MSX_OK && *trial < 0 ? MSX_DONE_WAIT : status;
}

/* ---- telling --------------------------------------------------------------------------------------- */

static msx_status check_costs(const msx_search *s, const double *costs, double *mean) {
    *mean = 0;
    for (int64_t t = 0; t < s->n_tasks; t++) {
        if (!(costs[t] >= 0 && costs[t] <= 1))
            return msx__fail(s->ctx, MSX_E_ARG,
                             "task '%s': the cost is %g; costs are 1 - Dice, from 0 to 1, and a "
                             "trial without them has failed",
                             s->task_names[t], costs[t]);
        *mean += costs[t] / (double)s->n_tasks;
    }
    return MSX_OK;
}

msx_status msx_search_tell(msx_search *s, int64_t trial, const double *costs, const char *error) {
    if (!s) return MSX_E_ARG;
    MSX_TRY(msx__search_prepare(s));
    MSX_TRY(msx__search_read_trials(s));
    double mean = NAN;
    if (costs) MSX_TRY(check_costs(s, costs, &mean));
    if (trial < 0 || trial >= s->n_trials)
        return msx__fail(s->ctx, MSX_E_ARG, "trial %" PRId64 " has not been asked for", trial);
    const msx__trial *t = &s->trials[trial];
    if (t->state != MSX__STORE_RUNNING)
        return msx__fail(s->ctx, MSX_E_ARG, "trial %" PRId64 " has been told already", trial);
    msx__store_trial row = {
        .number = trial,
        .state = costs ? MSX__STORE_DONE : MSX__STORE_FAILED,
        .costs = costs,
        .worker = t->worker,
        .attempt = t->attempt,
        .error = costs   ? NULL
                 : error ? error
                         : "the evaluation failed",
        .mean_cost = mean,
        .finished = msx__store_now(s->store),
        .seconds = NAN,
    };
    bool mine;
    MSX_TRY(msx__store_finish(s->store, &row, &mine));
    if (mine) return msx__search_take_trial(s, &row);
    return msx__fail(s->ctx, MSX_E_ARG,
                     "trial %" PRId64 " was told by another, or taken over, at this moment", trial);
}
