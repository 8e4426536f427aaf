/* SPDX-License-Identifier: Apache-2.0 */
/* Scores of a study: input models, uniform merges and winners, on the split that is reported. */
#include "experiment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const study_methods[] = {"linear", "task_arithmetic", "ties", "slerp"};

/* ---- running ----------------------------------------------------------------------------------------- */

/* Evaluator of tasks first .. first+n-1. */
static int make_evaluator(study *s, size_t first, size_t n, msx_evaluator **out) {
    msx_status status = msx_evaluator_create(out, s->p->ctx, s->split, &s->eval);
    /* All tasks of a data set at once: they share its encoded images. */
    for (size_t t = first, count; status >= 0 && t < first + n; t += count) {
        const char *labels[STUDY_TASKS];
        count = study_labels(&s->list, t, first + n, labels);
        status = msx_evaluator_add(*out, s->list.datasets[s->list.tasks[t].dataset], labels, count);
    }
    return study_status(s, status);
}

/* A task may have no slice in this split. */
static bool has_rows(const msx_score *score, const char *task) {
    for (int64_t i = 0; i < msx_score_count(score); i++)
        if (!strcmp(msx_score_label(score, i), task)) return true;
    return false;
}

static msx_status summarise(const study *s, const msx_score *score, const char *task,
                            msx_summary *out) {
    *out = (msx_summary){.struct_size = sizeof *out, .mean = NAN, .low = NAN, .high = NAN};
    if (task && !has_rows(score, task)) return MSX_OK;
    return msx_score_summary(score, task, MSX_METRIC_DICE, s->eval.unit, s->eval.empty,
                             s->eval.seed, out);
}

/* Score a checkpoint, which may be one in memory. */
static int score_checkpoint(study *s, msx_checkpoint *c, size_t first, size_t n, study_score *out) {
    msx_preset preset;
    msx_model *model = NULL;
    msx_score *score = NULL;
    msx_evaluator *own = NULL;
    *out = (study_score){first, n, calloc(n + 1, sizeof *out->tasks)};
    if (!out->tasks) return program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    bool all = n == s->list.n_tasks;
    int code = PROGRAM_DONE;
    if (!all || !s->evaluator) code = make_evaluator(s, first, n, all ? &s->evaluator : &own);
    msx_evaluator *e = all ? s->evaluator : own;
    if (!code)
        code =
            study_status(s, msx_preset_find(&preset, s->p->ctx, option_or(s->p, "preset", "sam")));
    if (!code) code = study_status(s, msx_model_load(&model, s->device, c, preset));
    if (!code) code = study_status(s, msx_evaluator_run(&score, e, model));
    for (size_t t = 0; !code && t <= n; t++)
        code = study_status(s, summarise(s, score, t < n ? msx_evaluator_task(e, (int64_t)t) : NULL,
                                         &out->tasks[t]));
    msx_score_free(score);
    msx_model_free(model);
    msx_evaluator_free(own);
    if (code) study_score_free(out);
    return code;
}

static int open_checkpoints(study *s) {
    if (s->checkpoints) return PROGRAM_DONE;
    s->checkpoints = calloc(s->n_models, sizeof *s->checkpoints);
    if (!s->checkpoints) return program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    int code = PROGRAM_DONE;
    for (size_t i = 0; !code && i < s->n_models; i++)
        code = study_status(s, msx_checkpoint_open(&s->checkpoints[i], s->p->ctx, s->files[i]));
    return code;
}

int study_score_inputs(study *s) {
    if (s->inputs) return PROGRAM_DONE;
    int code = open_checkpoints(s);
    study_score *scores = calloc(s->n_models, sizeof *scores);
    if (!code && !scores) code = program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    s->inputs = scores;
    for (size_t i = 0; !code && i < s->n_models; i++)
        code = score_checkpoint(s, s->checkpoints[i], 0, s->list.n_tasks, &scores[i]);
    return code;
}

