/* SPDX-License-Identifier: Apache-2.0 */
/* RAM+ on tensors: RAM that makes up for averaging. A model that shares many of its changes with others
 * has them averaged; what it changed alone is enlarged by up to r alpha, the more the larger the share.
 *
 *   z_i = |d_i| > epsilon, c = sum z_i, shared_i and unique_i: elements of z_i with c > 1 and c = 1
 *   f_i = 1 + r clamp(shared_i / max(unique_i, epsilon), 0, alpha)
 *   out = base + sum z_i d_i (c = 1 ? f_i : 1 / c) */
#include "merge/merge.h"

#include <math.h>

static const msx_merge_param params[] = {
    {"epsilon", false, MSX_SEARCHED_LOG, 0, 1, 1e-5, "size of a change from which it counts"},
    {"r", false, true, 0, 1, 0.1, "how much the share enlarges what one model changed alone"},
    {"alpha", false, true, 0, 1, 0.2, "largest share that counts"},
};
enum { EPSILON, R, ALPHA };

/* Elements that model m changed with others, and alone. */
static void count_changes(const msx_merge_call *call, size_t m, float epsilon, int64_t counts[2]) {
    int64_t shared = 0, unique = 0;
    const float *base = call->models[0];
#pragma omp parallel for schedule(static) num_threads(call->threads) if (call->elements > 4096)    \
    reduction(+ : shared, unique)
    for (int64_t i = 0; i < call->elements; i++) {
        if (!(fabsf(call->models[m][i] - base[i]) > epsilon)) continue;
        int others = 0;
        for (size_t k = 1; k < call->n_models; k++)
            others += k != m && fabsf(call->models[k][i] - base[i]) > epsilon;
        shared += others > 0;
        unique += others == 0;
    }
    counts[0] = shared;
    counts[1] = unique;
}

static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    const double *value = call->values;
    float alone[MSX__MAX_MODELS] = {0};
    for (size_t m = 1; m < call->n_models; m++) {
        int64_t counts[2];
        count_changes(call, m, (float)value[EPSILON], counts);
        /* without a change of its own alone nothing is multiplied */
        double share = counts[1] ? (double)counts[0] / (double)counts[1] : 0;
        alone[m] = (float)(1 + value[R] * fmin(share, value[ALPHA]));
    }
    return msx__ram_merge(call, (float)value[EPSILON], alone);
}

const msx_merge_method msx__method_ramplus_tl = {
    .struct_size = sizeof(msx_merge_method),
    .name = "ramplus_tl",
    .about = "as ram, and changes of one model alone are enlarged",
    .source = "mergekit, ramplus_tl",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
