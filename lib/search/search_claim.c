/* SPDX-License-Identifier: Apache-2.0 */
/* Which trial a worker runs next, and what becomes of it.
 *
 * The store decides: a new trial belongs to whoever writes its row first, a trial that was left behind
 * to whoever changes its row first, and a result counts only while the row is still its worker's. */
#include "search/search_run.h"

#include <math.h>
#include <string.h>
#include <time.h>

#define FIRST_WAIT 0.01 /* seconds between two looks at the store */
#define LAST_WAIT  0.5

/* ---- waiting --------------------------------------------------------------------------------------- */

/* Until a trial is finished in this process or some time has passed, in which another may have. */
static void wait_for_event(msx__run *run, double *wait) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)(*wait * 1e9);
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&run->event, &run->lock, &t);
    *wait = fmin(1.5 * *wait, LAST_WAIT);
}

static void say_that_it_waits(msx__run *run) {
    msx_search *s = run->s;
    if (run->told_wait || s->batch > 1 || s->free_order) return;
    run->told_wait = true;
    msx__log(
        s->ctx, MSX_LOG_INFO,
        "workers wait for each other: this search was begun with batch 1, one trial at a time");
}

/* ---- claiming -------------------------------------------------------------------------------------- */

static void hold(msx__runner *r, int64_t number, int64_t attempt) {
    pthread_mutex_lock(&r->run->beat_lock);
    r->number = number;
    r->attempt = attempt;
    pthread_mutex_unlock(&r->run->beat_lock);
}

static bool is_held_here(const msx__run *run, int64_t number) {
    for (int i = 0; i < run->n_runners; i++)
        if (run->runners[i].number == number) return true;
    return false;
}

/* Make the claimed trial the runner's: its configuration, its plan, and what it may see. */
static msx_status begin_trial(msx__runner *r, int64_t number, int64_t attempt) {
    msx_search *s = r->run->s;
    const msx__trial *t = &s->trials[number];
    hold(r, number, attempt);
    memcpy(r->x, t->x, (size_t)msx_space_count(s->space.space) * sizeof *r->x);
    if (s->options.racing)
        MSX_TRY(msx__search_meet(r->worker, msx__search_best_of(s, msx__visible_to(s, number))));
    return msx__merge_space_plan(&r->plan, &s->space, r->x);
}

/* Take over a trial whose lease has ended or whose worker is gone. */
static msx_status take_over(msx__runner *r, int64_t *taken) {
    msx_search *s = r->run->s;
    double now = msx__store_now(s->store);
    *taken = -1;
    for (int64_t i = 0; s->n_finished < s->n_trials && i < s->n_trials; i++) {
        msx__trial *t = &s->trials[i];
        if (t->state != MSX__STORE_RUNNING || is_held_here(r->run, i)) continue;
        if (t->lease > now && !msx__worker_is_gone(t->worker)) continue;
        bool mine;
        msx__store_trial row = {.number = i,
                                .state = MSX__STORE_RUNNING,
                                .worker = r->name,
                                .attempt = t->attempt + 1,
                                .lease = now + (double)s->options.lease,
                                .started = now};
        MSX_TRY(msx__store_take(s->store, &row, t->attempt, t->lease, &mine));
        if (!mine) continue;
        msx__log(s->ctx, row.attempt > 3 ? MSX_LOG_WARNING : MSX_LOG_INFO,
                 "trial %" PRId64 " was left by %s: attempt %" PRId64, i, t->worker, row.attempt);
        r->started_at = now;
        *taken = i;
        return msx__search_take_trial(s, &row);
    }
    return MSX_OK;
}

/* Proposing goes one at a time and often takes longer than a trial: meanwhile the others wait for it or
 * are about to, so it has the threads of all of them. */
static msx_status propose(const msx__runner *r, msx__store_trial *row) {
    msx__set_thread_share(0);
    msx_status status = msx__proposer_propose(&r->run->proposer, &row->origin, row->history);
    msx__set_thread_share(r->threads);
    return status;
}

/* Propose the next trial and write its row. @return MSX_OK with *number -1: another was faster. */
static msx_status begin_new(msx__runner *r, int64_t *number) {
    msx_search *s = r->run->s;
    const msx__proposer *p = &r->run->proposer;
    double now = msx__store_now(s->store);
    msx__store_trial row = {.number = s->n_trials,
                            .state = MSX__STORE_RUNNING,
                            .x = p->x,
                            .worker = r->name,
                            .attempt = 1,
                            .started = now};
    *number = -1;
    msx_status status = propose(r, &row);
    if (status != MSX_OK) return status;
    msx_plan *plan;
    MSX_TRY(msx__merge_space_plan(&plan, &s->space, p->x));
    row.plan = msx_plan_text(plan);
    row.lease = msx__store_now(s->store) + (double)s->options.lease;
    bool mine = false;
    status = row.plan ? msx__store_claim(s->store, &row, &mine) : MSX_E_NOMEM;
    msx_plan_free(plan);
    if (status < 0 || !mine) return status;
    r->started_at = now;
    *number = row.number;
    return msx__search_take_trial(s, &row);
}

