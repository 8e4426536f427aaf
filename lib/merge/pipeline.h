/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From files to merged tensors, one after the other, in bounded memory:
 *
 *   readers of inputs  ->  ring of inputs  ->  merger  ->  ring of results  ->  the caller
 *
 * Readers also hash (checkpoint/stream.h), unless it is a draft, and look for values that are not finite. Each stage works on
 * another tensor, or piece of one, at the same time. What a tensor becomes depends on nothing but the tensor,
 * so the results are those of msx_merger_run. Drafts of few threads have no readers: who merges a tensor reads it.
 */
#ifndef MSX_MERGE_PIPELINE_H
#define MSX_MERGE_PIPELINE_H

#include "merge/merge.h"

typedef struct msx__pipeline msx__pipeline;

/* What is merged; all of it outlives the pipeline. */
typedef struct msx__pipeline_job {
    msx_ctx *ctx;
    size_t n; /* inputs */
    msx_checkpoint *const *inputs;
    const msx_arch *arch;
    const msx__schedule *schedule;
    const int64_t *order; /* of the architecture's tensors; NULL: their own */
    bool allow_nonfinite;
    bool draft; /* do not hash the inputs */
    int64_t
        piece; /* elements that are read at a time, and merged at a time where that is possible */
    int64_t ahead; /* elements of a model beyond the largest tensor that may be read ahead */
} msx__pipeline_job;

/* Three inputs and a result of that size stay in the nearer caches of a core. */
#define MSX__PIPELINE_PIECE (1 << 15)
/* Room for a second tensor of a common size beside the one that is merged. */
#define MSX__PIPELINE_AHEAD (2 << 20)

/* What is merged at once: a tensor, or a piece of one. */
typedef struct msx__unit {
    int64_t tensor, first, n;
} msx__unit;

/* Cut all tensors into units, in order. A tensor is cut where every element is merged for itself, all
 * inputs can be read in pieces, and the beginning shows that the models are not equal: those keep their
 * bits, which must be known before the first element is merged. Released with msx__free. */
msx_status msx__units_plan(msx__unit **out, int64_t *n, const msx__pipeline_job *job);

/* Start reading. With a context of one thread nothing runs beside the caller. */
msx_status msx__pipeline_start(msx__pipeline **out, const msx__pipeline_job *job);

/* The architecture's tensor, merged, from element `first` on: *n elements, all that is left or a piece of
 * it. Call for the tensors in the job's order and for each until its end. The data is valid until the next call.
 * Reports progress. Of several failures it returns the one that comes first in the order of tensors
 * and inputs. */
msx_status msx__pipeline_next(msx__pipeline *p, int64_t tensor, int64_t first, const float **values,
                              int64_t *n);

/* After the last tensor: wait until every input is hashed to its end. */
msx_status msx__pipeline_finish(msx__pipeline *p);

/* Stop what still runs and release everything. Accepts NULL. */
void msx__pipeline_free(msx__pipeline *p);

#endif
