/* SPDX-License-Identifier: Apache-2.0 */
/* Building the space of merges and reading configurations of it. */
#include "search/space.h"
#include "merge/merge.h"
#include "search/space_groups.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *msx__group_state_name(msx__group_state state) {
    static const char *const names[] = {"searched", "equal", "unreached"};
    return names[state];
}

/* ---- methods ----------------------------------------------------------------------------------- */

static msx_status parse_methods(const msx_merge_method **out, size_t *n, msx_ctx *ctx, char *list) {
    char *rest = list;
    for (char *word; (word = strsep(&rest, ","));) {
        const msx_merge_method *m;
        MSX_TRY(msx__method_get(ctx, word, &m));
        for (size_t i = 0; i < *n; i++)
            if (out[i] == m)
                return msx__fail(ctx, MSX_E_ARG, "merge method '%s' is listed twice", word);
        out[(*n)++] = m;
    }
    return MSX_OK;
}

msx_status msx__methods_parse(const msx_merge_method ***out, size_t *n, msx_ctx *ctx,
                              const char *list) {
    size_t words = 1;
    for (const char *p = list; *p; p++) words += *p == ',';
    const msx_merge_method **methods = msx__alloc(ctx, words, sizeof *methods);
    char *copy = msx__strdup(ctx, list);
    *n = 0;
    msx_status status = methods && copy ? parse_methods(methods, n, ctx, copy) : MSX_E_NOMEM;
    msx__free(ctx, copy);
    if (status < 0 || !out) {
        msx__free(ctx, methods);
        return status;
    }
    *out = methods;
    return MSX_OK;
}

/* ---- building ---------------------------------------------------------------------------------- */

static msx_status add_column(msx__merge_space *s, msx__space_column column) {
    int64_t at = msx_space_count(s->space) - 1; /* of the parameter just added */
    if (at >= s->columns_capacity) {
        int64_t capacity = s->columns_capacity ? 2 * s->columns_capacity : 64;
        msx__space_column *columns =
            msx__realloc(s->ctx, s->columns, (size_t)capacity, sizeof *columns);
        if (!columns) return MSX_E_NOMEM;
        s->columns = columns;
        s->columns_capacity = capacity;
    }
    s->columns[at] = column;
    return MSX_OK;
}

/* Value of a parameter when nothing is known: the method's default, else the middle. */
static double initial_of(const msx_merge_param *p) {
    return isnan(p->initial) ? 0.5 * (p->minimum + p->maximum) : p->initial;
}

/* Key of a parameter in plans: "scaling", "weight.human". */
static msx_status key_of(msx__buffer *out, const msx__merge_space *s, const msx_merge_param *p,
                         size_t model) {
    msx__buffer_text(out, p->name);
    if (p->per_model) msx__buffer_printf(out, ".%s", s->models[model]);
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}

/* Is there a column for a model of a parameter? Parameters that are not per model have model 0. */
static bool is_searched(const msx_merge_param *p, size_t model) {
    return p->search && (p->search != MSX_SEARCHED_FINE_TUNED || model > 0);
}

/* The last column exists only with those of a part's granularities that have the group. */
static msx_status condition_on_granularity(msx__merge_space *s, const msx__space_group *g) {
    const msx__space_part *p = g->part == MSX__PART_NONE ? NULL : &s->parts[g->part];
    size_t with[MSX__MAX_GRANULARITY], n = 0;
    if (!p || p->column < 0) return MSX_OK;
    for (int c = 0; c < p->n; c++)
        if (g->granularities >> p->choices[c] & 1) with[n++] = (size_t)c;
    return msx_space_condition(s->space, msx_space_count(s->space) - 1, p->column, with, n);
}

