/* SPDX-License-Identifier: Apache-2.0 */
/* What guides SMAC and ParEGO: a model of the costs, and configurations that promise most. */
#ifndef MSX_OPTIMIZE_GUIDE_H
#define MSX_OPTIMIZE_GUIDE_H

#include "optimize/acquire.h"
#include "optimize/climb.h"

typedef struct msx__guide_options {
    bool process;          /* a Gaussian process, else a random forest */
    int64_t initial;       /* trials before the model is asked */
    int64_t retrain_after; /* trials that one forest serves */
    bool even_weights; /* several objectives: uniform on the simplex, else as SMAC3 draws them */
    msx__model_options model;
    msx__acquire_options acquire;
    msx__climb_options climb;
} msx__guide_options;

typedef struct msx__guide {
    msx_ctx *ctx;
    bool several;  /* the objectives are weighed, anew for every fit */
    double *theta; /* (n_objectives) */
    msx__model model;
    int64_t fitted; /* trials the forest was fitted to; -1: none */
    msx__belief belief;
    msx__proposals proposals; /* most promising first */
} msx__guide;

msx_status msx__guide_init(msx__guide *g, const msx_history *h, bool several);
void msx__guide_free(msx__guide *g); /* accepts a zeroed struct */

/* Fill the proposals for the next trial. @return MSX_DONE_EXHAUSTED when no trial has been told yet. */
msx_status msx__guide_consult(msx__guide *g, const msx_history *h,
                              const msx__guide_options *options, msx_rng *rng);

#endif
