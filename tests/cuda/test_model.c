/* SPDX-License-Identifier: Apache-2.0 */
/* The whole network on a CUDA device: the golden vectors of the reference implementation in float32, and
 * how far tf32, fp16 and bf16 are from it. */
#include "backends.h"
#include "model/golden.h"
#include "model/network.h"
#include "model/passage.h"
#include "model/results.h"
#include "model/sessions.h"

#include <pthread.h>

/* The models of a golden folder on a CUDA device. */
static golden open_golden(const char *name, msx_precision precision, msx_preset preset) {
    char path[64];
    msx_checkpoint *weights;
    golden g = {.ctx = test_ctx()};
    snprintf(g.name, sizeof g.name, "%s", name);
    test_ok(g.ctx, msx_device_open(&g.device, g.ctx, "cuda:0"));
    test_ok(g.ctx, msx_device_set_precision(g.device, precision));
    snprintf(path, sizeof path, "golden/%s/golden.safetensors", name);
    test_ok(g.ctx, msx_checkpoint_open(&g.vectors, g.ctx, test_path(path)));
    snprintf(path, sizeof path, "golden/%s/model.pth", name);
    test_ok(g.ctx, msx_checkpoint_open(&weights, g.ctx, test_path(path)));
    test_ok(g.ctx, msx_model_load(&g.model, g.device, weights, preset));
    msx_checkpoint_free(weights);
    return g;
}

/* Relative error of an embedding against the golden one. */
static double embedding_error(const golden *g, const msx_embedding *e, const char *name) {
    int64_t n;
    float *expected = test_tensor(g->vectors, name, &n), *got = malloc((size_t)n * sizeof *got);
    test_ok(g->ctx, msx_embedding_read(e, 0, got, n));
    double error = test_relative_l2(got, expected, n);
    free(expected), free(got);
    return error;
}

static double logits_error(const golden *g, const msx_prediction *p, const char *name) {
    int64_t n;
    float *expected = test_tensor(g->vectors, name, &n);
    double error = test_relative_l2(msx_prediction_logits(p, 0), expected, n);
    free(expected);
    return error;
}

/* All boxes of the set "boxes", and one mask prompt. */
static msx_prompts *boxes_of(const golden *g, const char *set, bool with_mask) {
    char name[64];
    int64_t n, n_mask;
    msx_prompts *prompts;
    snprintf(name, sizeof name, "%s.boxes", set);
    float *boxes = test_tensor(g->vectors, name, &n), *mask = NULL;
    snprintf(name, sizeof name, "%s.mask_input", set);
    if (with_mask) mask = test_tensor(g->vectors, name, &n_mask);
    test_ok(g->ctx, msx_prompts_create(&prompts, g->ctx));
    for (int64_t i = 0; i < n; i += 4) {
        test_ok(g->ctx, msx_prompts_begin(prompts, 0));
        test_ok(g->ctx,
                msx_prompts_box(prompts, boxes[i], boxes[i + 1], boxes[i + 2], boxes[i + 3]));
        if (mask) test_ok(g->ctx, msx_prompts_mask(prompts, mask, n_mask));
    }
    free(boxes), free(mask);
    return prompts;
}

static const struct {
    const char *folder;
    msx_precision precision;
} runs[] = {{"a", MSX_PRECISION_FP32}, {"b", MSX_PRECISION_FP32}, {"c", MSX_PRECISION_FP32},
            {"a", MSX_PRECISION_TF32}, {"a", MSX_PRECISION_FP16}, {"c", MSX_PRECISION_FP16},
            {"a", MSX_PRECISION_BF16}};
enum { RUNS = sizeof runs / sizeof *runs };

