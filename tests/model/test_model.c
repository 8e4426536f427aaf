/* SPDX-License-Identifier: Apache-2.0 */
/* lib/model: batches, ragged prompts, threads, updates, arguments. */
#include "passage.h"

/* n different inputs made from the golden one: each shifted by a few values. */
static float *make_inputs(const golden *g, int n, int64_t *pixels) {
    float *input = test_tensor(g->vectors, "input", pixels);
    float *all = malloc((size_t)(n * *pixels) * sizeof *all);
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < *pixels; k++)
            all[i * *pixels + k] = input[(k + 1009 * i) % *pixels];
    free(input);
    return all;
}

static float *read_embedding(const golden *g, const msx_embedding *e, int64_t i, size_t *bytes) {
    const msx_arch *arch = msx_model_arch(g->model);
    int64_t grid = msx_arch_get(arch, MSX_ARCH_GRID);
    int64_t n = msx_arch_get(arch, MSX_ARCH_DECODER_WIDTH) * grid * grid;
    float *data = malloc((size_t)n * sizeof *data);
    test_ok(g->ctx, msx_embedding_read(e, i, data, n));
    *bytes = (size_t)n * sizeof *data;
    return data;
}

START_TEST(a_batch_gives_the_bits_of_one_by_one) {
    enum { N = 5 };
    golden g;
    golden_open(&g, _i ? "b" : "a", MSX_PRESET_SAM);
    int64_t side = msx_arch_get(msx_model_arch(g.model), MSX_ARCH_IMAGE_SIZE), pixels;
    float *inputs = make_inputs(&g, N, &pixels);
    int64_t sizes[4 * N];
    for (int i = 0; i < 4 * N; i++) sizes[i] = side;
    msx_embedding *batch;
    test_ok(g.ctx, msx_model_encode_input(&batch, g.model, inputs, sizes, N));
    ck_assert_int_eq(msx_embedding_count(batch), N);
    for (int i = 0; i < N; i++) {
        msx_embedding *one;
        size_t bytes;
        test_ok(g.ctx, msx_model_encode_input(&one, g.model, inputs + i * pixels, sizes, 1));
        float *a = read_embedding(&g, batch, i, &bytes), *b = read_embedding(&g, one, 0, &bytes);
        ck_assert_int_eq(memcmp(a, b, bytes), 0);
        free(a);
        free(b);
        msx_embedding_free(one);
    }
    msx_embedding_free(batch);
    free(inputs);
    golden_close(&g);
}
END_TEST

START_TEST(an_encode_from_a_boundary_gives_the_bits_of_a_whole_one) {
    golden g;
    golden_open(&g, _i % 2 ? "b" : "a", MSX_PRESET_SAM);
    test_ok(g.ctx, msx_ctx_set_threads(g.ctx, 1 + _i / 2));
    passage_check(&g);
    golden_close(&g);
}
END_TEST

/* Prompts of every kind and length, on several images, in a shuffled order. */
static void add_prompt(const golden *g, msx_prompts *p, int kind, int image, const float *mask,
                       int64_t n_mask) {
    test_ok(g->ctx, msx_prompts_begin(p, image));
    if (kind % 2) test_ok(g->ctx, msx_prompts_box(p, 10 + kind, 12, 60, 50.5));
    for (int i = 0; i < kind % 4; i++)
        test_ok(g->ctx, msx_prompts_point(p, 20 + 3 * i, 30 + i, i % 2));
    if (kind % 3 == 2) test_ok(g->ctx, msx_prompts_mask(p, mask, n_mask));
}

