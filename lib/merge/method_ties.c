/* SPDX-License-Identifier: Apache-2.0 */
/* TIES: trim every model's change to its largest elements, elect a sign, average those that agree. */
#include "merge/merge.h"

#include <math.h>

static const msx_merge_param params[] = {
    {"retain", false, true, 0, 1, 0.5, "share of each model's changes that is kept"},
    {"scaling", false, true, 0, 1, 0.5, "lambda, how much of the agreed change is added"},
};
enum { RETAIN, SCALING };

/* Exactly floor(retain * n) elements of each change are kept, of equal ones those of lower index; a
 * sum of zero elects plus; the mean is over the agreeing elements that are not zero. */
static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    const msx__merge_kernels *k = call->kernels;
    int64_t kept = (int64_t)floor(call->values[RETAIN] * (double)call->elements);
    if (kept <= 0 || call->values[SCALING] == 0) return msx__call_copy(call, 0);
    if (k->ops->merge_ties_top)
        return msx__kernel_status(k->ops->merge_ties_top(k->dev, call->out, call->models[0],
                                                         call->models + 1, call->n_models - 1, kept,
                                                         call->values[SCALING], call->elements));
    float threshold[MSX__MAX_MODELS];
    int64_t ties[MSX__MAX_MODELS];
    for (size_t m = 1; m < call->n_models; m++)
        MSX_TRY(msx__kernel_status(k->ops->select_threshold(k->dev, call->models[0],
                                                            call->models[m], call->elements, kept,
                                                            &threshold[m - 1], &ties[m - 1])));
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
};
