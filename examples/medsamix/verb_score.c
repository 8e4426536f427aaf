/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix score: Dice of models on every task of data sets, one row per task, one column per model. */
#include "datasets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct scoring {
    program *p;
    datasets data;
    msx_device *device;
    msx_evaluator *evaluator;
    msx_eval_options options;
    msx_split split;
    size_t n_models;
    const char **names;
    msx_summary *summaries; /* n_models x (tasks + 1); the last of a model is the mean */
} scoring;

static int64_t rows_of(const scoring *s) {
    return msx_evaluator_task_count(s->evaluator) + 1;
}

/* "[NAME=]FILE"; without a name the file's, without its folder. */
static int read_names(scoring *s) {
    for (size_t i = 0; i < s->n_models; i++) {
        const char *name, *file;
        int code = option_pair(s->p, "model", i, &name, &file);
        if (code) return code;
        const char *slash = strrchr(file, '/');
        s->names[i] = name ? name : slash ? slash + 1 : file;
    }
    return PROGRAM_DONE;
}

/* A task may have no slice in this split. */
static bool has_rows(const msx_score *score, const char *task) {
    for (int64_t i = 0; i < msx_score_count(score); i++)
        if (!strcmp(msx_score_label(score, i), task)) return true;
    return false;
}

static int score_model(scoring *s, size_t index, const char *file) {
    program *p = s->p;
    msx_model *model;
    msx_score *score = NULL;
    int64_t rows = rows_of(s);
    int code = program_model(p, s->device, file, &model);
    if (code) return code;
    msx_status status = msx_evaluator_run(&score, s->evaluator, model);
    for (int64_t t = 0; status >= 0 && t < rows; t++) {
        const char *task = msx_evaluator_task(s->evaluator, t); /* NULL: the mean */
        msx_summary *summary = &s->summaries[(int64_t)index * rows + t];
        *summary = (msx_summary){.struct_size = sizeof *summary, .mean = NAN};
        if (!task || has_rows(score, task))
            status = msx_score_summary(score, task, MSX_METRIC_DICE, s->options.unit,
                                       s->options.empty, s->options.seed, summary);
    }
    msx_score_free(score);
    msx_model_free(model);
    return program_status(p, status);
}

static int prepare(scoring *s) {
    program *p = s->p;
    s->split =
        strcmp(option_or(p, "split", "test"), "test") ? MSX_SPLIT_CALIBRATION : MSX_SPLIT_TEST;
    s->n_models = option_count(p, "model");
    s->names = calloc(s->n_models + 1, sizeof *s->names);
    if (!s->names) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    int code = read_names(s);
    if (!code) code = datasets_open(p, &s->data);
    if (!code) code = datasets_options(p, &s->options);
    if (!code) code = program_device(p, &s->device);
    if (code) return code;
    msx_status status = msx_evaluator_create(&s->evaluator, p->ctx, s->split, &s->options);
    for (size_t i = 0; status >= 0 && i < s->data.n; i++)
        if (s->data.items[i].n)
            status = msx_evaluator_add(s->evaluator, s->data.items[i].dataset,
                                       s->data.items[i].tasks, s->data.items[i].n);
    if (status < 0) return program_status(p, status);
    s->summaries = calloc(s->n_models * (size_t)rows_of(s), sizeof *s->summaries);
    return s->summaries ? PROGRAM_DONE : program_fail(p, PROGRAM_LIMIT, "out of memory");
}

/* ---- output -------------------------------------------------------------------------------------- */

/* More columns with intervals than this do not fit on a screen. */
enum { MODELS_WITH_INTERVALS = 4 };

static bool shows_intervals(const scoring *s) {
    return s->n_models <= MODELS_WITH_INTERVALS || option_given(s->p, "intervals");
}

static void cell(table *t, const msx_summary *s, bool interval) {
    if (isnan(s->mean))
        table_cell(t, "n/a");
    else if (isnan(s->low) || !interval)
        table_cell(t, "%.4f", s->mean);
    else
        table_cell(t, "%.4f [%.4f, %.4f]", s->mean, s->low, s->high);
}