bool msx__run_is_complete(const msx_search *s) {
    if (s->n_trials < s->options.trials) return false;
    for (int64_t i = 0; s->n_finished < s->n_trials && i < s->options.trials; i++)
        if (s->trials[i].state == MSX__STORE_RUNNING) return false;
    return true;
}

msx_status msx__run_look(msx__runner *r, int64_t *number) {
    msx_search *s = r->run->s;
    *number = -1;
    MSX_TRY(msx__search_read_trials(s));
    if (msx__run_is_complete(s)) return MSX_DONE_TRIALS;
    MSX_TRY(take_over(r, number));
    if (*number >= 0 || s->n_trials >= s->options.trials) return MSX_OK;
    if (!msx__proposer_ready(&r->run->proposer)) return MSX_OK;
    msx_status status = begin_new(r, number);
    if (status == MSX_DONE_EXHAUSTED && s->n_finished < s->n_trials) return MSX_OK;
    return status;
}

static msx_status claim(msx__runner *r) {
    msx__run *run = r->run;
    double wait = FIRST_WAIT;
    while (!run->stop) {
        MSX_TRY(msx__check_cancel(run->s->ctx));
        int64_t number, known = run->s->n_trials;
        msx_status status = msx__run_look(r, &number);
        if (status != MSX_OK) return status;
        if (number >= 0) return begin_trial(r, number, run->s->trials[number].attempt);
        if (run->s->n_trials > known) { /* another was faster; there may be more to propose */
            wait = FIRST_WAIT;
            continue;
        }
        say_that_it_waits(run);
        wait_for_event(run, &wait);
    }
    return MSX_DONE_TRIALS;
}

msx_status msx__run_claim(msx__runner *r) {
    pthread_mutex_lock(&r->run->lock);
    msx_status status = claim(r);
    pthread_mutex_unlock(&r->run->lock);
    return status;
}

/* ---- ending ---------------------------------------------------------------------------------------- */

static msx_status report(msx__run *run) {
    const msx_search *s = run->s;
    double best = run->best < 0 ? NAN : 1 - s->trials[run->best].mean;
    return msx__progress(s->ctx, "search", s->n_finished, s->options.trials, best);
}

static void note_best(msx__run *run, int64_t number) {
    const msx_search *s = run->s;
    const msx__trial *t = &s->trials[number];
    if (t->state != MSX__STORE_DONE || (run->best >= 0 && t->mean >= s->trials[run->best].mean))
        return;
    run->best = number;
    msx__log(s->ctx, MSX_LOG_DEBUG, "trial %" PRId64 " (%s): mean Dice %.4f", number, t->origin,
             1 - t->mean);
}

static msx_status finish(msx__runner *r, const msx__store_trial *row) {
    msx__run *run = r->run;
    bool mine;
    msx_status status = msx__store_finish(run->s->store, row, &mine);
    hold(r, -1, 0);
    MSX_TRY(status);
    if (mine)
        MSX_TRY(msx__search_take_trial(run->s, row));
    else
        msx__log(run->s->ctx, MSX_LOG_WARNING,
                 "trial %" PRId64 " was taken over by another worker; its result here is dropped",
                 row->number);
    note_best(run, row->number);
    pthread_cond_broadcast(&run->event);
    return report(run);
}

msx_status msx__run_finish(msx__runner *r, const char *error, double seconds) {
    const msx_search *s = r->run->s;
    const msx__search_outcome *o = &r->outcome;
    double sum = 0;
    for (int64_t t = 0; !error && t < s->n_tasks; t++) sum += o->costs[t];
    msx__store_trial row = {
        .number = r->number,
        .state = error      ? MSX__STORE_FAILED
                 : o->raced ? MSX__STORE_RACED
                            : MSX__STORE_DONE,
        .costs = error ? NULL : o->costs,
        .dice = error ? NULL : o->dice,
        .worker = r->name,
        .attempt = r->attempt,
        .error = error,
        .mean_cost = sum / (double)s->n_tasks,
        .finished = msx__store_now(s->store),
        .seconds = seconds,
        .images = error ? 0 : o->images,
        .blocks_run = error ? 0 : o->blocks_run,
        .blocks_reused = error ? 0 : o->blocks_reused,
    };
    pthread_mutex_lock(&r->run->lock);
    msx_status status = finish(r, &row);
    pthread_mutex_unlock(&r->run->lock);
    return status;
}

void msx__run_drop(msx__runner *r) {
    msx_search *s = r->run->s;
    pthread_mutex_lock(&r->run->lock);
    int64_t number = r->number, attempt = r->attempt;
    hold(r, -1, 0);
    bool mine;
    if (number >= 0 && msx__store_renew(s->store, number, r->name, attempt, 0, &mine) >= 0 && mine)
        s->trials[number].lease = 0;
    pthread_cond_broadcast(&r->run->event);
    pthread_mutex_unlock(&r->run->lock);
}
