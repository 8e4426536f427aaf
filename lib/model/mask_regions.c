/* SPDX-License-Identifier: Apache-2.0 */
/* Holes and islands of masks, as remove_small_regions() of segment-anything treats them: connected
 * components of the background, the outside included, and of the mask, both with 8 neighbours. */
#include "model/masks.h"

#include <string.h>

/* Components of pixels that have the value `of`; numbered from 1 in the order of OpenCV. */
typedef struct regions {
    msx_ctx *ctx;
    const uint8_t *mask;
    int64_t width, height;
    uint8_t of;
    uint32_t *region; /* of each pixel, 0: none */
    uint32_t *queue;  /* pixels whose neighbours are still to be looked at */
    int64_t *sizes;   /* sizes[0] is unused */
    int64_t n, capacity;
} regions;

/* The component of pixel `start`; its size. */
static int64_t flood(regions *r, int64_t start, uint32_t number) {
    int64_t head = 0, tail = 0, w = r->width, h = r->height;
    r->region[start] = number;
    r->queue[tail++] = (uint32_t)start;
    while (head < tail) {
        int64_t at = r->queue[head++], x = at % w, y = at / w;
        for (int64_t v = y ? y - 1 : 0; v <= y + 1 && v < h; v++)
            for (int64_t u = x ? x - 1 : 0; u <= x + 1 && u < w; u++) {
                int64_t next = v * w + u;
                if (r->region[next] || r->mask[next] != r->of) continue;
                r->region[next] = number;
                r->queue[tail++] = (uint32_t)next;
            }
    }
    return tail;
}

static msx_status visit(regions *r, int64_t x, int64_t y) {
    int64_t at = y * r->width + x;
    if (x >= r->width || y >= r->height || r->region[at] || r->mask[at] != r->of) return MSX_OK;
    void *array = r->sizes;
    MSX_TRY(msx__grow(r->ctx, &array, r->n + 1, &r->capacity, sizeof *r->sizes));
    r->sizes = array;
    r->n++;
    r->sizes[r->n] = flood(r, at, (uint32_t)r->n);
    return MSX_OK;
}

/* OpenCV scans blocks of 2 x 2 pixels; the order decides which of equally large islands stays. */
static msx_status find(regions *r, uint8_t of) {
    r->of = of;
    r->n = 0;
    memset(r->region, 0, (size_t)(r->width * r->height) * sizeof *r->region);
    for (int64_t y = 0; y < r->height; y += 2)
        for (int64_t x = 0; x < r->width; x += 2)
            for (int i = 0; i < 4; i++) MSX_TRY(visit(r, x + i % 2, y + i / 2));
    return MSX_OK;
}

static int64_t count_small(const regions *r, int64_t least) {
    int64_t small = 0;
    for (int64_t i = 1; i <= r->n; i++) small += r->sizes[i] < least;
    return small;
}

static void fill_holes(const regions *r, uint8_t *mask, int64_t least) {
    for (int64_t i = 0; i < r->width * r->height; i++)
        if (r->region[i] && r->sizes[r->region[i]] < least) mask[i] = 1;
}

static void drop_islands(const regions *r, uint8_t *mask, int64_t least) {
    int64_t largest = 1;
    for (int64_t i = 2; i <= r->n; i++)
        if (r->sizes[i] > r->sizes[largest]) largest = i;
    bool all = r->sizes[largest] < least;
    for (int64_t i = 0; i < r->width * r->height; i++)
        if (r->region[i] && r->sizes[r->region[i]] < least && !(all && r->region[i] == largest))
            mask[i] = 0;
}

msx_status msx__remove_small_regions(msx_ctx *ctx, uint8_t *mask, int64_t width, int64_t height,
                                     int64_t least, bool *changed) {
    size_t pixels = (size_t)(width * height);
    regions r = {.ctx = ctx, .mask = mask, .width = width, .height = height};
    *changed = false;
    r.region = msx__alloc(ctx, pixels, sizeof *r.region);
    r.queue = msx__alloc(ctx, pixels, sizeof *r.queue);
    msx_status status = r.region && r.queue ? find(&r, 0) : MSX_E_NOMEM;
    if (status == MSX_OK && count_small(&r, least)) {
        fill_holes(&r, mask, least);
        *changed = true;
    }
    if (status == MSX_OK) status = find(&r, 1);
    if (status == MSX_OK && count_small(&r, least)) {
        drop_islands(&r, mask, least);
        *changed = true;
    }
    msx__free(ctx, r.region);
    msx__free(ctx, r.queue);
    msx__free(ctx, r.sizes);
    return status;
}
