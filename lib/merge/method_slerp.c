/* SPDX-License-Identifier: Apache-2.0 */
/* SLERP: along the arc between two models, the whole tensor taken as one vector. */
#include "merge/blend.h"

#include <math.h>

static const msx_merge_param params[] = {
    {"score", true, true, 0, 1, 0.5, "the two models of highest score are merged"},
    {"t", false, false, 0, 1, NAN, "share of the later of the two models; replaces the scores' t"},
    {"ratio", false, false, 0, 1, 0, "1: t = s2 / (s1 + s2); 0: t = exp(s2) / (exp(s1) + exp(s2))"},
    {"colinear", false, false, 0, 1, MSX__SLERP_COLINEAR,
     "|cosine| above which the straight line is taken"},
};

static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    const msx__merge_kernels *k = call->kernels;
    const double *score = call->values, *single = call->values + call->n_models;
    double t = single[0], ratio = single[1], colinear = single[2];
    size_t pair[2];
    bool clear = msx__top_two(score, call->n_models, pair);
    if (isnan(t)) {
        double s1 = score[pair[0]], s2 = score[pair[1]];
        t = ratio >= 0.5 ? (s1 + s2 > 0 ? s2 / (s1 + s2) : 0.5) : 1 / (1 + exp(s1 - s2));
    } else {
        if (!clear)
            return msx__call_refuse(call,
                                    "t is between two models, but the scores do not single "
                                    "out two of %zu; give two of them a higher score",
                                    call->n_models);
        if (pair[0] > pair[1]) {
            size_t later = pair[0];
            pair[0] = pair[1];
            pair[1] = later;
        }
    }
    const float *x[2] = {call->models[pair[0]], call->models[pair[1]]};
    if (t == 0 || t == 1 || msx__pair_equal(call, pair[0], pair[1]))
        return msx__call_copy(call, pair[t == 1]);
    double dots[3], weight[2];
    MSX_TRY(msx__kernel_status(k->ops->dots(k->dev, dots, x[0], x[1], call->elements)));
    msx__arc_weights(dots, t, colinear, weight);
    return msx__kernel_status(
        k->ops->merge_linear(k->dev, call->out, x, weight, 2, call->elements));
}

const msx_merge_method msx__method_slerp = {
    .struct_size = sizeof(msx_merge_method),
    .name = "slerp",
    .about = "along the arc between the two models of highest score",
    .source = "MedSAMix (arXiv 2508.11032), equation 13; Shoemake, SIGGRAPH 1985",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
