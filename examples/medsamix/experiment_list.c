/* SPDX-License-Identifier: Apache-2.0 */
/* The list of data sets and tasks of a study: docs/formats/tasks.md. */
#include "experiment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20, MOST_WORD = 4096 };

typedef struct reader {
    program *p;
    study_list *list;
    const char *path;
    char *folder; /* of the list, with its slash; "" for the working folder */
    const char *at, *end;
    int line;
    char word[MOST_WORD + 1];
} reader;

static int list_fail(reader *r, const char *format, ...) MSX_PRINTF(2, 3);
static int list_fail(reader *r, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return program_fail(r->p, PROGRAM_INPUT, "%s:%d: %s", r->path, r->line, text);
}

/* ---- words --------------------------------------------------------------------------------------- */

static void skip_blanks(reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r')) r->at++;
}

static bool line_ends(const reader *r) {
    return r->at == r->end || *r->at == '\n' || *r->at == '#';
}

/* A word up to a character of `stop` or the end of the line, blanks around it left out; or one in
 * double quotes, in which \" and \\ stand for themselves. */
static int read_word(reader *r, const char *stop) {
    size_t n = 0;
    bool quoted = r->at < r->end && *r->at == '"';
    if (quoted) r->at++;
    for (; r->at < r->end && *r->at != '\n'; r->at++) {
        if (quoted ? *r->at == '"' : *r->at == '#' || strchr(stop, *r->at)) break;
        if (quoted && *r->at == '\\' && r->at + 1 < r->end && (r->at[1] == '"' || r->at[1] == '\\'))
            r->at++;
        if ((unsigned char)*r->at < 32 && *r->at != '\t' && *r->at != '\r')
            return list_fail(r, "a control character; lists are plain text");
        if (n == MOST_WORD) return list_fail(r, "a name of more than %d bytes", MOST_WORD);
        r->word[n++] = *r->at;
    }
    if (quoted) {
        if (r->at == r->end || *r->at != '"') return list_fail(r, "a quote is not closed");
        r->at++;
    } else {
        while (n && strchr(" \t\r", r->word[n - 1])) n--;
    }
    r->word[n] = 0;
    skip_blanks(r);
    return n ? PROGRAM_DONE : list_fail(r, "a name is missing");
}

/* ---- data sets and tasks ------------------------------------------------------------------------- */

static int add_task(reader *r, size_t dataset, int64_t index) {
    study_list *l = r->list;
    const msx_dataset *d = l->datasets[dataset];
    const char *label = msx_dataset_task(d, index);
    for (size_t i = 0; i < l->n_tasks; i++)
        if (l->tasks[i].dataset == dataset && l->tasks[i].label == label)
            return list_fail(r, "label '%s' is listed twice", label);
    if (l->n_tasks == STUDY_TASKS) return list_fail(r, "more than %d tasks", STUDY_TASKS);
    study_task *tasks = realloc(l->tasks, (l->n_tasks + 1) * sizeof *tasks);
    if (!tasks) return program_fail(r->p, PROGRAM_LIMIT, "out of memory");
    l->tasks = tasks;
    char *name = NULL;
    if (asprintf(&name, "%s/%s", msx_dataset_name(d), label) < 0)
        return program_fail(r->p, PROGRAM_LIMIT, "out of memory");
    l->tasks[l->n_tasks++] = (study_task){dataset, label, name};
    return PROGRAM_DONE;
}

static int find_label(reader *r, size_t dataset, int64_t *out) {
    const msx_dataset *d = r->list->datasets[dataset];
    int64_t n = msx_dataset_task_count(d);
    const char **names = calloc((size_t)n + 1, sizeof *names);
    if (!names) return program_fail(r->p, PROGRAM_LIMIT, "out of memory");
    for (*out = 0; *out < n; (*out)++) {
        names[*out] = msx_dataset_task(d, *out);
        if (!strcmp(names[*out], r->word)) break;
    }
    int code = PROGRAM_DONE;
    if (*out == n) {
        const char *closest = msx_closest_name(r->word, names, (size_t)n);
        code = closest ? list_fail(r, "%s has no label '%s'; did you mean '%s'?",
                                   msx_dataset_name(d), r->word, closest)
                       : list_fail(r, "%s has no label '%s'", msx_dataset_name(d), r->word);
    }
    free(names);
    return code;
}

