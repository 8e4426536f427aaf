/* SPDX-License-Identifier: Apache-2.0 */
/* Which layer groups are worth searching: those in which a tensor differs between the models and
 * reaches mask 0 under box prompts. */
#include "search/space_groups.h"
#include "merge/merger.h"

static msx_status classify(msx__space_group *groups, msx_ctx *ctx, const msx_merger *merger,
                           const msx_groups *all) {
    for (int64_t i = 0; i < msx_groups_count(all); i++) {
        msx__space_group *g = &groups[i];
        if (!(g->name = msx__strdup(ctx, msx_groups_name(all, i)))) return MSX_E_NOMEM;
        g->elements = msx_groups_elements(all, i);
        g->method_column = -1;
        g->state = msx_merger_group_equal(merger, all, i) ? MSX__GROUP_EQUAL
                   : msx__merger_equal_where(merger, all, i, msx__boxes_reach)
                       ? MSX__GROUP_UNREACHED
                       : MSX__GROUP_SEARCHED;
    }
    return MSX_OK;
}

msx_status msx__space_groups(msx__space_group **out, int64_t *n, msx_ctx *ctx,
                             const msx_merger *merger, const msx_granularity *granularity) {
    msx_groups *all = NULL;
    msx_status status = msx_groups_create(&all, ctx, msx_merger_arch(merger), granularity);
    *n = msx_groups_count(all);
    if (status >= 0 && !(*out = msx__calloc(ctx, (size_t)*n, sizeof **out))) status = MSX_E_NOMEM;
    if (status >= 0) status = classify(*out, ctx, merger, all);
    msx_groups_free(all);
    return status;
}
