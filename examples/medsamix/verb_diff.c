/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix diff: how far checkpoints are apart, or several and their base, by layer group. */
#include "diff.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- comparing ---------------------------------------------------------------------------------- */

/* Entries for all groups, `size` bytes each, that begin with struct_size. */
static void *make_entries(const diff *d, size_t size) {
    size_t *entries = calloc((size_t)d->n_groups + 1, size);
    if (entries) *entries = size;
    return entries;
}

static msx_status open_models(program *p, diff *d) {
    msx_granularity granularity = {sizeof granularity, (int)option_int(p, "granularity", 1), 1, 1};
    msx_status status = MSX_OK;
    for (int i = 0; i < d->n && status >= 0; i++)
        status = msx_checkpoint_open(&d->models[i], p->ctx, d->paths[i]);
    if (status >= 0) status = msx_arch_infer(&d->arch, p->ctx, d->models[0]);
    if (status >= 0) status = msx_groups_create(&d->groups, p->ctx, d->arch, &granularity);
    d->n_groups = msx_groups_count(d->groups);
    return status;
}

static msx_status compare_pairs(program *p, diff *d) {
    for (int a = 1; a < d->n; a++)
        for (int b = a + 1; b < d->n; b++) {
            diff_pair *pair = &d->pairs[d->n_pairs];
            *pair = (diff_pair){a, b, make_entries(d, sizeof *pair->groups)};
            if (!pair->groups) return MSX_E_NOMEM;
            d->n_pairs++;
            msx_status status = msx_diff_tasks(pair->groups, p->ctx, d->models[0], d->models[a],
                                               d->models[b], d->groups);
            if (status < 0) return status;
        }
    return MSX_OK;
}

static msx_status compare(program *p, diff *d) {
    msx_status status = open_models(p, d);
    for (int i = 1; i < d->n && status >= 0; i++) {
        d->distances[i] = make_entries(d, sizeof *d->distances[i]);
        if (!d->distances[i]) return MSX_E_NOMEM;
        status = msx_diff(d->distances[i], p->ctx, d->models[0], d->models[i], d->groups);
    }
    return status < 0 ? status : compare_pairs(p, d);
}

diff_effect diff_effect_of(const diff *d, int64_t group) {
    bool equal = true, reached_equal = true;
    for (int i = 1; i < d->n; i++) {
        equal &= d->distances[i][group].equal != 0;
        reached_equal &= d->distances[i][group].reached_equal != 0;
    }
    return equal ? DIFF_EQUAL : reached_equal ? DIFF_UNREACHED : DIFF_REACHED;
}

double diff_sign_agreement(const msx_group_tasks *t) {
    return t->both ? (double)t->agree / (double)t->both : NAN;
}

const char *diff_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static const char *const effects[] = {"equal", "no effect", "effect"};

/* ---- as JSON ------------------------------------------------------------------------------------ */

static json_t *distances_json(const msx_group_diff *d) {
    return json_pack("{s:o, s:o, s:b}", "relative_l2", json_number(d->relative_l2), "cosine",
                     json_number(d->cosine), "equal", (int)d->equal);
}

static json_t *pairs_json(const diff *d, int64_t group) {
    json_t *pairs = json_array();
    for (int k = 0; k < d->n_pairs; k++) {
        const msx_group_tasks *t = &d->pairs[k].groups[group];
        json_array_append_new(
            pairs, json_pack("{s:s, s:s, s:I, s:o, s:o, s:I, s:I}", "a", d->paths[d->pairs[k].a],
                             "b", d->paths[d->pairs[k].b], "changed_by_both", (json_int_t)t->both,
                             "sign_agreement", json_number(diff_sign_agreement(t)), "task_cosine",
                             json_number(t->cosine), "tensors", (json_int_t)t->tensors, "colinear",
                             (json_int_t)t->colinear));
    }
    return pairs;
}

