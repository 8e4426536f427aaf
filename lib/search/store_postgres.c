/* SPDX-License-Identifier: Apache-2.0 */
/* Stores in PostgreSQL: postgresql://USER@HOST/DATABASE#STUDY, one schema of the database for a search.
 *
 * The name is libpq's connection URI, so passwords may come from where libpq looks for them; what
 * stands behind '#' is the study. Values travel in binary: a double is the same double there. */
#ifdef MSX_HAVE_POSTGRES
#include "search/sql.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_STUDY "medsamix"
#define MAX_STUDY     63 /* bytes of an identifier */
#define MAX_PARAMS    20
#define SCHEMA_LOCK   0x6d73785f73746f72LL /* any number; "msx_stor" */

/* Types by their numbers, which are part of the protocol (pg_type.dat). */
enum { T_BOOL = 16, T_BYTEA = 17, T_NAME = 19, T_INT8 = 20, T_INT4 = 23, T_TEXT = 25 };
enum { T_FLOAT8 = 701, T_VARCHAR = 1043 };

typedef struct postgres {
    msx__sql sql;
    PGconn *connection;
    char study[MAX_STUDY + 1];
    bool again; /* the last failure may not come again */
} postgres;

static postgres *of(msx__sql *db) {
    return (postgres *)db;
}

