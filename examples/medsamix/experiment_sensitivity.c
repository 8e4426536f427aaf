/* SPDX-License-Identifier: Apache-2.0 */
/* The paper's Fig. 4: how the winner depends on the granularity, the number of tasks searched for, and
 * the combination of fine-tuned models. */
#include "experiment_kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_POINTS = 256, MOST_DEFAULT_MODELS = 5 };

/* One value of what is varied. */
typedef struct point {
    char *name;
    size_t n_tasks;
    uint64_t models;
    char granularity[8];
} point;

typedef struct points {
    point *items;
    size_t n;
} points;

/* What its searches came to: means over the repeats. */
typedef struct measured {
    double calibration;
    double own, low, high;     /* on the tasks that were searched for; range over the repeats */
    double all;                /* on all tasks of the list */
    double best_own, best_all; /* of the best input there */
    double improved, compared; /* tasks */
    double groups;             /* searched */
} measured;

/* ---- points ----------------------------------------------------------------------------------------- */

static void free_points(points *p) {
    for (size_t i = 0; i < p->n; i++) free(p->items[i].name);
    free(p->items);
    *p = (points){0};
}

static int add_point(study *s, points *p, const char *name, size_t n_tasks, uint64_t models,
                     const char *granularity) {
    if (p->n == MOST_POINTS) return program_usage(s->p, "more than %d points", MOST_POINTS);
    point *items = realloc(p->items, (p->n + 1) * sizeof *items);
    if (items) p->items = items;
    char *copy = strdup(name);
    if (!items || !copy) {
        free(copy);
        return program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    }
    point *at = &items[p->n++];
    *at = (point){.name = copy, .n_tasks = n_tasks, .models = models};
    snprintf(at->granularity, sizeof at->granularity, "%s", granularity);
    return PROGRAM_DONE;
}

/* One word of --values to a point. */
typedef int (*word_fn)(study *s, points *p, const char *word);

static int each_word(study *s, points *p, const char *list, word_fn add) {
    char *copy = strdup(list), *rest = copy;
    int code = copy ? PROGRAM_DONE : program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    for (char *word; !code && (word = strsep(&rest, ","));) code = add(s, p, word);
    free(copy);
    return code;
}

static int add_granularity(study *s, points *p, const char *word) {
    bool known = !strcmp(word, "auto") || (word[0] >= '1' && word[0] <= '4' && !word[1]);
    if (!known) return program_usage(s->p, "--values: granularity '%s' is not 1, 2, 3 or 4", word);
    return add_point(s, p, word, s->list.n_tasks, 0, word);
}

static int add_tasks(study *s, points *p, const char *word) {
    char *end;
    unsigned long n = strtoul(word, &end, 10);
    if (!*word || *end || n < 1 || n > s->list.n_tasks)
        return program_usage(s->p, "--values: '%s' is no number of tasks from 1 to %zu", word,
                             s->list.n_tasks);
    return add_point(s, p, word, n, 0, s->granularity);
}

static int unknown_model(study *s, const char *name) {
    const char *closest = msx_closest_name(name, s->names + 1, s->n_models - 1);
    return closest ? program_usage(s->p, "--values: unknown model '%s'; did you mean '%s'?", name,
                                   closest)
                   : program_usage(s->p, "--values: unknown model '%s'", name);
}

/* "human+macaque" */
static int add_models(study *s, points *p, const char *word) {
    uint64_t models = 0;
    char *copy = strdup(word), *rest = copy;
    int code = copy ? PROGRAM_DONE : program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    for (char *name; !code && (name = strsep(&rest, "+"));) {
        size_t i = 1;
        while (i < s->n_models && strcmp(s->names[i], name) != 0) i++;
        if (i == s->n_models)
            code = unknown_model(s, name);
        else
            models |= UINT64_C(1) << i;
    }
    if (!code) code = add_point(s, p, word, s->list.n_tasks, models, s->granularity);
    free(copy);
    return code;
}