START_TEST(mixed_prompts_give_the_bits_of_one_by_one) {
    enum { IMAGES = 2, PROMPTS = 25 };
    golden g;
    golden_open(&g, "a", MSX_PRESET_SAM);
    int64_t pixels, n_mask;
    float *inputs = make_inputs(&g, IMAGES, &pixels);
    float *mask = test_tensor(g.vectors, "box_mask.mask_input", &n_mask);
    const int64_t sizes[4 * IMAGES] = {143, 89, 112, 70, 112, 112, 112, 112};
    msx_embedding *e;
    msx_prompts *all;
    msx_prediction *together;
    test_ok(g.ctx, msx_model_encode_input(&e, g.model, inputs, sizes, IMAGES));
    test_ok(g.ctx, msx_prompts_create(&all, g.ctx));
    for (int i = 0; i < PROMPTS; i++) add_prompt(&g, all, i * 7 % PROMPTS, i % 2, mask, n_mask);
    ck_assert_int_eq(msx_prompts_count(all), PROMPTS);
    test_ok(g.ctx, msx_model_predict(&together, g.model, e, all));
    ck_assert_int_eq(msx_prediction_count(together), PROMPTS);
    int64_t side = msx_prediction_side(together), masks = msx_prediction_masks(together);
    size_t bytes = (size_t)(masks * side * side) * sizeof(float);
    for (int i = 0; i < PROMPTS; i++) {
        msx_prompts *one;
        msx_prediction *alone;
        msx_image *a, *b;
        test_ok(g.ctx, msx_prompts_create(&one, g.ctx));
        add_prompt(&g, one, i * 7 % PROMPTS, i % 2, mask, n_mask);
        test_ok(g.ctx, msx_model_predict(&alone, g.model, e, one));
        ck_assert_int_eq(
            memcmp(msx_prediction_logits(together, i), msx_prediction_logits(alone, 0), bytes), 0);
        ck_assert_int_eq(memcmp(msx_prediction_iou(together, i), msx_prediction_iou(alone, 0),
                                (size_t)masks * sizeof(float)),
                         0);
        test_ok(g.ctx, msx_prediction_mask(&a, together, i, 1));
        test_ok(g.ctx, msx_prediction_mask(&b, alone, 0, 1));
        ck_assert_int_eq(msx_image_width(a), i % 2 ? 112 : 143);
        ck_assert_int_eq(msx_image_height(a), i % 2 ? 112 : 89);
        ck_assert_int_eq(memcmp(msx_image_data(a), msx_image_data(b),
                                (size_t)(msx_image_width(a) * msx_image_height(a))),
                         0);
        msx_image_free(a);
        msx_image_free(b);
        msx_prediction_free(alone);
        msx_prompts_free(one);
    }
    msx_prediction_free(together);
    msx_prompts_free(all);
    msx_embedding_free(e);
    free(mask);
    free(inputs);
    golden_close(&g);
}
END_TEST

/* A map under a preset; the network's input is the same for all. */
static float *map_under(msx_preset preset, int64_t *pixels) {
    golden g;
    golden_open(&g, "b", preset);
    msx_embedding *e = golden_encode_input(&g, "");
    msx_prompts *prompts;
    msx_prediction *p;
    msx_image *map;
    ck_assert_int_eq(msx_model_preset(g.model), preset);
    test_ok(g.ctx, msx_prompts_create(&prompts, g.ctx));
    add_prompt(&g, prompts, 1, 0, NULL, 0);
    test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts));
    test_ok(g.ctx, msx_prediction_map(&map, p, 0, 0));
    *pixels = msx_image_width(map) * msx_image_height(map);
    float *copy = malloc((size_t)*pixels * sizeof *copy);
    memcpy(copy, msx_image_data(map), (size_t)*pixels * sizeof *copy);
    msx_image_free(map);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    golden_close(&g);
    return copy;
}

START_TEST(masks_come_back_as_the_preset_says) {
    int64_t n, m;
    float *logits = map_under(MSX_PRESET_SAM, &n);
    float *probabilities = map_under(MSX_PRESET_MEDSAM, &n);
    ck_assert_int_ne(memcmp(logits, probabilities, (size_t)n * sizeof *logits), 0);
    for (int preset = MSX_PRESET_MEDSAM_CT_MR; preset <= MSX_PRESET_MICROSAM; preset++) {
        float *map = map_under((msx_preset)preset, &m);
        ck_assert_int_eq(m, n);
        ck_assert_int_eq(memcmp(map, preset == MSX_PRESET_MICROSAM ? logits : probabilities,
                                (size_t)n * sizeof *map),
                         0);
        free(map);
    }
    free(logits);
    free(probabilities);
}
END_TEST

