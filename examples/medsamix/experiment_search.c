/* SPDX-License-Identifier: Apache-2.0 */
/* The searches of a study: each has a store, and a page about it, under FOLDER/cells. */
#include "experiment.h"
#include "setup.h"

#include <stdlib.h>
#include <string.h>

/* ---- cells ------------------------------------------------------------------------------------------ */

/* What is left of a name in a file name. */
static void add_name(char *out, size_t size, const char *name) {
    size_t n = strlen(out);
    for (; *name && n + 1 < size; name++) {
        bool plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                     (*name >= '0' && *name <= '9') || *name == '-' || *name == '_';
        out[n++] = plain ? *name : '_';
    }
    out[n] = 0;
}

/* "all-g2-s0", "first-004-g2-s0", "task-007-putamen-g2-s0", "all-human+macaque-g2-s0" */
static char *name_of(const study *s, const study_cell *c) {
    char text[400] = "", *name = NULL;
    if (c->n_tasks == 1 && s->list.n_tasks > 1) {
        snprintf(text, sizeof text, "task-%03zu-", c->first + 1);
        add_name(text, 80, s->list.tasks[c->first].label);
    } else if (c->n_tasks < s->list.n_tasks) {
        snprintf(text, sizeof text, "first-%03zu", c->n_tasks);
    } else {
        snprintf(text, sizeof text, "all");
    }
    if (c->models)
        for (size_t i = 1, n = 0; i < s->n_models; i++) {
            if (!(c->models >> i & 1)) continue;
            size_t length = strlen(text);
            if (length + 2 < sizeof text) strcpy(text + length, n++ ? "+" : "-");
            add_name(text, 320, s->names[i]);
        }
    if (asprintf(&name, "%s-g%s-s%lld", text, c->granularity, (long long)c->seed) < 0) return NULL;
    return name;
}

static bool same_cell(const study_cell *a, const study_cell *b) {
    return a->first == b->first && a->n_tasks == b->n_tasks && a->models == b->models &&
           !strcmp(a->granularity, b->granularity) && a->seed == b->seed;
}

static void free_cell(study_cell *c) {
    for (int i = 0; i < STUDY_MEMBERS; i++) {
        msx_plan_free(c->plans[i]);
        free(c->dice[i]);
        study_score_free(&c->scores[i]);
    }
    free(c->name);
    free(c);
}

study_cell *study_cell_get(study *s, size_t first, size_t n_tasks, uint64_t models,
                           const char *granularity, int64_t seed) {
    uint64_t all = 0;
    for (size_t i = 1; i < s->n_models; i++) all |= UINT64_C(1) << i;
    study_cell wanted = {.first = first,
                         .n_tasks = n_tasks,
                         .models = models == all ? 0 : models,
                         .seed = seed,
                         .used = UINT32_C(1) << s->current};
    snprintf(wanted.granularity, sizeof wanted.granularity, "%s", granularity);
    for (size_t i = 0; i < s->n_cells; i++) {
        if (!same_cell(s->cells[i], &wanted)) continue;
        s->cells[i]->used |= UINT32_C(1) << s->current;
        return s->cells[i];
    }
    study_cell **cells = realloc(s->cells, (s->n_cells + 1) * sizeof *cells);
    if (cells) s->cells = cells;
    study_cell *c = cells ? malloc(sizeof *c) : NULL;
    if (c) *c = wanted;
    if (c) c->name = name_of(s, c);
    if (!c || !c->name) {
        free(c);
        program_fail(s->p, PROGRAM_LIMIT, "out of memory");
        return NULL;
    }
    return s->cells[s->n_cells++] = c;
}

study_cell *study_cell_all(study *s) {
    return study_cell_get(s, 0, s->list.n_tasks, 0, s->granularity, s->seed);
}

void study_cells_free(study *s) {
    for (size_t i = 0; i < s->n_cells; i++) free_cell(s->cells[i]);
    free(s->cells);
}