static msx_status add_value(msx__merge_space *s, msx__space_column c) {
    const msx__space_group *g = &s->groups[c.group];
    const msx_merge_method *m = s->methods[c.method];
    const msx_merge_param *p = &m->params[c.param];
    msx__buffer name;
    msx__buffer_init(&name, s->ctx);
    msx__buffer_printf(&name, "%s/%s.", g->name, m->name);
    msx_status status = key_of(&name, s, p, c.model);
    bool log = p->search == MSX_SEARCHED_LOG, unit = p->search == MSX_SEARCHED_FINE_TUNED;
    double lower = log    ? fmax(p->minimum, 1e-6 * p->maximum)
                   : unit ? fmax(p->minimum, 0)
                          : p->minimum;
    double upper = unit ? fmin(p->maximum, 1) : p->maximum;
    if (status >= 0)
        status = msx_space_add_float(s->space, name.data, lower, upper, initial_of(p), log);
    msx__buffer_free(&name);
    MSX_TRY(status);
    MSX_TRY(add_column(s, c));
    if (g->method_column < 0) return condition_on_granularity(s, g);
    return msx_space_condition(s->space, msx_space_count(s->space) - 1, g->method_column, &c.method,
                               1);
}

static msx_status add_choice(msx__merge_space *s, const char *owner, const char *what,
                             const char *const *choices, size_t n, size_t initial,
                             msx__space_column column) {
    msx__buffer name;
    msx__buffer_init(&name, s->ctx);
    msx__buffer_printf(&name, "%s%s", owner, what);
    msx_status status = name.failed
                            ? MSX_E_NOMEM
                            : msx_space_add_categorical(s->space, name.data, choices, n, initial);
    msx__buffer_free(&name);
    MSX_TRY(status);
    return add_column(s, column);
}

static msx_status add_group(msx__merge_space *s, int64_t group, const char *const *choices) {
    if (s->n_methods > 1) {
        MSX_TRY(add_choice(s, s->groups[group].name, "/method", choices, s->n_methods, 0,
                           (msx__space_column){.group = group, .param = -1}));
        s->groups[group].method_column = msx_space_count(s->space) - 1;
        MSX_TRY(condition_on_granularity(s, &s->groups[group]));
    }
    for (size_t m = 0; m < s->n_methods; m++)
        for (size_t p = 0; p < s->methods[m]->n_params; p++) {
            const msx_merge_param *param = &s->methods[m]->params[p];
            size_t places = !param->search ? 0 : param->per_model ? s->n_models : 1;
            for (size_t k = 0; k < places; k++)
                if (is_searched(param, k))
                    MSX_TRY(add_value(
                        s, (msx__space_column){
                               .group = group, .method = m, .param = (int)p, .model = k}));
        }
    return MSX_OK;
}

/* A part of which no group is searched has nothing to choose. */
static msx_status add_granularity(msx__merge_space *s, int part) {
    static const char *const owners[MSX__PARTS] = {"encoder", "prompt", "decoder"};
    static const char *const names[] = {"", "1", "2", "3", "4"};
    const char *choices[MSX__MAX_GRANULARITY];
    msx__space_part *p = &s->parts[part];
    bool searched = false;
    for (int64_t i = 0; i < s->n_groups; i++)
        searched |= s->groups[i].part == part && s->groups[i].state == MSX__GROUP_SEARCHED;
    if (!searched || p->n < 2) return MSX_OK;
    for (int c = 0; c < p->n; c++) choices[c] = names[p->choices[c]];
    MSX_TRY(add_choice(s, owners[part], ".granularity", choices, (size_t)p->n, (size_t)p->initial,
                       (msx__space_column){.group = -1, .param = -1, .part = part}));
    p->column = msx_space_count(s->space) - 1;
    return MSX_OK;
}

static msx_status add_columns(msx__merge_space *s) {
    const char **choices = msx__alloc(s->ctx, s->n_methods, sizeof *choices);
    if (!choices) return MSX_E_NOMEM;
    for (size_t m = 0; m < s->n_methods; m++) choices[m] = s->methods[m]->name;
    msx_status status = MSX_OK;
    for (int p = 0; status >= 0 && p < MSX__PARTS; p++) status = add_granularity(s, p);
    for (int64_t i = 0; status >= 0 && i < s->n_groups; i++)
        if (s->groups[i].state == MSX__GROUP_SEARCHED) status = add_group(s, i, choices);
    msx__free(s->ctx, choices);
    return status;
}