START_TEST(threads_change_no_bit) {
    golden g;
    golden_open(&g, "b", MSX_PRESET_MEDSAM);
    msx_image *image = golden_image(&g);
    float *first_logits = NULL, *first_embedding = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        msx_embedding *e;
        msx_prompts *prompts;
        msx_prediction *p;
        size_t bytes;
        test_ok(g.ctx, msx_ctx_set_threads(g.ctx, threads));
        test_ok(g.ctx, msx_model_encode(&e, g.model, (const msx_image *const[]){image}, 1));
        test_ok(g.ctx, msx_prompts_create(&prompts, g.ctx));
        add_prompt(&g, prompts, 1, 0, NULL, 0);
        add_prompt(&g, prompts, 3, 0, NULL, 0);
        test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts));
        float *embedding = read_embedding(&g, e, 0, &bytes);
        size_t floats = 2 * 4 * 80 * 80;
        if (threads == 1) {
            first_embedding = malloc(bytes);
            first_logits = malloc(floats * sizeof *first_logits);
            memcpy(first_embedding, embedding, bytes);
            memcpy(first_logits, msx_prediction_logits(p, 0), floats * sizeof *first_logits);
        }
        ck_assert_int_eq(memcmp(first_embedding, embedding, bytes), 0);
        ck_assert_int_eq(memcmp(first_logits, msx_prediction_logits(p, 0), floats * sizeof(float)),
                         0);
        free(embedding);
        msx_prediction_free(p);
        msx_prompts_free(prompts);
        msx_embedding_free(e);
    }
    free(first_embedding);
    free(first_logits);
    msx_image_free(image);
    golden_close(&g);
}
END_TEST

/* Pieces of work run on threads of their own; the text of a failure still reaches the caller. */
START_TEST(a_failure_in_a_lane_is_told_to_the_caller) {
    golden g;
    golden_open(&g, "a", MSX_PRESET_SAM);
    msx_image *good = golden_image(&g), *deep;
    msx_embedding *e;
    test_ok(g.ctx, msx_ctx_set_threads(g.ctx, 3));
    test_ok(g.ctx, msx_image_create(&deep, g.ctx, 3, 3, 1, MSX_PIXEL_U16, NULL));
    const msx_image *images[] = {good, deep, good, good, good};
    test_fails(g.ctx, msx_model_encode(&e, g.model, images, 5), MSX_E_ARG, "8-bit");
    ck_assert_ptr_null(e);
    images[1] = good;
    test_ok(g.ctx, msx_model_encode(&e, g.model, images, 5)); /* the lanes still work */
    msx_embedding_free(e);
    msx_image_free(good);
    msx_image_free(deep);
    golden_close(&g);
}
END_TEST

/* ---- update ------------------------------------------------------------------------------------------- */

/* A copy in memory whose tensors from `from` on are scaled. */
static msx_checkpoint *scaled_copy(const golden *g, int64_t from, float factor) {
    const msx_arch *arch = msx_model_arch(g->model);
    msx_checkpoint *source, *copy;
    char path[64];
    snprintf(path, sizeof path, "golden/%s/model.pth", g->name);
    test_ok(g->ctx, msx_checkpoint_open(&source, g->ctx, test_path(path)));
    test_ok(g->ctx, msx_checkpoint_create(&copy, g->ctx));
    for (int64_t i = 0; i < msx_arch_tensor_count(arch); i++) {
        int64_t dims[MSX_MAX_RANK], n;
        const char *name = msx_arch_tensor_name(arch, i);
        int rank = msx_arch_tensor_shape(arch, i, dims);
        float *data = test_tensor(source, name, &n);
        for (int64_t k = 0; k < n && i >= from; k++) data[k] *= factor;
        test_ok(g->ctx, msx_checkpoint_add(copy, name, rank, dims, data));
        free(data);
    }
    msx_checkpoint_free(source);
    return copy;
}

static float *box_logits(const golden *g, msx_model *m, size_t *bytes) {
    msx_embedding *e;
    msx_prompts *prompts;
    msx_prediction *p;
    int64_t sizes[4] = {112, 112, 112, 112};
    float *input = test_tensor(g->vectors, "input", NULL);
    test_ok(g->ctx, msx_model_encode_input(&e, m, input, sizes, 1));
    test_ok(g->ctx, msx_prompts_create(&prompts, g->ctx));
    add_prompt(g, prompts, 3, 0, NULL, 0);
    test_ok(g->ctx, msx_model_predict(&p, m, e, prompts));
    *bytes = 4 * 28 * 28 * sizeof(float);
    float *copy = malloc(*bytes);
    memcpy(copy, msx_prediction_logits(p, 0), *bytes);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    free(input);
    return copy;
}

/* Everything derived from weights has to follow: positions, neck, upscaling, host copies. All at once, the
 * second half, and one by one. */
