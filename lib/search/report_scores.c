/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: Dice per task of inputs, uniform merges and the winner; the best trials; the front. */
#include "search/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *report_contestant_class(const report_contestant *c) {
    return c->winner ? "winner" : !strcmp(c->kind, "winner") ? "runner" : c->kind;
}

void report_contestant_name(msx__buffer *b, const report_contestant *c, int most) {
    if (c->winner) {
        msx__buffer_text(b, "winner");
        return;
    }
    if (!strcmp(c->kind, "uniform")) msx__buffer_text(b, "uniform ");
    report_escape(b, c->name, most);
}

/* ---- Dice per task ------------------------------------------------------------------------------ */

static double dice_at(const report *r, const report_contestant *c, const char *split,
                      int64_t task) {
    const report_result *x = report_find_result(r, c->kind, c->name, split, task);
    return x ? x->dice : NAN;
}

/* Highest Dice of a task; NaN when there is none. */
static double best_of_task(const report *r, const char *split, int64_t task) {
    double best = NAN;
    for (int64_t i = 0; i < r->n_contestants; i++)
        best = fmax(best, dice_at(r, &r->contestants[i], split, task));
    return best;
}

static void score_cell(msx__buffer *b, const report_contestant *c, const report_result *x,
                       double best) {
    if (!x) {
        msx__buffer_printf(b, "<td class=\"num %s\">\xE2\x80\x93</td>", report_contestant_class(c));
        return;
    }
    msx__buffer_printf(b, "<td class=\"num %s%s\" title=\"", report_contestant_class(c),
                       x->dice == best ? " best" : "");
    if (!isnan(x->low) && !isnan(x->high)) {
        msx__buffer_text(b, "95 % interval ");
        report_number(b, x->low, 3);
        msx__buffer_text(b, " to ");
        report_number(b, x->high, 3);
        msx__buffer_text(b, "; ");
    }
    msx__buffer_printf(b, "%" PRId64 " used, %" PRId64 " left out\">", x->used, x->left_out);
    report_number(b, x->dice, 3);
    msx__buffer_text(b, "</td>");
}

/* The winner minus the best of a kind. */
static void gain_cell(msx__buffer *b, const report *r, const char *split, const char *kind,
                      int64_t task) {
    const report_result *other = report_best_result(r, kind, split, task);
    const report_result *mine = report_winner_result(r, split, task);
    double gain = other && mine ? mine->dice - other->dice : NAN;
    msx__buffer_printf(b, "<td class=\"num gain %s\">", report_gain_class(gain));
    report_gain(b, gain);
    msx__buffer_text(b, "</td>");
}

static void score_row(msx__buffer *b, const report *r, const char *split, int64_t task) {
    msx__buffer_printf(b, "<tr%s><th scope=\"row\" title=\"", task < 0 ? " class=\"mean\"" : "");
    report_escape(b, task < 0 ? "mean over tasks" : r->tasks[task].name, 120);
    msx__buffer_text(b, "\">");
    report_escape(b, task < 0 ? "mean" : report_task_name(r, task), 30);
    msx__buffer_text(b, "</th>");
    double best = best_of_task(r, split, task);
    for (int64_t i = 0; i < r->n_contestants; i++) {
        const report_contestant *c = &r->contestants[i];
        score_cell(b, c, report_find_result(r, c->kind, c->name, split, task), best);
    }
    gain_cell(b, r, split, "input", task);
    gain_cell(b, r, split, "uniform", task);
    msx__buffer_text(b, "</tr>");
}

enum { MOST_TASK_ROWS = 256 };

/* One row per task, one column per model: the shape of the paper's Table 1. */
void report_scores(msx__buffer *b, const report *r, const char *split) {
    msx__buffer_text(b, "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Dice per "
                        "task\"><table class=\"scores\"><thead><tr><th scope=\"col\">Task</th>");
    for (int64_t i = 0; i < r->n_contestants; i++) {
        msx__buffer_printf(b, "<th scope=\"col\" class=\"num %s\">",
                           report_contestant_class(&r->contestants[i]));
        report_contestant_name(b, &r->contestants[i], 24);
        msx__buffer_text(b, "</th>");
    }
    msx__buffer_text(b, "<th scope=\"col\" class=\"num\">against best input</th><th scope=\"col\" "
                        "class=\"num\">against best uniform</th></tr></thead><tbody>");
    for (int64_t task = 0; task < r->n_tasks && task < MOST_TASK_ROWS; task++)
        score_row(b, r, split, task);
    if (r->n_tasks > 1) score_row(b, r, split, -1);
    msx__buffer_text(b, "</tbody></table></div>");
    if (r->n_tasks > MOST_TASK_ROWS)
        msx__buffer_printf(b, "<p class=\"caption\">The first %d of %" PRId64 " tasks.</p>",
                           MOST_TASK_ROWS, r->n_tasks);
}