static json_t *group_json(const diff *d, int64_t i) {
    static const char *const names[] = {"equal", "unreached", "reached"};
    json_t *group = json_pack("{s:s, s:I, s:I, s:s}", "group", msx_groups_name(d->groups, i),
                              "elements", (json_int_t)msx_groups_elements(d->groups, i),
                              "reached_by_boxes", (json_int_t)msx_groups_reached(d->groups, i),
                              "box_prompts", names[diff_effect_of(d, i)]);
    if (d->n == 2) {
        json_t *two = distances_json(&d->distances[1][i]);
        json_object_update(group, two);
        json_decref(two);
        return group;
    }
    json_t *models = json_array();
    for (int k = 1; k < d->n; k++) {
        json_t *one = distances_json(&d->distances[k][i]);
        json_object_set_new(one, "file", json_string(d->paths[k]));
        json_array_append_new(models, one);
    }
    json_object_set_new(group, "models", models);
    json_object_set_new(group, "pairs", pairs_json(d, i));
    return group;
}

static int print_json(program *p, const diff *d) {
    json_t *groups = json_array(), *equal = json_array(), *unreached = json_array();
    for (int64_t i = 0; i < d->n_groups; i++) {
        diff_effect effect = diff_effect_of(d, i);
        json_t *name = json_string(msx_groups_name(d->groups, i));
        if (effect == DIFF_REACHED)
            json_decref(name);
        else
            json_array_append_new(effect == DIFF_EQUAL ? equal : unreached, name);
        json_array_append_new(groups, group_json(d, i));
    }
    json_t *all = json_pack("{s:o, s:o, s:o}", "equal_groups", equal, "unreached_groups", unreached,
                            "groups", groups);
    if (all && d->n == 2) {
        json_object_set_new(all, "a", json_string(d->paths[0]));
        json_object_set_new(all, "b", json_string(d->paths[1]));
    } else if (all) {
        json_t *models = json_array();
        for (int k = 1; k < d->n; k++) json_array_append_new(models, json_string(d->paths[k]));
        json_object_set_new(all, "base", json_string(d->paths[0]));
        json_object_set_new(all, "models", models);
    }
    return program_json(p, all);
}

/* ---- as tables ---------------------------------------------------------------------------------- */

static int print_two(program *p, const diff *d) {
    static const char *const heads[] = {"group",   ">elements", ">relative L2",
                                        ">cosine", "bits",      "box prompts"};
    table *t = table_create(heads, 6);
    for (int64_t i = 0; i < d->n_groups; i++) {
        const msx_group_diff *g = &d->distances[1][i];
        table_cell(t, "%s", msx_groups_name(d->groups, i));
        table_cell(t, "%lld", (long long)g->elements);
        table_cell(t, "%.4g", g->relative_l2);
        table_number(t, g->cosine, 6);
        table_cell(t, "%s", g->equal ? "equal" : "differ");
        table_cell(t, "%s", effects[diff_effect_of(d, i)]);
    }
    int code = table_print(p, t);
    table_free(t);
    return code;
}

/* Models are called by letters, A the first beside the base. */
static char letter(int model) {
    return (char)('A' + model - 1);
}

static int print_distances(program *p, const diff *d) {
    enum { MOST = DIFF_MODELS + 3 };
    char text[DIFF_MODELS][24];
    const char *heads[MOST] = {"group", ">elements"};
    size_t n = 2;
    for (int k = 1; k < d->n; k++) {
        snprintf(text[k], sizeof text[k], k == 1 ? ">relative L2 of %c" : ">of %c", letter(k));
        heads[n++] = text[k];
    }
    heads[n++] = "bits";
    heads[n++] = "box prompts";
    table *t = table_create(heads, n);
    for (int64_t i = 0; i < d->n_groups; i++) {
        diff_effect effect = diff_effect_of(d, i);
        table_cell(t, "%s", msx_groups_name(d->groups, i));
        table_cell(t, "%lld", (long long)msx_groups_elements(d->groups, i));
        for (int k = 1; k < d->n; k++) table_cell(t, "%.4g", d->distances[k][i].relative_l2);
        table_cell(t, "%s", effect == DIFF_EQUAL ? "equal" : "differ");
        table_cell(t, "%s", effects[effect]);
    }
    int code = table_print(p, t);
    table_free(t);
    return code;
}

