/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix tell: what a merge that was asked for is worth. */
#include "found.h"

#include <stdlib.h>
#include <string.h>

typedef struct telling {
    program *p;
    msx_device *device;
    found found;
    double *costs;
} telling;

static int64_t find_task(const msx_search *s, const char *name) {
    for (int64_t t = 0; t < msx_search_task_count(s); t++)
        if (!strcmp(msx_search_task(s, t), name)) return t;
    return -1;
}

static int unknown_task(telling *t, const char *name) {
    int64_t n = msx_search_task_count(t->found.search);
    const char **names = calloc((size_t)n, sizeof *names);
    if (!names) return program_fail(t->p, PROGRAM_LIMIT, "out of memory");
    for (int64_t i = 0; i < n; i++) names[i] = msx_search_task(t->found.search, i);
    const char *closest = msx_closest_name(name, names, (size_t)n);
    int code = closest ? program_usage(t->p, "unknown task '%s'; did you mean '%s'?", name, closest)
                       : program_usage(t->p, "unknown task '%s'", name);
    free(names);
    return code;
}

/* "0.81", where there is one task, or "NAME=0.81". */
static int read_dice(telling *t, size_t i) {
    program *p = t->p;
    const char *name, *text;
    double dice;
    int code = option_pair(p, "dice", i, &name, &text);
    if (!code) code = option_numbers(p, "dice", text, &dice, 1);
    if (code) return code;
    int64_t tasks = msx_search_task_count(t->found.search);
    if (!name && tasks > 1)
        return program_usage(p, "--dice %s: of which of %lld tasks? write NAME=%s", text,
                             (long long)tasks, text);
    int64_t task = name ? find_task(t->found.search, name) : 0;
    if (task < 0) return unknown_task(t, name);
    if (!(dice >= 0 && dice <= 1))
        return program_usage(p,
                             "--dice: %s is not from 0 to 1; a trial without a value has failed: "
                             "--failed WHY",
                             text);
    if (t->costs[task] >= 0)
        return program_usage(p, "--dice: task '%s' is given twice",
                             msx_search_task(t->found.search, task));
    t->costs[task] = 1 - dice;
    return PROGRAM_DONE;
}

static int read_costs(telling *t) {
    const msx_search *s = t->found.search;
    int64_t tasks = msx_search_task_count(s);
    t->costs = calloc((size_t)tasks, sizeof *t->costs);
    if (!t->costs) return program_fail(t->p, PROGRAM_LIMIT, "out of memory");
    for (int64_t i = 0; i < tasks; i++) t->costs[i] = -1;
    for (size_t i = 0; i < option_count(t->p, "dice"); i++) {
        int code = read_dice(t, i);
        if (code) return code;
    }
    for (int64_t i = 0; i < tasks; i++)
        if (t->costs[i] < 0)
            return program_usage(t->p, "--dice %s=VALUE is missing", msx_search_task(s, i));
    return PROGRAM_DONE;
}

static int tell(telling *t) {
    program *p = t->p;
    bool failed = option_given(p, "failed");
    if (failed == option_given(p, "dice"))
        return program_usage(p, "either --dice or --failed says how the trial ended");
    int code = found_open(&t->found, p, &t->device);
    if (!code && !failed) code = read_costs(t);
    int64_t trial = option_int(p, "trial", -1);
    if (!code)
        code = program_status(
            p, msx_search_tell(t->found.search, trial, t->costs, option_text(p, "failed")));
    if (code || !p->json) return code;
    return program_json(p, json_pack("{s:I, s:I}", "trial", (json_int_t)trial, "best",
                                     (json_int_t)msx_search_best(t->found.search)));
}

static int run(program *p) {
    telling t = {.p = p};
    int code = tell(&t);
    free(t.costs);
    msx_search_free(t.found.search);
    msx_device_free(t.device);
    return code;
}

static const program_option options[] = {
    {.name = "store",
     .kind = OPTION_TEXT,
     .required = true,
     .argument = "STORE",
     .help = "of the search: FILE.db or postgresql://USER@HOST/DATABASE#STUDY"},
    {.name = "trial",
     .kind = OPTION_INT,
     .required = true,
     .lower = 0,
     .upper = 1e6,
     .argument = "N",
     .help = "number that ask printed"},
    {.name = "dice",
     .kind = OPTION_TEXT,
     .many = true,
     .argument = "[TASK=]DICE",
     .help = "Dice, or any figure from 0 to 1 that is better when larger; one per task"},
    {.name = "failed", .kind = OPTION_TEXT, .argument = "WHY", .help = "it could not be evaluated"},
    {0},
};

const program_verb verb_tell = {
    .name = "tell",
    .summary = "what a merge that was asked for is worth",
    .synopsis = "--store STORE --trial N --dice [TASK=]DICE... | --failed WHY",
    .about =
        "The counterpart of 'medsamix ask'. The first answer for a trial counts; a later one is an\n"
        "error and changes nothing.",
    .options = options,
    .run = run,
};
