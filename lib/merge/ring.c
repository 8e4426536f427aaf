/* SPDX-License-Identifier: Apache-2.0 */
#include "merge/ring.h"

msx_status msx__ring_open(msx__ring *r, msx_ctx *ctx, int64_t n_units, int64_t capacity,
                          int64_t small, int64_t lap) {
    *r = (msx__ring){.capacity = capacity, .small = small, .lap = lap < capacity ? lap : capacity};
    r->at = msx__calloc(ctx, (size_t)n_units, sizeof *r->at);
    return r->at ? MSX_OK : MSX_E_NOMEM;
}

void msx__ring_close(msx__ring *r, msx_ctx *ctx) {
    msx__free(ctx, r->at);
    *r = (msx__ring){0};
}

/* Begin and end of the occupied part are equal only when it is empty. */
bool msx__ring_place(msx__ring *r, int64_t unit, int64_t elements) {
    if (unit < r->placed) return true;
    int64_t oldest = r->freed < r->placed ? r->at[r->freed] : -1;
    int64_t end = elements <= r->small ? r->lap : r->capacity;
    if (oldest < 0)
        r->head = 0;
    else if (r->head > oldest && end - r->head < elements)
        r->head = 0;
    if (oldest >= 0 && r->head <= oldest && oldest - r->head <= elements) return false;
    r->at[r->placed++] = r->head;
    r->head += elements;
    return true;
}
