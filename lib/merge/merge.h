/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of lib/merge share: groups, plans, and the schedule a plan becomes for a network. */
#ifndef MSX_MERGE_INTERNAL_H
#define MSX_MERGE_INTERNAL_H

#include "core/core.h"
#include "kernels/kernels.h"

#include <medsamix/sys/merge_method.h>

enum {
    MSX__MAX_MODELS = 65,    /* the base included */
    MSX__MAX_NAME = 64,      /* bytes of a model's, group's or method's name */
    MSX__MAX_PATTERN = 256,  /* bytes of a tensor name pattern */
    MSX__MAX_ENTRIES = 4096, /* groups of a plan, patterns of a group, values of a parameter */
    MSX__MAX_PATH = 4095     /* bytes of a file's name in a plan */
};

/* ---- plans (plan.c, plan_entries.c, plan_write.c, plan_read.c) ------------------------------------ */

/* A value, or several over the depth of the entry's groups, for the tensors that a filter names. */
typedef struct msx__plan_value {
    size_t param; /* index into the method's table */
    size_t model; /* 0: base, 1..: the plan's models; 0 for parameters that are not per model */
    char *filter; /* NULL: the tensors that no filter of this parameter and model names */
    double *anchors;
    size_t n; /* anchors, at least one */
} msx__plan_value;

typedef struct msx__plan_entry {
    char *group; /* a group's name, a pattern of names, or "*" */
    const msx_merge_method *method;
    msx__plan_value *values; /* in table order, then model order, then filters as they were added */
    size_t n_values;
    size_t line, column; /* in the plan's text; 0: not from a text */
} msx__plan_entry;

/* A group of the plan's own. */
typedef struct msx__plan_define {
    char *group;
    char **patterns;
    size_t n_patterns;
} msx__plan_define;

typedef struct msx__plan_model {
    char *name; /* of the base NULL */
    char *path; /* as it was given; NULL: the plan names no file */
    char *file; /* made by msx_plan_file, dropped by every change */
} msx__plan_model;

struct msx_plan {
    msx_ctx *ctx;
    msx_granularity granularity;
    msx_dtype dtype; /* 0: not said */
    char *source; /* how messages call the text that the plan was read from; NULL: there is none */
    char *folder; /* where relative paths begin; NULL: the working directory */
    msx__plan_model base;
    msx__plan_model *models;
    size_t n_models; /* the base is not counted */
    msx__plan_define *defines;
    size_t n_defines;
    msx__plan_entry *entries;
    size_t n_entries;
    char *text; /* made by msx_plan_text, dropped by every change */
};

/* The text and the files no longer say what the plan holds. */
void msx__plan_changed(msx_plan *p);
void msx__plan_entry_free(msx_ctx *ctx, msx__plan_entry *e);

/* Number of a model in the plan, 0 for the base; -1 for an unknown one. */
int64_t msx__plan_model_index(const msx_plan *p, const char *name);
/* Relative paths begin beside a file. */
msx_status msx__plan_begin_beside(msx_plan *p, const char *file);
/* The model's path from where the plan's relative ones begin; NULL: none. Released with msx__free. */
msx_status msx__plan_resolve(char **out, const msx_plan *p, const msx__plan_model *m);

/* Say where an entry stands that has failed with `status` and a text. */
msx_status msx__plan_entry_placed(const msx_plan *p, const msx__plan_entry *e, msx_status status);
/* Remember where the entry of a group stands. */
void msx__plan_entry_place(msx_plan *p, const char *group, size_t line, size_t column);
/* The entry that speaks of a group: of its name, else the last pattern that matches, else "*". */
const msx__plan_entry *msx__plan_entry_for(const msx_plan *p, const char *group);

/* The value for a tensor of a group that lies at `depth`, 0 to 1, among those of the entry; NaN when the
 * plan gives none. */
double msx__plan_value_at(const msx__plan_entry *e, size_t param, size_t model, const char *tensor,
                          double depth);
/* Does a filter name a tensor? Without '*' and '?' it is a part of the name. */
bool msx__plan_filter_names(const char *filter, const char *tensor);

/* Append the canonical text. */
void msx__plan_print(const msx_plan *p, msx__buffer *b);

