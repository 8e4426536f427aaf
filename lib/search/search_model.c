/* SPDX-License-Identifier: Apache-2.0 */
/* A worker and the model that it keeps on its device: giving it weights and scoring it. */
#include "search/search.h"

#include "merge/merger.h"
#include "model/network.h"

#include <math.h>
#include <string.h>

#define ENCODER "image_encoder."

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
    w->changed = msx__calloc(s->ctx, (size_t)tensors, 1);
    return w->changed ? MSX_OK : MSX_E_NOMEM;
}

void msx__search_worker_free(msx__search_worker *w) {
    if (!w->search) return;
    msx_model_free(w->model);
    msx_plan_free(w->previous);
    msx_checkpoint_free(w->target);
    msx__free(w->search->ctx, w->changed);
    msx__eval_work_free(&w->work);
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
    w->embeddings_current = false;
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
    msx_status status = merge(w, plan);
    const msx_arch *arch = msx_merger_arch(w->merger);
    for (int64_t i = 0; status >= 0 && i < msx_arch_tensor_count(arch); i++)
        if (w->changed[i] && !strncmp(msx_arch_tensor_name(arch, i), ENCODER, sizeof ENCODER - 1))
            w->embeddings_current = false;
    if (status < 0) {
        distrust(w);
        msx_plan_free(plan);
        return status;
    }
    msx_plan_free(w->previous);
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

msx_status msx__search_costs(msx__search_worker *w, msx__search_outcome *out) {
    msx_search *s = w->search;
    const msx_evaluator *e = s->evaluator;
    msx_score *score;
    bool reuse = w->embeddings_current && w->work.n_embeddings > 0;
    int flags = MSX__EVAL_KEEP | (reuse ? MSX__EVAL_REUSE : 0);
    msx_status status = msx__evaluator_run(&score, s->evaluator, w->model, &w->work, flags, NULL);
    if (make_room(w, status))
        status = msx__evaluator_run(&score, s->evaluator, w->model, &w->work, flags, NULL);
    MSX_TRY(status);
    w->embeddings_current = true;
    for (int64_t t = 0; status >= 0 && t < s->n_tasks; t++) {
        msx_summary summary;
        status = msx__search_summary(s, score, t, &summary);
        out->costs[t] = 1 - summary.mean;
    }
    for (int64_t i = 0; i < e->n_items; i++)
        out->dice[i] = msx_dice(msx_score_counts(score, i), e->empty);
    out->images = e->n_images;
    int64_t blocks = e->n_images * msx_arch_get(msx_merger_arch(w->merger), MSX_ARCH_DEPTH);
    out->blocks_run = reuse ? 0 : blocks;
    out->blocks_reused = reuse ? blocks : 0;
    msx_score_free(score);
    return status;
}
