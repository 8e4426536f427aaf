/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix ask: the next merge to evaluate, for an evaluator of one's own in any language. */
#include "found.h"
#include "setup.h"

#include <string.h>

typedef struct asking {
    program *p;
    msx_device *device;
    msx_search *search;
    int64_t trial;
    msx_plan *plan;
} asking;

/* Begin a search of outside tasks, or go on with it. Nobody waits unless it is asked for. */
static int begin(asking *a) {
    program *p = a->p;
    if (!option_count(p, "task"))
        return program_usage(p, "--base begins a search; name its tasks with --task NAME");
    int code = program_device_named(p, "cpu", &a->device);
    if (!code) code = program_status(p, msx_search_create(&a->search, a->device));
    if (!code && !option_given(p, "order") && !option_given(p, "batch"))
        code = program_status(p, msx_search_set(a->search, "order", "free"));
    if (!code) code = setup_search(p, a->search);
    for (size_t i = 0; !code && i < option_count(p, "task"); i++)
        code = program_status(p, msx_search_add_outside_task(a->search, option_at(p, "task", i)));
    return code;
}

/* Go on with whatever search the store is of. */
static int join(asking *a) {
    static const char *const own[] = {"lease", "worker", "trials"};
    program *p = a->p;
    found f;
    if (option_count(p, "model") || option_count(p, "task"))
        return program_usage(p, "--model and --task begin a search, with --base; without them the "
                                "store says what is searched");
    int code = found_open(&f, p, &a->device);
    a->search = f.search;
    for (size_t i = 0; !code && i < sizeof own / sizeof *own; i++)
        if (option_given(p, own[i]))
            code = program_status(p, msx_search_set(a->search, own[i], option_text(p, own[i])));
    return code;
}

static int print(const asking *a) {
    program *p = a->p;
    const char *origin = msx_search_trial_origin(a->search, a->trial);
    if (p->json)
        return program_json(p, json_pack("{s:I, s:s, s:s}", "trial", (json_int_t)a->trial, "origin",
                                         origin, "plan", msx_plan_text(a->plan)));
    printf("%lld\n", (long long)a->trial);
    if (!option_given(p, "plan-out") && !option_given(p, "output") && !p->quiet)
        printf("%s", msx_plan_text(a->plan));
    return PROGRAM_DONE;
}

/* Why there is no trial; not a failure, so a loop can end by the exit code alone. */
static int no_trial(const asking *a, msx_status status) {
    program *p = a->p;
    bool waiting = status == MSX_DONE_WAIT;
    if (!waiting && p->json)
        return program_json(p, json_pack("{s:n, s:s}", "trial", "done", msx_status_name(status)));
    if (waiting)
        return program_fail(p, PROGRAM_INTERRUPTED,
                            "trials that others evaluate must be told first; ask again later");
    if (!p->quiet) printf("done\n");
    return PROGRAM_DONE;
}

static int ask(asking *a) {
    program *p = a->p;
    int code = option_given(p, "base") ? begin(a) : join(a);
    if (code) return code;
    msx_status status = msx_search_ask(a->search, &a->trial);
    if (status > 0) return no_trial(a, status);
    if (status >= 0) status = msx_search_trial_plan(&a->plan, a->search, a->trial);
    if (status >= 0 && (option_given(p, "output") || option_given(p, "plan-out")))
        status = msx_search_write(a->search, a->trial, option_text(p, "output"),
                                  option_text(p, "plan-out"));
    return status < 0 ? program_status(p, status) : print(a);
}

static int run(program *p) {
    asking a = {.p = p};
    int code = ask(&a);
    msx_plan_free(a.plan);
    msx_search_free(a.search);
    msx_device_free(a.device);
    return code;
}

#define NUMBER(option, low, high, word, text)                                                      \
    {                                                                                              \
        .name = option, .kind = OPTION_INT, .lower = low, .upper = high, .argument = word,         \
        .help = text                                                                               \
    }
#define TEXT(option, word, text)                                                                   \
    { .name = option, .kind = OPTION_TEXT, .argument = word, .help = text }

static const program_option options[] = {
    {.name = "store",
     .kind = OPTION_TEXT,
     .required = true,
     .argument = "STORE",
     .help = "of the search: FILE.db or postgresql://USER@HOST/DATABASE#STUDY"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .written = true,
     .endings = ".pth|.pt|.safetensors",
     .argument = "MERGED",
     .help = "write the merged checkpoint to evaluate"},
    {.name = "plan-out",
     .kind = OPTION_TEXT,
     .written = true,
     .argument = "FILE",
     .help = "write its plan"},
    NUMBER("lease", 1, 86400, "SECONDS", "after which others may be given the same trial (60)"),
    TEXT("worker", "NAME", "who asks, for the store"),
    NUMBER("trials", 1, 1e6, "N", "how many trials in all (120)"),
    TEXT("base", "FILE", "begin a search: checkpoint that the others were fine-tuned from"),
    {.name = "model",
     .kind = OPTION_TEXT,
     .many = true,
     .argument = "NAME=FILE",
     .help = "fine-tuned checkpoint"},
    {.name = "task",
     .kind = OPTION_TEXT,
     .many = true,
     .argument = "NAME",
     .help = "what you evaluate; several: a Pareto search"},
    TEXT("methods", "LIST", "merge methods (linear,task_arithmetic,ties,slerp)"),
    TEXT("optimizer", "NAME", "smac for one task, parego for several"),
    {.name = "set",
     .kind = OPTION_TEXT,
     .many = true,
     .argument = "KEY=VALUE",
     .help = "option of the optimizer, as in smac.trees=20"},
    NUMBER("seed", 0, 9e15, "S", "of the optimizer (0)"),
    TEXT("granularity", "G", "encoder blocks that share one group; auto: searched, too (2)"),
    TEXT("prompt-granularity", "G", "the same for the rows of the prompt encoder (1)"),
    TEXT("decoder-granularity", "G", "the same for the rows of the mask decoder (1)"),
    TEXT("groups", "FILE", "a YAML file whose 'define' names groups of your own"),
    {.name = "keep-dead-groups",
     .kind = OPTION_FLAG,
     .help = "search groups that cannot change a mask under box prompts, too"},
    NUMBER("batch", 1, 1024, "B", "trials that are proposed from the same results"),
    {.name = "order",
     .kind = OPTION_TEXT,
     .argument = "ORDER",
     .choices = "batch|free",
     .help = "free: nobody waits; batch: the same trials for any number of askers (free)"},
    {0},
};

const program_verb verb_ask = {
    .name = "ask",
    .summary = "the next merge to evaluate with an evaluator of your own",
    .synopsis = "--store STORE [-o MERGED] [--plan-out FILE]\n"
                "--store STORE --base FILE --model NAME=FILE... --task NAME... [-o MERGED]",
    .about =
        "Prints the number of a trial, and its plan unless that is written to a file; evaluate it\n"
        "and say what it is worth with 'medsamix tell'. With --base a search begins (the same\n"
        "command goes on with it); otherwise the store says what is searched. Prints 'done' when\n"
        "there is nothing left; exit code 75: others must tell their trials first.",
    .options = options,
    .run = run,
};
