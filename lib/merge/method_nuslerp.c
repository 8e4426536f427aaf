/* SPDX-License-Identifier: Apache-2.0 */
/* NuSLERP: SLERP between the two models of highest weight, at t = w2 / (w1 + w2). */
#include "merge/blend.h"

#include <math.h>

static const msx_merge_param params[] = {
    {"weight", true, true, 0, 1, 0.5, "the two models of highest weight are merged, by its share"},
    {"around_base", false, false, 0, 1, 0, "1: between changes of the base, which takes no part"},
    {"flatten", false, false, 0, 1, 1, "0: every line of a tensor has an arc of its own"},
    {"row_wise", false, false, 0, 1, 0, "with flatten 0: lines along axis 0, not along the last"},
};
enum { AROUND_BASE, FLATTEN, ROW_WISE };

/* Below a sine of about 1e-7 float32 knows no direction any more. */
static const double colinear = 1 - 1e-14;

static void coefficients(double *c, const double *gram, const msx__blend *b) {
    double sum = b->weight[0] + b->weight[1];
    double t = sum < 1e-6 ? 0.5 : b->weight[1] / sum;
    msx__arc_weights((double[]){gram[0], gram[1], gram[3]}, t, colinear, c);
}

static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    const double *options = call->values + call->n_models;
    size_t first = options[AROUND_BASE] >= 0.5, n = call->n_models - first;
    size_t pair[2] = {0, 0};
    if (n > 1) msx__top_two(call->values + first, n, pair);
    msx__blend b = {.n = n > 1 ? 2 : 1,
                    .origin = first ? call->models[0] : NULL,
                    .lines = msx__lines_whole(call),
                    .coefficients = coefficients};
    for (size_t k = 0; k < b.n; k++) {
        b.x[k] = call->models[first + pair[k]];
        b.weight[k] = call->values[first + pair[k]];
    }
    if (b.n == 2 && b.weight[1] == 0 && b.weight[0] >= 1e-6) b.n = 1; /* an end of the arc */
    if (options[FLATTEN] < 0.5)
        b.lines = msx__lines_along(call, options[ROW_WISE] >= 0.5 ? 0 : call->rank - 1);
    if (!msx__blend_copy_equal(call, &b)) msx__blend_apply(call, &b);
    return MSX_OK;
}

const msx_merge_method msx__method_nuslerp = {
    .struct_size = sizeof(msx_merge_method),
    .name = "nuslerp",
    .about = "along the arc between the two models of highest weight",
    .source = "mergekit, nuslerp; Shoemake, SIGGRAPH 1985",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
