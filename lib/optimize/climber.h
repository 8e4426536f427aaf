/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration on its way up the utility of a Gaussian process. What each family of parameters
 * contributes to each covariance is kept, so that a neighbour costs one family instead of all. */
#ifndef MSX_OPTIMIZE_CLIMBER_H
#define MSX_OPTIMIZE_CLIMBER_H

#include "optimize/belief.h"
#include "optimize/utility.h"

typedef struct msx__climber {
    const msx__belief *belief;
    const msx__utility *utility;
    const msx_history *history;
    double *x, *e;         /* (d) where it stands: values, places */
    double *try_x, *try_e; /* (d) the same but for the neighbour being looked at */
    int64_t *changed;      /* parameters in which they differ */
    int64_t n_changed;
    /* of each process: */
    double *factor, *term;         /* (families, n) what families contribute at e */
    double *new_factor, *new_term; /* (n) the family being tried */
    double *v;                     /* (n) inverse factor x covariances */
    /* of one at a time: */
    double *k, *back; /* (n) covariances, and what the transposed factor makes of v */
    double *means, *variances, *d_means, *d_variances, *room; /* (m) */
    double *u, *lower, *upper, *slope; /* (d) active numbers while they climb */
    int32_t *active;                   /* (d) which those are */
    int64_t *moves;                    /* (d) */
    int64_t *donor;                    /* of each choice: the best trial that has it, -1 none */
    int64_t *donor_of;                 /* (d) where a parameter's choices begin in it */
    int64_t *family_end;               /* (d) one past the last descendant */
    msx__minimiser minimiser;
    double value; /* utility at x */
} msx__climber;

/* Borrows all but the climber. */
msx_status msx__climber_init(msx__climber *c, const msx__belief *belief,
                             const msx__utility *utility, const msx_history *h);
void msx__climber_free(msx__climber *c); /* accepts a zeroed struct */

/* Stand at x. @return its utility. */
double msx__climber_place(msx__climber *c, const double *x);
/* Go up from where it stands, to c->x and c->value; choices are tried in an order that `rng` draws. */
void msx__climber_climb(msx__climber *c, msx_rng *rng);

#endif
