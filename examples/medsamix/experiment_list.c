/* SPDX-License-Identifier: Apache-2.0 */
/* The tasks of a study: a list of names turned into data sets and labels that exist. */
#include "experiment.h"
#include "task_list.h"

#include <stdlib.h>
#include <string.h>

typedef struct opening {
    program *p;
    const char *path, *folder; /* of the list; folder with its slash, "" for the working folder */
    study_list *list;
} opening;

static int list_fail(const opening *o, const task_list_item *item, const char *format, ...)
    MSX_PRINTF(3, 4);
static int list_fail(const opening *o, const task_list_item *item, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return program_fail(o->p, PROGRAM_INPUT, "%s:%d: %s", o->path, item->line, text);
}

static int add_task(const opening *o, const task_list_item *item, int64_t index) {
    study_list *l = o->list;
    size_t dataset = l->n_datasets - 1;
    const msx_dataset *d = l->datasets[dataset];
    if (l->n_tasks == STUDY_TASKS)
        return list_fail(o, item, "more than %d tasks", (int)STUDY_TASKS);
    study_task *tasks = realloc(l->tasks, (l->n_tasks + 1) * sizeof *tasks);
    if (!tasks) return program_fail(o->p, PROGRAM_LIMIT, "out of memory");
    l->tasks = tasks;
    char *name = NULL;
    const char *label = msx_dataset_task(d, index);
    if (asprintf(&name, "%s/%s", msx_dataset_name(d), label) < 0)
        return program_fail(o->p, PROGRAM_LIMIT, "out of memory");
    l->tasks[l->n_tasks++] = (study_task){dataset, label, name};
    return PROGRAM_DONE;
}

static int add_label(const opening *o, const task_list_item *item, const char *label) {
    const msx_dataset *d = o->list->datasets[o->list->n_datasets - 1];
    int64_t n = msx_dataset_task_count(d), i = 0;
    const char **names = calloc((size_t)n + 1, sizeof *names);
    if (!names) return program_fail(o->p, PROGRAM_LIMIT, "out of memory");
    for (; i < n; i++) {
        names[i] = msx_dataset_task(d, i);
        if (!strcmp(names[i], label)) break;
    }
    const char *closest = i == n ? msx_closest_name(label, names, (size_t)n) : NULL;
    int code;
    if (i < n)
        code = add_task(o, item, i);
    else if (closest)
        code = list_fail(o, item, "%s has no label '%s'; did you mean '%s'?", msx_dataset_name(d),
                         label, closest);
    else
        code = list_fail(o, item, "%s has no label '%s'", msx_dataset_name(d), label);
    free(names);
    return code;
}

static int open_dataset(const opening *o, const task_list_item *item) {
    study_list *l = o->list;
    char *path = NULL;
    if (asprintf(&path, "%s%s", item->folder[0] == '/' ? "" : o->folder, item->folder) < 0)
        return program_fail(o->p, PROGRAM_LIMIT, "out of memory");
    msx_status status = msx_dataset_open(&l->datasets[l->n_datasets], o->p->ctx, path);
    free(path);
    if (status < 0) return program_status(o->p, status);
    const char *name = msx_dataset_name(l->datasets[l->n_datasets++]);
    for (size_t i = 0; i + 1 < l->n_datasets; i++)
        if (!strcmp(msx_dataset_name(l->datasets[i]), name))
            return list_fail(o, item,
                             "data set %s is listed twice; name all its labels on one line", name);
    return PROGRAM_DONE;
}

static int open_all(const opening *o, const task_list *names) {
    o->list->datasets = calloc(names->n, sizeof(msx_dataset *));
    if (!o->list->datasets) return program_fail(o->p, PROGRAM_LIMIT, "out of memory");
    int code = PROGRAM_DONE;
    for (size_t i = 0; !code && i < names->n; i++) {
        const task_list_item *item = &names->items[i];
        code = open_dataset(o, item);
        for (size_t k = 0; !code && k < item->n; k++) code = add_label(o, item, item->labels[k]);
        if (code || item->n) continue;
        int64_t all = msx_dataset_task_count(o->list->datasets[i]);
        for (int64_t k = 0; !code && k < all; k++) code = add_task(o, item, k);
    }
    return code;
}

int study_list_read(program *p, const char *path, study_list *out) {
    *out = (study_list){0};
    char error[TASK_LIST_ERROR];
    task_list names;
    if (task_list_read(&names, path, error)) return program_fail(p, PROGRAM_INPUT, "%s", error);
    const char *slash = strrchr(path, '/');
    char *folder = strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
    int code = folder ? open_all(&(opening){p, path, folder, out}, &names)
                      : program_fail(p, PROGRAM_LIMIT, "out of memory");
    free(folder);
    task_list_free(&names);
    return code;
}

void study_list_free(study_list *l) {
    for (size_t i = 0; i < l->n_tasks; i++) free(l->tasks[i].name);
    for (size_t i = 0; i < l->n_datasets; i++) msx_dataset_free(l->datasets[i]);
    free(l->tasks);
    free(l->datasets);
    *l = (study_list){0};
}

size_t study_labels(const study_list *l, size_t from, size_t end, const char *labels[STUDY_TASKS]) {
    size_t n = 0;
    for (size_t t = from; t < end && l->tasks[t].dataset == l->tasks[from].dataset; t++)
        labels[n++] = l->tasks[t].label;
    return n;
}