/* By precision; float32 within the bound that holds on GPUs. */
START_TEST(embeddings_and_logits_match) {
    static const double bounds[] = {1e-4, 4e-3, 4e-3, 3e-2};
    msx_precision precision = runs[_i].precision;
    golden g = open_golden(runs[_i].folder, precision, MSX_PRESET_SAM);
    msx_embedding *e = golden_encode_input(&g, "");
    double error = embedding_error(&g, e, "image_embedding");
    ck_assert_msg(error <= bounds[precision], "%s %s: embedding is off by %g", g.name,
                  msx_precision_name(precision), error);
    for (int with_mask = 0; with_mask < 2; with_mask++) {
        const char *set = with_mask ? "box_mask" : "boxes";
        char name[64];
        msx_prompts *prompts = boxes_of(&g, set, with_mask);
        msx_prediction *p;
        test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts));
        snprintf(name, sizeof name, "%s.low_res_logits", set);
        error = logits_error(&g, p, name);
        ck_assert_msg(error <= 2 * bounds[precision], "%s %s: %s is off by %g", g.name,
                      msx_precision_name(precision), name, error);
        msx_prediction_free(p);
        msx_prompts_free(prompts);
    }
    msx_embedding_free(e);
    golden_close(&g);
}
END_TEST

START_TEST(an_encode_from_a_boundary_gives_the_bits_of_a_whole_one) {
    golden g = open_golden("a", _i % 2 ? MSX_PRECISION_FP16 : MSX_PRECISION_FP32,
                           _i < 2 ? MSX_PRESET_SAM : MSX_PRESET_MEDSAM);
    passage_check(&g);
    golden_close(&g);
}
END_TEST

START_TEST(pixels_to_masks_match) {
    golden g = open_golden("a", MSX_PRECISION_FP32, MSX_PRESET_MEDSAM);
    msx_image *image = golden_image(&g), *map;
    msx_embedding *e;
    test_ok(g.ctx, msx_model_encode(&e, g.model, (const msx_image *const[]){image}, 1));
    double error = embedding_error(&g, e, "medsam.image_embedding");
    ck_assert_msg(error <= 1e-4, "%s: embedding is off by %g", g.name, error);
    msx_prompts *prompts = boxes_of(&g, "box", false);
    msx_prediction *p;
    test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts));
    test_ok(g.ctx, msx_prediction_map(&map, p, 0, 0));
    int64_t n;
    float *expected = test_tensor(g.vectors, "medsam.probability", &n);
    error = test_relative_l2(msx_image_data(map), expected, n);
    ck_assert_msg(error <= 1e-4, "%s: probabilities are off by %g", g.name, error);
    free(expected);
    msx_image_free(map);
    msx_image_free(image);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    golden_close(&g);
}
END_TEST

START_TEST(batches_and_updates_match) {
    enum { N = 3 };
    golden g = open_golden("a", _i ? MSX_PRECISION_BF16 : MSX_PRECISION_FP32, MSX_PRESET_SAM);
    int64_t pixels, sizes[4 * N], n = g.model->channels * g.model->tokens;
    float *input = test_tensor(g.vectors, "input", &pixels);
    float *inputs = malloc((size_t)(N * pixels) * sizeof *inputs);
    float *one = malloc((size_t)n * sizeof *one), *many = malloc((size_t)n * sizeof *many);
    for (int64_t i = 0; i < N * pixels; i++) inputs[i] = input[(i + i / pixels * 1009) % pixels];
    for (int i = 0; i < 4 * N; i++) sizes[i] = g.model->image_size;
    msx_embedding *e, *batch;
    test_ok(g.ctx, msx_model_encode_input(&batch, g.model, inputs, sizes, N));
    for (int i = 0; i < N; i++) {
        test_ok(g.ctx, msx_model_encode_input(&e, g.model, inputs + i * pixels, sizes, 1));
        test_ok(g.ctx, msx_embedding_read(e, 0, one, n));
        test_ok(g.ctx, msx_embedding_read(batch, i, many, n));
        ck_assert(test_relative_l2(many, one, n) <= (_i ? 1e-2 : 1e-5));
        msx_embedding_free(e);
    }
    msx_checkpoint *changed;
    test_ok(g.ctx,
            msx_checkpoint_open(&changed, g.ctx, test_path("golden/merge/finetuned0.safetensors")));
    test_ok(g.ctx, msx_model_update(g.model, changed, NULL));
    test_ok(g.ctx, msx_model_encode_input(&e, g.model, inputs, sizes, 1));
    test_ok(g.ctx, msx_embedding_read(e, 0, many, n));
    test_ok(g.ctx, msx_embedding_read(batch, 0, one, n));
    ck_assert(test_relative_l2(many, one, n) > 2e-2);
    msx_checkpoint_free(changed);
    msx_embedding_free(e);
    msx_embedding_free(batch);
    free(input), free(inputs), free(one), free(many);
    golden_close(&g);
}
END_TEST

