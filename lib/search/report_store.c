/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a trial store for the report. The file may come from anywhere: it is opened read-only with
 * SQLite's defences on, every value is checked for type, size and range, and nothing else of its
 * schema (views, triggers) is used. */
#include "search/report.h"
#include "search/store.h"

#include "core/file.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

/* ---- the tables --------------------------------------------------------------------------------- */

enum {
    MOST_TEXT = 1 << 16,
    MOST_PICTURE = 32 << 20,
    MOST_TRIALS = 1000000,
    MOST_COSTS = 16000000,
    MOST_TASKS = 4096
};

typedef enum column_type {
    TEXT = 1,
    OPTIONAL_TEXT = 2, /* NULL is "" */
    INTEGER = 3,
    REAL = 4,
    OPTIONAL_REAL = 5, /* NULL is NaN */
    BLOB = 6,
    OPTIONAL_INTEGER = 7 /* NULL is 0 */
} column_type;

typedef struct column {
    const char *name;
    column_type type;
    size_t offset; /* in the row's struct */
} column;

typedef struct source {
    const char *table, *order;
    const column *columns;
    size_t n_columns, row_size;
    int64_t limit;
    size_t rows_offset, count_offset; /* in report */
} source;

#define COLUMN(row, field, name, type)                                                             \
    { name, type, offsetof(row, field) }