/* ---- one search ------------------------------------------------------------------------------------- */

/* What the cell says instead of the program. */
static msx_status set_cell(msx_search *search, const study_cell *c, const char *store) {
    char seed[32];
    snprintf(seed, sizeof seed, "%lld", (long long)c->seed);
    msx_status status = msx_search_set(search, "granularity", c->granularity);
    if (status >= 0) status = msx_search_set(search, "seed", seed);
    return status >= 0 ? msx_search_set(search, "store", store) : status;
}

static msx_status add_inputs(study *s, msx_search *search, const study_cell *c) {
    msx_status status = MSX_OK;
    for (size_t i = 0; status >= 0 && i < s->n_models; i++)
        if (i == 0 || !c->models || c->models >> i & 1)
            status = msx_search_add_model(search, s->names[i], s->files[i]);
    for (size_t t = c->first, n; status >= 0 && t < c->first + c->n_tasks; t += n) {
        const char *labels[STUDY_TASKS];
        n = study_labels(&s->list, t, c->first + c->n_tasks, labels);
        status =
            msx_search_add_tasks(search, s->list.datasets[s->list.tasks[t].dataset], labels, n);
    }
    return status;
}

static int keep_member(study *s, msx_search *search, study_cell *c, int i) {
    const double *costs = msx_search_trial_costs(search, c->trial[i]);
    c->dice[i] = calloc(c->n_tasks, sizeof **c->dice);
    if (!c->dice[i]) return program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    for (size_t t = 0; t < c->n_tasks; t++) c->dice[i][t] = 1 - costs[t];
    return study_status(s, msx_search_trial_plan(&c->plans[i], search, c->trial[i]));
}

static int keep_best(study *s, msx_search *search, study_cell *c) {
    c->trials = msx_search_trials(search);
    c->n_front = msx_search_front(search, c->trial, STUDY_MEMBERS);
    if (c->n_front == 0)
        return program_fail(s->p, PROGRAM_INPUT, "%s: every trial has failed", c->name);
    int64_t most = c->n_tasks > 1 ? STUDY_MEMBERS : 1;
    int code = PROGRAM_DONE;
    for (int i = 0; !code && i < c->n_front && i < most; i++) {
        code = keep_member(s, search, c, i);
        if (!code) c->n_members++;
    }
    return code;
}

static int run_search(study *s, study_cell *c, const char *store) {
    msx_search *search = NULL;
    int code = study_status(s, msx_search_create(&search, s->device));
    if (!code) code = setup_options(s->p, search);
    if (!code) code = study_status(s, set_cell(search, c, store));
    if (!code) code = study_status(s, add_inputs(s, search, c));
    if (!code) code = study_status(s, msx_search_run(search));
    if (!code) code = keep_best(s, search, c);
    msx_search_free(search);
    return code;
}

/* The page about a cell is made once it is complete. */
static int run_cell(study *s, study_cell *c, const char *folder) {
    char *store = study_path(s->p, folder, c->name, "db");
    char *page = study_path(s->p, folder, c->name, "html");
    int code = store && page ? run_search(s, c, store) : PROGRAM_LIMIT;
    if (!code) code = study_status(s, msx_report_write(s->p->ctx, store, page));
    free(store);
    free(page);
    c->done = !code;
    return code;
}

int study_run(study *s) {
    char *folder = NULL;
    if (asprintf(&folder, "%s/cells", s->folder) < 0)
        return program_fail(s->p, PROGRAM_LIMIT, "out of memory");
    int code = study_folder(s->p, s->folder);
    if (!code) code = study_folder(s->p, folder);
    for (size_t i = 0; !code && i < s->n_cells; i++) {
        if (s->cells[i]->done) continue;
        progress_clear();
        if (!s->p->quiet)
            fprintf(stderr, "search %zu of %zu: %s\n", i + 1, s->n_cells, s->cells[i]->name);
        code = run_cell(s, s->cells[i], folder);
    }
    free(folder);
    return code;
}