static int print_table(scoring *s) {
    size_t columns = s->n_models + 2;
    const char **heads = calloc(columns, sizeof *heads);
    table *t = NULL;
    if (heads) {
        heads[0] = "task";
        heads[1] = s->options.unit == MSX_UNIT_VOLUME ? ">volumes" : ">slices";
        for (size_t i = 0; i < s->n_models; i++) heads[i + 2] = s->names[i];
        t = table_create(heads, columns);
    }
    int64_t rows = rows_of(s);
    for (int64_t r = 0; r < rows; r++) {
        const char *task = msx_evaluator_task(s->evaluator, r);
        table_cell(t, "%s", task ? task : "mean");
        if (task)
            table_cell(t, "%lld", (long long)s->summaries[r].used);
        else
            table_cell(t, "%s", "");
        for (size_t i = 0; i < s->n_models; i++)
            cell(t, &s->summaries[(int64_t)i * rows + r], shows_intervals(s));
    }
    int code = table_print(s->p, t);
    table_free(t);
    free(heads);
    if (!code && !s->p->quiet)
        printf("\nDice on the %s split, mean over %s%s; boxes '%s' from the labels, so slices "
               "without\nthe label are never predicted; preset '%s'\n",
               s->split == MSX_SPLIT_TEST ? "test" : "calibration",
               s->options.unit == MSX_UNIT_VOLUME ? "volumes" : "slices",
               shows_intervals(s) ? ", 95 % bootstrap interval" : "",
               option_or(s->p, "box-preset", "tight"), option_or(s->p, "preset", "sam"));
    return code;
}

static json_t *row_json(const scoring *s, int64_t r) {
    json_t *models = json_array();
    const char *task = msx_evaluator_task(s->evaluator, r);
    for (size_t i = 0; models && i < s->n_models; i++) {
        const msx_summary *m = &s->summaries[(int64_t)i * rows_of(s) + r];
        json_array_append_new(models,
                              json_pack("{s:s, s:o, s:o, s:o, s:I, s:I}", "model", s->names[i],
                                        "dice", json_number(m->mean), "low", json_number(m->low),
                                        "high", json_number(m->high), "used", (json_int_t)m->used,
                                        "left_out", (json_int_t)m->left_out));
    }
    return json_pack("{s:s, s:o}", "task", task ? task : "mean", "models", models);
}

static int print_json(scoring *s) {
    json_t *rows = json_array();
    for (int64_t r = 0; rows && r < rows_of(s); r++) json_array_append_new(rows, row_json(s, r));
    program *p = s->p;
    return program_json(p, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "split",
                                     s->split == MSX_SPLIT_TEST ? "test" : "calibration", "unit",
                                     option_or(p, "unit", "slice"), "box_preset",
                                     option_or(p, "box-preset", "tight"), "preset",
                                     option_or(p, "preset", "sam"), "empty",
                                     option_or(p, "empty", "nnunet"), "tasks", rows));
}

static int score_all(scoring *s) {
    int code = prepare(s);
    for (size_t i = 0; !code && i < s->n_models; i++) {
        const char *name, *file;
        code = option_pair(s->p, "model", i, &name, &file);
        if (!code) code = score_model(s, i, file);
    }
    if (code) return code;
    return s->p->json ? print_json(s) : print_table(s);
}

static int run(program *p) {
    scoring s = {.p = p};
    int code = score_all(&s);
    msx_evaluator_free(s.evaluator);
    msx_device_free(s.device);
    datasets_free(&s.data);
    free(s.names);
    free(s.summaries);
    return code;
}

static const program_option options[] = {
    {.name = "model",
     .kind = OPTION_TEXT,
     .many = true,
     .required = true,
     .argument = "[NAME=]FILE",
     .help = "checkpoint to score"},
    {.name = "split",
     .kind = OPTION_TEXT,
     .argument = "SPLIT",
     .choices = "calibration|test",
     .help = "calibration (imagesTr) or test (imagesTs) (test)"},
    {.name = "intervals",
     .kind = OPTION_FLAG,
     .help = "show the intervals of more than 4 models too"},
    DATASETS_OPTIONS,
    PROGRAM_SIZE_OPTIONS,
    {0},
};

const program_verb verb_score = {
    .name = "score",
    .summary = "Dice of models on every task of data sets",
    .synopsis = "--model [NAME=]FILE... --dataset DIR... [--task LABEL]...",
    .about = "Cuts every case into slices, prompts every model with boxes from the labels, and\n"
             "prints one row per task and one column per model, with 95 % bootstrap intervals.",
    .options = options,
    .computes = true,
    .opens = true,
    .run = run,
};
