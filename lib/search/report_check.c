/* SPDX-License-Identifier: Apache-2.0 */
/* What the values of a store must mean, and what follows from them: ranks and the front. */
#include "search/report.h"
#include "search/store.h"

#include <math.h>
#include <medsamix/optimize.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the values must mean ----------------------------------------------------------------- */

static bool in_list(const char *word, const char *const *list) {
    for (; *list; list++)
        if (!strcmp(word, *list)) return true;
    return false;
}

/* NaN passes: an undefined score. */
static bool in_unit(double value) {
    return !(value < -1e-9 || value > 1 + 1e-9);
}

msx_status report_check_schema(report *r) {
    const char *schema = report_value(r, "schema");
    if (!strcmp(schema, MSX__STORE_SCHEMA)) return MSX_OK;
    if (!*schema) return report_bad(r, "meta", 0, "key", "has no 'schema'; not a trial store");
    return msx__fail(r->ctx, MSX_E_UNSUPPORTED,
                     "%s: store of schema '%.20s', this version reads schema " MSX__STORE_SCHEMA
                     "; use the version that wrote it",
                     r->path, schema);
}

static msx_status check_small_tables(report *r) {
    static const char *const states[] = {"searched", "equal", "unreached", NULL};
    static const char *const kinds[] = {"input", "uniform", "winner", NULL};
    static const char *const splits[] = {"calibration", "test", NULL};
    for (int64_t i = 0; i < r->n_models; i++)
        if (r->models[i].index != i)
            return report_bad(r, "models", i, "idx", "does not count from 0");
    for (int64_t i = 0; i < r->n_tasks; i++)
        if (r->tasks[i].index != i)
            return report_bad(r, "tasks", i, "idx", "does not count from 0");
    for (int64_t i = 0; i < r->n_groups; i++) {
        if (r->groups[i].index != i)
            return report_bad(r, "groups", i, "idx", "does not count from 0");
        if (r->groups[i].elements < 0) return report_bad(r, "groups", i, "elements", "is negative");
        if (!in_list(r->groups[i].state, states))
            return report_bad(r, "groups", i, "state", "is not searched, equal or unreached");
    }
    for (int64_t i = 0; i < r->n_pictures; i++)
        if (!in_list(r->pictures[i].split, splits))
            return report_bad(r, "pictures", i, "split", "is not calibration or test");
    for (int64_t i = 0; i < r->n_results; i++) {
        const report_result *x = &r->results[i];
        if (!in_list(x->kind, kinds))
            return report_bad(r, "results", i, "kind", "is not input, uniform or winner");
        if (!in_list(x->split, splits))
            return report_bad(r, "results", i, "split", "is not calibration or test");
        if (x->task < -1 || x->task >= r->n_tasks)
            return report_bad(r, "results", i, "task", "is no task of this store");
        if (!in_unit(x->dice) || !in_unit(x->low) || !in_unit(x->high))
            return report_bad(r, "results", i, "dice", "or its interval is not within 0..1");
        if (x->used < 0 || x->left_out < 0)
            return report_bad(r, "results", i, "used", "is negative");
    }
    return MSX_OK;
}

static msx_status check_trial(report *r, int64_t i) {
    static const char *const names[REPORT_STATES] = {"running", "done", "raced", "failed"};
    report_trial *t = &r->trials[i];
    int state = 0;
    while (state < REPORT_STATES && strcmp(t->state_name, names[state]) != 0) state++;
    if (state == REPORT_STATES)
        return report_bad(r, "trials", i, "state", "is not running, done, raced or failed");
    t->state = (report_state)state;
    r->n_state[state]++;
    const struct {
        const char *column;
        double value;
    } counts[] = {{"seconds", t->seconds},
                  {"attempt", (double)t->attempt},
                  {"started", t->started},
                  {"finished", t->finished},
                  {"images", (double)t->images},
                  {"blocks_run", (double)t->blocks_run},
                  {"blocks_reused", (double)t->blocks_reused}};
    if (t->number < 0) return report_bad(r, "trials", i, "number", "is negative");
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        if (counts[k].value < 0) return report_bad(r, "trials", i, counts[k].column, "is negative");
        if (counts[k].value > REPORT_MOST)
            return report_bad(r, "trials", i, counts[k].column, "is impossibly large");
    }
    if (t->finished < t->started)
        return report_bad(r, "trials", i, "finished", "is before 'started'");
    return MSX_OK;
}

