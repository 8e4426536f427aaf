/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix search: find the merge of best Dice on the calibration images of some tasks. */
#include "datasets.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FRONT_COLUMNS = 3 };

typedef struct searching {
    program *p;
    datasets data;
    msx_device *device;
    msx_search *search;
    int64_t *front; /* trials, best first */
    int64_t n_front;
} searching;

/* ---- setting up ---------------------------------------------------------------------------------- */

/* Options of the program that are options of the search under the same name. */
static const char *const passed_on[] = {
    "trials",     "seed",   "granularity", "prompt-granularity", "decoder-granularity", "optimizer",
    "methods",    "preset", "store",       "box-preset",         "slice-axis",          "intensity",
    "min-object", "unit",   "empty",
};

static msx_status pass_options(searching *s) {
    program *p = s->p;
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++) {
        char key[64];
        const char *value = option_text(p, passed_on[i]);
        if (!value) continue;
        snprintf(key, sizeof key, "%s", passed_on[i]);
        for (char *c = key; *c; c++)
            if (*c == '-') *c = '_';
        msx_status status = msx_search_set(s->search, key, value);
        if (status < 0) return status;
    }
    return option_given(p, "keep-dead-groups") ? msx_search_set(s->search, "keep_dead_groups", "1")
                                               : MSX_OK;
}

static int pass_pairs(searching *s) {
    program *p = s->p;
    for (size_t i = 0; i < option_count(p, "set"); i++) {
        const char *key, *value;
        int code = option_pair(p, "set", i, &key, &value);
        if (code) return code;
        if (!key) return program_usage(p, "--set: '%s' is not KEY=VALUE", value);
        code = program_status(p, msx_search_set(s->search, key, value));
        if (code) return code;
    }
    for (size_t i = 0; i < option_count(p, "model"); i++) {
        const char *name, *file;
        int code = option_pair(p, "model", i, &name, &file);
        if (code) return code;
        if (!name) return program_usage(p, "--model: '%s' has no name; write NAME=FILE", file);
        code = program_status(p, msx_search_add_model(s->search, name, file));
        if (code) return code;
    }
    return PROGRAM_DONE;
}

static int set_up(searching *s) {
    program *p = s->p;
    if (option_given(p, "report") && !option_given(p, "store"))
        return program_usage(p, "--report is made from the store; add --store FILE.db");
    int code = datasets_open(p, &s->data);
    if (!code) code = program_device(p, &s->device);
    if (!code) code = program_status(p, msx_search_create(&s->search, s->device));
    if (!code) code = program_status(p, pass_options(s));
    if (!code)
        code = program_status(p, msx_search_add_model(s->search, "base", option_text(p, "base")));
    if (!code) code = pass_pairs(s);
    for (size_t i = 0; !code && i < s->data.n; i++)
        if (s->data.items[i].n)
            code =
                program_status(p, msx_search_add_tasks(s->search, s->data.items[i].dataset,
                                                       s->data.items[i].tasks, s->data.items[i].n));
    return code;
}

/* ---- writing ------------------------------------------------------------------------------------- */

static int read_front(searching *s) {
    int64_t trials = msx_search_trials(s->search);
    s->front = calloc((size_t)trials + 1, sizeof *s->front);
    if (!s->front) return program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    s->n_front = msx_search_front(s->search, s->front, trials);
    if (s->n_front == 0)
        return program_fail(s->p, PROGRAM_INPUT, "every trial has failed; nothing is written");
    return PROGRAM_DONE;
}

/* Plans of all members of the front, checkpoints of the first few: they are large. */
static int write_front(searching *s, const char *folder) {
    int64_t checkpoints = option_int(s->p, "front-checkpoints", FRONT_COLUMNS);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return program_fail(s->p, PROGRAM_INPUT, "%s: cannot be made: %s", folder, strerror(errno));
    for (int64_t i = 0; i < s->n_front; i++) {
        char *model = NULL, *plan = NULL;
        int code = PROGRAM_DONE;
        if (asprintf(&model, "%s/trial-%lld.pth", folder, (long long)s->front[i]) < 0 ||
            asprintf(&plan, "%s/trial-%lld.yaml", folder, (long long)s->front[i]) < 0)
            code = program_fail(s->p, PROGRAM_LIMIT, "out of memory");
        if (!code)
            code = program_status(s->p, msx_search_write(s->search, s->front[i],
                                                         i < checkpoints ? model : NULL, plan));
        free(model);
        free(plan);
        if (code) return code;
    }
    return PROGRAM_DONE;
}