/* The first round runs the calls, the second records them, later ones start the recording: each with an
 * input of its own, before and after an update of the weights. */
START_TEST(recorded_calls_follow_their_inputs) {
    enum { ROUNDS = 5 };
    golden g = open_golden("a", MSX_PRECISION_FP32, MSX_PRESET_SAM), cpu;
    golden_open(&cpu, "a", MSX_PRESET_SAM);
    int64_t pixels, sizes[4] = {g.model->image_size, g.model->image_size, g.model->image_size,
                                g.model->image_size};
    float *input = test_tensor(g.vectors, "input", &pixels);
    for (int round = 0; round < 2 * ROUNDS; round++) {
        if (round == ROUNDS) {
            msx_checkpoint *changed;
            const char *path = test_path("golden/merge/finetuned0.safetensors");
            test_ok(g.ctx, msx_checkpoint_open(&changed, g.ctx, path));
            test_ok(g.ctx, msx_model_update(g.model, changed, NULL));
            test_ok(cpu.ctx, msx_model_update(cpu.model, changed, NULL));
            msx_checkpoint_free(changed);
        }
        input[round * 11] += 3;
        msx_embedding *e[2];
        msx_prediction *p[2];
        test_ok(g.ctx, msx_model_encode_input(&e[0], g.model, input, sizes, 1));
        test_ok(cpu.ctx, msx_model_encode_input(&e[1], cpu.model, input, sizes, 1));
        msx_prompts *prompts;
        test_ok(g.ctx, msx_prompts_create(&prompts, g.ctx));
        test_ok(g.ctx, msx_prompts_begin(prompts, 0));
        test_ok(g.ctx, msx_prompts_box(prompts, 10 + round, 20, 70, 60 + round));
        test_ok(g.ctx, msx_model_predict(&p[0], g.model, e[0], prompts));
        test_ok(cpu.ctx, msx_model_predict(&p[1], cpu.model, e[1], prompts));
        int64_t n = g.model->masks * 16 * g.model->tokens;
        double error =
            test_relative_l2(msx_prediction_logits(p[0], 0), msx_prediction_logits(p[1], 0), n);
        ck_assert_msg(error <= 1e-4, "round %d: relative error %g", round, error);
        for (int i = 0; i < 2; i++) {
            msx_prediction_free(p[i]);
            msx_embedding_free(e[i]);
        }
        msx_prompts_free(prompts);
    }
    free(input);
    golden_close(&cpu);
    golden_close(&g);
}
END_TEST