static int print_pair(program *p, const diff *d, const diff_pair *pair) {
    static const char *const heads[] = {"group", ">sign agreement", ">task cosine", ">colinear"};
    table *t = table_create(heads, 4);
    for (int64_t i = 0; i < d->n_groups; i++) {
        const msx_group_tasks *g = &pair->groups[i];
        table_cell(t, "%s", msx_groups_name(d->groups, i));
        table_number(t, diff_sign_agreement(g), 4);
        table_number(t, g->cosine, 4);
        table_cell(t, "%lld/%lld", (long long)g->colinear, (long long)g->tensors);
    }
    progress_clear();
    printf("\n%c %s, %c %s\n", letter(pair->a), diff_name(d->paths[pair->a]), letter(pair->b),
           diff_name(d->paths[pair->b]));
    int code = table_print(p, t);
    table_free(t);
    return code;
}

/* "equal in all models: neck, prompt.3" */
static void print_groups_that_are(const diff *d, diff_effect effect, const char *what) {
    int n = 0;
    for (int64_t i = 0; i < d->n_groups; i++)
        if (diff_effect_of(d, i) == effect)
            printf("%s%s", n++ ? ", " : what, msx_groups_name(d->groups, i));
    if (n) printf("\n");
}

static int print_tables(program *p, const diff *d) {
    int code = d->n == 2 ? print_two(p, d) : print_distances(p, d);
    for (int k = 0; k < d->n_pairs && !code; k++) code = print_pair(p, d, &d->pairs[k]);
    if (code) return code;
    printf("\n");
    print_groups_that_are(d, DIFF_EQUAL, "equal in all models, merging does nothing: ");
    print_groups_that_are(d, DIFF_UNREACHED,
                          "differ only where box prompts do not reach, masks stay: ");
    return PROGRAM_DONE;
}

/* ---- the verb ----------------------------------------------------------------------------------- */

static int run(program *p) {
    diff d = {.n = p->n_arguments, .paths = p->arguments};
    msx_status status = compare(p, &d);
    int code = status == MSX_E_NOMEM ? program_fail(p, PROGRAM_LIMIT, "out of memory")
                                     : program_status(p, status);
    if (!code && option_given(p, "html")) code = diff_page(p, &d, option_text(p, "html"));
    if (!code) code = p->json ? print_json(p, &d) : print_tables(p, &d);
    for (int k = 0; k < d.n_pairs; k++) free(d.pairs[k].groups);
    msx_groups_free(d.groups);
    msx_arch_free(d.arch);
    for (int i = 0; i < DIFF_MODELS; i++) {
        free(d.distances[i]);
        msx_checkpoint_free(d.models[i]);
    }
    return code;
}

static const program_option options[] = {
    {.name = "granularity",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 4,
     .argument = "N",
     .help = "encoder blocks per group, 1 to 4 (1)"},
    {.name = "html",
     .kind = OPTION_TEXT,
     .written = true,
     .endings = ".html|.htm",
     .argument = "FILE",
     .help = "the same as a picture: one page with a heat map"},
    {0},
};

const program_verb verb_diff = {
    .name = "diff",
    .summary = "compare two checkpoints, or several and their base, by layer group",
    .synopsis = "A B [--html FILE]\n       medsamix diff BASE A B... [--html FILE]",
    .about =
        "For every layer group: |B - A| / |A|, the cosine between A and B, whether all bits are\n"
        "equal, and whether what differs can change a mask when every prompt is a box. Groups\n"
        "that are equal in all models need no merging. With a base first and two to eight models,\n"
        "for every two of these also: the share of elements changed by both that both changed in\n"
        "the same direction, the cosine between the task vectors, and of how many tensors SLERP\n"
        "takes the straight line because the two are colinear.",
    .options = options,
    .min_arguments = 2,
    .max_arguments = DIFF_MODELS,
    .opens = true,
    .run = run,
};
