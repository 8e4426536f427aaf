/* SPDX-License-Identifier: Apache-2.0 */
/* Model breadcrumbs: drop the largest changes and the smallest, add the rest. */
#include "merge/task_engine.h"

static const msx_merge_param params[] = {
    MSX__TASK_COMMON(0),
    MSX__TASK_RESCALE(0),
    {"gamma", false, MSX_SEARCHED_LOG, 0, 1, 0.01, "share of the largest changes that is dropped"},
};

static const msx__task_rule rule = {
    .sparsify = MSX__SPARSIFY_OUTLIERS,
    .elect = false,
    .params = params,
    .n_params = sizeof params / sizeof *params,
};

const msx_merge_method msx__method_breadcrumbs =
    MSX__TASK_METHOD("breadcrumbs", "drop the largest and the smallest changes, add the rest",
                     "Model Breadcrumbs, Davari and Belilovsky, ECCV 2024");