static void big_endian(uint64_t v, uint8_t out[8]) {
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t from_big_endian(const uint8_t *in, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | in[i];
    return v;
}

/* ---- failures -------------------------------------------------------------------------------------- */

/* The first line of libpq's texts, which are several. */
static int first_line(const char *text) {
    return (int)strcspn(text, "\n");
}

static msx_status fail_connection(msx__sql *db) {
    const char *text = PQerrorMessage(of(db)->connection);
    of(db)->again = true;
    return msx__fail(db->ctx, MSX_E_IO, "%s: the connection failed: %.*s", db->name,
                     first_line(text), text);
}

/* Class 53: insufficient resources; 40001, 40P01, 55P03: another transaction was in the way; 57P: the
 * server goes down or comes up. (PostgreSQL, appendix A.) */
static msx_status fail(msx__sql *db, PGresult *r) {
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    /* A failure without a state is libpq's own: the connection is lost, though it may not say so yet. */
    if (PQstatus(of(db)->connection) != CONNECTION_OK || !state) return fail_connection(db);
    if (!text) text = "no reason given";
    of(db)->again = !strcmp(state, "40001") || !strcmp(state, "40P01") || !strcmp(state, "55P03") ||
                    !strncmp(state, "57P", 3);
    if (!strncmp(state, "53", 2))
        return msx__fail(db->ctx, MSX_E_IO,
                         "%s: the server has no room left: %.*s; what was stored before is kept",
                         db->name, first_line(text), text);
    return msx__fail(db->ctx, MSX_E_STORE, "%s: PostgreSQL: %.*s", db->name, first_line(text),
                     text);
}

/* The connection itself may be renewed only outside a transaction, where this is called. */
static bool postgres_mend(msx__sql *db) {
    postgres *p = of(db);
    bool again = p->again;
    p->again = false;
    if (!again || !p->connection) return false;
    if (PQstatus(p->connection) == CONNECTION_OK) return true;
    PQreset(p->connection);
    if (PQstatus(p->connection) == CONNECTION_OK) {
        char path[MAX_STUDY + 40];
        snprintf(path, sizeof path, "SET search_path TO \"%s\"", p->study);
        PQclear(PQexec(p->connection, path));
    }
    return true;
}

/* ---- statements ------------------------------------------------------------------------------------ */

static msx_status execute(msx__sql *db, PGresult **out, const char *sql,
                          const msx__sql_value *params, int n) {
    Oid types[MAX_PARAMS] = {0};
    const char *values[MAX_PARAMS] = {0};
    int lengths[MAX_PARAMS] = {0}, formats[MAX_PARAMS] = {0};
    uint8_t words[MAX_PARAMS][8];
    *out = NULL;
    if (n > MAX_PARAMS) return msx__fail(db->ctx, MSX_E_INTERNAL, "too many parameters");
    for (int i = 0; i < n; i++) {
        const msx__sql_value *v = &params[i];
        uint64_t bits;
        switch (v->kind) {
        case MSX__SQL_INTEGER:
            types[i] = T_INT8;
            big_endian((uint64_t)v->integer, words[i]);
            break;
        case MSX__SQL_REAL:
            types[i] = T_FLOAT8;
            memcpy(&bits, &v->real, sizeof bits);
            big_endian(bits, words[i]);
            break;
        case MSX__SQL_TEXT:
        case MSX__SQL_BLOB:
            if (v->n > INT32_MAX)
                return msx__fail(db->ctx, MSX_E_LIMIT, "%s: a value of %zu bytes", db->name, v->n);
            types[i] = v->kind == MSX__SQL_TEXT ? T_TEXT : T_BYTEA;
            values[i] = v->n ? v->bytes : "";
            lengths[i] = (int)v->n;
            break;
        case MSX__SQL_NULL: /* the column says which type */
            continue;
        }
        formats[i] = v->kind != MSX__SQL_TEXT;
        if (v->kind == MSX__SQL_INTEGER || v->kind == MSX__SQL_REAL) {
            values[i] = (const char *)words[i];
            lengths[i] = 8;
        }
    }
    PGresult *r = PQexecParams(of(db)->connection, sql, n, types, values, lengths, formats, 1);
    ExecStatusType code = PQresultStatus(r);
    if (code != PGRES_COMMAND_OK && code != PGRES_TUPLES_OK) {
        msx_status status = r ? fail(db, r) : fail_connection(db); /* it was not even sent */
        PQclear(r);
        return status;
    }
    of(db)->again = false;
    *out = r;
    return MSX_OK;
}

static msx_status postgres_run(msx__sql *db, const char *sql, const msx__sql_value *params, int n,
                               int64_t *changed) {
    PGresult *r;
    MSX_TRY(execute(db, &r, sql, params, n));
    if (changed) *changed = strtoll(PQcmdTuples(r), NULL, 10);
    PQclear(r);
    return MSX_OK;
}

static msx_status postgres_query(msx__sql_rows *rows, const char *sql, const msx__sql_value *params,
                                 int n) {
    PGresult *r;
    MSX_TRY(execute(rows->db, &r, sql, params, n));
    rows->cursor = r;
    rows->n_columns = PQnfields(r);
    return rows->n_columns <= MSX__SQL_COLUMNS
               ? MSX_OK
               : msx__fail(rows->db->ctx, MSX_E_INTERNAL, "a query of too many columns");
}

static msx__sql_value column(const PGresult *r, int row, int i) {
    msx__sql_value v = {0};
    if (PQgetisnull(r, row, i)) return v;
    const uint8_t *bytes = (const uint8_t *)PQgetvalue(r, row, i);
    int n = PQgetlength(r, row, i);
    uint64_t bits;
    switch (PQftype(r, i)) {
    case T_INT8:
    case T_BOOL:
        v = msx__sql_integer((int64_t)from_big_endian(bytes, n));
        break;
    case T_INT4:
        v = msx__sql_integer((int32_t)from_big_endian(bytes, n));
        break;
    case T_FLOAT8:
        bits = from_big_endian(bytes, n);
        v.kind = MSX__SQL_REAL;
        memcpy(&v.real, &bits, sizeof bits);
        break;
    case T_TEXT:
    case T_VARCHAR:
    case T_NAME:
        v = (msx__sql_value){.kind = MSX__SQL_TEXT, .bytes = bytes, .n = (size_t)n};
        break;
    case T_BYTEA:
        v = (msx__sql_value){.kind = MSX__SQL_BLOB, .bytes = bytes, .n = (size_t)n};
        break;
    default:
        break;
    }
    return v;
}

static msx_status postgres_next(msx__sql_rows *rows, bool *there) {
    *there = rows->at < PQntuples(rows->cursor);
    for (int i = 0; *there && i < rows->n_columns; i++)
        rows->values[i] = column(rows->cursor, (int)rows->at, i);
    rows->at += *there;
    return MSX_OK;
}

static void postgres_finish(msx__sql_rows *rows) {
    PQclear(rows->cursor);
    rows->cursor = NULL;
}

static void postgres_rollback(msx__sql *db) {
    PGconn *c = of(db)->connection;
    if (PQstatus(c) == CONNECTION_OK && PQtransactionStatus(c) != PQTRANS_IDLE)
        PQclear(PQexec(c, "ROLLBACK"));
}

/* ---- the connection -------------------------------------------------------------------------------- */

static void be_silent(void *payload, const PGresult *r) {
    (void)payload;
    (void)r;
}

/* Part `where` into libpq's URI and the study, and make a name for messages without a password. */
static msx_status part(msx__sql *db, const char *where, char **uri) {
    const char *hash = strrchr(where, '#'), *study = hash && hash[1] ? hash + 1 : DEFAULT_STUDY;
    size_t n = hash ? (size_t)(hash - where) : strlen(where);
    const char *begin = strstr(where, "://") + 3;
    size_t rest = n - (size_t)(begin - where), host = strcspn(begin, "/?#");
    const char *at = memrchr(begin, '@', host < rest ? host : rest);
    const char *colon = at ? memchr(begin, ':', (size_t)(at - begin)) : NULL;
    const char *question = memchr(begin, '?', rest);
    size_t named = question ? (size_t)(question - begin) : rest;
    msx__buffer name;
    msx__buffer_init(&name, db->ctx);
    msx__buffer_printf(&name, "postgresql://%.*s", (int)((colon ? colon : begin) - begin), begin);
    if (colon)
        msx__buffer_printf(&name, "%.*s", (int)(begin + named - at), at);
    else
        msx__buffer_printf(&name, "%.*s", (int)named, begin);
    msx__buffer_printf(&name, "#%s", study);
    db->name = name.data;
    if (name.failed || !(*uri = msx__strndup(db->ctx, where, n))) return MSX_E_NOMEM;
    size_t length = strlen(study);
    bool good = length <= MAX_STUDY;
    for (size_t i = 0; i < length; i++)
        good = good && ((study[i] >= 'a' && study[i] <= 'z') ||
                        (study[i] >= '0' && study[i] <= '9') || study[i] == '_');
    if (!good)
        return msx__fail(db->ctx, MSX_E_ARG,
                         "store: study '%.80s': use 1 to %d lower-case letters, digits and '_'",
                         study, MAX_STUDY);
    strcpy(of(db)->study, study);
    return MSX_OK;
}

static msx_status postgres_run_named(msx__sql *db, const char *format) {
    char sql[MAX_STUDY + 64];
    snprintf(sql, sizeof sql, format, of(db)->study);
    return postgres_run(db, sql, NULL, 0, NULL);
}

static msx_status connect_to(msx__sql *db, const char *uri) {
    postgres *p = of(db);
    /* What stands in the URI comes later and counts. */
    const char *const keys[] = {"connect_timeout", "client_encoding", "fallback_application_name",
                                "dbname", NULL};
    const char *const values[] = {"10", "UTF8", "medsamix", uri, NULL};
    p->connection = PQconnectdbParams(keys, values, 1);
    if (!p->connection) return msx__nomem(db->ctx, 0);
    PQsetNoticeReceiver(p->connection, be_silent, NULL);
    return PQstatus(p->connection) == CONNECTION_OK ? MSX_OK : fail_connection(db);
}

static msx_status postgres_open(msx__sql *db, const char *where) {
    char *uri = NULL;
    msx_status status = part(db, where, &uri);
    if (status >= 0) status = connect_to(db, uri);
    msx__free(db->ctx, uri);
    return status < 0 ? status : postgres_run_named(db, "SET search_path TO \"%s\"");
}

static void postgres_close(msx__sql *db) {
    if (of(db)->connection) PQfinish(of(db)->connection);
}

/* ---- the schema ------------------------------------------------------------------------------------ */

static msx_status postgres_lock_schema(msx__sql *db) {
    msx__sql_value key = msx__sql_integer(SCHEMA_LOCK);
    MSX_TRY(postgres_run(db, "SELECT pg_advisory_xact_lock($1)", &key, 1, NULL));
    msx__sql_rows rows = {.db = db};
    msx__sql_value study = msx__sql_text(of(db)->study);
    bool there = false;
    msx_status status =
        postgres_query(&rows, "SELECT 1 FROM pg_namespace WHERE nspname = $1", &study, 1);
    if (status >= 0) status = postgres_next(&rows, &there);
    postgres_finish(&rows);
    return status < 0 || there ? status : postgres_run_named(db, "CREATE SCHEMA \"%s\"");
}

/* Everything with columns in the study, one "relation.column TYPE" a line, and how much there is that a
 * table of ours has not: views, triggers, rules, policies. */
static const char columns_query[] =
    "SELECT string_agg(c.relname || '.' || a.attname || ' ' ||"
    "   upper(format_type(a.atttypid, a.atttypmod)) || E'\\n', '' ORDER BY c.relname, a.attnum),"
    " count(*) FILTER (WHERE c.relkind <> 'r' OR c.relhasrules OR c.relhastriggers OR"
    "   c.relrowsecurity)"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)"
    " AND c.relkind NOT IN ('i', 'I', 't') AND a.attnum > 0 AND NOT a.attisdropped";

