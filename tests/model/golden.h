/* SPDX-License-Identifier: Apache-2.0 */
/* One of the golden folders a, b, c, opened: its model on the CPU and its vectors. */
#ifndef MSX_TESTS_MODEL_GOLDEN_H
#define MSX_TESTS_MODEL_GOLDEN_H

#include "kernels/cpu/cpu.h"
#include "model/device.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How golden_open's device computes: a path of kernels/cpu/paths.h (-1: the best), and whether the decoder
 * runs in separate steps, as it does on devices without sweeps. */
static int golden_path = -1;
static bool golden_in_steps;

typedef struct golden {
    msx_ctx *ctx;
    msx_device *device;
    msx_checkpoint *vectors;
    msx_model *model;
    msx_kernels kernels; /* of the device, where they are not the CPU's own */
    char name[8];
} golden;

static inline void golden_configure(golden *g) {
    if (golden_path >= 0) ck_assert_int_eq(msxk_cpu_set_path(g->device->dev, golden_path), MSXK_OK);
    if (!golden_in_steps) return;
    g->kernels = msxk_cpu;
    g->kernels.two_way = NULL;
    g->kernels.masks = NULL;
    g->device->k = &g->kernels;
}

static inline void golden_open(golden *g, const char *name, msx_preset preset) {
    char path[64];
    msx_checkpoint *weights;
    snprintf(g->name, sizeof g->name, "%s", name);
    g->ctx = test_ctx();
    test_ok(g->ctx, msx_device_open(&g->device, g->ctx, "cpu"));
    golden_configure(g);
    snprintf(path, sizeof path, "golden/%s/golden.safetensors", name);
    test_ok(g->ctx, msx_checkpoint_open(&g->vectors, g->ctx, test_path(path)));
    snprintf(path, sizeof path, "golden/%s/model.pth", name);
    test_ok(g->ctx, msx_checkpoint_open(&weights, g->ctx, test_path(path)));
    test_ok(g->ctx, msx_model_load(&g->model, g->device, weights, preset));
    msx_checkpoint_free(weights);
}

static inline void golden_close(golden *g) {
    msx_model_free(g->model);
    msx_checkpoint_free(g->vectors);
    msx_device_free(g->device);
    msx_ctx_free(g->ctx);
}

static inline bool golden_has(const golden *g, const char *name) {
    return msx_checkpoint_find(g->vectors, name) >= 0;
}

static inline int64_t golden_dim(const golden *g, const char *name, int axis) {
    return msx_checkpoint_dim(g->vectors, msx_checkpoint_find(g->vectors, name), axis);
}

/* Fail unless `got` is within a relative L2 error of 1e-5 of the vector `name`. */
static inline void golden_check(const golden *g, const char *name, const float *got, int64_t n) {
    int64_t expected_n;
    float *expected = test_tensor(g->vectors, name, &expected_n);
    ck_assert_msg(n == expected_n, "%s %s: %lld elements, expected %lld", g->name, name,
                  (long long)n, (long long)expected_n);
    double error = test_relative_l2(got, expected, n);
    ck_assert_msg(error <= 1e-5, "%s %s: relative error %g", g->name, name, error);
    free(expected);
}

/* The vector `image` as an image. */
static inline msx_image *golden_image(const golden *g) {
    msx_image *image;
    uint8_t *pixels = test_bytes(g->vectors, "image", NULL);
    test_ok(g->ctx, msx_image_create(&image, g->ctx, golden_dim(g, "image", 1),
                                     golden_dim(g, "image", 0), 3, MSX_PIXEL_U8, pixels));
    free(pixels);
    return image;
}

/* The vector `input` as an embedding; sizes from `image` and `resized`. */
static inline msx_embedding *golden_encode_input(const golden *g, const char *prefix) {
    char input_name[64], resized[64];
    snprintf(input_name, sizeof input_name, "%sinput", prefix);
    snprintf(resized, sizeof resized, "%sresized", prefix);
    int64_t sizes[4] = {golden_dim(g, "image", 1), golden_dim(g, "image", 0),
                        golden_dim(g, resized, 1), golden_dim(g, resized, 0)};
    float *input = test_tensor(g->vectors, input_name, NULL);
    msx_embedding *e;
    test_ok(g->ctx, msx_model_encode_input(&e, g->model, input, sizes, 1));
    free(input);
    return e;
}

#endif
