/* SPDX-License-Identifier: Apache-2.0 */
/* Ask and tell: the queue first, then what the driver proposes, never the same twice. */
#include "optimize/optimizer.h"

#include <math.h>
#include <string.h>

#define MAX_OBJECTIVES  64
#define DRIVER_ATTEMPTS 16 /* proposals asked of the driver for one trial */
#define RANDOM_ATTEMPTS 64 /* then uniform ones, before the space is walked */

static msx_status unknown_driver(msx_ctx *ctx, const char *driver) {
    int64_t n = msx_optimizer_driver_count(ctx);
    const char **names = msx__alloc(ctx, (size_t)n, sizeof *names);
    if (!names) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) names[i] = msx_optimizer_driver_at(ctx, i)->name;
    msx_status status = msx__unknown(ctx, "optimizer", driver, names, (size_t)n);
    msx__free(ctx, names);
    return status;
}

static double initial_value(const msx_optimizer *o, size_t i) {
    const msx_optimizer_driver *d = o->driver;
    if (d->struct_size >= sizeof *d)
        for (size_t k = 0; k < d->n_presets; k++)
            if (o->options[d->presets[k].option] == d->presets[k].value)
                return d->presets[k].values[i];
    return d->options[i].initial;
}

/* What the caller has not set: options that choose a preset first, then what it says of the others. */
static void fill_options(msx_optimizer *o) {
    const msx_optimizer_driver *d = o->driver;
    bool presets = d->struct_size >= sizeof *d;
    for (size_t k = 0; presets && k < d->n_presets; k++) {
        size_t i = d->presets[k].option;
        if (!o->chosen[i]) o->options[i] = d->options[i].initial;
    }
    for (size_t i = 0; i < d->n_options; i++)
        if (!o->chosen[i]) o->options[i] = initial_value(o, i);
}

msx_status msx_optimizer_create(msx_optimizer **out, msx_ctx *ctx, const char *driver,
                                const msx_space *space, int n_objectives, int64_t n_trials,
                                uint64_t seed) {
    if (out) *out = NULL;
    if (!ctx) return MSX_E_ARG;
    if (!out || !driver || !space)
        return msx__fail(ctx, MSX_E_ARG, "optimizer: %s is NULL",
                         !out      ? "out"
                         : !driver ? "driver"
                                   : "space");
    if (!space->n) return msx__fail(ctx, MSX_E_ARG, "optimizer: the space has no parameters");
    if (n_objectives < 1 || n_objectives > MAX_OBJECTIVES)
        return msx__fail(ctx, MSX_E_ARG, "optimizer: %d objectives; 1 to %d are possible",
                         n_objectives, MAX_OBJECTIVES);
    if (n_trials < 0) return msx__fail(ctx, MSX_E_ARG, "optimizer: n_trials is %" PRId64, n_trials);
    if (!msx_optimizer_driver_count(ctx)) return MSX_E_NOMEM; /* registering the built-ins failed */
    const msx_optimizer_driver *d = msx_optimizer_driver_find(ctx, driver);
    if (!d) return unknown_driver(ctx, driver);
    if (d->max_objectives && n_objectives > d->max_objectives)
        return msx__fail(ctx, MSX_E_ARG, "optimizer '%s' takes at most %d objective%s, not %d",
                         driver, d->max_objectives, d->max_objectives == 1 ? "" : "s",
                         n_objectives);

    msx_optimizer *o = msx__calloc(ctx, 1, sizeof *o);
    if (!o) return MSX_E_NOMEM;
    *o = (msx_optimizer){.ctx = ctx,
                         .driver = d,
                         .space = space,
                         .n_objectives = n_objectives,
                         .n_trials = n_trials,
                         .seed = seed,
                         .origin = ""};
    o->options = msx__alloc(ctx, d->n_options, sizeof *o->options);
    o->chosen = msx__calloc(ctx, d->n_options, sizeof *o->chosen);
    o->worst = msx__calloc(ctx, (size_t)n_objectives, sizeof *o->worst);
    o->visible_worst = msx__calloc(ctx, (size_t)n_objectives, sizeof *o->visible_worst);
    o->scratch = msx__alloc(ctx, (size_t)space->n, sizeof *o->scratch);
    if (!o->options || !o->chosen || !o->worst || !o->visible_worst || !o->scratch) {
        msx_optimizer_free(o);
        return MSX_E_NOMEM;
    }
    fill_options(o);
    *out = o;
    return MSX_OK;
}

