/* SPDX-License-Identifier: Apache-2.0 */
/* Results on stdout: aligned tables, JSON, and the check that all of it arrived. */
#include "program.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct table {
    size_t columns, n, capacity;
    bool failed;    /* out of memory */
    bool *to_right; /* columns */
    char **cells;   /* n, row by row; the heads are the first row */
};

static void add_cell(table *t, char *text) {
    if (text && t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 64;
        char **cells = realloc(t->cells, capacity * sizeof *cells);
        if (!cells) {
            free(text);
            text = NULL;
        } else {
            t->cells = cells;
            t->capacity = capacity;
        }
    }
    if (text)
        t->cells[t->n++] = text;
    else
        t->failed = true;
}

table *table_create(const char *const *heads, size_t columns) {
    table *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->columns = columns;
    t->to_right = calloc(columns + 1, sizeof *t->to_right);
    t->failed = !t->to_right;
    for (size_t i = 0; i < columns && !t->failed; i++) {
        t->to_right[i] = heads[i][0] == '>';
        add_cell(t, strdup(heads[i] + t->to_right[i]));
    }
    return t;
}

void table_cell(table *t, const char *format, ...) {
    if (!t || t->failed) return;
    va_list args;
    va_start(args, format);
    char *text;
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    /* Names come from files: nothing in them may move the cursor. */
    for (char *c = text; c && *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';
    add_cell(t, text);
}

void table_number(table *t, double value, int decimals) {
    if (isnan(value))
        table_cell(t, "-");
    else
        table_cell(t, "%.*f", decimals, value);
}

/* Characters of a UTF-8 text: bytes that do not continue one. */
static int width_of(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

int table_print(program *p, const table *t) {
    int *widths = t && !t->failed ? calloc(t->columns + 1, sizeof *widths) : NULL;
    if (!widths) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    for (size_t i = 0; i < t->n; i++) {
        int w = width_of(t->cells[i]);
        if (w > widths[i % t->columns]) widths[i % t->columns] = w;
    }
    progress_clear();
    for (size_t i = 0; i < t->n; i++) {
        size_t column = i % t->columns;
        const char *text = t->cells[i];
        int space = widths[column] - width_of(text);
        bool last = column + 1 == t->columns;
        printf("%*s%s%*s%s", t->to_right[column] ? space : 0, "", text,
               t->to_right[column] || last ? 0 : space, "", last || i + 1 == t->n ? "\n" : "  ");
    }
    free(widths);
    return PROGRAM_DONE;
}

void table_free(table *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n; i++) free(t->cells[i]);
    free(t->cells);
    free(t->to_right);
    free(t);
}

json_t *json_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

int program_json(program *p, json_t *object) {
    if (!object) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    progress_clear();
    int failed = json_dumpf(object, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    json_decref(object);
    if (!failed) putchar('\n');
    return PROGRAM_DONE; /* stdout is checked once, at the end */
}

int output_file(program *p, const char *path, const char *bytes, size_t n) {
    char *temporary;
    if (asprintf(&temporary, "%s.%ld.part", path, (long)getpid()) < 0)
        return program_fail(p, PROGRAM_LIMIT, "out of memory");
    errno = 0;
    FILE *f = fopen(temporary, "wbx");
    bool good = f && fwrite(bytes, 1, n, f) == n && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f && fclose(f) != 0) good = false;
    good = good && rename(temporary, path) == 0;
    int code = good ? PROGRAM_DONE
                    : program_fail(p, PROGRAM_INPUT, "%s: cannot be written: %s", path,
                                   strerror(errno ? errno : EIO));
    if (f && !good) unlink(temporary);
    free(temporary);
    return code;
}

int output_finish(program *p) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return PROGRAM_DONE;
    return program_fail(p, PROGRAM_INPUT, "standard output: cannot be written: %s",
                        strerror(errno ? errno : EIO));
}