/* Too small a budget is an error that names it; with a larger one the same handle works. */
START_TEST(a_budget_bounds_what_models_take) {
    golden g = open_golden("a", MSX_PRECISION_FP32, MSX_PRESET_SAM);
    int64_t loaded, most, after;
    test_ok(g.ctx, msx_device_usage(g.device, &loaded, &most));
    ck_assert(loaded > 0 && most >= loaded);
    test_ok(g.ctx, msx_device_set_budget(g.device, loaded + 1000));
    int64_t pixels, side = g.model->image_size, sizes[4] = {side, side, side, side};
    float *input = test_tensor(g.vectors, "input", &pixels);
    msx_embedding *e;
    test_fails(g.ctx, msx_model_encode_input(&e, g.model, input, sizes, 1), MSX_E_NOMEM,
               "of a budget of");
    test_ok(g.ctx, msx_device_usage(g.device, &after, &most));
    ck_assert_int_eq(after, loaded);
    test_ok(g.ctx, msx_device_set_budget(g.device, (int64_t)200 << 20));
    e = golden_encode_input(&g, "");
    ck_assert(embedding_error(&g, e, "image_embedding") <= 1e-4);
    test_ok(g.ctx, msx_device_usage(g.device, &after, &most));
    ck_assert(after > loaded && most <= (int64_t)200 << 20);
    test_fails(g.ctx, msx_device_set_budget(g.device, -1), MSX_E_ARG, "-1");
    msx_embedding_free(e);
    free(input);
    golden_close(&g);
    msx_ctx *ctx = test_ctx();
    msx_device *cpu;
    test_ok(ctx, msx_device_open(&cpu, ctx, "cpu"));
    test_fails(ctx, msx_device_set_budget(cpu, 1), MSX_E_UNSUPPORTED, "no memory of its own");
    test_fails(ctx, msx_device_usage(cpu, &after, &most), MSX_E_UNSUPPORTED, "cpu");
    msx_device_free(cpu);
    msx_ctx_free(ctx);
}
END_TEST

/* What a prediction says is the same whether its logits stay on the device or find no room there. */
START_TEST(logits_may_stay_on_the_device) {
    golden g = open_golden("a", MSX_PRECISION_FP32, _i ? MSX_PRESET_MEDSAM : MSX_PRESET_SAM);
    msx_embedding *e = golden_encode_input(&g, "");
    msx_prompts *prompts = boxes_of(&g, "boxes", false);
    msx_prediction *p[2];
    msx_image *mask[2];
    int64_t now, most;
    test_ok(g.ctx, msx_model_predict(&p[0], g.model, e, prompts));
    ck_assert_ptr_nonnull(p[0]->there);
    ck_assert_ptr_null(p[0]->logits);
    test_ok(g.ctx, msx_device_usage(g.device, &now, &most));
    test_ok(g.ctx, msx_device_set_budget(g.device, now));
    test_ok(g.ctx, msx_model_predict(&p[1], g.model, e, prompts));
    ck_assert_ptr_null(p[1]->there);
    test_ok(g.ctx, msx_device_set_budget(g.device, 0));
    int64_t n = p[0]->masks * p[0]->side * p[0]->side, count = msx_prompts_count(prompts);
    ck_assert_int_gt(count, 1);
    for (int64_t i = count - 1; i >= 0; i--) {
        for (int k = 0; k < 2; k++)
            test_ok(g.ctx, msx_prediction_mask(&mask[k], p[k], i, (int)(i % p[0]->masks)));
        ck_assert_int_eq(memcmp(msx_image_data(mask[0]), msx_image_data(mask[1]),
                                (size_t)(msx_image_width(mask[0]) * msx_image_height(mask[0]))),
                         0);
        check_same("logits", msx_prediction_logits(p[0], i), msx_prediction_logits(p[1], i), n);
        check_same("iou", msx_prediction_iou(p[0], i), msx_prediction_iou(p[1], i), p[0]->masks);
        msx_image_free(mask[0]);
        msx_image_free(mask[1]);
    }
    ck_assert_ptr_null(msx_prediction_logits(p[0], count));
    msx_prediction_free(p[0]);
    msx_prediction_free(p[1]);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    golden_close(&g);
}
END_TEST

/* Two handles on two devices do not know of each other. */
START_TEST(two_handles_work_side_by_side) {
    golden a = open_golden("a", MSX_PRECISION_FP32, MSX_PRESET_SAM);
    golden c = open_golden("a", MSX_PRECISION_FP16, MSX_PRESET_SAM);
    msx_embedding *ea = golden_encode_input(&a, ""), *ec = golden_encode_input(&c, "");
    msx_device *other;
    test_fails(a.ctx, msx_device_open(&other, a.ctx, "cuda:9999"), MSX_E_DEVICE, "GPUs");
    ck_assert(embedding_error(&a, ea, "image_embedding") <= 1e-4);
    ck_assert(embedding_error(&c, ec, "image_embedding") <= 4e-3);
    msx_embedding_free(ea);
    msx_embedding_free(ec);
    golden_close(&a);
    golden_close(&c);
}
END_TEST

