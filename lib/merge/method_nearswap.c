/* SPDX-License-Identifier: Apache-2.0 */
/* NearSwap: take over a model where it is near the base, keep the base where it is far.
 * out = c x + (1 - c) base, c = t / |base - x| within [0, 1] */
#include "merge/chosen.h"

#include <string.h>

static const msx_merge_param params[] = {
    MSX__CHOSEN_SCORE,
    {"t", false, MSX_SEARCHED_LOG, 0, 1, 0.001, "distance up to which a weight is taken over"},
};

static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    const float *base = call->models[0], *x = call->models[msx__chosen(call)];
    float t = (float)call->values[call->n_models];
    if (t == 0 || x == base) {
        if (call->elements) memcpy(call->out, base, (size_t)call->elements * sizeof *call->out);
        return MSX_OK;
    }
#pragma omp parallel for schedule(static) num_threads(call->threads) if (call->elements > 4096)
    for (int64_t i = 0; i < call->elements; i++) {
        float c = fminf(t / fmaxf(fabsf(base[i] - x[i]), 1e-6f), 1);
        call->out[i] = c == 1 || x[i] == base[i] ? x[i] : c * x[i] + (1 - c) * base[i];
    }
    return MSX_OK;
}

const msx_merge_method msx__method_nearswap = {
    .struct_size = sizeof(msx_merge_method),
    .name = "nearswap",
    .about = "a model where it is near the base, the base elsewhere",
    .source = "mergekit, nearswap",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
