/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the store: the schema, the lock, and distrust of what is in the file.
 *
 * Two processes must not continue one search. SQLite's own locks cannot say so without also keeping
 * readers out, so a flock on the file is held beside them; a report may read during a search. */
#include "search/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_MILLISECONDS 10000
#define MAX_VALUE_BYTES   (64 * 1024 * 1024)

/* sqlite_master keeps these texts: a store is accepted only when they are exactly these, so that no
 * trigger or view of a stranger ever runs. */
static const char *const schema[] = {
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT)",
    "CREATE TABLE models(idx INTEGER PRIMARY KEY, name TEXT, path TEXT, sha256 TEXT)",
    "CREATE TABLE tasks(idx INTEGER PRIMARY KEY, name TEXT, dataset TEXT, label TEXT)",
    "CREATE TABLE groups(idx INTEGER PRIMARY KEY, name TEXT, elements INTEGER, state TEXT)",
    "CREATE TABLE parameters(idx INTEGER PRIMARY KEY, name TEXT, kind TEXT, lower REAL, upper REAL,"
    " choices TEXT)",
    "CREATE TABLE trials(number INTEGER PRIMARY KEY, state TEXT, origin TEXT, x BLOB, plan TEXT,"
    " mean_cost REAL, history BLOB, worker TEXT, lease REAL, attempt INTEGER, started REAL,"
    " finished REAL, seconds REAL, images INTEGER, blocks_run INTEGER, blocks_reused INTEGER,"
    " dice BLOB, error TEXT)",
    "CREATE TABLE costs(trial INTEGER, task INTEGER, cost REAL, PRIMARY KEY(trial, task))",
    "CREATE TABLE results(kind TEXT, name TEXT, split TEXT, task INTEGER, dice REAL, low REAL,"
    " high REAL, used INTEGER, left_out INTEGER, PRIMARY KEY(kind, name, split, task))",
    "CREATE TABLE pictures(idx INTEGER PRIMARY KEY, title TEXT, caption TEXT, split TEXT,"
    " png BLOB)",
};
enum { N_TABLES = sizeof schema / sizeof *schema };

msx_status msx__store_fail(msx__store *s, const char *doing) {
    int code = sqlite3_extended_errcode(s->db);
    switch (code & 0xff) {
    case SQLITE_NOMEM: /* also what SQLite says of some damaged schemas */
        return msx__fail(s->ctx, MSX_E_NOMEM, "%s: SQLite asks for more memory than it gets",
                         s->path);
    case SQLITE_NOTADB:
        return msx__fail(s->ctx, MSX_E_STORE,
                         "%s: is not a store of a search (not SQLite); give another file", s->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return msx__fail(s->ctx, MSX_E_STORE, "%s: is locked by another program; try again later",
                         s->path);
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        return msx__fail(s->ctx, MSX_E_IO, "%s: %s: %s", s->path, doing, sqlite3_errmsg(s->db));
    default:
        return msx__fail(s->ctx, MSX_E_STORE, "%s: %s: %s", s->path, doing, sqlite3_errmsg(s->db));
    }
}

msx_status msx__store_damaged(msx__store *s, const char *format, ...) {
    msx__buffer text;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    msx__buffer_init(&text, s->ctx);
    msx__buffer_printf(&text, "%s: is damaged: %s; start a new store", s->path, line);
    msx_status status = text.failed ? MSX_E_NOMEM : msx__fail(s->ctx, MSX_E_STORE, "%s", text.data);
    msx__buffer_free(&text);
    return status;
}

msx_status msx__store_exec(msx__store *s, const char *sql) {
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? MSX_OK
                                                                   : msx__store_fail(s, "SQLite");
}

msx_status msx__store_prepare(msx__store *s, sqlite3_stmt **out, const char *sql) {
    return sqlite3_prepare_v2(s->db, sql, -1, out, NULL) == SQLITE_OK
               ? MSX_OK
               : msx__store_fail(s, "SQLite");
}

msx_status msx__store_finish(msx__store *s, sqlite3_stmt *statement, const char *doing) {
    int code = sqlite3_step(statement);
    msx_status status =
        code == SQLITE_DONE || code == SQLITE_ROW ? MSX_OK : msx__store_fail(s, doing);
    sqlite3_finalize(statement);
    return status;
}

/* Number of tables found, whether they are exactly ours, and whether the first is, where a store of
 * any version says which it is. */
static msx_status read_schema(msx__store *s, int *tables, bool *ours, bool *first_ours) {
    sqlite3_stmt *q;
    MSX_TRY(msx__store_prepare(s, &q,
                               "SELECT sql FROM sqlite_master"
                               " WHERE substr(name, 1, 7) <> 'sqlite_' ORDER BY rowid"));
    *tables = 0;
    *ours = true;
    *first_ours = false;
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        const char *sql = (const char *)sqlite3_column_text(q, 0);
        bool same = *tables < N_TABLES && sql && !strcmp(sql, schema[*tables]);
        if (!same) *ours = false;
        if (*tables == 0) *first_ours = same;
        if (*tables <= N_TABLES) (*tables)++;
    }
    *ours = *ours && *tables == N_TABLES;
    msx_status status = code == SQLITE_DONE ? MSX_OK : msx__store_fail(s, "reading the schema");
    sqlite3_finalize(q);
    return status;
}