/* The columns of all groups that are searched. */
static msx_status build(msx__merge_space *s, const msx__space_options *options) {
    MSX_TRY(msx__methods_parse(&s->methods, &s->n_methods, s->ctx, options->methods));
    MSX_TRY(msx_space_create(&s->space, s->ctx));
    MSX_TRY(add_columns(s));
    bool differ = false, values = false;
    for (int64_t i = 0; i < s->n_groups; i++) differ |= s->groups[i].state == MSX__GROUP_SEARCHED;
    for (int64_t i = 0; i < msx_space_count(s->space); i++) values |= s->columns[i].group >= 0;
    if (differ && !values)
        return msx__fail(s->ctx, MSX_E_ARG,
                         "methods: '%s' has no parameters to search; name a second method",
                         options->methods);
    if (!differ)
        return msx__fail(s->ctx, MSX_E_FORMAT,
                         "the models do not differ in any tensor that reaches the masks; there is "
                         "nothing to search");
    return MSX_OK;
}

msx_status msx__merge_space_create(msx__merge_space *out, msx_ctx *ctx, const msx_merger *merger,
                                   const char *const *models, size_t n_models,
                                   const msx__space_options *options) {
    *out = (msx__merge_space){.ctx = ctx,
                              .own = options->own,
                              .models = models,
                              .n_models = n_models,
                              .depth = msx_arch_get(msx_merger_arch(merger), MSX_ARCH_DEPTH)};
    msx_status status =
        msx__space_groups(&out->groups, &out->n_groups, out->parts, ctx, merger, options);
    if (status >= 0) status = build(out, options);
    if (status < 0) msx__merge_space_free(out);
    return status;
}

msx_status msx__merge_space_restore(msx__merge_space *out, msx_ctx *ctx, msx__space_group *groups,
                                    int64_t n_groups, const char *uses, int64_t depth,
                                    const char *const *models, size_t n_models,
                                    const msx__space_options *options) {
    *out = (msx__merge_space){.ctx = ctx,
                              .own = options->own,
                              .models = models,
                              .n_models = n_models,
                              .depth = depth,
                              .groups = groups,
                              .n_groups = n_groups};
    msx_status status =
        msx__space_read_uses(groups, n_groups, out->parts, ctx, uses, depth, options);
    if (status >= 0) status = build(out, options);
    if (status < 0) msx__merge_space_free(out);
    return status;
}

void msx__merge_space_free(msx__merge_space *s) {
    if (!s->ctx) return;
    for (int64_t i = 0; s->groups && i < s->n_groups; i++) msx__free(s->ctx, s->groups[i].name);
    msx__free(s->ctx, s->groups);
    msx__free(s->ctx, s->columns);
    msx__free(s->ctx, s->methods);
    msx_space_free(s->space);
    *s = (msx__merge_space){0};
}

/* ---- plans ------------------------------------------------------------------------------------- */

/* A plan without entries, of the granularities that x says; NULL: the initial ones. */
static msx_status begin_plan(msx_plan **out, const msx__merge_space *s, const double *x) {
    int granularity[MSX__PARTS];
    for (int p = 0; p < MSX__PARTS; p++) {
        const msx__space_part *part = &s->parts[p];
        int choice = x && part->column >= 0 ? (int)x[part->column] : part->initial;
        granularity[p] = part->choices[choice];
    }
    MSX_TRY(msx__space_frame(out, s->ctx, granularity, s->own));
    for (size_t i = 1; i < s->n_models; i++) MSX_TRY(msx_plan_add_model(*out, s->models[i]));
    return MSX_OK;
}

/* Is a searched group one of the plan's, given its granularities? */
static bool belongs(const msx_plan *plan, const msx__space_group *g) {
    msx_granularity of;
    msx_plan_granularity(plan, &of);
    const int granularity[MSX__PARTS] = {of.encoder, of.prompt, of.decoder};
    if (g->state != MSX__GROUP_SEARCHED) return false;
    return g->part == MSX__PART_NONE || (g->granularities >> granularity[g->part] & 1);
}

static msx_status set_value(msx_plan *plan, const msx__merge_space *s, int64_t group,
                            const msx_merge_param *p, size_t model, double value) {
    msx__buffer key;
    msx__buffer_init(&key, s->ctx);
    msx_status status = key_of(&key, s, p, model);
    if (status >= 0) status = msx_plan_set_param(plan, s->groups[group].name, key.data, value);
    msx__buffer_free(&key);
    return status;
}

