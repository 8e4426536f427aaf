/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to a database, whichever it is: what the store needs of SQLite and of PostgreSQL, so that
 * its statements are written once. Parameters are $1, $2, ... in the order of their first use. */
#ifndef MSX_SEARCH_SQL_H
#define MSX_SEARCH_SQL_H

#include "core/core.h"

enum { MSX__SQL_COLUMNS = 20 };
#define MSX__SQL_PATIENCE 10.0 /* seconds, see set_patience */

typedef enum msx__sql_kind {
    MSX__SQL_NULL,
    MSX__SQL_INTEGER,
    MSX__SQL_REAL,
    MSX__SQL_TEXT,
    MSX__SQL_BLOB
} msx__sql_kind;

typedef struct msx__sql_value {
    msx__sql_kind kind;
    int64_t integer;
    double real;
    const void *bytes; /* a text (NUL-terminated) or a blob; borrowed */
    size_t n;          /* its bytes, without the NUL */
} msx__sql_value;

msx__sql_value msx__sql_integer(int64_t value);
msx__sql_value msx__sql_real(double value);      /* NaN becomes NULL */
msx__sql_value msx__sql_text(const char *value); /* NULL becomes NULL */
msx__sql_value msx__sql_blob(const void *bytes, size_t n);

typedef struct msx__sql msx__sql;

/* Rows of a query in work. */
typedef struct msx__sql_rows {
    msx__sql *db;
    void *cursor;
    int64_t at;
    int n_columns;
    msx__sql_value values[MSX__SQL_COLUMNS]; /* of the current row, until the next */
} msx__sql_rows;

/* What a database holds. */
typedef enum msx__sql_content {
    MSX__SQL_EMPTY,
    MSX__SQL_OURS,  /* exactly the tables of the schema */
    MSX__SQL_OTHER, /* something else */
    MSX__SQL_META   /* something else whose table `meta` is ours: a store of another version */
} msx__sql_content;

typedef struct msx__sql_driver {
    size_t size;             /* of the struct that begins with a msx__sql */
    const char *begin_write; /* a transaction that will write: it waits for the others here */
    const char *begin_read;  /* one that sees everything at one moment */
    /* What the types INTEGER, REAL and BLOB of the schema are called; TEXT is TEXT. */
    const char *integer_type, *real_type, *blob_type;

    /* `where` is what the user gave. Sets db->name, for messages, also on failure. */
    msx_status (*open)(msx__sql *db, const char *where);
    void (*close)(msx__sql *db); /* also after a failed open */
    /* Run a statement. @param changed NULL, or receives the rows it changed. */
    msx_status (*run)(msx__sql *db, const char *sql, const msx__sql_value *params, int n,
                      int64_t *changed);
    /* Begin reading; ended by finish() whatever happens. */
    msx_status (*query)(msx__sql_rows *rows, const char *sql, const msx__sql_value *params, int n);
    msx_status (*next)(msx__sql_rows *rows, bool *there);
    void (*finish)(msx__sql_rows *rows);
    /* Undo the transaction in work; without one it does nothing. */
    void (*rollback)(msx__sql *db);
    /* The lock under which one process at a time makes the tables, until the transaction ends. */
    msx_status (*lock_schema)(msx__sql *db);
    msx_status (*inspect)(msx__sql *db, msx__sql_content *out);
    msx_status (*check)(msx__sql *db); /* damage below the tables; NULL: the server's business */
    /* The database's clock in Unix time; NULL: the machine's. */
    msx_status (*clock)(msx__sql *db, double *out);
    /* How many seconds a statement waits for another's lock; NULL: for ever. */
    void (*set_patience)(msx__sql *db, double seconds);
    /* After a failure: true when the same may succeed now, the connection having been renewed where it
     * was lost. NULL: never. */
    bool (*mend)(msx__sql *db);
} msx__sql_driver;

struct msx__sql {
    const msx__sql_driver *driver;
    msx_ctx *ctx;
    char *name;
};

extern const msx__sql_driver msx__sqlite;
extern const msx__sql_driver msx__postgres; /* of a build with libpq */

/* ---- the schema (store_schema.c) ------------------------------------------------------------------ */

#define MSX__STORE_SCHEMA "2"

enum { MSX__STORE_TABLES = 9 };

/* CREATE TABLE statements as SQLite keeps them; the first is `meta`. */
extern const char *const msx__store_schema[MSX__STORE_TABLES];

/* One of them in the words of a driver. */
msx_status msx__schema_statement(const msx__sql *db, int table, msx__buffer *out);

/* "table.column TYPE" of every column, one a line, tables by name, in the words of a driver. */
msx_status msx__schema_columns(const msx__sql *db, msx__buffer *out);

#endif
