/* SPDX-License-Identifier: Apache-2.0 */
/* A density over some parameters that are active together: a mixture of one kernel at each observation
 * and a broad one (J. Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011), each the
 * product of a truncated normal for every number and a smoothed frequency for every choice. */
#ifndef MSX_OPTIMIZE_PARZEN_H
#define MSX_OPTIMIZE_PARZEN_H

#include "optimize/space.h"

typedef struct msx__parzen {
    msx_ctx *ctx;
    const msx_space *space;
    const int32_t *dims; /* (d) the parameters; borrowed */
    int64_t d, n;        /* kernels: n observations, then the broad one */
    double *places;      /* (n, d) numbers in [0, 1], indices of choices */
    double *weights;     /* (n + 1) cumulated */
    double *logs;        /* (n + 1) log weight, less that of the truncated normals' mass */
    double *scratch;     /* (n + 1) */
    double sigma;        /* of the numbers of an observation; 1 for the broad kernel */
    double prior;        /* weight of the broad kernel, an observation having up to 1 */
} msx__parzen;

/* From rows of configurations in the order of their age, the newest last. */
msx_status msx__parzen_init(msx__parzen *p, const msx_space *space, const int32_t *dims, int64_t d,
                            const double *const *rows, int64_t n, double prior);
void msx__parzen_free(msx__parzen *p); /* accepts a zeroed struct */

/* Draw places (d), and the logarithm of the density at some. */
void msx__parzen_draw(const msx__parzen *p, msx_rng *rng, double *places);
double msx__parzen_log(const msx__parzen *p, const double *places);

#endif
