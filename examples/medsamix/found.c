/* SPDX-License-Identifier: Apache-2.0 */
#include "found.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int found_open(found *f, program *p, msx_device **device) {
    *f = (found){.p = p};
    int code = program_device_named(p, "cpu", device);
    if (code) return code;
    return program_status(p, msx_search_open(&f->search, *device, option_text(p, "store")));
}

int found_read(found *f) {
    int64_t trials = msx_search_trials(f->search);
    f->front = calloc((size_t)trials + 1, sizeof *f->front);
    if (!f->front) return program_fail(f->p, PROGRAM_LIMIT, "out of memory");
    f->n_front = msx_search_front(f->search, f->front, trials);
    if (f->n_front > 0) return PROGRAM_DONE;
    return program_fail(f->p, PROGRAM_INPUT, "no trial has been finished with success%s",
                        option_given(f->p, "output") ? "; nothing is written" : "");
}

void found_free(found *f) {
    free(f->front);
    f->front = NULL;
}

/* ---- telling ----------------------------------------------------------------------------------- */

double found_mean_dice(const found *f, int64_t trial) {
    const double *costs = msx_search_trial_costs(f->search, trial);
    int64_t n = msx_search_task_count(f->search);
    double sum = 0;
    for (int64_t t = 0; costs && t < n; t++) sum += 1 - costs[t];
    return costs ? sum / (double)n : NAN;
}

int found_table(const found *f, int64_t columns) {
    char names[FOUND_COLUMNS][32];
    const char *heads[FOUND_COLUMNS + 1] = {"task"};
    int64_t tasks = msx_search_task_count(f->search);
    if (columns > f->n_front) columns = f->n_front;
    for (int64_t i = 0; i < columns; i++) {
        snprintf(names[i], sizeof names[i], ">trial %lld", (long long)f->front[i]);
        heads[i + 1] = names[i];
    }
    table *t = table_create(heads, (size_t)columns + 1);
    for (int64_t r = 0; r < tasks + (tasks > 1); r++) {
        const char *task = msx_search_task(f->search, r);
        table_cell(t, "%s", task ? task : "mean");
        for (int64_t i = 0; i < columns; i++) {
            const double *costs = msx_search_trial_costs(f->search, f->front[i]);
            table_number(t, task ? 1 - costs[r] : found_mean_dice(f, f->front[i]), 4);
        }
    }
    int code = table_print(f->p, t);
    table_free(t);
    return code;
}

json_t *found_trial_json(const found *f, int64_t trial) {
    json_t *dice = json_object();
    const double *costs = msx_search_trial_costs(f->search, trial);
    for (int64_t t = 0; dice && t < msx_search_task_count(f->search); t++)
        json_object_set_new(dice, msx_search_task(f->search, t), json_number(1 - costs[t]));
    return json_pack("{s:I, s:s, s:o, s:o}", "trial", (json_int_t)trial, "origin",
                     msx_search_trial_origin(f->search, trial), "mean",
                     json_number(found_mean_dice(f, trial)), "dice", dice);
}

json_t *found_front_json(const found *f) {
    json_t *front = json_array();
    for (int64_t i = 0; front && i < f->n_front; i++)
        json_array_append_new(front, found_trial_json(f, f->front[i]));
    return front;
}

/* ---- writing ----------------------------------------------------------------------------------- */

int found_write_front(const found *f, const char *folder, int64_t checkpoints) {
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return program_fail(f->p, PROGRAM_INPUT, "%s: cannot be made: %s", folder, strerror(errno));
    for (int64_t i = 0; i < f->n_front; i++) {
        char *model = NULL, *plan = NULL;
        int code = PROGRAM_DONE;
        if (asprintf(&model, "%s/trial-%lld.pth", folder, (long long)f->front[i]) < 0 ||
            asprintf(&plan, "%s/trial-%lld.yaml", folder, (long long)f->front[i]) < 0)
            code = program_fail(f->p, PROGRAM_LIMIT, "out of memory");
        if (!code)
            code = program_status(f->p, msx_search_write(f->search, f->front[i],
                                                         i < checkpoints ? model : NULL, plan));
        free(model);
        free(plan);
        if (code) return code;
    }
    return PROGRAM_DONE;
}
