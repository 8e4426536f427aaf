/* SPDX-License-Identifier: Apache-2.0 */
/* How alike two configurations of a conditional space are: the covariance of a Gaussian process.
 *
 * The space is a forest of parameters. A family is a choice without a parent together with all that
 * hangs on it, or the numbers without a parent taken together. With M the Matern 5/2 correlation,
 *
 *   numbers    M(r), r^2 = sum over them of ((a - b) / length)^2; without a parent each has a length of
 *              its own, those of one parent that are active together share one
 *   a choice   rho + (1 - rho) [same choice] product over what is active below that choice
 *
 * so that numbers which only one of two configurations has are never compared. Every part is a
 * correlation (non-negative mixtures and products of correlations are), hence so is
 *
 *   (1 - w) product over the families + w mean over the families and over the single numbers
 *
 * The mean is the additive model (D. Duvenaud et al., "Additive Gaussian processes", NIPS 2011): what
 * one layer group does is learnt from trials that differ everywhere else. The product is the usual one.
 * The share w, rho and the lengths are learnt (gp.h). */
#ifndef MSX_OPTIMIZE_KERNEL_H
#define MSX_OPTIMIZE_KERNEL_H

#include "optimize/space.h"

/* Numbers that are active together. */
typedef struct msx__kernel_block {
    int32_t first, count; /* in `dims` */
    int32_t length;       /* its parameter, shared; -1: one each, `lengths` of the dims */
} msx__kernel_block;

/* A choice. */
typedef struct msx__kernel_choice {
    int32_t parameter; /* of the space */
    int32_t rho;       /* its parameter */
    int32_t runs;      /* in `runs`: value v has below[runs[v]] .. below[runs[v + 1]] */
} msx__kernel_choice;

/* What hangs on a value of a choice: a block, or another choice. */
typedef struct msx__kernel_below {
    int32_t block, choice; /* one of them is -1 */
} msx__kernel_below;

typedef struct msx__kernel {
    const msx_space *space;
    msx__kernel_block *blocks; /* [0]: numbers without a parent, perhaps none */
    msx__kernel_choice *choices;
    msx__kernel_below *below;
    int32_t *runs;
    int32_t *dims;      /* parameters of the space, by blocks */
    int32_t *lengths;   /* for those of blocks[0]: the parameter of each */
    int32_t *families;  /* choices without a parent */
    int32_t *family_of; /* (d) family that a parameter belongs to */
    int32_t n_blocks, n_choices, n_below, n_families;
    bool numbers;    /* blocks[0] is not empty: family n_families */
    int32_t n_terms; /* of the mean: choices without a parent, and single numbers */
    /* Parameters: [0] logit of w, then logs of lengths and logits of rho. */
    int32_t n_theta;
    double *prior_mean, *prior_deviation, *lower, *upper; /* (n_theta) */
    double *theta;                                        /* (n_theta) */
    double share;                                         /* w */
    double *inverse; /* (n_theta) 1 / length^2, or rho, by parameter */
} msx__kernel;

msx_status msx__kernel_init(msx__kernel *k, const msx_space *space);
void msx__kernel_free(msx__kernel *k); /* accepts a zeroed struct */
/* Take over parameters; theta NULL: the means of the prior. */
void msx__kernel_set(msx__kernel *k, const double *theta);

/* Rows a, b (d): places in [0, 1] of numbers, indices of choices, NaN where inactive. */

/* Number of families, at least 1. */
static inline int32_t msx__kernel_families(const msx__kernel *k) {
    return k->n_families + k->numbers;
}

double msx__kernel_value(const msx__kernel *k, const double *a, const double *b);
/* The same, leaving the factor of each family in `factors`, unless NULL. */
double msx__kernel_factors(const msx__kernel *k, const double *a, const double *b, double *factors);

/* Add weight * d value / d theta to `gradient` (n_theta), given the families' factors. */
void msx__kernel_learn(const msx__kernel *k, const double *a, const double *b, double weight,
                       const double *factors, double *gradient);
/* Add weight * d value / d b to the entries of `gradient` (d) that are numbers active in b. The families'
 * factors are factors[family * stride]. */
void msx__kernel_slope(const msx__kernel *k, const double *a, const double *b, double weight,
                       const double *factors, int64_t stride, double *gradient);

/* ---- many rows (kernel_rows.c) ------------------------------------------------------------------------ */

/* Rows that places are compared with, by rows and by columns. */
typedef struct msx__kernel_rows {
    int64_t n, stride;     /* rows; distance of columns */
    const double *x;       /* (n, d) */
    const double *columns; /* (d, stride) */
} msx__kernel_rows;

/* columns (d, n) of x (n, d) */
void msx__kernel_columns(const double *x, int64_t n, int64_t d, double *columns);

/* Of one family, for every row against b: its factor of the product and its part of the sum of terms (n);
 * `room`: n more. */
void msx__kernel_family_rows(const msx__kernel *k, int32_t family, const msx__kernel_rows *rows,
                             const double *b, double *factor, double *term, double *room);
/* What msx__kernel_factors gives for every row, to the bit, in a fraction of the time: into value (n) and
 * factors[i * families + f], unless NULL. `room`: 4 n values. */
void msx__kernel_values(const msx__kernel *k, const msx__kernel_rows *rows, const double *b,
                        double *value, double *factors, double *room);

/* ---- parts that both are made of ---------------------------------------------------------------------- */

double msx__kernel_matern(double square);
double msx__kernel_choice_value(const msx__kernel *k, int32_t choice, const double *a,
                                const double *b);

#endif
