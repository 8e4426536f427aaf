/* SPDX-License-Identifier: Apache-2.0 */
/* A worker and the model that it keeps on its device: giving it weights and scoring it. */
#include "search/search.h"

#include "merge/merger.h"
#include "model/network.h"

#include <math.h>
#include <string.h>

/* A device and a merger that no other thread uses. */
static msx_status open_own(msx__search_worker *w, const char *name) {
    msx_search *s = w->search;
    w->owns = true;
    w->merger = NULL;
    MSX_TRY(msx_device_open(&w->device, s->ctx, name));
    if (msx_device_precision(s->device) != MSX_PRECISION_FP32)
        MSX_TRY(msx_device_set_precision(w->device, msx_device_precision(s->device)));
    return msx__merger_share(&w->merger, s->merger);
}

msx_status msx__search_worker_init(msx__search_worker *w, msx_search *s, msx_device *device,
                                   const char *name) {
    *w = (msx__search_worker){.search = s, .device = device, .merger = s->merger, .incumbent = -1};
    if (!device) MSX_TRY(open_own(w, name));
    int64_t tensors = msx_arch_tensor_count(msx_merger_arch(s->merger));
    MSX_TRY(msx_checkpoint_create(&w->target, s->ctx));
    if (s->options.cache_mb)
        MSX_TRY(msx__activation_cache_create(&w->work.cache, s->ctx,
                                             (s->options.cache_mb << 20) / s->options.workers));
    w->changed = msx__calloc(s->ctx, (size_t)tensors, 1);
    return w->changed ? MSX_OK : MSX_E_NOMEM;
}

void msx__search_worker_free(msx__search_worker *w) {
    if (!w->search) return;
    msx__eval_work_free(&w->work);
    msx_model_free(w->model);
    msx__prefix_free(&w->prefix);
    msx_plan_free(w->previous);
    msx_checkpoint_free(w->target);
    msx__free(w->search->ctx, w->changed);
    msx__free(w->search->ctx, w->counts);
    msx__free(w->search->ctx, w->rival);
    if (w->owns) {
        msx_merger_free(w->merger); /* what it keeps on the device goes before the device */
        msx_device_free(w->device);
    }
    *w = (msx__search_worker){0};
}

/* What the target and the model hold is unknown: the next plan rebuilds everything. */
static void distrust(msx__search_worker *w) {
    msx_plan_free(w->previous);
    w->previous = NULL;
    msx__prefix_free(&w->prefix);
}

/* True when the models lay on the device and their memory has been given back: what failed for lack of it
 * may be tried again. */
static bool make_room(msx__search_worker *w, msx_status status) {
    if (status != MSX_E_NOMEM || !w->merger->there.ops) return false;
    msx__log(w->search->ctx, MSX_LOG_WARNING, "the models are merged on the host from now on: %s",
             msx_ctx_error(w->search->ctx));
    msx__merger_leave(w->merger);
    return true;
}

static msx_status load(msx__search_worker *w, const msx_checkpoint *c, const uint8_t *changed) {
    if (w->model) return msx_model_update(w->model, c, changed);
    msx_preset preset;
    MSX_TRY(msx_preset_find(&preset, w->search->ctx, w->search->options.preset));
    msx_status status = msx_model_load(&w->model, w->device, c, preset);
    if (make_room(w, status)) status = msx_model_load(&w->model, w->device, c, preset);
    return status;
}

/* Where the device has memory of its own, the models go there once; when they do not fit, merging stays
 * on the host. */
static msx_status settle(msx__search_worker *w) {
    const msx_device *d = w->device;
    if (w->settled || d->k->host_memory) return MSX_OK;
    w->settled = true;
    msx_status status = msx__merger_reside(w->merger, d->k, d->dev);
    if (status != MSX_E_NOMEM) return status;
    msx__log(w->search->ctx, MSX_LOG_WARNING, "the models are merged on the host: %s",
             msx_ctx_error(w->search->ctx));
    return MSX_OK;
}

static float *place(int64_t tensor, void *payload) {
    return msx__tensor_place(payload, tensor);
}

/* Straight into the model, or into the target and from there. */
static msx_status merge(msx__search_worker *w, const msx_plan *plan) {
    MSX_TRY(settle(w));
    if (w->model && w->merger->there.ops) {
        MSX_TRY(msx__merger_run_there(w->merger, plan, w->previous, place, w->model, w->changed));
        return msx__model_renewed(w->model, w->changed);
    }
    MSX_TRY(msx_merger_run(w->merger, plan, w->previous, w->target, w->changed));
    return load(w, w->target, w->previous ? w->changed : NULL);
}

msx_status msx__search_apply(msx__search_worker *w, msx_plan *plan) {
    msx__prefix prefix = {0};
    msx_status status = merge(w, plan);
    if (status >= 0) status = msx__prefix_create(&prefix, w->merger, plan);
    if (status < 0) {
        distrust(w);
        msx_plan_free(plan);
        return status;
    }
    msx__prefix_free(&w->prefix);
    msx_plan_free(w->previous);
    w->prefix = prefix;
    w->previous = plan;
    return MSX_OK;
}