/* ---- groups (groups.c) ------------------------------------------------------------------------- */

msx_status msx__groups_create(msx_groups **out, msx_ctx *ctx, const msx_arch *arch,
                              const msx_granularity *granularity, const msx__plan_define *defines,
                              size_t n_defines);
/* Group of the architecture's tensor `i`, -1 for tensors that stay the base's. */
int64_t msx__groups_of(const msx_groups *g, int64_t i);
/* Number of tensors the groups were made for. */
int64_t msx__groups_tensors(const msx_groups *g);
/* All names, for suggestions. */
const char *const *msx__groups_names(const msx_groups *g);
/* True for tensors that the mask of a box depends on (reach.c). */
bool msx__boxes_reach(const char *tensor);
/* '*' matches any run of characters, '?' any one. */
bool msx__glob(const char *pattern, const char *text);

/* ---- methods (methods.c, method_*.c) ------------------------------------------------------------ */

extern const msx_merge_method msx__method_linear, msx__method_task_arithmetic, msx__method_ties,
    msx__method_slerp, msx__method_dare_linear, msx__method_dare_ties, msx__method_della,
    msx__method_della_linear, msx__method_breadcrumbs, msx__method_breadcrumbs_ties,
    msx__method_nuslerp, msx__method_multislerp, msx__method_karcher, msx__method_model_stock,
    msx__method_sce, msx__method_ram, msx__method_ramplus_tl, msx__method_nearswap,
    msx__method_arcee_fusion, msx__method_passthrough;

/* What `kernels` of a merge call points to. */
typedef struct msx__merge_kernels {
    const msx_kernels *ops;
    msx_kdev *dev;
    int threads; /* what the methods' own loops may use */
    /* where the models of a call are memory that the host does not see: the same models in the host's.
     * Else NULL. */
    const float *const *host;
    /* A call is about a piece of a tensor of which the models are not equal, whatever they are in it. */
    bool piece;
} msx__merge_kernels;

/* True when all models of a call hold the same bits; when models `a` and `b` do. */
bool msx__models_equal(const msx_merge_call *call);
bool msx__pair_equal(const msx_merge_call *call, size_t a, size_t b);

/* out = model `m` of a call. */
msx_status msx__call_copy(const msx_merge_call *call, size_t m);

/* True where the method touches models and result by kernels alone, so that these may lie on a device. */
bool msx__method_is_resident(const msx_merge_method *m, const double *values, size_t n_models);
/* True where every element of the result depends on this element of the models alone, unless they are equal. */
bool msx__method_is_elementwise(const msx_merge_method *m);
/* TIES without weights and other options. */
bool msx__ties_is_plain(const double *values, size_t n_models);

/* RAM: changes above epsilon that one model made times alone[m] (NULL: 1), the mean of those that several
 * made. */
msx_status msx__ram_merge(const msx_merge_call *call, float epsilon, const float *alone);

/* The status of a kernel's return value. */
msx_status msx__kernel_status(int code);

/* Put a reason into call->why and return MSX_E_ARG. */
msx_status msx__call_refuse(const msx_merge_call *call, const char *format, ...) MSX_PRINTF(2, 3);

/* Does SLERP take the straight line between two tensors? `dots`: <a, a>, <a, b>, <b, b>. */
#define MSX__SLERP_COLINEAR 0.9995 /* by default */
bool msx__slerp_is_straight(const double dots[3], double colinear, double *cosine);

/* Look up a method of a context; MSX_E_NOTFOUND with a suggestion. */
msx_status msx__method_get(msx_ctx *ctx, const char *name, const msx_merge_method **out);

/* ---- schedule (schedule.c) ----------------------------------------------------------------------- */

/* What happens to a tensor. */
typedef struct msx__recipe {
    const msx_merge_method *method;
    double *values; /* as msx_merge_call.values */
    size_t n_values;
} msx__recipe;

/* A plan made concrete for a network and a list of models. */
typedef struct msx__schedule {
    msx_ctx *ctx;
    msx_groups *groups;
    msx__recipe *recipes; /* one per group; with filters, one per tensor */
    int64_t n_recipes;
    int64_t *recipe_of; /* per tensor, -1: the base's is kept */
    size_t n_models;
    size_t models[MSX__MAX_MODELS]; /* which of the given models take part; the first is 0 */
} msx__schedule;