static int make_granularities(study *s, points *p) {
    return each_word(s, p, option_or(s->p, "values", "1,2,3,4"), add_granularity);
}

/* 1, 2, 4, ... and all. */
static int make_tasks(study *s, points *p) {
    const char *values = option_text(s->p, "values");
    if (values) return each_word(s, p, values, add_tasks);
    int code = PROGRAM_DONE;
    for (size_t n = 1; !code && n <= s->list.n_tasks;) {
        char word[24];
        snprintf(word, sizeof word, "%zu", n);
        code = add_tasks(s, p, word);
        if (n == s->list.n_tasks) break;
        n = 2 * n < s->list.n_tasks ? 2 * n : s->list.n_tasks;
    }
    return code;
}

/* Every combination, small ones first. */
static int make_models(study *s, points *p) {
    const char *values = option_text(s->p, "values");
    if (values) return each_word(s, p, values, add_models);
    size_t tuned = s->n_models - 1;
    if (tuned > MOST_DEFAULT_MODELS)
        return program_usage(s->p, "%zu models have too many combinations; give some with --values",
                             tuned);
    int code = PROGRAM_DONE;
    for (size_t size = 1; !code && size <= tuned; size++)
        for (uint64_t bits = 1; !code && bits < UINT64_C(1) << tuned; bits++) {
            if ((size_t)__builtin_popcountll(bits) != size) continue;
            char word[512] = "";
            for (size_t i = 0; i < tuned; i++) {
                size_t length = strlen(word);
                if (bits >> i & 1)
                    snprintf(word + length, sizeof word - length, "%s%s", length ? "+" : "",
                             s->names[i + 1]);
            }
            code = add_models(s, p, word);
        }
    return code;
}

/* ---- searches and scores ---------------------------------------------------------------------------- */

static int plan_points(study *s, int (*make)(study *s, points *p)) {
    points p = {0};
    int code = make(s, &p);
    for (size_t i = 0; !code && i < p.n; i++)
        for (int64_t k = 0; !code && k < s->repeats; k++)
            if (!study_cell_get(s, 0, p.items[i].n_tasks, p.items[i].models, p.items[i].granularity,
                                s->seed + k))
                code = PROGRAM_LIMIT;
    free_points(&p);
    return code;
}

static double mean_of(const double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum / (double)n;
}

static int measure_repeat(study *s, const point *p, int64_t repeat, measured *m) {
    study_cell *c = study_cell_get(s, 0, p->n_tasks, p->models, p->granularity, s->seed + repeat);
    if (!c) return PROGRAM_LIMIT;
    const study_score *score;
    int compared, code = study_score_member(s, c, 0, &score);
    if (code) return code;
    double own = study_mean(score, 0, p->n_tasks), n = (double)s->repeats;
    m->calibration += mean_of(c->dice[0], c->n_tasks) / n;
    m->own += own / n;
    m->low = fmin(m->low, own);
    m->high = fmax(m->high, own);
    m->all += study_mean(score, 0, s->list.n_tasks) / n;
    m->improved += study_improved(s, score, p->models, 0, p->n_tasks, &compared) / n;
    m->compared = compared;
    m->groups += (double)msx_plan_entry_count(c->plans[0]) / n;
    return PROGRAM_DONE;
}

static int measure(study *s, const point *p, measured *m) {
    *m = (measured){.low = INFINITY, .high = -INFINITY};
    size_t own = study_best_mean_input(s, p->models, 0, p->n_tasks);
    size_t all = study_best_mean_input(s, p->models, 0, s->list.n_tasks);
    m->best_own = study_mean(&s->inputs[own], 0, p->n_tasks);
    m->best_all = study_mean(&s->inputs[all], 0, s->list.n_tasks);
    int code = PROGRAM_DONE;
    for (int64_t k = 0; !code && k < s->repeats; k++) code = measure_repeat(s, p, k, m);
    return code;
}

/* ---- tables ------------------------------------------------------------------------------------------ */

