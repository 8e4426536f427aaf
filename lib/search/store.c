/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a store, and transactions on it.
 *
 * A store has one connection, whose lock the threads of a process take in turn; processes are kept apart
 * by the database. */
#include "search/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE   60.0 /* seconds for a lost connection */
#define FIRST_WAIT 0.05
#define LAST_WAIT  2.0

/* ---- values ---------------------------------------------------------------------------------------- */

msx__sql_value msx__sql_integer(int64_t value) {
    return (msx__sql_value){.kind = MSX__SQL_INTEGER, .integer = value};
}

msx__sql_value msx__sql_real(double value) {
    if (value != value) return (msx__sql_value){0};
    return (msx__sql_value){.kind = MSX__SQL_REAL, .real = value};
}

msx__sql_value msx__sql_text(const char *value) {
    if (!value) return (msx__sql_value){0};
    return (msx__sql_value){.kind = MSX__SQL_TEXT, .bytes = value, .n = strlen(value)};
}

msx__sql_value msx__sql_blob(const void *bytes, size_t n) {
    return (msx__sql_value){.kind = MSX__SQL_BLOB, .bytes = bytes, .n = n};
}

const char *msx__row_text(const msx__sql_rows *rows, int column) {
    const msx__sql_value *v = &rows->values[column];
    return v->kind == MSX__SQL_TEXT ? v->bytes : NULL;
}

/* ---- transactions ---------------------------------------------------------------------------------- */

msx_status msx__store_damaged(msx__store *s, const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return msx__fail(s->ctx, MSX_E_STORE, "%s: is damaged: %s; start a new store", s->db->name,
                     line);
}

msx_status msx__store_begin(msx__store *s, const char *begin) {
    return s->db->driver->run(s->db, begin, NULL, 0, NULL);
}

msx_status msx__store_commit(msx__store *s) {
    MSX_TRY(s->db->driver->run(s->db, "COMMIT", NULL, 0, NULL));
    pthread_mutex_unlock(&s->lock);
    return MSX_OK;
}

void msx__store_rollback(msx__store *s) {
    s->db->driver->rollback(s->db);
    pthread_mutex_unlock(&s->lock);
}

static msx_status transact_once(msx__store *s, const char *begin, msx__store_fn each, void *payload,
                                bool *again) {
    const msx__sql_driver *d = s->db->driver;
    pthread_mutex_lock(&s->lock);
    msx_status status = msx__store_begin(s, begin);
    if (status >= 0) status = each(s, payload);
    if (status >= 0) status = d->run(s->db, "COMMIT", NULL, 0, NULL);
    if (status < 0) d->rollback(s->db);
    *again = status < 0 && d->mend && d->mend(s->db);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static void sleep_for(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

msx_status msx__store_transact(msx__store *s, const char *begin, msx__store_fn each,
                               void *payload) {
    double waited = 0, wait = FIRST_WAIT;
    for (;;) {
        bool again;
        msx_status status = transact_once(s, begin, each, payload, &again);
        if (!again || waited >= s->patience || msx_ctx_cancelled(s->ctx)) return status;
        sleep_for(wait);
        waited += wait;
        wait = 2 * wait < LAST_WAIT ? 2 * wait : LAST_WAIT;
    }
}

/* ---- opening --------------------------------------------------------------------------------------- */

static const struct {
    const char *scheme;
    const msx__sql_driver *driver;
} schemes[] = {
#ifdef MSX_HAVE_POSTGRES
    {"postgresql", &msx__postgres},
    {"postgres", &msx__postgres},
#endif
    {"", &msx__sqlite},
};

static msx_status find_driver(msx_ctx *ctx, const char *where, const msx__sql_driver **out) {
    const char *end = strstr(where, "://");
    size_t n = end ? (size_t)(end - where) : 0;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strlen(schemes[i].scheme) == n && !memcmp(schemes[i].scheme, where, n)) {
            *out = schemes[i].driver;
            return MSX_OK;
        }
    return msx__fail(ctx, MSX_E_UNSUPPORTED,
                     "store: '%.*s://' is not known to this build; it keeps trials in SQLite "
                     "files%s",
                     (int)(n < 40 ? n : 40), where,
                     schemes[0].driver == &msx__sqlite ? " only; give a file name"
                                                       : " and in postgresql://USER@HOST/DATABASE");
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
                         s->db->name);
    return msx__fail(s->ctx, MSX_E_STORE,
                     "%s: is of a%s version: schema %ld there and %ld here; use the version that "
                     "wrote it or give another file",
                     s->db->name, there < here ? "n older" : " newer", there, here);
}