int study_score_plan(study *s, const msx_plan *plan, size_t first, size_t n, study_score *out) {
    *out = (study_score){0};
    int code = open_checkpoints(s);
    if (!code && !s->merger)
        code = study_status(s, msx_merger_create(&s->merger, s->p->ctx, s->checkpoints, s->names,
                                                 s->n_models, false));
    msx_checkpoint *merged = NULL;
    if (!code) code = study_status(s, msx_checkpoint_create(&merged, s->p->ctx));
    if (!code) code = study_status(s, msx_merger_run(s->merger, plan, NULL, merged, NULL));
    if (!code) code = score_checkpoint(s, merged, first, n, out);
    msx_checkpoint_free(merged);
    return code;
}

static msx_status make_uniform(study *s, const char *method, msx_plan **out) {
    msx_status status = msx_plan_create(out, s->p->ctx);
    for (size_t i = 1; status >= 0 && i < s->n_models; i++)
        status = msx_plan_add_model(*out, s->names[i]);
    return status >= 0 ? msx_plan_set_method(*out, "*", method) : status;
}

int study_score_uniform(study *s) {
    if (s->uniform) return PROGRAM_DONE;
    s->uniform = calloc(STUDY_METHODS, sizeof *s->uniform);
    int code = s->uniform ? PROGRAM_DONE : program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    for (int i = 0; !code && i < STUDY_METHODS; i++) {
        msx_plan *plan = NULL;
        code = study_status(s, make_uniform(s, study_methods[i], &plan));
        if (!code) code = study_score_plan(s, plan, 0, s->list.n_tasks, &s->uniform[i]);
        msx_plan_free(plan);
    }
    return code;
}

int study_score_member(study *s, study_cell *c, int i, const study_score **out) {
    *out = &c->scores[i];
    return c->scores[i].tasks ? PROGRAM_DONE
                              : study_score_plan(s, c->plans[i], 0, s->list.n_tasks, &c->scores[i]);
}

void study_score_free(study_score *score) {
    free(score->tasks);
    *score = (study_score){0};
}

void study_scores_free(study *s) {
    for (size_t i = 0; s->inputs && i < s->n_models; i++) study_score_free(&s->inputs[i]);
    for (int i = 0; s->uniform && i < STUDY_METHODS; i++) study_score_free(&s->uniform[i]);
    for (size_t i = 0; s->checkpoints && i < s->n_models; i++)
        msx_checkpoint_free(s->checkpoints[i]);
    msx_merger_free(s->merger);
    msx_evaluator_free(s->evaluator);
    free(s->inputs);
    free(s->uniform);
    free(s->checkpoints);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

double study_dice(const study_score *score, size_t task) {
    return task < score->first || task >= score->first + score->n
               ? NAN
               : score->tasks[task - score->first].mean;
}

double study_mean(const study_score *score, size_t first, size_t n) {
    double sum = 0, used = 0;
    for (size_t t = first; t < first + n; t++) {
        double dice = study_dice(score, t);
        if (isnan(dice)) continue;
        sum += dice;
        used++;
    }
    return used > 0 ? sum / used : NAN;
}

/* Whether input model i is among `models`; the base always is. */
static bool takes_part(uint64_t models, size_t i) {
    return i == 0 || !models || models >> i & 1;
}

double study_best_input(const study *s, uint64_t models, size_t task) {
    double best = NAN;
    for (size_t i = 0; i < s->n_models; i++)
        if (takes_part(models, i)) best = fmax(best, study_dice(&s->inputs[i], task));
    return best;
}

size_t study_best_mean_input(const study *s, uint64_t models, size_t first, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < s->n_models; i++)
        if (takes_part(models, i) &&
            study_mean(&s->inputs[i], first, n) > study_mean(&s->inputs[best], first, n))
            best = i;
    return best;
}

int study_improved(const study *s, const study_score *score, uint64_t models, size_t first,
                   size_t n, int *compared) {
    int improved = 0;
    *compared = 0;
    for (size_t t = first; t < first + n; t++) {
        double mine = study_dice(score, t), best = study_best_input(s, models, t);
        if (isnan(mine) || isnan(best)) continue;
        (*compared)++;
        improved += mine > best;
    }
    return improved;
}
