/* SPDX-License-Identifier: Apache-2.0 */
/* Evolution of a distribution over configurations: a normal one for the numbers, one of frequencies for
 * each choice. */
#ifndef MSX_OPTIMIZE_CMA_H
#define MSX_OPTIMIZE_CMA_H

#include "optimize/space.h"

typedef struct msx__cma {
    msx_ctx *ctx;
    const msx_space *space;
    int64_t n;         /* numbers with more than one value */
    int32_t *dims;     /* (n) which parameters they are */
    int64_t *offset;   /* (space->n) where a parameter's frequencies begin, -1 for numbers */
    int64_t n_choices; /* choices with more than one value */
    int64_t n_free;    /* sum over them of values - 1 */
    bool full;         /* the covariance is full, else diagonal */
    int64_t population;
    int64_t generations;                  /* taken in since the start or the last restart */
    double best;                          /* lowest cost of them, */
    int64_t stale;                        /* and generations that did not lower it */
    double sigma, step;                   /* of the numbers, of the frequencies */
    double path;                          /* squared length of the frequencies' path, normalised */
    double *mean, *p_sigma, *p_c, *scale; /* (n); scale: square roots of the eigenvalues */
    double *covariance,
        *basis; /* (n, n), basis: eigenvectors in rows; only the diagonal, (n), unless full */
    double *frequency, *shift; /* of each value of each choice; the path of the frequencies */
    double *work;
} msx__cma;

/* At the defaults of numbers, or anywhere where there is an `rng`; every choice is as likely.
 * @param population 0: by the number of parameters. */
msx_status msx__cma_init(msx__cma *c, const msx_space *space, int64_t population, double sigma,
                         msx_rng *rng);
void msx__cma_free(msx__cma *c); /* accepts a zeroed struct */

void msx__cma_draw(const msx__cma *c, msx_rng *rng, double *x);

/* Take in a generation: `population` configurations, best first, the first half of which counts. What is
 * inactive in one of them is filled from `rng`, so that it neither widens nor narrows anything. */
void msx__cma_learn(msx__cma *c, const double *const *x, double best, msx_rng *rng);

/* Nothing more is to be found here. */
bool msx__cma_converged(const msx__cma *c);

#endif