#define SOURCE(table, order, columns, row, field, limit)                                           \
    {                                                                                              \
        table, order, columns, sizeof columns / sizeof *columns, sizeof(row), limit,               \
            offsetof(report, field), offsetof(report, n_##field)                                   \
    }

static const column meta_columns[] = {
    COLUMN(report_meta, key, "key", TEXT),
    COLUMN(report_meta, value, "value", OPTIONAL_TEXT),
};
static const column model_columns[] = {
    COLUMN(report_model, index, "idx", INTEGER),
    COLUMN(report_model, name, "name", TEXT),
    COLUMN(report_model, path, "path", OPTIONAL_TEXT),
    COLUMN(report_model, sha256, "sha256", OPTIONAL_TEXT),
};
static const column task_columns[] = {
    COLUMN(report_task, index, "idx", INTEGER),
    COLUMN(report_task, name, "name", TEXT),
    COLUMN(report_task, dataset, "dataset", OPTIONAL_TEXT),
    COLUMN(report_task, label, "label", OPTIONAL_TEXT),
};
static const column group_columns[] = {
    COLUMN(report_group, index, "idx", INTEGER),
    COLUMN(report_group, name, "name", TEXT),
    COLUMN(report_group, elements, "elements", INTEGER),
    COLUMN(report_group, state, "state", TEXT),
};
static const column parameter_columns[] = {
    COLUMN(report_parameter, index, "idx", INTEGER),
    COLUMN(report_parameter, name, "name", TEXT),
    COLUMN(report_parameter, kind, "kind", TEXT),
    COLUMN(report_parameter, lower, "lower", REAL),
    COLUMN(report_parameter, upper, "upper", REAL),
    COLUMN(report_parameter, choices, "choices", OPTIONAL_TEXT),
};
static const column trial_columns[] = {
    COLUMN(report_trial, number, "number", INTEGER),
    COLUMN(report_trial, state_name, "state", TEXT),
    COLUMN(report_trial, origin, "origin", OPTIONAL_TEXT),
    COLUMN(report_trial, cost, "mean_cost", OPTIONAL_REAL),
    COLUMN(report_trial, seconds, "seconds", OPTIONAL_REAL),
    COLUMN(report_trial, error, "error", OPTIONAL_TEXT),
    COLUMN(report_trial, worker, "worker", OPTIONAL_TEXT),
    COLUMN(report_trial, attempt, "attempt", OPTIONAL_INTEGER),
    COLUMN(report_trial, started, "started", OPTIONAL_REAL),
    COLUMN(report_trial, finished, "finished", OPTIONAL_REAL),
    COLUMN(report_trial, images, "images", OPTIONAL_INTEGER),
    COLUMN(report_trial, blocks_run, "blocks_run", OPTIONAL_INTEGER),
    COLUMN(report_trial, blocks_reused, "blocks_reused", OPTIONAL_INTEGER),
};
static const column cost_columns[] = {
    COLUMN(report_cost, trial, "trial", INTEGER),
    COLUMN(report_cost, task, "task", INTEGER),
    COLUMN(report_cost, cost, "cost", REAL),
};
static const column result_columns[] = {
    COLUMN(report_result, kind, "kind", TEXT),
    COLUMN(report_result, name, "name", OPTIONAL_TEXT),
    COLUMN(report_result, split, "split", TEXT),
    COLUMN(report_result, task, "task", INTEGER),
    COLUMN(report_result, dice, "dice", OPTIONAL_REAL),
    COLUMN(report_result, low, "low", OPTIONAL_REAL),
    COLUMN(report_result, high, "high", OPTIONAL_REAL),
    COLUMN(report_result, used, "used", INTEGER),
    COLUMN(report_result, left_out, "left_out", INTEGER),
};
static const column picture_columns[] = {
    COLUMN(report_picture, index, "idx", INTEGER),
    COLUMN(report_picture, title, "title", OPTIONAL_TEXT),
    COLUMN(report_picture, caption, "caption", OPTIONAL_TEXT),
    COLUMN(report_picture, split, "split", OPTIONAL_TEXT),
    COLUMN(report_picture, png, "png", BLOB),
};

static const source sources[] = {
    SOURCE("meta", "key", meta_columns, report_meta, meta, 1000),
    SOURCE("models", "idx", model_columns, report_model, models, 65),
    SOURCE("tasks", "idx", task_columns, report_task, tasks, MOST_TASKS),
    SOURCE("groups", "idx", group_columns, report_group, groups, 10000),
    SOURCE("parameters", "idx", parameter_columns, report_parameter, parameters, 10000),
    SOURCE("trials", "number", trial_columns, report_trial, trials, MOST_TRIALS),
    SOURCE("costs", "trial, task", cost_columns, report_cost, cost_rows, MOST_COSTS),
    SOURCE("results", "kind, name, split, task", result_columns, report_result, results, 20000),
    SOURCE("pictures", "idx", picture_columns, report_picture, pictures, 200),
};
enum { SOURCES = sizeof sources / sizeof *sources };

static char **rows_of(const report *r, const source *s) {
    return (char **)(void *)((char *)r + s->rows_offset);
}
static int64_t *count_of(const report *r, const source *s) {
    return (int64_t *)(void *)((char *)r + s->count_offset);
}

/* ---- one value ------------------------------------------------------------------------------------ */

msx_status report_bad(report *r, const char *table, int64_t row, const char *field,
                      const char *what) {
    return msx__fail(r->ctx, MSX_E_FORMAT, "%s: table %s, row %" PRId64 ", column %s: %s", r->path,
                     table, row, field, what);
}

static msx_status read_text(report *r, const source *s, int64_t row, const column *c,
                            sqlite3_stmt *q, int i, char **out) {
    int type = sqlite3_column_type(q, i);
    if (type == SQLITE_NULL && c->type == OPTIONAL_TEXT) {
        *out = msx__strdup(r->ctx, "");
        return *out ? MSX_OK : MSX_E_NOMEM;
    }
    if (type != SQLITE_TEXT) return report_bad(r, s->table, row, c->name, "is not text");
    const char *text = (const char *)sqlite3_column_text(q, i);
    if (!text) return msx__nomem(r->ctx, 1);
    int n = sqlite3_column_bytes(q, i);
    if (n > MOST_TEXT)
        return msx__fail(r->ctx, MSX_E_LIMIT,
                         "%s: table %s, row %" PRId64 ", column %s: text of %d bytes; the limit is "
                         "%d",
                         r->path, s->table, row, c->name, n, MOST_TEXT);
    *out = msx__strndup(r->ctx, text, (size_t)n);
    return *out ? MSX_OK : MSX_E_NOMEM;
}

static msx_status read_blob(report *r, const source *s, int64_t row, const column *c,
                            sqlite3_stmt *q, int i, report_blob *out) {
    if (sqlite3_column_type(q, i) != SQLITE_BLOB)
        return report_bad(r, s->table, row, c->name, "is not a blob");
    int n = sqlite3_column_bytes(q, i);
    if (n > MOST_PICTURE)
        return msx__fail(r->ctx, MSX_E_LIMIT,
                         "%s: table %s, row %" PRId64 ", column %s: %d bytes; the limit is %d",
                         r->path, s->table, row, c->name, n, MOST_PICTURE);
    const void *bytes = sqlite3_column_blob(q, i);
    if (n && !bytes) return msx__nomem(r->ctx, (size_t)n);
    out->bytes = msx__alloc(r->ctx, (size_t)n, 1);
    if (!out->bytes) return MSX_E_NOMEM;
    if (n) memcpy(out->bytes, bytes, (size_t)n);
    out->n = n;
    return MSX_OK;
}

static msx_status read_value(report *r, const source *s, int64_t row, const column *c,
                             sqlite3_stmt *q, int i, void *out) {
    int type = sqlite3_column_type(q, i);
    switch (c->type) {
    case TEXT:
    case OPTIONAL_TEXT:
        return read_text(r, s, row, c, q, i, out);
    case BLOB:
        return read_blob(r, s, row, c, q, i, out);
    case OPTIONAL_INTEGER:
        if (type == SQLITE_NULL) return MSX_OK; /* rows are zeroed */
        /* fall through */
    case INTEGER:
        if (type != SQLITE_INTEGER)
            return report_bad(r, s->table, row, c->name, "is not an integer");
        *(int64_t *)out = sqlite3_column_int64(q, i);
        return MSX_OK;
    case REAL:
    case OPTIONAL_REAL:
        break;
    }
    if (type == SQLITE_NULL && c->type == OPTIONAL_REAL) {
        *(double *)out = NAN;
        return MSX_OK;
    }
    if (type != SQLITE_FLOAT && type != SQLITE_INTEGER)
        return report_bad(r, s->table, row, c->name, "is not a number");
    double value = sqlite3_column_double(q, i);
    if (!isfinite(value)) return report_bad(r, s->table, row, c->name, "is not finite");
    *(double *)out = value;
    return MSX_OK;
}

/* ---- one table ------------------------------------------------------------------------------------ */

static msx_status database_error(report *r, sqlite3 *db, const char *table) {
    int code = sqlite3_errcode(db);
    if (code == SQLITE_NOMEM) return msx__nomem(r->ctx, 1);
    if (code == SQLITE_INTERRUPT) return msx__check_cancel(r->ctx);
    msx_status status = code == SQLITE_BUSY || code == SQLITE_LOCKED      ? MSX_E_STORE
                        : code == SQLITE_TOOBIG                           ? MSX_E_LIMIT
                        : code == SQLITE_CANTOPEN || code == SQLITE_IOERR ? MSX_E_IO
                                                                          : MSX_E_FORMAT;
    return msx__fail(r->ctx, status, "%s: table %s: cannot be read: %s; is this a trial store?",
                     r->path, table, sqlite3_errmsg(db));
}

/* A view of that name could compute anything for any length of time. */
static msx_status check_is_table(report *r, sqlite3 *db, const char *table) {
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(db, "SELECT type FROM sqlite_schema WHERE name = ?1", -1, &q, NULL))
        return database_error(r, db, table);
    sqlite3_bind_text(q, 1, table, -1, SQLITE_STATIC);
    int step = sqlite3_step(q);
    bool is_table = step == SQLITE_ROW && sqlite3_column_type(q, 0) == SQLITE_TEXT &&
                    !strcmp((const char *)sqlite3_column_text(q, 0), "table");
    msx_status status = MSX_OK;
    if (step == SQLITE_DONE || (step == SQLITE_ROW && !is_table))
        status = msx__fail(r->ctx, MSX_E_FORMAT,
                           "%s: has no table '%s': not a trial store of medsamix search", r->path,
                           table);
    else if (step != SQLITE_ROW)
        status = database_error(r, db, table);
    sqlite3_finalize(q);
    return status;
}

