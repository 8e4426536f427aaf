/* SPDX-License-Identifier: Apache-2.0 */
/* The handle of a search: models, tasks and options before it begins, its trials afterwards. */
#include "search/search.h"
#include "model/device.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#define MAX_MODELS 65
#define MAX_NAME   64
#define MAX_TASK   200

msx_status msx_search_create(msx_search **out, msx_device *device) {
    if (!out || !device) return MSX_E_ARG;
    *out = NULL;
    msx_ctx *ctx = device->ctx;
    msx_search *s = msx__calloc(ctx, 1, sizeof *s);
    if (!s) return MSX_E_NOMEM;
    s->ctx = ctx;
    s->device = device;
    msx_status status = msx__options_init(&s->options, ctx);
    if (status < 0) {
        msx_search_free(s);
        return status;
    }
    *out = s;
    return MSX_OK;
}

static void free_trial(msx_ctx *ctx, msx__trial *t) {
    msx__free(ctx, t->x);
    msx__free(ctx, t->costs);
    msx__free(ctx, t->origin);
    msx__free(ctx, t->worker);
}

void msx__search_forget_trials(msx_search *s) {
    for (int64_t i = 0; i < s->n_trials; i++) free_trial(s->ctx, &s->trials[i]);
    msx__free(s->ctx, s->trials);
    s->trials = NULL;
    s->n_trials = s->trials_capacity = s->n_finished = 0;
}

void msx_search_free(msx_search *s) {
    if (!s) return;
    msx__search_free_asker(s);
    msx__store_close(s->store);
    msx__search_worker_free(&s->worker);
    msx_evaluator_free(s->evaluator);
    msx__merge_space_free(&s->space);
    msx_plan_free(s->own);
    msx_merger_free(s->merger);
    msx__search_forget_trials(s);
    for (size_t i = 0; i < s->n_models; i++) {
        msx_checkpoint_free(s->models[i].file);
        msx__free(s->ctx, s->models[i].name);
        msx__free(s->ctx, s->models[i].path);
    }
    msx__free(s->ctx, s->models);
    msx__free(s->ctx, s->model_names);
    for (size_t i = 0; i < s->n_added; i++) msx__free(s->ctx, s->added[i].labels);
    msx__free(s->ctx, s->added);
    for (int64_t i = 0; i < s->n_tasks; i++) msx__free(s->ctx, s->task_names[i]);
    msx__free(s->ctx, s->task_names);
    msx__options_free(&s->options);
    msx__free(s->ctx, s);
}

static msx_status not_begun(const msx_search *s, const char *what) {
    if (!s->prepared) return MSX_OK;
    return msx__fail(s->ctx, MSX_E_ARG, "%s: the search has begun; set everything before", what);
}

msx_status msx_search_set(msx_search *s, const char *key, const char *value) {
    if (!s) return MSX_E_ARG;
    if (!key || !value) return msx__fail(s->ctx, MSX_E_ARG, "msx_search_set: NULL argument");
    /* What does not define a search may change when it has begun: with more trials it goes on where it
     * stopped. */
    static const char *const later[] = {"trials", "lease", "worker"};
    bool may = false;
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) may |= !strcmp(key, later[i]);
    if (!may) MSX_TRY(not_begun(s, key));
    return msx__options_set(&s->options, key, value);
}

/* ---- models ------------------------------------------------------------------------------------ */

static msx_status check_model_name(const msx_search *s, const char *name) {
    size_t n = strlen(name);
    bool good = n > 0 && n <= MAX_NAME;
    for (size_t i = 0; i < n; i++)
        good = good && (isalnum((unsigned char)name[i]) || name[i] == '_' || name[i] == '-');
    if (!good)
        return msx__fail(s->ctx, MSX_E_ARG,
                         "model name '%s': use 1 to %d letters, digits, '_' and '-'", name,
                         MAX_NAME);
    if (s->n_models == 0 && strcmp(name, "base") != 0)
        return msx__fail(s->ctx, MSX_E_ARG, "the first model must be named 'base', not '%s'", name);
    for (size_t i = 0; i < s->n_models; i++)
        if (!strcmp(name, s->models[i].name))
            return msx__fail(s->ctx, MSX_E_EXISTS, "there is a model named '%s' already", name);
    if (s->n_models == MAX_MODELS)
        return msx__fail(s->ctx, MSX_E_LIMIT, "more than %d models", MAX_MODELS);
    return MSX_OK;
}

