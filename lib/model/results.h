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

/* prepare.c: true when inputs are made on the device; input (3,S,S) there, and the image's sizes. */
bool msx__prepares_there(const msx_model *m);
msx_status msx__prepare_there(msx_model *m, const msx_image *image, float *input, msx__extent *x);

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

#endif
