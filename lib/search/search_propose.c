/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizer of a run, which is always rebuilt from the trials: what it proposes is a function of
 * them, so a continuation is the one an uninterrupted run would have had.
 *
 * Order "batch" (B trials each): trial n sees the results of the trials below B * floor(n / B), and the
 * configurations of all below n. Every worker can tell from n alone what that is, so the proposals do
 * not depend on how many workers there are nor on who is faster. Order "free": a proposal sees what is
 * finished when it is made. */
#include "search/search_run.h"

#include <medsamix/sys/optimizer_driver.h>

#include <string.h>

/* ---- beginning ------------------------------------------------------------------------------------- */

typedef struct queue {
    msx__proposer *p;
    double *x; /* configurations enqueued so far, one after the other */
    int64_t n;
} queue;

static msx_status enqueue_once(queue *q, const double *x) {
    const msx_space *space = q->p->s->space.space;
    int64_t width = msx_space_count(space);
    for (int64_t i = 0; i < q->n; i++)
        if (msx_space_equal(space, q->x + i * width, x)) return MSX_OK;
    memcpy(q->x + q->n++ * width, x, (size_t)width * sizeof *x);
    return msx_optimizer_enqueue(q->p->optimizer, x);
}

/* First trials: every model alone, every method with its defaults everywhere, the default
 * configuration. So the result is never worse on the calibration images than any of them. */
static msx_status enqueue_first(msx__proposer *p) {
    const msx__merge_space *space = &p->s->space;
    size_t width = (size_t)msx_space_count(space->space);
    queue q = {.p = p};
    q.x = msx__alloc(p->s->ctx, (space->n_models + space->n_methods + 1) * width, sizeof *q.x);
    if (!q.x) return MSX_E_NOMEM;
    msx_status status = MSX_OK;
    for (size_t i = 0; status >= 0 && i < space->n_models; i++)
        if (msx__merge_space_single(space, i, p->x)) status = enqueue_once(&q, p->x);
    for (size_t i = 0; status >= 0 && i < space->n_methods; i++)
        if (msx__merge_space_uniform(space, space->methods[i]->name, p->x))
            status = enqueue_once(&q, p->x);
    msx_space_default(space->space, p->x);
    if (status >= 0) status = enqueue_once(&q, p->x);
    msx__free(p->s->ctx, q.x);
    return status;
}

/* An optimizer that has seen nothing. */
static msx_status make_optimizer(msx__proposer *p) {
    msx_search *s = p->s;
    msx_optimizer_free(p->optimizer);
    p->optimizer = NULL;
    p->asked = p->told_below = 0;
    p->unsettled = false;
    if (p->told) memset(p->told, 0, (size_t)p->capacity);
    MSX_TRY(msx_optimizer_create(&p->optimizer, s->ctx, s->optimizer_name, s->space.space,
                                 p->n_objectives, s->design_trials, (uint64_t)s->options.seed));
    for (size_t i = 0; i < s->options.n_driver; i++)
        MSX_TRY(
            msx_optimizer_set(p->optimizer, s->options.driver[i].key, s->options.driver[i].value));
    return enqueue_first(p);
}

msx_status msx__proposer_create(msx__proposer *p, msx_search *s) {
    *p = (msx__proposer){.s = s};
    const msx_optimizer_driver *d = msx_optimizer_driver_find(s->ctx, s->optimizer_name);
    if (!d) return msx__fail(s->ctx, MSX_E_NOTFOUND, "optimizer '%s' is gone", s->optimizer_name);
    p->n_objectives = d->max_objectives == 1 ? 1 : (int)s->n_tasks;
    p->x = msx__alloc(s->ctx, (size_t)msx_space_count(s->space.space), sizeof *p->x);
    p->fixed = msx__alloc(s->ctx, (size_t)msx_space_count(s->space.space), 1);
    return p->x && p->fixed ? make_optimizer(p) : MSX_E_NOMEM;
}

void msx__proposer_free(msx__proposer *p) {
    if (!p->s) return;
    msx_optimizer_free(p->optimizer);
    msx__free(p->s->ctx, p->told);
    msx__free(p->s->ctx, p->x);
    msx__free(p->s->ctx, p->fixed);
    *p = (msx__proposer){0};
}

/* ---- telling --------------------------------------------------------------------------------------- */

int64_t msx__visible_to(const msx_search *s, int64_t n) {
    return s->free_order ? s->n_trials : n / s->batch * s->batch;
}

/* An optimizer of one objective sees the mean over the tasks. */
static msx_status tell(msx__proposer *p, int64_t i) {
    const msx__trial *t = &p->s->trials[i];
    const double *costs = t->costs;
    if (costs && p->n_objectives != p->s->n_tasks) costs = &t->mean;
    return msx_optimizer_tell(p->optimizer, i, costs);
}

