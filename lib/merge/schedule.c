/* SPDX-License-Identifier: Apache-2.0 */
/* A plan made concrete: which models take part, and for every group the method with all its values. */
#include "merge/merge.h"

#include <string.h>

/* The plan's models among the given ones; a plan that names none speaks of all of them. */
static msx_status choose_models(msx__schedule *s, const msx_plan *plan, const char *const *names,
                                size_t n) {
    s->models[0] = 0;
    if (!plan->n_models) {
        for (size_t i = 1; i < n; i++) s->models[i] = i;
        s->n_models = n;
        return MSX_OK;
    }
    for (size_t i = 0; i < plan->n_models; i++) {
        size_t k = 1;
        while (k < n && strcmp(names[k], plan->models[i])) k++;
        if (k == n)
            return msx__unknown(s->ctx, "model of the plan", plan->models[i], names + 1, n - 1);
        s->models[i + 1] = k;
    }
    s->n_models = plan->n_models + 1;
    return MSX_OK;
}

static msx_status fill_recipe(const msx__schedule *s, msx__recipe *r, const msx__plan_entry *e) {
    const msx_merge_method *m = e->method;
    for (size_t i = 0; i < m->n_params; i++)
        r->n_values += m->params[i].per_model ? s->n_models : 1;
    r->values = msx__calloc(s->ctx, r->n_values, sizeof *r->values);
    if (!r->values) return MSX_E_NOMEM;
    double *value = r->values;
    for (size_t i = 0; i < m->n_params; i++) {
        size_t places = m->params[i].per_model ? s->n_models : 1;
        for (size_t k = 0; k < places; k++, value++) {
            *value = msx__plan_value_of(e, i, k);
            if (*value != *value) *value = m->params[i].initial;
        }
    }
    r->method = m;
    return MSX_OK;
}

static msx_status fill(msx__schedule *s, const msx_plan *plan, const msx_arch *arch,
                       const char *const *names, size_t n) {
    MSX_TRY(choose_models(s, plan, names, n));
    MSX_TRY(msx_plan_groups(&s->groups, plan, arch));
    int64_t groups = msx_groups_count(s->groups);
    s->recipes = msx__calloc(s->ctx, (size_t)groups, sizeof *s->recipes);
    if (!s->recipes) return MSX_E_NOMEM;
    const msx__plan_entry *rest = msx__plan_entry_of(plan, "*");
    for (int64_t i = 0; i < groups; i++) {
        const msx__plan_entry *e = msx__plan_entry_of(plan, msx_groups_name(s->groups, i));
        if (!e) e = rest;
        if (e) MSX_TRY(fill_recipe(s, &s->recipes[i], e));
    }
    return MSX_OK;
}

msx_status msx__schedule_create(msx__schedule *s, const msx_plan *plan, const msx_arch *arch,
                                const char *const *names, size_t n) {
    *s = (msx__schedule){.ctx = plan->ctx};
    msx_status status = fill(s, plan, arch, names, n);
    if (status < 0) msx__schedule_free(s);
    return status;
}

void msx__schedule_free(msx__schedule *s) {
    for (int64_t i = 0; s->recipes && i < msx_groups_count(s->groups); i++)
        msx__free(s->ctx, s->recipes[i].values);
    if (s->recipes) msx__free(s->ctx, s->recipes);
    msx_groups_free(s->groups);
    *s = (msx__schedule){0};
}

const msx__recipe *msx__schedule_recipe(const msx__schedule *s, int64_t tensor) {
    int64_t group = msx__groups_of(s->groups, tensor);
    return group >= 0 && s->recipes[group].method ? &s->recipes[group] : NULL;
}

bool msx__schedule_same(const msx__schedule *a, const msx__schedule *b, int64_t tensor) {
    const msx__recipe *ra = msx__schedule_recipe(a, tensor), *rb = msx__schedule_recipe(b, tensor);
    if (!ra || !rb) return ra == rb;
    return ra->method == rb->method && a->n_models == b->n_models &&
           !memcmp(a->models, b->models, a->n_models * sizeof *a->models) &&
           ra->n_values == rb->n_values &&
           !memcmp(ra->values, rb->values, ra->n_values * sizeof *ra->values);
}

msx_status msx__merge_tensor(const msx__schedule *s, const msx_arch *arch, int64_t tensor,
                             const float *const *models, float *out,
                             const msx__merge_kernels *kernels) {
    const msx__recipe *r = msx__schedule_recipe(s, tensor);
    int64_t n = msx__tensor_elements(arch, tensor);
    if (!r)
        return msx__kernel_status(
            kernels->ops->copy(kernels->dev, out, models[0], (size_t)n * sizeof *out));
    int64_t dims[MSX_MAX_RANK];
    char why[256] = "";
    msx_merge_call call = {
        .struct_size = sizeof call,
        .tensor = msx_arch_tensor_name(arch, tensor),
        .elements = n,
        .rank = msx_arch_tensor_shape(arch, tensor, dims),
        .dims = dims,
        .n_models = s->n_models,
        .models = models,
        .values = r->values,
        .out = out,
        .threads = kernels->threads,
        .kernels = kernels,
        .why = why,
        .why_size = sizeof why,
    };
    msx_status status = r->method->apply(&call, r->method->payload);
    if (status >= 0) return MSX_OK;
    why[sizeof why - 1] = 0;
    return msx__fail(s->ctx, status, "group '%s': tensor %s: method '%s' failed: %s",
                     msx_groups_name(s->groups, msx__groups_of(s->groups, tensor)), call.tensor,
                     r->method->name, *why ? why : msx_status_name(status));
}

static void *kernel_alloc(size_t bytes, void *ctx) {
    return msx__alloc(ctx, bytes, 1);
}
static void kernel_free(void *memory, void *ctx) {
    msx__free(ctx, memory);
}

msx_status msx__merge_kernels_open(msx__merge_kernels *k, msx_ctx *ctx) {
    msxk_memory memory = {kernel_alloc, kernel_free, ctx};
    *k = (msx__merge_kernels){.ops = &msxk_cpu, .threads = msx_ctx_threads(ctx)};
    int code = k->ops->open(&k->dev, 0, k->threads, &memory);
    if (code == MSXK_OK) return MSX_OK;
    *k = (msx__merge_kernels){0};
    return msx__fail(ctx, msx__kernel_status(code), "the CPU kernels cannot be opened");
}

void msx__merge_kernels_set_threads(msx__merge_kernels *k, int threads) {
    k->threads = threads;
    k->ops->set_threads(k->dev, threads);
}

void msx__merge_kernels_close(msx__merge_kernels *k) {
    if (k->ops) k->ops->close(k->dev);
    *k = (msx__merge_kernels){0};
}