static bool has_test_cases(const searching *s) {
    for (size_t i = 0; i < s->data.n; i++)
        if (s->data.items[i].n && msx_dataset_case_count(s->data.items[i].dataset, MSX_SPLIT_TEST))
            return true;
    return false;
}

static int write_report(searching *s, const char *path) {
    program *p = s->p;
    msx_status status = msx_search_finish(s->search, MSX_SPLIT_CALIBRATION);
    if (status >= 0 && has_test_cases(s)) status = msx_search_finish(s->search, MSX_SPLIT_TEST);
    if (status >= 0) status = msx_report_write(p->ctx, option_text(p, "store"), path);
    return program_status(p, status);
}

static int write_all(searching *s) {
    program *p = s->p;
    int code = program_status(p, msx_search_write(s->search, s->front[0], option_text(p, "output"),
                                                  option_text(p, "plan-out")));
    if (!code && option_given(p, "front")) code = write_front(s, option_text(p, "front"));
    if (!code && option_given(p, "report")) code = write_report(s, option_text(p, "report"));
    return code;
}

/* ---- telling ------------------------------------------------------------------------------------- */

static double mean_dice(const searching *s, int64_t trial) {
    const double *costs = msx_search_trial_costs(s->search, trial);
    int64_t n = msx_search_task_count(s->search);
    double sum = 0;
    for (int64_t t = 0; costs && t < n; t++) sum += 1 - costs[t];
    return costs ? sum / (double)n : NAN;
}

static int64_t columns_of(const searching *s) {
    if (msx_search_task_count(s->search) == 1) return 1;
    return s->n_front < FRONT_COLUMNS ? s->n_front : FRONT_COLUMNS;
}

static int print_table(searching *s) {
    char names[FRONT_COLUMNS][32];
    const char *heads[FRONT_COLUMNS + 1] = {"task"};
    int64_t columns = columns_of(s), tasks = msx_search_task_count(s->search);
    for (int64_t i = 0; i < columns; i++) {
        snprintf(names[i], sizeof names[i], ">trial %lld", (long long)s->front[i]);
        heads[i + 1] = names[i];
    }
    table *t = table_create(heads, (size_t)columns + 1);
    for (int64_t r = 0; r < tasks + (tasks > 1); r++) {
        const char *task = msx_search_task(s->search, r);
        table_cell(t, "%s", task ? task : "mean");
        for (int64_t i = 0; i < columns; i++) {
            const double *costs = msx_search_trial_costs(s->search, s->front[i]);
            table_number(t, task ? 1 - costs[r] : mean_dice(s, s->front[i]), 4);
        }
    }
    int code = table_print(s->p, t);
    table_free(t);
    if (code || s->p->quiet) return code;
    printf("\nDice on the calibration images; best of %lld trials: trial %lld (%s)",
           (long long)msx_search_trials(s->search), (long long)s->front[0],
           msx_search_trial_origin(s->search, s->front[0]));
    if (tasks > 1) printf("; %lld on the Pareto front", (long long)s->n_front);
    printf("; preset '%s'\n", option_or(s->p, "preset", "sam"));
    return PROGRAM_DONE;
}

static json_t *trial_json(const searching *s, int64_t trial) {
    json_t *dice = json_object();
    const double *costs = msx_search_trial_costs(s->search, trial);
    for (int64_t t = 0; dice && t < msx_search_task_count(s->search); t++)
        json_object_set_new(dice, msx_search_task(s->search, t), json_number(1 - costs[t]));
    return json_pack("{s:I, s:s, s:o, s:o}", "trial", (json_int_t)trial, "origin",
                     msx_search_trial_origin(s->search, trial), "mean",
                     json_number(mean_dice(s, trial)), "dice", dice);
}

static int print_json(searching *s) {
    json_t *front = json_array();
    for (int64_t i = 0; front && i < s->n_front; i++)
        json_array_append_new(front, trial_json(s, s->front[i]));
    return program_json(s->p, json_pack("{s:I, s:s, s:s, s:o, s:o}", "trials",
                                        (json_int_t)msx_search_trials(s->search), "preset",
                                        option_or(s->p, "preset", "sam"), "output",
                                        option_text(s->p, "output"), "best",
                                        trial_json(s, s->front[0]), "front", front));
}

