/* SPDX-License-Identifier: Apache-2.0 */
/* Places of units in a circle of memory, handed out and taken back in their order. Small ones stay in its
 * first part, which is in the cache. */
#ifndef MSX_MERGE_RING_H
#define MSX_MERGE_RING_H

#include "core/core.h"

typedef struct msx__ring {
    int64_t capacity;   /* in elements, at least the largest unit */
    int64_t small, lap; /* units up to that size stay in that first part */
    int64_t head;       /* where the next one may begin */
    int64_t placed, freed;
    int64_t *at; /* place of each unit below `placed` */
} msx__ring;

/* Rings for n_units units; those of up to `small` elements stay in the first `lap` elements. */
msx_status msx__ring_open(msx__ring *r, msx_ctx *ctx, int64_t n_units, int64_t capacity,
                          int64_t small, int64_t lap);
void msx__ring_close(msx__ring *r, msx_ctx *ctx); /* accepts a zeroed struct */

/* Give unit `placed` a place, unless it has one: true. False when it has to wait until older ones are
 * freed. */
bool msx__ring_place(msx__ring *r, int64_t unit, int64_t elements);

#endif
