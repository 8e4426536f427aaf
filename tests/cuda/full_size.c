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

/* Relative errors of the embedding's sample after 12 blocks; rounding errors of blocks add up as their
 * squares do. Of masks twice as much is allowed. */
static const double bounds[PRECISIONS] = {1e-4, 4e-3, 4e-3, 3e-2};

enum { PROMPTS = 2, MASKS = 4, FULL = 256, PIXELS = FULL * FULL, CHANNELS = 256 };
static const char *const logits_names[PROMPTS] = {"box.low_res_logits_sample",
                                                  "point.low_res_logits_sample"};

/* What one precision gives, and how far off it is. */
typedef struct result {
    float *logits; /* (PROMPTS, MASKS, FULL, FULL) */
    double embedding, masks[PROMPTS];
    double iou, decided; /* means over all masks, against fp32 */
} result;

static uint8_t *make_image(void) {
    uint8_t *pixels = malloc(3 * SIDE * SIDE);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < 3; c++)
                pixels[(y * SIDE + x) * 3 + c] = (uint8_t)((x * (3 + c)) ^ (y * (5 + c)));
    return pixels;
}

static double sample_error(const float *embedding, const float *expected) {
    enum { GRID = 64, SAMPLES = 8 };
    float sample[CHANNELS * SAMPLES * SAMPLES];
    for (int i = 0; i < CHANNELS * SAMPLES * SAMPLES; i++) {
        int c = i / (SAMPLES * SAMPLES), y = i / SAMPLES % SAMPLES * 9, x = i % SAMPLES * 9;
        sample[i] = embedding[(c * GRID + y) * GRID + x];
    }
    return test_relative_l2(sample, expected, CHANNELS * SAMPLES * SAMPLES);
}

/* Every 4th row and column of the four masks. */
static double logits_error(const float *logits, const float *expected) {
    enum { SAMPLES = 64, N = MASKS * SAMPLES * SAMPLES };
    float *sample = malloc(N * sizeof *sample);
    for (int i = 0; i < N; i++)
        sample[i] = logits[i / (SAMPLES * SAMPLES) * PIXELS + i / SAMPLES % SAMPLES * 4 * FULL +
                           i % SAMPLES * 4];
    double error = test_relative_l2(sample, expected, N);
    free(sample);
    return error;
}

/* Intersection over union of two masks, over the pixels whose expected logit is at least `least` away from
 * 0. */
static double overlap(const float *logits, const float *expected, double least) {
    int64_t both = 0, any = 0;
    for (int i = 0; i < PIXELS; i++) {
        bool a = logits[i] > 0, b = expected[i] > 0, counts = fabs((double)expected[i]) >= least;
        both += counts && a && b;
        any += counts && (a || b);
    }
    return any ? (double)both / (double)any : 1;
}

/* The networks' weights are noise, and the logits of some of their masks are so close to 0 that which of
 * those pixels belong to the mask is a matter of the last bits; pixels are decided whose logit is farther
 * from 0 than the bound on the error of the logits. */
static void compare_masks(result *r, const float *expected, double bound) {
    r->iou = r->decided = 0;
    for (int i = 0; i < PROMPTS * MASKS; i++) {
        const float *a = r->logits + (int64_t)i * PIXELS, *b = expected + (int64_t)i * PIXELS;
        double squares = 0;
        for (int k = 0; k < PIXELS; k++) squares += (double)b[k] * b[k];
        r->iou += overlap(a, b, 0) / (PROMPTS * MASKS);
        r->decided += overlap(a, b, bound * sqrt(squares / PIXELS)) / (PROMPTS * MASKS);
    }
}

static void decode(msx_ctx *ctx, msx_model *model, const msx_embedding *e, msx_checkpoint *vectors,
                   int kind, result *r) {
    msx_prompts *prompts;
    msx_prediction *p;
    test_ok(ctx, msx_prompts_create(&prompts, ctx));
    test_ok(ctx, msx_prompts_begin(prompts, 0));
    if (kind == 0)
        test_ok(ctx, msx_prompts_box(prompts, 100, 150, 800, 700));
    else
        test_ok(ctx, msx_prompts_point(prompts, 512, 400, 1));
    test_ok(ctx, msx_model_predict(&p, model, e, prompts));
    float *expected = test_tensor(vectors, logits_names[kind], NULL);
    memcpy(r->logits + (int64_t)kind * MASKS * PIXELS, msx_prediction_logits(p, 0),
           MASKS * PIXELS * sizeof(float));
    r->masks[kind] = logits_error(msx_prediction_logits(p, 0), expected);
    free(expected);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
}

