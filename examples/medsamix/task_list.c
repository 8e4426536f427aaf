/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of data sets and labels, as text: which folders and labels exist is for others to say. */
#include "task_list.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20, MOST_WORD = 4096 };

typedef struct reader {
    task_list *list;
    const char *path, *at, *end;
    int line;
    size_t n; /* bytes of `word` */
    char word[MOST_WORD + 1];
    char *error;
} reader;

static int fail(reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(reader *r, const char *format, ...) {
    int n = snprintf(r->error, TASK_LIST_ERROR, "%.300s:%d: ", r->path, r->line);
    va_list args;
    va_start(args, format);
    vsnprintf(r->error + n, (size_t)(TASK_LIST_ERROR - n), format, args);
    va_end(args);
    return -1;
}

/* ---- words ------------------------------------------------------------------------------------------- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static void skip_blanks(reader *r) {
    while (r->at < r->end && is_blank(*r->at)) r->at++;
}

static bool line_ends(const reader *r) {
    return r->at == r->end || *r->at == '\n' || *r->at == '#';
}

static int add_byte(reader *r) {
    if (((unsigned char)*r->at < 32 && !is_blank(*r->at)) || *r->at == 127)
        return fail(r, "a control character; lists are plain text");
    if (r->n == MOST_WORD) return fail(r, "a name of more than %d bytes", MOST_WORD);
    r->word[r->n++] = *r->at++;
    return 0;
}

/* In double quotes; \" and \\ stand for themselves. */
static int read_quoted(reader *r) {
    for (r->at++; r->at < r->end && *r->at != '"' && *r->at != '\n';) {
        if (*r->at == '\\' && r->at + 1 < r->end && (r->at[1] == '"' || r->at[1] == '\\')) r->at++;
        if (add_byte(r)) return -1;
    }
    if (r->at == r->end || *r->at != '"') return fail(r, "a quote is not closed");
    r->at++;
    return 0;
}

/* Up to `separator`, blanks around it left out. */
static int read_plain(reader *r, char separator) {
    while (!line_ends(r) && *r->at != separator)
        if (add_byte(r)) return -1;
    while (r->n && is_blank(r->word[r->n - 1])) r->n--;
    return 0;
}

static int read_word(reader *r, char separator) {
    r->n = 0;
    bool quoted = r->at < r->end && *r->at == '"';
    if (quoted ? read_quoted(r) : read_plain(r, separator)) return -1;
    if (!r->n) return fail(r, "a name is missing");
    if (++r->list->names > TASK_LIST_NAMES)
        return fail(r, "more than %d names", (int)TASK_LIST_NAMES);
    r->word[r->n] = 0;
    skip_blanks(r);
    return 0;
}

/* ---- lines ------------------------------------------------------------------------------------------- */

static char *copy_word(reader *r) {
    char *copy = strdup(r->word);
    if (!copy) fail(r, "out of memory");
    return copy;
}

static int add_item(reader *r) {
    task_list *l = r->list;
    task_list_item *items = realloc(l->items, (l->n + 1) * sizeof *items);
    if (!items) return fail(r, "out of memory");
    l->items = items;
    items[l->n] = (task_list_item){.line = r->line, .folder = copy_word(r)};
    if (!items[l->n].folder) return -1;
    l->n++;
    return 0;
}

static int add_label(reader *r) {
    task_list_item *item = &r->list->items[r->list->n - 1];
    for (size_t i = 0; i < item->n; i++)
        if (!strcmp(item->labels[i], r->word))
            return fail(r, "label '%.100s' is listed twice", r->word);
    char **labels = realloc(item->labels, (item->n + 1) * sizeof *labels);
    if (!labels) return fail(r, "out of memory");
    item->labels = labels;
    labels[item->n] = copy_word(r);
    if (!labels[item->n]) return -1;
    item->n++;
    return 0;
}

/* FOLDER, or FOLDER: LABEL, LABEL, ... */
static int read_line(reader *r) {
    if (read_word(r, ':') || add_item(r)) return -1;
    for (char separator = ':'; !line_ends(r); separator = ',') {
        if (*r->at != separator) return fail(r, "'%c' is expected behind a name", separator);
        r->at++;
        skip_blanks(r);
        if (read_word(r, ',') || add_label(r)) return -1;
    }
    return 0;
}

static int read_all(reader *r) {
    for (r->line = 1; r->at < r->end; r->line++) {
        skip_blanks(r);
        if (!line_ends(r) && read_line(r)) return -1;
        const char *next = memchr(r->at, '\n', (size_t)(r->end - r->at));
        r->at = next ? next + 1 : r->end;
    }
    if (r->list->n) return 0;
    snprintf(r->error, TASK_LIST_ERROR, "%.300s: names no data set; write one folder on each line",
             r->path);
    return -1;
}

int task_list_parse(task_list *out, const char *text, size_t n, const char *path,
                    char error[TASK_LIST_ERROR]) {
    *out = (task_list){0};
    reader *r = malloc(sizeof *r);
    if (!r) {
        snprintf(error, TASK_LIST_ERROR, "%.300s: out of memory", path);
        return -1;
    }
    r->list = out;
    r->path = path;
    r->at = text;
    r->end = text + n;
    r->error = error;
    int failed = read_all(r);
    free(r);
    if (failed) task_list_free(out);
    return failed;
}

void task_list_free(task_list *l) {
    for (size_t i = 0; i < l->n; i++) {
        for (size_t k = 0; k < l->items[i].n; k++) free(l->items[i].labels[k]);
        free(l->items[i].labels);
        free(l->items[i].folder);
    }
    free(l->items);
    *l = (task_list){0};
}

/* ---- the file ---------------------------------------------------------------------------------------- */

int task_list_read(task_list *out, const char *path, char error[TASK_LIST_ERROR]) {
    *out = (task_list){0};
    errno = 0;
    FILE *file = fopen(path, "rb");
    char *text = file ? malloc(MOST_BYTES + 1) : NULL;
    size_t n = text ? fread(text, 1, MOST_BYTES + 1, file) : 0;
    int failed = -1;
    if (!text || ferror(file))
        snprintf(error, TASK_LIST_ERROR, "%.300s: cannot be read: %s", path, strerror(errno));
    else if (n > MOST_BYTES)
        snprintf(error, TASK_LIST_ERROR, "%.300s: more than %d bytes: is this a list of data sets?",
                 path, MOST_BYTES);
    else
        failed = task_list_parse(out, text, n, path, error);
    if (file) fclose(file);
    free(text);
    return failed;
}
