/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes from a CSV file: slice,x0,y0,x1,y1[,label], docs/formats/boxes.md. */
#include "core/file.h"
#include "model/seeds.h"

#include <math.h>
#include <string.h>

enum { MOST_BYTES = 1 << 26, MOST_ROWS = 1 << 20, COLUMNS = 6, FIELD = 48 };

static const char *const columns[COLUMNS] = {"slice", "x0", "y0", "x1", "y1", "label"};

/* Where in the file reading is. */
typedef struct place {
    msx_ctx *ctx;
    const char *path;
    int64_t line, rows;
    int64_t at[COLUMNS]; /* columns of the fields of the line, from 1 */
} place;

static msx_status bad(const place *p, int field, const char *what) {
    return msx__fail(p->ctx, MSX_E_FORMAT, "%s:%" PRId64 ":%" PRId64 ": %s", p->path, p->line,
                     p->at[field], what);
}

/* Cut a line into trimmed fields. */
static msx_status split(place *p, const char *line, size_t length, char fields[COLUMNS][FIELD],
                        int *n) {
    *n = 0;
    p->at[0] = 1;
    for (size_t begin = 0, end; begin <= length; begin = end + 1) {
        for (end = begin; end < length && line[end] != ','; end++) {
        }
        size_t a = begin, b = end;
        while (a < b && (line[a] == ' ' || line[a] == '\t')) a++;
        while (b > a && (line[b - 1] == ' ' || line[b - 1] == '\t' || line[b - 1] == '\r')) b--;
        if (*n == COLUMNS) return bad(p, 0, "more than slice,x0,y0,x1,y1,label");
        p->at[*n] = (int64_t)a + 1;
        if (b - a >= FIELD) return bad(p, *n, "a field of more than 47 bytes");
        memcpy(fields[*n], line + a, b - a);
        fields[(*n)++][b - a] = 0;
    }
    return MSX_OK;
}

static bool is_header(char fields[COLUMNS][FIELD], int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(fields[i], columns[i])) return false;
    return n >= COLUMNS - 1;
}

static bool whole(double x, double low, double high) {
    return x >= low && x <= high && x == floor(x);
}

static msx_status read_row(msx_seeds *s, place *p, const char *file, char fields[COLUMNS][FIELD],
                           int n) {
    double v[COLUMNS] = {[COLUMNS - 1] = 1};
    if (n < COLUMNS - 1) return bad(p, 0, "give slice,x0,y0,x1,y1 or slice,x0,y0,x1,y1,label");
    for (int i = 0; i < n; i++)
        if (!msx__parse_double(fields[i], v + i) || !isfinite(v[i]))
            return msx__fail(p->ctx, MSX_E_FORMAT,
                             "%s:%" PRId64 ":%" PRId64 ": %s '%s' is not a number", p->path,
                             p->line, p->at[i], columns[i], fields[i]);
    if (!whole(v[0], 0, INT32_MAX)) return bad(p, 0, "a slice is a whole number from 0 on");
    if (!whole(v[5], 1, MSX__MAX_LABEL))
        return bad(p, 5, "a label is a whole number from 1 to 65535");
    if (v[1] > v[3] || v[2] > v[4]) return bad(p, 1, "a box has x0 <= x1 and y0 <= y1");
    if (++p->rows > MOST_ROWS)
        return msx__fail(p->ctx, MSX_E_LIMIT, "%s:%" PRId64 ": more than %d boxes", p->path,
                         p->line, MOST_ROWS);
    const int64_t slice = (int64_t)v[0];
    return msx__seeds_add(
        s, &(msx__seed){
               (int)v[5], false, false, slice, slice, {v[1], v[2], v[3], v[4]}, file, p->line});
}

static msx_status read_rows(msx_seeds *s, place *p, const char *file, const char *text, size_t n) {
    bool first = true;
    for (size_t begin = 0, end; begin < n; begin = end + 1) {
        char fields[COLUMNS][FIELD];
        for (end = begin; end < n && text[end] != '\n'; end++) {
        }
        p->line++;
        p->at[0] = 1;
        if (memchr(text + begin, 0, end - begin))
            return bad(p, 0, "a zero byte; this is no text file");
        int found;
        MSX_TRY(split(p, text + begin, end - begin, fields, &found));
        if (found == 1 && !fields[0][0]) continue; /* an empty line */
        if (!(first && is_header(fields, found))) MSX_TRY(read_row(s, p, file, fields, found));
        first = false;
    }
    if (!p->rows) return msx__fail(p->ctx, MSX_E_FORMAT, "%s: has no box in it", p->path);
    return MSX_OK;
}

/* The name lives as long as the seeds that were read from the file. */
static msx_status keep_name(msx_seeds *s, const char *path, const char **out) {
    void *array = s->files;
    MSX_TRY(msx__grow(s->ctx, &array, s->n_files, &s->file_capacity, sizeof *s->files));
    s->files = array;
    char *copy = msx__strdup(s->ctx, path);
    if (!copy) return MSX_E_NOMEM;
    s->files[s->n_files++] = copy;
    *out = copy;
    return MSX_OK;
}

msx_status msx_seeds_read(msx_seeds *s, const char *path) {
    if (!s || !path)
        return msx__fail(s ? s->ctx : NULL, MSX_E_ARG, "msx_seeds_read: NULL argument");
    place p = {.ctx = s->ctx, .path = path};
    const char *file;
    char *text;
    size_t bytes;
    int64_t before = s->n;
    MSX_TRY(keep_name(s, path, &file));
    MSX_TRY(msx__read_whole(s->ctx, path, MOST_BYTES, &text, &bytes));
    /* Spreadsheets begin UTF-8 text with a mark. */
    size_t mark = bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
    msx_status status = read_rows(s, &p, file, text + mark, bytes - mark);
    msx__free(s->ctx, text);
    if (status < 0) s->n = before;
    return status;
}
