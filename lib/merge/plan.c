/* SPDX-License-Identifier: Apache-2.0 */
/* Plans in memory: granularity, models and their files, own groups. */
#include "merge/merge.h"

#include <string.h>

/* ---- life -------------------------------------------------------------------------------------- */

msx_status msx_plan_create(msx_plan **out, msx_ctx *ctx) {
    if (out) *out = NULL;
    if (!out || !ctx) return msx__fail(ctx, MSX_E_ARG, "msx_plan_create: NULL argument");
    msx_plan *p = msx__calloc(ctx, 1, sizeof *p);
    if (!p) return MSX_E_NOMEM;
    p->ctx = ctx;
    p->granularity = (msx_granularity){sizeof p->granularity, 1, 1, 1};
    *out = p;
    return MSX_OK;
}

static void free_model(msx_ctx *ctx, msx__plan_model *m) {
    msx__free(ctx, m->name);
    msx__free(ctx, m->path);
    msx__free(ctx, m->file);
}

static void free_define(msx_ctx *ctx, msx__plan_define *d) {
    for (size_t i = 0; i < d->n_patterns; i++) msx__free(ctx, d->patterns[i]);
    msx__free(ctx, d->patterns);
    msx__free(ctx, d->group);
}

void msx_plan_free(msx_plan *p) {
    if (!p) return;
    msx_ctx *ctx = p->ctx;
    for (size_t i = 0; i < p->n_models; i++) free_model(ctx, &p->models[i]);
    for (size_t i = 0; i < p->n_entries; i++) msx__plan_entry_free(ctx, &p->entries[i]);
    free_model(ctx, &p->base);
    for (size_t i = 0; i < p->n_defines; i++) free_define(ctx, &p->defines[i]);
    msx__free(ctx, p->models);
    msx__free(ctx, p->entries);
    msx__free(ctx, p->defines);
    msx__free(ctx, p->folder);
    msx__free(ctx, p->source);
    msx__free(ctx, p->text);
    msx__free(ctx, p);
}

void msx__plan_changed(msx_plan *p) {
    msx__free(p->ctx, p->text);
    p->text = NULL;
    for (size_t i = 0; i <= p->n_models; i++) {
        msx__plan_model *m = i ? &p->models[i - 1] : &p->base;
        msx__free(p->ctx, m->file);
        m->file = NULL;
    }
}

/* ---- granularity, type ------------------------------------------------------------------------ */

static bool set_share(int *out, int value) {
    *out = value ? value : 1;
    return value >= 0 && value <= 4;
}

msx_status msx_plan_set_granularity(msx_plan *p, const msx_granularity *granularity) {
    if (!p) return MSX_E_ARG;
    msx_granularity g = {sizeof g, 1, 1, 1};
    if (!granularity || granularity->struct_size < sizeof g)
        return msx__fail(p->ctx, MSX_E_ARG, "msx_granularity: NULL, or struct_size is not set");
    if (!set_share(&g.encoder, granularity->encoder) ||
        !set_share(&g.prompt, granularity->prompt) || !set_share(&g.decoder, granularity->decoder))
        return msx__fail(p->ctx, MSX_E_ARG, "granularity %d, %d, %d: each must be 1 to 4",
                         granularity->encoder, granularity->prompt, granularity->decoder);
    p->granularity = g;
    msx__plan_changed(p);
    return MSX_OK;
}

void msx_plan_granularity(const msx_plan *p, msx_granularity *out) {
    if (p && out) *out = p->granularity;
}

msx_status msx_plan_set_dtype(msx_plan *p, msx_dtype dtype) {
    static const msx_dtype floats[] = {MSX_DTYPE_F32, MSX_DTYPE_F16, MSX_DTYPE_BF16, MSX_DTYPE_F64};
    if (!p) return MSX_E_ARG;
    bool known = dtype == 0;
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) known |= dtype == floats[i];
    if (!known)
        return msx__fail(p->ctx, MSX_E_ARG,
                         "element type %d cannot be written; use f32, f16, bf16, f64", (int)dtype);
    p->dtype = dtype;
    msx__plan_changed(p);
    return MSX_OK;
}

msx_dtype msx_plan_dtype(const msx_plan *p) {
    return p ? p->dtype : (msx_dtype)0;
}

/* ---- models and their files ----------------------------------------------------------------------- */