msx_status msx__schedule_create(msx__schedule *s, const msx_plan *plan, const msx_arch *arch,
                                const char *const *names, size_t n);
void msx__schedule_free(msx__schedule *s); /* accepts a zeroed struct */
/* Recipe of a tensor; NULL when it stays the base's. */
const msx__recipe *msx__schedule_recipe(const msx__schedule *s, int64_t tensor);
/* True when two schedules make the same of a tensor. */
bool msx__schedule_same(const msx__schedule *a, const msx__schedule *b, int64_t tensor);

/* Merge `n` elements of a tensor whose method is elementwise. */
msx_status msx__merge_piece(const msx__schedule *s, const msx_arch *arch, int64_t tensor,
                            const float *const *models, int64_t n, float *out,
                            const msx__merge_kernels *kernels);
/* Merge one tensor: `models` holds the tensor of every model the schedule names, in its order. */
msx_status msx__merge_tensor(const msx__schedule *s, const msx_arch *arch, int64_t tensor,
                             const float *const *models, float *out,
                             const msx__merge_kernels *kernels);

/* The CPU's kernels with the context's memory and threads. */
msx_status msx__merge_kernels_open(msx__merge_kernels *k, msx_ctx *ctx);
void msx__merge_kernels_set_threads(msx__merge_kernels *k, int threads);
void msx__merge_kernels_close(msx__merge_kernels *k); /* accepts a zeroed struct */

/* The files that a plan names, the base first; a model without one is MSX_E_NOTFOUND. */
typedef struct msx__plan_inputs {
    msx_ctx *ctx;
    size_t n;
    char *files[MSX__MAX_MODELS];
    const char *names[MSX__MAX_MODELS]; /* the plan's */
} msx__plan_inputs;
msx_status msx__plan_inputs_of(msx__plan_inputs *in, const msx_plan *plan);
void msx__plan_inputs_free(msx__plan_inputs *in); /* accepts a zeroed struct */

/* ---- files (merge_files.c, verify.c) ---------------------------------------------------------------- */

/* Merge files into a checkpoint in memory, with its provenance: the rebuild of `merged`, whose inputs
 * these files must be. */
msx_status msx__merge_rebuild(msx_checkpoint **out, msx_ctx *ctx, const msx_plan *plan,
                              const char *const *paths, const char *const *names, size_t n,
                              const msx_checkpoint *merged);
/* In a file whose inputs were not hashed, in place of their SHA-256. */
#define MSX__DRAFT_KEY "medsamix.draft"
#define MSX__DRAFT     "inputs not hashed"
bool msx__is_draft(const msx_checkpoint *merged);
/* The inputs have the SHA-256 that the merged file recorded. */
msx_status msx__check_inputs(const msx_checkpoint *merged, msx_ctx *ctx,
                             msx_checkpoint *const *inputs, const char *const *names, size_t n);

/* ---- shared checks (models.c) -------------------------------------------------------------------- */

/* Check number and names of models: names[0] is "base", all legal and different. */
msx_status msx__check_names(msx_ctx *ctx, const char *const *names, size_t n);
/* True for a name of 1 to MSX__MAX_NAME letters, digits and characters of `extra`. */
bool msx__legal_name(const char *name, const char *extra);
/* Infer the architecture of every model and compare it with the base's, which is returned. */
msx_status msx__shared_arch(msx_arch **out, msx_ctx *ctx, msx_checkpoint *const *checkpoints,
                            const char *const *names, size_t n);
/* Read an official tensor of a model; MSX_E_FORMAT for NaN or infinity unless allowed. */
msx_status msx__read_weights(msx_ctx *ctx, const msx_checkpoint *c, const char *name, float *out,
                             int64_t n, bool allow_nonfinite);
/* MSX_E_FORMAT for a NaN or infinity in `n` elements, from number `first` on, of an official tensor. */
msx_status msx__check_finite(msx_ctx *ctx, const msx_checkpoint *c, const char *name,
                             const float *values, int64_t first, int64_t n);
int64_t msx__tensor_elements(const msx_arch *arch, int64_t i);

#endif
