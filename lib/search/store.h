/* SPDX-License-Identifier: Apache-2.0 */
/* The trial store: one SQLite file, or one schema of a PostgreSQL database, per search;
 * docs/formats/store.md has the tables. */
#ifndef MSX_SEARCH_STORE_H
#define MSX_SEARCH_STORE_H

#include "search/sql.h"

#include <medsamix/search.h>

#define MSX__STORE_HISTORY_WORDS 4

typedef struct msx__store msx__store;

/* ---- what a search is ------------------------------------------------------------------------ */

typedef struct msx__store_meta {
    const char *key, *value;
    bool defines; /* part of the identity; others may differ between runs */
} msx__store_meta;

typedef struct msx__store_model {
    const char *name, *path, *sha256;
} msx__store_model;

typedef struct msx__store_task {
    const char *name, *dataset, *label;
} msx__store_task;

typedef struct msx__store_group {
    const char *name, *state; /* "searched", "equal", "unreached" */
    int64_t elements;
} msx__store_group;

typedef struct msx__definition {
    const msx__store_meta *meta;
    size_t n_meta;
    const msx__store_model *models;
    size_t n_models;
    const msx__store_task *tasks;
    size_t n_tasks;
    const msx__store_group *groups;
    size_t n_groups;
    int64_t n_items; /* of the evaluator: values of a trial's `dice` */
    const msx_space *space;
} msx__definition;

/* SHA-256 over everything that defines the search; paths and versions do not. */
void msx__definition_identity(const msx__definition *d, char out[MSX__SHA256_HEX]);

/* ---- the store ------------------------------------------------------------------------------- */

/* Connect to a store, which need not be there yet: a file name, "" for memory, or
 * "postgresql://USER@HOST/DATABASE#STUDY". Several processes may do so, and threads may share one.
 * @return MSX_E_STORE: of another version, no store, damaged, locked; MSX_E_UNSUPPORTED: a database that
 * this build does not know. */
msx_status msx__store_connect(msx__store **out, msx_ctx *ctx, const char *where);

/* A value of `meta`; NULL when there is none. Released with msx__free. */
msx_status msx__store_read_meta(msx__store *s, const char *key, char **out);

/* Make it the store of a search, or see that it is: MSX_E_STORE says what differs. */
msx_status msx__store_join(msx__store *s, const msx__definition *d);

/* Go on with the search that it is of, whatever that is: `d` needs only space, n_tasks and n_items, and the
 * space must be the stored one. MSX_E_STORE: it is of no search yet, or damaged. */
msx_status msx__store_resume(msx__store *s, const msx__definition *d);

/* The rows of a table in order: three texts and a number, see store_lists.c. A negative status of `each`
 * ends the reading. */
typedef enum msx__store_list {
    MSX__STORE_MODELS, /* name, path, sha256; index */
    MSX__STORE_TASKS,  /* name, dataset, label; index */
    MSX__STORE_GROUPS  /* name, state, name; elements */
} msx__store_list;
typedef msx_status (*msx__store_row_fn)(const char *const texts[3], int64_t number, void *payload);
msx_status msx__store_read_list(msx__store *s, msx__store_list list, msx__store_row_fn each,
                                void *payload);

/* True when no search has made it its store yet. */
bool msx__store_is_fresh(const msx__store *s);

/* msx__store_connect() and msx__store_join(). */
msx_status msx__store_open(msx__store **out, msx_ctx *ctx, const char *where,
                           const msx__definition *d);
void msx__store_close(msx__store *s); /* accepts NULL */

/* Copy a store, all of it at one moment, into one in memory. `name`: what to call it in messages; released
 * with msx__free. @return MSX_E_IO when there is none. */
msx_status msx__store_copy(msx__store **out, msx_ctx *ctx, const char *where, char **name);

/* SQLite's connection of a store in a file or in memory. */
struct sqlite3 *msx__store_sqlite(const msx__store *s);

/* What to call it in messages: without a password. */
const char *msx__store_name(const msx__store *s);

