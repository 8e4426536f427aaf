/* SPDX-License-Identifier: Apache-2.0 */
/* lib/model in bfloat16: how far embeddings and masks move, updates, threads, and what is refused. */
#include "golden.h"

static const char *const folders[] = {"a", "b", "c"};

/* Another model of the same weights, on a device of its own in bf16. */
static void open_low(golden *low, const golden *g) {
    char path[64];
    msx_checkpoint *weights;
    *low = (golden){.ctx = g->ctx, .vectors = g->vectors};
    snprintf(path, sizeof path, "golden/%s/model.pth", g->name);
    test_ok(g->ctx, msx_device_open(&low->device, g->ctx, "cpu"));
    test_ok(g->ctx, msx_device_set_precision(low->device, MSX_PRECISION_BF16));
    test_ok(g->ctx, msx_checkpoint_open(&weights, g->ctx, test_path(path)));
    test_ok(g->ctx, msx_model_load(&low->model, low->device, weights, MSX_PRESET_SAM));
    msx_checkpoint_free(weights);
}

static void close_low(golden *low) {
    msx_model_free(low->model);
    msx_device_free(low->device);
}

static float *embed(const golden *g, int64_t *n) {
    const msx_arch *arch = msx_model_arch(g->model);
    int64_t grid = msx_arch_get(arch, MSX_ARCH_GRID);
    *n = msx_arch_get(arch, MSX_ARCH_DECODER_WIDTH) * grid * grid;
    msx_embedding *e = golden_encode_input(g, "");
    float *data = malloc((size_t)*n * sizeof *data);
    test_ok(g->ctx, msx_embedding_read(e, 0, data, *n));
    msx_embedding_free(e);
    return data;
}

/* The mask of a box over the middle of the image. */
static msx_image *segment(const golden *g) {
    double w = (double)golden_dim(g, "image", 1), h = (double)golden_dim(g, "image", 0);
    msx_embedding *e = golden_encode_input(g, "");
    msx_prompts *prompts;
    msx_prediction *p;
    msx_image *mask;
    test_ok(g->ctx, msx_prompts_create(&prompts, g->ctx));
    test_ok(g->ctx, msx_prompts_begin(prompts, 0));
    test_ok(g->ctx, msx_prompts_box(prompts, w / 4, h / 4, 3 * w / 4, 3 * h / 4));
    test_ok(g->ctx, msx_model_predict(&p, g->model, e, prompts));
    test_ok(g->ctx, msx_prediction_mask(&mask, p, 0, 0));
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    return mask;
}

START_TEST(embeddings_and_masks_stay_close_to_float32) {
    golden g, low;
    int64_t n;
    golden_open(&g, folders[_i], MSX_PRESET_SAM);
    open_low(&low, &g);
    float *a = embed(&g, &n), *b = embed(&low, &n);
    double error = test_relative_l2(b, a, n);
    ck_assert_msg(error > 1e-4 && error < 2e-2, "%s: relative error %g", folders[_i], error);
    msx_image *x = segment(&g), *y = segment(&low);
    const uint8_t *p = msx_image_data(x), *q = msx_image_data(y);
    int64_t pixels = msx_image_width(x) * msx_image_height(x), both = 0, any = 0;
    for (int64_t i = 0; i < pixels; i++) both += p[i] & q[i], any += p[i] | q[i];
    ck_assert_msg(any > 0 && (double)both >= 0.97 * (double)any, "%s: %lld of %lld pixels agree",
                  folders[_i], (long long)both, (long long)any);
    msx_image_free(x);
    msx_image_free(y);
    free(a);
    free(b);
    close_low(&low);
    golden_close(&g);
}
END_TEST

START_TEST(bits_do_not_depend_on_threads) {
    golden g, low;
    int64_t n;
    golden_open(&g, "b", MSX_PRESET_SAM);
    open_low(&low, &g);
    float *first = NULL;
    for (int threads = 1; threads <= 5; threads += threads < 3 ? 1 : 2) {
        test_ok(g.ctx, msx_ctx_set_threads(g.ctx, threads));
        float *now = embed(&low, &n);
        if (first) ck_assert_int_eq(memcmp(first, now, (size_t)n * sizeof *now), 0);
        if (first)
            free(now);
        else
            first = now;
    }
    free(first);
    close_low(&low);
    golden_close(&g);
}
END_TEST