static msx_status tell_free(msx__proposer *p) {
    if (p->asked > p->capacity) {
        int64_t capacity = 2 * p->asked + 64;
        uint8_t *told = msx__realloc(p->s->ctx, p->told, (size_t)capacity, 1);
        if (!told) return MSX_E_NOMEM;
        memset(told + p->capacity, 0, (size_t)(capacity - p->capacity));
        p->told = told;
        p->capacity = capacity;
    }
    for (int64_t i = p->told_below; i < p->asked; i++) {
        bool finished = p->s->trials[i].state != MSX__STORE_RUNNING;
        if (finished && !p->told[i]) {
            MSX_TRY(tell(p, i));
            p->told[i] = 1;
        }
        if (p->told[i] && i == p->told_below) p->told_below++;
    }
    return MSX_OK;
}

/* Tell what trial n may see. */
static msx_status show(msx__proposer *p, int64_t n) {
    if (p->s->free_order) return tell_free(p);
    for (int64_t limit = msx__visible_to(p->s, n); p->told_below < limit; p->told_below++) {
        if (p->s->trials[p->told_below].state == MSX__STORE_RUNNING)
            return msx__fail(p->s->ctx, MSX_E_STORE,
                             "%s: is damaged: trial %" PRId64 " began before trial %" PRId64
                             " was finished; start a new store",
                             msx__store_name(p->s->store), n, p->told_below);
        MSX_TRY(tell(p, p->told_below));
    }
    return MSX_OK;
}

/* ---- following ------------------------------------------------------------------------------------- */

/* The digest of trial n, which `show` has been called for. With order "free" nobody can tell later which
 * results were there, so the last word is left out. */
static void digest(const msx__proposer *p, uint64_t out[MSX__STORE_HISTORY_WORDS]) {
    msx_optimizer_rng_state(p->optimizer, out);
    if (p->s->free_order) out[MSX__STORE_HISTORY_WORDS - 1] = 0;
}

/* What was proposed here last is what the store has, or the optimizer begins anew: another worker was
 * faster and proposed something else. */
static msx_status settle(msx__proposer *p) {
    const msx_search *s = p->s;
    int64_t n = p->asked - 1;
    if (!p->unsettled) return MSX_OK;
    p->unsettled = false;
    if (n < s->n_trials &&
        msx_space_equal(s->space.space, s->trials[n].x, msx_optimizer_trial_x(p->optimizer, n)))
        return MSX_OK;
    if (n < s->n_trials && !s->free_order)
        msx__log(s->ctx, MSX_LOG_WARNING,
                 "trial %" PRId64 " was proposed otherwise elsewhere: the workers' machines or "
                 "versions differ",
                 n);
    return make_optimizer(p);
}

msx_status msx__proposer_follow(msx__proposer *p) {
    const msx_search *s = p->s;
    MSX_TRY(settle(p));
    while (p->asked < s->n_trials) {
        int64_t n = p->asked, trial;
        MSX_TRY(show(p, n));
        /* The digest is of all trials before, so the last one's stands for the others'. */
        if (n == s->n_trials - 1) {
            uint64_t words[MSX__STORE_HISTORY_WORDS];
            digest(p, words);
            if (memcmp(words, s->trials[n].history, sizeof words) != 0)
                return msx__fail(s->ctx, MSX_E_STORE,
                                 "%s: is damaged or of another version: trial %" PRId64
                                 " does not follow from those before it; start a new store",
                                 msx__store_name(s->store), n);
        }
        MSX_TRY(msx_optimizer_adopt(p->optimizer, s->trials[n].x, &trial));
        p->asked++;
    }
    return MSX_OK;
}

/* ---- proposing ------------------------------------------------------------------------------------- */

bool msx__proposer_ready(const msx__proposer *p) {
    const msx_search *s = p->s;
    if (s->free_order) return true;
    for (int64_t i = p->told_below; i < msx__visible_to(s, s->n_trials); i++)
        if (s->trials[i].state == MSX__STORE_RUNNING) return false;
    return true;
}

msx_status msx__proposer_propose(msx__proposer *p, const char **origin,
                                 uint64_t history[MSX__STORE_HISTORY_WORDS]) {
    int64_t trial;
    MSX_TRY(msx__proposer_follow(p));
    MSX_TRY(show(p, p->asked));
    digest(p, history);
    msx_status status = msx__stage_ask(p, p->asked, &trial);
    if (status != MSX_OK) return status;
    *origin = msx_optimizer_origin(p->optimizer);
    p->asked++;
    p->unsettled = true;
    return MSX_OK;
}
