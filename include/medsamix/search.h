/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file search.h
 * @brief Data sets and tasks, the evaluator, the merge search with its store, the report.
 */
#ifndef MEDSAMIX_SEARCH_H
#define MEDSAMIX_SEARCH_H

#include <medsamix/merge.h>
#include <medsamix/metrics.h>
#include <medsamix/model.h>
#include <medsamix/optimize.h>

MSX_BEGIN_DECLS

/* ---- data sets ------------------------------------------------------------------------------- */

/** An nnU-Net raw folder: dataset.json, imagesTr + labelsTr (calibration), imagesTs + labelsTs
 *  (test); .nii.gz, .nii or .png. Every foreground label is a task. */
typedef struct msx_dataset msx_dataset;

typedef enum msx_split { MSX_SPLIT_CALIBRATION = 1, MSX_SPLIT_TEST = 2 } msx_split;

/** Open a folder: reads dataset.json and lists the files; a case without its label (or the reverse)
 *  is MSX_E_FORMAT naming it. Images are read when used. */
MSX_API msx_status msx_dataset_open(msx_dataset **out, msx_ctx *ctx, const char *folder);
MSX_API void msx_dataset_free(msx_dataset *d);

/** Name ("Dataset101_HumanMR": dataset.json's, else the folder's). */
MSX_API const char *msx_dataset_name(const msx_dataset *d);
/** Tasks: number, label name and value. */
MSX_API int64_t msx_dataset_task_count(const msx_dataset *d);
MSX_API const char *msx_dataset_task(const msx_dataset *d, int64_t i);
MSX_API int msx_dataset_task_label(const msx_dataset *d, int64_t i);
/** Cases of a split: number, name, path of image (channel 0) and label. */
MSX_API int64_t msx_dataset_case_count(const msx_dataset *d, msx_split split);
MSX_API const char *msx_dataset_case(const msx_dataset *d, msx_split split, int64_t i);
MSX_API const char *msx_dataset_image_path(const msx_dataset *d, msx_split split, int64_t i);
MSX_API const char *msx_dataset_label_path(const msx_dataset *d, msx_split split, int64_t i);

/** Receives one finding of msx_dataset_check(); level MSX_LOG_WARNING is an error in the data,
 *  MSX_LOG_INFO a remark. */
typedef void (*msx_finding_fn)(msx_log_level level, const char *text, void *payload);

/** Look at everything in a folder and report each finding instead of stopping at the first: missing
 *  partners, unreadable files, sizes and geometry that differ, labels not in dataset.json, empty
 *  labels, tasks without enough pixels. @param findings number of errors; may be NULL.
 *  @return MSX_OK also when there are findings. */
MSX_API msx_status msx_dataset_check(msx_ctx *ctx, const char *folder, msx_finding_fn report,
                                     void *payload, int64_t *findings);

/* ---- evaluation ------------------------------------------------------------------------------ */

/** How slices are cut, windowed and prompted. Zero-initialise and set struct_size; 0 and NULL choose
 *  the default. The fields are part of a search's identity. */
typedef struct msx_eval_options {
    size_t struct_size;
    const char *box_preset; /**< "tight" (default), "medsam", "medicosam" */
    const char *slice_axis; /**< "max-spacing" (default), "i", "j", "k" */
    const char *intensity;  /**< rule of msx_volume_window(); NULL: "ct" when channel 0 of
                                 dataset.json is named CT, "mr" when it contains MR or T1/T2/FLAIR,
                                 "none" for 8-bit images, else "minmax" */
    int64_t min_object;     /**< pixels a slice's label must have; 0: 40 */
    msx_unit unit;          /**< what is averaged; default MSX_UNIT_SLICE */
    msx_empty_rule empty;   /**< default MSX_EMPTY_NNUNET */
    uint64_t seed;          /**< of the boxes' jitter (presets that have one) */
} msx_eval_options;

/** Slices and prompts of chosen tasks of one split, prepared once; then any number of models. */
typedef struct msx_evaluator msx_evaluator;

MSX_API msx_status msx_evaluator_create(msx_evaluator **out, msx_ctx *ctx, msx_split split,
                                        const msx_eval_options *options);
