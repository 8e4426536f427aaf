/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the verb experiment share: a study of many searches over one list of tasks.
 *
 * An experiment says which searches (cells) it needs; cells of several experiments that are the same
 * search are one. Every cell has a store of its own, so an interrupted study goes on where it
 * stopped. Then winners are scored, and the experiment makes tables and charts of the scores. */
#ifndef MEDSAMIX_EXPERIMENT_H
#define MEDSAMIX_EXPERIMENT_H

#include "program.h"

/* ---- the list of tasks (experiment_list.c) -------------------------------------------------------- */

enum { STUDY_TASKS = 1024 }; /* at most */

typedef struct study_task {
    size_t dataset;    /* index in the list */
    const char *label; /* owned by the data set */
    char *name;        /* DATASET/LABEL */
} study_task;

typedef struct study_list {
    msx_dataset **datasets;
    size_t n_datasets;
    study_task *tasks; /* in the order of the list; those of one data set are neighbours */
    size_t n_tasks;
} study_list;

/* Read a list and open its data sets: docs/formats/tasks.md. @return an exit code (message printed). */
int study_list_read(program *p, const char *path, study_list *out);
void study_list_free(study_list *l);
/* Labels of task `from` and those behind it, before `end`, of the same data set: their number. */
size_t study_labels(const study_list *l, size_t from, size_t end, const char *labels[STUDY_TASKS]);

/* ---- the study --------------------------------------------------------------------------------------- */

enum { STUDY_MEMBERS = 3 }; /* members of a front that are looked at */

/* Dice of one model on some tasks: (n + 1), the mean last. */
typedef struct study_score {
    size_t first, n;
    msx_summary *tasks;
} study_score;

/* One search, and what came of it. */
typedef struct study_cell {
    char *name; /* of its files */
    size_t first, n_tasks;
    uint64_t models; /* bit i: model i takes part; the base always does */
    char granularity[8];
    int64_t seed;
    uint32_t used; /* bit i: by experiment i */
    /* after it was run */
    bool done;
    int64_t trials, n_front;
    int n_members;                     /* 1 for one task */
    int64_t trial[STUDY_MEMBERS];      /* the best first */
    msx_plan *plans[STUDY_MEMBERS];    /* theirs */
    double *dice[STUDY_MEMBERS];       /* on the calibration images, (n_tasks) */
    study_score scores[STUDY_MEMBERS]; /* made when asked for */
} study_cell;

typedef struct study {
    program *p;
    const char *folder;
    study_list list;
    msx_device *device;
    msx_eval_options eval;
    msx_split split;
    size_t n_models; /* the base is 0 */
    const char **names, **files;
    study_cell **cells;
    size_t n_cells;
    int64_t repeats, seed;
    int current; /* experiment that is being planned or told */
    const char *granularity;
    /* scoring (experiment_score.c) */
    msx_evaluator *evaluator; /* all tasks */
    msx_checkpoint **checkpoints;
    msx_merger *merger;
    study_score *inputs;  /* (n_models); made when asked for */
    study_score *uniform; /* (n_methods) */
    size_t n_methods;
} study;

/* As program_status(), but an interrupt is told once, by the verb. */
int study_status(study *s, msx_status status);

/* ---- searches (experiment_search.c) -------------------------------------------------------------------- */

/* The cell of a search, new or known; NULL when out of memory. `models`: bits of the fine-tuned ones,
 * 0: all. */
study_cell *study_cell_get(study *s, size_t first, size_t n_tasks, uint64_t models,
                           const char *granularity, int64_t seed);
/* The search over all tasks with all models. */
study_cell *study_cell_all(study *s);
/* Run those that have not been run: an exit code. */
int study_run(study *s);
void study_cells_free(study *s);

/* ---- scores (experiment_score.c) ------------------------------------------------------------------------ */

/* Methods whose uniform merges are compared. */
extern const char *const study_methods[];
enum { STUDY_METHODS = 4 };

/* Score on the split of the study; an exit code. Inputs and uniform merges are scored once and belong
 * to the study; a plan's score is released with study_score_free(). */