msx_status msx_plan_add_model(msx_plan *p, const char *name) {
    if (!p) return MSX_E_ARG;
    if (!msx__legal_name(name, "_-"))
        return msx__fail(p->ctx, MSX_E_ARG,
                         "model name '%.100s': use 1 to %d letters, digits, '_' and '-'",
                         name ? name : "", MSX__MAX_NAME);
    if (!strcmp(name, "base"))
        return msx__fail(p->ctx, MSX_E_ARG, "the base takes part in every plan; do not name it");
    for (size_t i = 0; i < p->n_models; i++)
        if (!strcmp(p->models[i].name, name))
            return msx__fail(p->ctx, MSX_E_EXISTS, "model '%s' is named twice", name);
    if (p->n_models + 1 >= MSX__MAX_MODELS)
        return msx__fail(p->ctx, MSX_E_LIMIT, "more than %d models", MSX__MAX_MODELS - 1);
    char *copy = msx__strdup(p->ctx, name);
    msx__plan_model *models =
        copy ? msx__realloc(p->ctx, p->models, p->n_models + 1, sizeof *models) : NULL;
    if (!models) {
        msx__free(p->ctx, copy);
        return MSX_E_NOMEM;
    }
    p->models = models;
    models[p->n_models++] = (msx__plan_model){.name = copy};
    msx__plan_changed(p);
    return MSX_OK;
}

int64_t msx_plan_model_count(const msx_plan *p) {
    return p ? (int64_t)p->n_models : 0;
}

const char *msx_plan_model(const msx_plan *p, int64_t i) {
    return p && i >= 0 && i < (int64_t)p->n_models ? p->models[i].name : NULL;
}

int64_t msx__plan_model_index(const msx_plan *p, const char *name) {
    if (!strcmp(name, "base")) return 0;
    for (size_t i = 0; i < p->n_models; i++)
        if (!strcmp(p->models[i].name, name)) return (int64_t)i + 1;
    return -1;
}

static msx__plan_model *find_model(const msx_plan *p, const char *name) {
    int64_t i = name ? msx__plan_model_index(p, name) : -1;
    return i < 0 ? NULL : i ? &p->models[i - 1] : (msx__plan_model *)&p->base;
}

/* Can be kept in YAML between quotes: no character that YAML refuses or takes for the end of a line. */
static bool is_path(const char *path) {
    static const char *const refused[] = {"\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf",
                                          "\xef\xbf\xbe", "\xef\xbf\xbf"};
    if (!msx__is_line(path, MSX__MAX_PATH)) return false;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strstr(path, refused[i])) return false;
    for (const unsigned char *c = (const unsigned char *)path; *c; c++)
        if (c[0] == 0xc2 && c[1] < 0xa0) return false; /* control characters of 8 bits */
    return true;
}

msx_status msx_plan_set_path(msx_plan *p, const char *model, const char *path) {
    if (!p) return MSX_E_ARG;
    msx__plan_model *m = find_model(p, model);
    if (!m)
        return msx__fail(p->ctx, MSX_E_NOTFOUND, "the plan names no model '%.100s'; add it first",
                         model ? model : "");
    if (path && !is_path(path))
        return msx__fail(p->ctx, MSX_E_ARG,
                         "model '%s': the path must be 1 to %d bytes of UTF-8 without control "
                         "characters",
                         model, MSX__MAX_PATH);
    char *copy = path ? msx__strdup(p->ctx, path) : NULL;
    if (path && !copy) return MSX_E_NOMEM;
    msx__free(p->ctx, m->path);
    m->path = copy;
    msx__plan_changed(p);
    return MSX_OK;
}

const char *msx_plan_path(const msx_plan *p, const char *model) {
    const msx__plan_model *m = p ? find_model(p, model) : NULL;
    return m ? m->path : NULL;
}

msx_status msx_plan_set_folder(msx_plan *p, const char *folder) {
    if (!p) return MSX_E_ARG;
    char *copy = folder ? msx__strdup(p->ctx, folder) : NULL;
    if (folder && !copy) return MSX_E_NOMEM;
    msx__free(p->ctx, p->folder);
    p->folder = copy;
    msx__plan_changed(p);
    return MSX_OK;
}

msx_status msx__plan_begin_beside(msx_plan *p, const char *file) {
    const char *slash = strrchr(file, '/');
    char *folder = slash ? msx__strndup(p->ctx, file, (size_t)(slash - file) + 1) : NULL;
    if (slash && !folder) return MSX_E_NOMEM;
    msx_status status = msx_plan_set_folder(p, folder);
    msx__free(p->ctx, folder);
    return status;
}

msx_status msx__plan_resolve(char **out, const msx_plan *p, const msx__plan_model *m) {
    *out = NULL;
    if (!m->path) return MSX_OK;
    msx__buffer b;
    msx__buffer_init(&b, p->ctx);
    if (p->folder && *p->folder && *m->path != '/') {
        msx__buffer_text(&b, p->folder);
        if (p->folder[strlen(p->folder) - 1] != '/') msx__buffer_text(&b, "/");
    }
    msx__buffer_text(&b, m->path);
    if (b.failed) {
        msx__buffer_free(&b);
        return MSX_E_NOMEM;
    }
    *out = b.data;
    return MSX_OK;
}

