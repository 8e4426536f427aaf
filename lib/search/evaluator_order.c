/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which images are visited: any first part of it is a fair sample of data sets and tasks. */
#include "search/evaluator.h"

#include "core/random.h"

#include <string.h>

/* Uniformly random permutation (Fisher and Yates) of 0 .. n-1. */
static void shuffle(int64_t *order, int64_t n, uint64_t seed) {
    msx_rng rng;
    msx__rng_init(&rng, seed, UINT64_C(0x696d61676573)); /* "images" */
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t k = (int64_t)msx_rng_below(&rng, (uint64_t)i + 1), swapped = order[i];
        order[i] = order[k];
        order[k] = swapped;
    }
}

/* How much of an image's tasks was seen so far, on average. */
static double seen_of(const msx_evaluator *e, int64_t image, const int64_t *seen) {
    const msx__eval_image *i = &e->images[image];
    double sum = 0;
    for (int64_t k = i->first_item; k < i->first_item + i->n_items; k++) {
        int64_t task = e->items[k].task;
        sum += (double)seen[task] / (double)e->tasks[task].slices;
    }
    return sum / (double)i->n_items;
}

/* Next comes the image whose tasks were seen least, the earliest of the shuffled ones where several are. */
static void interleave(int64_t *order, const msx_evaluator *e, int64_t *seen) {
    for (int64_t at = 0; at < e->n_images; at++) {
        int64_t best = at;
        double least = seen_of(e, order[at], seen);
        for (int64_t i = at + 1; i < e->n_images; i++) {
            double other = seen_of(e, order[i], seen);
            if (other < least) {
                least = other;
                best = i;
            }
        }
        int64_t chosen = order[best];
        memmove(order + at + 1, order + at, (size_t)(best - at) * sizeof *order);
        order[at] = chosen;
        const msx__eval_image *image = &e->images[chosen];
        for (int64_t k = image->first_item; k < image->first_item + image->n_items; k++)
            seen[e->items[k].task]++;
    }
}

msx_status msx__evaluator_interleave(msx_evaluator *e, uint64_t seed) {
    size_t n = (size_t)e->n_images;
    int64_t *order = msx__alloc(e->ctx, n, sizeof *order);
    int64_t *natural = msx__alloc(e->ctx, n, sizeof *natural);
    int64_t *seen = msx__calloc(e->ctx, (size_t)e->n_tasks, sizeof *seen);
    msx__eval_image *images = msx__alloc(e->ctx, n, sizeof *images);
    msx_status status = order && natural && seen && images ? MSX_OK : MSX_E_NOMEM;
    if (status >= 0) {
        shuffle(order, e->n_images, seed);
        interleave(order, e, seen);
        for (int64_t i = 0; i < e->n_images; i++) {
            images[i] = e->images[order[i]];
            natural[order[i]] = i;
        }
        if (n) memcpy(e->images, images, n * sizeof *images);
        for (int64_t k = 0; k < e->n_items; k++) e->items[k].image = natural[e->items[k].image];
        msx__evaluator_index(e);
        e->natural = natural;
        natural = NULL;
        msx__evaluator_drop_inputs(e);
    }
    msx__free(e->ctx, order);
    msx__free(e->ctx, natural);
    msx__free(e->ctx, seen);
    msx__free(e->ctx, images);
    return status;
}