START_TEST(an_updated_model_is_a_loaded_one) {
    golden g;
    golden_open(&g, "a", MSX_PRESET_SAM);
    int64_t n = msx_arch_tensor_count(msx_model_arch(g.model)), from = _i == 1 ? n / 2 : 0;
    msx_checkpoint *c = scaled_copy(&g, from, 1.125f);
    msx_model *fresh;
    size_t bytes;
    float *before = box_logits(&g, g.model, &bytes);
    uint8_t *changed = calloc((size_t)n, 1);
    for (int64_t i = from; i < n; i++) {
        changed[i] = 1;
        if (_i == 2) test_ok(g.ctx, msx_model_update(g.model, c, changed));
        if (_i == 2) changed[i] = 0;
    }
    if (_i < 2) test_ok(g.ctx, msx_model_update(g.model, c, _i ? changed : NULL));
    test_ok(g.ctx, msx_model_load(&fresh, g.device, c, MSX_PRESET_SAM));
    float *updated = box_logits(&g, g.model, &bytes), *loaded = box_logits(&g, fresh, &bytes);
    ck_assert_int_eq(memcmp(updated, loaded, bytes), 0);
    ck_assert_int_ne(memcmp(updated, before, bytes), 0);
    free(before);
    free(updated);
    free(loaded);
    free(changed);
    msx_model_free(fresh);
    msx_checkpoint_free(c);
    golden_close(&g);
}
END_TEST

START_TEST(an_update_of_another_shape_is_refused_and_changes_nothing) {
    golden g;
    golden_open(&g, "a", MSX_PRESET_SAM);
    msx_checkpoint *other;
    size_t bytes;
    float *before = box_logits(&g, g.model, &bytes);
    test_ok(g.ctx, msx_checkpoint_open(&other, g.ctx, test_path("golden/b/model.pth")));
    test_fails(g.ctx, msx_model_update(g.model, other, NULL), MSX_E_SHAPE, "pos_embed");
    float *after = box_logits(&g, g.model, &bytes);
    ck_assert_int_eq(memcmp(before, after, bytes), 0);
    free(before);
    free(after);
    msx_checkpoint_free(other);
    golden_close(&g);
}
END_TEST

/* ---- arguments -------------------------------------------------------------------------------------- */

