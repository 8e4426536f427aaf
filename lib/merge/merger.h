/* SPDX-License-Identifier: Apache-2.0 */
/* A merger, and merging straight into the memory of a device. */
#ifndef MSX_MERGE_MERGER_H
#define MSX_MERGE_MERGER_H

#include "merge/merge.h"

struct msx_merger {
    msx_ctx *ctx;
    msx_arch *arch;
    size_t n;
    char *names[MSX__MAX_MODELS];
    float *weights[MSX__MAX_MODELS]; /* all official tensors of a model, one after the other */
    int64_t n_tensors;
    int64_t *offset; /* of a tensor in `weights`; n_tensors + 1 entries */
    msx__merge_kernels kernels;
    bool borrows; /* arch, names, weights and offset are of another merger */

    msx__merge_kernels there; /* of the device where the models lie, too; ops NULL: none */
    float *there_weights[MSX__MAX_MODELS];
};

/* A merger of the same models for another thread: the weights are those of `lender`, which outlives it,
 * the kernels its own. */
msx_status msx__merger_share(msx_merger **out, const msx_merger *lender);

/* As msx_merger_group_equal(), of the group's tensors that are wanted; NULL: all. */
bool msx__merger_equal_where(const msx_merger *m, const msx_groups *g, int64_t group,
                             bool (*wanted)(const char *tensor));

/* Put the models into the memory of an opened device as well, which outlives the merger or is left
 * before. MSX_E_NOMEM where they do not fit: nothing is kept then. */
msx_status msx__merger_reside(msx_merger *m, const msx_kernels *ops, msx_kdev *dev);
void msx__merger_leave(msx_merger *m);

/* As msx_merger_run(), for a target in the memory of that device: `out(i)` is the place of official
 * tensor i. The bits are those of msx_merger_run(). Methods that need the host's memory run there. */
typedef float *(*msx__place_fn)(int64_t tensor, void *payload);
msx_status msx__merger_run_there(msx_merger *m, const msx_plan *plan, const msx_plan *previous,
                                 msx__place_fn out, void *payload, uint8_t *changed);

#endif
