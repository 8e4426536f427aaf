/* SPDX-License-Identifier: Apache-2.0 */
/* A table of an experiment: as text, CSV, HTML and JSON. */
#include "experiment.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct cell {
    char *text;    /* NULL: a number */
    double number; /* NaN: unknown */
    int decimals;
    bool best;
} cell;

struct sheet {
    char *id, *title, *note;
    size_t columns;
    char **heads;
    bool *numbers;
    cell *cells; /* rows from the left */
    size_t n, capacity;
    bool *sums; /* rows that sum up */
    size_t rows_capacity;
    bool failed;
};

/* ---- filling ------------------------------------------------------------------------------------------ */

sheet *sheet_create(const char *id, const char *title, const char *const *heads, size_t columns) {
    sheet *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->id = strdup(id);
    t->title = strdup(title);
    t->heads = calloc(columns + 1, sizeof *t->heads);
    t->numbers = calloc(columns + 1, sizeof *t->numbers);
    t->columns = columns;
    t->failed = !t->id || !t->title || !t->heads || !t->numbers;
    for (size_t i = 0; !t->failed && i < columns; i++) {
        t->numbers[i] = heads[i][0] == '>';
        t->heads[i] = strdup(heads[i] + t->numbers[i]);
        t->failed = !t->heads[i];
    }
    return t;
}

void sheet_free(sheet *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n; i++) free(t->cells[i].text);
    for (size_t i = 0; t->heads && i < t->columns; i++) free(t->heads[i]);
    free(t->heads);
    free(t->numbers);
    free(t->cells);
    free(t->sums);
    free(t->id);
    free(t->title);
    free(t->note);
    free(t);
}

bool sheet_failed(const sheet *t) {
    return !t || t->failed;
}

static size_t rows_of(const sheet *t) {
    return t->columns ? (t->n + t->columns - 1) / t->columns : 0;
}

static bool room_for_row(sheet *t) {
    size_t row = t->n / t->columns;
    if (row < t->rows_capacity) return true;
    size_t capacity = t->rows_capacity ? 2 * t->rows_capacity : 32;
    bool *sums = realloc(t->sums, capacity * sizeof *sums);
    if (!sums) return false;
    memset(sums + t->rows_capacity, 0, (capacity - t->rows_capacity) * sizeof *sums);
    t->sums = sums;
    t->rows_capacity = capacity;
    return true;
}

static void add(sheet *t, cell c) {
    if (t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 64;
        cell *cells = realloc(t->cells, capacity * sizeof *cells);
        if (cells) {
            t->cells = cells;
            t->capacity = capacity;
        }
    }
    if (t->n < t->capacity && room_for_row(t)) {
        t->cells[t->n++] = c;
        return;
    }
    free(c.text);
    t->failed = true;
}

void sheet_text(sheet *t, const char *format, ...) {
    if (sheet_failed(t)) return;
    va_list args;
    va_start(args, format);
    char *text;
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    if (text)
        add(t, (cell){.text = text});
    else
        t->failed = true;
}

void sheet_number(sheet *t, double value, int decimals) {
    if (!sheet_failed(t)) add(t, (cell){.number = value, .decimals = decimals});
}

void sheet_mark(sheet *t) {
    if (!sheet_failed(t) && t->n) t->cells[t->n - 1].best = true;
}

void sheet_summary(sheet *t) {
    if (sheet_failed(t)) return;
    if (room_for_row(t))
        t->sums[t->n / t->columns] = true;
    else
        t->failed = true;
}

void sheet_note(sheet *t, const char *format, ...) {
    if (sheet_failed(t)) return;
    va_list args;
    va_start(args, format);
    free(t->note);
    if (vasprintf(&t->note, format, args) < 0) t->note = NULL;
    va_end(args);
    t->failed = !t->note;
}

/* ---- text --------------------------------------------------------------------------------------------- */

int sheet_print(program *p, const sheet *t) {
    const char **heads = calloc(t->columns + 1, sizeof *heads);
    char **marked = calloc(t->columns + 1, sizeof *marked);
    int code = heads && marked ? PROGRAM_DONE : program_fail(p, PROGRAM_LIMIT, "out of memory");
    for (size_t i = 0; !code && i < t->columns; i++) {
        if (asprintf(&marked[i], "%s%s", t->numbers[i] ? ">" : "", t->heads[i]) < 0) {
            marked[i] = NULL;
            code = program_fail(p, PROGRAM_LIMIT, "out of memory");
        }
        heads[i] = marked[i];
    }
    if (!code) {
        table *out = table_create(heads, t->columns);
        for (size_t i = 0; i < t->n; i++)
            if (t->cells[i].text)
                table_cell(out, "%s", t->cells[i].text);
            else
                table_number(out, t->cells[i].number, t->cells[i].decimals);
        printf("%s\n\n", t->title);
        code = table_print(p, out);
        table_free(out);
        if (!code && t->note && !p->quiet) printf("\n%s\n", t->note);
        if (!code) putchar('\n');
    }
    for (size_t i = 0; marked && i < t->columns; i++) free(marked[i]);
    free(marked);
    free(heads);
    return code;
}

