/* SPDX-License-Identifier: Apache-2.0 */
/* A run: threads that each claim a trial, merge, segment, count, write down, until there is nothing left.
 *
 * Nothing of a result is written before the trial is finished, so a kill loses at most the trials in
 * flight; their rows stay, and whoever runs next takes them over. */
#include "search/search_run.h"

#include "model/results.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NOT_FINITE "the network's output is not finite"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- one trial ------------------------------------------------------------------------------------- */

/* Costs of the plan; *failed when the merge is of no use, which is a result too. */
static msx_status evaluate(msx__runner *r, bool *failed) {
    const msx_search *s = r->run->s;
    msx_plan *plan = r->plan;
    r->plan = NULL;
    r->outcome.raced = false;
    msx__search_worker *w = r->worker;
    MSX_TRY(msx__search_apply(w, plan));
    msx_status status = msx__search_costs(w, s->options.racing ? &w->race : NULL, &r->outcome);
    *failed = status == MSX_E_FORMAT;
    if (status < 0 && !*failed) return status;
    for (int64_t t = 0; !*failed && t < s->n_tasks; t++) *failed = !isfinite(r->outcome.costs[t]);
    return MSX_OK;
}

static msx_status run_trial(msx__runner *r) {
    msx_status status = msx__run_claim(r);
    if (status != MSX_OK) return status;
    double began = now();
    bool failed;
    MSX_TRY(evaluate(r, &failed));
    return msx__run_finish(r, failed ? NOT_FINITE : NULL, now() - began);
}

/* ---- one thread ------------------------------------------------------------------------------------ */

static msx_status init_runner(msx__runner *r) {
    msx_search *s = r->run->s;
    size_t width = (size_t)msx_space_count(s->space.space);
    r->x = msx__alloc(s->ctx, width, sizeof *r->x);
    r->outcome.costs = msx__alloc(s->ctx, (size_t)s->n_tasks, sizeof *r->outcome.costs);
    r->outcome.dice = msx__alloc(s->ctx, (size_t)s->evaluator->n_items, sizeof *r->outcome.dice);
    return r->x && r->outcome.costs && r->outcome.dice ? MSX_OK : MSX_E_NOMEM;
}

static void free_runner(msx__runner *r) {
    msx_ctx *ctx = r->run->s->ctx;
    msx__search_worker_free(&r->own);
    msx_plan_free(r->plan);
    msx__free(ctx, r->x);
    msx__free(ctx, r->outcome.costs);
    msx__free(ctx, r->outcome.dice);
}

/* The text of a failure is its thread's, so it is kept for the caller's thread. */
static void stop_all(msx__runner *r, msx_status status) {
    msx__run *run = r->run;
    r->status = status;
    if (status < 0) snprintf(r->text, sizeof r->text, "%s", msx_ctx_error(run->s->ctx));
    pthread_mutex_lock(&run->lock);
    run->stop = true;
    pthread_cond_broadcast(&run->event);
    pthread_mutex_unlock(&run->lock);
}

static void *run_trials(void *payload) {
    msx__runner *r = payload;
    msx__set_thread_share(r->threads);
    msx_status status = MSX_OK;
    while (status == MSX_OK) status = run_trial(r);
    if (status < 0) {
        snprintf(r->text, sizeof r->text, "%s", msx_ctx_error(r->run->s->ctx));
        msx__run_drop(r);
    }
    stop_all(r, status);
    msx__set_thread_share(0);
    return NULL;
}

/* ---- all threads ----------------------------------------------------------------------------------- */

/* Name `index` of a list with commas, going round; the whole list where it has none. */
static void device_of(const char *list, int index, char out[32]) {
    int n = 1;
    for (const char *c = list; *c; c++) n += *c == ',';
    for (index %= n; index > 0; index--) list = strchr(list, ',') + 1;
    snprintf(out, 32, "%.*s", (int)strcspn(list, ","), list);
}

/* The search's own worker serves the first runner, where its device is the one that runner is to have. */
static msx_status give_worker(msx__runner *r) {
    msx_search *s = r->run->s;
    char name[32];
    device_of(*s->options.devices ? s->options.devices : msx_device_name(s->device), r->index,
              name);
    r->worker = &r->own;
    if (r->index == 0 && !strcmp(name, msx_device_name(s->device))) {
        r->worker = &s->worker;
        return MSX_OK;
    }
    return msx__search_worker_init(&r->own, s, NULL, name);
}

