/* SPDX-License-Identifier: Apache-2.0 */
/* What the image encoder's intermediate results depend on: a digest of the merge at every boundary between
 * two blocks. */
#ifndef MSX_SEARCH_PREFIX_H
#define MSX_SEARCH_PREFIX_H

#include "search/activation_cache.h"

#include <medsamix/merge.h>

/* Boundary k, 0 .. depth, is as in msx__passage; depth + 1 is the embedding. Two plans with the same
 * digest at a boundary give the same bits there for the same image, whatever groups they are made of:
 * what is digested is how every tensor before the boundary is made. */
typedef struct msx__prefix {
    msx_ctx *ctx; /* NULL: there is none */
    int64_t depth;
    uint8_t (*digest)[MSX__SHA256_BYTES]; /* (depth + 2) SHA-256 */
    /* (depth + 2) Some group of the plan is first used right behind the boundary: a plan that differs in
     * no earlier one can begin there. */
    bool *parts;
} msx__prefix;

/* Boundary before which the encoder first uses every tensor of the architecture: 0 for what makes the tokens,
 * k + 1 for block k, depth + 1 for the neck; -1 outside of the encoder. (tensors), released with
 * msx__free. */
msx_status msx__encoder_uses(int64_t **out, msx_ctx *ctx, const msx_arch *arch);

msx_status msx__prefix_create(msx__prefix *out, const msx_merger *merger, const msx_plan *plan);
void msx__prefix_free(msx__prefix *p); /* accepts a zeroed struct */

/* Key of what images [first, first + n) become at a boundary. */
msx__cache_key msx__prefix_key(const msx__prefix *p, int64_t boundary, int64_t first, int64_t n);

#endif
