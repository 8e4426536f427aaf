/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the report share: the content of a store in memory, text helpers, figures.
 *
 * A store is an SQLite file that anybody may hand over, so report_store.c checks everything and the
 * other files rely on it: indices are in range, words are known ones, Dice and costs lie in 0..1
 * (NaN where a score is undefined), names are valid text of bounded length. */
#ifndef MSX_SEARCH_REPORT_H
#define MSX_SEARCH_REPORT_H

#include "core/core.h"

#include <medsamix/merge.h>

/* ---- content of a store (report_store.c) --------------------------------------------------------- */

typedef struct report_meta {
    char *key, *value;
} report_meta;

typedef struct report_model {
    int64_t index;
    char *name, *path, *sha256;
} report_model;

typedef struct report_task {
    int64_t index;
    char *name, *dataset, *label;
} report_task;

typedef struct report_group {
    int64_t index;
    char *name;
    int64_t elements;
    char *state; /* "searched", "equal", "unreached" */
} report_group;

typedef struct report_parameter {
    int64_t index;
    char *name; /* GROUP/method, GROUP/METHOD.PARAMETER, ... */
    char *kind; /* "float", "int", "categorical" */
    double lower, upper;
    char *choices; /* joined by commas */
    /* derived */
    int64_t group; /* index in groups; -1: of none */
    bool method;   /* the choice of the group's method */
} report_parameter;

typedef enum report_state {
    REPORT_RUNNING = 0,
    REPORT_DONE = 1,
    REPORT_RACED = 2, /* stopped early: its costs are running values */
    REPORT_FAILED = 3,
    REPORT_STATES = 4
} report_state;

typedef struct report_trial {
    int64_t number;
    char *state_name; /* "running", "done", "raced", "failed" */
    char *origin;     /* "enqueued", "sobol", "model", "random", ... */
    double cost;      /* mean over tasks; NaN unless done or raced */
    double seconds;
    char *error;
    char *worker;
    int64_t attempt;
    double started, finished; /* Unix time; NaN: unknown */
    int64_t images, blocks_run, blocks_reused;
    /* derived */
    report_state state;
    bool front;          /* on the Pareto front */
    int64_t rank;        /* index in report.ranks */
    double regret;       /* largest cost - best cost of a task */
    const double *costs; /* one per task; NULL unless done or raced */
} report_trial;

typedef struct report_cost {
    int64_t trial, task;
    double cost;
} report_cost;

typedef struct report_result {
    char *kind;   /* "input", "uniform", "winner" */
    char *name;   /* of the model or method */
    char *split;  /* "calibration", "test" */
    int64_t task; /* -1: mean over tasks */
    double dice, low, high;
    int64_t used, left_out;
} report_result;

typedef struct report_blob {
    uint8_t *bytes;
    int64_t n;
} report_blob;

typedef struct report_picture {
    int64_t index;
    char *title, *caption, *split;
    report_blob png;
} report_picture;

/* One that has scores: an input model, a uniform merge, the winner. Borrowed from the results. */
typedef struct report_contestant {
    const char *kind, *name;
    int64_t place; /* orders them: inputs as the models, uniform merges, winners by rank */
    bool winner;   /* the one of lowest cost; others of kind "winner" are members of the front */
} report_contestant;

/* What a forest that was fitted to the trials says of the layer groups. Empty when there are too few
 * trials to say anything. */
typedef struct report_group_worth {
    double share; /* of all groups' importance, 0..1; NaN: not searched */
    double alone; /* the part of `share` that does not depend on the other groups */
} report_group_worth;

typedef struct report_method_worth {
    double dice; /* mean Dice with this method there minus the mean; NaN: hardly ever tried */
    int64_t trials;
} report_method_worth;

typedef struct report_worth {
    report_group_worth *groups;         /* (n_groups) */
    char **methods;                     /* n_methods names */
    report_method_worth *methods_worth; /* (n_groups, n_methods) */
    int64_t n_methods, n_trials;        /* n_trials: the forest has seen; 0: nothing is known */
} report_worth;

typedef struct report {
    msx_ctx *ctx;
    const char *path; /* of the store, for messages */
    char *name;       /* the same where it is not what the caller gave */

    report_meta *meta;
    report_model *models;
    report_task *tasks;
    report_group *groups;
    report_parameter *parameters;
    report_trial *trials;
    report_cost *cost_rows;
    report_result *results;
    report_picture *pictures;
    int64_t n_meta, n_models, n_tasks, n_groups, n_parameters, n_trials, n_cost_rows, n_results,
        n_pictures;

    double *costs;  /* (trials, tasks) */
    double *best;   /* (tasks) lowest cost of each */
    int64_t *ranks; /* indices of finished trials, best first: mean cost, regret, number */
    int64_t n_state[REPORT_STATES];
    int64_t n_done, n_front;        /* n_done: of n_state */
    report_contestant *contestants; /* what `results` compares, in the order of the page */
    int64_t n_contestants;
    msx_plan **plans; /* of the first n_plans in `ranks` */
    int64_t n_plans;
    int64_t *sampled; /* indices of the trials whose configurations are there, ascending */
    double *x;        /* (n_sampled, n_parameters); NaN: inactive */
    int64_t n_sampled;
    report_worth worth; /* what the layer groups are worth (report_worth.c) */
} report;