START_TEST(devices_are_known_by_name) {
    msx_ctx *ctx = test_ctx();
    msx_device *d;
    test_ok(ctx, msx_device_open(&d, ctx, "cpu"));
    ck_assert_str_eq(msx_device_name(d), "cpu");
    msx_device_free(d);
    /* without the plug-in, without a driver and with fewer GPUs alike */
    test_fails(ctx, msx_device_open(&d, ctx, "cuda:9999"), MSX_E_DEVICE, "device cuda:9999: ");
    ck_assert_ptr_null(d);
    test_fails(ctx, msx_device_open(&d, ctx, "cuda:x"), MSX_E_NOTFOUND, "cuda:0");
    test_fails(ctx, msx_device_open(&d, ctx, "cpus"), MSX_E_NOTFOUND, "did you mean 'cpu'");
    test_fails(ctx, msx_device_open(&d, ctx, NULL), MSX_E_ARG, "NULL");
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(null_handles_are_harmless) {
    msx_device_free(NULL);
    msx_model_free(NULL);
    msx_embedding_free(NULL);
    msx_prompts_free(NULL);
    msx_prediction_free(NULL);
    ck_assert_ptr_null(msx_device_name(NULL));
    ck_assert_ptr_null(msx_model_arch(NULL));
    ck_assert_int_eq(msx_embedding_count(NULL), -1);
    ck_assert_int_eq(msx_prompts_count(NULL), -1);
    ck_assert_int_eq(msx_prediction_count(NULL), -1);
    ck_assert_ptr_null(msx_prediction_logits(NULL, 0));
    ck_assert_ptr_null(msx_prediction_iou(NULL, 0));
    ck_assert_int_eq(msx_prompts_begin(NULL, 0), MSX_E_ARG);
    ck_assert_int_eq(msx_prompts_box(NULL, 0, 0, 1, 1), MSX_E_ARG);
    ck_assert_int_eq(msx_model_update(NULL, NULL, NULL), MSX_E_ARG);
}
END_TEST

START_TEST(prompts_are_checked) {
    msx_ctx *ctx = test_ctx();
    msx_prompts *p;
    float logit = 0;
    test_ok(ctx, msx_prompts_create(&p, ctx));
    test_fails(ctx, msx_prompts_box(p, 0, 0, 1, 1), MSX_E_ARG, "msx_prompts_begin");
    test_fails(ctx, msx_prompts_begin(p, -1), MSX_E_ARG, "-1");
    test_ok(ctx, msx_prompts_begin(p, 0));
    test_fails(ctx, msx_prompts_box(p, 5, 0, 4, 1), MSX_E_ARG, "x0 <= x1");
    test_fails(ctx, msx_prompts_box(p, NAN, 0, 4, 1), MSX_E_ARG, "x0 <= x1");
    test_ok(ctx, msx_prompts_box(p, 4, 4, 4, 4));
    test_fails(ctx, msx_prompts_box(p, 0, 0, 1, 1), MSX_E_ARG, "one box");
    test_fails(ctx, msx_prompts_point(p, 0, 0, 2), MSX_E_ARG, "labels are 1");
    test_fails(ctx, msx_prompts_point(p, 0, INFINITY, 1), MSX_E_ARG, "labels are 1");
    test_fails(ctx, msx_prompts_mask(p, NULL, 4), MSX_E_ARG, "mask");
    test_ok(ctx, msx_prompts_mask(p, &logit, 1));
    test_fails(ctx, msx_prompts_mask(p, &logit, 1), MSX_E_ARG, "one mask");
    ck_assert_int_eq(msx_prompts_count(p), 1);
    msx_prompts_free(p);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(encoding_and_prediction_check_what_they_get) {
    golden g, other;
    golden_open(&g, "a", MSX_PRESET_SAM);
    golden_open(&other, "c", MSX_PRESET_SAM);
    msx_embedding *e = golden_encode_input(&g, ""), *none;
    msx_prediction *p;
    msx_prompts *prompts;
    float few[4] = {0};
    const int64_t too_wide[4] = {5, 5, 113, 5};
    float *input = test_tensor(g.vectors, "input", NULL);
    test_fails(g.ctx, msx_model_encode_input(&none, g.model, input, too_wide, 1), MSX_E_ARG,
               "do not fit an input of 112 x 112");
    test_fails(g.ctx, msx_model_encode_input(&none, g.model, input, too_wide, 0), MSX_E_ARG,
               "no images");
    test_fails(g.ctx, msx_model_encode(&none, g.model, (const msx_image *const[]){NULL}, 1),
               MSX_E_ARG, "image 0 is NULL");
    msx_image *deep;
    test_ok(g.ctx, msx_image_create(&deep, g.ctx, 3, 3, 1, MSX_PIXEL_U16, NULL));
    test_fails(g.ctx, msx_model_encode(&none, g.model, (const msx_image *const[]){deep}, 1),
               MSX_E_ARG, "8-bit");
    test_fails(g.ctx, msx_embedding_read(e, 0, few, 4), MSX_E_ARG, "an embedding has 1568");
    test_fails(g.ctx, msx_embedding_read(e, 1, few, 1568), MSX_E_ARG, "embedding 1 of 1");
    test_ok(g.ctx, msx_prompts_create(&prompts, g.ctx));
    test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts)); /* of nothing */
    ck_assert_int_eq(msx_prediction_count(p), 0);
    ck_assert_ptr_null(msx_prediction_logits(p, 0));
    msx_image *mask;
    test_fails(g.ctx, msx_prediction_mask(&mask, p, 0, 0), MSX_E_ARG, "prompt 0");
    msx_prediction_free(p);
    test_ok(g.ctx, msx_prompts_begin(prompts, 1));
    test_fails(g.ctx, msx_model_predict(&p, g.model, e, prompts), MSX_E_ARG, "image 1 of 1");
    msx_prompts_free(prompts);
    test_ok(g.ctx, msx_prompts_create(&prompts, g.ctx));
    test_ok(g.ctx, msx_prompts_begin(prompts, 0)); /* without anything: legal */
    test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts));
    test_fails(g.ctx, msx_prediction_mask(&mask, p, 0, 4), MSX_E_ARG, "mask 4");
    msx_prediction_free(p);
    test_fails(other.ctx, msx_model_predict(&p, other.model, e, prompts), MSX_E_SHAPE, "embedding");
    test_ok(g.ctx, msx_prompts_mask(prompts, few, 4));
    test_fails(g.ctx, msx_model_predict(&p, g.model, e, prompts), MSX_E_SHAPE, "28 x 28");
    msx_ctx_cancel(g.ctx);
    const int64_t sizes[4] = {112, 112, 112, 112};
    test_fails(g.ctx, msx_model_encode_input(&none, g.model, input, sizes, 1), MSX_E_CANCELLED, "");
    msx_prompts_free(prompts);
    msx_image_free(deep);
    msx_embedding_free(e);
    free(input);
    golden_close(&other);
    golden_close(&g);
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------------------- */

