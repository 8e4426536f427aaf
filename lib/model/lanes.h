/* SPDX-License-Identifier: Apache-2.0 */
/* Independent pieces of work (an image, a chunk of prompts) side by side. */
#ifndef MSX_MODEL_LANES_H
#define MSX_MODEL_LANES_H

#include "model/network.h"

/* Do piece `i`, all of it through `m`, which is seen from a seat. */
typedef msx_status (*msx__piece_fn)(msx_model *m, int64_t i, void *payload);

/* Do the pieces 0 .. n-1, each of which needs `bytes` of working memory. Small ones run in lanes, a
 * thread and a seat each: threads that meet only at the end lose nothing to waiting, while the ops of
 * a small model are over in microseconds. Large ones, and all on devices of their own, run one after
 * another with all threads inside the ops. The results are the same. */
msx_status msx__run_pieces(const msx_model *m, int64_t n, int64_t bytes, msx__piece_fn piece,
                           void *payload);

#endif
