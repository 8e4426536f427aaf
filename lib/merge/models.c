/* SPDX-License-Identifier: Apache-2.0 */
/* Checks on lists of models: their names, their common architecture, their weights. */
#include "merge/merge.h"

#include <math.h>
#include <string.h>

bool msx__legal_name(const char *name, const char *extra) {
    if (!name) return false;
    size_t n = 0;
    for (; name[n]; n++) {
        char c = name[n];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (n == MSX__MAX_NAME || (!plain && !strchr(extra, c))) return false;
    }
    return n > 0;
}

msx_status msx__check_names(msx_ctx *ctx, const char *const *names, size_t n) {
    if (n < 2 || n > MSX__MAX_MODELS)
        return msx__fail(ctx, MSX_E_ARG, "%zu models; give 2 to %d, the base first", n,
                         MSX__MAX_MODELS);
    for (size_t i = 0; i < n; i++) {
        if (!names[i] || (i == 0 && strcmp(names[0], "base")))
            return msx__fail(ctx, MSX_E_ARG, "the first model must be named 'base'");
        if (!msx__legal_name(names[i], "_-"))
            return msx__fail(ctx, MSX_E_ARG,
                             "model name '%.100s': use 1 to %d letters, digits, '_' and '-'",
                             names[i], MSX__MAX_NAME);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(names[k], names[i]))
                return msx__fail(ctx, MSX_E_EXISTS, "two models are named '%s'; names must differ",
                                 names[i]);
    }
    return MSX_OK;
}

/* How messages call a model: its file, or its name when it lives in memory. */
static const char *called(const msx_checkpoint *c, const char *name) {
    const char *path = msx_checkpoint_path(c);
    return path && *path ? path : name;
}

msx_status msx__shared_arch(msx_arch **out, msx_ctx *ctx, msx_checkpoint *const *checkpoints,
                            const char *const *names, size_t n) {
    *out = NULL;
    msx_arch *base = NULL;
    for (size_t i = 0; i < n; i++) {
        msx_arch *arch;
        msx_status status = msx_arch_infer(&arch, ctx, checkpoints[i]);
        if (status >= 0 && i == 0) {
            base = arch;
            continue;
        }
        if (status >= 0)
            status = msx_arch_compare(ctx, base, called(checkpoints[0], names[0]), arch,
                                      called(checkpoints[i], names[i]));
        msx_arch_free(arch);
        if (status < 0) {
            msx_arch_free(base);
            return status;
        }
    }
    *out = base;
    return MSX_OK;
}

int64_t msx__tensor_elements(const msx_arch *arch, int64_t i) {
    int64_t dims[MSX_MAX_RANK], n = 0;
    int rank = msx_arch_tensor_shape(arch, i, dims);
    return rank >= 0 && msx__product(dims, rank, &n) ? n : 0;
}

/* Zero times a number is zero, times anything else it is not a number: a sum that is zero to the end needs
 * no comparison on the way. In lanes, so that the compiler can add several at a time. */
static bool all_finite(const float *x, int64_t n) {
    enum { LANES = 32 };
    float sum[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) sum[l] += 0.0f * x[i + l];
    for (; i < n; i++) sum[0] += 0.0f * x[i];
    for (int l = 1; l < LANES; l++) sum[0] += sum[l];
    return sum[0] == 0;
}

msx_status msx__check_finite(msx_ctx *ctx, const msx_checkpoint *c, const char *name,
                             const float *values, int64_t first, int64_t n) {
    if (all_finite(values, n)) return MSX_OK;
    int64_t i = 0;
    while (isfinite(values[i])) i++;
    return msx__fail(ctx, MSX_E_FORMAT,
                     "%s: tensor %s: element %" PRId64 " is %s; the weights are damaged, "
                     "use another file or allow non-finite values",
                     called(c, "model in memory"), name, first + i,
                     isnan(values[i]) ? "not a number" : "infinite");
}

msx_status msx__read_weights(msx_ctx *ctx, const msx_checkpoint *c, const char *name, float *out,
                             int64_t n, bool allow_nonfinite) {
    MSX_TRY(msx_checkpoint_read(c, msx_checkpoint_find(c, name), out, n));
    return allow_nonfinite ? MSX_OK : msx__check_finite(ctx, c, name, out, 0, n);
}
