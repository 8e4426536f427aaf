/* SPDX-License-Identifier: Apache-2.0 */
/* What a model-based driver believes about costs: a forest on their logarithms, and the expected
 * improvement it promises. */
#ifndef MSX_OPTIMIZE_MODEL_H
#define MSX_OPTIMIZE_MODEL_H

#include "optimize/forest.h"

#include <medsamix/sys/optimizer_driver.h>

typedef struct msx__model_options {
    msx__forest_options forest;
    double
        floor_gap; /* least distance of `low` below the minimum, as a share of the range of costs */
    bool fantasies; /* running trials hold their prediction; else they are left out */
} msx__model_options;

typedef struct msx__model {
    msx_ctx *ctx;
    const msx_space *space;
    msx__forest forest;
    int64_t n;       /* rows: the trials it was fitted to */
    int64_t *trials; /* (n) their numbers: told ones first, then running ones */
    double *x;       /* (n, d) encoded configurations */
    double *y;       /* (n) encoded costs; running trials hold their prediction */
    double *means;   /* (n) predicted means */
    double eta;      /* lowest of them: what has to be improved upon */
} msx__model;

#define MSX__FLOOR_GAP 1e-3

/* Costs to logarithms, in place (`sorted`: room for n): z = log((y - low) / (max - low)), where low lies as
 * far below the minimum as the 5 % quantile lies above it, and by at least `gap` of the range: ties at
 * the minimum would otherwise be sent to -23 and be all the forest sees.
 * @return the logarithm of the density of y over that of z. */
double msx__encode_costs(double *y, int64_t n, double gap, double *sorted);

/* Fit to the first n trials of a history. `theta` weighs the objectives (ParEGO); NULL: the first
 * one alone. Zero-initialise `m` first; it may be fitted again.
 * @return MSX_DONE_EXHAUSTED when none of the trials has an outcome yet. */
msx_status msx__model_fit(msx__model *m, const msx_history *h, int64_t n, const double *theta,
                          const msx__model_options *options, uint64_t seed);
void msx__model_free(msx__model *m); /* accepts a zeroed struct */

/* Expected improvement of exp(prediction) over exp(eta). */
double msx__expected_improvement(double eta, double mean, double variance);

#endif