static msx_status begin(msx__run *run) {
    msx_search *s = run->s;
    int threads = msx_ctx_threads(s->ctx);
    msx_preset preset;
    MSX_TRY(msx_preset_find(&preset, s->ctx, s->options.preset));
    bool here = !msx__device_prepares(s->device, preset) || strstr(s->options.devices, "cpu");
    MSX_TRY(msx__evaluator_prepare(
        s->evaluator, preset, msx_arch_get(msx_merger_arch(s->merger), MSX_ARCH_IMAGE_SIZE), here));
    run->runners = msx__calloc(s->ctx, (size_t)s->options.workers, sizeof *run->runners);
    if (!run->runners) return MSX_E_NOMEM;
    for (run->n_runners = 0; run->n_runners < (int)s->options.workers;) {
        msx__runner *r = &run->runners[run->n_runners];
        *r = (msx__runner){.run = run, .index = run->n_runners++, .number = -1};
        r->threads = (threads + r->index) / (int)s->options.workers;
        if (r->threads < 1) r->threads = 1;
        MSX_TRY(init_runner(r));
        MSX_TRY(give_worker(r));
        msx__name_runner(r);
    }
    MSX_TRY(msx__proposer_create(&run->proposer, s));
    MSX_TRY(msx__search_read_trials(s));
    MSX_TRY(msx__proposer_follow(&run->proposer));
    run->best = msx_search_best(s);
    return msx__progress(s->ctx, "search", s->n_finished, s->options.trials,
                         run->best < 0 ? NAN : 1 - s->trials[run->best].mean);
}

/* The calling thread is the first runner. Signals are for the caller's threads. */
static msx_status run_all(msx__run *run) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    msx_status status = msx__beat_start(run);
    for (int i = 1; i < run->n_runners && status >= 0; i++) {
        msx__runner *r = &run->runners[i];
        r->started = pthread_create(&r->thread, NULL, run_trials, r) == 0;
        if (!r->started)
            status = msx__fail(run->s->ctx, MSX_E_LIMIT, "no thread can be started for worker %d",
                               i + 1);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status >= 0)
        run_trials(&run->runners[0]);
    else
        stop_all(&run->runners[0], status);
    for (int i = 1; i < run->n_runners; i++)
        if (run->runners[i].started) pthread_join(run->runners[i].thread, NULL);
    msx__beat_stop(run);
    return status;
}

/* The first failure, else why the run ended: runners that were only told to stop say MSX_DONE_TRIALS. */
static msx_status outcome_of(const msx__run *run) {
    msx_status status = MSX_DONE_TRIALS;
    for (int i = 0; i < run->n_runners; i++) {
        const msx__runner *r = &run->runners[i];
        if (r->status < 0) return msx__fail(run->s->ctx, r->status, "%s", r->text);
        if (r->status == MSX_DONE_EXHAUSTED) status = r->status;
    }
    return status;
}

void msx__run_init_locks(msx__run *run) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&run->lock, NULL);
    pthread_mutex_init(&run->beat_lock, NULL);
    pthread_cond_init(&run->event, &monotonic);
    pthread_cond_init(&run->beat_event, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void msx__run_free_locks(msx__run *run) {
    pthread_mutex_destroy(&run->lock);
    pthread_mutex_destroy(&run->beat_lock);
    pthread_cond_destroy(&run->event);
    pthread_cond_destroy(&run->beat_event);
}

static void free_run(msx__run *run) {
    for (int i = 0; i < run->n_runners; i++) free_runner(&run->runners[i]);
    msx__free(run->s->ctx, run->runners);
    msx__proposer_free(&run->proposer);
    msx__run_free_locks(run);
}

msx_status msx_search_run(msx_search *s) {
    if (!s) return MSX_E_ARG;
    MSX_TRY(msx__search_prepare(s));
    MSX_TRY(msx__search_needs_images(s));
    if (msx__run_is_complete(s)) return MSX_DONE_TRIALS;
    msx__run run = {.s = s, .best = -1};
    msx__run_init_locks(&run);
    msx_status status = begin(&run);
    if (status >= 0) status = run_all(&run);
    if (status >= 0) status = outcome_of(&run);
    free_run(&run);
    return status;
}
