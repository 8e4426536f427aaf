/* SPDX-License-Identifier: Apache-2.0 */
/* Model breadcrumbs with the sign election of TIES: drop the largest changes and the smallest,
 * add what has the elected sign. */
#include "merge/task_engine.h"

static const msx_merge_param params[] = {
    MSX__TASK_COMMON(0),
    MSX__TASK_RESCALE(0),
    {"gamma", false, MSX_SEARCHED_LOG, 0, 1, 0.01, "share of the largest changes that is dropped"},
};

static const msx__task_rule rule = {
    .sparsify = MSX__SPARSIFY_OUTLIERS,
    .elect = true,
    .params = params,
    .n_params = sizeof params / sizeof *params,
};

const msx_merge_method msx__method_breadcrumbs_ties = MSX__TASK_METHOD(
    "breadcrumbs_ties", "drop the largest and smallest changes, elect signs",
    "Model Breadcrumbs, Davari and Belilovsky, ECCV 2024; TIES, Yadav et al., NeurIPS 2023");
