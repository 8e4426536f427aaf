/* SPDX-License-Identifier: Apache-2.0 */
/* The paper's Table 5, the merged architecture; and the list of all experiments. */
#include "experiment_kinds.h"

#include <math.h>
#include <medsamix/sys/merge_method.h>
#include <stdlib.h>
#include <string.h>

const experiment *const experiments[] = {
    &experiment_tasks_table, &experiment_uniform, &experiment_front,  &experiment_architecture,
    &experiment_granularity, &experiment_tasks,   &experiment_models, NULL,
};

/* "scaling 0.50", "base 0.31, human 0.69": values that the plan sets, in the method's order. */
static char *values_of(const study *s, const msx_plan *plan, int64_t entry,
                       const msx_merge_method *method) {
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    const char *separator = "";
    for (size_t k = 0; to && k < method->n_params; k++) {
        const msx_merge_param *p = &method->params[k];
        for (size_t i = 0; i < (p->per_model ? s->n_models : 1); i++) {
            char key[256];
            snprintf(key, sizeof key, p->per_model ? "%s.%s" : "%s", p->name, s->names[i]);
            double value = msx_plan_entry_param(plan, entry, key);
            if (isnan(value)) continue;
            fprintf(to, "%s%s %.2f", separator, p->per_model ? s->names[i] : p->name, value);
            separator = ", ";
        }
    }
    if (to && fclose(to) == 0) return text;
    free(text);
    return NULL;
}

static int add_rows(study *s, const msx_plan *plan, sheet *t) {
    for (int64_t i = 0; i < msx_plan_entry_count(plan); i++) {
        const char *name = msx_plan_entry_method(plan, i);
        const msx_merge_method *method = msx_merge_method_find(s->p->ctx, name);
        char *values = method ? values_of(s, plan, i, method) : strdup("");
        if (!values) return program_fail(s->p, PROGRAM_LIMIT, "out of memory");
        sheet_text(t, "%s", msx_plan_entry_group(plan, i));
        sheet_text(t, "%s", name);
        sheet_text(t, "%s", values);
        free(values);
    }
    return PROGRAM_DONE;
}

static int plan_architecture(study *s) {
    return study_cell_all(s) ? PROGRAM_DONE : PROGRAM_LIMIT;
}

static int tell_architecture(study *s, section *out) {
    static const char *const heads[] = {"layer group", "method", "values"};
    study_cell *c = study_cell_all(s);
    if (!c) return PROGRAM_LIMIT;
    sheet *t = sheet_create("architecture", "The merged architecture", heads, 3);
    section_add(out, t);
    int code = add_rows(s, c->plans[0], t);
    sheet_note(
        t,
        "Trial %lld of the search for all tasks. Linear: weights before they are normalised; "
        "slerp: scores, of which the two highest are used. Layer groups that are not here stay "
        "the base's: all models are equal there, or box prompts do not reach them.",
        (long long)c->trial[0]);
    return code;
}

const experiment experiment_architecture = {
    .name = "architecture",
    .title = "The merged architecture",
    .about = "What the winner does to every layer group.",
    .plan = plan_architecture,
    .tell = tell_architecture,
};