MSX_API void msx_evaluator_free(msx_evaluator *e);

/** Add tasks of a data set, which must outlive the evaluator; tasks of several data sets may be
 *  mixed. @param tasks NULL: all.
 *  @return MSX_E_NOTFOUND for an unknown label, with a suggestion; errors of the files. */
MSX_API msx_status msx_evaluator_add(msx_evaluator *e, const msx_dataset *d,
                                     const char *const *tasks, size_t n);

/** Tasks in the order added: number, and name "Dataset/label". Images (slices) in all. */
MSX_API int64_t msx_evaluator_task_count(const msx_evaluator *e);
MSX_API const char *msx_evaluator_task(const msx_evaluator *e, int64_t i);
MSX_API int64_t msx_evaluator_image_count(const msx_evaluator *e);

/** Segment every slice from its box prompts and count mask 0. One row per (case, task, slice): the case
 *  is named "Dataset/case", the label as the task; pixels of a label named "ignore" do not count.
 *  Images are encoded once for all their tasks.
 *  @return MSX_E_FORMAT (nothing to score; the network's output is not finite), MSX_E_CANCELLED, ... */
MSX_API msx_status msx_evaluator_run(msx_score **out, msx_evaluator *e, msx_model *model);

/** Pictures of image `i` with all its prompts: ground truth, prediction and boxes drawn over it. */
MSX_API msx_status msx_evaluator_overlay(msx_image **out, msx_evaluator *e, msx_model *model,
                                         int64_t image, int zoom);
/** Image `i`: case name, slice (-1: a 2-D image), data set name. */
MSX_API const char *msx_evaluator_image_case(const msx_evaluator *e, int64_t i);
MSX_API int64_t msx_evaluator_image_slice(const msx_evaluator *e, int64_t i);
MSX_API const char *msx_evaluator_image_dataset(const msx_evaluator *e, int64_t i);

/* ---- search ---------------------------------------------------------------------------------- */

/** A search for the plan of best Dice on the calibration split of some tasks. */
typedef struct msx_search msx_search;

/** Make a search. `device` must outlive it. Options are set by key (docs/search.md):
 *  trials (120), seed (0), granularity (2), prompt_granularity (1), decoder_granularity (1),
 *  optimizer ("smac" for one task, "parego" for several), methods
 *  ("linear,task_arithmetic,ties,slerp"), preset ("sam"), store (path; "" keeps the trials in
 *  memory), box_preset, slice_axis, intensity, min_object, unit ("slice", "volume"), empty,
 *  keep_dead_groups (0, 1), workers (1), devices, batch, order ("batch", "free"), lease (60), worker,
 *  and the optimizer's own as "smac.KEY". */
MSX_API msx_status msx_search_create(msx_search **out, msx_device *device);
MSX_API void msx_search_free(msx_search *s);

/** Set an option from text. Once the search has run only "trials" (more of them continue the same
 *  sequence), "lease" and "worker" may be set. @return MSX_E_NOTFOUND with a suggestion, MSX_E_ARG. */
MSX_API msx_status msx_search_set(msx_search *s, const char *key, const char *value);

/** Add a model; the first is the base and must be named "base". */
MSX_API msx_status msx_search_add_model(msx_search *s, const char *name, const char *path);

/** Add tasks of a data set (which must outlive the search); NULL: all. */
MSX_API msx_status msx_search_add_tasks(msx_search *s, const msx_dataset *d,
                                        const char *const *tasks, size_t n);

/** Run until the number of trials is reached, continuing what the store holds: every model alone and
 *  every method with its defaults first, then what the optimizer proposes. A merge whose output is not
 *  finite is a failed trial and no error. With "workers" above 1 that many threads run trials at once,
 *  this one being the first; the processor's threads are divided among them. Other processes may run
 *  the same search on the same store; the call returns when the trials of all are finished, and takes
 *  over those of a process that died.
 *  @return MSX_DONE_TRIALS, MSX_DONE_EXHAUSTED, MSX_E_CANCELLED (resume by running again),
 *  MSX_E_STORE, or a failure of the inputs. */
MSX_API msx_status msx_search_run(msx_search *s);

