/* SPDX-License-Identifier: Apache-2.0 */
/* Plans from YAML text; the form is described in docs/formats/plan.md. */
#include "core/file.h"
#include "merge/merge.h"
#include "merge/yaml_tree.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    msx_ctx *ctx;
    const char *source;
    msx_plan *plan;
} reader;

static msx_status fail_at(const reader *r, const msx__yaml_node *at, msx_status status,
                          const char *what) {
    return msx__fail(r->ctx, status, "%s: %zu:%zu: %s", r->source, at->line, at->column, what);
}

/* Put the place in front of a text that a plan function has left; to a file's reader, a bad value or
 * a repeated name is bad content. */
static msx_status placed(const reader *r, const msx__yaml_node *at, msx_status status) {
    if (status >= 0 || status == MSX_E_NOMEM) return status;
    if (status == MSX_E_ARG || status == MSX_E_EXISTS) status = MSX_E_FORMAT;
    return fail_at(r, at, status, msx_ctx_error(r->ctx));
}

static msx_status need(const reader *r, const msx__yaml_node *node, msx__yaml_kind kind,
                       const char *what) {
    static const char *const kinds[] = {"", "one value", "a list [a, b]", "a mapping {key: value}"};
    if (node->kind == kind) return MSX_OK;
    return msx__fail(r->ctx, MSX_E_FORMAT, "%s: %zu:%zu: %.100s must be %s", r->source, node->line,
                     node->column, what, kinds[kind]);
}

/* ---- the parts of a plan -------------------------------------------------------------------------- */

static msx_status read_version(reader *r, const msx__yaml_node *node) {
    MSX_TRY(need(r, node, MSX__YAML_SCALAR, "medsamix"));
    if (!strcmp(node->text, "1")) return MSX_OK;
    return msx__fail(r->ctx, MSX_E_UNSUPPORTED,
                     "%s: %zu:%zu: plan version '%.20s'; this library reads version 1", r->source,
                     node->line, node->column, node->text);
}

static msx_status read_granularity(reader *r, const msx__yaml_node *node) {
    msx_granularity g = {sizeof g, 1, 1, 1};
    static const char *const names[] = {"encoder", "prompt", "decoder"};
    int *const shares[] = {&g.encoder, &g.prompt, &g.decoder};
    MSX_TRY(need(r, node, MSX__YAML_MAPPING, "granularity"));
    for (const msx__yaml_node *n = node->first; n; n = n->next) {
        size_t i = 0;
        while (i < 3 && strcmp(names[i], n->key)) i++;
        if (i == 3) return placed(r, n, msx__unknown(r->ctx, "granularity", n->key, names, 3));
        MSX_TRY(need(r, n, MSX__YAML_SCALAR, n->key));
        if (strlen(n->text) != 1 || *n->text < '1' || *n->text > '4')
            return fail_at(r, n, MSX_E_FORMAT, "granularity must be 1, 2, 3 or 4");
        *shares[i] = *n->text - '0';
    }
    return placed(r, node, msx_plan_set_granularity(r->plan, &g));
}

static msx_status read_dtype(reader *r, const msx__yaml_node *node) {
    static const msx_dtype types[] = {MSX_DTYPE_F32, MSX_DTYPE_F16, MSX_DTYPE_BF16, MSX_DTYPE_F64};
    enum { TYPES = sizeof types / sizeof *types };
    const char *names[TYPES];
    MSX_TRY(need(r, node, MSX__YAML_SCALAR, "dtype"));
    for (size_t i = 0; i < TYPES; i++) {
        names[i] = msx_dtype_name(types[i]);
        if (!strcmp(names[i], node->text)) return msx_plan_set_dtype(r->plan, types[i]);
    }
    return placed(r, node, msx__unknown(r->ctx, "element type", node->text, names, TYPES));
}

static msx_status read_base(reader *r, const msx__yaml_node *node) {
    MSX_TRY(need(r, node, MSX__YAML_SCALAR, "base"));
    return placed(r, node, msx_plan_set_path(r->plan, "base", node->text));
}

/* A list of names, or a mapping from names to files, of which some may be empty. */
static msx_status read_models(reader *r, const msx__yaml_node *node) {
    bool files = node->kind == MSX__YAML_MAPPING;
    if (!files) MSX_TRY(need(r, node, MSX__YAML_SEQUENCE, "models"));
    for (const msx__yaml_node *n = node->first; n; n = n->next) {
        MSX_TRY(need(r, n, MSX__YAML_SCALAR, files ? n->key : "a model's name"));
        MSX_TRY(placed(r, n, msx_plan_add_model(r->plan, files ? n->key : n->text)));
        if (files && *n->text) MSX_TRY(placed(r, n, msx_plan_set_path(r->plan, n->key, n->text)));
    }
    return MSX_OK;
}