static msx_status load_rows(report *r, sqlite3 *db, const source *s, sqlite3_stmt *q) {
    char **rows = rows_of(r, s);
    int64_t *n = count_of(r, s), capacity = 0;
    for (;;) {
        int step = sqlite3_step(q);
        if (step == SQLITE_DONE) return MSX_OK;
        if (step != SQLITE_ROW) return database_error(r, db, s->table);
        if (*n == s->limit)
            return msx__fail(r->ctx, MSX_E_LIMIT, "%s: table %s: more than %" PRId64 " rows",
                             r->path, s->table, s->limit);
        if (*n == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            char *grown = msx__realloc(r->ctx, *rows, (size_t)capacity, s->row_size);
            if (!grown) return MSX_E_NOMEM;
            *rows = grown;
        }
        char *row = *rows + (size_t)*n * s->row_size;
        memset(row, 0, s->row_size);
        (*n)++; /* counted before it is filled: report_free() releases what is there */
        for (size_t i = 0; i < s->n_columns; i++)
            MSX_TRY(
                read_value(r, s, *n - 1, &s->columns[i], q, (int)i, row + s->columns[i].offset));
    }
}

static msx_status load_table(report *r, sqlite3 *db, const source *s) {
    MSX_TRY(check_is_table(r, db, s->table));
    msx__buffer sql;
    msx__buffer_init(&sql, r->ctx);
    /* In brackets: a missing column in double quotes would be taken for a text. */
    for (size_t i = 0; i < s->n_columns; i++)
        msx__buffer_printf(&sql, "%s[%s]", i ? ", " : "SELECT ", s->columns[i].name);
    msx__buffer_printf(&sql, " FROM [%s] ORDER BY %s", s->table, s->order);
    msx_status status = sql.failed ? MSX_E_NOMEM : MSX_OK;
    sqlite3_stmt *q = NULL;
    if (status == MSX_OK && sqlite3_prepare_v2(db, sql.data, -1, &q, NULL))
        status = database_error(r, db, s->table);
    if (status == MSX_OK) status = load_rows(r, db, s, q);
    sqlite3_finalize(q);
    msx__buffer_free(&sql);
    return status;
}

