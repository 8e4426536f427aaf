/* SPDX-License-Identifier: Apache-2.0 */
/* Minimising a smooth function inside a box: projected L-BFGS. */
#ifndef MSX_OPTIMIZE_MINIMISE_H
#define MSX_OPTIMIZE_MINIMISE_H

#include "core/core.h"

/* Value at x and its gradient; INFINITY where it is not defined. */
typedef double (*msx__smooth_fn)(void *payload, const double *x, double *gradient);

typedef struct msx__minimiser {
    msx_ctx *ctx;
    int64_t capacity; /* of variables */
    double *memory;
} msx__minimiser;

msx_status msx__minimiser_init(msx__minimiser *m, msx_ctx *ctx, int64_t capacity);
void msx__minimiser_free(msx__minimiser *m); /* accepts a zeroed struct */

/* From x downhill with at most `evaluations` calls of f, inside lower <= x <= upper. x ends at the
 * lowest point found. `first` is the length of the first step, in units of x. @return the value there.
 */
double msx__minimise(msx__minimiser *m, msx__smooth_fn f, void *payload, double *x,
                     const double *lower, const double *upper, int64_t n, int evaluations,
                     double first);

#endif