msx_status msx__search_apply_file(msx__search_worker *w, const msx_checkpoint *file) {
    distrust(w);
    return load(w, file, NULL);
}

/* A task may have no slice in a split; its score is then undefined. */
static bool has_rows(const msx_score *score, const char *task) {
    for (int64_t i = 0; i < msx_score_count(score); i++)
        if (!strcmp(msx_score_label(score, i), task)) return true;
    return false;
}

msx_status msx__search_summary(const msx_search *s, const msx_score *score, int64_t task,
                               msx_summary *out) {
    *out = (msx_summary){.struct_size = sizeof *out, .mean = NAN, .low = NAN, .high = NAN};
    if (task >= 0 && !has_rows(score, s->task_names[task])) return MSX_OK;
    return msx_score_summary(score, task < 0 ? NULL : s->task_names[task], MSX_METRIC_DICE,
                             s->evaluator->unit, s->evaluator->empty, (uint64_t)s->options.seed,
                             out);
}

/* What evaluating needs, once there are images. */
static msx_status need_room(msx__search_worker *w) {
    const msx_search *s = w->search;
    size_t items = (size_t)s->evaluator->n_items, tasks = (size_t)s->n_tasks;
    if (w->counts) return MSX_OK;
    w->race = (msx__race){.evaluator = s->evaluator, .minimum = s->options.racing_min};
    msx__parse_double(s->options.racing_p, &w->race.p); /* checked when it was set */
    if (!w->rival) w->rival = msx__alloc(s->ctx, items + tasks, sizeof *w->rival);
    w->counts = w->rival ? msx__alloc(s->ctx, items, sizeof *w->counts) : NULL;
    return w->counts ? MSX_OK : MSX_E_NOMEM;
}

msx_status msx__search_meet(msx__search_worker *w, int64_t incumbent) {
    const msx_search *s = w->search;
    MSX_TRY(need_room(w));
    if (incumbent == w->incumbent) return MSX_OK;
    w->race.dice = NULL;
    w->incumbent = -1;
    if (incumbent < 0) return MSX_OK;
    double *costs = w->rival + s->evaluator->n_items;
    msx_status status = msx__store_read_dice(s->store, incumbent, w->rival);
    if (status == MSX_E_NOTFOUND) return MSX_OK; /* told from outside: nobody knows its images */
    MSX_TRY(status);
    memcpy(costs, s->trials[incumbent].costs, (size_t)s->n_tasks * sizeof *costs);
    w->incumbent = incumbent;
    w->race.dice = w->rival;
    w->race.costs = costs;
    return MSX_OK;
}

/* A trial that runs. */
typedef struct running {
    const msx__race *race;
    msx__search_outcome *out;
    int64_t known; /* items whose Dice is in out->dice */
} running;

static msx_status watch(const msx__eval_result *so_far, bool *stop, void *payload) {
    running *r = payload;
    const msx_evaluator *e = r->race->evaluator;
    for (; r->known < e->n_items && e->items[r->known].image < so_far->images; r->known++)
        r->out->dice[r->known] = msx_dice(so_far->counts[r->known], e->empty);
    if (so_far->images < e->n_images)
        MSX_TRY(msx__race_is_lost(r->race, r->out->dice, so_far->images, stop));
    r->out->raced = *stop;
    return MSX_OK;
}

/* Of the tasks, from all images. */
static msx_status whole_costs(const msx_search *s, const msx__eval_result *r, double *costs) {
    msx_score *score;
    MSX_TRY(msx__evaluator_score(&score, s->evaluator, r));
    msx_status status = MSX_OK;
    for (int64_t t = 0; status >= 0 && t < s->n_tasks; t++) {
        msx_summary summary;
        status = msx__search_summary(s, score, t, &summary);
        costs[t] = 1 - summary.mean;
    }
    msx_score_free(score);
    return status;
}

msx_status msx__search_costs(msx__search_worker *w, const msx__race *race,
                             msx__search_outcome *out) {
    msx_search *s = w->search;
    msx_evaluator *e = s->evaluator;
    MSX_TRY(need_room(w));
    const msx__race none = {.evaluator = e};
    running trial = {.race = race ? race : &none, .out = out};
    const msx__eval_how how = {.keep = true,
                               .prefix = w->prefix.ctx ? &w->prefix : NULL,
                               .batch = s->options.racing ? s->options.racing_batch : 0,
                               .watch = watch,
                               .payload = &trial};
    msx__eval_result r = {.counts = w->counts};
    out->raced = false;
    for (int64_t k = 0; k < e->n_items; k++) out->dice[k] = NAN;
    msx_status status = msx__evaluator_run(e, w->model, &w->work, &how, &r);
    if (make_room(w, status)) {
        trial.known = 0;
        status = msx__evaluator_run(e, w->model, &w->work, &how, &r);
    }
    out->images = r.images;
    out->blocks_run = r.blocks_run;
    out->blocks_reused = r.blocks_reused;
    MSX_TRY(status);
    if (!out->raced) return whole_costs(s, &r, out->costs);
    msx__race_costs(race, out->dice, r.images, out->costs);
    return MSX_OK;
}
