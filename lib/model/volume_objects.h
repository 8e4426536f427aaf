/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of a volume on their way through its slices. */
#ifndef MSX_MODEL_VOLUME_OBJECTS_H
#define MSX_MODEL_VOLUME_OBJECTS_H

#include "model/seeds.h"

/* What is known of an object's mask on the slice before. */
typedef struct msx__trace {
    bool alive; /* it was not empty */
    double box[4];
    int64_t slice, since; /* slice; slices since one with a prompt of its own */
    uint8_t *mask;        /* (height, width), 0 or 1 */
    float *logits;        /* (side, side), NULL unless masks are carried on */
} msx__trace;

typedef struct msx__object {
    int label;
    const msx__seed *seeds; /* its n seeds, in the order given */
    int64_t n;
    int64_t start, low, high; /* first slice looked at; where it may be */
    msx__trace trace, origin; /* on the slice before; on the first slice */
    int64_t prompts;          /* made so far */
    double iou_sum;
    int64_t first, last, voxels; /* of the result */
} msx__object;

/* Objects by label, and the seeds that they point to. */
typedef struct msx__objects {
    msx_ctx *ctx;
    msx__seed *seeds;
    msx__object *objects;
    int64_t n;
} msx__objects;

/* From seeds that lie in slices of these sizes; MSX_E_ARG when one does not. */
msx_status msx__objects_make(msx__objects *o, msx_ctx *ctx, const msx_seeds *seeds,
                             const msx_slices *image, msx_propagation propagate);
void msx__objects_free(msx__objects *o); /* accepts a zeroed struct */

/* A prompt that was made: for an object on a slice that is image number `image` of an embedding. */
typedef struct msx__ask {
    int64_t object, slice, image;
    bool carried; /* from the mask of the slice before */
    bool has_box;
    double box[4];
} msx__ask;

/* Prompts in the making. */
typedef struct msx__asks {
    msx_ctx *ctx;
    const msx_volume_options *options;
    int64_t width, height, side; /* of a slice; of the logits */
    msx_prompts *prompts;
    msx__ask *asks; /* one per prompt */
    int64_t n, capacity;
} msx__asks;

/* Add the prompts of an object on a slice; none when there is nothing to go by. */
msx_status msx__object_ask(msx__asks *a, const msx__objects *o, int64_t object, int64_t slice,
                           int64_t image);

/* Is there anything to go by? */
bool msx__object_wanted(const msx__object *x, int64_t slice, const msx_volume_options *options);

#endif
