/* SPDX-License-Identifier: Apache-2.0 */
/* Gaussian processes over the costs of a history: which trials they see, how costs become their targets,
 * when their parameters are learnt anew, and what they fancy of running trials. */
#ifndef MSX_OPTIMIZE_BELIEF_H
#define MSX_OPTIMIZE_BELIEF_H

#include "optimize/gp.h"
#include "optimize/told.h"

/* So few objectives get a process each; more of them share the covariance of one. */
#define MSX__SEPARATE 3

typedef struct msx__belief {
    msx_ctx *ctx;
    msx__gp *gps;    /* (n_gps) alike but for their parameters and targets */
    int n_gps, m;    /* m objectives, m / n_gps of them in each process */
    int64_t learned; /* trials with an outcome that the parameters were learnt from; -1 none */
    bool logarithms; /* targets are logarithms of the cost (one objective only) */
    double *centre, *spread; /* (m) of the costs, or of their logarithms */
    int64_t n;               /* rows: told trials, then running ones */
    int64_t *trials;         /* (n) their numbers */
    double *means;           /* (n, m) of the targets */
    double *
        score; /* (n) which rows are best: mean of the first target; whoever weighs several sets it */
} msx__belief;

msx_status msx__belief_init(msx__belief *b, const msx_space *space, int m);
void msx__belief_free(msx__belief *b); /* accepts a zeroed struct */

/* Take in a history. `score` (t->n): which trials matter most when there are too many; NULL: the first
 * cost. @return MSX_DONE_EXHAUSTED when none has an outcome. */
msx_status msx__belief_update(msx__belief *b, const msx_history *h, msx__told *t,
                              const double *score);

#endif