static msx_status fill_plan(msx_plan *plan, const msx__merge_space *s, const double *x) {
    for (int64_t i = 0; i < s->n_groups; i++) {
        const msx__space_group *g = &s->groups[i];
        if (!belongs(plan, g)) continue;
        size_t method = g->method_column < 0 ? 0 : (size_t)x[g->method_column];
        MSX_TRY(msx_plan_set_method(plan, g->name, s->methods[method]->name));
    }
    for (int64_t i = 0; i < msx_space_count(s->space); i++) {
        const msx__space_column *c = &s->columns[i];
        if (c->param < 0 || isnan(x[i])) continue; /* a choice, or inactive */
        MSX_TRY(
            set_value(plan, s, c->group, &s->methods[c->method]->params[c->param], c->model, x[i]));
    }
    return MSX_OK;
}

static msx_status fill_uniform(msx_plan *plan, const msx__merge_space *s,
                               const msx_merge_method *m) {
    for (int64_t i = 0; i < s->n_groups; i++) {
        if (!belongs(plan, &s->groups[i])) continue;
        MSX_TRY(msx_plan_set_method(plan, s->groups[i].name, m->name));
        for (size_t p = 0; p < m->n_params; p++) {
            size_t places = !m->params[p].search ? 0 : m->params[p].per_model ? s->n_models : 1;
            for (size_t k = 0; k < places; k++)
                if (is_searched(&m->params[p], k))
                    MSX_TRY(set_value(plan, s, i, &m->params[p], k, initial_of(&m->params[p])));
        }
    }
    return MSX_OK;
}

static msx_status finish_plan(msx_plan **out, msx_status status) {
    if (status >= 0) return MSX_OK;
    msx_plan_free(*out);
    *out = NULL;
    return status;
}

msx_status msx__merge_space_plan(msx_plan **out, const msx__merge_space *s, const double *x) {
    *out = NULL;
    msx_status status = begin_plan(out, s, x);
    if (status >= 0) status = fill_plan(*out, s, x);
    return finish_plan(out, status);
}

msx_status msx__merge_space_uniform_plan(msx_plan **out, const msx__merge_space *s,
                                         const msx_merge_method *method) {
    *out = NULL;
    msx_status status = begin_plan(out, s, NULL);
    if (status >= 0) status = fill_uniform(*out, s, method);
    return finish_plan(out, status);
}

/* ---- configurations with a meaning ------------------------------------------------------------- */

bool msx__merge_space_uniform(const msx__merge_space *s, const char *method, double *x) {
    size_t index = 0;
    while (index < s->n_methods && strcmp(s->methods[index]->name, method) != 0) index++;
    if (index == s->n_methods) return false;
    msx_space_default(s->space, x);
    for (int64_t i = 0; i < s->n_groups; i++)
        if (s->groups[i].method_column >= 0) x[s->groups[i].method_column] = (double)index;
    msx_space_repair(s->space, x);
    return true;
}

bool msx__merge_space_single(const msx__merge_space *s, size_t model, double *x) {
    if (!msx__merge_space_uniform(s, "linear", x)) return false;
    for (int64_t i = 0; i < msx_space_count(s->space); i++) {
        const msx__space_column *c = &s->columns[i];
        if (c->param < 0 || isnan(x[i])) continue;
        x[i] = c->model == model ? 1 : 0;
    }
    return true;
}

void msx__merge_space_prefix(const msx__merge_space *s, int64_t boundary, uint8_t *fixed) {
    for (int64_t i = 0; i < msx_space_count(s->space); i++) {
        const msx__space_column *c = &s->columns[i];
        int64_t use = c->group >= 0                  ? s->groups[c->group].use
                      : c->part == MSX__PART_ENCODER ? 0
                                                     : -1;
        fixed[i] = use >= 0 && use <= boundary;
    }
}

msx_status msx__merge_space_uses(const msx__merge_space *s, msx__buffer *out) {
    for (int64_t i = 0; i < s->n_groups; i++)
        msx__buffer_printf(out, "%s%" PRId64 "/%u", i ? "," : "", s->groups[i].use,
                           s->groups[i].granularities);
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}
