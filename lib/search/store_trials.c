/* SPDX-License-Identifier: Apache-2.0 */
/* Trials and results in the store. */
#include "search/store_internal.h"

#include <string.h>

#define HISTORY_BYTES (MSX__STORE_HISTORY_WORDS * 8)
#define MAX_TEXT      128 /* of an origin and a worker */

static const char *const state_names[] = {[MSX__STORE_RUNNING] = "running",
                                          [MSX__STORE_DONE] = "done",
                                          [MSX__STORE_RACED] = "raced",
                                          [MSX__STORE_FAILED] = "failed"};
enum { N_STATES = sizeof state_names / sizeof *state_names };

/* Little-endian on every machine. */
static void read_words(const uint8_t *bytes, int64_t n, void *out) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t v = 0;
        for (int k = 7; k >= 0; k--) v = v << 8 | bytes[8 * i + k];
        memcpy((uint8_t *)out + 8 * i, &v, sizeof v);
    }
}

static void write_words(const void *values, int64_t n, uint8_t *out) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t v;
        memcpy(&v, (const uint8_t *)values + 8 * i, sizeof v);
        for (int k = 0; k < 8; k++) out[8 * i + k] = (uint8_t)(v >> (8 * k));
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct reader {
    msx__store *s;
    sqlite3_stmt *trials, *costs;
    double *x, *cost;
} reader;

/* The costs of trial `number`: exactly one per task, in 0..1. */
static msx_status read_costs(reader *r, int64_t number) {
    msx_status status = MSX_OK;
    int64_t n = 0;
    int code;
    sqlite3_bind_int64(r->costs, 1, number);
    while (status >= 0 && (code = sqlite3_step(r->costs)) == SQLITE_ROW) {
        double cost = sqlite3_column_double(r->costs, 1);
        if (n >= r->s->n_tasks || sqlite3_column_int64(r->costs, 0) != n ||
            sqlite3_column_type(r->costs, 1) != SQLITE_FLOAT || !(cost >= 0 && cost <= 1))
            status = msx__store_damaged(r->s, "costs of trial %" PRId64, number);
        else
            r->cost[n++] = cost;
    }
    if (status >= 0 && code != SQLITE_DONE) status = msx__store_fail(r->s, "reading costs");
    if (status >= 0 && n != r->s->n_tasks)
        status =
            msx__store_damaged(r->s, "trial %" PRId64 " has %" PRId64 " costs instead of %" PRId64,
                               number, n, r->s->n_tasks);
    sqlite3_reset(r->costs);
    return status;
}

static const char *text_of(sqlite3_stmt *q, int column) {
    const char *text = (const char *)sqlite3_column_text(q, column);
    return text && strlen(text) <= MAX_TEXT ? text : NULL;
}

/* n words of 8 bytes, or false. */
static bool words_of(sqlite3_stmt *q, int column, int64_t n, void *out) {
    if (sqlite3_column_type(q, column) != SQLITE_BLOB || sqlite3_column_bytes(q, column) != 8 * n)
        return false;
    read_words(sqlite3_column_blob(q, column), n, out);
    return true;
}

static msx_status read_trial(reader *r, int64_t expected, msx__store_trial *t) {
    sqlite3_stmt *q = r->trials;
    const char *state = text_of(q, 1);
    t->number = sqlite3_column_int64(q, 0);
    t->origin = text_of(q, 2);
    t->worker = text_of(q, 5);
    t->lease = sqlite3_column_double(q, 6);
    t->attempt = sqlite3_column_int64(q, 7);
    if (t->number != expected)
        return msx__store_damaged(r->s, "trial %" PRId64 " is missing", expected);
    if (!t->origin || !state)
        return msx__store_damaged(r->s, "origin or state of trial %" PRId64, expected);
    if (!words_of(q, 3, r->s->n_parameters, r->x))
        return msx__store_damaged(r->s, "configuration of trial %" PRId64, expected);
    if (!words_of(q, 4, MSX__STORE_HISTORY_WORDS, t->history))
        return msx__store_damaged(r->s, "history of trial %" PRId64, expected);
    if (!t->worker || t->attempt < 1)
        return msx__store_damaged(r->s, "worker or attempt of trial %" PRId64, expected);
    t->x = r->x;
    int known = 0;
    while (known < N_STATES && strcmp(state, state_names[known]) != 0) known++;
    if (known == N_STATES) return msx__store_damaged(r->s, "state of trial %" PRId64, expected);
    t->state = (msx__store_state)known;
    bool running = t->state == MSX__STORE_RUNNING;
    if (running != (sqlite3_column_type(q, 6) == SQLITE_FLOAT))
        return msx__store_damaged(r->s, "lease of trial %" PRId64, expected);
    if (running || t->state == MSX__STORE_FAILED) return MSX_OK;
    t->costs = r->cost;
    return read_costs(r, t->number);
}

