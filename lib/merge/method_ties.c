/* SPDX-License-Identifier: Apache-2.0 */
/* TIES: trim every model's change to its largest elements, elect a sign, average those that agree. */
#include "merge/task_engine.h"

#include <math.h>

static const msx_merge_param params[] = {
    {"retain", false, true, 0, 1, 0.5, "share of each model's changes that is kept"},
    {"scaling", false, true, 0, 1, 0.5, "lambda, how much of the agreed change is added"},
    {"weight", true, false, -10, 10, 1, "factor of a model's changes; the base has none"},
    {"normalize", false, false, 0, 1, 1, "1: divide by the weights that agree"},
    MSX__TASK_RESCALE(0),
    {"threshold", false, false, 0, 1, 0, "1: all changes as large as the smallest kept one stay"},
    {"majority", false, false, 0, 1, 0, "1: a sum of zero elects the tensor's majority, not plus"},
};
enum { RETAIN, SCALING, WEIGHTS };
/* behind the weights */
enum { NORMALIZE, RESCALE, THRESHOLD, MAJORITY };

static const msx__task_rule rule = {.sparsify = MSX__SPARSIFY_MAGNITUDE,
                                    .elect = true,
                                    .params = params,
                                    .n_params = sizeof params / sizeof *params,
                                    .density = "retain",
                                    .lambda = "scaling"};

/* The form of the paper, which the kernels have as one op. */
bool msx__ties_is_plain(const double *values, size_t n_models) {
    const double *options = values + WEIGHTS + n_models;
    for (size_t m = 1; m < n_models; m++)
        if (values[WEIGHTS + m] != 1) return false;
    return options[NORMALIZE] >= 0.5 && options[RESCALE] < 0.5 && options[MAJORITY] < 0.5;
}

/* Exactly floor(retain * n) elements of each change are kept, of equal ones those of lower index; or,
 * of the elements sorted by size, all from number floor((1 - retain) * n) on and those equal to it. A sum
 * of zero elects plus; the mean is over the agreeing elements that are not zero. */
static msx_status apply(const msx_merge_call *call, void *payload) {
    if (!msx__ties_is_plain(call->values, call->n_models)) return msx__task_apply(call, payload);
    const msx__merge_kernels *k = call->kernels;
    bool all_equal = call->values[WEIGHTS + call->n_models + THRESHOLD] >= 0.5;
    int64_t kept = msx__kept_largest(call->values[RETAIN], call->elements, all_equal);
    if (kept <= 0 || call->values[SCALING] == 0) return msx__call_copy(call, 0);
    if (k->ops->merge_ties_top)
        return msx__kernel_status(k->ops->merge_ties_top(k->dev, call->out, call->models[0],
                                                         call->models + 1, call->n_models - 1, kept,
                                                         call->values[SCALING], call->elements));
    float threshold[MSX__MAX_MODELS];
    int64_t ties[MSX__MAX_MODELS];
    for (size_t m = 1; m < call->n_models; m++) {
        MSX_TRY(msx__kernel_status(k->ops->select_threshold(k->dev, call->models[0],
                                                            call->models[m], call->elements, kept,
                                                            &threshold[m - 1], &ties[m - 1])));
        if (all_equal) ties[m - 1] = call->elements;
    }
    return msx__kernel_status(
        k->ops->merge_ties(k->dev, call->out, call->models[0], call->models + 1, threshold, ties,
                           call->n_models - 1, call->values[SCALING], call->elements));
}

const msx_merge_method msx__method_ties = {
    .struct_size = sizeof(msx_merge_method),
    .name = "ties",
    .about = "trim the changes, elect signs, average what agrees",
    .source = "MedSAMix (arXiv 2508.11032), equations 9-12; Yadav et al., NeurIPS 2023",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
    .payload = (void *)&rule,
};