msx_status msx_search_add_model(msx_search *s, const char *name, const char *path) {
    if (!s) return MSX_E_ARG;
    if (!name || !path) return msx__fail(s->ctx, MSX_E_ARG, "msx_search_add_model: NULL argument");
    MSX_TRY(not_begun(s, name));
    MSX_TRY(check_model_name(s, name));
    msx__search_model *models = msx__realloc(s->ctx, s->models, s->n_models + 1, sizeof *s->models);
    if (!models) return MSX_E_NOMEM;
    s->models = models;
    msx__search_model added = {.name = msx__strdup(s->ctx, name),
                               .path = msx__strdup(s->ctx, path)};
    if (!added.name || !added.path) {
        msx__free(s->ctx, added.name);
        msx__free(s->ctx, added.path);
        return MSX_E_NOMEM;
    }
    s->models[s->n_models++] = added;
    return MSX_OK;
}

/* ---- tasks ------------------------------------------------------------------------------------- */

msx_status msx__search_add_task(msx_search *s, const char *name) {
    for (int64_t i = 0; i < s->n_tasks; i++)
        if (!strcmp(s->task_names[i], name))
            return msx__fail(s->ctx, MSX_E_EXISTS, "task '%s' is there already", name);
    char **names = msx__realloc(s->ctx, s->task_names, (size_t)s->n_tasks + 1, sizeof *names);
    if (!names) return MSX_E_NOMEM;
    s->task_names = names;
    if (!(names[s->n_tasks] = msx__strdup(s->ctx, name))) return MSX_E_NOMEM;
    s->n_tasks++;
    return MSX_OK;
}

static msx_status mixed(const msx_search *s) {
    return msx__fail(
        s->ctx, MSX_E_ARG,
        "tasks of data sets and tasks that the caller evaluates do not mix in a search");
}

static msx_status add_label(msx_search *s, const msx_dataset *d, const char *label) {
    msx__buffer name;
    msx__buffer_init(&name, s->ctx);
    msx__buffer_printf(&name, "%s/%s", d->name, label);
    msx_status status = name.failed ? MSX_E_NOMEM : msx__search_add_task(s, name.data);
    msx__buffer_free(&name);
    return status;
}

static msx_status collect_tasks(msx_search *s, msx__search_tasks *t, const char *const *tasks) {
    for (size_t i = 0; i < t->n; i++) {
        int64_t index = (int64_t)i;
        if (tasks) MSX_TRY(msx__dataset_find_task(&index, t->dataset, tasks[i]));
        t->labels[i] = msx_dataset_task(t->dataset, index);
        MSX_TRY(add_label(s, t->dataset, t->labels[i]));
    }
    return MSX_OK;
}

msx_status msx_search_add_tasks(msx_search *s, const msx_dataset *d, const char *const *tasks,
                                size_t n) {
    if (!s) return MSX_E_ARG;
    if (!d) return msx__fail(s->ctx, MSX_E_ARG, "msx_search_add_tasks: no data set given");
    MSX_TRY(not_begun(s, d->name));
    if (s->outside) return mixed(s);
    int64_t before = s->n_tasks;
    msx__search_tasks *list = msx__realloc(s->ctx, s->added, s->n_added + 1, sizeof *s->added);
    if (!list) return MSX_E_NOMEM;
    s->added = list;
    msx__search_tasks t = {.dataset = d, .n = tasks ? n : (size_t)msx_dataset_task_count(d)};
    t.labels = msx__alloc(s->ctx, t.n, sizeof *t.labels);
    msx_status status = t.labels ? collect_tasks(s, &t, tasks) : MSX_E_NOMEM;
    if (status < 0) {
        while (s->n_tasks > before) msx__free(s->ctx, s->task_names[--s->n_tasks]);
        msx__free(s->ctx, t.labels);
        return status;
    }
    s->added[s->n_added++] = t;
    return MSX_OK;
}

msx_status msx_search_add_outside_task(msx_search *s, const char *name) {
    if (!s) return MSX_E_ARG;
    if (!name || !*name || strlen(name) > MAX_TASK)
        return msx__fail(s->ctx, MSX_E_ARG, "the name of a task has 1 to %d bytes", MAX_TASK);
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c < 32 || *c == 127 || *c == '=' || *c == ',')
            return msx__fail(s->ctx, MSX_E_ARG,
                             "task '%s': no control characters, '=' or ',' in a name", name);
    MSX_TRY(not_begun(s, name));
    if (s->n_added > 0) return mixed(s);
    s->outside = true;
    return msx__search_add_task(s, name);
}