static msx_status read_all(reader *r, msx__store_trial_fn each, void *payload) {
    int code;
    for (int64_t i = 0; (code = sqlite3_step(r->trials)) == SQLITE_ROW; i++) {
        msx__store_trial t = {0};
        MSX_TRY(read_trial(r, i, &t));
        MSX_TRY(each(&t, payload));
    }
    return code == SQLITE_DONE ? MSX_OK : msx__store_fail(r->s, "reading trials");
}

msx_status msx__store_read_trials(msx__store *s, msx__store_trial_fn each, void *payload) {
    reader r = {.s = s};
    r.x = msx__alloc(s->ctx, (size_t)s->n_parameters, sizeof *r.x);
    r.cost = msx__alloc(s->ctx, (size_t)s->n_tasks, sizeof *r.cost);
    msx_status status = r.x && r.cost ? MSX_OK : MSX_E_NOMEM;
    if (status >= 0)
        status =
            msx__store_prepare(s, &r.trials,
                               "SELECT number, state, origin, x, history, worker, lease, attempt"
                               " FROM trials ORDER BY number");
    if (status >= 0)
        status = msx__store_prepare(s, &r.costs,
                                    "SELECT task, cost FROM costs WHERE trial = ? ORDER BY task");
    if (status >= 0) status = read_all(&r, each, payload);
    sqlite3_finalize(r.trials);
    sqlite3_finalize(r.costs);
    msx__free(s->ctx, r.x);
    msx__free(s->ctx, r.cost);
    return status;
}

