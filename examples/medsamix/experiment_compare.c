/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of one row per task: the paper's Table 1 (inputs, a search for each task, one for all), the
 * comparison with uniform merges (Tables 2 and 4), and the members of the front (Table 4). */
#include "experiment_kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a table of scores --------------------------------------------------------------------------------- */

enum { MOST_COLUMNS = 80, NAME = 80 };

typedef struct contestant {
    char name[NAME];
    const study_score *score; /* of all tasks; NULL: one of `each` for every task */
    const study_score *each;
} contestant;

typedef struct comparison {
    study *s;
    contestant columns[MOST_COLUMNS];
    size_t n;
} comparison;

static contestant *add_contestant(comparison *c, const char *name, const study_score *score) {
    contestant *x = &c->columns[c->n++];
    *x = (contestant){.score = score};
    snprintf(x->name, sizeof x->name, "%s", name);
    return x;
}

static void add_inputs(comparison *c) {
    for (size_t i = 0; i < c->s->n_models; i++) add_contestant(c, c->s->names[i], &c->s->inputs[i]);
}

static double dice_of(const contestant *x, size_t task) {
    return study_dice(x->score ? x->score : &x->each[task], task);
}

static double mean_of(const comparison *c, const contestant *x) {
    double sum = 0, used = 0;
    for (size_t t = 0; t < c->s->list.n_tasks; t++) {
        double dice = dice_of(x, t);
        if (isnan(dice)) continue;
        sum += dice;
        used++;
    }
    return used > 0 ? sum / used : NAN;
}

static void score_row(const comparison *c, sheet *t, int64_t task) {
    double values[MOST_COLUMNS], best = NAN;
    for (size_t i = 0; i < c->n; i++) {
        values[i] = task < 0 ? mean_of(c, &c->columns[i]) : dice_of(&c->columns[i], (size_t)task);
        best = fmax(best, values[i]);
    }
    for (size_t i = 0; i < c->n; i++) {
        sheet_number(t, values[i], 4);
        if (values[i] == best) sheet_mark(t);
    }
}

static sheet *score_sheet(const comparison *c, const char *id, const char *title) {
    const char *heads[MOST_COLUMNS + 1] = {"task"};
    char marked[MOST_COLUMNS][NAME + 1], full[200];
    for (size_t i = 0; i < c->n; i++) {
        snprintf(marked[i], sizeof marked[i], ">%s", c->columns[i].name);
        heads[i + 1] = marked[i];
    }
    snprintf(full, sizeof full, "%s, Dice on the %s images", title,
             c->s->split == MSX_SPLIT_TEST ? "test" : "calibration");
    sheet *t = sheet_create(id, full, heads, c->n + 1);
    for (size_t k = 0; k < c->s->list.n_tasks; k++) {
        sheet_text(t, "%s", c->s->list.tasks[k].name);
        score_row(c, t, (int64_t)k);
    }
    sheet_summary(t);
    sheet_text(t, "mean");
    score_row(c, t, -1);
    return t;
}

/* At how many tasks contestant i is above another one; `compared` has both. */
static int above(const comparison *c, const contestant *mine, const contestant *other,
                 int *compared) {
    int n = 0;
    *compared = 0;
    for (size_t t = 0; t < c->s->list.n_tasks; t++) {
        double a = dice_of(mine, t), b = dice_of(other, t);
        if (isnan(a) || isnan(b)) continue;
        (*compared)++;
        n += a > b;
    }
    return n;
}

/* At how many tasks it is above all of the first `n` contestants. */
static int above_all(const comparison *c, const contestant *mine, size_t n, int *compared) {
    int improved = 0;
    *compared = 0;
    for (size_t t = 0; t < c->s->list.n_tasks; t++) {
        double best = NAN, dice = dice_of(mine, t);
        for (size_t i = 0; i < n; i++) best = fmax(best, dice_of(&c->columns[i], t));
        if (isnan(dice) || isnan(best)) continue;
        (*compared)++;
        improved += dice > best;
    }
    return improved;
}

/* One row for each of the last contestants: counts of tasks improved on the first `n`. */
static sheet *count_sheet(const comparison *c, const char *id, const char *title, size_t n) {
    const char *heads[MOST_COLUMNS + 3] = {"", ">mean Dice"};
    char marked[MOST_COLUMNS][NAME + 16];
    size_t columns = 2;
    for (size_t i = 0; i < n; i++) {
        snprintf(marked[i], sizeof marked[i], ">above %s", c->columns[i].name);
        heads[columns++] = marked[i];
    }
    heads[columns++] = ">above all of these";
    sheet *t = sheet_create(id, title, heads, columns);
    for (size_t i = n; i < c->n; i++) {
        int compared, count;
        sheet_text(t, "%s", c->columns[i].name);
        sheet_number(t, mean_of(c, &c->columns[i]), 4);
        for (size_t k = 0; k < n; k++) {
            count = above(c, &c->columns[i], &c->columns[k], &compared);
            sheet_text(t, "%d of %d", count, compared);
        }
        count = above_all(c, &c->columns[i], n, &compared);
        sheet_text(t, "%d of %d", count, compared);
    }
    return t;
}

/* ---- members of the front of the search over all tasks ----------------------------------------------- */