int64_t msx_search_task_count(const msx_search *s) {
    return s ? s->n_tasks : 0;
}

const char *msx_search_task(const msx_search *s, int64_t i) {
    return s && i >= 0 && i < s->n_tasks ? s->task_names[i] : NULL;
}

/* ---- trials ------------------------------------------------------------------------------------ */

/* The outcome of a trial, or who runs it. */
static msx_status take_state(msx_search *s, msx__trial *t, const msx__store_trial *from) {
    size_t m = (size_t)s->n_tasks;
    char *worker = NULL;
    double *costs = NULL;
    if (from->state == MSX__STORE_RUNNING && !(worker = msx__strdup(s->ctx, from->worker)))
        return MSX_E_NOMEM;
    if (from->costs && !(costs = msx__alloc(s->ctx, m, sizeof *costs))) {
        msx__free(s->ctx, worker);
        return MSX_E_NOMEM;
    }
    msx__free(s->ctx, t->worker);
    msx__free(s->ctx, t->costs);
    t->state = from->state;
    t->worker = worker;
    t->attempt = from->attempt;
    t->lease = from->lease;
    t->costs = costs;
    t->mean = NAN;
    if (!costs) return MSX_OK;
    memcpy(costs, from->costs, m * sizeof *costs);
    t->mean = 0;
    for (size_t i = 0; i < m; i++) t->mean += costs[i];
    t->mean /= (double)m;
    return MSX_OK;
}

static msx_status new_trial(msx_search *s, msx__trial *t, const msx__store_trial *from) {
    size_t n = (size_t)msx_space_count(s->space.space);
    *t = (msx__trial){.mean = NAN};
    t->x = msx__alloc(s->ctx, n, sizeof *t->x);
    t->origin = msx__strdup(s->ctx, from->origin);
    if (!t->x || !t->origin) return MSX_E_NOMEM;
    memcpy(t->x, from->x, n * sizeof *t->x);
    memcpy(t->history, from->history, sizeof t->history);
    return take_state(s, t, from);
}

msx_status msx__search_take_trial(msx_search *s, const msx__store_trial *from) {
    if (from->number < s->n_trials) {
        msx__trial *t = &s->trials[from->number];
        if (t->state != MSX__STORE_RUNNING) return MSX_OK; /* what is finished stays as it is */
        MSX_TRY(take_state(s, t, from));
    } else {
        MSX_TRY(msx__grow(s->ctx, (void **)&s->trials, s->n_trials, &s->trials_capacity,
                          sizeof *s->trials));
        msx_status status = new_trial(s, &s->trials[s->n_trials], from);
        if (status < 0) {
            free_trial(s->ctx, &s->trials[s->n_trials]);
            return status;
        }
        s->n_trials++;
    }
    s->n_finished += from->state != MSX__STORE_RUNNING;
    return MSX_OK;
}

static const msx__trial *trial_at(const msx_search *s, int64_t i) {
    return s && i >= 0 && i < s->n_trials ? &s->trials[i] : NULL;
}

int64_t msx_search_trials(const msx_search *s) {
    return s ? s->n_trials : 0;
}

msx_trial_state msx_search_trial_state(const msx_search *s, int64_t trial) {
    static const msx_trial_state states[] = {[MSX__STORE_RUNNING] = MSX_TRIAL_RUNNING,
                                             [MSX__STORE_DONE] = MSX_TRIAL_DONE,
                                             [MSX__STORE_RACED] = MSX_TRIAL_RACED,
                                             [MSX__STORE_FAILED] = MSX_TRIAL_FAILED};
    const msx__trial *t = trial_at(s, trial);
    return t ? states[t->state] : (msx_trial_state)0;
}

msx_status msx_search_trial_plan(msx_plan **out, const msx_search *s, int64_t trial) {
    if (out) *out = NULL;
    if (!out || !s) return MSX_E_ARG;
    const msx__trial *t = trial_at(s, trial);
    if (!t) return msx__fail(s->ctx, MSX_E_ARG, "there is no trial %" PRId64, trial);
    return msx__merge_space_plan(out, &s->space, t->x);
}

const double *msx_search_trial_costs(const msx_search *s, int64_t trial) {
    const msx__trial *t = trial_at(s, trial);
    return t ? t->costs : NULL;
}

const char *msx_search_trial_origin(const msx_search *s, int64_t trial) {
    const msx__trial *t = trial_at(s, trial);
    return t ? t->origin : NULL;
}
