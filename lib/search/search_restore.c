/* SPDX-License-Identifier: Apache-2.0 */
/* A search from nothing but its store: for asking and telling, and for looking. Options, models, tasks and
 * groups are as they were written; the space that follows from them must be the stored one. */
#include "search/search.h"

#include "model/device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOST_OBJECTS INT32_MAX
#define MOST_BLOCKS  1024

/* ---- options --------------------------------------------------------------------------------------- */

/* A text of `meta` that must be there. */
static msx_status read_text(msx_search *s, const char *key, char **out) {
    MSX_TRY(msx__store_read_meta(s->store, key, out));
    if (*out) return MSX_OK;
    return msx__fail(s->ctx, MSX_E_STORE, "%s: is damaged: %s is missing; start a new store",
                     msx__store_name(s->store), key);
}

/* Say in the last error, which speaks of an option, whose it is. */
static msx_status damaged(const msx_search *s, msx_status status) {
    char why[256];
    if (status >= 0 || status == MSX_E_NOMEM) return status;
    snprintf(why, sizeof why, "%s", msx_ctx_error(s->ctx));
    return msx__fail(s->ctx, MSX_E_STORE, "%s: is damaged or needs what this program lacks: %s",
                     msx__store_name(s->store), why);
}

static msx_status read_options(msx_search *s) {
    for (size_t i = 0; msx__options_key(i); i++) {
        const char *key = msx__options_key(i);
        char *value;
        MSX_TRY(msx__store_read_meta(s->store, key, &value));
        if (!value) continue; /* one that does not define a search */
        bool automatic = !strcmp(key, "intensity") && !strcmp(value, "auto");
        msx_status status = msx__options_set(&s->options, key, automatic ? "" : value);
        msx__free(s->ctx, value);
        MSX_TRY(damaged(s, status));
    }
    return MSX_OK;
}

/* "trees=20,..." */
static msx_status read_driver_options(msx_search *s) {
    char *list, *rest;
    MSX_TRY(read_text(s, "optimizer_options", &list));
    msx_status status = MSX_OK;
    rest = list;
    for (char *pair; status >= 0 && *list && (pair = strsep(&rest, ","));) {
        char key[128], *equal = strchr(pair, '=');
        if (equal) *equal = 0;
        snprintf(key, sizeof key, "%s.%s", s->options.optimizer, pair);
        status = damaged(s, msx__options_set(&s->options, key, equal ? equal + 1 : ""));
    }
    msx__free(s->ctx, list);
    return status;
}

/* ---- lists ----------------------------------------------------------------------------------------- */

static msx_status take_model(const char *const texts[3], int64_t number, void *payload) {
    msx_search *s = payload;
    (void)number;
    MSX_TRY(damaged(s, msx_search_add_model(s, texts[0], texts[1])));
    snprintf(s->models[s->n_models - 1].sha256, MSX__SHA256_HEX, "%s", texts[2]);
    return MSX_OK;
}

static msx_status take_task(const char *const texts[3], int64_t number, void *payload) {
    msx_search *s = payload;
    (void)number;
    return damaged(s, msx__search_add_task(s, texts[0]));
}

typedef struct groups {
    msx_search *s;
    msx__space_group *rows;
    int64_t n;
} groups;

static msx_status take_group(const char *const texts[3], int64_t elements, void *payload) {
    groups *g = payload;
    msx_ctx *ctx = g->s->ctx;
    int state = 0;
    while (state < MSX__GROUP_STATES &&
           strcmp(texts[1], msx__group_state_name((msx__group_state)state)) != 0)
        state++;
    if (state == MSX__GROUP_STATES)
        return msx__fail(ctx, MSX_E_STORE, "%s: is damaged: group %" PRId64 "; start a new store",
                         msx__store_name(g->s->store), g->n);
    msx__space_group *rows = msx__realloc(ctx, g->rows, (size_t)g->n + 1, sizeof *rows);
    if (!rows) return MSX_E_NOMEM;
    g->rows = rows;
    rows[g->n] = (msx__space_group){.name = msx__strdup(ctx, texts[0]),
                                    .elements = elements,
                                    .state = (msx__group_state)state,
                                    .method_column = -1};
    return rows[g->n++].name ? MSX_OK : MSX_E_NOMEM;
}

/* ---- the space ------------------------------------------------------------------------------------- */

