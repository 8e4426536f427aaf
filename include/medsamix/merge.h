/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file merge.h
 * @brief Layer groups, merge plans, and merging.
 *
 * A plan says for every layer group which merge method to use with which hyperparameters. A merger
 * holds the models resident and rebuilds any group on demand; msx_merge_files() goes from files to
 * file. The first model is always the base, and its name in plans is "base".
 */
#ifndef MEDSAMIX_MERGE_H
#define MEDSAMIX_MERGE_H

#include <medsamix/arch.h>

MSX_BEGIN_DECLS

/* ---- layer groups ---------------------------------------------------------------------------- */

/** A partition of a network's tensors into named groups, in network order. */
typedef struct msx_groups msx_groups;

/** How many neighbouring units share one group, each 1 to 4 (0 means 1). */
typedef struct msx_granularity {
    size_t struct_size;
    int encoder; /**< encoder blocks */
    int prompt;  /**< rows of the prompt encoder (4 in all) */
    int decoder; /**< rows of the mask decoder (6 in all) */
} msx_granularity;

/** The default groups of docs/guide (patch_embed, pos_embed, encoder.0-1, ..., neck, prompt.0-3,
 *  decoder.0-5). Grouped rows are named by their first and last, "prompt.0-1". */
MSX_API msx_status msx_groups_create(msx_groups **out, msx_ctx *ctx, const msx_arch *arch,
                                     const msx_granularity *granularity);

/** Release groups. Accepts NULL. */
MSX_API void msx_groups_free(msx_groups *g);

/** Number of groups; name of group `i` (NULL out of range); group of a tensor, -1 for tensors that
 *  are always the base's (the prompt encoder's gaussian matrix, tensors SAM does not name). */
MSX_API int64_t msx_groups_count(const msx_groups *g);
MSX_API const char *msx_groups_name(const msx_groups *g, int64_t i);
MSX_API int64_t msx_groups_of_tensor(const msx_groups *g, const char *tensor_name);

/** Elements of group `i`; and how many of them the masks of box prompts depend on, which are mask 0 of
 *  prompts without points and masks: what differs only in the others cannot change such a mask. -1 out of
 *  range. */
MSX_API int64_t msx_groups_elements(const msx_groups *g, int64_t i);
MSX_API int64_t msx_groups_reached(const msx_groups *g, int64_t i);

/* ---- plans ----------------------------------------------------------------------------------- */

/** Method and hyperparameters per group. Text form: YAML, see docs/formats/plan.md. */
typedef struct msx_plan msx_plan;

/** An empty plan: every tensor stays the base's. */
MSX_API msx_status msx_plan_create(msx_plan **out, msx_ctx *ctx);

/** Parse a plan's text (`length` bytes, no NUL needed). @param source how errors call the text.
 *  @return MSX_E_FORMAT with line and column, MSX_E_NOTFOUND for an unknown method or parameter
 *  (with a suggestion), MSX_E_LIMIT, MSX_E_NOMEM. */
MSX_API msx_status msx_plan_parse(msx_plan **out, msx_ctx *ctx, const char *text, size_t length,
                                  const char *source);

/** Read a plan file. */
MSX_API msx_status msx_plan_load(msx_plan **out, msx_ctx *ctx, const char *path);

/** Release a plan. Accepts NULL. */
MSX_API void msx_plan_free(msx_plan *p);

/** The canonical text: parsing it gives the same plan, printing that gives the same bytes.
 *  Borrowed until the plan changes. NULL when out of memory. */
MSX_API const char *msx_plan_text(msx_plan *p);

/** Write the canonical text to a file. */
MSX_API msx_status msx_plan_save(msx_plan *p, const char *path);

/** Granularity that names the groups; default 1, 1, 1. */
MSX_API msx_status msx_plan_set_granularity(msx_plan *p, const msx_granularity *granularity);
MSX_API void msx_plan_granularity(const msx_plan *p, msx_granularity *out);

/** Element type of the merged file: F32, F16, BF16 or F64; 0 (default): not said, F32. Merging itself is
 *  float32. */
MSX_API msx_status msx_plan_set_dtype(msx_plan *p, msx_dtype dtype);
MSX_API msx_dtype msx_plan_dtype(const msx_plan *p);

/** Models the plan names besides the base, in order ("human", "macaque"); they fix which models
 *  per-model hyperparameters speak of. Only these and the base are merged; a plan that names none
 *  takes all models. At most 64; names of letters, digits, '_' and '-'. */
MSX_API msx_status msx_plan_add_model(msx_plan *p, const char *name);
MSX_API int64_t msx_plan_model_count(const msx_plan *p);
MSX_API const char *msx_plan_model(const msx_plan *p, int64_t i);

/** The file of a model, "base" or one that was added, so that a plan says all of a merge; NULL for none.
 *  Relative paths begin in a folder: that of the plan's file after msx_plan_load(), else the working
 *  directory. msx_plan_path() gives back what was set; msx_plan_file() the path from there, borrowed
 *  until the plan changes; NULL when there is none. @return MSX_E_NOTFOUND, MSX_E_ARG, MSX_E_NOMEM. */