void msx_optimizer_free(msx_optimizer *o) {
    if (!o) return;
    if (o->started && o->driver->destroy) o->driver->destroy(o->state, o->driver->payload);
    for (int64_t i = 0; i < o->n; i++) msx__free(o->ctx, o->trials[i].values);
    for (int64_t i = o->queue_head; i < o->queue_tail; i++) msx__free(o->ctx, o->queue[i]);
    msx__free(o->ctx, o->trials);
    msx__free(o->ctx, o->x);
    msx__free(o->ctx, o->costs);
    msx__free(o->ctx, o->failed);
    msx__free(o->ctx, o->visible);
    msx__free(o->ctx, o->visible_worst);
    msx__free(o->ctx, o->queue);
    msx__free(o->ctx, o->options);
    msx__free(o->ctx, o->chosen);
    msx__free(o->ctx, o->preference);
    msx__free(o->ctx, o->worst);
    msx__free(o->ctx, o->scratch);
    msx__free(o->ctx, o);
}

/* ---- options ----------------------------------------------------------------------------------- */

static int64_t find_option(const msx_optimizer *o, const char *key) {
    for (size_t i = 0; key && i < o->driver->n_options; i++)
        if (!strcmp(key, o->driver->options[i].name)) return (int64_t)i;
    return -1;
}

static msx_status unknown_option(const msx_optimizer *o, const char *key) {
    size_t n = o->driver->n_options;
    if (!key) return msx__fail(o->ctx, MSX_E_ARG, "optimizer: key is NULL");
    if (!n)
        return msx__fail(o->ctx, MSX_E_NOTFOUND, "optimizer '%s' has no options, so no '%s'",
                         o->driver->name, key);
    const char **names = msx__alloc(o->ctx, n, sizeof *names);
    if (!names) return MSX_E_NOMEM;
    for (size_t i = 0; i < n; i++) names[i] = o->driver->options[i].name;
    msx_status status = msx__unknown(o->ctx, "optimizer option", key, names, n);
    msx__free(o->ctx, names);
    return status;
}

msx_status msx_optimizer_set(msx_optimizer *o, const char *key, double value) {
    if (!o) return MSX_E_ARG;
    int64_t i = find_option(o, key);
    if (i < 0) return unknown_option(o, key);
    const msx_option *option = &o->driver->options[i];
    if (o->started)
        return msx__fail(o->ctx, MSX_E_ARG,
                         "optimizer option '%s' must be set before the first ask", key);
    if (!(value >= option->minimum && value <= option->maximum))
        return msx__fail(o->ctx, MSX_E_ARG, "optimizer option '%s' is %g; %g to %g is possible",
                         key, value, option->minimum, option->maximum);
    o->options[i] = value;
    o->chosen[i] = 1;
    fill_options(o);
    return MSX_OK;
}

msx_status msx_optimizer_set_lag(msx_optimizer *o, int64_t lag) {
    if (!o) return MSX_E_ARG;
    if (lag < 0) return msx__fail(o->ctx, MSX_E_ARG, "optimizer: the lag is %" PRId64, lag);
    if (o->started)
        return msx__fail(o->ctx, MSX_E_ARG, "optimizer: the lag must be set before the first ask");
    o->lag = lag;
    return MSX_OK;
}

msx_status msx_optimizer_set_preference(msx_optimizer *o, const double *weights) {
    if (!o) return MSX_E_ARG;
    if (o->started)
        return msx__fail(o->ctx, MSX_E_ARG,
                         "optimizer: preferences must be set before the first ask");
    double sum = 0;
    for (int k = 0; weights && k < o->n_objectives; k++) {
        if (!(weights[k] >= 0 && weights[k] <= 1e100))
            return msx__fail(o->ctx, MSX_E_ARG, "optimizer: preference %d is %g", k, weights[k]);
        sum += weights[k];
    }
    if (weights && !(sum > 0))
        return msx__fail(o->ctx, MSX_E_ARG, "optimizer: all preferences are 0");
    double *kept = NULL;
    if (weights) {
        kept = msx__alloc(o->ctx, (size_t)o->n_objectives, sizeof *kept);
        if (!kept) return MSX_E_NOMEM;
        for (int k = 0; k < o->n_objectives; k++) kept[k] = weights[k] / sum;
    }
    msx__free(o->ctx, o->preference);
    o->preference = kept;
    return MSX_OK;
}

msx_status msx_optimizer_get(const msx_optimizer *o, const char *key, double *out) {
    if (!o) return MSX_E_ARG;
    if (!out) return msx__fail(o->ctx, MSX_E_ARG, "optimizer: out is NULL");
    int64_t i = find_option(o, key);
    if (i < 0) return unknown_option(o, key);
    *out = o->options[i];
    return MSX_OK;
}

int64_t msx_optimizer_option_count(const msx_optimizer *o) {
    return o ? (int64_t)o->driver->n_options : 0;
}

