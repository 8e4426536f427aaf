/* SPDX-License-Identifier: Apache-2.0 */
/* ViT-B, -L and -H at full size on a GPU against the reference, in every precision; part of check-gpu
 * alone, as emulated kernels would take hours. */
#include "backends.h"
#include "support/computed_vit.h"

typedef struct network {
    const char *name;
    int64_t width, head, depth, global_every;
} network;

static const network networks[] = {
    {"vit_b", 768, 64, 12, 3}, {"vit_l", 1024, 64, 24, 6}, {"vit_h", 1280, 80, 32, 8}};
enum { NETWORKS = 3, SIDE = 1024, PRECISIONS = 4 };

/* Relative errors of the embedding's sample, and of masks. */
static const double bounds[PRECISIONS] = {1e-4, 4e-3, 4e-3, 3e-2};

static uint8_t *make_image(void) {
    uint8_t *pixels = malloc(3 * SIDE * SIDE);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++)
                pixels[(y * SIDE + x) * 3 + c] = (uint8_t)((x * (3 + c)) ^ (y * (5 + c)));
    return pixels;
}

static double sample_error(const float *embedding, const float *expected) {
    enum { CHANNELS = 256, GRID = 64, SAMPLES = 8 };
    float sample[CHANNELS * SAMPLES * SAMPLES];
    for (int i = 0; i < CHANNELS * SAMPLES * SAMPLES; i++) {
        int c = i / (SAMPLES * SAMPLES), y = i / SAMPLES % SAMPLES * 9, x = i % SAMPLES * 9;
        sample[i] = embedding[(c * GRID + y) * GRID + x];
    }
    return test_relative_l2(sample, expected, CHANNELS * SAMPLES * SAMPLES);
}

/* Every 4th row and column of the four masks. */
static double logits_error(const float *logits, const float *expected) {
    enum { FULL = 256, SAMPLES = 64, N = 4 * SAMPLES * SAMPLES };
    float *sample = malloc(N * sizeof *sample);
    for (int i = 0; i < N; i++)
        sample[i] = logits[i / (SAMPLES * SAMPLES) * FULL * FULL +
                           i / SAMPLES % SAMPLES * 4 * FULL + i % SAMPLES * 4];
    double error = test_relative_l2(sample, expected, N);
    free(sample);
    return error;
}

/* Intersection over union of mask 0 with that of the float32 logits. */
static double overlap(const float *logits, const float *expected) {
    int64_t both = 0, any = 0;
    for (int i = 0; i < 64 * 64; i++) {
        bool a = logits[i / 64 * 4 * 256 + i % 64 * 4] > 0, b = expected[i] > 0;
        both += a && b;
        any += a || b;
    }
    return any ? (double)both / (double)any : 1;
}

START_TEST(embedding_and_masks_match) {
    const network *n = networks + _i / PRECISIONS;
    msx_precision precision = (msx_precision)(_i % PRECISIONS);
    char path[64];
    msx_ctx *ctx = test_ctx();
    msx_device *device;
    msx_checkpoint *weights, *vectors;
    msx_model *model;
    msx_image *image;
    msx_embedding *e;
    msx_prompts *prompts;
    msx_prediction *p;
    snprintf(path, sizeof path, "golden/%s.safetensors", n->name);
    test_ok(ctx, msx_checkpoint_open(&vectors, ctx, test_path(path)));
    test_ok(ctx, test_compute_vit(&weights, ctx, n->width, n->head, n->depth, n->global_every));
    test_ok(ctx, msx_device_open(&device, ctx, "cuda:0"));
    test_ok(ctx, msx_device_set_precision(device, precision));
    test_ok(ctx, msx_model_load(&model, device, weights, MSX_PRESET_SAM));
    msx_checkpoint_free(weights);
    uint8_t *pixels = make_image();
    test_ok(ctx, msx_image_create(&image, ctx, SIDE, SIDE, 3, MSX_PIXEL_U8, pixels));
    test_ok(ctx, msx_model_encode(&e, model, (const msx_image *const[]){image}, 1));
    int64_t floats = 256 * 64 * 64;
    float *embedding = malloc((size_t)floats * sizeof *embedding);
    float *expected = test_tensor(vectors, "embedding_sample", NULL);
    test_ok(ctx, msx_embedding_read(e, 0, embedding, floats));
    double error = sample_error(embedding, expected);
    ck_assert_msg(error <= bounds[precision], "%s %s: embedding is off by %g", n->name,
                  msx_precision_name(precision), error);
    free(expected);
    test_ok(ctx, msx_prompts_create(&prompts, ctx));
    test_ok(ctx, msx_prompts_begin(prompts, 0));
    test_ok(ctx, msx_prompts_box(prompts, 100, 150, 800, 700));
    test_ok(ctx, msx_prompts_point(prompts, 512, 400, 1));
    test_ok(ctx, msx_model_predict(&p, model, e, prompts));
    expected = test_tensor(vectors, "low_res_logits_sample", NULL);
    error = logits_error(msx_prediction_logits(p, 0), expected);
    ck_assert_msg(error <= 2 * bounds[precision], "%s %s: logits are off by %g", n->name,
                  msx_precision_name(precision), error);
    double iou = overlap(msx_prediction_logits(p, 0), expected);
    ck_assert_msg(iou >= (precision == MSX_PRECISION_BF16 ? 0.99 : 0.999), "%s %s: IoU %g", n->name,
                  msx_precision_name(precision), iou);
    printf("%s %s: logits are off by %.2g, IoU %.5f\n", n->name, msx_precision_name(precision),
           error, iou);
    free(expected), free(embedding), free(pixels);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    msx_image_free(image);
    msx_model_free(model);
    msx_checkpoint_free(vectors);
    msx_device_free(device);
    msx_ctx_free(ctx);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: full size");
    TCase *t = tcase_create("vit");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, embedding_and_masks_match, 0, NETWORKS * PRECISIONS);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
