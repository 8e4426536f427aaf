/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the merge of a trial, with where it comes from. */
#include "search/search.h"

/* From the files, so that the bytes are those of a merge by the plan. */
static msx_status write_checkpoint(msx_search *s, const msx_plan *plan, const char *path) {
    if (!s->merger) MSX_TRY(msx__search_open_models(s)); /* which must be what they were */
    const char **paths = msx__alloc(s->ctx, s->n_models, sizeof *paths);
    if (!paths) return MSX_E_NOMEM;
    for (size_t i = 0; i < s->n_models; i++) paths[i] = s->models[i].path;
    msx_status status =
        msx_merge_files(s->ctx, plan, paths, s->model_names, s->n_models, path, NULL, false);
    msx__free(s->ctx, paths);
    return status;
}

msx_status msx_search_write(msx_search *s, int64_t trial, const char *checkpoint_path,
                            const char *plan_path) {
    if (!s) return MSX_E_ARG;
    MSX_TRY(msx__search_prepare(s));
    msx_plan *plan;
    MSX_TRY(msx_search_trial_plan(&plan, s, trial));
    msx_status status = MSX_OK;
    msx__store_state state = s->trials[trial].state;
    /* Who evaluates it needs it before it is finished. */
    if (state == MSX__STORE_FAILED || (state == MSX__STORE_RUNNING && s->evaluator))
        status = msx__fail(s->ctx, MSX_E_ARG, "trial %" PRId64 " has %s", trial,
                           state == MSX__STORE_FAILED ? "failed" : "not been finished");
    if (status >= 0 && checkpoint_path) status = write_checkpoint(s, plan, checkpoint_path);
    if (status >= 0 && plan_path) status = msx_plan_save(plan, plan_path);
    msx_plan_free(plan);
    return status;
}
