/* SPDX-License-Identifier: Apache-2.0 */
/* Whose a trial is: claiming, renewing, taking over, finishing. A row is changed only where its worker,
 * attempt and state are still what the caller saw, so that of several who try one succeeds. */
#include "search/store_internal.h"

#include <string.h>

enum { HISTORY_BYTES = 8 * MSX__STORE_HISTORY_WORDS };

/* A change in work: what is written, the bytes of its doubles, and whether it had an effect. */
typedef struct change {
    const msx__store_trial *t;
    uint8_t *x, *dice;
    int64_t from;
    double from_lease;
    bool mine;
} change;

/* ---- claiming -------------------------------------------------------------------------------------- */

static msx_status claim(msx__store *s, void *payload) {
    change *c = payload;
    const msx__store_trial *t = c->t;
    uint8_t history[HISTORY_BYTES];
    int64_t changed = 0;
    msx__store_words(t->history, MSX__STORE_HISTORY_WORDS, history);
    MSX_TRY(MSX__RUN(
        s, &changed,
        "INSERT INTO trials(number, state, origin, x, plan, history, worker, lease, attempt,"
        " started) VALUES($1, 'running', $2, $3, $4, $5, $6, $7, 1, $8)"
        " ON CONFLICT(number) DO NOTHING",
        msx__sql_integer(t->number), msx__sql_text(t->origin),
        msx__sql_blob(c->x, 8 * (size_t)s->n_parameters), msx__sql_text(t->plan),
        msx__sql_blob(history, sizeof history), msx__sql_text(t->worker), msx__sql_real(t->lease),
        msx__sql_real(t->started)));
    c->mine = changed == 1;
    return MSX_OK;
}

msx_status msx__store_claim(msx__store *s, const msx__store_trial *t, bool *mine) {
    change c = {.t = t};
    c.x = msx__alloc(s->ctx, (size_t)s->n_parameters, 8);
    if (!c.x) return MSX_E_NOMEM;
    msx__store_words(t->x, s->n_parameters, c.x);
    msx_status status = msx__store_transact(s, s->db->driver->begin_write, claim, &c);
    msx__free(s->ctx, c.x);
    *mine = c.mine;
    return status;
}

/* ---- taking over and renewing ---------------------------------------------------------------------- */

static msx_status take(msx__store *s, void *payload) {
    change *c = payload;
    const msx__store_trial *t = c->t;
    int64_t changed = 0;
    MSX_TRY(MSX__RUN(s, &changed,
                     "UPDATE trials SET worker = $1, lease = $2, attempt = $3, started = $4"
                     " WHERE number = $5 AND state = 'running' AND attempt = $6 AND lease = $7",
                     msx__sql_text(t->worker), msx__sql_real(t->lease),
                     msx__sql_integer(t->attempt), msx__sql_real(t->started),
                     msx__sql_integer(t->number), msx__sql_integer(c->from),
                     msx__sql_real(c->from_lease)));
    c->mine = changed == 1;
    return MSX_OK;
}

msx_status msx__store_take(msx__store *s, const msx__store_trial *t, int64_t from,
                           double from_lease, bool *mine) {
    change c = {.t = t, .from = from, .from_lease = from_lease};
    msx_status status = msx__store_transact(s, s->db->driver->begin_write, take, &c);
    *mine = c.mine;
    return status;
}

static msx_status renew(msx__store *s, void *payload) {
    change *c = payload;
    int64_t changed = 0;
    MSX_TRY(MSX__RUN(s, &changed,
                     "UPDATE trials SET lease = $1"
                     " WHERE number = $2 AND state = 'running' AND worker = $3 AND attempt = $4",
                     msx__sql_real(c->t->lease), msx__sql_integer(c->t->number),
                     msx__sql_text(c->t->worker), msx__sql_integer(c->t->attempt)));
    c->mine = changed == 1;
    return MSX_OK;
}

msx_status msx__store_renew(msx__store *s, int64_t number, const char *worker, int64_t attempt,
                            double lease, bool *mine) {
    msx__store_trial t = {.number = number, .worker = worker, .attempt = attempt, .lease = lease};
    change c = {.t = &t};
    msx_status status = msx__store_transact(s, s->db->driver->begin_write, renew, &c);
    *mine = c.mine;
    return status;
}

/* ---- finishing ------------------------------------------------------------------------------------- */

static msx_status finish(msx__store *s, void *payload) {
    change *c = payload;
    const msx__store_trial *t = c->t;
    int64_t changed = 0;
    MSX_TRY(MSX__RUN(
        s, &changed,
        "UPDATE trials SET state = $1, mean_cost = $2, lease = NULL, finished = $3, seconds = $4,"
        " images = $5, blocks_run = $6, blocks_reused = $7, dice = $8, error = $9"
        " WHERE number = $10 AND state = 'running' AND worker = $11 AND attempt = $12",
        msx__sql_text(msx__store_state_name(t->state)),
        t->costs ? msx__sql_real(t->mean_cost) : (msx__sql_value){0}, msx__sql_real(t->finished),
        msx__sql_real(t->seconds), msx__sql_integer(t->images), msx__sql_integer(t->blocks_run),
        msx__sql_integer(t->blocks_reused),
        t->dice ? msx__sql_blob(c->dice, 8 * (size_t)s->n_items) : (msx__sql_value){0},
        msx__sql_text(t->error), msx__sql_integer(t->number), msx__sql_text(t->worker),
        msx__sql_integer(t->attempt)));
    c->mine = changed == 1;
    for (int64_t i = 0; c->mine && t->costs && i < s->n_tasks; i++)
        MSX_TRY(MSX__RUN(s, NULL, "INSERT INTO costs VALUES($1, $2, $3)",
                         msx__sql_integer(t->number), msx__sql_integer(i),
                         msx__sql_real(t->costs[i])));
    return MSX_OK;
}

msx_status msx__store_finish(msx__store *s, const msx__store_trial *t, bool *mine) {
    change c = {.t = t};
    *mine = false;
    if (t->dice) {
        c.dice = msx__alloc(s->ctx, (size_t)s->n_items, 8);
        if (!c.dice) return MSX_E_NOMEM;
        msx__store_words(t->dice, s->n_items, c.dice);
    }
    msx_status status = msx__store_transact(s, s->db->driver->begin_write, finish, &c);
    msx__free(s->ctx, c.dice);
    if (status >= 0) *mine = c.mine;
    return status;
}
