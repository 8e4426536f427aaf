/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cuda: inputs made on the device have the bits of msx_preprocess(). */
#include "backends.h"
#include "model/results.h"

static const struct {
    int64_t width, height;
    int channels;
} images[] = {
    {1, 1, 1},   {33, 33, 3},  {7, 31, 1}, {50, 20, 3}, {20, 50, 4},
    {97, 65, 2}, {129, 40, 3}, {2, 5, 3},  {33, 17, 1},
};
enum { IMAGES = sizeof images / sizeof *images, SIZE = 33 };

static const msx_preset presets[] = {MSX_PRESET_SAM, MSX_PRESET_MICROSAM, MSX_PRESET_MEDSAM,
                                     MSX_PRESET_MEDSAM_CT_MR, MSX_PRESET_MEDSAM_RGB};
enum { PRESETS = sizeof presets / sizeof *presets };

/* Smooth, with flat areas, which truncation is sensitive to, and steps, which overshoot. */
static msx_image *make_image(msx_ctx *ctx, int i, bool flat) {
    msx_image *image;
    int64_t w = images[i].width, h = images[i].height, c = images[i].channels;
    test_ok(ctx, msx_image_create(&image, ctx, w, h, (int)c, MSX_PIXEL_U8, NULL));
    uint8_t *bytes = msx_image_data(image);
    for (int64_t k = 0; k < w * h * c; k++) {
        int64_t x = k / c % w, y = k / c / w;
        bytes[k] = (uint8_t)(flat          ? 77
                             : x > w / 2   ? 31 + 160 * (y > h / 2)
                             : (k % c) % 2 ? 5 * x + 3 * y
                                           : (k * 2654435761u) >> 24);
    }
    return image;
}

static void compare(backends *b, msx_preset preset, const msx_image *image) {
    enum { N = 3 * SIZE * SIZE };
    msx_model m = {.ctx = b->ctx, .device = b->cuda, .preset = preset, .image_size = SIZE};
    float *expected = malloc(N * sizeof *expected), *there = floats_on(b->cuda, NULL, N);
    int64_t width, height;
    msx__extent x;
    ck_assert(msx__prepares_there(&m));
    test_ok(b->ctx, msx_preprocess(b->ctx, preset, image, SIZE, expected, &width, &height, NULL));
    test_ok(b->ctx, msx__prepare_there(&m, image, there, &x));
    ck_assert(x.width == msx_image_width(image) && x.height == msx_image_height(image));
    ck_assert(x.resized_width == width && x.resized_height == height);
    float *got = take_floats(b->cuda, there, N);
    check_same(msx_preset_name(preset), got, expected, N);
    free(expected), free(got);
}

START_TEST(inputs_have_the_bits_of_the_host) {
    backends b = backends_open(MSX_PRECISION_FP32);
    for (int i = 0; i < IMAGES; i++)
        for (int flat = 0; flat < 2; flat++) {
            msx_image *image = make_image(b.ctx, i, flat);
            compare(&b, presets[_i], image);
            msx_image_free(image);
        }
    backends_close(&b);
}
END_TEST

/* One row would be left of less than one. */
START_TEST(what_the_host_refuses_is_refused) {
    backends b = backends_open(MSX_PRECISION_FP32);
    msx_model m = {.ctx = b.ctx, .device = b.cuda, .preset = MSX_PRESET_SAM, .image_size = SIZE};
    msx_image *image;
    msx__extent x;
    test_ok(b.ctx, msx_image_create(&image, b.ctx, 100, 1, 1, MSX_PIXEL_U8, NULL));
    test_fails(b.ctx, msx__prepare_there(&m, image, NULL, &x), MSX_E_SHAPE, "less than one row");
    msx_image_free(image);
    test_ok(b.ctx, msx_image_create(&image, b.ctx, 10, 10, 1, MSX_PIXEL_F32, NULL));
    test_fails(b.ctx, msx__prepare_there(&m, image, NULL, &x), MSX_E_ARG, "8-bit");
    msx_image_free(image);
    m.preset = MSX_PRESET_MEDSAM_CV2;
    ck_assert(!msx__prepares_there(&m)); /* the host makes those */
    m.device = b.cpu, m.preset = MSX_PRESET_SAM;
    ck_assert(!msx__prepares_there(&m));
    backends_close(&b);
}
END_TEST

/* Neither device memory nor host memory that runs out leaves anything behind. */
START_TEST(memory_that_runs_out_is_reported) {
    bool done = false;
    for (int64_t fail_at = 0; !done; fail_at++) {
        ck_assert_int_lt(fail_at, 60);
        test_allocator allocator;
        test_allocator_init(&allocator, -1, false);
        msx_ctx *ctx;
        msx_device *d;
        msx__extent x;
        float *input;
        ck_assert_int_eq(msx_ctx_create(&ctx, &allocator.table), MSX_OK);
        test_ok(ctx, msx_device_open(&d, ctx, "cuda:0"));
        msx_model m = {.ctx = ctx, .device = d, .preset = presets[_i], .image_size = SIZE};
        test_ok(ctx, msx__device_alloc(d, &input, 3 * SIZE * SIZE));
        msx_image *image = make_image(ctx, 4, false);
        allocator.fail_at = allocator.calls + fail_at;
        msx_status status = msx__prepare_there(&m, image, input, &x);
        ck_assert(status == MSX_OK || status == MSX_E_NOMEM);
        done = status == MSX_OK;
        allocator.fail_at = -1;
        int64_t now, most;
        test_ok(ctx, msx_device_usage(d, &now, &most));
        test_ok(ctx, msx_device_set_budget(d, now + 64));
        test_fails(ctx, msx__prepare_there(&m, image, input, &x), MSX_E_NOMEM, "bytes asked for");
        msx__device_release(d, input);
        msx_image_free(image);
        msx_device_free(d);
        msx_ctx_free(ctx);
        ck_assert_int_eq(allocator.live, 0);
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: inputs");
    TCase *t = tcase_create("prepare");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, inputs_have_the_bits_of_the_host, 0, PRESETS);
    tcase_add_test(t, what_the_host_refuses_is_refused);
    tcase_add_loop_test(t, memory_that_runs_out_is_reported, 0, PRESETS);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
