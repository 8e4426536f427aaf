/* SPDX-License-Identifier: Apache-2.0 */
/* What `medsamix diff` knows of its models: computed in verb_diff.c, printed there, drawn in
 * diff_page.c. */
#ifndef MEDSAMIX_DIFF_H
#define MEDSAMIX_DIFF_H

#include "program.h"

enum { DIFF_MODELS = 9, DIFF_PAIRS = (DIFF_MODELS - 1) * (DIFF_MODELS - 2) / 2 };

/* Two models that are compared through the base. */
typedef struct diff_pair {
    int a, b; /* numbers of the models, from 1 */
    msx_group_tasks *groups;
} diff_pair;

typedef struct diff {
    int n; /* models, at least 2; with three and more the first is the base of the others */
    const char *const *paths;
    msx_checkpoint *models[DIFF_MODELS];
    msx_arch *arch;
    msx_groups *groups;
    int64_t n_groups;
    msx_group_diff *distances[DIFF_MODELS]; /* of the first model to model i, from 1 */
    int n_pairs;
    diff_pair pairs[DIFF_PAIRS]; /* every two of the fine-tuned models */
} diff;

/* What merging a layer group can do to the masks of box prompts. */
typedef enum diff_effect {
    DIFF_EQUAL,     /* nothing: all models are equal */
    DIFF_UNREACHED, /* nothing: what differs is not reached by boxes */
    DIFF_REACHED
} diff_effect;
diff_effect diff_effect_of(const diff *d, int64_t group);

/* Share of the elements changed by both that both changed in one direction; NaN without any. */
double diff_sign_agreement(const msx_group_tasks *t);

/* Name of a file without its folder. */
const char *diff_name(const char *path);

/* Write one self-contained HTML page: a heat map, a row for each layer group. An exit code. */
int diff_page(program *p, const diff *d, const char *path);

#endif
