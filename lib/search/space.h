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

/* Parts of the network that have a granularity. */
typedef enum msx__space_part_kind {
    MSX__PART_NONE = -1,
    MSX__PART_ENCODER,
    MSX__PART_PROMPT,
    MSX__PART_DECODER,
    MSX__PARTS
} msx__space_part_kind;

enum { MSX__MAX_GRANULARITY = 4 };

/* A part's granularity: one of n, chosen by a column where there are several. */
typedef struct msx__space_part {
    int choices[MSX__MAX_GRANULARITY], n;
    int initial;    /* index into choices */
    int64_t column; /* -1: there is only one */
} msx__space_part;

typedef struct msx__space_group {
    char *name;
    int64_t elements;
    msx__group_state state;
    int64_t method_column;     /* -1: one method only, or not searched */
    msx__space_part_kind part; /* whose granularity decides whether there is this group */
    unsigned granularities;    /* bit g: there is with granularity g */
    int64_t unit;              /* place in the network: the first of the smallest groups in it */
    int64_t use;               /* boundary before its first use in the image encoder; -1: none */
} msx__space_group;

/* One column: a hyperparameter, a group's method, or a part's granularity. */
typedef struct msx__space_column {
    int64_t group; /* -1: the column is the granularity of `part` */
    size_t method; /* index into methods */
    int param;     /* index into the method's table; -1: the column is the method itself */
    size_t model;  /* of per-model parameters */
    int part;
} msx__space_column;

/* What is searched. */
typedef struct msx__space_options {
    int granularity[MSX__PARTS]; /* 1 to 4; 0: searched too */
    const char *methods;         /* comma-separated names */
    const msx_plan *own;         /* groups of the user's own: what it defines; NULL: none */
    bool keep_dead;              /* search equal and unreached groups too */
} msx__space_options;

typedef struct msx__merge_space {
    msx_ctx *ctx;
    msx_space *space;
    const msx_plan *own;       /* borrowed */
    int64_t depth;             /* blocks of the encoder */
    const char *const *models; /* n_models names, borrowed; the first is the base */
    size_t n_models;
    const msx_merge_method **methods;
    size_t n_methods;
    msx__space_part parts[MSX__PARTS];
    msx__space_group *groups; /* of all granularities that are possible */
    int64_t n_groups;
    msx__space_column *columns; /* msx_space_count(space) */
    int64_t columns_capacity;
} msx__merge_space;

const char *msx__group_state_name(msx__group_state state);

msx_status msx__merge_space_create(msx__merge_space *out, msx_ctx *ctx, const msx_merger *merger,
                                   const char *const *models, size_t n_models,
                                   const msx__space_options *options);
/* The same space from groups of which name, elements and state are known, without the models. `uses` is what
 * msx__merge_space_uses() said of them. The groups are taken over, also after a failure.
 * @return MSX_E_FORMAT: `uses` does not fit. */
msx_status msx__merge_space_restore(msx__merge_space *out, msx_ctx *ctx, msx__space_group *groups,
                                    int64_t n_groups, const char *uses, int64_t depth,
                                    const char *const *models, size_t n_models,
                                    const msx__space_options *options);
void msx__merge_space_free(msx__merge_space *s); /* accepts a zeroed struct */

/* Append "USE/GRANULARITIES,...", the numbers of every group. */
msx_status msx__merge_space_uses(const msx__merge_space *s, msx__buffer *out);

/* Mark, one byte per column, what decides on the encoder's results up to a boundary: the columns of the
 * groups first used there or before, and the encoder's granularity. */
void msx__merge_space_prefix(const msx__merge_space *s, int64_t boundary, uint8_t *fixed);

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
