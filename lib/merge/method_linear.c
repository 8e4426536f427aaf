/* SPDX-License-Identifier: Apache-2.0 */
/* Linear: the weighted average of all models, the base included; or their weighted sum. */
#include "merge/merge.h"

static const msx_merge_param params[] = {
    {"weight", true, true, 0, 1, 0.5, "share of a model"},
    {"normalize", false, false, 0, 1, 1, "1: shares are divided by their sum"},
};

/* out = sum_i w_i x_i / sum_i w_i; equal weights when all are zero. Models of weight zero are left
 * out, so that the merge of one model is that model to the bit. Without normalising, sum_i w_i x_i. */
static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    const msx__merge_kernels *k = call->kernels;
    bool normalize = call->values[call->n_models] >= 0.5;
    if (normalize && msx__models_equal(call)) return msx__call_copy(call, 0);
    double sum = 0, weight[MSX__MAX_MODELS];
    const float *x[MSX__MAX_MODELS];
    size_t n = 0;
    for (size_t m = 0; m < call->n_models; m++) sum += call->values[m];
    for (size_t m = 0; m < call->n_models; m++) {
        double w = !normalize ? call->values[m]
                   : sum > 0  ? call->values[m] / sum
                              : 1.0 / (double)call->n_models;
        if (w == 0) continue;
        weight[n] = w;
        x[n++] = call->models[m];
    }
    return msx__kernel_status(
        k->ops->merge_linear(k->dev, call->out, x, weight, n, call->elements));
}

const msx_merge_method msx__method_linear = {
    .struct_size = sizeof(msx_merge_method),
    .name = "linear",
    .about = "weighted average of all models",
    .source = "MedSAMix (arXiv 2508.11032), equation 14; model soups, Wortsman et al., ICML 2022",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
