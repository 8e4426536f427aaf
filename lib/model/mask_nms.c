/* SPDX-License-Identifier: Apache-2.0 */
/* Non-maximum suppression as torchvision's nms() does it on the CPU: areas and overlaps in float32, a box
 * of width x1 - x0, boxes without area overlapping nothing. */
#include "model/masks.h"

#include <math.h>
#include <stdlib.h>

typedef struct ranked {
    float score;
    int64_t number;
} ranked;

/* NaN before everything else, as PyTorch sorts. */
static int by_score(const void *left, const void *right) {
    const ranked *a = left, *b = right;
    bool an = isnan(a->score), bn = isnan(b->score);
    if (an != bn) return an ? -1 : 1;
    if (!an && a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static float area(const int64_t b[4]) {
    return ((float)b[2] - (float)b[0]) * ((float)b[3] - (float)b[1]);
}

/* NaN of two boxes without area: above no threshold. */
static float overlap(const int64_t a[4], const int64_t b[4]) {
    float x0 = fmaxf((float)a[0], (float)b[0]), x1 = fminf((float)a[2], (float)b[2]);
    float y0 = fmaxf((float)a[1], (float)b[1]), y1 = fminf((float)a[3], (float)b[3]);
    float both = fmaxf(x1 - x0, 0) * fmaxf(y1 - y0, 0);
    return both / (area(a) + area(b) - both);
}

msx_status msx__nms(msx_ctx *ctx, const int64_t (*boxes)[4], const float *scores, int64_t n,
                    double threshold, int64_t *keep, int64_t *n_keep) {
    ranked *order = msx__alloc(ctx, (size_t)n, sizeof *order);
    *n_keep = 0;
    if (!order) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) order[i] = (ranked){scores[i], i};
    qsort(order, (size_t)n, sizeof *order, by_score);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t number = order[i].number;
        bool stays = true;
        for (int64_t k = 0; k < kept && stays; k++)
            stays = !((double)overlap(boxes[keep[k]], boxes[number]) > threshold);
        if (stays) keep[kept++] = number;
    }
    msx__free(ctx, order);
    *n_keep = kept;
    return MSX_OK;
}