/* ---- plans of the best trials ------------------------------------------------------------------- */

static msx_status load_plan(report *r, sqlite3 *db, sqlite3_stmt *q, const report_trial *t) {
    char where[64];
    snprintf(where, sizeof where, "plan of trial %" PRId64, t->number);
    sqlite3_reset(q);
    sqlite3_bind_int64(q, 1, t->number);
    if (sqlite3_step(q) != SQLITE_ROW) return database_error(r, db, "trials");
    if (sqlite3_column_type(q, 0) != SQLITE_TEXT)
        return report_bad(r, "trials", t->number, "plan", "is not text");
    const char *text = (const char *)sqlite3_column_text(q, 0);
    if (!text) return msx__nomem(r->ctx, 1);
    msx_status status = msx_plan_parse(&r->plans[r->n_plans], r->ctx, text,
                                       (size_t)sqlite3_column_bytes(q, 0), where);
    /* An unknown method is the store's fault, not that of the caller's arguments. */
    if (status < 0 && status != MSX_E_NOMEM)
        return msx__fail(r->ctx, status == MSX_E_LIMIT ? status : MSX_E_FORMAT, "%s: %s", r->path,
                         msx_ctx_error(r->ctx));
    if (status == MSX_OK) r->n_plans++;
    return status;
}

static msx_status load_plans(report *r, sqlite3 *db) {
    r->plans = msx__calloc(r->ctx, REPORT_PLANS, sizeof *r->plans);
    if (!r->plans) return MSX_E_NOMEM;
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(db, "SELECT plan FROM trials WHERE number = ?1", -1, &q, NULL))
        return database_error(r, db, "trials");
    msx_status status = MSX_OK;
    for (int64_t i = 0; i < r->n_done && i < REPORT_PLANS && status == MSX_OK; i++)
        status = load_plan(r, db, q, &r->trials[r->ranks[i]]);
    sqlite3_finalize(q);
    return status;
}

/* ---- configurations of a sample ----------------------------------------------------------------- */

static msx_status load_configuration(report *r, sqlite3 *db, sqlite3_stmt *q, double *x) {
    const report_trial *t = &r->trials[r->sampled[r->n_sampled]];
    sqlite3_reset(q);
    sqlite3_bind_int64(q, 1, t->number);
    if (sqlite3_step(q) != SQLITE_ROW) return database_error(r, db, "trials");
    if (sqlite3_column_type(q, 0) != SQLITE_BLOB ||
        sqlite3_column_bytes(q, 0) != 8 * r->n_parameters)
        return report_bad(r, "trials", t->number, "x",
                          "is not a blob of 8 bytes for each parameter");
    const uint8_t *bytes = sqlite3_column_blob(q, 0);
    if (r->n_parameters && !bytes) return msx__nomem(r->ctx, (size_t)(8 * r->n_parameters));
    for (int64_t i = 0; i < r->n_parameters; i++) {
        uint64_t bits = 0;
        for (int k = 7; k >= 0; k--) bits = bits << 8 | bytes[8 * i + k];
        memcpy(&x[i], &bits, sizeof bits);
    }
    MSX_TRY(report_check_configuration(r, t, x));
    r->n_sampled++;
    return MSX_OK;
}

/* Of the trials with costs: all of them, or as many as there is time for, in runs of neighbours that
 * are evenly spread. */
static msx_status load_configurations(report *r, sqlite3 *db) {
    enum { RUN = 50, RUNS = REPORT_SAMPLE / RUN };
    int64_t n = r->n_state[REPORT_DONE] + r->n_state[REPORT_RACED], seen = 0, chosen = 0;
    int64_t most = n < REPORT_SAMPLE ? n : REPORT_SAMPLE;
    r->sampled = msx__alloc(r->ctx, (size_t)most, sizeof *r->sampled);
    r->x = msx__alloc(r->ctx, (size_t)most, (size_t)r->n_parameters * sizeof *r->x);
    if (!r->sampled || !r->x) return MSX_E_NOMEM;
    for (int64_t i = 0; i < r->n_trials && chosen < most; i++) {
        if (!r->trials[i].costs) continue;
        int64_t next = most == n ? chosen : chosen / RUN * n / RUNS + chosen % RUN;
        if (seen++ == next) r->sampled[chosen++] = i;
    }
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(db, "SELECT x FROM trials WHERE number = ?1", -1, &q, NULL))
        return database_error(r, db, "trials");
    msx_status status = MSX_OK;
    for (int64_t i = 0; i < chosen && status == MSX_OK; i++)
        status = load_configuration(r, db, q, r->x + i * r->n_parameters);
    sqlite3_finalize(q);
    return status;
}

