/* SPDX-License-Identifier: Apache-2.0 */
/* What the model hands out: embeddings, prompts, predictions. */
#ifndef MSX_MODEL_RESULTS_H
#define MSX_MODEL_RESULTS_H

#include "model/network.h"

/* Sizes of an image and of the part of the network's input that it covers, in pixels. */
typedef struct msx__extent {
    int64_t width, height, resized_width, resized_height;
} msx__extent;

struct msx_embedding {
    msx_ctx *ctx;
    msx_device *device;
    int64_t n, channels, tokens, image_size; /* B, C, N, S */
    float *data;                             /* device (B, N, C) */
    msx__extent *extents;                    /* B */
    uint64_t stamp;                          /* of the weights that made it */
};

/* Room for `n` images; data and extents are the caller's to fill. */
msx_status msx__embedding_create(msx_embedding **out, msx_model *m, size_t n);
/* Sizes of image `i`: width, height, resized width and height, checked. `path`: the file that says
 * so, or NULL. */
msx_status msx__embedding_place(msx_embedding *e, int64_t i, const int64_t s[4], const char *path);

typedef struct msx__prompt {
    int64_t image;
    bool has_box;
    double box[4];
    int64_t first_point, n_points;
    float *mask; /* n_mask floats, or NULL */
    int64_t n_mask;
} msx__prompt;

struct msx_prompts {
    msx_ctx *ctx;
    msx__prompt *prompts;
    msx__point *points; /* of all prompts, in their order */
    int64_t n, capacity, n_points, point_capacity;
};

struct msx_prediction {
    msx_ctx *ctx;
    msx_device *device;
    msx_preset preset;
    int64_t n, masks, side, image_size;
    float *logits;        /* host (n, masks, side, side) */
    float *iou;           /* host (n, masks) */
    msx__extent *extents; /* n */
};

/* msx_prediction_map() at a seat of the prediction's device; the numbers are right. (prediction.c) */
msx_status msx__prediction_map_at(msx_image **out, const msx_prediction *p, msx_device *seat,
                                  int64_t prompt, int64_t mask);

#endif