static int open_dataset(reader *r) {
    study_list *l = r->list;
    char *path = NULL;
    if (asprintf(&path, "%s%s", r->word[0] == '/' ? "" : r->folder, r->word) < 0)
        return program_fail(r->p, PROGRAM_LIMIT, "out of memory");
    msx_dataset **datasets = realloc(l->datasets, (l->n_datasets + 1) * sizeof *datasets);
    int code = PROGRAM_DONE;
    if (datasets) {
        l->datasets = datasets;
        code = program_status(r->p, msx_dataset_open(&datasets[l->n_datasets], r->p->ctx, path));
    } else {
        code = program_fail(r->p, PROGRAM_LIMIT, "out of memory");
    }
    free(path);
    if (code) return code;
    l->n_datasets++;
    for (size_t i = 0; i + 1 < l->n_datasets; i++)
        if (!strcmp(msx_dataset_name(datasets[i]), msx_dataset_name(datasets[l->n_datasets - 1])))
            return list_fail(r, "data set %s is listed twice; name all its labels on one line",
                             msx_dataset_name(datasets[i]));
    return PROGRAM_DONE;
}

/* FOLDER, or FOLDER: LABEL, LABEL, ... */
static int read_line(reader *r) {
    int code = read_word(r, ":");
    if (!code) code = open_dataset(r);
    if (code) return code;
    size_t dataset = r->list->n_datasets - 1;
    if (line_ends(r)) {
        for (int64_t i = 0; !code && i < msx_dataset_task_count(r->list->datasets[dataset]); i++)
            code = add_task(r, dataset, i);
        return code;
    }
    char separator = ':';
    while (!line_ends(r)) {
        int64_t label = 0;
        if (*r->at != separator) return list_fail(r, "'%c' is expected behind a name", separator);
        r->at++;
        skip_blanks(r);
        code = read_word(r, ",");
        if (!code) code = find_label(r, dataset, &label);
        if (!code) code = add_task(r, dataset, label);
        if (code) return code;
        separator = ',';
    }
    return PROGRAM_DONE;
}

static int read_text(reader *r) {
    for (r->line = 1; r->at < r->end; r->line++) {
        skip_blanks(r);
        int code = line_ends(r) ? PROGRAM_DONE : read_line(r);
        if (code) return code;
        const char *next = memchr(r->at, '\n', (size_t)(r->end - r->at));
        r->at = next ? next + 1 : r->end;
    }
    if (r->list->n_tasks) return PROGRAM_DONE;
    return program_fail(r->p, PROGRAM_INPUT, "%s: names no data set; write one folder on each line",
                        r->path);
}

/* ---- the file -------------------------------------------------------------------------------------- */

/* Its bytes, released with free; NULL after a failure (message printed). */
static char *read_file(program *p, const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    char *text = file ? malloc(MOST_BYTES + 1) : NULL;
    *n = text ? fread(text, 1, MOST_BYTES + 1, file) : 0;
    bool failed = !text || ferror(file);
    int error = errno;
    if (file) fclose(file);
    if (failed)
        program_fail(p, PROGRAM_INPUT, "%s: cannot be read: %s", path, strerror(error));
    else if (*n > MOST_BYTES)
        program_fail(p, PROGRAM_INPUT, "%s: more than %d bytes: is this a list of data sets?", path,
                     MOST_BYTES);
    if (!failed && *n <= MOST_BYTES) return text;
    free(text);
    return NULL;
}

int study_list_read(program *p, const char *path, study_list *out) {
    *out = (study_list){0};
    size_t n;
    char *text = read_file(p, path, &n);
    if (!text) return PROGRAM_INPUT;
    const char *slash = strrchr(path, '/');
    reader *r = calloc(1, sizeof *r);
    char *folder = strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
    int code = r && folder ? PROGRAM_DONE : program_fail(p, PROGRAM_LIMIT, "out of memory");
    if (!code) {
        *r = (reader){
            .p = p, .list = out, .path = path, .folder = folder, .at = text, .end = text + n};
        code = read_text(r);
    }
    free(r);
    free(folder);
    free(text);
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
