/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan says of layer groups: an entry is a method and its hyperparameters, for the group of its
 * name or for all that a pattern names. A hyperparameter is one number, or several over the depth of the
 * entry's groups; tensors that a filter names may have others. */
#include "merge/merge.h"

#include <math.h>
#include <string.h>

/* ---- entries ------------------------------------------------------------------------------------ */

static void clear_values(msx_ctx *ctx, msx__plan_entry *e) {
    for (size_t i = 0; i < e->n_values; i++) {
        msx__free(ctx, e->values[i].filter);
        msx__free(ctx, e->values[i].anchors);
    }
    e->n_values = 0;
}

void msx__plan_entry_free(msx_ctx *ctx, msx__plan_entry *e) {
    clear_values(ctx, e);
    msx__free(ctx, e->group);
    msx__free(ctx, e->values);
}

static msx__plan_entry *entry_of(const msx_plan *p, const char *group) {
    for (size_t i = 0; i < p->n_entries; i++)
        if (!strcmp(p->entries[i].group, group)) return &p->entries[i];
    return NULL;
}

const msx__plan_entry *msx__plan_entry_for(const msx_plan *p, const char *group) {
    const msx__plan_entry *e = entry_of(p, group);
    for (size_t i = p->n_entries; i-- > 0 && !e;) {
        const char *pattern = p->entries[i].group;
        if (strpbrk(pattern, "*?") && strcmp(pattern, "*") != 0 && msx__glob(pattern, group))
            e = &p->entries[i];
    }
    return e ? e : entry_of(p, "*");
}

void msx__plan_entry_place(msx_plan *p, const char *group, size_t line, size_t column) {
    msx__plan_entry *e = entry_of(p, group);
    e->line = line;
    e->column = column;
}

msx_status msx__plan_entry_placed(const msx_plan *p, const msx__plan_entry *e, msx_status status) {
    if (status >= 0 || status == MSX_E_NOMEM || !e->line || !p->source) return status;
    return msx__fail(p->ctx, status, "%s: %zu:%zu: %s", p->source, e->line, e->column,
                     msx_ctx_error(p->ctx));
}

static msx_status check_group(msx_plan *p, const char *group) {
    if (msx__legal_name(group, "_-.*?")) return MSX_OK;
    return msx__fail(
        p->ctx, MSX_E_ARG,
        "group name '%.100s': use 1 to %d letters, digits, '_', '-' and '.', and '*' and "
        "'?' in a pattern of names",
        group ? group : "", MSX__MAX_NAME);
}

msx_status msx_plan_set_method(msx_plan *p, const char *group, const char *method) {
    if (!p) return MSX_E_ARG;
    MSX_TRY(check_group(p, group));
    if (!method) return msx__fail(p->ctx, MSX_E_ARG, "group '%s': method is NULL", group);
    const msx_merge_method *m;
    MSX_TRY(msx__method_get(p->ctx, method, &m));
    msx__plan_entry *e = entry_of(p, group);
    if (!e) {
        if (p->n_entries == MSX__MAX_ENTRIES)
            return msx__fail(p->ctx, MSX_E_LIMIT, "more than %d groups", MSX__MAX_ENTRIES);
        char *copy = msx__strdup(p->ctx, group);
        msx__plan_entry *entries =
            copy ? msx__realloc(p->ctx, p->entries, p->n_entries + 1, sizeof *entries) : NULL;
        if (!entries) {
            msx__free(p->ctx, copy);
            return MSX_E_NOMEM;
        }
        p->entries = entries;
        e = &entries[p->n_entries++];
        *e = (msx__plan_entry){.group = copy};
    }
    clear_values(p->ctx, e);
    e->method = m;
    msx__plan_changed(p);
    return MSX_OK;
}

/* ---- keys ------------------------------------------------------------------------------------------ */

static msx_status unknown_param(const msx_plan *p, const msx_merge_method *m, const char *word) {
    if (!m->n_params)
        return msx__fail(p->ctx, MSX_E_NOTFOUND,
                         "method '%s' has no parameters, '%.100s' is unknown", m->name, word);
    const char **names = msx__calloc(p->ctx, m->n_params, sizeof *names);
    if (!names) return MSX_E_NOMEM;
    for (size_t i = 0; i < m->n_params; i++) names[i] = m->params[i].name;
    char what[MSX__MAX_NAME + 32];
    memcpy(what, "parameter of ", 13);
    memcpy(what + 13, m->name, strlen(m->name) + 1);
    msx_status status = msx__unknown(p->ctx, what, word, names, m->n_params);
    msx__free(p->ctx, names);
    return status;
}

/* The parameter that a key "scaling" or "weight.human" begins with; `model` is what follows the dot,
 * NULL without one. */
static const msx_merge_param *split_key(const msx_merge_method *m, const char *key,
                                        const char **model) {
    const char *dot = strchr(key, '.');
    size_t length = dot ? (size_t)(dot - key) : strlen(key);
    *model = dot ? dot + 1 : NULL;
    for (size_t i = 0; i < m->n_params; i++)
        if (strlen(m->params[i].name) == length && !strncmp(m->params[i].name, key, length))
            return &m->params[i];
    return NULL;
}

