/* SPDX-License-Identifier: Apache-2.0 */
/* RAM: add to every weight the mean change of the models that changed it.
 * z_i = |d_i| > epsilon, out = base + sum z_i d_i / sum z_i */
#include "merge/merge.h"

#include <math.h>
#include <string.h>

static const msx_merge_param params[] = {
    {"epsilon", false, MSX_SEARCHED_LOG, 0, 1, 1e-5, "size of a change from which it counts"},
};

msx_status msx__ram_merge(const msx_merge_call *call, float epsilon, const float *alone) {
    const float *base = call->models[0];
    if (msx__models_equal(call)) { /* also keeps what is not a number */
        if (call->elements) memcpy(call->out, base, (size_t)call->elements * sizeof *call->out);
        return MSX_OK;
    }
#pragma omp parallel for schedule(static) num_threads(call->threads) if (call->elements > 4096)
    for (int64_t i = 0; i < call->elements; i++) {
        float sum = 0, count = 0, factor = 1;
        for (size_t m = 1; m < call->n_models; m++) {
            float d = call->models[m][i] - base[i];
            if (fabsf(d) > epsilon) {
                sum += d;
                count++;
                factor = alone ? alone[m] : 1;
            }
        }
        call->out[i] = count == 1  ? base[i] + factor * sum
                       : count > 1 ? base[i] + sum / count
                                   : base[i];
    }
    return MSX_OK;
}

static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    return msx__ram_merge(call, (float)call->values[0], NULL);
}

const msx_merge_method msx__method_ram = {
    .struct_size = sizeof(msx_merge_method),
    .name = "ram",
    .about = "mean change of the models that changed a weight",
    .source = "mergekit, ram",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
