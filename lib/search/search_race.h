/* SPDX-License-Identifier: Apache-2.0 */
/* Racing: a trial that is significantly worse than the incumbent on the images seen so far stops early. */
#ifndef MSX_SEARCH_RACE_H
#define MSX_SEARCH_RACE_H

#include "search/evaluator.h"

/* Whom a trial runs against, and how. */
typedef struct msx__race {
    msx_evaluator *evaluator;
    const double *dice;  /* (items) of the incumbent; NULL: there is none, nothing is stopped */
    const double *costs; /* (tasks) of the incumbent */
    double p;            /* one-sided significance below which a trial is stopped */
    int64_t minimum;     /* images that are seen before */
} msx__race;

/* Is a trial with these Dice (items) on the first `images` images lost? It is when its mean over the tasks
 * seen is not above the incumbent's on the same images, and a signed-rank test of the images' mean Dice
 * says that it is lower. */
msx_status msx__race_is_lost(const msx__race *r, const double *dice, int64_t images, bool *lost);

/* Costs (tasks) of a trial that was stopped after `images` images, made comparable with those of whole
 * trials: the incumbent's, plus how much the trial is worse on the images seen of the task; where none of a task
 * was seen, plus the mean of these over the tasks. In 0..1. */
void msx__race_costs(const msx__race *r, const double *dice, int64_t images, double *costs);

#endif
