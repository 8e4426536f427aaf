/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the store: the connection and how SQLite's failures are told. */
#ifndef MSX_SEARCH_STORE_INTERNAL_H
#define MSX_SEARCH_STORE_INTERNAL_H

#include "search/store.h"

#include <sqlite3.h>

struct msx__store {
    msx_ctx *ctx;
    char *path; /* for messages */
    sqlite3 *db;
    int lock; /* file descriptor that holds the flock; -1 in memory */
    int64_t n_parameters, n_tasks, n_items;
};

/* The text and status of SQLite's last failure. */
msx_status msx__store_fail(msx__store *s, const char *doing);
/* MSX_E_STORE: the content breaks the schema's rules. */
msx_status msx__store_damaged(msx__store *s, const char *format, ...) MSX_PRINTF(2, 3);

msx_status msx__store_exec(msx__store *s, const char *sql);
msx_status msx__store_prepare(msx__store *s, sqlite3_stmt **out, const char *sql);
/* Run a statement to its end and release it, whatever happened to it before. */
msx_status msx__store_finish(msx__store *s, sqlite3_stmt *statement, const char *doing);

/* Compare what is stored with `d` (store_definition.c). */
msx_status msx__store_compare(msx__store *s, const msx__definition *d);
msx_status msx__store_write_definition(msx__store *s, const msx__definition *d);

#endif