static msx_status compare(msx__sql *db, const msx__sql_value *found, msx__sql_content *out) {
    *out = MSX__SQL_EMPTY;
    if (found[0].kind != MSX__SQL_TEXT) return MSX_OK;
    msx__buffer ours;
    msx__buffer_init(&ours, db->ctx);
    msx_status status = msx__schema_columns(db, &ours);
    if (status >= 0) {
        const char *there = found[0].bytes;
        bool plain = found[1].integer == 0, same = plain && !strcmp(there, ours.data);
        bool meta = plain && strstr(there, "meta.key TEXT\nmeta.value TEXT\n");
        *out = same ? MSX__SQL_OURS : meta ? MSX__SQL_META : MSX__SQL_OTHER;
    }
    msx__buffer_free(&ours);
    return status;
}

static msx_status postgres_inspect(msx__sql *db, msx__sql_content *out) {
    msx__sql_rows rows = {.db = db};
    msx__sql_value study = msx__sql_text(of(db)->study);
    bool there = false;
    msx_status status = postgres_query(&rows, columns_query, &study, 1);
    if (status >= 0) status = postgres_next(&rows, &there);
    if (status >= 0) status = compare(db, rows.values, out);
    postgres_finish(&rows);
    return status;
}

static msx_status postgres_clock(msx__sql *db, double *out) {
    msx__sql_rows rows = {.db = db};
    bool there = false;
    msx_status status = postgres_query(
        &rows, "SELECT extract(epoch FROM clock_timestamp())::double precision", NULL, 0);
    if (status >= 0) status = postgres_next(&rows, &there);
    if (status >= 0) *out = rows.values[0].real;
    postgres_finish(&rows);
    return status;
}

const msx__sql_driver msx__postgres = {
    .size = sizeof(postgres),
    .begin_write = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    .begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    .integer_type = "BIGINT",
    .real_type = "DOUBLE PRECISION",
    .blob_type = "BYTEA",
    .open = postgres_open,
    .close = postgres_close,
    .run = postgres_run,
    .query = postgres_query,
    .next = postgres_next,
    .finish = postgres_finish,
    .rollback = postgres_rollback,
    .lock_schema = postgres_lock_schema,
    .inspect = postgres_inspect,
    .clock = postgres_clock,
    .mend = postgres_mend,
};
#else
/* A translation unit is never empty in C. */
typedef int msx__no_postgres;
#endif
