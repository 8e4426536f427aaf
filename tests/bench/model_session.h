/* SPDX-License-Identifier: Apache-2.0 */
/* A model with fixed inputs and boxes, to time encoding and decoding. tests/bench/peers/ makes the same
 * inputs and boxes. */
#ifndef MSX_TESTS_BENCH_MODEL_SESSION_H
#define MSX_TESTS_BENCH_MODEL_SESSION_H

#include <medsamix/medsamix.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SESSION_IMAGES = 4, SESSION_BOXES = 100 };

typedef struct session {
    msx_ctx *ctx;
    msx_device *device;
    msx_model *model;
    msx_embedding *embedding; /* of image 0 */
    const char *path;
    int64_t side; /* of the input */
    float *input; /* (SESSION_IMAGES, 3, side, side) */
    int64_t sizes[4 * SESSION_IMAGES];
    double load_ms; /* opening the file and loading the model */
} session;

static inline double session_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* The benchmark ends with the context's text when a call fails. */
static inline void session_need(const session *s, msx_status status) {
    if (status >= 0) return;
    fprintf(stderr, "bench_model: %s\n", msx_ctx_error(s->ctx));
    exit(1);
}

static inline void session_load(session *s) {
    msx_checkpoint *c;
    double start = session_now();
    session_need(s, msx_checkpoint_open(&c, s->ctx, s->path));
    session_need(s, msx_model_load(&s->model, s->device, c, MSX_PRESET_SAM));
    s->load_ms = session_now() - start;
    msx_checkpoint_free(c);
}

/* False, and nothing is open, where the CPU does not compute in `precision`. */
static inline bool session_open(session *s, const char *path, int threads,
                                msx_precision precision) {
    memset(s, 0, sizeof *s);
    if (msx_ctx_create(&s->ctx, NULL) < 0) exit(1);
    session_need(s, msx_ctx_set_threads(s->ctx, threads));
    session_need(s, msx_device_open(&s->device, s->ctx, "cpu"));
    if (msx_device_set_precision(s->device, precision) < 0) {
        msx_device_free(s->device);
        msx_ctx_free(s->ctx);
        return false;
    }
    s->path = path;
    session_load(s);
    s->side = msx_arch_get(msx_model_arch(s->model), MSX_ARCH_IMAGE_SIZE);
    int64_t floats = SESSION_IMAGES * 3 * s->side * s->side;
    s->input = malloc((size_t)floats * sizeof *s->input);
    if (!s->input) exit(1);
    for (int64_t i = 0; i < floats; i++) s->input[i] = (float)(i % 251) / 125.0f - 1.0f;
    for (int i = 0; i < 4 * SESSION_IMAGES; i++) s->sizes[i] = s->side;
    return true;
}

static inline void session_close(session *s) {
    free(s->input);
    msx_embedding_free(s->embedding);
    msx_model_free(s->model);
    msx_device_free(s->device);
    msx_ctx_free(s->ctx);
}

/* Milliseconds to encode the first `n` images; keeps the embedding. */
static inline double session_encode(session *s, int n) {
    msx_embedding_free(s->embedding);
    double start = session_now();
    session_need(s, msx_model_encode_input(&s->embedding, s->model, s->input, s->sizes, (size_t)n));
    return session_now() - start;
}

/* Box `i`, in pixels of the input. */
static inline void session_box(const session *s, msx_prompts *p, int i) {
    int64_t half = s->side / 2, x = 7 * i % half, y = 11 * i % half;
    session_need(s, msx_prompts_begin(p, 0));
    session_need(s, msx_prompts_box(p, (double)x, (double)y, (double)(x + s->side / 3),
                                    (double)(y + s->side / 4)));
}

/* Decode the first `n` boxes on image 0. */
static inline msx_prediction *session_predict(session *s, int n, double *milliseconds) {
    msx_prompts *prompts;
    msx_prediction *p;
    session_need(s, msx_prompts_create(&prompts, s->ctx));
    for (int i = 0; i < n; i++) session_box(s, prompts, i);
    double start = session_now();
    session_need(s, msx_model_predict(&p, s->model, s->embedding, prompts));
    *milliseconds = session_now() - start;
    msx_prompts_free(prompts);
    return p;
}

static inline double session_decode(session *s, int n) {
    double milliseconds;
    msx_prediction_free(session_predict(s, n, &milliseconds));
    return milliseconds;
}

#endif
