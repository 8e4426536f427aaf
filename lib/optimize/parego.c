/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/parego.h"

#include "optimize/sobol.h"

#include <math.h>

#define STREAM UINT64_C(0x706172656765) /* another scramble than that of configurations */

static void normalise(double *theta, int n, double sum) {
    for (int k = 0; k < n; k++) theta[k] = sum > 0 ? theta[k] / sum : 1.0 / n;
}

void msx__parego_weights(uint64_t seed, uint64_t index, const double *preference, int n_objectives,
                         double *theta) {
    double sum = 0;
    for (int k = 0; k < n_objectives; k++) {
        theta[k] = -log(1 - msx__sobol(seed ^ STREAM, index, k));
        if (preference) theta[k] *= preference[k];
        sum += theta[k];
    }
    normalise(theta, n_objectives, sum);
}

void msx__parego_weights_smac3(msx_rng *rng, int n_objectives, double *theta) {
    double sum = 0;
    for (int k = 0; k < n_objectives; k++) sum += theta[k] = msx_rng_uniform(rng);
    normalise(theta, n_objectives, sum);
}

double msx__parego_scalar(const double *costs, const double *low, const double *high,
                          const double *theta, int n_objectives) {
    double worst = -INFINITY, sum = 0;
    for (int k = 0; k < n_objectives; k++) {
        double range = high[k] - low[k];
        double term = theta[k] * (range > 1e-10 ? (costs[k] - low[k]) / range : 1);
        worst = fmax(worst, term);
        sum += term;
    }
    return worst + MSX__PAREGO_RHO * sum;
}