/* Find a key's parameter and model; false when there is no such key. */
static bool find_key(const msx_plan *p, const msx_merge_method *m, const char *key, size_t *param,
                     size_t *model) {
    const char *name;
    const msx_merge_param *q = split_key(m, key, &name);
    if (!q || q->per_model != (name != NULL)) return false;
    int64_t index = name ? msx__plan_model_index(p, name) : 0;
    *param = (size_t)(q - m->params);
    *model = (size_t)index;
    return index >= 0;
}

/* Why find_key() has failed. */
static msx_status explain_key(const msx_plan *p, const msx_merge_method *m, const char *key) {
    const char *name;
    const msx_merge_param *q = split_key(m, key, &name);
    if (!q) {
        char word[MSX__MAX_NAME + 1] = {0};
        memcpy(word, key, strcspn(key, ".") < MSX__MAX_NAME ? strcspn(key, ".") : MSX__MAX_NAME);
        return unknown_param(p, m, word);
    }
    if (!name)
        return msx__fail(p->ctx, MSX_E_ARG,
                         "parameter '%s' of %s has a value for every model; write '%s.NAME'",
                         q->name, m->name, q->name);
    if (!q->per_model)
        return msx__fail(p->ctx, MSX_E_NOTFOUND,
                         "parameter '%s' of %s is one value for all models; write '%s'", q->name,
                         m->name, q->name);
    const char *names[MSX__MAX_MODELS] = {"base"};
    for (size_t i = 0; i < p->n_models; i++) names[i + 1] = p->models[i].name;
    return msx__unknown(p->ctx, "model", name, names, p->n_models + 1);
}

/* ---- values ---------------------------------------------------------------------------------------- */

/* Does a value stand before a new one? Filters keep their order, what no filter names is last. */
static bool stands_before(const msx__plan_value *v, size_t param, size_t model, bool filtered) {
    if (v->param != param) return v->param < param;
    if (v->model != model) return v->model < model;
    return v->filter || !filtered;
}

static bool same_filter(const char *a, const char *b) {
    return a && b ? !strcmp(a, b) : a == b;
}

static msx__plan_value *find_value(const msx__plan_entry *e, size_t param, size_t model,
                                   const char *filter) {
    for (size_t i = 0; i < e->n_values; i++)
        if (e->values[i].param == param && e->values[i].model == model &&
            same_filter(e->values[i].filter, filter))
            return &e->values[i];
    return NULL;
}

bool msx__plan_filter_names(const char *filter, const char *tensor) {
    return strpbrk(filter, "*?") ? msx__glob(filter, tensor) : strstr(tensor, filter) != NULL;
}

double msx__plan_value_at(const msx__plan_entry *e, size_t param, size_t model, const char *tensor,
                          double depth) {
    const msx__plan_value *v = NULL;
    for (size_t i = 0; i < e->n_values && !v; i++)
        if (e->values[i].param == param && e->values[i].model == model &&
            (!e->values[i].filter || msx__plan_filter_names(e->values[i].filter, tensor)))
            v = &e->values[i];
    if (!v) return NAN;
    double place = depth * (double)(v->n - 1);
    size_t i = (size_t)floor(place);
    if (i + 1 >= v->n) return v->anchors[v->n - 1];
    double share = place - (double)i;
    return share == 0 ? v->anchors[i] : (1 - share) * v->anchors[i] + share * v->anchors[i + 1];
}