/* ---- trials ---------------------------------------------------------------------------------------- */

enum { MOST_TASK_COLUMNS = 5, MOST_METHODS = 16 };

/* "ties 7, slerp 4": how many groups use which method. */
static void method_counts(msx__buffer *b, const msx_plan *plan) {
    struct {
        const char *name;
        int n;
    } found[MOST_METHODS];
    int n = 0;
    for (int64_t g = 0; g < msx_plan_entry_count(plan); g++) {
        const char *method = msx_plan_entry_method(plan, g);
        int k = 0;
        while (k < n && strcmp(found[k].name, method)) k++;
        if (k == MOST_METHODS) continue;
        if (k == n) found[n++].name = method, found[k].n = 0;
        found[k].n++;
    }
    for (int k = 0; k < n; k++) {
        msx__buffer_printf(b, "<span class=\"chip small %s\">", report_method_class(found[k].name));
        report_escape(b, found[k].name, 20);
        msx__buffer_printf(b, " %d</span>", found[k].n);
    }
}

/* With one task the mean says it all; with many there is no room. */
static bool has_task_columns(const report *r) {
    return r->n_tasks > 1 && r->n_tasks <= MOST_TASK_COLUMNS;
}

static void task_heads(msx__buffer *b, const report *r) {
    for (int64_t i = 0; has_task_columns(r) && i < r->n_tasks; i++) {
        msx__buffer_text(b, "<th scope=\"col\" class=\"num\" title=\"");
        report_escape(b, r->tasks[i].name, 120);
        msx__buffer_text(b, "\">");
        report_escape(b, report_task_name(r, i), 24);
        msx__buffer_text(b, "</th>");
    }
}

static void trial_head(msx__buffer *b, const report *r, bool with_methods) {
    msx__buffer_text(
        b,
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Trials\"><table "
        "class=\"trials\"><thead><tr><th scope=\"col\" class=\"num\">Rank</th><th scope=\"col\" "
        "class=\"num\">Trial</th><th scope=\"col\">Origin</th><th scope=\"col\" class=\"num\">Mean "
        "Dice</th>");
    task_heads(b, r);
    msx__buffer_printf(b, "%s</tr></thead><tbody>",
                       with_methods ? "<th scope=\"col\">Methods</th>" : "");
}

static void trial_row(msx__buffer *b, const report *r, const report_trial *t, int64_t rank,
                      msx_plan *plan) {
    msx__buffer_printf(b,
                       "<tr%s><td class=\"num\">%" PRId64 "</td><td class=\"num\">%" PRId64
                       "</td><td class=\"origin\"><svg width=\"14\" height=\"14\" "
                       "aria-hidden=\"true\">",
                       rank == 1 ? " class=\"winner\"" : "", rank, t->number);
    report_mark(b, t->origin, 7, 7, 4.4);
    msx__buffer_text(b, "</path></svg>");
    report_escape(b, t->origin, 20);
    msx__buffer_text(b, "</td><td class=\"num\">");
    report_number(b, 1 - t->cost, 4);
    msx__buffer_text(b, "</td>");
    for (int64_t k = 0; has_task_columns(r) && k < r->n_tasks; k++) {
        msx__buffer_text(b, "<td class=\"num\">");
        report_number(b, 1 - t->costs[k], 3);
        msx__buffer_text(b, "</td>");
    }
    if (plan) {
        msx__buffer_text(b, "<td>");
        method_counts(b, plan);
        msx__buffer_text(b, "</td>");
    }
    msx__buffer_text(b, "</tr>");
}

void report_best_trials(msx__buffer *b, const report *r, int64_t most) {
    trial_head(b, r, true);
    for (int64_t i = 0; i < r->n_plans && i < most; i++)
        trial_row(b, r, &r->trials[r->ranks[i]], i + 1, r->plans[i]);
    msx__buffer_text(b, "</tbody></table></div>");
}

void report_front_members(msx__buffer *b, const report *r, int64_t most) {
    trial_head(b, r, false);
    int64_t rank = 0;
    for (int64_t i = 0; i < r->n_done && rank < most; i++)
        if (r->trials[r->ranks[i]].front) trial_row(b, r, &r->trials[r->ranks[i]], ++rank, NULL);
    msx__buffer_text(b, "</tbody></table></div>");
}
