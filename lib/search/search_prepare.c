/* SPDX-License-Identifier: Apache-2.0 */
/* From names to a search that can run: models, data, space, store. */
#include "search/search.h"
#include "search/space_groups.h"

#include <medsamix/sys/optimizer_driver.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_TEXT 24
#define MOST_TRIALS 1000000
#define MOST_BATCH  1024
#define STRETCH     64 /* trials that are read at once to learn of one */

/* ---- data and models --------------------------------------------------------------------------- */

static msx_status prepare_data(msx_search *s) {
    if (s->outside) return MSX_OK;
    msx_eval_options options;
    MSX_TRY(msx__options_eval(&s->options, &options));
    MSX_TRY(msx_evaluator_create(&s->evaluator, s->ctx, MSX_SPLIT_CALIBRATION, &options));
    for (size_t i = 0; i < s->n_added; i++)
        MSX_TRY(msx_evaluator_add(s->evaluator, s->added[i].dataset, s->added[i].labels,
                                  s->added[i].n));
    for (int64_t t = 0; t < s->n_tasks; t++)
        if (s->evaluator->tasks[t].slices == 0)
            return msx__fail(s->ctx, MSX_E_FORMAT,
                             "task '%s': no calibration slice has %" PRId64
                             " labelled pixels; leave the task out or lower min_object",
                             s->task_names[t], s->options.min_object);
    return msx__evaluator_interleave(s->evaluator, (uint64_t)s->options.seed);
}

/* The random matrix of the positional encoding is never merged. Where models have different ones, a
 * model "alone" is not quite what its file is. */
static msx_status compare_encodings(msx_search *s) {
    static const char name[] = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix";
    const msx_checkpoint *base = s->models[0].file;
    int64_t at = msx_checkpoint_find(base, name), n = msx_checkpoint_elements(base, at);
    if (at < 0 || n < 1) return MSX_OK;
    float *both = msx__alloc(s->ctx, 2 * (size_t)n, sizeof *both);
    if (!both) return MSX_E_NOMEM;
    msx_status status = msx_checkpoint_read(base, at, both, n);
    for (size_t i = 1; status >= 0 && i < s->n_models; i++) {
        const msx_checkpoint *other = s->models[i].file;
        status = msx_checkpoint_read(other, msx_checkpoint_find(other, name), both + n, n);
        if (status >= 0 && memcmp(both, both + n, (size_t)n * sizeof *both) != 0)
            msx__log(s->ctx, MSX_LOG_WARNING,
                     "model '%s' has a positional encoding of its own; merges have the base's",
                     s->models[i].name);
    }
    msx__free(s->ctx, both);
    return status;
}

/* The digest of a model's file; one that is known already must be it. */
static msx_status check_digest(const msx_search *s, msx__search_model *m) {
    char now[MSX__SHA256_HEX];
    MSX_TRY(msx_checkpoint_sha256(m->file, now));
    if (*m->sha256 && strcmp(now, m->sha256) != 0)
        return msx__fail(s->ctx, MSX_E_STORE,
                         "%s: is not what '%s' was when the search began: SHA-256 %.16s..., was "
                         "%.16s...; put that file back",
                         m->path, m->name, now, m->sha256);
    memcpy(m->sha256, now, sizeof now);
    return MSX_OK;
}

msx_status msx__search_open_models(msx_search *s) {
    msx_checkpoint **files = msx__alloc(s->ctx, s->n_models, sizeof *files);
    if (!s->model_names) s->model_names = msx__alloc(s->ctx, s->n_models, sizeof *s->model_names);
    msx_status status = files && s->model_names ? MSX_OK : MSX_E_NOMEM;
    for (size_t i = 0; status >= 0 && i < s->n_models; i++) {
        msx__search_model *m = &s->models[i];
        if (!m->file) status = msx_checkpoint_open(&m->file, s->ctx, m->path);
        if (status >= 0) status = check_digest(s, m);
        files[i] = m->file;
        s->model_names[i] = m->name;
    }
    if (status >= 0)
        status = msx_merger_create(&s->merger, s->ctx, files, s->model_names, s->n_models, false);
    msx__free(s->ctx, files);
    if (status >= 0) status = compare_encodings(s);
    return status < 0 ? status : msx__search_worker_init(&s->worker, s, s->device, NULL);
}

static void log_groups(const msx_search *s) {
    for (int64_t i = 0; i < s->space.n_groups; i++) {
        const msx__space_group *g = &s->space.groups[i];
        if (g->state == MSX__GROUP_SEARCHED) continue;
        msx__log(s->ctx, MSX_LOG_INFO, "group %s is left out of the search: %s", g->name,
                 g->state == MSX__GROUP_EQUAL
                     ? "all models are equal there"
                     : "what differs does not reach the masks under box prompts");
    }
}