enum {
    REPORT_PLANS = 20,
    REPORT_SAMPLE = 1000,
    REPORT_FOLD = 24 /* longer lists of tasks are folded where they repeat another */
};
#define REPORT_MOST 1e15 /* counts and times that could be true */

/* Read and check a store. `r` is zeroed by the call; report_free() also after a failure. */
msx_status report_load(report *r, msx_ctx *ctx, const char *path);
void report_free(report *r);

/* A value that cannot be: MSX_E_FORMAT naming the place. */
msx_status report_bad(report *r, const char *table, int64_t row, const char *column,
                      const char *what);
/* What the values must mean, and what follows from them (report_check.c). */
msx_status report_check_schema(report *r);
msx_status report_check(report *r);

/* What the parameters mean, and that configurations keep to them (report_config.c). */
msx_status report_check_parameters(report *r);
msx_status report_check_configuration(report *r, const report_trial *t, const double *x);
/* Choice `i` of a categorical parameter, not terminated: its length in *n; NULL behind the last. */
const char *report_choice(const report_parameter *p, int64_t i, size_t *n);
/* Fill r->worth from the sampled configurations (report_worth.c). */
msx_status report_measure_groups(report *r);
void report_worth_free(msx_ctx *ctx, report_worth *w);

/* Value of a meta key, "" when it is missing. */
const char *report_value(const report *r, const char *key);
/* What to call a task: its label alone where no other data set has the same. */
const char *report_task_name(const report *r, int64_t task);
/* The result of a kind, name, split and task (-1: mean), or NULL. */
const report_result *report_find_result(const report *r, const char *kind, const char *name,
                                        const char *split, int64_t task);
/* The winner's result, or NULL. */
const report_result *report_winner_result(const report *r, const char *split, int64_t task);
/* The highest mean (task -1) or task Dice of a kind on a split, or NULL. */
const report_result *report_best_result(const report *r, const char *kind, const char *split,
                                        int64_t task);
bool report_has_split(const report *r, const char *split);

/* ---- text (report_text.c) -------------------------------------------------------------------------- */

/* Escaped for HTML text and quoted attributes; bytes that are no UTF-8 and control characters become
 * U+FFFD. `most` > 0 cuts after that many characters and adds an ellipsis. */
void report_escape(msx__buffer *b, const char *text, int most);
/* Fixed decimals without the locale; an en dash for NaN. */
void report_number(msx__buffer *b, double value, int decimals);
/* A part of 1: "37 %", "<1 %". */
void report_percent(msx__buffer *b, double share);
/* A difference of Dice with its sign, and its class: "plus", "loss", or "same" when it rounds to 0. */
void report_gain(msx__buffer *b, double gain);
const char *report_gain_class(double gain);
/* An SVG coordinate: one decimal. */
void report_xy(msx__buffer *b, const char *before, double value);
/* "1,234,567" */
void report_count(msx__buffer *b, int64_t value);
/* "2 d 5 h", "1 h 05 min", "4 min 10 s", "12.3 s" */
void report_duration(msx__buffer *b, double seconds);
void report_base64(msx__buffer *b, const uint8_t *bytes, size_t n);
/* As a word of a POSIX shell command, escaped for HTML. */
void report_shell_word(msx__buffer *b, const char *text);

/* ---- colours (report_text.c) ------------------------------------------------------------------------ */

/* CSS class of an origin's marks ("o-sobol") and of a method's ("m-ties"); "o-other", "m-other" for
 * names the style sheet does not know. */
const char *report_origin_class(const char *origin);
const char *report_method_class(const char *method);
/* One of eight classes for the i-th model: "c0" ... "c7". */
const char *report_model_class(int64_t i);

/* ---- axes (report_axis.c) ------------------------------------------------------------------------- */

/* A linear axis: value lo..hi drawn at from..to, a tick every `step`. */
typedef struct report_axis {
    double lo, hi, step;
    int decimals; /* of tick labels */
    double from, to;
} report_axis;

/* Round outwards to a tidy axis of about `ticks` steps within 0..most. `narrowest`: the least it
 * spans, so that noise does not look like a mountain. */
report_axis report_axis_make(double lo, double hi, double narrowest, double most, int ticks,
                             double from, double to);
double report_axis_at(const report_axis *a, double value); /* clipped to the axis */
/* Grid lines and labels. Vertical axis: lines from x0 to x1; horizontal one: from y0 to y1. */
void report_axis_vertical(msx__buffer *b, const report_axis *a, double x0, double x1);
void report_axis_horizontal(msx__buffer *b, const report_axis *a, double y0, double y1);
/* Dice of a task (-1: mean) below which the worst tenth of the trials lies; NaN when out of memory. A
 * few failures must not press all others into one corner of a figure. */
