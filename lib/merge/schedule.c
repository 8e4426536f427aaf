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
        while (k < n && strcmp(names[k], plan->models[i].name)) k++;
        if (k == n)
            return msx__unknown(s->ctx, "model of the plan", plan->models[i].name, names + 1,
                                n - 1);
        s->models[i + 1] = k;
    }
    s->n_models = plan->n_models + 1;
    return MSX_OK;
}

/* What an entry says of a tensor whose group lies at `depth`. */
static msx_status fill_recipe(msx__schedule *s, const msx__plan_entry *e, const char *tensor,
                              double depth) {
    msx__recipe *r = &s->recipes[s->n_recipes++];
    const msx_merge_method *m = e->method;
    for (size_t i = 0; i < m->n_params; i++)
        r->n_values += m->params[i].per_model ? s->n_models : 1;
    r->method = m;
    r->values = msx__calloc(s->ctx, r->n_values, sizeof *r->values);
    if (!r->values) return MSX_E_NOMEM;
    double *value = r->values;
    for (size_t i = 0; i < m->n_params; i++) {
        size_t places = m->params[i].per_model ? s->n_models : 1;
        for (size_t k = 0; k < places; k++, value++) {
            *value = msx__plan_value_at(e, i, k, tensor, depth);
            if (*value != *value) *value = m->params[i].initial;
        }
    }
    return MSX_OK;
}

static bool has_filters(const msx__plan_entry *e) {
    for (size_t i = 0; i < e->n_values; i++)
        if (e->values[i].filter) return true;
    return false;
}

/* One recipe for the tensors of a group; where filters tell them apart one for each. */
static msx_status fill_group(msx__schedule *s, const msx_arch *arch, const msx__plan_entry *e,
                             int64_t group, double depth) {
    bool each = has_filters(e);
    int64_t shared = -1;
    for (int64_t t = 0; t < msx_arch_tensor_count(arch); t++) {
        if (msx__groups_of(s->groups, t) != group) continue;
        if (each || shared < 0) {
            shared = s->n_recipes;
            MSX_TRY(fill_recipe(s, e, msx_arch_tensor_name(arch, t), depth));
        }
        s->recipe_of[t] = shared;
    }
    return MSX_OK;
}

/* A filter that names no tensor of the entry's groups is a mistake. of (groups): each one's entry. */
static msx_status check_filters(const msx__schedule *s, const msx_arch *arch,
                                const msx__plan_entry *e, const msx__plan_entry *const *of) {
    for (size_t i = 0; i < e->n_values; i++) {
        const char *filter = e->values[i].filter;
        bool named = !filter;
        for (int64_t t = 0; t < msx_arch_tensor_count(arch) && !named; t++) {
            int64_t group = msx__groups_of(s->groups, t);
            named = group >= 0 && of[group] == e &&
                    msx__plan_filter_names(filter, msx_arch_tensor_name(arch, t));
        }
        if (!named)
            return msx__fail(s->ctx, MSX_E_NOTFOUND,
                             "group '%s': filter '%s' of %s names no tensor of it", e->group,
                             filter, e->method->params[e->values[i].param].name);
    }
    return MSX_OK;
}

/* Every group's place among those that its entry speaks of is its depth. */
static msx_status fill_groups(msx__schedule *s, const msx_plan *plan, const msx_arch *arch,
                              const msx__plan_entry **of) {
    int64_t groups = msx_groups_count(s->groups);
    for (int64_t i = 0; i < groups; i++)
        of[i] = msx__plan_entry_for(plan, msx_groups_name(s->groups, i));
    for (size_t i = 0; i < plan->n_entries; i++)
        MSX_TRY(msx__plan_entry_placed(plan, &plan->entries[i],
                                       check_filters(s, arch, &plan->entries[i], of)));
    for (int64_t i = 0; i < groups; i++) {
        int64_t before = 0, all = 0;
        if (!of[i]) continue;
        for (int64_t k = 0; k < groups; k++) {
            before += of[k] == of[i] && k < i;
            all += of[k] == of[i];
        }
        double depth = all > 1 ? (double)before / (double)(all - 1) : 0;
        MSX_TRY(fill_group(s, arch, of[i], i, depth));
    }
    return MSX_OK;
}

static msx_status fill(msx__schedule *s, const msx_plan *plan, const msx_arch *arch,
                       const char *const *names, size_t n) {
    MSX_TRY(choose_models(s, plan, names, n));
    MSX_TRY(msx_plan_groups(&s->groups, plan, arch));
    size_t tensors = (size_t)msx_arch_tensor_count(arch);
    s->recipes = msx__calloc(s->ctx, tensors, sizeof *s->recipes);
    s->recipe_of = msx__alloc(s->ctx, tensors, sizeof *s->recipe_of);
    if (!s->recipes || !s->recipe_of) return MSX_E_NOMEM;
    for (size_t t = 0; t < tensors; t++) s->recipe_of[t] = -1;
    const msx__plan_entry **of =
        msx__alloc(s->ctx, (size_t)msx_groups_count(s->groups), sizeof(const msx__plan_entry *));
    if (!of) return MSX_E_NOMEM;
    msx_status status = fill_groups(s, plan, arch, of);
    msx__free(s->ctx, of);
    return status;
}

msx_status msx__schedule_create(msx__schedule *s, const msx_plan *plan, const msx_arch *arch,
                                const char *const *names, size_t n) {
    *s = (msx__schedule){.ctx = plan->ctx};
    msx_status status = fill(s, plan, arch, names, n);
    if (status < 0) msx__schedule_free(s);
    return status;
}

void msx__schedule_free(msx__schedule *s) {
    for (int64_t i = 0; i < s->n_recipes; i++) msx__free(s->ctx, s->recipes[i].values);
    if (s->ctx) {
        msx__free(s->ctx, s->recipes);
        msx__free(s->ctx, s->recipe_of);
    }
    msx_groups_free(s->groups);
    *s = (msx__schedule){0};
}

const msx__recipe *msx__schedule_recipe(const msx__schedule *s, int64_t tensor) {
    return s->recipe_of[tensor] >= 0 ? &s->recipes[s->recipe_of[tensor]] : NULL;
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
    return msx__merge_piece(s, arch, tensor, models, msx__tensor_elements(arch, tensor), out,
                            kernels);
}

msx_status msx__merge_piece(const msx__schedule *s, const msx_arch *arch, int64_t tensor,
                            const float *const *models, int64_t n, float *out,
                            const msx__merge_kernels *kernels) {
    const msx__recipe *r = msx__schedule_recipe(s, tensor);
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
