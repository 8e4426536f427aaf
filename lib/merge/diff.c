/* SPDX-License-Identifier: Apache-2.0 */
/* How far two models are apart, group by group. */
#include "merge/merge.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* Running sums of a group. */
typedef struct sums {
    int64_t elements;
    double aa, ab, bb, dd; /* dd: |b - a|^2 */
    bool equal, reached_equal;
} sums;

typedef struct job {
    msx_ctx *ctx;
    const msx_checkpoint *a, *b;
    const msx_arch *arch;
    msx__merge_kernels kernels;
    float *ta, *tb, *difference; /* room for the largest tensor */
} job;

static msx_status add_tensor(job *j, int64_t i, sums *s) {
    const char *name = msx_arch_tensor_name(j->arch, i);
    int64_t n = msx__tensor_elements(j->arch, i);
    MSX_TRY(msx__read_weights(j->ctx, j->a, name, j->ta, n, true));
    MSX_TRY(msx__read_weights(j->ctx, j->b, name, j->tb, n, true));
    const msx__merge_kernels *k = &j->kernels;
    double ab[3], dd[3];
    MSX_TRY(msx__kernel_status(k->ops->dots(k->dev, ab, j->ta, j->tb, n)));
    /* aa - 2ab + bb would cancel where the models are close */
    const float *const x[2] = {j->tb, j->ta};
    const double weight[2] = {1, -1};
    MSX_TRY(msx__kernel_status(k->ops->merge_linear(k->dev, j->difference, x, weight, 2, n)));
    MSX_TRY(msx__kernel_status(k->ops->dots(k->dev, dd, j->difference, j->difference, n)));
    s->elements += n;
    s->aa += ab[0];
    s->ab += ab[1];
    s->bb += ab[2];
    s->dd += dd[0];
    bool equal = n == 0 || !memcmp(j->ta, j->tb, (size_t)n * sizeof *j->ta);
    s->equal = s->equal && equal;
    s->reached_equal = s->reached_equal && (equal || !msx__boxes_reach(name));
    return MSX_OK;
}

static msx_group_diff finish(const sums *s) {
    msx_group_diff d = {sizeof d, s->elements, 0, 1, s->equal, s->reached_equal};
    if (s->equal) return d;
    d.relative_l2 = s->aa > 0 ? sqrt(s->dd) / sqrt(s->aa) : s->dd > 0 ? INFINITY : sqrt(s->dd);
    double norms = sqrt(s->aa) * sqrt(s->bb);
    if (norms > 0)
        d.cosine = fmax(-1, fmin(1, s->ab / norms));
    else if (s->aa > 0 || s->bb > 0)
        d.cosine = 0;
    if (isnan(s->dd)) d.relative_l2 = d.cosine = NAN;
    return d;
}

static msx_status compare(job *j, const msx_groups *g, sums *groups) {
    int64_t tensors = msx_arch_tensor_count(j->arch), largest = 0;
    for (int64_t i = 0; i < tensors; i++) {
        int64_t n = msx__tensor_elements(j->arch, i);
        if (n > largest) largest = n;
    }
    j->ta = msx__alloc(j->ctx, (size_t)largest, sizeof *j->ta);
    j->tb = msx__alloc(j->ctx, (size_t)largest, sizeof *j->tb);
    j->difference = msx__alloc(j->ctx, (size_t)largest, sizeof *j->difference);
    if (!j->ta || !j->tb || !j->difference) return MSX_E_NOMEM;
    MSX_TRY(msx__merge_kernels_open(&j->kernels, j->ctx));
    for (int64_t i = 0; i < tensors; i++) {
        MSX_TRY(msx__progress(j->ctx, "diff", i, tensors, NAN));
        int64_t group = msx_groups_of_tensor(g, msx_arch_tensor_name(j->arch, i));
        if (group >= 0) MSX_TRY(add_tensor(j, i, &groups[group]));
    }
    return msx__progress(j->ctx, "diff", tensors, tensors, NAN);
}

msx_status msx_diff(msx_group_diff *out, msx_ctx *ctx, const msx_checkpoint *a,
                    const msx_checkpoint *b, const msx_groups *g) {
    if (!ctx) return MSX_E_ARG;
    if (!out || !a || !b || !g) return msx__fail(ctx, MSX_E_ARG, "msx_diff: NULL argument");
    /* entries may be those of an earlier version, or of a later one */
    size_t stride = out->struct_size, known = stride < sizeof *out ? stride : sizeof *out;
    if (stride < offsetof(msx_group_diff, reached_equal))
        return msx__fail(ctx, MSX_E_ARG, "msx_group_diff: struct_size is not set");
    size_t n = (size_t)msx_groups_count(g);
    sums *groups = msx__calloc(ctx, n, sizeof *groups);
    if (!groups) return MSX_E_NOMEM;
    for (size_t i = 0; i < n; i++) groups[i].equal = groups[i].reached_equal = true;
    msx_checkpoint *const both[2] = {(msx_checkpoint *)a, (msx_checkpoint *)b};
    const char *const names[2] = {"first model", "second model"};
    msx_arch *arch;
    msx_status status = msx__shared_arch(&arch, ctx, both, names, 2);
    job j = {.ctx = ctx, .a = a, .b = b, .arch = arch};
    if (status >= 0) status = compare(&j, g, groups);
    for (size_t i = 0; i < n && status >= 0; i++) {
        msx_group_diff d = finish(&groups[i]);
        d.struct_size = stride;
        memcpy((char *)out + i * stride, &d, known);
    }
    msx__merge_kernels_close(&j.kernels);
    msx__free(ctx, j.ta);
    msx__free(ctx, j.tb);
    msx__free(ctx, j.difference);
    msx_arch_free(arch);
    msx__free(ctx, groups);
    return status;
}