/* ---- the whole store --------------------------------------------------------------------------------- */

static msx_status check_file(report *r) {
    msx__file f;
    char magic[16];
    MSX_TRY(msx__file_open(&f, r->ctx, r->path));
    bool sqlite = f.size >= 512;
    msx_status status = sqlite ? msx__file_read(&f, 0, magic, sizeof magic) : MSX_OK;
    msx__file_close(&f);
    if (status < 0) return status;
    if (sqlite && !memcmp(magic, "SQLite format 3", 16)) return MSX_OK;
    return msx__fail(r->ctx, MSX_E_FORMAT, "%s: not an SQLite file; give the --store of a search",
                     r->path);
}

static int stop_when_cancelled(void *payload) {
    return msx_ctx_cancelled(payload);
}

static msx_status load_all(report *r, sqlite3 *db) {
    for (int i = 0; i < SOURCES; i++) {
        MSX_TRY(load_table(r, db, &sources[i]));
        if (i == 0) MSX_TRY(report_check_schema(r));
    }
    MSX_TRY(report_check(r));
    MSX_TRY(load_plans(r, db));
    return load_configurations(r, db);
}

static msx_status load_from(report *r, sqlite3 *db) {
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 2 * MOST_PICTURE);
    sqlite3_busy_timeout(db, 5000); /* a search may be writing its next trial */
    sqlite3_progress_handler(db, 100000, stop_when_cancelled, r->ctx);
    /* One transaction: all tables at the same moment of a running search. */
    if (sqlite3_exec(db, "PRAGMA cell_size_check = 1; BEGIN", NULL, NULL, NULL))
        return database_error(r, db, "meta");
    return load_all(r, db);
}

static msx_status load_file(report *r) {
    sqlite3 *db = NULL;
    MSX_TRY(check_file(r));
    msx_status status = MSX_OK;
    if (sqlite3_open_v2(r->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL))
        status = db ? database_error(r, db, "meta") : msx__nomem(r->ctx, 1);
    if (status == MSX_OK) status = load_from(r, db);
    sqlite3_close(db);
    return status;
}

/* A server's store is copied into memory; its name is without the password. */
static msx_status load_copy(report *r) {
    msx__store *copy;
    MSX_TRY(msx__store_copy(&copy, r->ctx, r->path, &r->name));
    r->path = r->name;
    msx_status status = load_from(r, msx__store_sqlite(copy));
    msx__store_close(copy);
    return status;
}

msx_status report_load(report *r, msx_ctx *ctx, const char *path) {
    *r = (report){.ctx = ctx, .path = path};
    msx_status status = strstr(path, "://") ? load_copy(r) : load_file(r);
    return status == MSX_OK ? report_measure_groups(r) : status;
}

void report_free(report *r) {
    if (!r->ctx) return;
    for (int k = 0; k < SOURCES; k++) {
        const source *s = &sources[k];
        char *rows = *rows_of(r, s);
        for (int64_t i = 0; i < *count_of(r, s); i++)
            for (size_t c = 0; c < s->n_columns; c++) {
                void *at = rows + (size_t)i * s->row_size + s->columns[c].offset;
                column_type type = s->columns[c].type;
                if (type == TEXT || type == OPTIONAL_TEXT) msx__free(r->ctx, *(char **)at);
                if (type == BLOB) msx__free(r->ctx, ((report_blob *)at)->bytes);
            }
        msx__free(r->ctx, rows);
    }
    for (int64_t i = 0; i < r->n_plans; i++) msx_plan_free(r->plans[i]);
    msx__free(r->ctx, r->plans);
    msx__free(r->ctx, r->name);
    msx__free(r->ctx, r->costs);
    msx__free(r->ctx, r->best);
    msx__free(r->ctx, r->ranks);
    msx__free(r->ctx, r->contestants);
    msx__free(r->ctx, r->sampled);
    msx__free(r->ctx, r->x);
    report_worth_free(r->ctx, &r->worth);
    *r = (report){0};
}