static msx_status check_filter(const msx_plan *p, const char *filter) {
    static const char legal[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.*?";
    if (*filter && strlen(filter) <= MSX__MAX_PATTERN && strspn(filter, legal) == strlen(filter))
        return MSX_OK;
    return msx__fail(p->ctx, MSX_E_ARG,
                     "filter '%.100s': use 1 to %d letters, digits, '_', '-', '.', '*' and '?'",
                     filter, MSX__MAX_PATTERN);
}

static msx_status check_values(const msx_plan *p, const msx__plan_entry *e,
                               const msx_merge_param *q, const char *key, const double *values,
                               size_t n) {
    if (!values || n < 1 || n > MSX__MAX_ENTRIES)
        return msx__fail(p->ctx, MSX_E_ARG, "'%.100s' of %s: give 1 to %d values", key,
                         e->method->name, MSX__MAX_ENTRIES);
    for (size_t i = 0; i < n; i++) {
        if (values[i] >= q->minimum && values[i] <= q->maximum) continue;
        char got[32], low[32], high[32];
        msx__format_double(values[i], got);
        msx__format_double(q->minimum, low);
        msx__format_double(q->maximum, high);
        return msx__fail(p->ctx, MSX_E_ARG, "'%.100s' of %s is %s; use %s to %s", key,
                         e->method->name, got, low, high);
    }
    return MSX_OK;
}

/* A place in the list for a value that is not there yet; it takes over filter and anchors. */
static msx_status insert(msx_plan *p, msx__plan_entry *e, msx__plan_value value) {
    if (e->n_values == MSX__MAX_ENTRIES)
        return msx__fail(p->ctx, MSX_E_LIMIT, "group '%s': more than %d values", e->group,
                         MSX__MAX_ENTRIES);
    msx__plan_value *values = msx__realloc(p->ctx, e->values, e->n_values + 1, sizeof *values);
    if (!values) return MSX_E_NOMEM;
    e->values = values;
    size_t i = 0;
    while (i < e->n_values &&
           stands_before(&values[i], value.param, value.model, value.filter != NULL))
        i++;
    memmove(values + i + 1, values + i, (e->n_values - i) * sizeof *values);
    values[i] = value;
    e->n_values++;
    return MSX_OK;
}

static double *copy_anchors(msx_ctx *ctx, const double *values, size_t n) {
    double *copy = msx__alloc(ctx, n, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        copy[i] = values[i] == 0 ? 0 : values[i]; /* no negative zero */
    return copy;
}

msx_status msx_plan_set_values(msx_plan *p, const char *group, const char *key, const char *filter,
                               const double *values, size_t n) {
    if (!p) return MSX_E_ARG;
    if (!group || !key) return msx__fail(p->ctx, MSX_E_ARG, "msx_plan_set_values: NULL argument");
    msx__plan_entry *e = entry_of(p, group);
    if (!e)
        return msx__fail(p->ctx, MSX_E_NOTFOUND, "group '%.100s' has no method; set that first",
                         group);
    size_t param, model;
    if (!find_key(p, e->method, key, &param, &model)) return explain_key(p, e->method, key);
    MSX_TRY(check_values(p, e, &e->method->params[param], key, values, n));
    if (filter) MSX_TRY(check_filter(p, filter));
    msx__plan_value value = {param, model, NULL, copy_anchors(p->ctx, values, n), n};
    if (!value.anchors) return MSX_E_NOMEM;
    msx__plan_value *old = find_value(e, param, model, filter);
    msx_status status = MSX_OK;
    if (old) {
        msx__free(p->ctx, old->anchors);
        old->anchors = value.anchors;
        old->n = n;
    } else {
        value.filter = filter ? msx__strdup(p->ctx, filter) : NULL;
        status = filter && !value.filter ? MSX_E_NOMEM : insert(p, e, value);
    }
    if (status < 0) {
        msx__free(p->ctx, value.filter);
        msx__free(p->ctx, value.anchors);
        return status;
    }
    msx__plan_changed(p);
    return MSX_OK;
}

msx_status msx_plan_set_param(msx_plan *p, const char *group, const char *key, double value) {
    return msx_plan_set_values(p, group, key, NULL, &value, 1);
}

/* ---- looking ---------------------------------------------------------------------------------------- */

int64_t msx_plan_entry_count(const msx_plan *p) {
    return p ? (int64_t)p->n_entries : 0;
}

static const msx__plan_entry *entry_at(const msx_plan *p, int64_t i) {
    return p && i >= 0 && i < (int64_t)p->n_entries ? &p->entries[i] : NULL;
}

const char *msx_plan_entry_group(const msx_plan *p, int64_t i) {
    const msx__plan_entry *e = entry_at(p, i);
    return e ? e->group : NULL;
}

const char *msx_plan_entry_method(const msx_plan *p, int64_t i) {
    const msx__plan_entry *e = entry_at(p, i);
    return e ? e->method->name : NULL;
}

double msx_plan_entry_param(const msx_plan *p, int64_t i, const char *key) {
    const msx__plan_entry *e = entry_at(p, i);
    size_t param, model;
    if (!e || !key || !find_key(p, e->method, key, &param, &model)) return NAN;
    const msx__plan_value *v = find_value(e, param, model, NULL);
    return v && v->n == 1 ? v->anchors[0] : NAN;
}

int64_t msx_plan_entry_setting_count(const msx_plan *p, int64_t i) {
    const msx__plan_entry *e = entry_at(p, i);
    return e ? (int64_t)e->n_values : 0;
}

msx_status msx_plan_entry_setting(msx_plan_setting *out, const msx_plan *p, int64_t i, int64_t k) {
    if (!p) return MSX_E_ARG;
    if (!out || out->struct_size < sizeof *out)
        return msx__fail(p->ctx, MSX_E_ARG, "msx_plan_setting: NULL, or struct_size is not set");
    const msx__plan_entry *e = entry_at(p, i);
    if (!e || k < 0 || k >= (int64_t)e->n_values)
        return msx__fail(p->ctx, MSX_E_ARG, "the plan has no setting %" PRId64 " of entry %" PRId64,
                         k, i);
    const msx__plan_value *v = &e->values[k];
    const msx_merge_param *q = &e->method->params[v->param];
    out->param = q->name;
    out->model = !q->per_model ? NULL : v->model ? p->models[v->model - 1].name : "base";
    out->filter = v->filter;
    out->values = v->anchors;
    out->n = v->n;
    return MSX_OK;
}