msx__space_options msx__search_space_options(const msx_search *s) {
    const msx__search_options *o = &s->options;
    return (msx__space_options){
        .granularity = {msx__granularity_of(o->granularity),
                        msx__granularity_of(o->prompt_granularity),
                        msx__granularity_of(o->decoder_granularity)},
        .methods = o->methods,
        .own = s->own,
        .keep_dead = o->keep_dead_groups != 0,
    };
}

static msx_status prepare_space(msx_search *s) {
    const msx__search_options *o = &s->options;
    if (*o->groups) MSX_TRY(msx_plan_load(&s->own, s->ctx, o->groups));
    const msx__space_options options = msx__search_space_options(s);
    MSX_TRY(msx__merge_space_create(&s->space, s->ctx, s->merger, s->model_names, s->n_models,
                                    &options));
    s->staged = !s->outside && !strcmp(o->proposals, "staged");
    log_groups(s);
    return MSX_OK;
}

/* ---- the optimizer's name and options ---------------------------------------------------------- */

msx_status msx__search_choose_optimizer(msx_search *s) {
    s->optimizer_name = *s->options.optimizer ? s->options.optimizer
                        : s->n_tasks == 1     ? "smac"
                                              : "parego";
    if (!msx_optimizer_driver_find(s->ctx, s->optimizer_name))
        return msx__fail(s->ctx, MSX_E_NOTFOUND, "optimizer '%s' is not registered",
                         s->optimizer_name);
    for (size_t i = 0; i < s->options.n_driver; i++)
        if (strcmp(s->options.driver[i].driver, s->optimizer_name) != 0)
            return msx__fail(s->ctx, MSX_E_ARG, "option '%s.%s' is set, but the optimizer is '%s'",
                             s->options.driver[i].driver, s->options.driver[i].key,
                             s->optimizer_name);
    return MSX_OK;
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const msx__driver_option *)a)->key, ((const msx__driver_option *)b)->key);
}

/* "key=value,..." of the options that were set, in the order of their names. */
static msx_status driver_options_text(msx_search *s, msx__buffer *out) {
    if (s->options.n_driver > 1)
        qsort(s->options.driver, s->options.n_driver, sizeof *s->options.driver, by_key);
    msx__buffer_text(out, "");
    for (size_t i = 0; i < s->options.n_driver; i++) {
        char number[32];
        msx__format_double(s->options.driver[i].value, number);
        msx__buffer_printf(out, "%s%s=%s", i ? "," : "", s->options.driver[i].key, number);
    }
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}

/* ---- the definition ---------------------------------------------------------------------------- */

enum {
    N_TRIALS,
    N_SEED,
    N_MIN_OBJECT,
    N_IMAGES,
    N_OBJECTS,
    N_DEAD,
    N_BATCH,
    N_DEPTH,
    N_RACING,
    N_RACING_MIN,
    N_RACING_BATCH,
    N_NUMBERS
};

typedef struct definition {
    char numbers[N_NUMBERS][NUMBER_TEXT];
    char digest[MSX__SHA256_HEX];
    msx__buffer driver_options, uses;
    msx_plan *own; /* a plan of the user's own groups alone; NULL: none */
    msx__store_model *models;
    msx__store_task *tasks;
    msx__store_group *groups;
} definition;

static msx_status fill_rows(msx_search *s, definition *d) {
    d->models = msx__calloc(s->ctx, s->n_models, sizeof *d->models);
    d->tasks = msx__calloc(s->ctx, (size_t)s->n_tasks, sizeof *d->tasks);
    d->groups = msx__calloc(s->ctx, (size_t)s->space.n_groups, sizeof *d->groups);
    if (!d->models || !d->tasks || !d->groups) return MSX_E_NOMEM;
    for (size_t i = 0; i < s->n_models; i++)
        d->models[i] =
            (msx__store_model){s->models[i].name, s->models[i].path, s->models[i].sha256};
    int64_t task = 0;
    for (size_t i = 0; i < s->n_added; i++)
        for (size_t k = 0; k < s->added[i].n; k++, task++)
            d->tasks[task] = (msx__store_task){
                s->task_names[task], msx_dataset_name(s->added[i].dataset), s->added[i].labels[k]};
    for (; task < s->n_tasks; task++) /* those of the caller */
        d->tasks[task] = (msx__store_task){s->task_names[task], "", s->task_names[task]};
    for (int64_t i = 0; i < s->space.n_groups; i++)
        d->groups[i] = (msx__store_group){.name = s->space.groups[i].name,
                                          .elements = s->space.groups[i].elements,
                                          .state = msx__group_state_name(s->space.groups[i].state)};
    return MSX_OK;
}

