/* SPDX-License-Identifier: Apache-2.0 */
/* Where is the expected improvement highest? Random configurations, then local search. */
#ifndef MSX_OPTIMIZE_ACQUIRE_H
#define MSX_OPTIMIZE_ACQUIRE_H

#include "optimize/walker.h"

typedef struct msx__acquire_options {
    int64_t candidates; /* random configurations looked at */
    int64_t starts;     /* walks from the best of them, and as many from the best trials */
    msx__walk_options walk;
} msx__acquire_options;

/* Configurations in the order of falling expected improvement. */
typedef struct msx__proposals {
    double *x; /* (n, d) */
    int64_t n;
    bool settled; /* what promised most of all was asked already, and is left out */
} msx__proposals;

/* Zero-initialise `out` first; it may be filled again. */
msx_status msx__acquire(msx__proposals *out, const msx__model *model, const msx_history *h,
                        const msx__acquire_options *options, msx_rng *rng);
void msx__proposals_free(msx__proposals *p, msx_ctx *ctx);

#endif