static msx_status read_define(reader *r, const msx__yaml_node *node) {
    MSX_TRY(need(r, node, MSX__YAML_SEQUENCE, node->key));
    size_t n = 0;
    for (const msx__yaml_node *p = node->first; p; p = p->next, n++)
        MSX_TRY(need(r, p, MSX__YAML_SCALAR, "a pattern"));
    const char **patterns = msx__calloc(r->ctx, n, sizeof *patterns);
    if (!patterns) return MSX_E_NOMEM;
    n = 0;
    for (const msx__yaml_node *p = node->first; p; p = p->next) patterns[n++] = p->text;
    msx_status status = msx_plan_add_group(r->plan, node->key, patterns, n);
    msx__free(r->ctx, patterns);
    return placed(r, node, status);
}

static msx_status read_defines(reader *r, const msx__yaml_node *node) {
    MSX_TRY(need(r, node, MSX__YAML_MAPPING, "define"));
    for (const msx__yaml_node *n = node->first; n; n = n->next) MSX_TRY(read_define(r, n));
    return MSX_OK;
}

/* A hyperparameter as it stands in an entry: of which group, which parameter, and of which model (NULL:
 * one for all). */
typedef struct place {
    const char *group, *param, *model;
} place;

/* One number, or a list of them. */
static msx_status read_numbers(reader *r, const place *p, const char *filter,
                               const msx__yaml_node *node) {
    bool list = node->kind == MSX__YAML_SEQUENCE;
    size_t n = 0;
    if (!list) MSX_TRY(need(r, node, MSX__YAML_SCALAR, node->key));
    for (const msx__yaml_node *v = list ? node->first : node; v; v = list ? v->next : NULL) n++;
    if (!n) return fail_at(r, node, MSX_E_FORMAT, "an empty list; give the values over the depth");
    double *values = msx__alloc(r->ctx, n, sizeof *values);
    if (!values) return MSX_E_NOMEM;
    msx_status status = MSX_OK;
    n = 0;
    for (const msx__yaml_node *v = list ? node->first : node; v && status == MSX_OK;
         v = list ? v->next : NULL) {
        status = need(r, v, MSX__YAML_SCALAR, list ? "a value of a list" : node->key);
        if (status == MSX_OK && !msx__parse_double(v->text, &values[n++]))
            status = msx__fail(r->ctx, MSX_E_FORMAT, "%s: %zu:%zu: '%.60s' is not a number",
                               r->source, v->line, v->column, v->text);
    }
    /* Cutting an overlong key leaves one that is too long for any name, and so unknown. */
    char key[4 * MSX__MAX_NAME];
    snprintf(key, sizeof key, "%s%s%s", p->param, p->model ? "." : "", p->model ? p->model : "");
    if (status == MSX_OK)
        status = placed(r, node, msx_plan_set_values(r->plan, p->group, key, filter, values, n));
    msx__free(r->ctx, values);
    return status;
}

/* {filter: PART, value: VALUE}; the last of a list may lack the filter. */
static msx_status read_condition(reader *r, const place *p, const msx__yaml_node *node) {
    static const char *const names[] = {"filter", "value"};
    MSX_TRY(need(r, node, MSX__YAML_MAPPING, "a value with a filter"));
    for (const msx__yaml_node *n = node->first; n; n = n->next)
        if (strcmp(n->key, names[0]) != 0 && strcmp(n->key, names[1]) != 0)
            return placed(r, n, msx__unknown(r->ctx, "key", n->key, names, 2));
    const msx__yaml_node *filter = msx__yaml_child(node, "filter");
    const msx__yaml_node *value = msx__yaml_child(node, "value");
    if (!value) return fail_at(r, node, MSX_E_FORMAT, "a filter needs 'value: NUMBER'");
    if (!filter && node->next)
        return fail_at(r, node, MSX_E_FORMAT,
                       "a value without a filter takes all tensors; put it last");
    if (filter) MSX_TRY(need(r, filter, MSX__YAML_SCALAR, "filter"));
    return read_numbers(r, p, filter ? filter->text : NULL, value);
}

static msx_status read_value(reader *r, const place *p, const msx__yaml_node *node) {
    bool conditions =
        node->kind == MSX__YAML_SEQUENCE && node->first && node->first->kind == MSX__YAML_MAPPING;
    if (!conditions) return read_numbers(r, p, NULL, node);
    for (const msx__yaml_node *n = node->first; n; n = n->next) MSX_TRY(read_condition(r, p, n));
    return MSX_OK;
}

