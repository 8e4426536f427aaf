/* SPDX-License-Identifier: Apache-2.0 */
/* Task arithmetic: the base plus the scaled and weighted sum of what every other model changed. */
#include "merge/merge.h"

#include <math.h>

static const msx_merge_param params[] = {
    {"scaling", false, true, 0, 1, 0.5, "lambda, how much of the sum of changes is added"},
    {"weight", true, false, -10, 10, 1, "factor of a model's changes; the base has none"},
    {"normalize", false, false, 0, 1, 0, "1: divide by the sum of the weights"},
};

/* out = base + scaling * sum_i w_i (x_i - base), divided by sum_i w_i when that is asked for and not
 * nearly zero */
static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    const msx__merge_kernels *k = call->kernels;
    const double *given = call->values + 1;
    double sum = 0, weight[MSX__MAX_MODELS];
    for (size_t m = 1; m < call->n_models; m++) sum += given[m];
    if (given[call->n_models] < 0.5 || fabs(sum) < 1e-8) sum = 1;
    for (size_t m = 1; m < call->n_models; m++) weight[m - 1] = given[m] / sum;
    if (call->values[0] == 0 || msx__models_equal(call)) /* also keeps the sign of zeros */
        return msx__call_copy(call, 0);
    return msx__kernel_status(k->ops->merge_task(k->dev, call->out, call->models[0],
                                                 call->models + 1, weight, call->n_models - 1,
                                                 call->values[0], call->elements));
}

const msx_merge_method msx__method_task_arithmetic = {
    .struct_size = sizeof(msx_merge_method),
    .name = "task_arithmetic",
    .about = "base plus the scaled sum of all changes",
    .source = "MedSAMix (arXiv 2508.11032), equations 7-8; Ilharco et al., ICLR 2023",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