/* ---- CSV ---------------------------------------------------------------------------------------------- */

/* RFC 4180; a text that a spreadsheet would take for a formula gets a quote before it. */
static void csv_text(FILE *to, const char *text) {
    fputc('"', to);
    if (*text && strchr("=+-@", *text)) fputc('\'', to);
    for (; *text; text++) {
        if (*text == '"') fputc('"', to);
        fputc(*text, to);
    }
    fputc('"', to);
}

static void csv_cell(FILE *to, const cell *c) {
    if (c->text)
        csv_text(to, c->text);
    else if (isfinite(c->number))
        fprintf(to, "%.9g", c->number);
}

static void write_csv(FILE *to, const void *payload) {
    const sheet *t = payload;
    for (size_t i = 0; i < t->columns; i++) {
        if (i) fputc(',', to);
        csv_text(to, t->heads[i]);
    }
    fputs("\r\n", to);
    for (size_t i = 0; i < t->n; i++) {
        if (i % t->columns) fputc(',', to);
        csv_cell(to, &t->cells[i]);
        if ((i + 1) % t->columns == 0) fputs("\r\n", to);
    }
}

int sheet_write_csv(program *p, const sheet *t, const char *folder) {
    char *path = study_path(p, folder, t->id, "csv");
    int code = path ? study_write(p, path, write_csv, t) : PROGRAM_LIMIT;
    free(path);
    return code;
}

/* ---- HTML --------------------------------------------------------------------------------------------- */

static void html_cell(FILE *to, const sheet *t, size_t i) {
    const cell *c = &t->cells[i];
    size_t column = i % t->columns;
    const char *tag = column ? "td" : "th scope=\"row\"";
    fprintf(to, "<%s%s>", tag, t->numbers[column] ? " class=\"num\"" : "");
    if (c->best) fputs("<b>", to);
    if (c->text)
        html_text(to, c->text);
    else if (isfinite(c->number))
        fprintf(to, "%.*f", c->decimals, c->number);
    else
        fputs("\xE2\x80\x93", to);
    if (c->best) fputs("</b>", to);
    fputs(column ? "</td>" : "</th>", to);
}

void sheet_write_html(FILE *to, const sheet *t) {
    fputs("<h3>", to);
    html_text(to, t->title);
    fputs("</h3><div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"", to);
    html_text(to, t->title);
    fputs("\"><table><thead><tr>", to);
    for (size_t i = 0; i < t->columns; i++) {
        fprintf(to, "<th scope=\"col\"%s>", t->numbers[i] ? " class=\"num\"" : "");
        html_text(to, t->heads[i]);
        fputs("</th>", to);
    }
    fputs("</tr></thead><tbody>", to);
    for (size_t r = 0; r < rows_of(t); r++) {
        fputs(t->sums[r] ? "<tr class=\"sum\">" : "<tr>", to);
        for (size_t i = r * t->columns; i < (r + 1) * t->columns && i < t->n; i++)
            html_cell(to, t, i);
        fputs("</tr>", to);
    }
    fputs("</tbody></table></div>", to);
    if (!t->note) return;
    fputs("<p class=\"caption\">", to);
    html_text(to, t->note);
    fputs("</p>", to);
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

json_t *sheet_json(const sheet *t) {
    json_t *heads = json_array(), *rows = json_array(), *row = NULL;
    for (size_t i = 0; heads && i < t->columns; i++)
        json_array_append_new(heads, json_string(t->heads[i]));
    for (size_t i = 0; rows && i < t->n; i++) {
        if (i % t->columns == 0) json_array_append_new(rows, row = json_array());
        json_array_append_new(row, t->cells[i].text ? json_string(t->cells[i].text)
                                                    : json_number(t->cells[i].number));
    }
    return json_pack("{s:s, s:s, s:s?, s:o, s:o}", "id", t->id, "title", t->title, "note", t->note,
                     "columns", heads, "rows", rows);
}