/* What the groups are used by, and the user's own ones, which the rows of the store do not say. */
static msx_status read_groups(msx_search *s, groups *g, char **uses) {
    char *own;
    MSX_TRY(msx__store_read_list(s->store, MSX__STORE_GROUPS, take_group, g));
    MSX_TRY(read_text(s, "group_uses", uses));
    MSX_TRY(read_text(s, "own_groups", &own));
    msx_status status = MSX_OK;
    if (*own) status = damaged(s, msx_plan_parse(&s->own, s->ctx, own, strlen(own), "own_groups"));
    msx__free(s->ctx, own);
    return status;
}

static msx_status restore_space(msx_search *s) {
    int64_t depth;
    char *uses = NULL;
    s->model_names = msx__alloc(s->ctx, s->n_models, sizeof *s->model_names);
    if (!s->model_names) return MSX_E_NOMEM;
    for (size_t i = 0; i < s->n_models; i++) s->model_names[i] = s->models[i].name;
    MSX_TRY(msx__search_read_number(s, "encoder_depth", 1, MOST_BLOCKS, &depth));
    groups g = {.s = s};
    msx_status status = read_groups(s, &g, &uses);
    if (status < 0) {
        for (int64_t i = 0; i < g.n; i++) msx__free(s->ctx, g.rows[i].name);
        msx__free(s->ctx, g.rows);
    } else {
        const msx__space_options options = msx__search_space_options(s);
        status = damaged(s, msx__merge_space_restore(&s->space, s->ctx, g.rows, g.n, uses, depth,
                                                     s->model_names, s->n_models, &options));
        s->staged = !strcmp(s->options.proposals, "staged");
    }
    msx__free(s->ctx, uses);
    return status;
}

static msx_status restore(msx_search *s) {
    int64_t objects;
    MSX_TRY(read_options(s));
    MSX_TRY(read_driver_options(s));
    MSX_TRY(msx__store_read_list(s->store, MSX__STORE_MODELS, take_model, s));
    MSX_TRY(msx__store_read_list(s->store, MSX__STORE_TASKS, take_task, s));
    if (s->n_models < 2 || s->n_tasks < 1)
        return msx__fail(s->ctx, MSX_E_STORE,
                         "%s: is damaged: models or tasks are missing; start a new store",
                         msx__store_name(s->store));
    MSX_TRY(msx__search_choose_optimizer(s));
    MSX_TRY(msx__search_choose_batch(s));
    MSX_TRY(restore_space(s));
    MSX_TRY(msx__search_read_number(s, "calibration_objects", 0, MOST_OBJECTS, &objects));
    msx__definition d = {
        .n_tasks = (size_t)s->n_tasks, .n_items = objects, .space = s->space.space};
    MSX_TRY(msx__store_resume(s->store, &d));
    MSX_TRY(msx__search_read_design(s));
    return msx__search_read_trials(s);
}

/* ---- opening --------------------------------------------------------------------------------------- */

/* A database would be made by connecting to it. */
static msx_status open_store(msx_search *s, const char *store) {
    if (!*store) return msx__fail(s->ctx, MSX_E_ARG, "msx_search_open: no store given");
    if (!strstr(store, "://") && access(store, F_OK) != 0)
        return msx__fail(s->ctx, MSX_E_IO, "%s: cannot be opened: %s", store, strerror(errno));
    MSX_TRY(msx__options_set(&s->options, "store", store));
    MSX_TRY(msx__store_connect(&s->store, s->ctx, store));
    if (msx__store_is_fresh(s->store))
        return msx__fail(s->ctx, MSX_E_STORE,
                         "%s: holds no search yet; begin one with models and tasks",
                         msx__store_name(s->store));
    return MSX_OK;
}

msx_status msx_search_open(msx_search **out, msx_device *device, const char *store) {
    if (out) *out = NULL;
    if (!out || !device) return MSX_E_ARG;
    if (!store) return msx__fail(device->ctx, MSX_E_ARG, "msx_search_open: no store given");
    msx_search *s;
    MSX_TRY(msx_search_create(&s, device));
    msx_status status = open_store(s, store);
    if (status >= 0) status = restore(s);
    if (status < 0) {
        msx_search_free(s);
        return status;
    }
    s->prepared = true;
    *out = s;
    return MSX_OK;
}

msx_status msx__search_needs_images(const msx_search *s) {
    if (s->evaluator) return MSX_OK;
    return msx__fail(s->ctx, MSX_E_ARG,
                     "this search has no images: its trials are asked for, evaluated elsewhere and "
                     "told");
}
