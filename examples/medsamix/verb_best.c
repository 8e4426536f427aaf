/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix best and medsamix front: what the search in a store has found. */
#include "found.h"

#include <stdlib.h>

typedef int (*tell_fn)(found *f);

static int run_with(program *p, tell_fn tell) {
    msx_device *device = NULL;
    found f;
    int code = found_open(&f, p, &device);
    if (!code) code = found_read(&f);
    if (!code) code = tell(&f);
    found_free(&f);
    msx_search_free(f.search);
    msx_device_free(device);
    return code;
}

/* ---- best -------------------------------------------------------------------------------------- */

static int tell_best(found *f) {
    program *p = f->p;
    int64_t best = f->front[0];
    if (option_given(p, "output") || option_given(p, "plan-out")) {
        msx_status status =
            msx_search_write(f->search, best, option_text(p, "output"), option_text(p, "plan-out"));
        if (status < 0) return program_status(p, status);
    }
    if (!p->json) return found_table(f, 1);
    msx_plan *plan;
    msx_status status = msx_search_trial_plan(&plan, f->search, best);
    if (status < 0) return program_status(p, status);
    json_t *object = found_trial_json(f, best);
    if (object && json_object_set_new(object, "plan", json_string(msx_plan_text(plan))) < 0) {
        json_decref(object);
        object = NULL;
    }
    msx_plan_free(plan);
    return program_json(p, object);
}

static int run_best(program *p) {
    return run_with(p, tell_best);
}

#define STORE                                                                                      \
    {                                                                                              \
        .name = "store", .kind = OPTION_TEXT, .required = true, .argument = "STORE",               \
        .help = "of the search: FILE.db or postgresql://USER@HOST/DATABASE#STUDY"                  \
    }

static const program_option best_options[] = {
    STORE,
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .written = true,
     .endings = ".pth|.pt|.safetensors",
     .argument = "MERGED",
     .help = "write the merged checkpoint; the models must be where they were"},
    {.name = "plan-out",
     .kind = OPTION_TEXT,
     .written = true,
     .argument = "FILE",
     .help = "write its plan"},
    {0},
};

const program_verb verb_best = {
    .name = "best",
    .summary = "the best merge in a store",
    .synopsis = "--store STORE [-o MERGED] [--plan-out FILE]",
    .about = "Dice per task of the best trial so far, also while the search goes on.",
    .options = best_options,
    .run = run_best,
};

/* ---- front ------------------------------------------------------------------------------------- */

static int print_front(const found *f) {
    int64_t tasks = msx_search_task_count(f->search);
    const char **heads = calloc((size_t)tasks + 3, sizeof *heads);
    if (!heads) return program_fail(f->p, PROGRAM_LIMIT, "out of memory");
    size_t columns = 0;
    heads[columns++] = ">trial";
    if (tasks > 1) heads[columns++] = ">mean";
    for (int64_t t = 0; t < tasks; t++) heads[columns++] = msx_search_task(f->search, t);
    table *t = table_create(heads, columns);
    for (int64_t i = 0; i < f->n_front; i++) {
        const double *costs = msx_search_trial_costs(f->search, f->front[i]);
        table_cell(t, "%lld", (long long)f->front[i]);
        if (tasks > 1) table_number(t, found_mean_dice(f, f->front[i]), 4);
        for (int64_t k = 0; k < tasks; k++) table_number(t, 1 - costs[k], 4);
    }
    int code = table_print(f->p, t);
    table_free(t);
    free(heads);
    return code;
}

static int tell_front(found *f) {
    program *p = f->p;
    if (option_given(p, "output")) {
        int code = found_write_front(f, option_text(p, "output"),
                                     option_int(p, "checkpoints", FOUND_COLUMNS));
        if (code) return code;
    }
    return p->json ? program_json(p, json_pack("{s:o}", "front", found_front_json(f)))
                   : print_front(f);
}

static int run_front(program *p) {
    return run_with(p, tell_front);
}

static const program_option front_options[] = {
    STORE,
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .written = true,
     .folder = true,
     .argument = "DIR",
     .help = "write the members' plans, and the first checkpoints"},
    {.name = "checkpoints",
     .kind = OPTION_INT,
     .lower = 0,
     .upper = 1e6,
     .argument = "N",
     .help = "how many checkpoints (3); the models must be where they were"},
    {0},
};

const program_verb verb_front = {
    .name = "front",
    .summary = "the Pareto front in a store",
    .synopsis = "--store STORE [-o DIR [--checkpoints N]]",
    .about =
        "Dice per task of every merge that no other is better than on all tasks; best mean first.",
    .options = front_options,
    .run = run_front,
};