static int interrupted(searching *s) {
    program *p = s->p;
    long long n = (long long)msx_search_trials(s->search);
    if (option_given(p, "store"))
        return program_fail(p, PROGRAM_INTERRUPTED,
                            "interrupted after %lld trials; run the same command again to go on",
                            n);
    return program_fail(p, PROGRAM_INTERRUPTED,
                        "interrupted after %lld trials, which are lost; use --store to keep them",
                        n);
}

static int search_all(searching *s) {
    int code = set_up(s);
    if (code) return code;
    msx_status status = msx_search_run(s->search);
    if (status == MSX_E_CANCELLED) return interrupted(s);
    code = program_status(s->p, status);
    if (!code) code = read_front(s);
    if (!code) code = write_all(s);
    if (code) return code;
    return s->p->json ? print_json(s) : print_table(s);
}

static int run(program *p) {
    searching s = {.p = p};
    int code = search_all(&s);
    msx_search_free(s.search);
    msx_device_free(s.device);
    datasets_free(&s.data);
    free(s.front);
    return code;
}

static const program_option options[] = {
    {.name = "base",
     .kind = OPTION_TEXT,
     .required = true,
     .argument = "FILE",
     .help = "checkpoint that the others were fine-tuned from"},
    {.name = "model",
     .kind = OPTION_TEXT,
     .many = true,
     .required = true,
     .argument = "NAME=FILE",
     .help = "fine-tuned checkpoint"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .required = true,
     .written = true,
     .endings = ".pth|.pt|.safetensors",
     .argument = "MERGED",
     .help = "where to write the winner (.pth or .safetensors)"},
    {.name = "plan-out",
     .kind = OPTION_TEXT,
     .written = true,
     .argument = "FILE",
     .help = "write the winner's plan"},
    {.name = "front",
     .kind = OPTION_TEXT,
     .written = true,
     .folder = true,
     .argument = "DIR",
     .help = "write the plans of the Pareto front, and the first checkpoints"},
    {.name = "front-checkpoints",
     .kind = OPTION_INT,
     .lower = 0,
     .upper = 1e6,
     .argument = "N",
     .help = "how many checkpoints of the front (3)"},
    {.name = "report",
     .kind = OPTION_TEXT,
     .written = true,
     .argument = "FILE.html",
     .help = "write a report"},
    {.name = "store",
     .kind = OPTION_TEXT,
     .argument = "FILE.db",
     .help = "keep the trials; the same command goes on where it stopped"},
    {.name = "trials",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 1e6,
     .argument = "N",
     .help = "merges to try (120)"},
    {.name = "methods",
     .kind = OPTION_TEXT,
     .argument = "LIST",
     .help = "merge methods of docs/methods.md, with commas (linear,task_arithmetic,ties,slerp)"},
    {.name = "optimizer",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     .help = "smac, parego, random or sobol (smac for one task, parego for several)"},
    {.name = "set",
     .kind = OPTION_TEXT,
     .many = true,
     .argument = "KEY=VALUE",
     .help = "option of the optimizer, as in smac.trees=20"},
    {.name = "granularity",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 4,
     .argument = "G",
     .help = "encoder blocks that share one group (2)"},
    {.name = "prompt-granularity",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 4,
     .argument = "G",
     .help = "the same for the rows of the prompt encoder (1)"},
    {.name = "decoder-granularity",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 4,
     .argument = "G",
     .help = "the same for the rows of the mask decoder (1)"},
    {.name = "keep-dead-groups",
     .kind = OPTION_FLAG,
     .help = "search groups that cannot change a mask, too"},
    DATASETS_OPTIONS,
    {0},
};

const program_verb verb_search = {
    .name = "search",
    .summary = "search the merge of best Dice on your images",
    .synopsis = "--base FILE --model NAME=FILE... --dataset DIR... [--task LABEL]... -o MERGED",
    .about =
        "Cuts the network into layer groups and searches the merge method and its parameters in\n"
        "every group. One task: SMAC on its Dice. Several tasks: ParEGO; the best mean is written,\n"
        "and the Pareto front with --front. Ctrl-C stops; with --store the same command goes on.",
    .options = options,
    .computes = true,
    .opens = true,
    .run = run,
};
