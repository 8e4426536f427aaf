/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of a search: what the caller gave, what is made of it, and the trials. */
#ifndef MSX_SEARCH_SEARCH_H
#define MSX_SEARCH_SEARCH_H

#include "search/evaluator.h"
#include "search/options.h"
#include "search/search_race.h"
#include "search/space.h"
#include "search/store.h"

typedef struct msx__search_model {
    char *name, *path;
    msx_checkpoint *file; /* open from preparation on */
    char sha256[MSX__SHA256_HEX];
} msx__search_model;

/* Tasks of one data set, as added. */
typedef struct msx__search_tasks {
    const msx_dataset *dataset;
    const char **labels; /* names owned by the data set */
    size_t n;
} msx__search_tasks;

/* One who runs trials: a device, the merged weights, and the model that has them. A worker is used by
 * one thread at a time; models, data and space it shares with the others of its search. */
typedef struct msx__search_worker {
    msx_search *search;
    msx_device *device;
    msx_merger *merger;
    bool owns; /* device and merger are its own, not the search's */
    msx_checkpoint *target;
    uint8_t *changed;   /* per tensor */
    msx_plan *previous; /* what target holds; NULL: unknown */
    msx_model *model;
    msx__eval_work work;
    bool settled;       /* it was tried to put the models on the device */
    msx__prefix prefix; /* of `previous`; none when that is unknown */
    msx_counts *counts; /* (items) of the trial in work */
    int64_t incumbent;  /* trial that the one in work runs against; -1: none */
    msx__race race;     /* against it */
    double *rival;      /* its Dice (items), then its costs (tasks) */
} msx__search_worker;

/* What a trial is worth and what that took. The caller gives room in `costs` and `dice`. */
typedef struct msx__search_outcome {
    double *costs;                     /* (tasks) */
    double *dice;                      /* (items of the evaluator); NaN: not evaluated */
    int64_t images;                    /* that were evaluated */
    int64_t blocks_run, blocks_reused; /* transformer blocks times images */
    bool raced;                        /* stopped early: costs are msx__race_costs() */
} msx__search_outcome;

/* A trial as the store has it. */
typedef struct msx__trial {
    msx__store_state state;
    double *x;
    double *costs; /* one per task; NULL: failed or running */
    double mean;   /* of the costs; NaN when there are none */
    char *origin;
    uint64_t history[MSX__STORE_HISTORY_WORDS];
    /* while it runs */
    char *worker;
    int64_t attempt;
    double lease;
} msx__trial;

struct msx_search {
    msx_ctx *ctx;
    msx_device *device;
    msx__search_options options;
    msx__search_model *models;
    size_t n_models;
    msx__search_tasks *added;
    size_t n_added;
    char **task_names; /* "Dataset/label" */
    int64_t n_tasks;
    bool outside; /* the tasks are the caller's, who evaluates and tells */

    /* made by msx__search_prepare() */
    bool prepared;
    const char *optimizer_name;
    const char **model_names;
    msx_merger *merger;
    msx_plan *own; /* defines groups of the user's own; NULL: none */
    msx__merge_space space;
    bool staged;              /* proposals begin like the best trial (search_stage.c) */
    msx_evaluator *evaluator; /* calibration; NULL: trials are evaluated by the caller */
    msx__store *store;
    int64_t design_trials; /* what the initial design is sized by: the first run's trials */
    bool free_order;       /* a proposal sees whatever is finished; else by `batch` */
    int64_t batch;         /* trials n*batch ... n*batch+batch-1 see the results of those before */

    msx__search_worker worker;

    msx__trial *trials; /* by number */
    int64_t n_trials, trials_capacity;
    int64_t n_finished;

    struct msx__asker *asker; /* made by the first msx_search_ask() */
};

/* Open models and data, build the space, open the store and read its trials. Once. */
msx_status msx__search_prepare(msx_search *s);

/* Its parts that a search needs which was opened from its store. */
msx_status msx__search_choose_optimizer(msx_search *s);
msx_status msx__search_choose_batch(msx_search *s);
msx_status msx__search_read_design(msx_search *s);
/* A whole number of the store's `meta`; 0 when it is not there. */
msx_status msx__search_read_number(msx_search *s, const char *key, int64_t least, int64_t most,
                                   int64_t *out);

/* Open the models and make the merger. A model whose digest is known already must have it still. */
msx_status msx__search_open_models(msx_search *s);

/* Add the name of a task. @return MSX_E_EXISTS */
msx_status msx__search_add_task(msx_search *s, const char *name);

/* MSX_E_ARG for a search whose trials are evaluated by the caller. */
msx_status msx__search_needs_images(const msx_search *s);

void msx__search_free_asker(msx_search *s);

/* What the options say of the space. */
msx__space_options msx__search_space_options(const msx_search *s);

/* Keep what the store says of a trial: the next one, or news of a running one. Everything is copied. */
msx_status msx__search_take_trial(msx_search *s, const msx__store_trial *t);

/* Take in what is new in the store since the last call. */
msx_status msx__search_read_trials(msx_search *s);

/* The best of the first n trials, as msx_search_best(). */
int64_t msx__search_best_of(const msx_search *s, int64_t n);

void msx__search_forget_trials(msx_search *s);

/* Make a worker of a prepared search. `device` NULL: it opens the one of that name, which its search's
 * options say, for itself, so that another thread may run it. */
msx_status msx__search_worker_init(msx__search_worker *w, msx_search *s, msx_device *device,
                                   const char *name);
void msx__search_worker_free(msx__search_worker *w); /* accepts a zeroed struct */

/* Give the model the weights of a plan, which is taken over. Only what changed is rebuilt. */
msx_status msx__search_apply(msx__search_worker *w, msx_plan *plan);
/* Give the model the weights of a checkpoint. */
msx_status msx__search_apply_file(msx__search_worker *w, const msx_checkpoint *file);

/* Let the next trial run against the best of those whose results it may see; -1: there is none. */
msx_status msx__search_meet(msx__search_worker *w, int64_t incumbent);

/* Tell what the model in place is worth. @param race NULL: all images are evaluated.
 * @return MSX_E_FORMAT when its output is not finite. */
msx_status msx__search_costs(msx__search_worker *w, const msx__race *race,
                             msx__search_outcome *out);

/* The score of a task, or of their mean (task -1). */
msx_status msx__search_summary(const msx_search *s, const msx_score *score, int64_t task,
                               msx_summary *out);

#endif
