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

/* prepare.c: true when inputs of a preset are made on the device, in general and for a model; input (3,S,S)
 * there, and the image's sizes; at a seat. */
bool msx__device_prepares(const msx_device *d, msx_preset preset);
bool msx__prepares_there(const msx_model *m);
msx_status msx__prepare_there(msx_model *m, const msx_image *image, float *input, msx__extent *x);
/* The sizes alone. */
msx_status msx__image_extent(const msx_model *m, const msx_image *image, msx__extent *x);

/* What is encoded: images, or ready inputs (B,3,S,S) with four sizes each, which lie on the host or, with
 * `there`, on the device. */
typedef struct msx__sources {
    const msx_image *const *images;
    const float *input; /* NULL: images */
    const int64_t *sizes;
    bool there;
} msx__sources;

/* As msx_model_encode() of n images by a passage (NULL: all of the encoder) whose memory is of all n. */
msx_status msx__model_encode_part(msx_embedding **out, msx_model *m, const msx__sources *from,
                                  const msx__passage *passage, size_t n);

/* Room for `n` images; data and extents are the caller's to fill. */
msx_status msx__embedding_create(msx_embedding **out, msx_model *m, size_t n);
/* Sizes of image `i`: width, height, resized width and height, checked. `path`: the file that says
 * so, or NULL. */
msx_status msx__embedding_place(msx_embedding *e, int64_t i, const int64_t s[4], const char *path);

/* As msx_model_encode_input() for the images of a passage, whose B is `n` and of any size. */
msx_status msx__model_encode_passage(msx_embedding **out, msx_model *m, const msx__passage *p,
                                     const int64_t *sizes, size_t n);

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
    float *there;         /* device (n, masks, side, side); NULL where they did not fit */
    float *logits;        /* host, the same; NULL until they are asked for */
    float *iou;           /* host (n, masks) */
    msx__extent *extents; /* n */
};

/* msx_prediction_map() at a seat of the prediction's device; the numbers are right. (prediction.c) */
msx_status msx__prediction_map_at(msx_image **out, const msx_prediction *p, msx_device *seat,
                                  int64_t prompt, int64_t mask);

/* As msx_prediction_logits(), with a status; not at a seat. */
msx_status msx__prediction_logits(const float **out, const msx_prediction *p, int64_t prompt);

/* Memory for the logits: the device's where it has its own and enough of it, else the host's. */
msx_status msx__prediction_room(msx_prediction *p);

/* An object and the prompts of a prediction that it was asked for with. */
typedef struct msx__counted {
    int64_t prompt, n_prompts;
    const uint16_t *labels; /* device (H, W) of the prompts' image */
    int label, ignore;      /* pixels of `ignore` (-1: none) are left out */
} msx__counted;

/* True when msx__prediction_count() can count. */
bool msx__prediction_counts(const msx_prediction *p);
/* tp, fp, fn, tn of the union of the objects' masks 0, and how many of their logits are not finite. */
msx_status msx__prediction_count(int64_t (*counts)[5], const msx_prediction *p,
                                 const msx__counted *objects, int64_t n);

#endif
