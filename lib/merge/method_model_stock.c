/* SPDX-License-Identifier: Apache-2.0 */
/* Model stock: between the base and the mean of the other models, the nearer to the mean the more
 * their changes agree. */
#include "merge/blend.h"

#include <math.h>
#include <string.h>

static const msx_merge_param params[] = {
    {"filter_wise", false, true, 0, 1, 0, "1: a ratio for every row along the last axis"},
};

/* t = K c / (1 + (K - 1) c) with c the mean cosine of two changes. Opposing changes have no t in
 * [0, 1]; they give the base, where mergekit goes beyond it. */
static void coefficients(double *c, const double *gram, const msx__blend *b) {
    size_t n = b->n;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            double norms = sqrt(gram[i * n + i]) * sqrt(gram[j * n + j]);
            sum += fmin(fmax(gram[i * n + j] / fmax(norms, 1e-6), -1), 1);
        }
    double k = (double)n, cosine = fmax(sum / (k * (k - 1) / 2), 0);
    double t = k * cosine / (1 + (k - 1) * cosine);
    for (size_t i = 0; i < n; i++) c[i] = t / k;
}

static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    if (call->n_models < 3)
        return msx__call_refuse(call, "it needs two models at least, beside the base");
    if (msx__models_equal(call)) {
        memcpy(call->out, call->models[0], (size_t)call->elements * sizeof *call->out);
        return MSX_OK;
    }
    bool rows = call->values[0] >= 0.5 && call->rank > 1;
    msx__blend b = {.n = call->n_models - 1,
                    .origin = call->models[0],
                    .lines = rows ? msx__lines_along(call, call->rank - 1) : msx__lines_whole(call),
                    .coefficients = coefficients};
    for (size_t m = 1; m < call->n_models; m++) b.x[m - 1] = call->models[m];
    msx__blend_apply(call, &b);
    return MSX_OK;
}

const msx_merge_method msx__method_model_stock = {
    .struct_size = sizeof(msx_merge_method),
    .name = "model_stock",
    .about = "from the base towards the mean, by how much the changes agree",
    .source = "Model Stock, Jang et al., ECCV 2024",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