/* How many seconds to wait for others who hold a lock, and to try a lost connection again. */
void msx__store_set_patience(msx__store *s, double seconds);

/* False for a store in memory. */
bool msx__store_is_shared(const msx__store *s);

/* Unix time by the clock that leases are measured with: the server's, where there is one. */
double msx__store_now(const msx__store *s);

/* ---- trials ---------------------------------------------------------------------------------- */

typedef enum msx__store_state {
    MSX__STORE_RUNNING,
    MSX__STORE_DONE,
    MSX__STORE_RACED, /* stopped early: its costs are running values */
    MSX__STORE_FAILED
} msx__store_state;

typedef struct msx__store_trial {
    int64_t number;
    msx__store_state state;
    const char *origin;
    const double *x;     /* one per parameter, NaN where inactive */
    const double *costs; /* one per task; NULL: failed or running */
    /* digest of what the proposal was computed from */
    uint64_t history[MSX__STORE_HISTORY_WORDS];
    const char *worker; /* "host:process:thread" */
    int64_t attempt;    /* 1, 2, ... */
    double lease;       /* Unix time at which others may take it over; only while it runs */
    /* only for writing */
    const char *plan, *error;
    const double *dice; /* one per item; NULL: none */
    double mean_cost;
    double started, finished; /* Unix time */
    double seconds;           /* of evaluation */
    int64_t images, blocks_run, blocks_reused;
} msx__store_trial;

/* Called for every trial read, in order; a negative status ends the reading. */
typedef msx_status (*msx__store_trial_fn)(const msx__store_trial *t, void *payload);

/* The trials `first` to `last`, as far as they are there, all at one moment. What breaks the schema's
 * rules is MSX_E_STORE. */
msx_status msx__store_read_trials(msx__store *s, int64_t first, int64_t last,
                                  msx__store_trial_fn each, void *payload);

/* Dice of a trial on the evaluator's items. @return MSX_E_NOTFOUND when it has none. */
msx_status msx__store_read_dice(msx__store *s, int64_t number, double *out);

/* ---- leases (store_lease.c) ------------------------------------------------------------------ */

/* A trial belongs to the worker and the attempt that its row names until it is finished or its lease
 * ends. Each of these is one transaction, and says in *mine whether it had an effect: of several workers
 * that try the same, one succeeds. */

/* Begin a trial: write its row, with number, origin, x, history, plan, worker, lease, started.
 * Not mine: there is a trial of that number. */
msx_status msx__store_claim(msx__store *s, const msx__store_trial *t, bool *mine);

/* Take over a running trial from attempt `from`: worker, lease, started and attempt of `t` become the
 * row's. Not mine: it was finished, renewed or taken. */
msx_status msx__store_take(msx__store *s, const msx__store_trial *t, int64_t from,
                           double from_lease, bool *mine);

/* Renew the lease of a trial, or end it now with `lease` 0, for others to take. */
msx_status msx__store_renew(msx__store *s, int64_t number, const char *worker, int64_t attempt,
                            double lease, bool *mine);

/* Write the result of a trial. Not mine: it was taken over, and the result is not kept. */
msx_status msx__store_finish(msx__store *s, const msx__store_trial *t, bool *mine);

/* ---- results --------------------------------------------------------------------------------- */

typedef struct msx__store_result {
    const char *kind, *name; /* kind "input", "uniform", "winner" */
    int64_t task;            /* -1: mean over tasks */
    msx_summary summary;
} msx__store_result;

/* Begin replacing the results and pictures of a split; ends with commit or rollback. */
msx_status msx__store_begin_results(msx__store *s, msx_split split);
msx_status msx__store_add_result(msx__store *s, msx_split split, const msx__store_result *r);
msx_status msx__store_add_picture(msx__store *s, msx_split split, const char *title,
                                  const char *caption, const uint8_t *png, size_t bytes);
msx_status msx__store_commit(msx__store *s);
void msx__store_rollback(msx__store *s);

#endif