msx_status msx__store_read_dice(msx__store *s, int64_t number, double *out) {
    sqlite3_stmt *q;
    MSX_TRY(msx__store_prepare(s, &q, "SELECT dice FROM trials WHERE number = ?"));
    sqlite3_bind_int64(q, 1, number);
    int code = sqlite3_step(q);
    msx_status status = MSX_OK;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        status = msx__store_fail(s, "reading Dice");
    else if (code == SQLITE_DONE || sqlite3_column_type(q, 0) == SQLITE_NULL)
        status =
            msx__fail(s->ctx, MSX_E_NOTFOUND, "%s: trial %" PRId64 " has no Dice", s->path, number);
    else if (!words_of(q, 0, s->n_items, out))
        status = msx__store_damaged(s, "Dice of trial %" PRId64, number);
    for (int64_t i = 0; status >= 0 && i < s->n_items; i++)
        if (out[i] < 0 || out[i] > 1)
            status = msx__store_damaged(s, "Dice of trial %" PRId64, number);
    sqlite3_finalize(q);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void bind_text(sqlite3_stmt *q, int column, const char *text) {
    if (text)
        sqlite3_bind_text(q, column, text, -1, SQLITE_TRANSIENT);
    else
        sqlite3_bind_null(q, column);
}

static msx_status bind_words(msx__store *s, sqlite3_stmt *q, int column, const void *values,
                             int64_t n) {
    uint8_t *bytes = msx__alloc(s->ctx, (size_t)n, 8);
    if (!bytes) return MSX_E_NOMEM;
    write_words(values, n, bytes);
    bool bound = sqlite3_bind_blob(q, column, bytes, (int)(8 * n), SQLITE_TRANSIENT) == SQLITE_OK;
    msx__free(s->ctx, bytes);
    return bound ? MSX_OK : msx__nomem(s->ctx, 8 * (size_t)n);
}

static msx_status insert_trial(msx__store *s, const msx__store_trial *t) {
    sqlite3_stmt *q;
    MSX_TRY(msx__store_prepare(
        s, &q,
        "INSERT INTO trials(number, state, origin, x, plan, mean_cost, history, worker, lease,"
        " attempt, started, finished, seconds, images, blocks_run, blocks_reused, dice, error)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    sqlite3_bind_int64(q, 1, t->number);
    bind_text(q, 2, state_names[t->state]);
    bind_text(q, 3, t->origin);
    bind_text(q, 5, t->plan);
    if (t->costs) sqlite3_bind_double(q, 6, t->mean_cost);
    bind_text(q, 8, t->worker);
    if (t->state == MSX__STORE_RUNNING) sqlite3_bind_double(q, 9, t->lease);
    sqlite3_bind_int64(q, 10, t->attempt);
    sqlite3_bind_double(q, 11, t->started);
    sqlite3_bind_double(q, 12, t->finished);
    sqlite3_bind_double(q, 13, t->seconds);
    sqlite3_bind_int64(q, 14, t->images);
    sqlite3_bind_int64(q, 15, t->blocks_run);
    sqlite3_bind_int64(q, 16, t->blocks_reused);
    bind_text(q, 18, t->error);
    msx_status status = bind_words(s, q, 4, t->x, s->n_parameters);
    if (status >= 0) status = bind_words(s, q, 7, t->history, MSX__STORE_HISTORY_WORDS);
    if (status >= 0 && t->dice) status = bind_words(s, q, 17, t->dice, s->n_items);
    if (status < 0) {
        sqlite3_finalize(q);
        return status;
    }
    return msx__store_finish(s, q, "writing a trial");
}

static msx_status insert_costs(msx__store *s, const msx__store_trial *t) {
    for (int64_t i = 0; t->costs && i < s->n_tasks; i++) {
        sqlite3_stmt *q;
        MSX_TRY(msx__store_prepare(s, &q, "INSERT INTO costs VALUES(?, ?, ?)"));
        sqlite3_bind_int64(q, 1, t->number);
        sqlite3_bind_int64(q, 2, i);
        sqlite3_bind_double(q, 3, t->costs[i]);
        MSX_TRY(msx__store_finish(s, q, "writing costs"));
    }
    return MSX_OK;
}

msx_status msx__store_add_trial(msx__store *s, const msx__store_trial *t) {
    MSX_TRY(msx__store_exec(s, "BEGIN IMMEDIATE"));
    msx_status status = insert_trial(s, t);
    if (status >= 0) status = insert_costs(s, t);
    if (status >= 0) status = msx__store_commit(s);
    if (status < 0) msx__store_rollback(s);
    return status;
}

/* ---- results --------------------------------------------------------------------------------- */

static const char *split_name(msx_split split) {
    return split == MSX_SPLIT_TEST ? "test" : "calibration";
}

static msx_status delete_split(msx__store *s, const char *sql, msx_split split) {
    sqlite3_stmt *q;
    MSX_TRY(msx__store_prepare(s, &q, sql));
    bind_text(q, 1, split_name(split));
    return msx__store_finish(s, q, "replacing results");
}

msx_status msx__store_begin_results(msx__store *s, msx_split split) {
    MSX_TRY(msx__store_exec(s, "BEGIN IMMEDIATE"));
    msx_status status = delete_split(s, "DELETE FROM results WHERE split = ?", split);
    if (status >= 0) status = delete_split(s, "DELETE FROM pictures WHERE split = ?", split);
    if (status < 0) msx__store_rollback(s);
    return status;
}

msx_status msx__store_add_result(msx__store *s, msx_split split, const msx__store_result *r) {
    sqlite3_stmt *q;
    MSX_TRY(msx__store_prepare(s, &q, "INSERT INTO results VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    bind_text(q, 1, r->kind);
    bind_text(q, 2, r->name);
    bind_text(q, 3, split_name(split));
    sqlite3_bind_int64(q, 4, r->task);
    sqlite3_bind_double(q, 5, r->summary.mean); /* SQLite stores NaN as NULL */
    sqlite3_bind_double(q, 6, r->summary.low);
    sqlite3_bind_double(q, 7, r->summary.high);
    sqlite3_bind_int64(q, 8, r->summary.used);
    sqlite3_bind_int64(q, 9, r->summary.left_out);
    return msx__store_finish(s, q, "writing results");
}

msx_status msx__store_add_picture(msx__store *s, msx_split split, const char *title,
                                  const char *caption, const uint8_t *png, size_t bytes) {
    sqlite3_stmt *q;
    MSX_TRY(msx__store_prepare(
        s, &q, "INSERT INTO pictures(title, caption, split, png) VALUES(?, ?, ?, ?)"));
    bind_text(q, 1, title);
    bind_text(q, 2, caption);
    bind_text(q, 3, split_name(split));
    if (bytes > INT32_MAX ||
        sqlite3_bind_blob(q, 4, png, (int)bytes, SQLITE_TRANSIENT) != SQLITE_OK) {
        sqlite3_finalize(q);
        return msx__fail(s->ctx, MSX_E_LIMIT, "%s: a picture of %zu bytes", s->path, bytes);
    }
    return msx__store_finish(s, q, "writing pictures");
}
