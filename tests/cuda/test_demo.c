/* SPDX-License-Identifier: Apache-2.0 */
/* Masks of the demo's models on all of its test images in tf32, fp16 and bf16 against those in float32. Part
 * of `make check-gpu`; emulated kernels take a quarter of an hour and do it when MSX_GPU is set. */
#include "backends.h"
#include "search/evaluator.h"

#include <medsamix/search.h>

static const struct {
    const char *model, *dataset;
    msx_preset preset;
} cases[] = {
    {"examples/data/models/mini-human.pth", "examples/data/Dataset101_HumanMR", MSX_PRESET_SAM},
    {"examples/data/models/mini-macaque.pth", "examples/data/Dataset102_MacaqueMR", MSX_PRESET_SAM},
    {"examples/data/models/mini-base.pth", "examples/data/Dataset101_HumanMR", MSX_PRESET_MEDSAM},
};
enum { CASES = sizeof cases / sizeof *cases, MODES = 3 };

static const struct {
    msx_precision precision;
    double least; /* mean intersection over union */
} modes[MODES] = {
    {MSX_PRECISION_TF32, 0.999}, {MSX_PRECISION_FP16, 0.999}, {MSX_PRECISION_BF16, 0.99}};

/* A model and what it predicts for image `image` of an evaluator. */
typedef struct side {
    msx_device *device;
    msx_model *model;
    msx_embedding *embedding;
    msx_prediction *prediction;
} side;

static side open_side(msx_ctx *ctx, int number, msx_precision precision) {
    side s = {0};
    msx_checkpoint *c;
    test_ok(ctx, msx_device_open(&s.device, ctx, "cuda:0"));
    test_ok(ctx, msx_device_set_precision(s.device, precision));
    test_ok(ctx, msx_checkpoint_open(&c, ctx, test_path(cases[number].model)));
    test_ok(ctx, msx_model_load(&s.model, s.device, c, cases[number].preset));
    msx_checkpoint_free(c);
    return s;
}

static void predict(msx_ctx *ctx, side *s, const msx_evaluator *e, int64_t image) {
    const msx__eval_image *x = e->images + image;
    msx_prompts *prompts;
    test_ok(ctx,
            msx_model_encode(&s->embedding, s->model, (const msx_image *const[]){x->image}, 1));
    test_ok(ctx, msx_prompts_create(&prompts, ctx));
    for (int64_t k = x->first_item; k < x->first_item + x->n_items; k++)
        for (int64_t j = 0; j < e->items[k].n_boxes; j++) {
            const msx__box *b = &e->boxes.items[e->items[k].first_box + j];
            test_ok(ctx, msx_prompts_begin(prompts, 0));
            test_ok(ctx, msx_prompts_box(prompts, b->x0, b->y0, b->x1, b->y1));
        }
    test_ok(ctx, msx_model_predict(&s->prediction, s->model, s->embedding, prompts));
    msx_prompts_free(prompts);
}

static void forget(side *s) {
    msx_prediction_free(s->prediction);
    msx_embedding_free(s->embedding);
}

static double overlap(const msx_prediction *a, const msx_prediction *b, int64_t prompt) {
    const msx_prediction *p[2] = {a, b};
    msx_image *mask[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(msx_prediction_mask(&mask[i], p[i], prompt, 0), MSX_OK);
    int64_t n = msx_image_width(mask[0]) * msx_image_height(mask[0]);
    msx_counts c = msx_count_masks(msx_image_data(mask[0]), msx_image_data(mask[1]), n);
    msx_image_free(mask[0]), msx_image_free(mask[1]);
    int64_t any = c.tp + c.fp + c.fn;
    return any ? (double)c.tp / (double)any : 1;
}

/* Sum over the masks of a case, and how many they are. */
static double sum_overlaps(int number, msx_precision precision, int64_t *masks) {
    msx_ctx *ctx = test_ctx();
    msx_dataset *data;
    msx_evaluator *e;
    test_ok(ctx, msx_dataset_open(&data, ctx, test_path(cases[number].dataset)));
    test_ok(ctx, msx_evaluator_create(&e, ctx, MSX_SPLIT_TEST, NULL));
    test_ok(ctx, msx_evaluator_add(e, data, NULL, 0));
    side reference = open_side(ctx, number, MSX_PRECISION_FP32);
    side low = open_side(ctx, number, precision);
    double sum = 0;
    *masks = 0;
    for (int64_t i = 0; i < e->n_images; i++) {
        predict(ctx, &reference, e, i);
        predict(ctx, &low, e, i);
        for (int64_t k = 0; k < msx_prediction_count(low.prediction); k++, ++*masks)
            sum += overlap(reference.prediction, low.prediction, k);
        forget(&reference);
        forget(&low);
    }
    printf("%s, %s: mean IoU %.5f over %lld masks\n", cases[number].model,
           msx_precision_name(precision), sum / (double)*masks, (long long)*masks);
    side *sides[] = {&reference, &low};
    for (int i = 0; i < 2; i++) {
        msx_model_free(sides[i]->model);
        msx_device_free(sides[i]->device);
    }
    msx_evaluator_free(e);
    msx_dataset_free(data);
    msx_ctx_free(ctx);
    return sum;
}

START_TEST(masks_are_those_of_float32) {
    double sum = 0;
    int64_t all = 0;
    for (int number = 0; number < CASES; number++) {
        int64_t masks;
        sum += sum_overlaps(number, modes[_i].precision, &masks);
        ck_assert_int_gt(masks, 0);
        all += masks;
    }
    double mean = sum / (double)all;
    printf("%s: mean IoU %.5f over %lld masks\n", msx_precision_name(modes[_i].precision), mean,
           (long long)all);
    ck_assert_msg(mean >= modes[_i].least, "mean IoU %g", mean);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: demo");
    TCase *t = tcase_create("precision");
    tcase_set_timeout(t, 3000);
    tcase_add_loop_test(t, masks_are_those_of_float32, 0, MODES);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    if (!getenv("MSX_GPU")) {
        printf("left to make check-gpu: emulated kernels take a quarter of an hour\n");
        return 77;
    }
    return test_cuda_run(suite());
}