/* An update that leaves the low weights as they were would show here. */
START_TEST(an_update_reaches_the_low_weights) {
    golden g, low, fresh;
    int64_t n;
    golden_open(&g, "a", MSX_PRESET_SAM);
    open_low(&low, &g);
    msx_checkpoint *changed;
    test_ok(g.ctx,
            msx_checkpoint_open(&changed, g.ctx, test_path("golden/merge/finetuned0.safetensors")));
    test_ok(g.ctx, msx_model_update(low.model, changed, NULL));
    float *updated = embed(&low, &n);
    open_low(&fresh, &g);
    float *old = embed(&fresh, &n);
    ck_assert(test_relative_l2(updated, old, n) > 1e-3);
    msx_model_free(fresh.model);
    test_ok(g.ctx, msx_model_load(&fresh.model, fresh.device, changed, MSX_PRESET_SAM));
    free(old);
    float *loaded = embed(&fresh, &n);
    ck_assert_int_eq(memcmp(updated, loaded, (size_t)n * sizeof *loaded), 0);
    free(updated);
    free(loaded);
    msx_checkpoint_free(changed);
    close_low(&fresh);
    close_low(&low);
    golden_close(&g);
}
END_TEST

START_TEST(what_is_not_offered_is_refused) {
    golden g;
    golden_open(&g, "a", MSX_PRESET_SAM);
    test_fails(g.ctx, msx_device_set_precision(g.device, MSX_PRECISION_BF16), MSX_E_ARG,
               "before models are loaded");
    msx_model_free(g.model);
    g.model = NULL;
    test_fails(g.ctx, msx_device_set_precision(g.device, MSX_PRECISION_FP16), MSX_E_UNSUPPORTED,
               "cpu does not offer fp16");
    test_fails(g.ctx, msx_device_set_precision(g.device, MSX_PRECISION_TF32), MSX_E_UNSUPPORTED,
               "tf32");
    test_fails(g.ctx, msx_device_set_precision(g.device, (msx_precision)4), MSX_E_ARG, "4");
    ck_assert_int_eq(msx_device_precision(g.device), MSX_PRECISION_FP32);
    test_ok(g.ctx, msx_device_set_precision(g.device, MSX_PRECISION_BF16));
    ck_assert_int_eq(msx_device_precision(g.device), MSX_PRECISION_BF16);
    ck_assert_int_eq(msx_device_set_precision(NULL, MSX_PRECISION_FP32), MSX_E_ARG);
    ck_assert_str_eq(msx_precision_name(MSX_PRECISION_TF32), "tf32");
    ck_assert_ptr_null(msx_precision_name((msx_precision)-1));
    golden_close(&g);
}
END_TEST

START_TEST(running_out_of_memory_leaves_nothing_behind) {
    bool done = false;
    for (int64_t fail_at = 0; !done; fail_at++) {
        ck_assert_int_lt(fail_at, 500);
        test_allocator allocator;
        test_allocator_init(&allocator, -1, false);
        msx_ctx *ctx;
        ck_assert_int_eq(msx_ctx_create(&ctx, &allocator.table), MSX_OK);
        msx_checkpoint *weights;
        msx_device *device;
        msx_model *model = NULL;
        test_ok(ctx, msx_checkpoint_open(&weights, ctx, test_path("golden/a/model.pth")));
        test_ok(ctx, msx_device_open(&device, ctx, "cpu"));
        test_ok(ctx, msx_device_set_precision(device, MSX_PRECISION_BF16));
        allocator.fail_at = allocator.calls + fail_at;
        msx_status status = msx_model_load(&model, device, weights, MSX_PRESET_SAM);
        int64_t side = 112, sizes[4] = {side, side, side, side};
        float *input = calloc((size_t)(3 * side * side), sizeof *input);
        msx_embedding *e = NULL;
        if (status == MSX_OK) status = msx_model_encode_input(&e, model, input, sizes, 1);
        ck_assert(status == MSX_OK || status == MSX_E_NOMEM);
        done = status == MSX_OK;
        free(input);
        msx_embedding_free(e);
        msx_model_free(model);
        msx_device_free(device);
        msx_checkpoint_free(weights);
        msx_ctx_free(ctx);
        ck_assert_int_eq(allocator.live, 0);
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("precision");
    TCase *t = tcase_create("bf16");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, embeddings_and_masks_stay_close_to_float32, 0, 3);
    tcase_add_test(t, bits_do_not_depend_on_threads);
    tcase_add_test(t, an_update_reaches_the_low_weights);
    tcase_add_test(t, what_is_not_offered_is_refused);
    tcase_add_test(t, running_out_of_memory_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
