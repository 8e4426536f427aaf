/* SPDX-License-Identifier: Apache-2.0 */
/* Layer groups with their state. */
#ifndef MSX_SEARCH_SPACE_GROUPS_H
#define MSX_SEARCH_SPACE_GROUPS_H

#include "search/space.h"

/* An empty plan with these granularities and groups of one's own. */
msx_status msx__space_frame(msx_plan **out, msx_ctx *ctx, const int granularity[MSX__PARTS],
                            const msx_plan *own);

/* Which granularities each part can have, and all groups that there are with them, in the network's order.
 * `groups` is released by the caller, names included, also after a failure. */
msx_status msx__space_groups(msx__space_group **groups, int64_t *n,
                             msx__space_part parts[MSX__PARTS], msx_ctx *ctx,
                             const msx_merger *merger, const msx__space_options *options);

/* Use, part and granularities of groups whose names are known, from msx__merge_space_uses(), and the parts'
 * choices that follow. @return MSX_E_FORMAT. */
msx_status msx__space_read_uses(msx__space_group *groups, int64_t n,
                                msx__space_part parts[MSX__PARTS], msx_ctx *ctx, const char *uses,
                                int64_t depth, const msx__space_options *options);

#endif