static msx_status fill_texts(msx_search *s, definition *d) {
    const msx__search_options *o = &s->options;
    const int64_t numbers[N_NUMBERS] = {
        [N_TRIALS] = o->trials,
        [N_SEED] = o->seed,
        [N_MIN_OBJECT] = o->min_object,
        [N_IMAGES] = s->outside ? 0 : s->evaluator->n_images,
        [N_OBJECTS] = s->outside ? 0 : s->evaluator->n_items,
        [N_DEAD] = o->keep_dead_groups,
        [N_BATCH] = s->batch,
        [N_DEPTH] = s->space.depth,
        [N_RACING] = o->racing,
        [N_RACING_MIN] = o->racing_min,
        [N_RACING_BATCH] = o->racing_batch,
    };
    for (int i = 0; i < N_NUMBERS; i++)
        snprintf(d->numbers[i], NUMBER_TEXT, "%" PRId64, numbers[i]);
    if (s->outside)
        strcpy(d->digest, "outside");
    else
        msx__evaluator_digest(s->evaluator, d->digest);
    MSX_TRY(msx__merge_space_uses(&s->space, &d->uses));
    if (s->own) {
        MSX_TRY(msx__space_frame(&d->own, s->ctx, (const int[]){1, 1, 1}, s->own));
        if (!msx_plan_text(d->own)) return MSX_E_NOMEM;
    }
    return driver_options_text(s, &d->driver_options);
}

/* A number of `meta`; 0 when it is not there. */
msx_status msx__search_read_number(msx_search *s, const char *key, int64_t least, int64_t most,
                                   int64_t *out) {
    char *text;
    MSX_TRY(msx__store_read_meta(s->store, key, &text));
    char *end = text;
    long long number = text ? strtoll(text, &end, 10) : 0;
    bool good = !text || (*text && !*end && number >= least && number <= most);
    msx__free(s->ctx, text);
    *out = number;
    if (good) return MSX_OK;
    return msx__fail(s->ctx, MSX_E_STORE, "%s: is damaged: %s; start a new store",
                     msx__store_name(s->store), key);
}

/* How many trials are proposed from the same results: as asked, else as the store has it, else one for
 * each worker of who begins. */
msx_status msx__search_choose_batch(msx_search *s) {
    s->free_order = !strcmp(s->options.order, "free");
    s->batch = s->free_order ? 1 : s->options.batch;
    if (s->batch == 0) MSX_TRY(msx__search_read_number(s, "batch", 1, MOST_BATCH, &s->batch));
    if (s->batch == 0) s->batch = s->options.workers;
    return MSX_OK;
}

static msx_status open_store(msx_search *s, definition *d) {
    MSX_TRY(msx__store_connect(&s->store, s->ctx, s->options.store));
    MSX_TRY(msx__search_choose_batch(s));
    MSX_TRY(fill_texts(s, d));
    MSX_TRY(fill_rows(s, d));
    const msx__search_options *o = &s->options;
    const msx__store_meta meta[] = {
        {"schema", MSX__STORE_SCHEMA, true},
        {"version", msx_version_string(), false},
        {"optimizer", s->optimizer_name, true},
        {"optimizer_options", d->driver_options.data, true},
        {"seed", d->numbers[N_SEED], true},
        {"trials", d->numbers[N_TRIALS], false},
        {"preset", o->preset, true},
        {"box_preset", o->box_preset, true},
        {"slice_axis", o->slice_axis, true},
        {"intensity", *o->intensity ? o->intensity : "auto", true},
        {"min_object", d->numbers[N_MIN_OBJECT], true},
        {"unit", o->unit, true},
        {"empty", o->empty, true},
        {"methods", o->methods, true},
        {"granularity", o->granularity, true},
        {"prompt_granularity", o->prompt_granularity, true},
        {"decoder_granularity", o->decoder_granularity, true},
        {"own_groups", d->own ? msx_plan_text(d->own) : "", true},
        {"group_uses", d->uses.data, true},
        {"encoder_depth", d->numbers[N_DEPTH], true},
        {"proposals", s->staged ? "staged" : "whole", true},
        {"keep_dead_groups", d->numbers[N_DEAD], true},
        {"order", o->order, true},
        {"batch", d->numbers[N_BATCH], true},
        {"racing", d->numbers[N_RACING], true},
        {"racing_min", d->numbers[N_RACING_MIN], true},
        {"racing_batch", d->numbers[N_RACING_BATCH], true},
        {"racing_p", o->racing_p, true},
        {"calibration_images", d->numbers[N_IMAGES], true},
        {"calibration_objects", d->numbers[N_OBJECTS], true},
        {"data", d->digest, true},
    };
    msx__definition all = {.meta = meta,
                           .n_meta = sizeof meta / sizeof *meta,
                           .models = d->models,
                           .n_models = s->n_models,
                           .tasks = d->tasks,
                           .n_tasks = (size_t)s->n_tasks,
                           .groups = d->groups,
                           .n_groups = (size_t)s->space.n_groups,
                           .n_items = s->outside ? 0 : s->evaluator->n_items,
                           .space = s->space.space};
    return msx__store_join(s->store, &all);
}

