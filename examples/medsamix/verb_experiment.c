/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix experiment: the experiments of the MedSAMix paper (arXiv 2508.11032) on any data. */
#include "datasets.h"
#include "experiment.h"
#include "setup.h"

#include <stdlib.h>
#include <string.h>

int study_status(study *s, msx_status status) {
    return status == MSX_E_CANCELLED ? PROGRAM_INTERRUPTED : program_status(s->p, status);
}

/* ---- what is asked for ------------------------------------------------------------------------------- */

static size_t count_experiments(void) {
    size_t n = 0;
    while (experiments[n]) n++;
    return n;
}

static int unknown_kind(program *p, const char *name) {
    const char *names[16];
    size_t n = count_experiments();
    for (size_t i = 0; i < n; i++) names[i] = experiments[i]->name;
    names[n] = "all";
    const char *closest = msx_closest_name(name, names, n + 1);
    return closest ? program_usage(p, "unknown experiment '%s'; did you mean '%s'?", name, closest)
                   : program_usage(p, "unknown experiment '%s'", name);
}

/* Experiment i is one of the words, or all are. */
static bool wanted(const program *p, size_t i) {
    for (int k = 0; k < p->n_arguments; k++)
        if (!strcmp(p->arguments[k], "all") || !strcmp(p->arguments[k], experiments[i]->name))
            return true;
    return false;
}

static int check_kinds(program *p) {
    for (int k = 0; k < p->n_arguments; k++) {
        size_t i = 0;
        while (experiments[i] && strcmp(p->arguments[k], experiments[i]->name) != 0) i++;
        if (!experiments[i] && strcmp(p->arguments[k], "all") != 0)
            return unknown_kind(p, p->arguments[k]);
        if (option_given(p, "values") &&
            (p->n_arguments > 1 || !experiments[i] || !experiments[i]->takes_values))
            return program_usage(p,
                                 "--values belongs to one of granularity, tasks or models alone");
    }
    return PROGRAM_DONE;
}

static int read_models(study *s) {
    program *p = s->p;
    s->n_models = option_count(p, "model") + 1;
    s->names = calloc(s->n_models, sizeof *s->names);
    s->files = calloc(s->n_models, sizeof *s->files);
    if (!s->names || !s->files) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    if (s->n_models > 64) return program_usage(p, "--model: more than 63 models");
    s->names[0] = "base";
    s->files[0] = option_text(p, "base");
    for (size_t i = 1; i < s->n_models; i++) {
        int code = option_pair(p, "model", i - 1, &s->names[i], &s->files[i]);
        if (code) return code;
        if (!s->names[i])
            return program_usage(p, "--model: '%s' has no name; write NAME=FILE", s->files[i]);
    }
    return PROGRAM_DONE;
}

static bool has_cases(const study *s) {
    for (size_t i = 0; i < s->list.n_datasets; i++)
        if (msx_dataset_case_count(s->list.datasets[i], s->split)) return true;
    return false;
}

static int set_up(study *s) {
    program *p = s->p;
    s->folder = option_text(p, "output");
    s->granularity = option_or(p, "granularity", "2");
    s->seed = option_int(p, "seed", 0);
    s->repeats = option_int(p, "repeats", 1);
    s->split =
        strcmp(option_or(p, "split", "test"), "test") ? MSX_SPLIT_CALIBRATION : MSX_SPLIT_TEST;
    int code = check_kinds(p);
    if (!code) code = read_models(s);
    if (!code) code = datasets_options(p, &s->eval);
    if (!code) code = study_list_read(p, option_text(p, "list"), &s->list);
    if (!code && !has_cases(s))
        code = program_fail(p, PROGRAM_INPUT,
                            "no data set of the list has test images (imagesTs); add "
                            "some, or report with --split calibration");
    return code ? code : setup_device(p, &s->device);
}

/* ---- running ----------------------------------------------------------------------------------------- */

static int tell(study *s, const experiment *e, json_t *all) {
    section x = {0};
    int code = e->tell(s, &x);
    if (!code) code = section_write(s, e, &x);
    json_t *sheets = json_array();
    for (size_t i = 0; !code && i < x.n_sheets; i++) {
        if (s->p->json)
            json_array_append_new(sheets, sheet_json(x.sheets[i]));
        else
            code = sheet_print(s->p, x.sheets[i]);
    }
    json_object_set_new(all, e->name, sheets);
    section_free(&x);
    return code;
}

static int run_study(study *s) {
    int code = set_up(s);
    size_t n = count_experiments();
    for (size_t i = 0; !code && i < n; i++) {
        s->current = (int)i;
        if (wanted(s->p, i)) code = experiments[i]->plan(s);
    }
    if (!code) code = study_run(s);
    json_t *all = json_object();
    for (size_t i = 0; !code && i < n; i++) {
        s->current = (int)i;
        if (wanted(s->p, i)) code = tell(s, experiments[i], all);
    }
    if (!code && s->p->json) return program_json(s->p, all);
    json_decref(all);
    if (!code && !s->p->quiet) printf("%s/report.html\n", s->folder);
    return code;
}

static int run(program *p) {
    study s = {.p = p};
    int code = run_study(&s);
    if (code == PROGRAM_INTERRUPTED)
        program_fail(p, code, "interrupted; run the same command again to go on");
    study_scores_free(&s);
    study_cells_free(&s);
    study_list_free(&s.list);
    msx_device_free(s.device);
    free(s.names);
    free(s.files);
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
    {.name = "list",
     .kind = OPTION_TEXT,
     .required = true,
     .argument = "FILE",
     .help = "data sets and labels, one data set on each line"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .required = true,
     .written = true,
     .folder = true,
     .argument = "DIR",
     .help = "folder for stores, tables and the report; what is there is continued"},
    {.name = "values",
     .kind = OPTION_TEXT,
     .argument = "LIST",
     .help = "granularities, numbers of tasks, or models joined by +, with commas (all)"},
    {.name = "repeats",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 100,
     .argument = "N",
     .help = "seeds for each point of granularity, tasks and models (1)"},
    {.name = "split",
     .kind = OPTION_TEXT,
     .argument = "SPLIT",
     .choices = "calibration|test",
     .help = "images that are reported: calibration or test (test)"},
    SETUP_OPTIONS,
    EVALUATION_OPTIONS,
    {0},
};

const program_verb verb_experiment = {
    .name = "experiment",
    .summary = "the experiments of the paper, on your models and data",
    .synopsis = "KIND... --base FILE --model NAME=FILE... --list FILE -o DIR",
    .about =
        "KIND is one or more of\n"
        "  tasks-table   Dice per task: inputs, a search for each task, one for all (Table 1)\n"
        "  uniform       against the same method everywhere (Tables 2 and 4)\n"
        "  front         the three best members of the Pareto front (Table 4)\n"
        "  architecture  method and values of each layer group (Table 5)\n"
        "  granularity   1 to 4 encoder blocks in a group (Fig. 4)\n"
        "  tasks         number of tasks searched for (Fig. 4)\n"
        "  models        combinations of fine-tuned models (Fig. 4)\n"
        "or all. Tables are printed and written as DIR/*.csv, all of it as DIR/report.html; every\n"
        "search has a store and a page of its own in DIR/cells. Ctrl-C stops; the same command goes\n"
        "on. Searches that several experiments need are run once.",
    .options = options,
    .min_arguments = 1,
    .max_arguments = -1,
    .computes = true,
    .run = run,
};