/* Fill the matrix of costs; a trial that is done or raced must have one for every task. */
static msx_status check_trials(report *r) {
    r->costs = msx__alloc(r->ctx, (size_t)r->n_trials, (size_t)r->n_tasks * sizeof(double));
    if (!r->costs) return MSX_E_NOMEM;
    const report_cost *c = r->cost_rows, *end = c + r->n_cost_rows;
    for (int64_t i = 0; i < r->n_trials; i++) {
        report_trial *t = &r->trials[i];
        MSX_TRY(check_trial(r, i));
        if (t->state != REPORT_DONE && t->state != REPORT_RACED) {
            t->cost = NAN;
            continue;
        }
        if (isnan(t->cost) || !in_unit(t->cost))
            return report_bad(r, "trials", i, "mean_cost",
                              "of a finished trial is not within 0..1");
        while (c < end && c->trial < t->number) c++;
        double *row = r->costs + i * r->n_tasks;
        for (int64_t k = 0; k < r->n_tasks; k++, c++) {
            if (c >= end || c->trial != t->number || c->task != k)
                return msx__fail(r->ctx, MSX_E_FORMAT,
                                 "%s: table costs: trial %" PRId64 " has no cost of task %" PRId64,
                                 r->path, t->number, k);
            if (!in_unit(c->cost))
                return report_bad(r, "costs", c - r->cost_rows, "cost", "is not within 0..1");
            row[k] = c->cost;
        }
        t->costs = row;
    }
    r->n_done = r->n_state[REPORT_DONE];
    return MSX_OK;
}

/* ---- ranks and front ---------------------------------------------------------------------------- */

