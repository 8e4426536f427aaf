/* SPDX-License-Identifier: Apache-2.0 */
/* The model that a search keeps on its device: giving it weights and scoring it. */
#include "search/search.h"

#include "merge/merger.h"
#include "model/network.h"

#include <math.h>
#include <string.h>

#define ENCODER "image_encoder."

/* What the target and the model hold is unknown: the next plan rebuilds everything. */
static void distrust(msx_search *s) {
    msx_plan_free(s->previous);
    s->previous = NULL;
    s->embeddings_current = false;
}

static msx_status load(msx_search *s, const msx_checkpoint *c, const uint8_t *changed) {
    if (s->model) return msx_model_update(s->model, c, changed);
    msx_preset preset;
    MSX_TRY(msx_preset_find(&preset, s->ctx, s->options.preset));
    return msx_model_load(&s->model, s->device, c, preset);
}

/* Where the device has memory of its own, the models go there once; when they do not fit, merging stays
 * on the host. */
static msx_status settle(msx_search *s) {
    const msx_device *d = s->device;
    if (s->settled || d->k->host_memory) return MSX_OK;
    s->settled = true;
    msx_status status = msx__merger_reside(s->merger, d->k, d->dev);
    if (status != MSX_E_NOMEM) return status;
    msx__log(s->ctx, MSX_LOG_WARNING, "the models are merged on the host: %s",
             msx_ctx_error(s->ctx));
    return MSX_OK;
}

static float *place(int64_t tensor, void *payload) {
    return msx__tensor_place(payload, tensor);
}

/* Straight into the model, or into the target and from there. */
static msx_status merge(msx_search *s, const msx_plan *plan) {
    MSX_TRY(settle(s));
    if (s->model && s->merger->there.ops) {
        MSX_TRY(msx__merger_run_there(s->merger, plan, s->previous, place, s->model, s->changed));
        return msx__model_renewed(s->model);
    }
    MSX_TRY(msx_merger_run(s->merger, plan, s->previous, s->target, s->changed));
    return load(s, s->target, s->previous ? s->changed : NULL);
}

msx_status msx__search_apply(msx_search *s, msx_plan *plan) {
    msx_status status = merge(s, plan);
    const msx_arch *arch = msx_merger_arch(s->merger);
    for (int64_t i = 0; status >= 0 && i < msx_arch_tensor_count(arch); i++)
        if (s->changed[i] && !strncmp(msx_arch_tensor_name(arch, i), ENCODER, sizeof ENCODER - 1))
            s->embeddings_current = false;
    if (status < 0) {
        distrust(s);
        msx_plan_free(plan);
        return status;
    }
    msx_plan_free(s->previous);
    s->previous = plan;
    return MSX_OK;
}

msx_status msx__search_apply_file(msx_search *s, const msx_checkpoint *file) {
    distrust(s);
    return load(s, file, NULL);
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

msx_status msx__search_costs(msx_search *s, double *costs) {
    msx_score *score;
    int flags = MSX__EVAL_KEEP | (s->embeddings_current ? MSX__EVAL_REUSE : 0);
    MSX_TRY(msx__evaluator_run(&score, s->evaluator, s->model, flags, NULL));
    s->embeddings_current = true;
    msx_status status = MSX_OK;
    for (int64_t t = 0; status >= 0 && t < s->n_tasks; t++) {
        msx_summary summary;
        status = msx__search_summary(s, score, t, &summary);
        costs[t] = 1 - summary.mean;
    }
    msx_score_free(score);
    return status;
}
