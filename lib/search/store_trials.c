/* SPDX-License-Identifier: Apache-2.0 */
/* Reading trials. */
#include "search/store_internal.h"

#include <string.h>

#define MAX_TEXT 128 /* of an origin and a worker */

static const char *const state_names[] = {[MSX__STORE_RUNNING] = "running",
                                          [MSX__STORE_DONE] = "done",
                                          [MSX__STORE_RACED] = "raced",
                                          [MSX__STORE_FAILED] = "failed"};
enum { N_STATES = sizeof state_names / sizeof *state_names };

const char *msx__store_state_name(msx__store_state state) {
    return state_names[state];
}

/* ---- doubles in blobs: little-endian on every machine ------------------------------------------------ */

void msx__store_words(const void *values, int64_t n, uint8_t *out) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t v;
        memcpy(&v, (const uint8_t *)values + 8 * i, sizeof v);
        for (int k = 0; k < 8; k++) out[8 * i + k] = (uint8_t)(v >> (8 * k));
    }
}

/* n words of 8 bytes, or false. */
static bool read_words(const msx__sql_value *v, int64_t n, void *out) {
    if (v->kind != MSX__SQL_BLOB || v->n != 8 * (size_t)n) return false;
    const uint8_t *bytes = v->bytes;
    for (int64_t i = 0; i < n; i++) {
        uint64_t word = 0;
        for (int k = 7; k >= 0; k--) word = word << 8 | bytes[8 * i + k];
        memcpy((uint8_t *)out + 8 * i, &word, sizeof word);
    }
    return true;
}

/* ---- one trial ------------------------------------------------------------------------------------- */

/* Two queries side by side, both by number. */
typedef struct reader {
    msx__store *s;
    msx__sql_rows trials, costs;
    bool more; /* costs has a current row */
    double *x, *cost;
    int64_t first, last;
    msx__store_trial_fn each;
    void *payload;
} reader;

static msx_status next_cost(reader *r) {
    return r->s->db->driver->next(&r->costs, &r->more);
}

/* Read the rows of a trial: exactly one per task, in 0..1, or none. */
static msx_status read_costs(reader *r, int64_t number, int64_t tasks) {
    const msx__sql_value *v = r->costs.values;
    int64_t n = 0;
    for (; r->more && v[0].kind == MSX__SQL_INTEGER && v[0].integer <= number; n++) {
        if (v[0].integer < number || n >= tasks || v[1].kind != MSX__SQL_INTEGER ||
            v[1].integer != n || v[2].kind != MSX__SQL_REAL || !(v[2].real >= 0 && v[2].real <= 1))
            return msx__store_damaged(r->s, "costs of trial %" PRId64, number);
        r->cost[n] = v[2].real;
        MSX_TRY(next_cost(r));
    }
    if (n == tasks) return MSX_OK;
    return msx__store_damaged(r->s, "trial %" PRId64 " has %" PRId64 " costs instead of %" PRId64,
                              number, n, tasks);
}

static const char *short_text(const msx__sql_rows *rows, int column) {
    const char *text = msx__row_text(rows, column);
    return text && strlen(text) <= MAX_TEXT ? text : NULL;
}

/* The columns of trials_query. */
enum { NUMBER, STATE, ORIGIN, X, HISTORY, WORKER, LEASE, ATTEMPT };

static msx_status read_trial(reader *r, int64_t expected, msx__store_trial *t) {
    const msx__sql_value *v = r->trials.values;
    const char *state = short_text(&r->trials, STATE);
    *t =
        (msx__store_trial){.number = expected,
                           .origin = short_text(&r->trials, ORIGIN),
                           .worker = short_text(&r->trials, WORKER),
                           .lease = v[LEASE].real,
                           .attempt = v[ATTEMPT].kind == MSX__SQL_INTEGER ? v[ATTEMPT].integer : 0};
    if (v[NUMBER].kind != MSX__SQL_INTEGER || v[NUMBER].integer != expected)
        return msx__store_damaged(r->s, "trial %" PRId64 " is missing", expected);
    if (!t->origin || !state)
        return msx__store_damaged(r->s, "origin or state of trial %" PRId64, expected);
    if (!read_words(&v[X], r->s->n_parameters, r->x))
        return msx__store_damaged(r->s, "configuration of trial %" PRId64, expected);
    if (!read_words(&v[HISTORY], MSX__STORE_HISTORY_WORDS, t->history))
        return msx__store_damaged(r->s, "history of trial %" PRId64, expected);
    if (!t->worker || t->attempt < 1)
        return msx__store_damaged(r->s, "worker or attempt of trial %" PRId64, expected);
    t->x = r->x;
    int known = 0;
    while (known < N_STATES && strcmp(state, state_names[known]) != 0) known++;
    if (known == N_STATES) return msx__store_damaged(r->s, "state of trial %" PRId64, expected);
    t->state = (msx__store_state)known;
    if ((t->state == MSX__STORE_RUNNING) != (v[LEASE].kind == MSX__SQL_REAL))
        return msx__store_damaged(r->s, "lease of trial %" PRId64, expected);
    bool has_costs = t->state == MSX__STORE_DONE || t->state == MSX__STORE_RACED;
    if (has_costs) t->costs = r->cost;
    return read_costs(r, expected, has_costs ? r->s->n_tasks : 0);
}

