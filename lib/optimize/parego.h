/* SPDX-License-Identifier: Apache-2.0 */
/* Several costs as one: J. Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for
 * expensive multiobjective optimization problems", IEEE Trans. Evol. Comput. 10, 2006. */
#ifndef MSX_OPTIMIZE_PAREGO_H
#define MSX_OPTIMIZE_PAREGO_H

#include "core/core.h"

#include <medsamix/sys/optimizer_driver.h>

#define MSX__PAREGO_RHO 0.05

/* Weights for fit number `index`: points of a Sobol sequence sent to the simplex, where they are uniform and
 * leave no holes, times `preference` (n_objectives; NULL: 1) and scaled to add up to 1. */
void msx__parego_weights(uint64_t seed, uint64_t index, const double *preference, int n_objectives,
                         double *theta);
/* As SMAC3 does: uniform numbers divided by their sum, which crowd in the middle of the simplex. */
void msx__parego_weights_smac3(msx_rng *rng, int n_objectives, double *theta);

/* Augmented Chebyshev sum of costs that are normalised by `low` and `high`. */
double msx__parego_scalar(const double *costs, const double *low, const double *high,
                          const double *theta, int n_objectives);

#endif
