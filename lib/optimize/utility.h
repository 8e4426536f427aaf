/* SPDX-License-Identifier: Apache-2.0 */
/* What a trial is worth, given what a Gaussian process believes of its costs: the logarithm of the
 * expected improvement, on one cost or on a weighing of several. In logarithms it has a slope also where
 * the improvement itself is too small for a double (S. Ament et al., "Unexpected improvements to expected
 * improvement for Bayesian optimization", NeurIPS 2023). */
#ifndef MSX_OPTIMIZE_UTILITY_H
#define MSX_OPTIMIZE_UTILITY_H

#include "core/core.h"

#include <medsamix/sys/optimizer_driver.h>

typedef struct msx__utility {
    int m; /* targets */
    /* One target: what has to be improved upon. */
    double eta;
    /* Several: cost = centre + spread * target, normalised = cost / range - low / range, weighed by the
     * augmented Chebyshev sum; `eta` is the lowest of the trials. Normal samples take the expectation. */
    double *offset, *slope, *theta; /* (m) normalised = offset + slope * target */
    double *normal;                 /* (samples, m) */
    int samples;
    msx_ctx *ctx;
} msx__utility;

/* Logarithm of the expected improvement at means and variances (m), up to a constant.
 * d_means, d_variances (m): its derivatives, unless NULL; `room`: m values. */
double msx__utility_value(const msx__utility *u, const double *means, const double *variances,
                          double *d_means, double *d_variances, double *room);

/* The weighed sum of several targets' means. */
double msx__utility_weigh(const msx__utility *u, const double *means);

/* Room for several targets, and samples that `rng` shifts. Free it with msx__utility_free. */
msx_status msx__utility_init(msx__utility *u, msx_ctx *ctx, int m, msx_rng *rng);
void msx__utility_free(msx__utility *u); /* accepts a zeroed struct */

/* log(phi(u) + u Phi(u)) for a standard normal, and its derivative. */
double msx__log_improvement(double u, double *slope);

#endif
