/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of merge methods, and what the library's own methods share. */
#include "merge/merge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const msx_merge_method *const builtins[] = {
    &msx__method_linear,       &msx__method_task_arithmetic,
    &msx__method_ties,         &msx__method_slerp,
    &msx__method_dare_linear,  &msx__method_dare_ties,
    &msx__method_della,        &msx__method_della_linear,
    &msx__method_breadcrumbs,  &msx__method_breadcrumbs_ties,
    &msx__method_nuslerp,      &msx__method_multislerp,
    &msx__method_karcher,      &msx__method_model_stock,
    &msx__method_sce,          &msx__method_ram,
    &msx__method_ramplus_tl,   &msx__method_nearswap,
    &msx__method_arcee_fusion, &msx__method_passthrough};
enum { N_BUILTINS = sizeof builtins / sizeof *builtins, MAX_PARAMS = 64 };

static bool legal_key(const char *name) {
    return name && *name && strlen(name) <= MSX__MAX_NAME &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static msx_status check_param(msx_ctx *ctx, const msx_merge_method *m, size_t i) {
    const msx_merge_param *p = &m->params[i];
    if (!legal_key(p->name) || !strcmp(p->name, "method"))
        return msx__fail(ctx, MSX_E_ARG,
                         "method '%s': params[%zu].name must be of lower-case letters, digits and "
                         "'_', and not 'method'",
                         m->name, i);
    for (size_t k = 0; k < i; k++)
        if (!strcmp(m->params[k].name, p->name))
            return msx__fail(ctx, MSX_E_ARG, "method '%s': params[%zu].name '%s' is used twice",
                             m->name, i, p->name);
    if (!isfinite(p->minimum) || !isfinite(p->maximum) || p->minimum > p->maximum)
        return msx__fail(
            ctx, MSX_E_ARG,
            "method '%s': params[%zu].minimum and .maximum must be finite and in order", m->name,
            i);
    if (!isnan(p->initial) && !(p->initial >= p->minimum && p->initial <= p->maximum))
        return msx__fail(ctx, MSX_E_ARG,
                         "method '%s': params[%zu].initial must lie between the bounds, or be NaN",
                         m->name, i);
    return MSX_OK;
}

static msx_status add_method(msx_ctx *ctx, const msx_merge_method *m) {
    if (m->struct_size < sizeof *m)
        return msx__fail(ctx, MSX_E_ARG, "msx_merge_method: struct_size is not set");
    if (!legal_key(m->name))
        return msx__fail(ctx, MSX_E_ARG,
                         "msx_merge_method: name must be of 1 to %d lower-case letters, digits and "
                         "'_'",
                         MSX__MAX_NAME);
    if (!m->apply) return msx__fail(ctx, MSX_E_ARG, "method '%s': apply is NULL", m->name);
    if (m->n_params > MAX_PARAMS || (m->n_params && !m->params))
        return msx__fail(ctx, MSX_E_ARG, "method '%s': params is NULL or n_params above %d",
                         m->name, MAX_PARAMS);
    for (size_t i = 0; i < m->n_params; i++) MSX_TRY(check_param(ctx, m, i));
    return msx__registry_add(ctx, MSX__METHODS, m->name, m);
}

static msx_status add_builtins(msx_ctx *ctx) {
    for (size_t i = 0; i < N_BUILTINS; i++) MSX_TRY(add_method(ctx, builtins[i]));
    return MSX_OK;
}

msx_status msx_merge_method_register(msx_ctx *ctx, const msx_merge_method *method) {
    if (!ctx || !method)
        return msx__fail(ctx, MSX_E_ARG, "msx_merge_method_register: NULL argument");
    MSX_TRY(msx__registry_once(ctx, MSX__METHODS, add_builtins));
    return add_method(ctx, method);
}

/* Asking a context for its methods is what registers the built-in ones. */
static bool ready(const msx_ctx *ctx) {
    return ctx && msx__registry_once((msx_ctx *)ctx, MSX__METHODS, add_builtins) >= 0;
}

int64_t msx_merge_method_count(const msx_ctx *ctx) {
    return ready(ctx) ? msx__registry_count(ctx, MSX__METHODS) : 0;
}

const msx_merge_method *msx_merge_method_at(const msx_ctx *ctx, int64_t i) {
    return ready(ctx) ? msx__registry_at(ctx, MSX__METHODS, i) : NULL;
}

const msx_merge_method *msx_merge_method_find(const msx_ctx *ctx, const char *name) {
    return name && ready(ctx) ? msx__registry_find(ctx, MSX__METHODS, name) : NULL;
}

msx_status msx__method_get(msx_ctx *ctx, const char *name, const msx_merge_method **out) {
    MSX_TRY(msx__registry_once(ctx, MSX__METHODS, add_builtins));
    *out = msx__registry_find(ctx, MSX__METHODS, name);
    if (*out) return MSX_OK;
    int64_t n = msx__registry_count(ctx, MSX__METHODS);
    const char **names = msx__calloc(ctx, (size_t)n, sizeof *names);
    if (!names) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) names[i] = msx__registry_name(ctx, MSX__METHODS, i);
    msx_status status = msx__unknown(ctx, "merge method", name, names, (size_t)n);
    msx__free(ctx, names);
    return status;
}

bool msx__pair_equal(const msx_merge_call *call, size_t a, size_t b) {
    const msx__merge_kernels *k = call->kernels;
    if (k && k->piece) return false;
    const float *const *models = k && k->host ? k->host : call->models;
    size_t bytes = (size_t)call->elements * sizeof(float);
    return !bytes || !memcmp(models[a], models[b], bytes);
}

bool msx__models_equal(const msx_merge_call *call) {
    for (size_t m = 1; m < call->n_models; m++)
        if (!msx__pair_equal(call, 0, m)) return false;
    return true;
}

msx_status msx__call_copy(const msx_merge_call *call, size_t m) {
    const msx__merge_kernels *k = call->kernels;
    return msx__kernel_status(k->ops->copy(k->dev, call->out, call->models[m],
                                           (size_t)call->elements * sizeof *call->out));
}

bool msx__method_is_resident(const msx_merge_method *m, const double *values, size_t n_models) {
    if (m == &msx__method_ties && !msx__ties_is_plain(values, n_models)) return false;
    static const msx_merge_method *const resident[] = {
        &msx__method_linear, &msx__method_task_arithmetic, &msx__method_ties, &msx__method_slerp};
    for (size_t i = 0; i < sizeof resident / sizeof *resident; i++)
        if (m == resident[i]) return true;
    return false;
}

bool msx__method_is_elementwise(const msx_merge_method *m) {
    static const msx_merge_method *const elementwise[] = {
        &msx__method_linear, &msx__method_task_arithmetic, &msx__method_ram, &msx__method_nearswap,
        &msx__method_passthrough};
    for (size_t i = 0; i < sizeof elementwise / sizeof *elementwise; i++)
        if (m == elementwise[i]) return true;
    return false;
}

msx_status msx__kernel_status(int code) {
    return code == MSXK_OK         ? MSX_OK
           : code == MSXK_E_NOMEM  ? MSX_E_NOMEM
           : code == MSXK_E_DEVICE ? MSX_E_DEVICE
                                   : MSX_E_INTERNAL;
}

msx_status msx__call_refuse(const msx_merge_call *call, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (call->why) vsnprintf(call->why, call->why_size, format, args);
    va_end(args);
    return MSX_E_ARG;
}