/* ---- all of them ----------------------------------------------------------------------------------- */

static const char trials_query[] =
    "SELECT number, state, origin, x, history, worker, lease, attempt FROM trials"
    " WHERE number BETWEEN $1 AND $2 ORDER BY number";
static const char costs_query[] =
    "SELECT trial, task, cost FROM costs WHERE trial BETWEEN $1 AND $2 ORDER BY trial, task";

static msx_status read_rows(reader *r) {
    MSX_TRY(MSX__QUERY(&r->trials, trials_query, msx__sql_integer(r->first),
                       msx__sql_integer(r->last)));
    MSX_TRY(
        MSX__QUERY(&r->costs, costs_query, msx__sql_integer(r->first), msx__sql_integer(r->last)));
    MSX_TRY(next_cost(r));
    for (int64_t i = r->first;; i++) {
        bool there;
        msx__store_trial t;
        MSX_TRY(r->s->db->driver->next(&r->trials, &there));
        if (!there) return MSX_OK;
        MSX_TRY(read_trial(r, i, &t));
        MSX_TRY(r->each(&t, r->payload));
    }
}

static msx_status read_between(msx__store *s, void *payload) {
    reader *r = payload;
    r->trials = r->costs = (msx__sql_rows){.db = s->db};
    msx_status status = read_rows(r);
    s->db->driver->finish(&r->trials);
    s->db->driver->finish(&r->costs);
    return status;
}

msx_status msx__store_read_trials(msx__store *s, int64_t first, int64_t last,
                                  msx__store_trial_fn each, void *payload) {
    reader r = {.s = s, .first = first, .last = last, .each = each, .payload = payload};
    r.x = msx__alloc(s->ctx, (size_t)s->n_parameters, sizeof *r.x);
    r.cost = msx__alloc(s->ctx, (size_t)s->n_tasks, sizeof *r.cost);
    msx_status status = r.x && r.cost ? MSX_OK : MSX_E_NOMEM;
    /* Nothing is handed out before both queries have succeeded, so a new try hands out nothing twice:
     * only the connection's loss is tried again, and a server's rows are all here by then. */
    if (status >= 0) status = msx__store_transact(s, s->db->driver->begin_read, read_between, &r);
    msx__free(s->ctx, r.x);
    msx__free(s->ctx, r.cost);
    return status;
}

/* ---- Dice ------------------------------------------------------------------------------------------ */

typedef struct dice_reader {
    int64_t number;
    double *out;
} dice_reader;

static msx_status read_dice_row(msx__store *s, const dice_reader *r, msx__sql_rows *rows) {
    bool there;
    MSX_TRY(
        MSX__QUERY(rows, "SELECT dice FROM trials WHERE number = $1", msx__sql_integer(r->number)));
    MSX_TRY(s->db->driver->next(rows, &there));
    if (!there || rows->values[0].kind == MSX__SQL_NULL)
        return msx__fail(s->ctx, MSX_E_NOTFOUND, "%s: trial %" PRId64 " has no Dice", s->db->name,
                         r->number);
    bool good = read_words(&rows->values[0], s->n_items, r->out);
    for (int64_t i = 0; good && i < s->n_items; i++) good = !(r->out[i] < 0 || r->out[i] > 1);
    return good ? MSX_OK : msx__store_damaged(s, "Dice of trial %" PRId64, r->number);
}

static msx_status read_dice(msx__store *s, void *payload) {
    msx__sql_rows rows = {.db = s->db};
    msx_status status = read_dice_row(s, payload, &rows);
    s->db->driver->finish(&rows);
    return status;
}

msx_status msx__store_read_dice(msx__store *s, int64_t number, double *out) {
    dice_reader r = {number, out};
    return msx__store_transact(s, s->db->driver->begin_read, read_dice, &r);
}
