/* SPDX-License-Identifier: Apache-2.0 */
/* The handle behind ask and tell; optimizer.c proposes, history.c records. */
#ifndef MSX_OPTIMIZE_OPTIMIZER_H
#define MSX_OPTIMIZE_OPTIMIZER_H

#include "optimize/space.h"

#include <medsamix/sys/optimizer_driver.h>

typedef enum msx__trial_state {
    MSX__TRIAL_RUNNING,
    MSX__TRIAL_OK,
    MSX__TRIAL_FAILED
} msx__trial_state;

typedef struct msx__trial {
    double *values; /* configuration (n), then costs (n_objectives) */
    uint64_t hash;
    msx__trial_state state;
} msx__trial;

struct msx_optimizer {
    msx_ctx *ctx;
    const msx_optimizer_driver *driver;
    const msx_space *space;
    void *state; /* the driver's; made at the first ask */
    bool started;
    double *options;
    uint8_t *chosen; /* of the options, those that the caller set */
    int n_objectives;
    int64_t n_trials;
    uint64_t seed;
    int64_t lag;        /* 0: every outcome counts at once */
    double *preference; /* NULL: all objectives alike */
    const char *origin;

    msx__trial *trials;
    const double **x;     /* what drivers see, kept in step with `trials` */
    const double **costs; /* likewise; NULL: running */
    uint8_t *failed;      /* likewise */
    int64_t n, capacity;
    int64_t enqueued; /* of the trials, those from the queue */

    double **queue; /* configurations not asked yet: queue[queue_head .. queue_tail) */
    int64_t queue_head, queue_tail, queue_capacity;

    const uint8_t *fixed; /* parameters that the proposal in work keeps as in `like`; NULL: none */
    const double *like;

    double *worst;          /* worst cost seen of each objective; what failed trials hold */
    bool any_worst;         /* a trial has succeeded */
    const double **visible; /* with a lag: costs without those that do not count yet, */
    double *visible_worst;  /* and what failed trials hold among them */
    double *scratch;        /* one configuration */
};

/* Append a running trial holding a copy of `x`. */
msx_status msx__optimizer_append(msx_optimizer *o, const double *x);
/* Set the outcome of a running trial; costs NULL: failed. */
void msx__optimizer_finish(msx_optimizer *o, int64_t trial, const double *costs);
/* Was a configuration equal to `x` asked already? */
bool msx__optimizer_seen(const msx_optimizer *o, const double *x);

#endif