int study_score_inputs(study *s);
int study_score_uniform(study *s);
int study_score_plan(study *s, const msx_plan *plan, size_t first, size_t n, study_score *out);
void study_score_free(study_score *score);
/* Member i of a cell on all tasks; scored once, and the cell's. */
int study_score_member(study *s, study_cell *c, int i, const study_score **out);
void study_scores_free(study *s);

/* Mean of the tasks' Dice over tasks first .. first+n-1 of the list, undefined ones left out. */
double study_mean(const study_score *score, size_t first, size_t n);
/* Dice of a task of the list. */
double study_dice(const study_score *score, size_t task);
/* The highest Dice of a task over the input models of `models` (as in cells). */
double study_best_input(const study *s, uint64_t models, size_t task);
/* The input model of the highest mean over some tasks. */
size_t study_best_mean_input(const study *s, uint64_t models, size_t first, size_t n);
/* At how many of these tasks the score is above the best input; how many could be compared. */
int study_improved(const study *s, const study_score *score, uint64_t models, size_t first,
                   size_t n, int *compared);

/* ---- results (experiment_sheet.c, experiment_chart.c, experiment_page.c) -------------------------------------- */

/* A table that is printed, written as CSV, and shown in the report. Memory failures are kept and
 * found by sheet_failed(). */
typedef struct sheet sheet;

/* Heads that begin with '>' are columns of numbers. `id`: of the file, "front". */
sheet *sheet_create(const char *id, const char *title, const char *const *heads, size_t columns);
void sheet_free(sheet *t);
void sheet_text(sheet *t, const char *format, ...) MSX_PRINTF(2, 3); /* rows fill from the left */
void sheet_number(sheet *t, double value, int decimals);
void sheet_mark(sheet *t);    /* the last cell is the best of its row */
void sheet_summary(sheet *t); /* the next row sums up */
void sheet_note(sheet *t, const char *format, ...) MSX_PRINTF(2, 3); /* one; below the table */
bool sheet_failed(const sheet *t);
int sheet_print(program *p, const sheet *t);
int sheet_write_csv(program *p, const sheet *t, const char *folder);
void sheet_write_html(FILE *to, const sheet *t);
json_t *sheet_json(const sheet *t);

/* Points along named places, with the range of repeats; joined by lines where places are in order. */
typedef struct chart_series {
    const char *name;
    const double *values, *low, *high; /* (n); low and high may be NULL */
} chart_series;
void chart_write_html(FILE *to, const char *id, const char *title, const char *x_title,
                      const char *const *places, size_t n, const chart_series *series,
                      size_t n_series, bool joined);

/* What one experiment has to show. */
enum { SECTION_SHEETS = 4 };
typedef struct section {
    sheet *sheets[SECTION_SHEETS];
    size_t n_sheets;
    char *chart; /* HTML; NULL: none */
    size_t chart_bytes;
} section;

/* Add a sheet, which is taken over. */
void section_add(section *x, sheet *t);
void section_free(section *x);

typedef struct experiment {
    const char *name, *title, *about; /* about: what it shows, one sentence */
    bool takes_values;                /* --values */
    int (*plan)(study *s);            /* name the cells: an exit code */
    int (*tell)(study *s, section *out);
} experiment;

/* In the order of the report; ends with NULL. */
extern const experiment *const experiments[];

/* Write the section's CSV files and its part of the report, and the report of all parts that are in
 * the folder. */
int section_write(study *s, const experiment *e, const section *x);
/* Text for HTML and quoted attributes. */
void html_text(FILE *to, const char *text);
/* Write a file that appears under its name only when it is complete. */
int study_write(program *p, const char *path, void (*write)(FILE *to, const void *payload),
                const void *payload);
/* Make a folder that is not there yet: an exit code. */
int study_folder(program *p, const char *path);
/* "FOLDER/NAME.ENDING", allocated; NULL when out of memory (message printed). */
char *study_path(program *p, const char *folder, const char *name, const char *ending);

#endif
