/* SPDX-License-Identifier: Apache-2.0 */
/* Where is the utility highest? Random configurations and mutants of the best trials, then climbing:
 * numbers along their slopes, choices by trying the others. */
#ifndef MSX_OPTIMIZE_CLIMB_H
#define MSX_OPTIMIZE_CLIMB_H

#include "optimize/acquire.h"
#include "optimize/belief.h"
#include "optimize/utility.h"

typedef struct msx__climb_options {
    int64_t candidates; /* random configurations looked at, and half as many mutants */
    int64_t starts;     /* climbs from the best of them */
} msx__climb_options;

/* Zero-initialise `out` first; it may be filled again. */
msx_status msx__climb(msx__proposals *out, const msx__belief *belief, const msx__utility *utility,
                      const msx_history *h, const msx__climb_options *options, msx_rng *rng);

#endif