static int compare_trials(const void *a, const void *b, void *payload) {
    const report *r = payload;
    const report_trial *x = &r->trials[*(const int64_t *)a], *y = &r->trials[*(const int64_t *)b];
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    if (x->regret != y->regret) return x->regret < y->regret ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static msx_status rank_trials(report *r) {
    int64_t m = r->n_tasks, n = 0;
    r->ranks = msx__alloc(r->ctx, (size_t)r->n_done, sizeof *r->ranks);
    r->best = msx__alloc(r->ctx, (size_t)m, sizeof *r->best);
    double *rows = msx__alloc(r->ctx, (size_t)r->n_done, (size_t)m * sizeof *rows);
    uint8_t *front = msx__calloc(r->ctx, (size_t)r->n_done, 1);
    bool enough = r->ranks && r->best && rows && front;
    for (int64_t k = 0; k < m && enough; k++) r->best[k] = INFINITY;
    for (int64_t i = 0; i < r->n_trials && enough; i++) {
        if (r->trials[i].state != REPORT_DONE) continue;
        for (int64_t k = 0; k < m; k++) r->best[k] = fmin(r->best[k], r->trials[i].costs[k]);
        if (m) memcpy(rows + n * m, r->trials[i].costs, (size_t)m * sizeof *rows);
        r->ranks[n++] = i;
    }
    if (enough && m > 1) r->n_front = msx_pareto_front(rows, n, m, front);
    for (int64_t i = 0; i < n; i++) {
        report_trial *t = &r->trials[r->ranks[i]];
        t->front = front[i];
        for (int64_t k = 0; k < m; k++) t->regret = fmax(t->regret, t->costs[k] - r->best[k]);
    }
    if (enough && n > 1) qsort_r(r->ranks, (size_t)n, sizeof *r->ranks, compare_trials, r);
    for (int64_t i = 0; enough && i < n; i++) r->trials[r->ranks[i]].rank = i;
    msx__free(r->ctx, rows);
    msx__free(r->ctx, front);
    return enough ? MSX_OK : MSX_E_NOMEM;
}

static int compare_numbers(const void *key, const void *trial) {
    int64_t a = *(const int64_t *)key, b = ((const report_trial *)trial)->number;
    return (a > b) - (a < b);
}

/* Winners are named after their trial: "trial 83". */
static int64_t rank_of(const report *r, const char *name) {
    char *end;
    if (strncmp(name, "trial ", 6) || r->n_trials == 0) return r->n_done;
    int64_t number = strtoll(name + 6, &end, 10);
    const report_trial *t =
        bsearch(&number, r->trials, (size_t)r->n_trials, sizeof *r->trials, compare_numbers);
    return t && t->state == REPORT_DONE && !*end ? t->rank : r->n_done;
}

static int64_t place_of(const report *r, const report_contestant *c) {
    if (!strcmp(c->kind, "winner")) return r->n_models + 2 + rank_of(r, c->name);
    if (!strcmp(c->kind, "uniform")) return r->n_models + 1;
    int64_t i = 0;
    while (i < r->n_models && strcmp(r->models[i].name, c->name)) i++;
    return i;
}

static int compare_contestants(const void *a, const void *b) {
    const report_contestant *x = a, *y = b;
    if (x->place != y->place) return x->place < y->place ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Results are ordered by kind and name, so equal ones are neighbours. */
static msx_status list_contestants(report *r) {
    r->contestants = msx__alloc(r->ctx, (size_t)r->n_results, sizeof *r->contestants);
    if (!r->contestants) return MSX_E_NOMEM;
    for (int64_t i = 0; i < r->n_results; i++) {
        const report_result *x = &r->results[i], *last = i ? x - 1 : NULL;
        if (last && !strcmp(last->kind, x->kind) && !strcmp(last->name, x->name)) continue;
        report_contestant *c = &r->contestants[r->n_contestants++];
        *c = (report_contestant){.kind = x->kind, .name = x->name};
        c->place = place_of(r, c);
        c->winner = r->n_done && c->place == r->n_models + 2;
    }
    if (r->n_contestants > 1)
        qsort(r->contestants, (size_t)r->n_contestants, sizeof *r->contestants,
              compare_contestants);
    return MSX_OK;
}

msx_status report_check(report *r) {
    MSX_TRY(check_small_tables(r));
    MSX_TRY(report_check_parameters(r));
    MSX_TRY(check_trials(r));
    MSX_TRY(rank_trials(r));
    return list_contestants(r);
}

/* ---- asking --------------------------------------------------------------------------------------------- */

const char *report_value(const report *r, const char *key) {
    for (int64_t i = 0; i < r->n_meta; i++)
        if (!strcmp(r->meta[i].key, key)) return r->meta[i].value;
    return "";
}

const char *report_task_name(const report *r, int64_t task) {
    const char *label = r->tasks[task].label;
    if (!*label) return r->tasks[task].name;
    for (int64_t i = 0; i < r->n_tasks; i++)
        if (i != task && !strcmp(r->tasks[i].label, label)) return r->tasks[task].name;
    return label;
}

/* Results are ordered by kind, name, split and task. */
static int compare_results(const void *a, const void *b) {
    const report_result *x = a, *y = b;
    int order = strcmp(x->kind, y->kind);
    if (!order) order = strcmp(x->name, y->name);
    if (!order) order = strcmp(x->split, y->split);
    return order ? order : (x->task > y->task) - (x->task < y->task);
}

const report_result *report_find_result(const report *r, const char *kind, const char *name,
                                        const char *split, int64_t task) {
    report_result key = {
        .kind = (char *)kind, .name = (char *)name, .split = (char *)split, .task = task};
    if (r->n_results == 0) return NULL;
    return bsearch(&key, r->results, (size_t)r->n_results, sizeof key, compare_results);
}

const report_result *report_winner_result(const report *r, const char *split, int64_t task) {
    for (int64_t i = 0; i < r->n_contestants; i++)
        if (r->contestants[i].winner)
            return report_find_result(r, "winner", r->contestants[i].name, split, task);
    return NULL;
}

const report_result *report_best_result(const report *r, const char *kind, const char *split,
                                        int64_t task) {
    const report_result *best = NULL;
    for (int64_t i = 0; i < r->n_results; i++) {
        const report_result *x = &r->results[i];
        if (x->task != task || isnan(x->dice) || strcmp(x->kind, kind) || strcmp(x->split, split))
            continue;
        if (!best || x->dice > best->dice) best = x;
    }
    return best;
}

bool report_has_split(const report *r, const char *split) {
    for (int64_t i = 0; i < r->n_results; i++)
        if (!strcmp(r->results[i].split, split)) return true;
    return false;
}