double report_low_decile(const report *r, int64_t task);
/* One in `stride` of many marks, scattered: every so many-th would pick one kind where kinds
 * alternate. */
bool report_drawn(int64_t i, int64_t stride);
/* Dice of a task (-1: mean) from its lowest decile to its highest. False when out of memory. */
bool report_task_range(const report *r, int64_t task, double *lo, double *hi);
/* Index in `ranks` of the n-th best member of the front, -1 without. */
int64_t report_front_member(const report *r, int64_t n);
/* The mark of a trial: its origin's shape, centred. An open <path>: add a <title>, then </path>. */
void report_mark(msx__buffer *b, const char *origin, double x, double y, double size);

/* ---- figures (report_figure.c) ----------------------------------------------------------------------- */

/* Open a figure of an id and a number, which together are unique on the page, in user units. What
 * is written until report_figure_body() describes it to those who do not see it. */
void report_figure(msx__buffer *b, const char *class, const char *id, int64_t n, double width,
                   double height, const char *title);
void report_figure_body(msx__buffer *b);
void report_figure_end(msx__buffer *b);

void report_line(msx__buffer *b, const char *class, double x0, double y0, double x1, double y1);
/* Open elements: a box may get a <title>, then </rect>; a label its text, then </text>. */
void report_box(msx__buffer *b, const char *class, double x, double y, double width, double height);
void report_label(msx__buffer *b, const char *class, const char *anchor, double x, double y);
/* A whole label; `most` as in report_escape(). */
void report_label_text(msx__buffer *b, const char *class, const char *anchor, double x, double y,
                       const char *text, int most);

/* ---- layer groups side by side (report_columns.c) ------------------------------------------------------ */

enum { REPORT_COLUMNS = 96 }; /* drawn; of a network with more groups the first ones */

/* Groups in network order as columns, with gaps between the parts of the network. */
typedef struct report_columns {
    int64_t n;                       /* columns: groups 0 .. n-1 */
    double x[REPORT_COLUMNS], width; /* left edges */
    double end;
} report_columns;

report_columns report_columns_make(const report *r, double from, double to);
/* Parts and names of the columns, and the height they take. */
double report_columns_height(const report_columns *c);
void report_columns_heads(msx__buffer *b, const report *r, const report_columns *c, double y);
/* "TA" for task_arithmetic: two letters at most, so that colours are never the only sign. */
void report_method_letters(const char *method, char out[3]);
/* What a plan does to a group: the method, or NULL where the base's weights stay, and then why. */
const char *report_group_method(const msx_plan *plan, const report_group *g, int64_t *entry,
                                const char **why);

/* ---- sections -------------------------------------------------------------------------------------- */

extern const char report_style[]; /* the style sheet: report_style.c */

/* Figures with their legends: report_svg_curve.c, report_svg_effort.c, report_svg_interval.c,
 * report_svg_front.c, report_svg_parallel.c, report_svg_groups.c, report_svg_timeline.c. */
void report_curve(msx__buffer *b, const report *r);
void report_effort(msx__buffer *b, const report *r); /* nothing without counts of blocks */
void report_intervals(msx__buffer *b, const report *r, const char *split);
void report_front(msx__buffer *b, const report *r);
void report_parallel(msx__buffer *b, const report *r);
void report_groups(msx__buffer *b, const report *r);
void report_timeline(msx__buffer *b, const report *r);

/* report_plan.c: the winner's plan as a strip, and row by row. */
void report_network(msx__buffer *b, const report *r);
void report_plan_rows(msx__buffer *b, const report *r);

/* report_saved.c: what caches, racing and the rest have saved. */
double report_block_depth(const report *r); /* transformer blocks of one encoder run; 0: unknown */
double report_all_images(const report *r);  /* calibration images; 0: unknown */
void report_saved(msx__buffer *b, const report *r);

/* report_scores.c: tables. */
void report_scores(msx__buffer *b, const report *r, const char *split);
void report_best_trials(msx__buffer *b, const report *r, int64_t most); /* at most REPORT_PLANS */
void report_front_members(msx__buffer *b, const report *r, int64_t most);
void report_contestant_name(msx__buffer *b, const report_contestant *c, int most);
const char *report_contestant_class(const report_contestant *c); /* of the style sheet */

/* report_facts.c: what was searched, and how to do it again. */
void report_headline(msx__buffer *b, const report *r);
void report_settings(msx__buffer *b, const report *r);
/* Whether the trials were evaluated by a program of the user's. */
bool report_outside(const report *r);
void report_reproduce(msx__buffer *b, const report *r);

/* report.c: all of it. */
void report_page(msx__buffer *b, const report *r);

#endif