static result run(msx_ctx *ctx, const msx_checkpoint *weights, msx_checkpoint *vectors,
                  const msx_image *image, msx_precision precision) {
    result r = {.logits = malloc(PROMPTS * MASKS * PIXELS * sizeof *r.logits)};
    float *embedding = malloc(CHANNELS * 64 * 64 * sizeof *embedding);
    float *expected = test_tensor(vectors, "embedding_sample", NULL);
    msx_device *device;
    msx_model *model;
    msx_embedding *e;
    test_ok(ctx, msx_device_open(&device, ctx, "cuda:0"));
    test_ok(ctx, msx_device_set_precision(device, precision));
    test_ok(ctx, msx_model_load(&model, device, weights, MSX_PRESET_SAM));
    test_ok(ctx, msx_model_encode(&e, model, (const msx_image *const[]){image}, 1));
    test_ok(ctx, msx_embedding_read(e, 0, embedding, CHANNELS * 64 * 64));
    r.embedding = sample_error(embedding, expected);
    for (int kind = 0; kind < PROMPTS; kind++) decode(ctx, model, e, vectors, kind, &r);
    free(embedding), free(expected);
    msx_embedding_free(e);
    msx_model_free(model);
    msx_device_free(device);
    return r;
}

START_TEST(embedding_and_masks_match) {
    const network *n = networks + _i;
    char path[64];
    msx_ctx *ctx = test_ctx();
    msx_checkpoint *weights, *vectors;
    msx_image *image;
    result results[PRECISIONS];
    snprintf(path, sizeof path, "golden/%s.safetensors", n->name);
    test_ok(ctx, msx_checkpoint_open(&vectors, ctx, test_path(path)));
    test_ok(ctx, test_compute_vit(&weights, ctx, n->width, n->head, n->depth, n->global_every));
    uint8_t *pixels = make_image();
    test_ok(ctx, msx_image_create(&image, ctx, SIDE, SIDE, 3, MSX_PIXEL_U8, pixels));
    double more = sqrt((double)n->depth / 12);
    for (int p = 0; p < PRECISIONS; p++) {
        results[p] = run(ctx, weights, vectors, image, (msx_precision)p);
        compare_masks(results + p, results[0].logits, 2 * bounds[p] * more);
        printf("%s %s: embedding is off by %.2g, logits by %.2g (box) and %.2g (point), mean IoU "
               "with fp32 %.5f, of decided pixels %.5f\n",
               n->name, msx_precision_name((msx_precision)p), results[p].embedding,
               results[p].masks[0], results[p].masks[1], results[p].iou, results[p].decided);
    }
    for (int p = 0; p < PRECISIONS; p++) {
        const result *r = results + p;
        const char *name = msx_precision_name((msx_precision)p);
        double bound = bounds[p] * (p ? more : 1);
        ck_assert_msg(r->embedding <= bound, "%s %s: embedding is off by %g", n->name, name,
                      r->embedding);
        for (int k = 0; k < PROMPTS; k++)
            ck_assert_msg(r->masks[k] <= 2 * bound, "%s %s: %s is off by %g", n->name, name,
                          logits_names[k], r->masks[k]);
        ck_assert_msg(r->decided >= (p == MSX_PRECISION_BF16 ? 0.99 : 0.999), "%s %s: IoU %g",
                      n->name, name, r->decided);
        free(results[p].logits);
    }
    free(pixels);
    msx_image_free(image);
    msx_checkpoint_free(weights);
    msx_checkpoint_free(vectors);
    msx_ctx_free(ctx);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: full size");
    TCase *t = tcase_create("vit");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, embedding_and_masks_match, 0, NETWORKS);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
