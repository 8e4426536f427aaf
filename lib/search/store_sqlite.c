/* SPDX-License-Identifier: Apache-2.0 */
/* Stores in SQLite files.
 *
 * The journal is the rollback journal: one file, any SQLite client may read it while a search runs, and
 * what a killed process left half-written is undone by whoever opens the file next. Transactions that
 * write are short and take their lock at once (BEGIN IMMEDIATE), so that several processes wait for each
 * other instead of failing. */
#include "search/store_internal.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_VALUE_BYTES (64 * 1024 * 1024)

typedef struct sqlite {
    msx__sql sql;
    sqlite3 *db;
} sqlite;

static sqlite3 *handle(const msx__sql *db) {
    return ((const sqlite *)db)->db;
}

/* The text and status of SQLite's last failure. */
static msx_status fail(msx__sql *db) {
    int code = sqlite3_extended_errcode(handle(db));
    const char *text = sqlite3_errmsg(handle(db));
    switch (code & 0xff) {
    case SQLITE_NOMEM: /* also what SQLite says of some damaged schemas */
        return msx__fail(db->ctx, MSX_E_NOMEM, "%s: SQLite asks for more memory than it gets",
                         db->name);
    case SQLITE_NOTADB:
        return msx__fail(db->ctx, MSX_E_STORE,
                         "%s: is not a store of a search (not SQLite); give another file",
                         db->name);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return msx__fail(db->ctx, MSX_E_STORE, "%s: is locked by another program; try again later",
                         db->name);
    case SQLITE_FULL:
        return msx__fail(db->ctx, MSX_E_IO,
                         "%s: cannot be written: the disk is full; what was stored before is kept",
                         db->name);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        return msx__fail(db->ctx, MSX_E_IO, "%s: cannot be read or written: %s (%s)", db->name,
                         text, strerror(sqlite3_system_errno(handle(db))));
    default:
        return msx__fail(db->ctx, MSX_E_STORE, "%s: SQLite: %s", db->name, text);
    }
}

/* ---- statements ------------------------------------------------------------------------------------ */

static int bind(sqlite3_stmt *q, int i, const msx__sql_value *v) {
    switch (v->kind) {
    case MSX__SQL_INTEGER:
        return sqlite3_bind_int64(q, i, v->integer);
    case MSX__SQL_REAL:
        return sqlite3_bind_double(q, i, v->real);
    case MSX__SQL_TEXT:
        return sqlite3_bind_text64(q, i, v->bytes, v->n, SQLITE_STATIC, SQLITE_UTF8);
    case MSX__SQL_BLOB:
        /* a blob of no bytes is NULL unless it has an address */
        return sqlite3_bind_blob64(q, i, v->n ? v->bytes : "", v->n, SQLITE_STATIC);
    case MSX__SQL_NULL:
        break;
    }
    return sqlite3_bind_null(q, i);
}

static msx_status prepare(msx__sql *db, sqlite3_stmt **out, const char *sql,
                          const msx__sql_value *params, int n) {
    if (sqlite3_prepare_v2(handle(db), sql, -1, out, NULL) != SQLITE_OK) return fail(db);
    for (int i = 0; i < n; i++)
        if (bind(*out, i + 1, &params[i]) != SQLITE_OK) {
            msx_status status = fail(db);
            sqlite3_finalize(*out);
            *out = NULL;
            return status;
        }
    return MSX_OK;
}

static msx_status sqlite_run(msx__sql *db, const char *sql, const msx__sql_value *params, int n,
                             int64_t *changed) {
    sqlite3_stmt *q = NULL;
    MSX_TRY(prepare(db, &q, sql, params, n));
    int code = sqlite3_step(q);
    msx_status status = code == SQLITE_DONE || code == SQLITE_ROW ? MSX_OK : fail(db);
    if (changed) *changed = sqlite3_changes64(handle(db));
    sqlite3_finalize(q);
    return status;
}

static msx_status sqlite_query(msx__sql_rows *rows, const char *sql, const msx__sql_value *params,
                               int n) {
    sqlite3_stmt *q = NULL;
    MSX_TRY(prepare(rows->db, &q, sql, params, n));
    rows->cursor = q;
    rows->n_columns = sqlite3_column_count(q);
    return rows->n_columns <= MSX__SQL_COLUMNS
               ? MSX_OK
               : msx__fail(rows->db->ctx, MSX_E_INTERNAL, "a query of too many columns");
}

static msx__sql_value column(sqlite3_stmt *q, int i) {
    msx__sql_value v = {0};
    switch (sqlite3_column_type(q, i)) {
    case SQLITE_INTEGER:
        v.kind = MSX__SQL_INTEGER;
        v.integer = sqlite3_column_int64(q, i);
        break;
    case SQLITE_FLOAT:
        v.kind = MSX__SQL_REAL;
        v.real = sqlite3_column_double(q, i);
        break;
    case SQLITE_TEXT:
    case SQLITE_BLOB: {
        bool text = sqlite3_column_type(q, i) == SQLITE_TEXT;
        v.bytes = text ? (const void *)sqlite3_column_text(q, i) : sqlite3_column_blob(q, i);
        v.n = (size_t)sqlite3_column_bytes(q, i);
        v.kind = text ? MSX__SQL_TEXT : MSX__SQL_BLOB;
        if (!v.bytes && v.n) v = (msx__sql_value){0}; /* out of memory: nothing legal is NULL */
        if (!v.bytes) v.bytes = "";
        break;
    }
    default:
        break;
    }
    return v;
}

