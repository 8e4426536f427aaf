/* SPDX-License-Identifier: Apache-2.0 */
/* Gaussian process regression on configurations (C. Rasmussen, C. Williams, "Gaussian processes for
 * machine learning", 2006). Several targets share one covariance up to a factor, so that twelve tasks
 * cost hardly more than one. */
#ifndef MSX_OPTIMIZE_GP_H
#define MSX_OPTIMIZE_GP_H

#include "optimize/kernel.h"
#include "optimize/minimise.h"

/* The mean is unknown: a constant of this variance is part of the covariance. */
#define MSX__GP_CONSTANT 1.0
/* Of the noise before anything is known, relative to the factor: costs are exact. */
#define MSX__GP_NOISE 1e-5

typedef struct msx__gp {
    msx_ctx *ctx;
    msx__kernel kernel;
    double noise; /* variance of the noise, relative to the factor */
    /* After conditioning: */
    int64_t n, d;
    int m;           /* targets */
    double *x;       /* (n, d) places, as kernel.h has them */
    double *columns; /* (d, n) the same */
    double *room;    /* (threads, 4 n) */
    double *inverse; /* (n, n) lower: inverse of the Cholesky factor of the covariance */
    double *alpha;   /* (m, n) covariance^-1 targets */
    double *factor;  /* (m) variance of each target's process */
} msx__gp;

/* Places in [0, 1], indices of choices, NaN: what the covariance compares. */
void msx__gp_encode(const msx_space *s, const double *x, double *out);

msx_status msx__gp_init(msx__gp *g, const msx_space *space);
void msx__gp_free(msx__gp *g); /* accepts a zeroed struct */

/* How many threads n rows are worth; few values are not worth waking any, which on a busy machine come late. */
int msx__gp_threads(const msx__gp *g, int64_t n);

/* Choose noise and parameters of the covariance that make n rows x (n, d) and targets y (m, n), each of
 * about mean 0 and variance 1, most probable: the evidence, in which the factor is integrated out, times
 * the prior. At most `evaluations` times n^3 work. `evidence`: its logarithm. */
msx_status msx__gp_learn(msx__gp *g, const double *x, const double *y, int64_t n, int m,
                         int evaluations, double *evidence);

/* Take over data; the parameters stay. @return MSX_E_NOMEM. */
msx_status msx__gp_condition(msx__gp *g, const double *x, const double *y, int64_t n, int m);

static inline msx__kernel_rows msx__gp_rows(const msx__gp *g) {
    return (msx__kernel_rows){.n = g->n, .stride = g->n, .x = g->x, .columns = g->columns};
}

/* Covariances of a place with the rows, into k (n). */
void msx__gp_covariances(const msx__gp *g, const double *place, double *k);
/* From them means (m). */
void msx__gp_means(const msx__gp *g, const double *k, double *means);
/* The same and the variance before `factor`; v (n) receives inverse x k. */
void msx__gp_posterior(const msx__gp *g, const double *k, double *means, double *variance,
                       double *v);
/* Leave-one-out means of target `t`, into out (n): what is predicted for a row by all others. */
msx_status msx__gp_leave_one_out(const msx__gp *g, const double *y, int t, double *out);

#endif