const char *msx_plan_file(msx_plan *p, const char *model) {
    msx__plan_model *m = p ? find_model(p, model) : NULL;
    if (m && !m->file) (void)msx__plan_resolve(&m->file, p, m);
    return m ? m->file : NULL;
}

/* ---- own groups --------------------------------------------------------------------------------- */

static msx_status check_group(msx_plan *p, const char *group) {
    if (msx__legal_name(group, "_-.")) return MSX_OK;
    return msx__fail(p->ctx, MSX_E_ARG,
                     "group name '%.100s': use 1 to %d letters, digits, '_', '-' and '.'",
                     group ? group : "", MSX__MAX_NAME);
}

static msx_status check_define(msx_plan *p, const char *group, const char *const *patterns,
                               size_t n) {
    MSX_TRY(check_group(p, group));
    for (size_t i = 0; i < p->n_defines; i++)
        if (!strcmp(p->defines[i].group, group))
            return msx__fail(p->ctx, MSX_E_EXISTS, "group '%s' is defined twice", group);
    if (p->n_defines == MSX__MAX_ENTRIES || n > MSX__MAX_ENTRIES)
        return msx__fail(p->ctx, MSX_E_LIMIT, "more than %d groups or patterns of one",
                         MSX__MAX_ENTRIES);
    if (!patterns || n < 1)
        return msx__fail(p->ctx, MSX_E_ARG, "group '%s' has no pattern; give at least one", group);
    static const char legal[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.*?";
    for (size_t i = 0; i < n; i++)
        if (!patterns[i] || !*patterns[i] || strlen(patterns[i]) > MSX__MAX_PATTERN ||
            strspn(patterns[i], legal) != strlen(patterns[i]))
            return msx__fail(p->ctx, MSX_E_ARG,
                             "group '%s': pattern '%.100s': use 1 to %d letters, digits, '_', '-', "
                             "'.', '*' and '?'",
                             group, patterns[i] ? patterns[i] : "", MSX__MAX_PATTERN);
    return MSX_OK;
}

msx_status msx_plan_add_group(msx_plan *p, const char *group, const char *const *patterns,
                              size_t n) {
    if (!p) return MSX_E_ARG;
    MSX_TRY(check_define(p, group, patterns, n));
    msx__plan_define d = {.group = msx__strdup(p->ctx, group)};
    d.patterns = d.group ? msx__calloc(p->ctx, n, sizeof *d.patterns) : NULL;
    bool complete = d.patterns != NULL;
    for (; complete && d.n_patterns < n; d.n_patterns++) {
        d.patterns[d.n_patterns] = msx__strdup(p->ctx, patterns[d.n_patterns]);
        if (!d.patterns[d.n_patterns]) complete = false;
    }
    msx__plan_define *defines =
        complete ? msx__realloc(p->ctx, p->defines, p->n_defines + 1, sizeof *defines) : NULL;
    if (!defines) {
        free_define(p->ctx, &d);
        return MSX_E_NOMEM;
    }
    p->defines = defines;
    defines[p->n_defines++] = d;
    msx__plan_changed(p);
    return MSX_OK;
}

/* An entry must speak of a group that there is. */
static msx_status check_entry(const msx_plan *p, const char *group, const char *const *names,
                              size_t n) {
    bool pattern = strpbrk(group, "*?") != NULL;
    for (size_t k = 0; k < n; k++)
        if (pattern ? msx__glob(group, names[k]) : !strcmp(group, names[k])) return MSX_OK;
    return msx__unknown(p->ctx, pattern ? "layer groups" : "layer group", group, names, n);
}

msx_status msx_plan_groups(msx_groups **out, const msx_plan *p, const msx_arch *arch) {
    if (out) *out = NULL;
    if (!p) return MSX_E_ARG;
    if (!out || !arch) return msx__fail(p->ctx, MSX_E_ARG, "msx_plan_groups: NULL argument");
    msx_groups *g;
    MSX_TRY(msx__groups_create(&g, p->ctx, arch, &p->granularity, p->defines, p->n_defines));
    msx_status status = MSX_OK;
    for (size_t i = 0; i < p->n_entries && status == MSX_OK; i++)
        status = msx__plan_entry_placed(
            p, &p->entries[i],
            check_entry(p, p->entries[i].group, msx__groups_names(g), (size_t)msx_groups_count(g)));
    if (status < 0) {
        msx_groups_free(g);
        return status;
    }
    *out = g;
    return MSX_OK;
}