static msx_status sqlite_next(msx__sql_rows *rows, bool *there) {
    int code = sqlite3_step(rows->cursor);
    *there = code == SQLITE_ROW;
    if (code != SQLITE_ROW) return code == SQLITE_DONE ? MSX_OK : fail(rows->db);
    for (int i = 0; i < rows->n_columns; i++) rows->values[i] = column(rows->cursor, i);
    rows->at++;
    return MSX_OK;
}

static void sqlite_finish(msx__sql_rows *rows) {
    sqlite3_finalize(rows->cursor);
    rows->cursor = NULL;
}

static void sqlite_rollback(msx__sql *db) {
    if (!sqlite3_get_autocommit(handle(db))) sqlite3_exec(handle(db), "ROLLBACK", NULL, NULL, NULL);
}

/* ---- the file -------------------------------------------------------------------------------------- */

static msx_status settings(msx__sql *db) {
    static const char *const pragmas[] = {
        "PRAGMA cell_size_check = ON",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = FULL",
    };
    sqlite3 *h = handle(db);
    sqlite3_extended_result_codes(h, 1);
    sqlite3_limit(h, SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES);
    sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    for (size_t i = 0; i < sizeof pragmas / sizeof *pragmas; i++)
        MSX_TRY(sqlite_run(db, pragmas[i], NULL, 0, NULL));
    return MSX_OK;
}

/* Waits between two tries grow from 1 to 100 ms. */
static void sqlite_set_patience(msx__sql *db, double seconds) {
    sqlite3_busy_timeout(handle(db), (int)(seconds * 1000));
}

static msx_status sqlite_open(msx__sql *db, const char *where) {
    db->name = msx__strdup(db->ctx, *where ? where : "the store in memory");
    if (!db->name) return MSX_E_NOMEM;
    struct stat st;
    if (*where && stat(where, &st) == 0 && !S_ISREG(st.st_mode))
        return msx__fail(db->ctx, MSX_E_IO, "%s: is not a file", where);
    msx__buffer file;
    msx__buffer_init(&file, db->ctx);
    /* A leading ':' means something to SQLite; behind "./" it is a file. */
    msx__buffer_printf(&file, "%s%s", *where == ':' ? "./" : "", *where ? where : ":memory:");
    msx_status status = file.failed ? MSX_E_NOMEM : MSX_OK;
    if (status >= 0 &&
        sqlite3_open_v2(file.data, &((sqlite *)db)->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        status = handle(db) ? fail(db) : msx__nomem(db->ctx, 0);
    msx__buffer_free(&file);
    if (status < 0) return status;
    sqlite_set_patience(db, MSX__SQL_PATIENCE);
    return settings(db);
}

static void sqlite_close(msx__sql *db) {
    sqlite3_close(handle(db));
}

/* BEGIN IMMEDIATE has it already. */
static msx_status sqlite_lock_schema(msx__sql *db) {
    (void)db;
    return MSX_OK;
}

static msx_status sqlite_inspect(msx__sql *db, msx__sql_content *out) {
    sqlite3_stmt *q = NULL;
    MSX_TRY(prepare(db, &q,
                    "SELECT sql FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'"
                    " ORDER BY rowid",
                    NULL, 0));
    int tables = 0, code;
    bool ours = true, first_ours = false;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        const char *sql = (const char *)sqlite3_column_text(q, 0);
        bool same = tables < MSX__STORE_TABLES && sql && !strcmp(sql, msx__store_schema[tables]);
        if (!same) ours = false;
        if (tables == 0) first_ours = same;
        if (tables <= MSX__STORE_TABLES) tables++;
    }
    msx_status status = code == SQLITE_DONE ? MSX_OK : fail(db);
    sqlite3_finalize(q);
    *out = tables == 0                           ? MSX__SQL_EMPTY
           : ours && tables == MSX__STORE_TABLES ? MSX__SQL_OURS
           : first_ours                          ? MSX__SQL_META
                                                 : MSX__SQL_OTHER;
    return status;
}

static msx_status sqlite_check(msx__sql *db) {
    sqlite3_stmt *q = NULL;
    MSX_TRY(prepare(db, &q, "PRAGMA quick_check(1)", NULL, 0));
    msx_status status = MSX_OK;
    const char *found;
    if (sqlite3_step(q) != SQLITE_ROW)
        status = fail(db);
    else if (!(found = (const char *)sqlite3_column_text(q, 0)) || strcmp(found, "ok") != 0)
        status = msx__fail(db->ctx, MSX_E_STORE, "%s: is damaged: %s; start a new store", db->name,
                           found ? found : "?");
    sqlite3_finalize(q);
    return status;
}

struct sqlite3 *msx__store_sqlite(const msx__store *s) {
    return s->db->driver == &msx__sqlite ? handle(s->db) : NULL;
}

const msx__sql_driver msx__sqlite = {
    .size = sizeof(sqlite),
    .begin_write = "BEGIN IMMEDIATE",
    .begin_read = "BEGIN",
    .integer_type = "INTEGER",
    .real_type = "REAL",
    .blob_type = "BLOB",
    .open = sqlite_open,
    .close = sqlite_close,
    .run = sqlite_run,
    .query = sqlite_query,
    .next = sqlite_next,
    .finish = sqlite_finish,
    .rollback = sqlite_rollback,
    .lock_schema = sqlite_lock_schema,
    .inspect = sqlite_inspect,
    .check = sqlite_check,
    .set_patience = sqlite_set_patience,
};
