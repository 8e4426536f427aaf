/* SPDX-License-Identifier: Apache-2.0 */
/* The space of merges: which groups are searched, which parameter of which method every column of a
 * configuration is, and the plan that a configuration means. */
#ifndef MSX_SEARCH_SPACE_H
#define MSX_SEARCH_SPACE_H

#include "core/core.h"

#include <medsamix/optimize.h>
#include <medsamix/sys/merge_method.h>

typedef enum msx__group_state {
    MSX__GROUP_SEARCHED,
    MSX__GROUP_EQUAL,     /* all models are bit-equal: any merge gives the same */
    MSX__GROUP_UNREACHED, /* what differs cannot reach mask 0 under box prompts */
    MSX__GROUP_STATES
} msx__group_state;

typedef struct msx__space_group {
    char *name;
    int64_t elements;
    msx__group_state state;
    int64_t method_column; /* -1: one method only, or not searched */
} msx__space_group;

/* One column that is a hyperparameter. */
typedef struct msx__space_column {
    int64_t group;
    size_t method; /* index into methods */
    int param;     /* index into the method's table; -1: the column is the method itself */
    size_t model;  /* of per-model parameters */
} msx__space_column;

typedef struct msx__merge_space {
    msx_ctx *ctx;
    msx_space *space;
    msx_granularity granularity;
    const char *const *models; /* n_models names, borrowed; the first is the base */
    size_t n_models;
    const msx_merge_method **methods;
    size_t n_methods;
    msx__space_group *groups;
    int64_t n_groups;
    msx__space_column *columns; /* msx_space_count(space) */
    int64_t columns_capacity;
} msx__merge_space;

const char *msx__group_state_name(msx__group_state state);

/* `methods`: comma-separated names. @param keep_dead search equal and unreached groups too. */
msx_status msx__merge_space_create(msx__merge_space *out, msx_ctx *ctx, const msx_merger *merger,
                                   const char *const *models, size_t n_models,
                                   const msx_granularity *granularity, const char *methods,
                                   bool keep_dead);
/* The same space from groups whose state is known, without the models. The groups are taken over, also
 * after a failure. */
msx_status msx__merge_space_restore(msx__merge_space *out, msx_ctx *ctx, msx__space_group *groups,
                                    int64_t n_groups, const char *const *models, size_t n_models,
                                    const msx_granularity *granularity, const char *methods);
void msx__merge_space_free(msx__merge_space *s); /* accepts a zeroed struct */

/* The plan of a configuration. Groups that are not searched have no entry: they stay the base's. */
msx_status msx__merge_space_plan(msx_plan **out, const msx__merge_space *s, const double *x);

/* The plan of one method with its defaults in every searched group; any registered method. */
msx_status msx__merge_space_uniform_plan(msx_plan **out, const msx__merge_space *s,
                                         const msx_merge_method *method);

/* The same as a configuration; false when the method is not searched. */
bool msx__merge_space_uniform(const msx__merge_space *s, const char *method, double *x);

/* The configuration that gives the weights of one model alone; false without the method linear. */
bool msx__merge_space_single(const msx__merge_space *s, size_t model, double *x);

/* Parse and check a list of methods. @param out NULL: only check; else released with msx__free. */
msx_status msx__methods_parse(const msx_merge_method ***out, size_t *n, msx_ctx *ctx,
                              const char *list);

#endif
