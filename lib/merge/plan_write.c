/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical text of a plan: one line per group, parameters in the method's order, every double in
 * its shortest exact form. */
#include "core/file.h"
#include "merge/merge.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* Names that other YAML readers would take for something else than a text are quoted. */
static bool is_plain(const char *name) {
    static const char *const words[] = {"y",   "n",    "yes",   "no",  "on",
                                        "off", "true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(words[i], name)) return false;
    return isalpha((unsigned char)*name) && !strpbrk(name, "*?");
}

static void add_name(msx__buffer *b, const char *name) {
    const char *quote = is_plain(name) ? "" : "\"";
    msx__buffer_printf(b, "%s%s%s", quote, name, quote);
}

static void add_number(msx__buffer *b, double value) {
    char text[32];
    msx__format_double(value, text);
    msx__buffer_text(b, text);
}

/* "0.5", or "[0.2, 0.8]" over the depth. */
static void add_anchors(msx__buffer *b, const msx__plan_value *v) {
    for (size_t i = 0; i < v->n; i++) {
        if (v->n > 1) msx__buffer_text(b, i ? ", " : "[");
        add_number(b, v->anchors[i]);
    }
    if (v->n > 1) msx__buffer_text(b, "]");
}

/* What a parameter is for one model: the values from `i` on that belong to both; returns the first one
 * behind them. With filters: "[{filter: "attn", value: 0.3}, {value: 0.5}]". */
static size_t add_value(msx__buffer *b, const msx__plan_entry *e, size_t i) {
    const msx__plan_value *first = &e->values[i];
    if (!first->filter) {
        add_anchors(b, first);
        return i + 1;
    }
    const char *separator = "[";
    for (; i < e->n_values && e->values[i].param == first->param &&
           e->values[i].model == first->model;
         i++) {
        msx__buffer_text(b, separator);
        msx__buffer_text(b, "{");
        if (e->values[i].filter) msx__buffer_printf(b, "filter: \"%s\", ", e->values[i].filter);
        msx__buffer_text(b, "value: ");
        add_anchors(b, &e->values[i]);
        msx__buffer_text(b, "}");
        separator = ", ";
    }
    msx__buffer_text(b, "]");
    return i;
}

/* "weight: {base: 0.5, human: 0.5}" for the values from `i` on that belong to one parameter; returns
 * the first value behind them. */
static size_t add_models(msx__buffer *b, const msx_plan *p, const msx__plan_entry *e, size_t i) {
    size_t param = e->values[i].param;
    const char *separator = "{";
    while (i < e->n_values && e->values[i].param == param) {
        size_t model = e->values[i].model;
        msx__buffer_text(b, separator);
        add_name(b, model ? p->models[model - 1].name : "base");
        msx__buffer_text(b, ": ");
        i = add_value(b, e, i);
        separator = ", ";
    }
    msx__buffer_text(b, "}");
    return i;
}

static void add_entry(msx__buffer *b, const msx_plan *p, const msx__plan_entry *e) {
    msx__buffer_text(b, "  ");
    add_name(b, e->group);
    msx__buffer_text(b, ": {method: ");
    add_name(b, e->method->name);
    for (size_t i = 0; i < e->n_values;) {
        const msx_merge_param *q = &e->method->params[e->values[i].param];
        msx__buffer_text(b, ", ");
        add_name(b, q->name);
        msx__buffer_text(b, ": ");
        i = q->per_model ? add_models(b, p, e, i) : add_value(b, e, i);
    }
    msx__buffer_text(b, "}\n");
}

static void add_defines(msx__buffer *b, const msx_plan *p) {
    if (p->n_defines) msx__buffer_text(b, "define:\n");
    for (size_t d = 0; d < p->n_defines; d++) {
        msx__buffer_text(b, "  ");
        add_name(b, p->defines[d].group);
        for (size_t i = 0; i < p->defines[d].n_patterns; i++)
            msx__buffer_printf(b, "%s\"%s\"", i ? ", " : ": [", p->defines[d].patterns[i]);
        msx__buffer_text(b, "]\n");
    }
}

static void add_path(msx__buffer *b, const char *path) {
    msx__buffer_text(b, "\"");
    for (const char *c = path ? path : ""; *c; c++) {
        if (*c == '"' || *c == '\\') msx__buffer_text(b, "\\");
        msx__buffer_add(b, c, 1);
    }
    msx__buffer_text(b, "\"");
}

/* A list of names, or where one has a file a mapping from names to files. */
static void add_inputs(msx__buffer *b, const msx_plan *p) {
    bool files = false;
    for (size_t i = 0; i < p->n_models; i++) files |= p->models[i].path != NULL;
    if (p->base.path) {
        msx__buffer_text(b, "base: ");
        add_path(b, p->base.path);
        msx__buffer_text(b, "\n");
    }
    msx__buffer_text(b, files ? "models: {" : "models: [");
    for (size_t i = 0; i < p->n_models; i++) {
        if (i) msx__buffer_text(b, ", ");
        add_name(b, p->models[i].name);
        if (files) msx__buffer_text(b, ": ");
        if (files) add_path(b, p->models[i].path);
    }
    msx__buffer_text(b, files ? "}\n" : "]\n");
}

void msx__plan_print(const msx_plan *p, msx__buffer *b) {
    msx__buffer_printf(b, "medsamix: 1\ngranularity: {encoder: %d, prompt: %d, decoder: %d}\n",
                       p->granularity.encoder, p->granularity.prompt, p->granularity.decoder);
    if (p->dtype) msx__buffer_printf(b, "dtype: %s\n", msx_dtype_name(p->dtype));
    add_inputs(b, p);
    add_defines(b, p);
    msx__buffer_text(b, p->n_entries ? "groups:\n" : "groups: {}\n");
    for (size_t i = 0; i < p->n_entries; i++) add_entry(b, p, &p->entries[i]);
}

const char *msx_plan_text(msx_plan *p) {
    if (!p) return NULL;
    if (p->text) return p->text;
    msx__buffer b;
    msx__buffer_init(&b, p->ctx);
    msx__plan_print(p, &b);
    if (b.failed) {
        msx__buffer_free(&b);
        return NULL;
    }
    return p->text = b.data;
}

msx_status msx_plan_save(msx_plan *p, const char *path) {
    if (!p) return MSX_E_ARG;
    if (!path) return msx__fail(p->ctx, MSX_E_ARG, "msx_plan_save: path is NULL");
    const char *text = msx_plan_text(p);
    if (!text) return MSX_E_NOMEM;
    return msx__write_whole(p->ctx, path, text, strlen(text));
}