/** Open a search from its store alone, for msx_search_ask() and _tell(), and to look at its trials:
 *  neither images nor model files are read, until msx_search_write() needs the latter. msx_search_run()
 *  and _finish() are MSX_E_ARG then. `device` must outlive it.
 *  @return MSX_E_STORE (no store, damaged, of another version, of no search yet), MSX_E_IO. */
MSX_API msx_status msx_search_open(msx_search **out, msx_device *device, const char *store);

/** Add a task that the caller evaluates, in any way: its costs come by msx_search_tell(). The tasks of a
 *  search are all of data sets, or all the caller's. `name`: 1 to 200 bytes, without ',' and '='. */
MSX_API msx_status msx_search_add_outside_task(msx_search *s, const char *name);

/** Lease a trial for an evaluation by the caller: one whose lease has ended, else a new one. Its plan is
 *  msx_search_trial_plan(). After "lease" seconds without msx_search_tell() others may be given the same
 *  trial. Programs in any number may ask of one store, beside workers that run it.
 *  @param trial receives the number, or -1.
 *  @return MSX_OK, MSX_DONE_TRIALS (the option "trials" is reached, all are finished),
 *  MSX_DONE_EXHAUSTED, MSX_DONE_WAIT (trials that run must be finished first; with "order" "free" only
 *  when the number of trials is reached), MSX_E_STORE. */
MSX_API msx_status msx_search_ask(msx_search *s, int64_t *trial);

/** Tell what a trial is worth. The first answer counts, whoever gives it.
 *  @param costs 1 - Dice, one per task, 0 to 1; NULL: the evaluation failed. @param error why; NULL: unsaid.
 *  @return MSX_E_ARG: not asked for, told already, a cost that is not in 0..1 (NaN too). */
MSX_API msx_status msx_search_tell(msx_search *s, int64_t trial, const double *costs,
                                   const char *error);

/** What has become of a trial. */
typedef enum msx_trial_state {
    MSX_TRIAL_RUNNING = 1, /**< somewhere, or left behind by a run that was stopped */
    MSX_TRIAL_DONE = 2,
    MSX_TRIAL_RACED = 3, /**< stopped early; its costs are running values, it is never the best */
    MSX_TRIAL_FAILED = 4
} msx_trial_state;

/** After a run: trials that were begun; state, plan, costs (1 - Dice, one per task, NULL when failed or
 *  running) and origin of one. State 0: there is no such trial. */
MSX_API int64_t msx_search_trials(const msx_search *s);
MSX_API msx_trial_state msx_search_trial_state(const msx_search *s, int64_t trial);
MSX_API msx_status msx_search_trial_plan(msx_plan **out, const msx_search *s, int64_t trial);
MSX_API const double *msx_search_trial_costs(const msx_search *s, int64_t trial);
MSX_API const char *msx_search_trial_origin(const msx_search *s, int64_t trial);

/** Names of the tasks, in the order of the costs. */
MSX_API int64_t msx_search_task_count(const msx_search *s);
MSX_API const char *msx_search_task(const msx_search *s, int64_t i);

/** Trial of the lowest mean cost, then of the lowest worst regret, then the earliest; -1: none. */
MSX_API int64_t msx_search_best(const msx_search *s);

/** Trials of the Pareto front, ranked as msx_search_best() does. `out` has room for `n`; returns how
 *  many there are. */
MSX_API int64_t msx_search_front(const msx_search *s, int64_t *out, int64_t n);

/** Merge by the plan of a trial and write it, with provenance. `checkpoint_path` or `plan_path` may
 *  be NULL. */
MSX_API msx_status msx_search_write(msx_search *s, int64_t trial, const char *checkpoint_path,
                                    const char *plan_path);

/** Score the inputs, the uniform merge by every method and the best trial on a split and keep the
 *  scores and overlay pictures of the best and worst cases in the store, for the report. */
MSX_API msx_status msx_search_finish(msx_search *s, msx_split split);

/* ---- report ---------------------------------------------------------------------------------- */

/** Write one self-contained HTML page about the search in a store (SQLite file). */
MSX_API msx_status msx_report_write(msx_ctx *ctx, const char *store_path, const char *html_path);

MSX_END_DECLS

#endif