const char *msx_optimizer_option(const msx_optimizer *o, int64_t i, double *lower, double *upper,
                                 const char **about) {
    if (!o || i < 0 || i >= (int64_t)o->driver->n_options) return NULL;
    const msx_option *option = &o->driver->options[i];
    if (lower) *lower = option->minimum;
    if (upper) *upper = option->maximum;
    if (about) *about = option->about;
    return option->name;
}

/* ---- asking ------------------------------------------------------------------------------------ */

/* Take the head of the queue, which the caller then owns. */
static double *pop(msx_optimizer *o) {
    double *x = o->queue[o->queue_head++];
    if (o->queue_head == o->queue_tail) o->queue_head = o->queue_tail = 0;
    return x;
}

msx_status msx_optimizer_enqueue(msx_optimizer *o, const double *x) {
    if (!o) return MSX_E_ARG;
    MSX_TRY(msx_space_check(o->space, x));
    if (o->queue_tail == o->queue_capacity) {
        int64_t capacity = o->queue_capacity ? 2 * o->queue_capacity : 8;
        void *queue = msx__realloc(o->ctx, o->queue, (size_t)capacity, sizeof *o->queue);
        if (!queue) return MSX_E_NOMEM;
        o->queue = queue;
        o->queue_capacity = capacity;
    }
    size_t n = (size_t)o->space->n;
    double *copy = msx__alloc(o->ctx, n, sizeof *copy);
    if (!copy) return MSX_E_NOMEM;
    memcpy(copy, x, n * sizeof *copy);
    o->queue[o->queue_tail++] = copy;
    return MSX_OK;
}

/* Next configuration of the queue that was not asked yet. */
static bool from_queue(msx_optimizer *o, double *x) {
    while (o->queue_head < o->queue_tail) {
        double *queued = pop(o);
        bool fresh = !msx__optimizer_seen(o, queued);
        if (fresh) memcpy(x, queued, (size_t)o->space->n * sizeof *x);
        msx__free(o->ctx, queued);
        if (fresh) return true;
    }
    return false;
}

/* Put the kept parameters in place. Their children that are not kept follow them. */
static void fix(const msx_optimizer *o, double *x) {
    for (int64_t i = 0; o->fixed && i < o->space->n; i++)
        if (o->fixed[i]) x[i] = o->like[i];
    if (o->fixed) msx_space_repair(o->space, x);
}

/* First configuration not asked yet in the order of msx__space_next(). Of n + 1 different ones at
 * least one is new, so the walk is short. With parameters kept it could be as long as the space is large. */
static msx_status from_walk(msx_optimizer *o, double *x) {
    if (o->fixed) return MSX_DONE_EXHAUSTED;
    msx__space_first(o->space, x);
    do {
        if (!msx__optimizer_seen(o, x)) {
            o->origin = "remaining";
            return MSX_OK;
        }
    } while (msx__space_next(o->space, x));
    return MSX_DONE_EXHAUSTED;
}

/* What the driver may know for the next trial. With a lag, outcomes of the last lag - 1 trials are hidden,
 * and what failed trials hold comes from the visible ones alone. False: an outcome is missing. */
static bool look_back(msx_optimizer *o) {
    const int64_t known = o->n - o->lag + 1; /* trials whose outcomes count */
    bool any = false;
    for (int k = 0; k < o->n_objectives; k++) o->visible_worst[k] = 0;
    for (int64_t i = 0; i < o->n; i++) {
        o->visible[i] = NULL;
        if (i >= known) continue;
        if (o->trials[i].state == MSX__TRIAL_RUNNING) return false;
        o->visible[i] = o->trials[i].state == MSX__TRIAL_OK ? o->costs[i] : o->visible_worst;
        for (int k = 0; o->trials[i].state == MSX__TRIAL_OK && k < o->n_objectives; k++)
            if (!any || o->costs[i][k] > o->visible_worst[k]) o->visible_worst[k] = o->costs[i][k];
        any |= o->trials[i].state == MSX__TRIAL_OK;
    }
    return true;
}

static msx_history view(const msx_optimizer *o) {
    return (msx_history){.struct_size = sizeof(msx_history),
                         .ctx = o->ctx,
                         .space = o->space,
                         .n_objectives = o->n_objectives,
                         .n_trials = o->n_trials,
                         .asked = o->n,
                         .enqueued = o->enqueued,
                         .x = o->x,
                         .costs = o->lag ? o->visible : o->costs,
                         .failed = o->failed,
                         .preference = o->preference,
                         .fixed = o->fixed,
                         .like = o->like};
}