/* A database that is not a store of this version: say whether it is one of another. */
static msx_status refuse(msx__store *s, bool has_meta) {
    char *version = NULL, *end;
    if (has_meta) MSX_TRY(msx__store_read_meta(s, "schema", &version));
    long there = version ? strtol(version, &end, 10) : 0,
         here = strtol(MSX__STORE_SCHEMA, NULL, 10);
    bool known = version && end != version && !*end && there > 0 && there != here;
    msx__free(s->ctx, version);
    if (!known)
        return msx__fail(s->ctx, MSX_E_STORE,
                         "%s: is a database, but not a store of a search; give another file",
                         s->path);
    return msx__fail(s->ctx, MSX_E_STORE,
                     "%s: is of a%s version: schema %ld there and %ld here; use the version that "
                     "wrote it or give another file",
                     s->path, there < here ? "n older" : " newer", there, here);
}

static msx_status check_pages(msx__store *s) {
    sqlite3_stmt *q;
    MSX_TRY(msx__store_prepare(s, &q, "PRAGMA quick_check(1)"));
    msx_status status = MSX_OK;
    if (sqlite3_step(q) != SQLITE_ROW)
        status = msx__store_fail(s, "checking");
    else if (sqlite3_column_type(q, 0) != SQLITE_TEXT ||
             strcmp((const char *)sqlite3_column_text(q, 0), "ok") != 0)
        status = msx__store_damaged(s, "%s", sqlite3_column_text(q, 0));
    sqlite3_finalize(q);
    return status;
}

static msx_status create(msx__store *s, const msx__definition *d) {
    MSX_TRY(msx__store_exec(s, "BEGIN IMMEDIATE"));
    msx_status status = MSX_OK;
    for (int i = 0; status >= 0 && i < N_TABLES; i++) status = msx__store_exec(s, schema[i]);
    if (status >= 0) status = msx__store_write_definition(s, d);
    if (status >= 0) status = msx__store_commit(s);
    if (status < 0) msx__store_rollback(s);
    return status;
}

static msx_status open_database(msx__store *s, const char *file) {
    if (sqlite3_open_v2(file, &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return s->db ? msx__store_fail(s, "cannot be opened") : msx__nomem(s->ctx, 0);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, BUSY_MILLISECONDS);
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    MSX_TRY(msx__store_exec(s, "PRAGMA cell_size_check = ON"));
    MSX_TRY(msx__store_exec(s, "PRAGMA journal_mode = DELETE"));
    return msx__store_exec(s, "PRAGMA synchronous = FULL");
}

static msx_status hold(msx__store *s) {
    s->lock = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    struct stat st;
    if (s->lock < 0 || fstat(s->lock, &st) != 0)
        return msx__fail(s->ctx, MSX_E_IO, "%s: cannot be opened: %s", s->path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return msx__fail(s->ctx, MSX_E_IO, "%s: is not a file", s->path);
    /* Where a file system knows no flock, SQLite's own locks still protect the content. */
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return msx__fail(s->ctx, MSX_E_STORE,
                         "%s: is in use by another search; wait for it or give another file",
                         s->path);
    return MSX_OK;
}

static msx_status open_into(msx__store *s, const char *path, const msx__definition *d) {
    s->path = msx__strdup(s->ctx, *path ? path : "the store in memory");
    if (!s->path) return MSX_E_NOMEM;
    if (strstr(path, "://"))
        return msx__fail(s->ctx, MSX_E_UNSUPPORTED,
                         "%s: this build keeps trials in SQLite files only; give a file name",
                         path);
    msx__buffer file;
    msx__buffer_init(&file, s->ctx);
    /* A leading ':' means something to SQLite; behind "./" it is a file. */
    msx__buffer_printf(&file, "%s%s", *path == ':' ? "./" : "", *path ? path : ":memory:");
    msx_status status = file.failed ? MSX_E_NOMEM : MSX_OK;
    if (status >= 0 && *path) status = hold(s);
    if (status >= 0) status = open_database(s, file.data);
    msx__buffer_free(&file);
    int tables = 0;
    bool ours = false, first_ours = false;
    if (status >= 0) status = read_schema(s, &tables, &ours, &first_ours);
    if (status < 0) return status;
    if (tables == 0) return create(s, d);
    if (!ours) return refuse(s, first_ours);
    MSX_TRY(check_pages(s));
    return msx__store_compare(s, d);
}

msx_status msx__store_open(msx__store **out, msx_ctx *ctx, const char *path,
                           const msx__definition *d) {
    *out = NULL;
    msx__store *s = msx__calloc(ctx, 1, sizeof *s);
    if (!s) return MSX_E_NOMEM;
    s->ctx = ctx;
    s->lock = -1;
    s->n_parameters = msx_space_count(d->space);
    s->n_tasks = (int64_t)d->n_tasks;
    s->n_items = d->n_items;
    msx_status status = open_into(s, path, d);
    if (status < 0) {
        msx__store_close(s);
        return status;
    }
    *out = s;
    return MSX_OK;
}

/* SQLite first: closing any descriptor of the file drops the process's record locks on it. */
void msx__store_close(msx__store *s) {
    if (!s) return;
    sqlite3_close(s->db);
    if (s->lock >= 0) close(s->lock);
    msx__free(s->ctx, s->path);
    msx__free(s->ctx, s);
}

msx_status msx__store_commit(msx__store *s) {
    return msx__store_exec(s, "COMMIT");
}

void msx__store_rollback(msx__store *s) {
    if (!sqlite3_get_autocommit(s->db)) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}
