/* SPDX-License-Identifier: Apache-2.0 */
/* An encode that begins at a boundary between two blocks ends with the bits of one from the input. */
#ifndef MSX_TESTS_MODEL_PASSAGE_H
#define MSX_TESTS_MODEL_PASSAGE_H

#include "golden.h"
#include "model/results.h"
#include "model/seats.h"

enum { PASSAGE_IMAGES = 3, PASSAGE_MOST = 64 };

/* Different inputs, an image three times, and room on the device for x at every boundary. */
typedef struct passage {
    golden *g;
    float *inputs, *x[PASSAGE_MOST];
    int64_t sizes[4 * PASSAGE_IMAGES];
    msx_image *image[PASSAGE_IMAGES];
} passage;

static inline passage passage_open(golden *g) {
    passage p = {.g = g};
    const msx_model *m = g->model;
    int64_t pixels;
    float *one = test_tensor(g->vectors, "input", &pixels);
    ck_assert(m->depth < PASSAGE_MOST);
    p.inputs = malloc((size_t)(PASSAGE_IMAGES * pixels) * sizeof *p.inputs);
    for (int64_t i = 0; i < PASSAGE_IMAGES * pixels; i++)
        p.inputs[i] = one[(i + 1009 * (i / pixels)) % pixels];
    for (int i = 0; i < 4 * PASSAGE_IMAGES; i++) p.sizes[i] = m->image_size;
    for (int i = 0; i < PASSAGE_IMAGES; i++) p.image[i] = golden_image(g);
    for (int64_t k = 0; k <= m->depth; k++)
        test_ok(g->ctx,
                msx__seats_alloc(g->device, &p.x[k], PASSAGE_IMAGES * m->tokens * m->width));
    free(one);
    return p;
}

static inline void passage_close(passage *p) {
    for (int64_t k = 0; k <= p->g->model->depth; k++) msx__seats_release(p->g->device, p->x[k]);
    for (int i = 0; i < PASSAGE_IMAGES; i++) msx_image_free(p->image[i]);
    free(p->inputs);
}

/* Embeddings, and the sizes that masks are scaled by. */
static inline float *passage_encode(const passage *p, bool images, const msx__passage *how,
                                    size_t *bytes, int64_t sizes[4 * PASSAGE_IMAGES]) {
    msx_embedding *e;
    msx_model *m = p->g->model;
    int64_t floats = m->tokens * m->channels;
    msx__sources from = {.input = p->inputs, .sizes = p->sizes};
    if (images) from = (msx__sources){.images = (const msx_image *const *)p->image};
    float *out = malloc((size_t)(PASSAGE_IMAGES * floats) * sizeof *out);
    test_ok(p->g->ctx, msx__model_encode_part(&e, m, &from, how, PASSAGE_IMAGES));
    for (int i = 0; i < PASSAGE_IMAGES; i++) {
        test_ok(p->g->ctx, msx_embedding_read(e, i, out + i * floats, floats));
        test_ok(p->g->ctx, msx_embedding_sizes(e, i, sizes + 4 * i));
    }
    msx_embedding_free(e);
    *bytes = (size_t)(PASSAGE_IMAGES * floats) * sizeof *out;
    return out;
}

/* From every boundary, with the boundaries behind it handed out again, and twice: the second time a
 * device may repeat what it has recorded. */
static inline void passage_check(golden *g) {
    passage p = passage_open(g);
    msx_model *m = g->model;
    for (int images = 0; images < 2; images++) {
        size_t bytes;
        int64_t expected[4 * PASSAGE_IMAGES], sizes[4 * PASSAGE_IMAGES];
        float *whole = passage_encode(&p, images, NULL, &bytes, expected);
        float *kept = passage_encode(&p, images, &(msx__passage){.keep = p.x}, &bytes, sizes);
        ck_assert_int_eq(memcmp(whole, kept, bytes), 0);
        free(kept);
        for (int64_t k = 0; k <= m->depth; k++)
            for (int again = 0; again < 2; again++) {
                float *keep[PASSAGE_MOST] = {NULL};
                if (k + 2 <= m->depth) keep[k + 2] = p.x[k + 2];
                msx__passage from = {.x = p.x[k], .first = k, .keep = again ? keep : NULL};
                float *rest = passage_encode(&p, images, &from, &bytes, sizes);
                ck_assert_msg(!memcmp(whole, rest, bytes), "%s: from boundary %d", g->name, (int)k);
                ck_assert(!memcmp(sizes, expected, sizeof sizes));
                free(rest);
            }
        free(whole);
    }
    passage_close(&p);
}

#endif
