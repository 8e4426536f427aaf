/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From files to merged tensors, one after the other, in bounded memory:
 *
 *   readers of inputs  ->  ring of input tensors  ->  merger  ->  ring of results  ->  the caller
 *
 * Readers also hash (checkpoint/stream.h). Each stage works on another tensor at the same time. What a
 * tensor becomes depends on nothing but the tensor, so the results are those of msx_merger_run.
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
    bool allow_nonfinite;
    int64_t ahead; /* elements of a model beyond the largest tensor that may be read ahead */
} msx__pipeline_job;

/* Room for a second tensor of a common size beside the one that is merged. */
#define MSX__PIPELINE_AHEAD (2 << 20)

/* Start reading. With a context of one thread nothing runs beside the caller. */
msx_status msx__pipeline_start(msx__pipeline **out, const msx__pipeline_job *job);

/* The architecture's tensor i, merged; call for 0, 1, 2, ... The data is valid until the next call.
 * Reports progress. Of several failures it returns the one that comes first in the order of tensors
 * and inputs. */
msx_status msx__pipeline_next(msx__pipeline *p, int64_t i, const float **values);

/* After the last tensor: wait until every input is hashed to its end. */
msx_status msx__pipeline_finish(msx__pipeline *p);

/* Stop what still runs and release everything. Accepts NULL. */
void msx__pipeline_free(msx__pipeline *p);

#endif