static msx_status prepare_store(msx_search *s) {
    definition d = {0};
    msx__buffer_init(&d.driver_options, s->ctx);
    msx__buffer_init(&d.uses, s->ctx);
    msx_status status = open_store(s, &d);
    msx__buffer_free(&d.driver_options);
    msx__buffer_free(&d.uses);
    msx_plan_free(d.own);
    msx__free(s->ctx, d.models);
    msx__free(s->ctx, d.tasks);
    msx__free(s->ctx, d.groups);
    return status;
}

/* ---- what the store holds ---------------------------------------------------------------------- */

static msx_status take_trial(const msx__store_trial *t, void *payload) {
    msx_search *s = payload;
    if (t->number >= s->n_trials && msx_space_check(s->space.space, t->x) < 0)
        return msx__fail(s->ctx, MSX_E_STORE,
                         "%s: is damaged: configuration of trial %" PRId64 "; start a new store",
                         msx__store_name(s->store), t->number);
    return msx__search_take_trial(s, t);
}

/* New trials first: what a running one shows afterwards is not older than they are. Running ones lie
 * close together, so they are read in stretches. */
msx_status msx__search_read_trials(msx_search *s) {
    int64_t known = s->n_trials;
    MSX_TRY(msx__store_read_trials(s->store, known, INT64_MAX, take_trial, s));
    for (int64_t i = 0; i < known && s->n_finished < s->n_trials; i++) {
        if (s->trials[i].state != MSX__STORE_RUNNING) continue;
        int64_t last = i;
        for (int64_t k = i; k < known && k < i + STRETCH; k++)
            if (s->trials[k].state == MSX__STORE_RUNNING) last = k;
        MSX_TRY(msx__store_read_trials(s->store, i, last, take_trial, s));
        i = last;
    }
    return MSX_OK;
}

/* The initial design is sized by the trials of the first run: a longer search continues the same
 * sequence. */
msx_status msx__search_read_design(msx_search *s) {
    MSX_TRY(msx__search_read_number(s, "trials", 1, MOST_TRIALS, &s->design_trials));
    if (s->design_trials > 0) return MSX_OK;
    return msx__fail(s->ctx, MSX_E_STORE, "%s: is damaged: trials; start a new store",
                     msx__store_name(s->store));
}

static void forget(msx_search *s) {
    msx__store_close(s->store);
    msx__search_worker_free(&s->worker);
    msx_evaluator_free(s->evaluator);
    msx__merge_space_free(&s->space);
    msx_plan_free(s->own);
    msx_merger_free(s->merger);
    msx__free(s->ctx, s->model_names);
    for (size_t i = 0; i < s->n_models; i++) {
        msx_checkpoint_free(s->models[i].file);
        s->models[i].file = NULL;
        s->models[i].sha256[0] = 0;
    }
    s->store = NULL;
    s->evaluator = NULL;
    s->own = NULL;
    s->merger = NULL;
    s->model_names = NULL;
    msx__search_forget_trials(s);
}

msx_status msx__search_prepare(msx_search *s) {
    if (s->prepared) return MSX_OK;
    if (s->n_models < 2)
        return msx__fail(s->ctx, MSX_E_ARG,
                         "a search needs the base and at least one more model; %zu given",
                         s->n_models);
    if (s->n_tasks == 0) return msx__fail(s->ctx, MSX_E_ARG, "a search needs at least one task");
    msx_status status = msx__search_choose_optimizer(s);
    if (status >= 0) status = msx__search_open_models(s);
    if (status >= 0) status = prepare_data(s);
    if (status >= 0) status = prepare_space(s);
    if (status >= 0) status = prepare_store(s);
    if (status >= 0) status = msx__search_read_design(s);
    if (status >= 0) status = msx__search_read_trials(s);
    if (status < 0) {
        forget(s);
        return status;
    }
    s->prepared = true;
    return MSX_OK;
}
