/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of a run: who proposes, who runs which trial, and what they share. */
#ifndef MSX_SEARCH_SEARCH_RUN_H
#define MSX_SEARCH_SEARCH_RUN_H

#include "search/search.h"

#include <pthread.h>

/* ---- proposing (search_propose.c) ---------------------------------------------------------------- */

/* The optimizer in step with the search's trials. What it may see of them when it proposes trial n
 * follows from n (order "batch"), so that any number of workers proposes the same. */
typedef struct msx__proposer {
    msx_search *s;
    msx_optimizer *optimizer;
    int n_objectives;
    int64_t asked;      /* trials that it has */
    bool unsettled;     /* its last one is a proposal of which the search does not know yet */
    int64_t told_below; /* trials below have been told */
    uint8_t *told;      /* order "free": per trial, of `capacity` */
    int64_t capacity;
    double *x;      /* room for one configuration */
    uint8_t *fixed; /* and for what it keeps of another */
} msx__proposer;

msx_status msx__proposer_create(msx__proposer *p, msx_search *s);
void msx__proposer_free(msx__proposer *p); /* accepts a zeroed struct */

/* Take in the trials that are in the search and not here. @return MSX_E_STORE when one does not follow
 * from those before it: damaged, or of another version. */
msx_status msx__proposer_follow(msx__proposer *p);

/* May the next trial be proposed, or are results missing that it must see? */
bool msx__proposer_ready(const msx__proposer *p);

/* Propose the search's next trial into p->x. `history`: digest of what it is computed from.
 * @return MSX_OK, MSX_DONE_EXHAUSTED. */
msx_status msx__proposer_propose(msx__proposer *p, const char **origin,
                                 uint64_t history[MSX__STORE_HISTORY_WORDS]);

/* Trial n may see the results of the trials below this. */
int64_t msx__visible_to(const msx_search *s, int64_t n);

/* ---- stages (search_stage.c) --------------------------------------------------------------------- */

/* Boundary of the encoder up to which trial n is to be like the best one; -1: it may differ from the
 * start. */
int64_t msx__stage_of(const msx_search *s, int64_t n);

/* Ask for trial n into p->x, like the best one as far as its stage says. */
msx_status msx__stage_ask(msx__proposer *p, int64_t n, int64_t *trial);

/* ---- running ------------------------------------------------------------------------------------- */

enum { MSX__WORKER_NAME = 128, MSX__RUNNER_TEXT = 1024 };

/* One thread of a run. */
typedef struct msx__runner {
    struct msx__run *run;
    msx__search_worker *worker, own; /* the search's, or its own */
    int index, threads;
    char name[MSX__WORKER_NAME];
    pthread_t thread;
    bool started;
    double *x; /* configuration of the trial in work */
    msx_plan *plan;
    msx__search_outcome outcome;
    double started_at; /* Unix time */
    /* of the trial in work, under run->beat_lock; -1: none */
    int64_t number, attempt;
    /* how it ended */
    msx_status status;
    char text[MSX__RUNNER_TEXT];
} msx__runner;

typedef struct msx__run {
    msx_search *s;
    pthread_mutex_t lock; /* of the search's trials, the proposer, and what follows */
    pthread_cond_t event; /* a trial was finished here, or the run stops */
    msx__proposer proposer;
    msx__runner *runners;
    int n_runners;
    bool stop;      /* no new trials */
    bool told_wait; /* it was said that workers wait */
    int64_t best;   /* trial of the lowest mean cost; -1: none */

    pthread_mutex_t beat_lock;
    pthread_cond_t beat_event;
    pthread_t beat;
    bool beats, beat_stops;
} msx__run;

void msx__run_init_locks(msx__run *run);
void msx__run_free_locks(msx__run *run);

/* ---- claims (search_claim.c) --------------------------------------------------------------------- */

/* Give a runner its next trial: one that was left behind, else a new one; waits while there is none.
 * @return MSX_OK (runner->number, x, plan), MSX_DONE_TRIALS, MSX_DONE_EXHAUSTED. */
msx_status msx__run_claim(msx__runner *r);

/* One look at the store for a trial, without waiting; *number -1: nothing to do now. The run's lock is held.
 * @return as msx__run_claim(). */
msx_status msx__run_look(msx__runner *r, int64_t *number);

/* All trials that were asked for are finished. */
bool msx__run_is_complete(const msx_search *s);

/* Write down what a trial was worth; `error` NULL: not failed. A trial that was taken over meanwhile is
 * not written. */
msx_status msx__run_finish(msx__runner *r, const char *error, double seconds);

/* Leave the trial in work to others. */
void msx__run_drop(msx__runner *r);

/* ---- leases (search_lease.c) --------------------------------------------------------------------- */

/* "host:process:thread" for a runner, host being what the user named or the machine's. */
void msx__name_runner(msx__runner *r);

/* True when the process that a name speaks of ran on this machine and is gone. */
bool msx__worker_is_gone(const char *name);

/* Renew the leases of a run's trials from a thread of its own until it is stopped. */
msx_status msx__beat_start(msx__run *run);
void msx__beat_stop(msx__run *run);

#endif