MSX_API msx_status msx_plan_set_path(msx_plan *p, const char *model, const char *path);
MSX_API const char *msx_plan_path(const msx_plan *p, const char *model);
MSX_API msx_status msx_plan_set_folder(msx_plan *p, const char *folder);
MSX_API const char *msx_plan_file(msx_plan *p, const char *model);

/** Choose the method of a group, or of all groups that a pattern names ('*' and '?'). The entry that has
 *  a group's own name goes before patterns, of these the last one set before others, and "*" is what is
 *  left. The entry's parameters return to the method's defaults. */
MSX_API msx_status msx_plan_set_method(msx_plan *p, const char *group, const char *method);

/** Set a hyperparameter of a group with a method: "scaling", "retain", "t", or per model
 *  "weight.base", "score.human". @return MSX_E_NOTFOUND, MSX_E_ARG (out of range). */
MSX_API msx_status msx_plan_set_param(msx_plan *p, const char *group, const char *key,
                                      double value);

/** As msx_plan_set_param(), and more:
 *  @param filter only for tensors whose name matches it, or holds it when it has neither '*' nor '?'; of
 *  several filters the one that was set first goes before the others. NULL: for tensors that no filter
 *  names. @param values n values (1 to 4096) over the depth: the groups that the entry speaks of lie
 *  evenly from the first value to the last in the order of msx_groups, linearly between two of them. */
MSX_API msx_status msx_plan_set_values(msx_plan *p, const char *group, const char *key,
                                       const char *filter, const double *values, size_t n);

/** Give a group of its own by tensor name patterns ('*' and '?', later definitions win); it takes
 *  its tensors out of the default groups. */
MSX_API msx_status msx_plan_add_group(msx_plan *p, const char *group, const char *const *patterns,
                                      size_t n);

/** Entries in order: number, group, method, value of a parameter (NaN when not set, where the method's
 *  default applies, and when there are several over the depth). */
MSX_API int64_t msx_plan_entry_count(const msx_plan *p);
MSX_API const char *msx_plan_entry_group(const msx_plan *p, int64_t i);
MSX_API const char *msx_plan_entry_method(const msx_plan *p, int64_t i);
MSX_API double msx_plan_entry_param(const msx_plan *p, int64_t i, const char *key);

/** A hyperparameter that an entry sets. */
typedef struct msx_plan_setting {
    size_t struct_size;
    const char *param;    /**< "scaling" */
    const char *model;    /**< NULL where one value is for all models */
    const char *filter;   /**< NULL: for tensors that no filter names */
    const double *values; /**< n of them, over the depth */
    size_t n;
} msx_plan_setting;

/** Settings of entry `i`: number, and number `k` of them; what it points to is borrowed until the plan
 *  changes. @param out struct_size must be set. @return MSX_E_ARG out of range. */
MSX_API int64_t msx_plan_entry_setting_count(const msx_plan *p, int64_t i);
MSX_API msx_status msx_plan_entry_setting(msx_plan_setting *out, const msx_plan *p, int64_t i,
                                          int64_t k);

/** The groups that a plan makes of an architecture (granularity and own groups applied). */
MSX_API msx_status msx_plan_groups(msx_groups **out, const msx_plan *p, const msx_arch *arch);

/* ---- merging --------------------------------------------------------------------------------- */

/** Models resident in memory, ready to be merged again and again. */
typedef struct msx_merger msx_merger;

/** Load `n` models (2 to 65; the first is the base) as float32. Checkpoints may be freed afterwards.
 *  All must have the base's architecture. @param names n names; names[0] must be "base".
 *  @param allow_nonfinite false: a NaN or infinity in any weight is MSX_E_FORMAT. */
MSX_API msx_status msx_merger_create(msx_merger **out, msx_ctx *ctx,
                                     msx_checkpoint *const *checkpoints, const char *const *names,
                                     size_t n, bool allow_nonfinite);

/** Release a merger. Accepts NULL. */
MSX_API void msx_merger_free(msx_merger *m);

/** The architecture all models share. Borrowed. */
MSX_API const msx_arch *msx_merger_arch(const msx_merger *m);

/** True when all models are bit-equal on every tensor of group `i` of `g`. */
MSX_API bool msx_merger_group_equal(const msx_merger *m, const msx_groups *g, int64_t i);

/** Merge into `target`, a checkpoint made in memory: empty, or the target of an earlier call. Only
 *  groups whose configuration differs from `previous` (NULL: all) are rebuilt, bit-identical to a
 *  full merge. @param changed may be NULL; else receives one byte per tensor of the architecture,
 *  1 where the tensor was rebuilt (msx_arch_tensor_count() bytes).
 *  After a failure the target holds tensors of both plans: merge again with `previous` NULL.
 *  @return MSX_E_NOTFOUND (a model, group or method), MSX_E_SHAPE, MSX_E_NOMEM, MSX_E_CANCELLED. */