static msx_status read_group(reader *r, const msx__yaml_node *node) {
    MSX_TRY(need(r, node, MSX__YAML_MAPPING, node->key));
    const msx__yaml_node *method = msx__yaml_child(node, "method");
    if (!method) return fail_at(r, node, MSX_E_FORMAT, "a group needs 'method: NAME'");
    MSX_TRY(need(r, method, MSX__YAML_SCALAR, "method"));
    MSX_TRY(placed(r, method, msx_plan_set_method(r->plan, node->key, method->text)));
    msx__plan_entry_place(r->plan, node->key, node->line, node->column);
    for (const msx__yaml_node *n = node->first; n; n = n->next) {
        if (n == method) continue;
        if (strchr(n->key, '.'))
            return fail_at(
                r, n, MSX_E_FORMAT,
                "a dot in a parameter; write the models' values as NAME: {MODEL: VALUE}");
        if (n->kind != MSX__YAML_MAPPING) {
            MSX_TRY(read_value(r, &(place){node->key, n->key, NULL}, n));
            continue;
        }
        for (const msx__yaml_node *v = n->first; v; v = v->next)
            MSX_TRY(read_value(r, &(place){node->key, n->key, v->key}, v));
    }
    return MSX_OK;
}

static msx_status read_groups(reader *r, const msx__yaml_node *node) {
    MSX_TRY(need(r, node, MSX__YAML_MAPPING, "groups"));
    for (const msx__yaml_node *n = node->first; n; n = n->next) MSX_TRY(read_group(r, n));
    return MSX_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------ */

/* In this order, whatever the order in the file: groups speak of models. */
static const struct part {
    const char *name;
    bool required;
    msx_status (*read)(reader *, const msx__yaml_node *);
} parts[] = {
    {"medsamix", true, read_version}, {"granularity", false, read_granularity},
    {"dtype", false, read_dtype},     {"base", false, read_base},
    {"models", false, read_models},   {"define", false, read_defines},
    {"groups", true, read_groups},
};
enum { N_PARTS = sizeof parts / sizeof *parts };

static msx_status read_plan(reader *r, const msx__yaml_node *root) {
    const char *names[N_PARTS];
    for (size_t i = 0; i < N_PARTS; i++) names[i] = parts[i].name;
    MSX_TRY(need(r, root, MSX__YAML_MAPPING, "a plan"));
    for (const msx__yaml_node *n = root->first; n; n = n->next) {
        size_t i = 0;
        while (i < N_PARTS && strcmp(names[i], n->key)) i++;
        if (i == N_PARTS) {
            msx_status status = msx__unknown(r->ctx, "key", n->key, names, N_PARTS);
            return placed(r, n, status == MSX_E_NOTFOUND ? MSX_E_FORMAT : status);
        }
    }
    for (size_t i = 0; i < N_PARTS; i++) {
        const msx__yaml_node *n = msx__yaml_child(root, parts[i].name);
        if (n) MSX_TRY(parts[i].read(r, n));
        /* a file that only defines groups is a plan that keeps them all the base's */
        bool may_lack = !parts[i].required || (parts[i].read == read_groups && r->plan->n_defines);
        if (!n && !may_lack)
            return msx__fail(r->ctx, MSX_E_FORMAT,
                             "%s: %zu:%zu: key '%s' is missing; a plan has "
                             "'medsamix: 1' and 'groups' or 'define'",
                             r->source, root->line, root->column, parts[i].name);
    }
    return MSX_OK;
}

msx_status msx_plan_parse(msx_plan **out, msx_ctx *ctx, const char *text, size_t length,
                          const char *source) {
    if (out) *out = NULL;
    if (!out || !ctx || (!text && length))
        return msx__fail(ctx, MSX_E_ARG, "msx_plan_parse: NULL argument");
    reader r = {.ctx = ctx, .source = source ? source : "plan"};
    if (length > (size_t)msx_ctx_limit(ctx, MSX_LIMIT_HEADER_BYTES))
        return msx__fail(ctx, MSX_E_LIMIT, "%s: %zu bytes, above the limit of %" PRId64, r.source,
                         length, msx_ctx_limit(ctx, MSX_LIMIT_HEADER_BYTES));
    msx__yaml_node *root;
    MSX_TRY(msx__yaml_parse(&root, ctx, text ? text : "", length, r.source));
    msx_status status = msx_plan_create(&r.plan, ctx);
    if (status >= 0 && !(r.plan->source = msx__strdup(ctx, r.source))) status = MSX_E_NOMEM;
    if (status >= 0) status = read_plan(&r, root);
    msx__yaml_free(ctx, root);
    if (status < 0) {
        msx_plan_free(r.plan);
        return status;
    }
    *out = r.plan;
    return MSX_OK;
}

msx_status msx_plan_load(msx_plan **out, msx_ctx *ctx, const char *path) {
    if (out) *out = NULL;
    if (!out || !ctx || !path) return msx__fail(ctx, MSX_E_ARG, "msx_plan_load: NULL argument");
    char *text;
    size_t length;
    MSX_TRY(msx__read_whole(ctx, path, msx_ctx_limit(ctx, MSX_LIMIT_HEADER_BYTES), &text, &length));
    msx_status status = msx_plan_parse(out, ctx, text, length, path);
    msx__free(ctx, text);
    if (status >= 0) status = msx__plan_begin_beside(*out, path);
    if (status >= 0) return MSX_OK;
    msx_plan_free(*out);
    *out = NULL;
    return status;
}
