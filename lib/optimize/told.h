/* SPDX-License-Identifier: Apache-2.0 */
/* The trials that a model learns from: those with an outcome, and those still running. */
#ifndef MSX_OPTIMIZE_TOLD_H
#define MSX_OPTIMIZE_TOLD_H

#include "core/core.h"

#include <medsamix/sys/optimizer_driver.h>

typedef struct msx__told {
    msx_ctx *ctx;
    int m;              /* objectives */
    int64_t n;          /* with an outcome */
    int64_t running;    /* without */
    int64_t *trials;    /* (n + running) their numbers, in order */
    double *costs;      /* (n, m) */
    double *low, *high; /* (m) over the first trials with an outcome: see msx__told_first */
} msx__told;

/* Of the first `limit` trials of a history. */
msx_status msx__told_init(msx__told *t, const msx_history *h, int64_t limit);
void msx__told_free(msx__told *t); /* accepts a zeroed struct */

/* Fill costs, low and high from the first `n` trials with an outcome alone. Failed ones cost the worst of
 * these, not of later ones: what was learnt from some trials must be the same when it is learnt again
 * after a restart. */
void msx__told_first(msx__told *t, const msx_history *h, int64_t n);

/* Sums of the first `n` trials' normalised costs, into score (n). */
void msx__told_add_up(const msx__told *t, int64_t n, double *score);

/* Range of each objective over the trials that no other dominates; over all trials where that is a
 * hundredth or less of it, as when one trial dominates all. */
msx_status msx__told_front(const msx__told *t, double *low, double *high);

/* At most `keep` of the first `n` with the lowest `score` (n) and, half of the room, others evenly in
 * their order. Indices, ascending, into `rows`. `scratch`: room for n. @return how many. */
int64_t msx__told_thin(const double *score, int64_t n, int64_t keep, int64_t *rows,
                       double *scratch);

#endif