/* A column: where its number is in `measured`. */
typedef struct column {
    const char *head;
    size_t offset;
    int decimals;
    bool repeats; /* only with several */
} column;

#define VALUE(head, field, decimals)                                                               \
    { head, offsetof(measured, field), decimals, false }
#define RANGE                                                                                      \
    {">lowest", offsetof(measured, low), 4, true}, {                                               \
        ">highest", offsetof(measured, high), 4, true                                              \
    }

typedef struct sensitivity {
    const char *id, *chart; /* of the table and of the chart */
    const char *title;
    const char *place; /* head of the first column, and of the chart's axis */
    int (*make)(study *s, points *p);
    const column *columns;
    size_t n_columns;
    const char *series[3]; /* names of lines in the chart, NULL behind the last */
    size_t offsets[3];
    bool ordered; /* the points */
} sensitivity;

static double value_of(const measured *m, size_t offset) {
    return *(const double *)(const void *)((const char *)m + offset);
}

static sheet *make_sheet(const study *s, const sensitivity *k, const points *p,
                         const measured *values) {
    const char *heads[16] = {k->place};
    char title[160];
    size_t n = 1;
    for (size_t i = 0; i < k->n_columns; i++)
        if (!k->columns[i].repeats || s->repeats > 1) heads[n++] = k->columns[i].head;
    heads[n++] = ">tasks improved";
    snprintf(title, sizeof title, "%s, Dice on the %s images", k->title,
             s->split == MSX_SPLIT_TEST ? "test" : "calibration");
    sheet *t = sheet_create(k->id, title, heads, n);
    for (size_t r = 0; r < p->n; r++) {
        sheet_text(t, "%s", p->items[r].name);
        for (size_t i = 0; i < k->n_columns; i++)
            if (!k->columns[i].repeats || s->repeats > 1)
                sheet_number(t, value_of(&values[r], k->columns[i].offset), k->columns[i].decimals);
        sheet_text(t, "%.3g of %.0f", values[r].improved, values[r].compared);
    }
    char repeats[64] = "one search";
    if (s->repeats > 1)
        snprintf(repeats, sizeof repeats, "the mean of %lld seeds, each a search",
                 (long long)s->repeats);
    sheet_note(t,
               "Every row is %s of %s trials. 'best input' is the input model of the highest mean "
               "there; a task is improved when the winner is above all inputs.",
               repeats, option_or(s->p, "trials", "120"));
    return t;
}

static int make_chart(study *s, const sensitivity *k, const points *p, const measured *values,
                      section *out) {
    const char **places = calloc(p->n, sizeof *places);
    double *numbers = calloc(p->n * 5, sizeof *numbers);
    chart_series series[3];
    size_t n = 0;
    FILE *to = places && numbers ? open_memstream(&out->chart, &out->chart_bytes) : NULL;
    for (size_t i = 0; to && i < p->n; i++) {
        places[i] = p->items[i].name;
        numbers[3 * p->n + i] = values[i].low;
        numbers[4 * p->n + i] = values[i].high;
    }
    for (; to && n < 3 && k->series[n]; n++) {
        for (size_t i = 0; i < p->n; i++)
            numbers[n * p->n + i] = value_of(&values[i], k->offsets[n]);
        bool own = k->offsets[n] == offsetof(measured, own);
        series[n] =
            (chart_series){k->series[n], numbers + n * p->n, own ? numbers + 3 * p->n : NULL,
                           own ? numbers + 4 * p->n : NULL};
    }
    if (to) chart_write_html(to, k->chart, k->title, k->place, places, p->n, series, n, k->ordered);
    bool good = to && fclose(to) == 0;
    free(places);
    free(numbers);
    return good ? PROGRAM_DONE : program_fail(s->p, PROGRAM_LIMIT, "out of memory");
}

