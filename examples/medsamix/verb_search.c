/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix search: find the merge of best Dice on the calibration images of some tasks. */
#include "datasets.h"
#include "found.h"
#include "setup.h"

#include <string.h>

typedef struct searching {
    program *p;
    datasets data;
    msx_device *device;
    msx_search *search;
    found found;
} searching;

/* ---- setting up ---------------------------------------------------------------------------------- */

/* --device may name several, for the workers in turn, one a device unless --workers says more; the first is
 * the search's own. */
static int make_search(searching *s) {
    program *p = s->p;
    const char *devices = option_or(p, "device", "cpu");
    char first[64], workers[24];
    int n = 1;
    for (const char *c = devices; (c = strchr(c, ',')); c++) n++;
    snprintf(workers, sizeof workers, "%d", n);
    snprintf(first, sizeof first, "%.*s", (int)strcspn(devices, ","), devices);
    int code = program_device_named(p, first, &s->device);
    if (!code) code = program_status(p, msx_search_create(&s->search, s->device));
    if (!code && n > 1)
        code = program_status(p, msx_search_set(s->search, "devices", devices));
    if (!code && n > 1)
        code = program_status(p, msx_search_set(s->search, "workers", workers));
    return code;
}

static int set_up(searching *s) {
    program *p = s->p;
    if (option_given(p, "report") && !option_given(p, "store"))
        return program_usage(p, "--report is made from the store; add --store FILE.db");
    if (!option_given(p, "output") && !option_given(p, "store"))
        return program_usage(p, "-o says where to write the winner; only with --store it may be "
                                "left out");
    int code = datasets_open(p, &s->data);
    if (!code) code = make_search(s);
    if (!code) code = setup_search(p, s->search);
    for (size_t i = 0; !code && i < s->data.n; i++)
        if (s->data.items[i].n)
            code =
                program_status(p, msx_search_add_tasks(s->search, s->data.items[i].dataset,
                                                       s->data.items[i].tasks, s->data.items[i].n));
    return code;
}

/* ---- writing ------------------------------------------------------------------------------------- */

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
    int code =
        program_status(p, msx_search_write(s->search, s->found.front[0], option_text(p, "output"),
                                           option_text(p, "plan-out")));
    if (!code && option_given(p, "front"))
        code = found_write_front(&s->found, option_text(p, "front"),
                                 option_int(p, "front-checkpoints", FOUND_COLUMNS));
    if (!code && option_given(p, "report")) code = write_report(s, option_text(p, "report"));
    return code;
}

/* ---- telling ------------------------------------------------------------------------------------- */

static int print_table(searching *s) {
    int64_t tasks = msx_search_task_count(s->search);
    int code = found_table(&s->found, tasks == 1 ? 1 : FOUND_COLUMNS);
    if (code || s->p->quiet) return code;
    int64_t best = s->found.front[0];
    printf("\nDice on the calibration images; best of %lld trials: trial %lld (%s)",
           (long long)msx_search_trials(s->search), (long long)best,
           msx_search_trial_origin(s->search, best));
    if (tasks > 1) printf("; %lld on the Pareto front", (long long)s->found.n_front);
    printf("; preset '%s'\n", option_or(s->p, "preset", "sam"));
    return PROGRAM_DONE;
}

static int print_json(searching *s) {
    return program_json(s->p, json_pack("{s:I, s:s, s:s?, s:o, s:o}", "trials",
                                        (json_int_t)msx_search_trials(s->search), "preset",
                                        option_or(s->p, "preset", "sam"), "output",
                                        option_text(s->p, "output"), "best",
                                        found_trial_json(&s->found, s->found.front[0]), "front",
                                        found_front_json(&s->found)));
}

static int interrupted(searching *s) {
    program *p = s->p;
    long long n = 0;
    for (int64_t i = 0; i < msx_search_trials(s->search); i++)
        n += msx_search_trial_state(s->search, i) != MSX_TRIAL_RUNNING;
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
    s->found = (found){.p = s->p, .search = s->search};
    if (!code) code = found_read(&s->found);
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
    found_free(&s.found);
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
     .written = true,
     .endings = ".pth|.pt|.safetensors",
     .argument = "MERGED",
     .help = "where to write the winner (.pth or .safetensors); a worker needs none"},
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
     .argument = "STORE",
     .help =
         "keep the trials in FILE.db or postgresql://USER@HOST/DATABASE#STUDY; the same command "
         "goes on where it stopped, and several may run at once"},
    {.name = "workers",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 256,
     .argument = "N",
     .help = "trials to run at once in this process; --device NAME,NAME gives them devices in turn "
             "(1)"},
    {.name = "batch",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 1024,
     .argument = "B",
     .help = "trials that are proposed from the same results, so that B can run at once (the "
             "store's, or --workers)"},
    {.name = "order",
     .kind = OPTION_TEXT,
     .argument = "ORDER",
     .choices = "batch|free",
     .help = "batch: the same trials for any number of workers; free: nobody waits (batch)"},
    {.name = "lease",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 86400,
     .argument = "SECONDS",
     .help = "after which others take over the trial of a worker that is gone (60)"},
    {.name = "worker",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     .help = "name in the store instead of the machine's"},
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
        "and the Pareto front with --front. Ctrl-C stops; with --store the same command goes on,\n"
        "and the same command elsewhere helps (docs/scaling.md).",
    .options = options,
    .computes = true,
    .run = run,
};