START_TEST(threads_on_one_gpu_give_the_bits_of_one) {
    golden g = open_golden("a", _i ? MSX_PRECISION_FP16 : MSX_PRECISION_FP32, MSX_PRESET_SAM);
    check_sessions(&g, 2);
    golden_close(&g);
}
END_TEST

/* A thread with a stream of its own: what it encodes and decodes, round after round. */
typedef struct stream {
    golden g;
    float *input, *logits;
    int64_t n;
    bool good;
} stream;

static void *run_stream(void *payload) {
    enum { ROUNDS = 4 };
    stream *s = payload;
    int64_t side = s->g.model->image_size, sizes[4] = {side, side, side, side};
    s->good = true;
    for (int round = 0; round < ROUNDS && s->good; round++) {
        msx_embedding *e = NULL;
        msx_prompts *prompts = NULL;
        msx_prediction *p = NULL;
        s->good = msx_model_encode_input(&e, s->g.model, s->input, sizes, 1) == MSX_OK &&
                  msx_prompts_create(&prompts, s->g.ctx) == MSX_OK &&
                  msx_prompts_begin(prompts, 0) == MSX_OK &&
                  msx_prompts_box(prompts, 10, 20, 70, 60) == MSX_OK &&
                  msx_model_predict(&p, s->g.model, e, prompts) == MSX_OK;
        size_t bytes = (size_t)s->n * sizeof *s->logits;
        if (s->good && round) s->good = !memcmp(s->logits, msx_prediction_logits(p, 0), bytes);
        if (s->good) memcpy(s->logits, msx_prediction_logits(p, 0), bytes);
        msx_prediction_free(p);
        msx_prompts_free(prompts);
        msx_embedding_free(e);
    }
    return NULL;
}

/* Handles of one GPU in two threads: every round has the bits of the first, and those of one thread
 * alone. */
START_TEST(two_streams_of_one_gpu_run_at_once) {
    enum { THREADS = 2 };
    stream streams[THREADS + 1] = {{.n = 0}};
    for (int i = 0; i <= THREADS; i++) {
        stream *s = streams + i;
        int64_t pixels;
        s->g = open_golden("a", MSX_PRECISION_FP16, MSX_PRESET_SAM);
        s->input = test_tensor(s->g.vectors, "input", &pixels);
        s->n = s->g.model->masks * 16 * s->g.model->tokens;
        s->logits = malloc((size_t)s->n * sizeof *s->logits);
    }
    run_stream(&streams[THREADS]);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_stream, &streams[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i <= THREADS; i++) {
        ck_assert(streams[i].good);
        check_same("logits", streams[i].logits, streams[THREADS].logits, streams[i].n);
        if (i < THREADS) free(streams[i].logits);
        free(streams[i].input);
        golden_close(&streams[i].g);
    }
    free(streams[THREADS].logits);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: model");
    TCase *t = tcase_create("golden");
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, embeddings_and_logits_match, 0, RUNS);
    tcase_add_loop_test(t, an_encode_from_a_boundary_gives_the_bits_of_a_whole_one, 0, 3);
    tcase_add_test(t, pixels_to_masks_match);
    tcase_add_loop_test(t, batches_and_updates_match, 0, 2);
    tcase_add_loop_test(t, logits_may_stay_on_the_device, 0, 2);
    tcase_add_test(t, two_handles_work_side_by_side);
    tcase_add_loop_test(t, threads_on_one_gpu_give_the_bits_of_one, 0, 2);
    tcase_add_test(t, two_streams_of_one_gpu_run_at_once);
    tcase_add_test(t, recorded_calls_follow_their_inputs);
    tcase_add_test(t, a_budget_bounds_what_models_take);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
