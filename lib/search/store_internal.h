/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the store: its connection, and transactions on it. */
#ifndef MSX_SEARCH_STORE_INTERNAL_H
#define MSX_SEARCH_STORE_INTERNAL_H

#include "search/store.h"

#include <pthread.h>

struct msx__store {
    msx_ctx *ctx;
    msx__sql *db;
    pthread_mutex_t lock; /* recursive; of the connection */
    bool shared;          /* others may open it, too */
    bool fresh;           /* without tables yet */
    double patience;      /* seconds that a lost connection is tried again for */
    double clock_offset;  /* the database's clock minus the machine's */
    int64_t n_parameters, n_tasks, n_items;
};

/* Run `each` in a transaction, again where the connection was lost or another transaction was in the
 * way: `each` begins anew then. */
typedef msx_status (*msx__store_fn)(msx__store *s, void *payload);
msx_status msx__store_transact(msx__store *s, const char *begin, msx__store_fn each, void *payload);

msx_status msx__store_begin(msx__store *s, const char *begin);

/* Run a statement whose parameters are given as values. */
#define MSX__RUN(s, changed, sql, ...)                                                             \
    (s)->db->driver->run(                                                                          \
        (s)->db, sql, (const msx__sql_value[]){__VA_ARGS__},                                       \
        (int)(sizeof((const msx__sql_value[]){__VA_ARGS__}) / sizeof(msx__sql_value)), changed)
#define MSX__QUERY(rows, sql, ...)                                                                 \
    (rows)->db->driver->query(                                                                     \
        (rows), sql, (const msx__sql_value[]){__VA_ARGS__},                                        \
        (int)(sizeof((const msx__sql_value[]){__VA_ARGS__}) / sizeof(msx__sql_value)))

/* A text or blob of the current row; NULL when it is something else. */
const char *msx__row_text(const msx__sql_rows *rows, int column);

/* MSX_E_STORE: the content breaks the schema's rules. */
msx_status msx__store_damaged(msx__store *s, const char *format, ...) MSX_PRINTF(2, 3);

/* Compare what is stored with `d`; write it (store_definition.c). */
msx_status msx__store_compare(msx__store *s, const msx__definition *d);
msx_status msx__store_compare_space(msx__store *s, const msx__definition *d);
msx_status msx__store_write_definition(msx__store *s, const msx__definition *d);

/* Names of states, and doubles as their little-endian bytes (store_trials.c). */
const char *msx__store_state_name(msx__store_state state);
void msx__store_words(const void *values, int64_t n, uint8_t *out);

#endif