static msx_status from_driver(msx_optimizer *o, double *x) {
    const msx_optimizer_driver *d = o->driver;
    if (o->lag && !look_back(o)) return MSX_DONE_WAIT;
    msx_history h = view(o);
    if (!o->started) {
        if (d->create) MSX_TRY(d->create(&o->state, &h, o->options, d->payload));
        o->started = true;
    }
    msx_rng rng;
    msx__rng_init(&rng, o->seed, (uint64_t)o->n);
    for (int attempt = 0; attempt < DRIVER_ATTEMPTS; attempt++) {
        const char *origin = NULL;
        for (int64_t i = 0; i < o->space->n; i++) x[i] = NAN;
        msx_status status =
            d->propose(o->state, &h, o->options, &rng, attempt, x, &origin, d->payload);
        if (status < 0) return status;
        if (status == MSX_DONE_EXHAUSTED) return status;
        msx_space_repair(o->space, x);
        fix(o, x);
        o->origin = origin ? origin : d->name;
        if (!msx__optimizer_seen(o, x)) return MSX_OK;
    }
    o->origin = "random";
    for (int attempt = 0; attempt < RANDOM_ATTEMPTS; attempt++) {
        msx__space_draw(o->space, &rng, x);
        fix(o, x);
        if (!msx__optimizer_seen(o, x)) return MSX_OK;
    }
    return from_walk(o, x);
}

msx_status msx_optimizer_ask(msx_optimizer *o, double *x, int64_t *trial) {
    if (!o) return MSX_E_ARG;
    if (!x || !trial)
        return msx__fail(o->ctx, MSX_E_ARG, "optimizer: %s is NULL", x ? "trial" : "x");
    const char *origin = o->origin;
    bool queued = from_queue(o, o->scratch);
    msx_status status = MSX_OK;
    if (queued)
        o->origin = "enqueued";
    else
        status = from_driver(o, o->scratch);
    if (status == MSX_OK) status = msx__optimizer_append(o, o->scratch);
    if (status != MSX_OK) {
        o->origin = origin;
        return status;
    }
    o->enqueued += queued;
    *trial = o->n - 1;
    memcpy(x, o->scratch, (size_t)o->space->n * sizeof *x);
    return MSX_OK;
}

static msx_status check_kept(const msx_optimizer *o, const double *like, const uint8_t *fixed) {
    MSX_TRY(msx_space_check(o->space, like));
    for (int64_t i = 0; i < o->space->n; i++) {
        const msx__param *p = &o->space->params[i];
        if (fixed[i] && p->parent >= 0 && !fixed[p->parent])
            return msx__fail(o->ctx, MSX_E_ARG,
                             "optimizer: '%s' is kept, but '%s' that it depends on is not", p->name,
                             o->space->params[p->parent].name);
    }
    return MSX_OK;
}

msx_status msx_optimizer_ask_like(msx_optimizer *o, const double *like, const uint8_t *fixed,
                                  double *x, int64_t *trial) {
    if (!o) return MSX_E_ARG;
    if (!like || !fixed)
        return msx__fail(o->ctx, MSX_E_ARG, "optimizer: %s is NULL", like ? "fixed" : "like");
    MSX_TRY(check_kept(o, like, fixed));
    o->like = like;
    o->fixed = fixed;
    msx_status status = msx_optimizer_ask(o, x, trial);
    o->like = NULL;
    o->fixed = NULL;
    return status;
}

const char *msx_optimizer_origin(const msx_optimizer *o) {
    return o ? o->origin : "";
}

/* Heads of the queue that were asked already came to nothing the first time, too. */
static msx_status adopt(msx_optimizer *o, const double *x) {
    while (o->queue_head < o->queue_tail && msx__optimizer_seen(o, o->queue[o->queue_head]))
        msx__free(o->ctx, pop(o));
    MSX_TRY(msx__optimizer_append(o, x));
    if (o->queue_head < o->queue_tail && msx_space_equal(o->space, o->queue[o->queue_head], x)) {
        msx__free(o->ctx, pop(o)); /* it came from there the first time too */
        o->enqueued++;
    }
    return MSX_OK;
}

msx_status msx_optimizer_adopt(msx_optimizer *o, const double *x, int64_t *trial) {
    if (!o) return MSX_E_ARG;
    if (!trial) return msx__fail(o->ctx, MSX_E_ARG, "optimizer: trial is NULL");
    MSX_TRY(msx_space_check(o->space, x));
    MSX_TRY(adopt(o, x));
    *trial = o->n - 1;
    return MSX_OK;
}

msx_status msx_optimizer_replay(msx_optimizer *o, const double *x, const double *costs) {
    if (!o) return MSX_E_ARG;
    MSX_TRY(msx_space_check(o->space, x));
    for (int k = 0; costs && k < o->n_objectives; k++)
        if (!isfinite(costs[k]))
            return msx__fail(o->ctx, MSX_E_ARG, "optimizer: replayed cost %d is not finite", k);
    MSX_TRY(adopt(o, x));
    msx__optimizer_finish(o, o->n - 1, costs);
    return MSX_OK;
}
