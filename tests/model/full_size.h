/* SPDX-License-Identifier: Apache-2.0 */
/* Full-size SAMs at 1024 pixels with computed weights: embedding, box and point within 1e-4 of the
 * reference, and in bounded memory. */
#ifndef MSX_TESTS_MODEL_FULL_SIZE_H
#define MSX_TESTS_MODEL_FULL_SIZE_H

#include "support/computed_vit.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static inline float *vector(msx_checkpoint *vectors, const char *name) {
    return test_tensor(vectors, name, NULL);
}

static inline void check(msx_checkpoint *vectors, const char *name, const float *got, int64_t n) {
    float *expected = vector(vectors, name);
    double error = test_relative_l2(got, expected, n);
    printf("%-28s relative error %.2g\n", name, error);
    ck_assert_msg(error <= 1e-4, "%s: relative error %g", name, error);
    free(expected);
}

static inline double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline msx_image *make_image(msx_ctx *ctx) {
    msx_image *image;
    test_ok(ctx, msx_image_create(&image, ctx, 1024, 1024, 3, MSX_PIXEL_U8, NULL));
    uint8_t *pixels = msx_image_data(image);
    for (int y = 0; y < 1024; y++)
        for (int x = 0; x < 1024; x++)
            for (int c = 0; c < 3; c++) *pixels++ = (uint8_t)((x * (3 + c)) ^ (y * (5 + c)));
    return image;
}

static inline void check_embedding(msx_ctx *ctx, msx_checkpoint *vectors, const msx_embedding *e) {
    enum { C = 256, G = 64, N = G * G };
    float *embedding = malloc((size_t)C * N * sizeof *embedding);
    float *sample = malloc((size_t)C * 64 * sizeof *sample);
    test_ok(ctx, msx_embedding_read(e, 0, embedding, (int64_t)C * N));
    double sum = 0, squares = 0;
    for (int i = 0; i < C * N; i++) sum += embedding[i];
    double mean = sum / (C * N);
    for (int i = 0; i < C * N; i++) squares += (embedding[i] - mean) * (embedding[i] - mean);
    for (int c = 0; c < C; c++)
        for (int y = 0; y < 8; y++)
            for (int x = 0; x < 8; x++)
                sample[(c * 8 + y) * 8 + x] = embedding[(c * G + 9 * y) * G + 9 * x];
    check(vectors, "embedding_sample", sample, (int64_t)C * 64);
    float *expected = vector(vectors, "embedding_mean_std");
    ck_assert_double_eq_tol(mean, expected[0], 1e-4);
    ck_assert_double_eq_tol(sqrt(squares / (C * N - 1)), expected[1], 1e-4);
    free(expected);
    free(sample);
    free(embedding);
}

/* Every fourth row and column of the logits of prompt `p`. */
static inline void check_prompt(msx_checkpoint *vectors, const msx_prediction *p, int64_t prompt,
                                const char *name) {
    float *sample = malloc(4 * 64 * 64 * sizeof *sample);
    const float *logits = msx_prediction_logits(p, prompt);
    char full[64];
    for (int m = 0; m < 4; m++)
        for (int y = 0; y < 64; y++)
            for (int x = 0; x < 64; x++)
                sample[(m * 64 + y) * 64 + x] = logits[(m * 256 + 4 * y) * 256 + 4 * x];
    snprintf(full, sizeof full, "%s.low_res_logits_sample", name);
    check(vectors, full, sample, 4 * 64 * 64);
    snprintf(full, sizeof full, "%s.iou", name);
    check(vectors, full, msx_prediction_iou(p, prompt), 4);
    free(sample);
}

typedef struct full_size {
    const char *name;
    int64_t width, head, depth, global_every;
    long most_megabytes; /* of peak memory: the weights twice for a moment, and work */
} full_size;

static const full_size *full_size_current;

START_TEST(full_size_matches_the_reference) {
    const full_size *v = full_size_current;
    char path[64];
    snprintf(path, sizeof path, "golden/%s.safetensors", v->name);
    msx_ctx *ctx = test_ctx();
    msx_checkpoint *vectors, *weights;
    double start = seconds();
    test_ok(ctx, test_compute_vit(&weights, ctx, v->width, v->head, v->depth, v->global_every));
    printf("%s: weights in %.1f s\n", v->name, seconds() - start);
    test_ok(ctx, msx_checkpoint_open(&vectors, ctx, test_path(path)));
    msx_device *device;
    msx_model *model;
    test_ok(ctx, msx_device_open(&device, ctx, "cpu"));
    test_ok(ctx, msx_model_load(&model, device, weights, MSX_PRESET_SAM));
    msx_checkpoint_free(weights);
    ck_assert_str_eq(msx_arch_name(msx_model_arch(model)), v->name);

    msx_image *image = make_image(ctx);
    msx_embedding *e;
    start = seconds();
    test_ok(ctx, msx_model_encode(&e, model, (const msx_image *const[]){image}, 1));
    printf("encode %.2f s with %d threads\n", seconds() - start, msx_ctx_threads(ctx));
    check_embedding(ctx, vectors, e);

    msx_prompts *prompts;
    test_ok(ctx, msx_prompts_create(&prompts, ctx));
    test_ok(ctx, msx_prompts_begin(prompts, 0));
    test_ok(ctx, msx_prompts_box(prompts, 100, 150, 800, 700));
    test_ok(ctx, msx_prompts_begin(prompts, 0));
    test_ok(ctx, msx_prompts_point(prompts, 512, 400, 1));
    msx_prediction *p;
    start = seconds();
    test_ok(ctx, msx_model_predict(&p, model, e, prompts));
    printf("decode %.1f ms a prompt\n", (seconds() - start) * 500);
    check_prompt(vectors, p, 0, "box");
    check_prompt(vectors, p, 1, "point");

    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("peak memory %ld MB\n", usage.ru_maxrss / 1024);
    ck_assert_int_lt(usage.ru_maxrss / 1024, v->most_megabytes);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    msx_image_free(image);
    msx_model_free(model);
    msx_device_free(device);
    msx_checkpoint_free(vectors);
    msx_ctx_free(ctx);
}
END_TEST

/* One test in a process of its own, so that the peak is this model's. */
static inline int full_size_run(const full_size *v) {
    if (getenv("MSX_SANITIZED")) {
        puts("too slow under sanitizers");
        return 77;
    }
    Suite *s = suite_create("full size");
    TCase *t = tcase_create("full size");
    tcase_set_timeout(t, 1200);
    full_size_current = v;
    tcase_add_test(t, full_size_matches_the_reference);
    suite_add_tcase(s, t);
    return test_run(s);
}

#endif
