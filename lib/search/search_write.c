/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the merge of a trial, with where it comes from. */
#include "search/search.h"

static msx_status write_checkpoint(msx_search *s, msx_plan *plan, const char *path) {
    const char **digests = msx__alloc(s->ctx, s->n_models, sizeof *digests);
    if (!digests) return MSX_E_NOMEM;
    for (size_t i = 0; i < s->n_models; i++) digests[i] = s->models[i].sha256;
    msx_checkpoint *merged = NULL;
    msx_status status = msx_checkpoint_create(&merged, s->ctx);
    if (status >= 0) status = msx_merger_run(s->merger, plan, NULL, merged, NULL);
    if (status >= 0)
        status = msx_merge_set_provenance(merged, plan, s->model_names, digests, s->n_models);
    if (status >= 0) status = msx_checkpoint_save(merged, path, NULL);
    msx_checkpoint_free(merged);
    msx__free(s->ctx, digests);
    return status;
}

msx_status msx_search_write(msx_search *s, int64_t trial, const char *checkpoint_path,
                            const char *plan_path) {
    if (!s) return MSX_E_ARG;
    MSX_TRY(msx__search_prepare(s));
    msx_plan *plan;
    MSX_TRY(msx_search_trial_plan(&plan, s, trial));
    msx_status status = MSX_OK;
    if (!s->trials[trial].costs)
        status = msx__fail(s->ctx, MSX_E_ARG, "trial %" PRId64 " has %s", trial,
                           s->trials[trial].state == MSX__STORE_RUNNING ? "not been finished"
                                                                        : "failed");
    if (status >= 0 && checkpoint_path) status = write_checkpoint(s, plan, checkpoint_path);
    if (status >= 0 && plan_path) status = msx_plan_save(plan, plan_path);
    msx_plan_free(plan);
    return status;
}