/* From opening a device to a mask; whatever fails first is returned. */
static msx_status whole_way(msx_ctx *ctx, const msx_checkpoint *weights, const msx_image *image) {
    msx_device *d = NULL;
    msx_model *m = NULL;
    msx_embedding *e = NULL;
    msx_prompts *prompts = NULL;
    msx_prediction *p = NULL;
    msx_image *mask = NULL;
    float logits[28 * 28] = {0};
    msx_status s = msx_device_open(&d, ctx, "cpu");
    if (s >= 0) s = msx_model_load(&m, d, weights, MSX_PRESET_SAM);
    if (s >= 0) s = msx_model_encode(&e, m, (const msx_image *const[]){image}, 1);
    if (s >= 0) s = msx_prompts_create(&prompts, ctx);
    if (s >= 0) s = msx_prompts_begin(prompts, 0);
    if (s >= 0) s = msx_prompts_point(prompts, 3, 4, 1);
    if (s >= 0) s = msx_prompts_mask(prompts, logits, 28 * 28);
    if (s >= 0) s = msx_model_predict(&p, m, e, prompts);
    if (s >= 0) s = msx_prediction_mask(&mask, p, 0, 0);
    if (s >= 0) s = msx_model_update(m, weights, NULL);
    msx_image_free(mask);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    msx_model_free(m);
    msx_device_free(d);
    return s;
}

START_TEST(every_failing_allocation_is_returned_and_nothing_leaks) {
    for (int64_t fail_at = 0;; fail_at++) {
        test_allocator memory;
        msx_ctx *ctx;
        msx_checkpoint *weights;
        msx_image *image;
        test_allocator_init(&memory, -1, _i != 0);
        ck_assert_int_eq(msx_ctx_create(&ctx, &memory.table), MSX_OK);
        test_ok(ctx, msx_ctx_set_threads(ctx, 1));
        test_ok(ctx, msx_checkpoint_open(&weights, ctx, test_path("golden/a/model.pth")));
        test_ok(ctx, msx_image_create(&image, ctx, 20, 11, 1, MSX_PIXEL_U8, NULL));
        memory.calls = 0;
        memory.fail_at = _i ? 5 * fail_at : fail_at;
        msx_status status = whole_way(ctx, weights, image);
        bool reached = memory.calls > memory.fail_at;
        if (reached)
            ck_assert_msg(status == MSX_E_NOMEM, "allocation %d: %s: %s", (int)memory.fail_at,
                          msx_status_name(status), msx_ctx_error(ctx));
        else
            test_ok(ctx, status);
        memory.fail_at = -1;
        msx_image_free(image);
        msx_checkpoint_free(weights);
        msx_ctx_free(ctx);
        ck_assert_int_eq(memory.live, 0);
        if (!reached) break;
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("model");
    TCase *t = tcase_create("model");
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, a_batch_gives_the_bits_of_one_by_one, 0, 2);
    tcase_add_loop_test(t, an_encode_from_a_boundary_gives_the_bits_of_a_whole_one, 0, 4);
    tcase_add_test(t, mixed_prompts_give_the_bits_of_one_by_one);
    tcase_add_test(t, masks_come_back_as_the_preset_says);
    tcase_add_test(t, threads_change_no_bit);
    tcase_add_test(t, a_failure_in_a_lane_is_told_to_the_caller);
    tcase_add_loop_test(t, an_updated_model_is_a_loaded_one, 0, 3);
    tcase_add_test(t, an_update_of_another_shape_is_refused_and_changes_nothing);
    tcase_add_test(t, devices_are_known_by_name);
    tcase_add_test(t, null_handles_are_harmless);
    tcase_add_test(t, prompts_are_checked);
    tcase_add_test(t, encoding_and_prediction_check_what_they_get);
    tcase_add_loop_test(t, every_failing_allocation_is_returned_and_nothing_leaks, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