static int tell_points(study *s, const sensitivity *k, section *out) {
    points p = {0};
    measured *values = NULL;
    int code = k->make(s, &p);
    if (!code) code = study_score_inputs(s);
    if (!code && !(values = calloc(p.n + 1, sizeof *values)))
        code = program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    for (size_t i = 0; !code && i < p.n; i++) code = measure(s, &p.items[i], &values[i]);
    if (!code) section_add(out, make_sheet(s, k, &p, values));
    if (!code) code = make_chart(s, k, &p, values, out);
    free(values);
    free_points(&p);
    return code;
}

/* ---- the three --------------------------------------------------------------------------------------- */

static const column granularity_columns[] = {
    VALUE(">groups", groups, 0),       VALUE(">calibration", calibration, 4),
    VALUE(">winner", own, 4),          RANGE,
    VALUE(">best input", best_own, 4),
};
static const sensitivity granularity_kind = {
    .id = "granularity",
    .chart = "granularity-chart",
    .title = "Sensitivity to the granularity",
    .place = "granularity",
    .make = make_granularities,
    .columns = granularity_columns,
    .n_columns = sizeof granularity_columns / sizeof *granularity_columns,
    .series = {"winner", "best input", "winner, calibration images"},
    .offsets = {offsetof(measured, own), offsetof(measured, best_own),
                offsetof(measured, calibration)},
    .ordered = true,
};

static const column tasks_columns[] = {
    VALUE(">calibration", calibration, 4),
    VALUE(">winner, these tasks", own, 4),
    RANGE,
    VALUE(">best input, these tasks", best_own, 4),
    VALUE(">winner, all tasks", all, 4),
    VALUE(">best input, all tasks", best_all, 4),
};
static const sensitivity tasks_kind = {
    .id = "tasks",
    .chart = "tasks-chart",
    .title = "Sensitivity to the number of tasks",
    .place = "tasks",
    .make = make_tasks,
    .columns = tasks_columns,
    .n_columns = sizeof tasks_columns / sizeof *tasks_columns,
    .series = {"winner, tasks it was searched for", "best input, these tasks", "winner, all tasks"},
    .offsets = {offsetof(measured, own), offsetof(measured, best_own), offsetof(measured, all)},
    .ordered = true,
};

static const column models_columns[] = {
    VALUE(">calibration", calibration, 4),
    VALUE(">winner", own, 4),
    RANGE,
    VALUE(">best of these inputs", best_own, 4),
};
static const sensitivity models_kind = {
    .id = "models",
    .chart = "models-chart",
    .title = "Sensitivity to the combination of models",
    .place = "fine-tuned models",
    .make = make_models,
    .columns = models_columns,
    .n_columns = sizeof models_columns / sizeof *models_columns,
    .series = {"winner", "best of these inputs"},
    .offsets = {offsetof(measured, own), offsetof(measured, best_own)},
};

static int plan_granularity(study *s) {
    return plan_points(s, make_granularities);
}
static int tell_granularity(study *s, section *out) {
    return tell_points(s, &granularity_kind, out);
}
static int plan_tasks(study *s) {
    return plan_points(s, make_tasks);
}
static int tell_tasks(study *s, section *out) {
    return tell_points(s, &tasks_kind, out);
}
static int plan_models(study *s) {
    return plan_points(s, make_models);
}
static int tell_models(study *s, section *out) {
    return tell_points(s, &models_kind, out);
}

const experiment experiment_granularity = {
    .name = "granularity",
    .title = "Granularity",
    .about = "How many encoder blocks share one layer group: more groups are a finer merge and a "
             "larger space to search.",
    .takes_values = true,
    .plan = plan_granularity,
    .tell = tell_granularity,
};
const experiment experiment_tasks = {
    .name = "tasks",
    .title = "Number of tasks",
    .about = "One merge for the first tasks of the list: what it is worth for them, and for all.",
    .takes_values = true,
    .plan = plan_tasks,
    .tell = tell_tasks,
};
const experiment experiment_models = {
    .name = "models",
    .title = "Combinations of models",
    .about = "The base merged with every combination of the fine-tuned models.",
    .takes_values = true,
    .plan = plan_models,
    .tell = tell_models,
};
