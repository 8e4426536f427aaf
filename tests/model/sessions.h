/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: threads on one model, each with images, prompts and results of its own. */
#ifndef MSX_TESTS_MODEL_SESSIONS_H
#define MSX_TESTS_MODEL_SESSIONS_H

#include "golden.h"

#include <pthread.h>

enum { SESSIONS = 3, SESSION_ROUNDS = 2, SESSION_PROMPTS = 4 };

/* What one session is given, and what comes of it. */
typedef struct session {
    const golden *g;
    int number;
    const char *folder;       /* for embeddings in files */
    pthread_barrier_t *start; /* NULL: alone */
    msx_status status;        /* of the first call that failed */
    char text[256];           /* the thread's last error */
    float *results;           /* of the last round */
    int64_t n, capacity;
} session;

static inline void keep(session *s, const void *data, int64_t floats) {
    if (s->n + floats > s->capacity) {
        s->capacity = 2 * (s->n + floats);
        s->results = realloc(s->results, (size_t)s->capacity * sizeof *s->results);
    }
    memcpy(s->results + s->n, data, (size_t)floats * sizeof *s->results);
    s->n += floats;
}

/* Different for every session: the golden image, cut and shifted. */
static inline msx_status make_image(const session *s, msx_image **out) {
    const msx_arch *arch = msx_model_arch(s->g->model);
    int64_t side = msx_arch_get(arch, MSX_ARCH_IMAGE_SIZE), width = side - 7 * s->number;
    msx_status status = msx_image_create(out, s->g->ctx, width, side / 2, 3, MSX_PIXEL_U8, NULL);
    if (status < 0) return status;
    uint8_t *pixels = msx_image_data(*out);
    for (int64_t i = 0; i < width * (side / 2) * 3; i++)
        pixels[i] = (uint8_t)(i * (11 + s->number) ^ i / width);
    return status;
}

/* Every kind of prompt. */
static inline msx_status make_prompts(const session *s, msx_prompts **out) {
    int64_t side = 4 * msx_arch_get(msx_model_arch(s->g->model), MSX_ARCH_GRID);
    float *logits = malloc((size_t)(side * side) * sizeof *logits);
    for (int64_t i = 0; i < side * side; i++) logits[i] = (float)(i % (17 + s->number)) / 4 - 2;
    msx_status status = msx_prompts_create(out, s->g->ctx);
    for (int p = 0; p < SESSION_PROMPTS && status >= 0; p++) {
        status = msx_prompts_begin(*out, 0);
        if (status >= 0 && p % 2) status = msx_prompts_box(*out, 5 + s->number, 6, 40, 30 + p);
        if (status >= 0 && p >= 2) status = msx_prompts_point(*out, 20, 10 + s->number, p % 2);
    }
    if (status >= 0) status = msx_prompts_mask(*out, logits, side * side);
    free(logits);
    return status;
}

static inline msx_status keep_results(session *s, const msx_embedding *e, const msx_prediction *p) {
    const msx_arch *arch = msx_model_arch(s->g->model);
    int64_t grid = msx_arch_get(arch, MSX_ARCH_GRID), side = msx_prediction_side(p);
    int64_t n = msx_arch_get(arch, MSX_ARCH_DECODER_WIDTH) * grid * grid;
    float *embedding = malloc((size_t)n * sizeof *embedding);
    msx_status status = msx_embedding_read(e, 0, embedding, n);
    if (status >= 0) keep(s, embedding, n);
    free(embedding);
    keep(s, msx_prediction_logits(p, 0), SESSION_PROMPTS * msx_prediction_masks(p) * side * side);
    keep(s, msx_prediction_iou(p, 0), SESSION_PROMPTS * msx_prediction_masks(p));
    for (int i = 0; i < SESSION_PROMPTS && status >= 0; i++) {
        msx_image *map = NULL, *mask = NULL;
        status = msx_prediction_map(&map, p, i, 0);
        if (status >= 0) status = msx_prediction_mask(&mask, p, i, 1);
        if (status >= 0) {
            int64_t pixels = msx_image_width(map) * msx_image_height(map);
            keep(s, msx_image_data(map), pixels);
            keep(s, msx_image_data(mask), pixels / 4);
        }
        msx_image_free(map);
        msx_image_free(mask);
    }
    return status;
}

/* Encoding, a detour through a file, prompting, and a call that is refused. */
static inline msx_status run_round(session *s) {
    char path[128];
    msx_model *m = s->g->model;
    msx_image *image = NULL;
    msx_embedding *e = NULL, *again = NULL;
    msx_prompts *prompts = NULL;
    msx_prediction *p = NULL, *none = NULL;
    snprintf(path, sizeof path, "%s/%d.safetensors", s->folder, s->number);
    s->n = 0;
    msx_status status = make_image(s, &image);
    if (status >= 0) status = msx_model_encode(&e, m, (const msx_image *const[]){image}, 1);
    if (status >= 0) status = msx_embedding_save(e, m, path);
    if (status >= 0) status = msx_embedding_load(&again, m, path);
    if (status >= 0) status = make_prompts(s, &prompts);
    if (status >= 0) status = msx_model_predict(&p, m, again, prompts);
    if (status >= 0) status = keep_results(s, e, p);
    if (status >= 0) status = msx_prompts_begin(prompts, 100 + s->number);
    if (status >= 0 && msx_model_predict(&none, m, e, prompts) != MSX_E_ARG)
        status = MSX_E_INTERNAL;
    snprintf(s->text, sizeof s->text, "%s", msx_ctx_error(s->g->ctx));
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(again);
    msx_embedding_free(e);
    msx_image_free(image);
    return status;
}

static inline void *run_session(void *payload) {
    session *s = payload;
    if (s->start) pthread_barrier_wait(s->start);
    for (int r = 0; r < SESSION_ROUNDS && s->status >= 0; r++) s->status = run_round(s);
    return NULL;
}

/* All sessions at once on the model of `g`, and one after another: the same bits. */
static inline void check_sessions(const golden *g, int threads) {
    test_ok(g->ctx, msx_ctx_set_threads(g->ctx, threads));
    const char *folder = test_make_folder();
    session alone[SESSIONS], together[SESSIONS];
    pthread_t thread[SESSIONS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, SESSIONS);
    for (int i = 0; i < SESSIONS; i++) {
        alone[i] = (session){.g = g, .number = i, .folder = folder};
        together[i] = (session){.g = g, .number = i, .folder = folder, .start = &start};
    }
    for (int i = 0; i < SESSIONS; i++)
        ck_assert_int_eq(pthread_create(thread + i, NULL, run_session, together + i), 0);
    for (int i = 0; i < SESSIONS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < SESSIONS; i++) {
        char text[64];
        snprintf(text, sizeof text, "is on image %d of 1", 100 + i);
        ck_assert_msg(together[i].status >= 0, "session %d: %s", i, together[i].text);
        ck_assert_msg(strstr(together[i].text, text) != NULL, "session %d was told: %s", i,
                      together[i].text);
        run_session(alone + i);
        ck_assert_int_ge(alone[i].status, 0);
        ck_assert_int_eq(alone[i].n, together[i].n);
        ck_assert_int_eq(
            memcmp(alone[i].results, together[i].results, (size_t)alone[i].n * sizeof(float)), 0);
        if (i) ck_assert_int_ne(memcmp(alone[0].results, alone[i].results, 4096), 0);
    }
    for (int i = 0; i < SESSIONS; i++) {
        free(alone[i].results);
        free(together[i].results);
    }
    pthread_barrier_destroy(&start);
    test_remove_folder(folder);
}

#endif
