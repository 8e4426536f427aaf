/* SPDX-License-Identifier: Apache-2.0 */
/* Random forest for regression on encoded configurations (F. Hutter, H. Hoos, K. Leyton-Brown,
 * "Sequential model-based optimization for general algorithm configuration", LION 2011). */
#ifndef MSX_OPTIMIZE_FOREST_H
#define MSX_OPTIMIZE_FOREST_H

#include "optimize/space.h"

#include <math.h>

/* A feature is a parameter: the unit encoding of a number, the index of a choice. Inactive numbers
 * are -1, inactive categories one index more than there are, so that trees can split on activity. */
static inline double msx__forest_encode(const msx__param *p, double value) {
    if (p->kind == MSX_PARAM_CATEGORICAL) return isnan(value) ? (double)p->n_choices : value;
    return isnan(value) ? -1 : msx__space_encode(p, value);
}

#define MSX__MAX_TREES 1000

typedef struct msx__forest_options {
    int trees;            /* at most MSX__MAX_TREES */
    double feature_ratio; /* share of the features looked at for each split */
    int min_split;        /* points, with their copies, that a node needs to be split */
    int min_leaf;         /* and that each part must keep */
    bool bootstrap;       /* each tree sees n of the n points, drawn with replacement */
    bool distinct;        /* a leaf takes the mean of its points without their copies */
} msx__forest_options;

typedef struct msx__forest_node {
    int32_t feature; /* -1: leaf */
    int32_t left;    /* index in the tree; the right one follows it */
    int32_t mask;    /* >= 0: categories that go left; -1: numbers up to `value` go left */
    double value;    /* threshold, or prediction of a leaf */
} msx__forest_node;

#define MSX__MASK_WORDS 3 /* MSX__MAX_CHOICES + 1 bits */

typedef struct msx__forest {
    msx_ctx *ctx;
    const msx_space *space;
    int trees;
    int64_t stride;          /* nodes reserved for each tree */
    msx__forest_node *nodes; /* trees x stride */
    uint64_t *masks;         /* trees x stride / 2 x MSX__MASK_WORDS */
    int32_t *n_nodes;        /* of each tree */
} msx__forest;

/* Train on n rows of encoded features x (n x space->n) and targets y, which are logarithms: a leaf
 * predicts the logarithm of the mean of exp(y). Zero-initialise `f` first; it may be trained again.
 */
msx_status msx__forest_train(msx__forest *f, const msx_space *space, const double *x,
                             const double *y, int64_t n, const msx__forest_options *options,
                             uint64_t seed);
void msx__forest_free(msx__forest *f); /* accepts a zeroed struct */

/* The child of an inner node that the encoded features x belong to. */
static inline const msx__forest_node *
msx__forest_step(const msx__forest *f, int tree, const msx__forest_node *node, const double *x) {
    double v = x[node->feature];
    bool left;
    if (node->mask < 0) {
        left = v <= node->value;
    } else {
        unsigned c = (unsigned)v;
        left = f->masks[(size_t)node->mask * MSX__MASK_WORDS + c / 64] >> c % 64 & 1;
    }
    return f->nodes + tree * f->stride + node->left + !left;
}

/* Prediction of one tree. */
static inline double msx__forest_tree(const msx__forest *f, int tree, const double *x) {
    const msx__forest_node *node = f->nodes + tree * f->stride;
    while (node->feature >= 0) node = msx__forest_step(f, tree, node, x);
    return node->value;
}

/* Mean and population variance over the trees' predictions. */
void msx__forest_moments(const double *predictions, int trees, double *mean, double *variance);
void msx__forest_predict(const msx__forest *f, const double *x, double *mean, double *variance);

#endif
