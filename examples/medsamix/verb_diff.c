/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix diff: how far two checkpoints are apart, or two and their base, by layer group. */
#include "program.h"

#include <math.h>
#include <stdlib.h>

enum { MODELS = 3 }; /* at most: a base and two models */

/* Everything that run() has to release. */
typedef struct job {
    int n; /* models given, 2 or 3 */
    msx_checkpoint *models[MODELS];
    msx_arch *arch;
    msx_groups *groups;
    msx_group_diff *diffs[MODELS]; /* of the first model to model i */
    msx_group_tasks *tasks;        /* with three models */
} job;

static msx_status compare(program *p, job *j) {
    msx_granularity granularity = {sizeof granularity, (int)option_int(p, "granularity", 1), 1, 1};
    msx_status status = MSX_OK;
    for (int i = 0; i < j->n && status >= 0; i++)
        status = msx_checkpoint_open(&j->models[i], p->ctx, p->arguments[i]);
    if (status >= 0) status = msx_arch_infer(&j->arch, p->ctx, j->models[0]);
    if (status >= 0) status = msx_groups_create(&j->groups, p->ctx, j->arch, &granularity);
    for (int i = 1; i < j->n && status >= 0; i++) {
        j->diffs[i] = calloc((size_t)msx_groups_count(j->groups) + 1, sizeof *j->diffs[i]);
        if (!j->diffs[i]) return MSX_E_NOMEM;
        j->diffs[i]->struct_size = sizeof *j->diffs[i];
        status = msx_diff(j->diffs[i], p->ctx, j->models[0], j->models[i], j->groups);
    }
    if (status < 0 || j->n < MODELS) return status;
    j->tasks = calloc((size_t)msx_groups_count(j->groups) + 1, sizeof *j->tasks);
    if (!j->tasks) return MSX_E_NOMEM;
    j->tasks->struct_size = sizeof *j->tasks;
    return msx_diff_tasks(j->tasks, p->ctx, j->models[0], j->models[1], j->models[2], j->groups);
}

/* NaN when no element was changed by both. */
static double sign_agreement(const msx_group_tasks *t) {
    return t->both ? (double)t->agree / (double)t->both : NAN;
}

/* ---- two models --------------------------------------------------------------------------------- */

static json_t *distances(const msx_group_diff *d) {
    return json_pack("{s:o, s:o, s:b}", "relative_l2", json_number(d->relative_l2), "cosine",
                     json_number(d->cosine), "equal", (int)d->equal);
}

static int print_json(program *p, const job *j) {
    json_t *groups = json_array();
    for (int64_t i = 0; i < msx_groups_count(j->groups); i++) {
        const msx_group_diff *d = &j->diffs[1][i];
        json_t *group = distances(d);
        json_object_set_new(group, "group", json_string(msx_groups_name(j->groups, i)));
        json_object_set_new(group, "elements", json_integer(d->elements));
        json_array_append_new(groups, group);
    }
    return program_json(p, json_pack("{s:s, s:s, s:o}", "a", p->arguments[0], "b", p->arguments[1],
                                     "groups", groups));
}

static int print_table(program *p, const job *j) {
    table *t = table_create(
        (const char *const[]){"group", ">elements", ">relative L2", ">cosine", "bits"}, 5);
    for (int64_t i = 0; i < msx_groups_count(j->groups); i++) {
        const msx_group_diff *d = &j->diffs[1][i];
        table_cell(t, "%s", msx_groups_name(j->groups, i));
        table_cell(t, "%lld", (long long)d->elements);
        table_cell(t, "%.4g", d->relative_l2);
        table_number(t, d->cosine, 6);
        table_cell(t, "%s", d->equal ? "equal" : "differ");
    }
    int code = table_print(p, t);
    table_free(t);
    return code;
}

/* ---- a base and two models ---------------------------------------------------------------------- */

static int print_tasks_json(program *p, const job *j) {
    json_t *groups = json_array(), *same = json_array();
    for (int64_t i = 0; i < msx_groups_count(j->groups); i++) {
        const msx_group_tasks *t = &j->tasks[i];
        const char *name = msx_groups_name(j->groups, i);
        if (t->equal) json_array_append_new(same, json_string(name));
        json_array_append_new(
            groups,
            json_pack("{s:s, s:I, s:o, s:o, s:I, s:o, s:o, s:I, s:I, s:b}", "group", name,
                      "elements", (json_int_t)t->elements, "a", distances(&j->diffs[1][i]), "b",
                      distances(&j->diffs[2][i]), "changed_by_both", (json_int_t)t->both,
                      "sign_agreement", json_number(sign_agreement(t)), "task_cosine",
                      json_number(t->cosine), "tensors", (json_int_t)t->tensors, "colinear",
                      (json_int_t)t->colinear, "equal", (int)t->equal));
    }
    return program_json(p, json_pack("{s:s, s:s, s:s, s:o, s:o}", "base", p->arguments[0], "a",
                                     p->arguments[1], "b", p->arguments[2], "equal_groups", same,
                                     "groups", groups));
}

static int print_tasks(program *p, const job *j) {
    table *t =
        table_create((const char *const[]){"group", ">elements", ">relative L2 of A", ">of B",
                                           ">sign agreement", ">task cosine", ">colinear", "bits"},
                     8);
    for (int64_t i = 0; i < msx_groups_count(j->groups); i++) {
        const msx_group_tasks *d = &j->tasks[i];
        table_cell(t, "%s", msx_groups_name(j->groups, i));
        table_cell(t, "%lld", (long long)d->elements);
        table_cell(t, "%.4g", j->diffs[1][i].relative_l2);
        table_cell(t, "%.4g", j->diffs[2][i].relative_l2);
        table_number(t, sign_agreement(d), 4);
        table_number(t, d->cosine, 4);
        table_cell(t, "%lld/%lld", (long long)d->colinear, (long long)d->tensors);
        table_cell(t, "%s", d->equal ? "equal" : "differ");
    }
    int code = table_print(p, t);
    table_free(t);
    return code;
}

static int run(program *p) {
    job j = {.n = p->n_arguments};
    int code = program_status(p, compare(p, &j));
    if (!code && j.n == MODELS)
        code = p->json ? print_tasks_json(p, &j) : print_tasks(p, &j);
    else if (!code)
        code = p->json ? print_json(p, &j) : print_table(p, &j);
    free(j.tasks);
    for (int i = 0; i < MODELS; i++) free(j.diffs[i]);
    msx_groups_free(j.groups);
    msx_arch_free(j.arch);
    for (int i = 0; i < MODELS; i++) msx_checkpoint_free(j.models[i]);
    return code;
}

static const program_option options[] = {
    {.name = "granularity",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 4,
     .argument = "N",
     .help = "encoder blocks per group, 1 to 4 (1)"},
    {0},
};

const program_verb verb_diff = {
    .name = "diff",
    .summary = "compare two checkpoints, or two and their base, by layer group",
    .synopsis = "A B\n       medsamix diff BASE A B",
    .about = "For every layer group: |B - A| / |A|, the cosine between A and B, and whether all\n"
             "bits are equal. Groups that are equal in all models need no merging. With a base\n"
             "first, also: the share of elements changed by both models that both changed in the\n"
             "same direction, the cosine between the task vectors, and of how many tensors SLERP\n"
             "takes the straight line because A and B are colinear.",
    .options = options,
    .min_arguments = 2,
    .max_arguments = 3,
    .opens = true,
    .run = run,
};