static msx_status inspect(msx__store *s) {
    msx__sql_content content;
    MSX_TRY(s->db->driver->inspect(s->db, &content));
    s->fresh = content == MSX__SQL_EMPTY;
    if (content == MSX__SQL_META || content == MSX__SQL_OTHER)
        return refuse(s, content == MSX__SQL_META);
    return s->fresh || !s->db->driver->check ? MSX_OK : s->db->driver->check(s->db);
}

static double machine_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static msx_status connect_into(msx__store *s, const char *where) {
    const msx__sql_driver *d = NULL;
    MSX_TRY(find_driver(s->ctx, where, &d));
    s->db = msx__calloc(s->ctx, 1, d->size);
    if (!s->db) return MSX_E_NOMEM;
    s->db->driver = d;
    s->db->ctx = s->ctx;
    MSX_TRY(d->open(s->db, where));
    if (d->clock) {
        double there;
        MSX_TRY(d->clock(s->db, &there));
        s->clock_offset = there - machine_clock();
    }
    return inspect(s);
}

msx_status msx__store_connect(msx__store **out, msx_ctx *ctx, const char *where) {
    *out = NULL;
    msx__store *s = msx__calloc(ctx, 1, sizeof *s);
    if (!s) return MSX_E_NOMEM;
    s->ctx = ctx;
    s->patience = PATIENCE;
    s->shared = *where != 0;
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    msx_status status = connect_into(s, where);
    if (status < 0) {
        msx__store_close(s);
        return status;
    }
    *out = s;
    return MSX_OK;
}

void msx__store_close(msx__store *s) {
    if (!s) return;
    if (s->db) {
        s->db->driver->close(s->db);
        msx__free(s->ctx, s->db->name);
        msx__free(s->ctx, s->db);
    }
    pthread_mutex_destroy(&s->lock);
    msx__free(s->ctx, s);
}

/* Another process may have made the tables since they were looked for. */
static msx_status create(msx__store *s, void *payload) {
    MSX_TRY(s->db->driver->lock_schema(s->db));
    MSX_TRY(inspect(s));
    if (!s->fresh) return MSX_OK;
    for (int i = 0; i < MSX__STORE_TABLES; i++) {
        msx__buffer sql;
        msx__buffer_init(&sql, s->ctx);
        msx_status status = msx__schema_statement(s->db, i, &sql);
        if (status >= 0) status = s->db->driver->run(s->db, sql.data, NULL, 0, NULL);
        msx__buffer_free(&sql);
        MSX_TRY(status);
    }
    return msx__store_write_definition(s, payload);
}

static msx_status compare(msx__store *s, void *payload) {
    return msx__store_compare(s, payload);
}

static void take_sizes(msx__store *s, const msx__definition *d) {
    s->n_parameters = msx_space_count(d->space);
    s->n_tasks = (int64_t)d->n_tasks;
    s->n_items = d->n_items;
}

msx_status msx__store_join(msx__store *s, const msx__definition *d) {
    take_sizes(s, d);
    const msx__sql_driver *driver = s->db->driver;
    if (s->fresh) MSX_TRY(msx__store_transact(s, driver->begin_write, create, (void *)d));
    s->fresh = false;
    return msx__store_transact(s, driver->begin_read, compare, (void *)d);
}

static msx_status compare_space(msx__store *s, void *payload) {
    return msx__store_compare_space(s, payload);
}

msx_status msx__store_resume(msx__store *s, const msx__definition *d) {
    take_sizes(s, d);
    return msx__store_transact(s, s->db->driver->begin_read, compare_space, (void *)d);
}

msx_status msx__store_open(msx__store **out, msx_ctx *ctx, const char *where,
                           const msx__definition *d) {
    MSX_TRY(msx__store_connect(out, ctx, where));
    msx_status status = msx__store_join(*out, d);
    if (status < 0) {
        msx__store_close(*out);
        *out = NULL;
    }
    return status;
}

/* ---- looking --------------------------------------------------------------------------------------- */

const char *msx__store_name(const msx__store *s) {
    return s->db->name;
}

void msx__store_set_patience(msx__store *s, double seconds) {
    s->patience = seconds;
    if (s->db->driver->set_patience) s->db->driver->set_patience(s->db, seconds);
}

bool msx__store_is_fresh(const msx__store *s) {
    return s->fresh;
}

bool msx__store_is_shared(const msx__store *s) {
    return s->shared;
}

double msx__store_now(const msx__store *s) {
    return machine_clock() + s->clock_offset;
}