MSX_API msx_status msx_merger_run(msx_merger *m, const msx_plan *plan, const msx_plan *previous,
                                  msx_checkpoint *target, uint8_t *changed);

/** Merge files into a file, with provenance: keys medsamix.version, medsamix.plan,
 *  medsamix.input.NAME (SHA-256 of the file). The bits are those of msx_merger_run().
 *
 *  Memory does not grow with the models: at most about n + 1 times the largest tensor and 8 MB for
 *  each, never a whole model; where every element is merged for itself (linear, task_arithmetic, ...) a
 *  few hundred KB. When the context allows more than one thread, inputs are read and hashed, merged,
 *  and written at the same time, on threads of their own that mostly wait; with one thread all runs on
 *  the caller's. The tensors of the file lie as those of the base's file. The file appears under its name only when it is complete: a failure or a cancelled
 *  call leaves nothing. Progress: stage "merge", in tensors.
 *
 *  With `draft` of the options, for trying many merges: the same tensors to the bit, but the inputs are not
 *  hashed and the disk is not waited for. medsamix.draft then stands in place of medsamix.input.NAME, so that
 *  nothing proves later which files were merged. Publish files that were merged without it.
 *  @param n models, the first is the base; with n 0 and `paths` and `names` NULL, the files that the plan
 *  names. @param options NULL for the defaults; an element type of 0 is the plan's.
 *  @return what opening and reading checkpoints and msx_merger_run() return; MSX_E_IO when the file
 *  cannot be written, MSX_E_CANCELLED. */
MSX_API msx_status msx_merge_files(msx_ctx *ctx, const msx_plan *plan, const char *const *paths,
                                   const char *const *names, size_t n, const char *out_path,
                                   const msx_save_options *options, bool allow_nonfinite);

/** What became of rebuilding a merged file. */
typedef struct msx_merge_check {
    size_t struct_size;
    int64_t equal;      /**< 1 when every byte is the same */
    int64_t first_byte; /**< first byte of the file that differs; -1 when equal */
    char tensor[512];   /**< first tensor that differs; "" when only something else does */
    int64_t draft; /**< 1 for a draft, which does not say what its inputs were: a difference may
                             then come from other inputs as well as from a changed file.  Since 0.1 */
} msx_merge_check;

/** Rebuild a merged file from the plan it carries and its inputs, in its container and element type,
 *  and compare byte for byte. Nothing is written. @param n models, the first is the base; the same
 *  names as in the merge. With n 0 and `paths` and `names` NULL: the files that the plan names, relative
 *  ones beside the merged file. @return MSX_OK also for a file that differs; MSX_E_UNSUPPORTED for a file
 *  without a plan, MSX_E_NOTFOUND for a model that is missing or too many, MSX_E_FORMAT when the
 *  SHA-256 of inputs are not the recorded ones (the text names them all; a draft recorded none). */
MSX_API msx_status msx_merge_verify(msx_merge_check *out, msx_ctx *ctx, const char *path,
                                    const char *const *paths, const char *const *names, size_t n);

/** Write the provenance metadata of a merge into `target`. @param sha256 n hex digests. */
MSX_API msx_status msx_merge_set_provenance(msx_checkpoint *target, msx_plan *plan,
                                            const char *const *names, const char *const *sha256,
                                            size_t n);

/** Difference of one layer group between two models. */
typedef struct msx_group_diff {
    size_t struct_size;
    int64_t elements;
    double relative_l2; /**< |b - a| / |a| (0 when equal, inf when only a is zero) */
    double cosine;      /**< <a, b> / (|a| |b|); 1 when both are zero */
    int64_t equal;      /**< 1 when bit-equal */
    int64_t
        reached_equal; /**< 1 when all that the masks of box prompts depend on is bit-equal, also when
                                that is nothing */
} msx_group_diff;

/** Compare two checkpoints of one architecture by group; `out` has msx_groups_count(g) entries with
 *  struct_size set in the first. */
MSX_API msx_status msx_diff(msx_group_diff *out, msx_ctx *ctx, const msx_checkpoint *a,
                            const msx_checkpoint *b, const msx_groups *g);

/** What merging two fine-tuned models meets in one layer group. A task vector is a model minus the
 *  base. */
typedef struct msx_group_tasks {
    size_t struct_size;
    int64_t elements;
    int64_t both;  /**< elements that both models changed */
    int64_t agree; /**< of these, changed in the same direction */
    double cosine; /**< of the two task vectors; NaN when either is zero */
    int64_t tensors;
    int64_t colinear; /**< tensors of the models between which SLERP takes the straight line */
    int64_t equal;    /**< 1 when base and both models are bit-equal */
} msx_group_tasks;

/** Compare two models fine-tuned from one base by group; `out` has msx_groups_count(g) entries with
 *  struct_size set in the first. SLERP with its default threshold. */
MSX_API msx_status msx_diff_tasks(msx_group_tasks *out, msx_ctx *ctx, const msx_checkpoint *base,
                                  const msx_checkpoint *a, const msx_checkpoint *b,
                                  const msx_groups *g);

MSX_END_DECLS

#endif