typedef struct members {
    study_cell *cell;
    const study_score *scores[STUDY_MEMBERS]; /* the cell's */
} members;

static int score_members(study *s, int most, members *m) {
    *m = (members){.cell = study_cell_all(s)};
    int code = m->cell ? PROGRAM_DONE : PROGRAM_LIMIT;
    for (int i = 0; !code && i < m->cell->n_members && i < most; i++)
        code = study_score_member(s, m->cell, i, &m->scores[i]);
    return code;
}

static int plan_all(study *s) {
    return study_cell_all(s) ? PROGRAM_DONE : PROGRAM_LIMIT;
}

/* ---- Table 1 -------------------------------------------------------------------------------------------- */

static study_cell *cell_of_task(study *s, size_t task) {
    return study_cell_get(s, task, 1, 0, s->granularity, s->seed);
}

static int plan_tasks_table(study *s) {
    for (size_t t = 0; t < s->list.n_tasks; t++)
        if (!cell_of_task(s, t)) return PROGRAM_LIMIT;
    return plan_all(s);
}

static int score_each(study *s, study_score *each) {
    int code = PROGRAM_DONE;
    for (size_t t = 0; !code && t < s->list.n_tasks; t++) {
        study_cell *c = cell_of_task(s, t);
        code = c ? study_score_plan(s, c->plans[0], t, 1, &each[t]) : PROGRAM_LIMIT;
    }
    return code;
}

static void tell_scores(study *s, const study_score *each, const members *m, section *out) {
    comparison c = {.s = s};
    add_inputs(&c);
    add_contestant(&c, "MedSAMix-S", NULL)->each = each;
    if (s->list.n_tasks > 1) add_contestant(&c, "MedSAMix-M", m->scores[0]);
    sheet *t = score_sheet(&c, "tasks-table", "Every task");
    sheet_note(t, "MedSAMix-S: the winner of a search for this task alone; MedSAMix-M: that of one "
                  "search for all tasks.");
    section_add(out, t);
    section_add(out, count_sheet(&c, "tasks-table-counts", "Tasks improved", s->n_models));
}

static int tell_tasks_table(study *s, section *out) {
    study_score *each = calloc(s->list.n_tasks, sizeof *each);
    members m = {0};
    int code = each ? PROGRAM_DONE : program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    if (!code) code = study_score_inputs(s);
    if (!code) code = score_each(s, each);
    if (!code) code = score_members(s, 1, &m);
    if (!code) tell_scores(s, each, &m, out);
    for (size_t t = 0; each && t < s->list.n_tasks; t++) study_score_free(&each[t]);
    free(each);
    return code;
}

/* ---- Tables 2 and 4 -------------------------------------------------------------------------------------- */

static void add_uniform(comparison *c) {
    for (int i = 0; i < STUDY_METHODS; i++) add_contestant(c, study_methods[i], &c->s->uniform[i]);
}

static int tell_uniform(study *s, section *out) {
    members m = {0};
    int code = study_score_inputs(s);
    if (!code) code = study_score_uniform(s);
    if (!code) code = score_members(s, 1, &m);
    if (!code) {
        comparison c = {.s = s};
        add_uniform(&c);
        add_contestant(&c, "MedSAMix", m.scores[0]);
        sheet *t = score_sheet(&c, "uniform", "Uniform merges");
        sheet_note(t, "Every method with its default parameters in all layer groups, against the "
                      "winner of the search.");
        section_add(out, t);
        section_add(out,
                    count_sheet(&c, "uniform-counts", "Tasks above uniform merges", STUDY_METHODS));
    }
    return code;
}

static void tell_members(study *s, const members *m, section *out) {
    comparison c = {.s = s};
    add_uniform(&c);
    for (int i = 0; i < m->cell->n_members; i++) {
        char name[NAME];
        snprintf(name, sizeof name, "trial %lld", (long long)m->cell->trial[i]);
        add_contestant(&c, name, m->scores[i]);
    }
    sheet *t = score_sheet(&c, "front", "The best of the front");
    sheet_note(t,
               "%lld of %lld trials are on the front; these have the highest mean Dice on the "
               "calibration images, ties broken by the least loss at any task.",
               (long long)m->cell->n_front, (long long)m->cell->trials);
    section_add(out, t);
    section_add(out, count_sheet(&c, "front-counts", "Tasks above uniform merges", STUDY_METHODS));
}

static int tell_front(study *s, section *out) {
    members m = {0};
    int code = study_score_uniform(s);
    if (!code) code = score_members(s, STUDY_MEMBERS, &m);
    if (!code) tell_members(s, &m, out);
    return code;
}

const experiment experiment_tasks_table = {
    .name = "tasks-table",
    .title = "Every task",
    .about = "The inputs alone, a merge searched for each task, and one searched for all.",
    .plan = plan_tasks_table,
    .tell = tell_tasks_table,
};
const experiment experiment_uniform = {
    .name = "uniform",
    .title = "Uniform merges",
    .about =
        "The same method everywhere against a search of method and values for each layer group.",
    .plan = plan_all,
    .tell = tell_uniform,
};
const experiment experiment_front = {
    .name = "front",
    .title = "The Pareto front",
    .about = "The best members of the front, which weigh the tasks differently.",
    .plan = plan_all,
    .tell = tell_front,
};
