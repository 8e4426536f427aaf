/* SPDX-License-Identifier: Apache-2.0 */
/* lib/model: automatic mask generation against the same done by hand, prompt by prompt, with whole
 * pictures and plain loops. test_generate.sh compares with PyTorch. */
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct scene {
    msx_ctx *ctx;
    msx_device *device;
    msx_model *model;
    msx_image *image;
    int64_t width, height;
} scene;

/* Discs of different brightness on a ground that is not flat. */
static msx_image *make_image(msx_ctx *ctx, int64_t width, int64_t height, int channels) {
    static const int discs[][4] = {{40, 38, 22, 150},
                                   {120, 50, 30, 210},
                                   {60, 105, 14, 90},
                                   {150, 120, 19, 30},
                                   {95, 90, 8, 255}};
    msx_image *image;
    test_ok(ctx, msx_image_create(&image, ctx, width, height, channels, MSX_PIXEL_U8, NULL));
    uint8_t *p = msx_image_data(image);
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) {
                int value = (int)(60 + x / 8 + c * 5 + (x * 7 ^ y * 13) % 9);
                for (size_t d = 0; d < sizeof discs / sizeof *discs; d++)
                    if (hypot((double)x - discs[d][0], (double)y - discs[d][1]) < discs[d][2])
                        value = discs[d][3] - 8 * c;
                *p++ = (uint8_t)(value < 0 ? 0 : value);
            }
    return image;
}

static void scene_open(scene *s, msx_preset preset, int64_t width, int64_t height) {
    msx_checkpoint *weights;
    s->ctx = test_ctx();
    s->width = width;
    s->height = height;
    test_ok(s->ctx, msx_ctx_set_threads(s->ctx, 1));
    test_ok(s->ctx, msx_device_open(&s->device, s->ctx, "cpu"));
    test_ok(s->ctx,
            msx_checkpoint_open(&weights, s->ctx, test_path("examples/data/models/mini-base.pth")));
    test_ok(s->ctx, msx_model_load(&s->model, s->device, weights, preset));
    msx_checkpoint_free(weights);
    s->image = make_image(s->ctx, width, height, 3);
}

static void scene_close(scene *s) {
    msx_image_free(s->image);
    msx_model_free(s->model);
    msx_device_free(s->device);
    msx_ctx_free(s->ctx);
}

/* ---- by hand ------------------------------------------------------------------------------------------ */

enum { MOST = 4000 };

typedef struct hand {
    uint8_t *mask; /* of the whole image */
    int64_t box[4], crop[4];
    float iou, stability, score;
    double point[2];
} hand;

typedef struct hands {
    hand at[MOST];
    int n;
} hands;

static void find_box(const uint8_t *mask, int64_t width, int64_t height, int64_t box[4]) {
    int64_t b[4] = {1 << 20, 1 << 20, -1, -1};
    for (int64_t i = 0; i < width * height; i++) {
        if (!mask[i]) continue;
        int64_t x = i % width, y = i / width;
        b[0] = x < b[0] ? x : b[0];
        b[1] = y < b[1] ? y : b[1];
        b[2] = x > b[2] ? x : b[2];
        b[3] = y > b[3] ? y : b[3];
    }
    for (int k = 0; k < 4; k++) box[k] = b[2] < 0 ? 0 : b[k];
}

static double iou_of(const int64_t a[4], const int64_t b[4]) {
    double w = (double)((a[2] < b[2] ? a[2] : b[2]) - (a[0] > b[0] ? a[0] : b[0]));
    double h = (double)((a[3] < b[3] ? a[3] : b[3]) - (a[1] > b[1] ? a[1] : b[1]));
    double both = w > 0 && h > 0 ? w * h : 0;
    return both / ((double)((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - both);
}

/* Of those from `first` on, take the one with the highest score (the first of equal ones), drop what
 * overlaps it, and so on. */
static void suppress(hands *h, int first, double threshold) {
    static hand kept[MOST];
    int n = 0;
    bool gone[MOST] = {false};
    for (;;) {
        int best = -1;
        for (int i = first; i < h->n; i++)
            if (!gone[i] && (best < 0 || h->at[i].score > h->at[best].score)) best = i;
        if (best < 0) break;
        kept[n++] = h->at[best];
        gone[best] = true;
        for (int i = first; i < h->n; i++)
            if (!gone[i] && iou_of(h->at[i].box, h->at[best].box) > threshold) {
                gone[i] = true;
                free(h->at[i].mask);
            }
    }
    memcpy(h->at + first, kept, (size_t)n * sizeof *kept);
    h->n = first + n;
}

/* One mask of one point; what stays is appended. */
static void try_mask(const scene *s, hands *h, const msx_generate_options *o,
                     const msx_prediction *p, int mask, const int64_t crop[4], const double at[2]) {
    msx_image *map;
    float iou = msx_prediction_iou(p, 0)[mask];
    if (o->pred_iou_thresh > 0 && !(iou > (float)o->pred_iou_thresh)) return;
    bool logits = msx_model_preset(s->model) == MSX_PRESET_SAM ||
                  msx_model_preset(s->model) == MSX_PRESET_MICROSAM;
    double offset = o->stability_score_offset;
    float level = logits ? 0 : 0.5f;
    float high = (float)(logits ? offset : 1 / (1 + exp(-offset)));
    float low = (float)(logits ? -offset : 1 / (1 + exp(offset)));
    test_ok(s->ctx, msx_prediction_map(&map, p, 0, mask));
    int64_t w = crop[2] - crop[0], ht = crop[3] - crop[1], inner = 0, outer = 0;
    const float *v = msx_image_data(map);
    hand n = {.mask = calloc((size_t)(s->width * s->height), 1), .iou = iou, .score = iou};
    for (int64_t y = 0; y < ht; y++)
        for (int64_t x = 0; x < w; x++) {
            float value = v[y * w + x];
            inner += value > high;
            outer += value > low;
            n.mask[(crop[1] + y) * s->width + crop[0] + x] = value > level;
        }
    msx_image_free(map);
    n.stability = (float)((double)inner / (double)outer);
    find_box(n.mask, s->width, s->height, n.box);
    if (!n.box[2] && !n.box[3]) /* an empty mask has its box at the corner of the crop */
        for (int i = 0; i < 4; i++) n.box[i] = crop[i % 2];
    bool cut = false;
    const int64_t image[4] = {0, 0, s->width, s->height};
    for (int i = 0; i < 4; i++)
        if (fabs((double)(n.box[i] - crop[i])) <= 20 && fabs((double)(n.box[i] - image[i])) > 20)
            cut = true;
    bool stable = o->stability_score_thresh <= 0 || n.stability >= (float)o->stability_score_thresh;
    if (cut || !stable) {
        free(n.mask);
        return;
    }
    memcpy(n.crop, crop, sizeof n.crop);
    n.point[0] = at[0] + (double)crop[0];
    n.point[1] = at[1] + (double)crop[1];
    h->at[h->n++] = n;
    ck_assert_int_lt(h->n, MOST);
}

static msx_image *part_of(const scene *s, const int64_t crop[4]) {
    msx_image *part;
    int channels = msx_image_channels(s->image);
    int64_t w = crop[2] - crop[0], h = crop[3] - crop[1];
    test_ok(s->ctx, msx_image_create(&part, s->ctx, w, h, channels, MSX_PIXEL_U8, NULL));
    const uint8_t *from = msx_image_data(s->image);
    uint8_t *to = msx_image_data(part);
    for (int64_t y = 0; y < h; y++)
        for (int64_t i = 0; i < w * channels; i++)
            to[y * w * channels + i] = from[((crop[1] + y) * s->width + crop[0]) * channels + i];
    return part;
}

static void try_crop(const scene *s, hands *h, const msx_generate_options *o, const int64_t crop[4],
                     int64_t side) {
    msx_image *part = part_of(s, crop);
    msx_embedding *e;
    int first = h->n;
    test_ok(s->ctx, msx_model_encode(&e, s->model, (const msx_image *const[]){part}, 1));
    for (int64_t i = 0; i < side * side; i++) {
        const double at[2] = {
            ((double)(i % side) + 0.5) / (double)side * (double)(crop[2] - crop[0]),
            ((double)(i / side) + 0.5) / (double)side * (double)(crop[3] - crop[1])};
        msx_prompts *prompts;
        msx_prediction *p;
        test_ok(s->ctx, msx_prompts_create(&prompts, s->ctx));
        test_ok(s->ctx, msx_prompts_begin(prompts, 0));
        test_ok(s->ctx, msx_prompts_point(prompts, at[0], at[1], 1));
        test_ok(s->ctx, msx_model_predict(&p, s->model, e, prompts));
        for (int m = 1; m < 4; m++) try_mask(s, h, o, p, m, crop, at);
        msx_prediction_free(p);
        msx_prompts_free(prompts);
    }
    msx_embedding_free(e);
    msx_image_free(part);
    suppress(h, first, o->box_nms_thresh);
}

/* Components by spreading the smallest number until nothing changes. */
static bool change_small(uint8_t *mask, int64_t width, int64_t height, int64_t least, bool holes) {
    int64_t n = width * height, *number = malloc((size_t)n * sizeof *number);
    int64_t *size = calloc((size_t)n, sizeof *size);
    bool moved = true, any = false, large = false;
    for (int64_t i = 0; i < n; i++) number[i] = mask[i] != holes ? i : -1;
    while (moved) {
        moved = false;
        for (int64_t k = 0; k < 2 * n; k++) {
            int64_t i = k < n ? k : 2 * n - 1 - k, x = i % width, y = i / width;
            for (int d = 0; d < 9 && number[i] >= 0; d++) {
                int64_t u = x + d % 3 - 1, v = y + d / 3 - 1, j = v * width + u;
                if (u < 0 || v < 0 || u >= width || v >= height || number[j] < 0) continue;
                if (number[j] < number[i]) number[i] = number[j], moved = true;
            }
        }
    }
    for (int64_t i = 0; i < n; i++)
        if (number[i] >= 0) size[number[i]]++;
    int64_t best = 0;
    for (int64_t i = 0; i < n; i++) {
        any |= size[i] > 0 && size[i] < least;
        large |= size[i] >= least;
        if (size[i] > size[best]) best = i;
    }
    for (int64_t i = 0; any && i < n; i++)
        if (number[i] >= 0 && size[number[i]] < least && (holes || large || number[i] != best))
            mask[i] = holes;
    free(number);
    free(size);
    return any;
}

static void by_hand(const scene *s, hands *h, const msx_generate_options *o) {
    h->n = 0;
    const int64_t whole[4] = {0, 0, s->width, s->height};
    try_crop(s, h, o, whole, o->points_per_side);
    int64_t side = o->points_per_side, shorter = s->width < s->height ? s->width : s->height;
    for (int layer = 1; layer <= o->crop_n_layers; layer++) {
        side /= o->crop_n_points_downscale_factor;
        int n = 1 << layer;
        int overlap = (int)(o->crop_overlap_ratio * (double)shorter * (2.0 / n));
        int w = (int)ceil((double)(overlap * (n - 1) + s->width) / n);
        int ht = (int)ceil((double)(overlap * (n - 1) + s->height) / n);
        for (int i = 0; i < n * n; i++) {
            int64_t x = i / n * (w - overlap), y = i % n * (ht - overlap);
            const int64_t crop[4] = {x, y, x + w < s->width ? x + w : s->width,
                                     y + ht < s->height ? y + ht : s->height};
            try_crop(s, h, o, crop, side);
        }
    }
    if (o->crop_n_layers) {
        for (int i = 0; i < h->n; i++) {
            const int64_t *c = h->at[i].crop;
            h->at[i].score = 1.0f / (float)((c[2] - c[0]) * (c[3] - c[1]));
        }
        suppress(h, 0, o->crop_nms_thresh);
    }
    if (!o->min_mask_region_area) return;
    for (int i = 0; i < h->n; i++) {
        hand *a = h->at + i;
        bool filled = change_small(a->mask, s->width, s->height, o->min_mask_region_area, true);
        bool dropped = change_small(a->mask, s->width, s->height, o->min_mask_region_area, false);
        a->score = filled || dropped ? 0 : 1;
        if (filled || dropped) find_box(a->mask, s->width, s->height, a->box);
    }
    suppress(h, 0, fmax(o->box_nms_thresh, o->crop_nms_thresh));
}

/* ---- comparing ------------------------------------------------------------------------------------------ */

static void check_mask(const scene *s, const msx_masks *got, int64_t i, const hand *want) {
    msx_mask_record r = {.struct_size = sizeof r};
    msx_image *mask;
    int64_t area = 0, n = s->width * s->height;
    test_ok(s->ctx, msx_masks_record(got, i, &r));
    test_ok(s->ctx, msx_masks_image(&mask, got, i));
    ck_assert_int_eq(memcmp(msx_image_data(mask), want->mask, (size_t)n), 0);
    for (int64_t k = 0; k < n; k++) area += want->mask[k];
    ck_assert_int_eq(r.area, area);
    ck_assert(r.predicted_iou == want->iou);
    ck_assert(r.stability_score == want->stability);
    for (int k = 0; k < 2; k++) {
        ck_assert(fabs(r.point_coords[k] - want->point[k]) < 1e-9);
        ck_assert(r.bbox[k] == (double)want->box[k]);
        ck_assert(r.bbox[k + 2] == (double)(want->box[k + 2] - want->box[k]));
        ck_assert(r.crop_box[k] == (double)want->crop[k]);
        ck_assert(r.crop_box[k + 2] == (double)(want->crop[k + 2] - want->crop[k]));
    }
    size_t runs;
    const uint32_t *length = msx_masks_runs(got, i, &runs);
    int64_t at = 0, wrong = 0; /* pixel number `at` down the columns */
    for (size_t k = 0; k < runs; k++)
        for (uint32_t j = 0; j < length[k]; j++, at++)
            wrong += want->mask[at % s->height * s->width + at / s->height] != k % 2;
    ck_assert_int_eq(at, n);
    ck_assert_int_eq(wrong, 0);
    msx_image_free(mask);
}

/* At least `least` masks must be compared, of `crops` different crops. */
static void compare(const scene *s, const msx_generate_options *o, int least, int crops) {
    static hands h;
    msx_masks *got;
    int seen = 0;
    by_hand(s, &h, o);
    test_ok(s->ctx, msx_masks_generate(&got, s->model, s->image, o));
    ck_assert_int_eq(msx_masks_count(got), h.n);
    ck_assert_int_eq(msx_masks_width(got), s->width);
    ck_assert_int_eq(msx_masks_height(got), s->height);
    for (int i = 0; i < h.n; i++) {
        bool before = false;
        for (int k = 0; k < i; k++)
            before |= !memcmp(h.at[k].crop, h.at[i].crop, sizeof h.at->crop);
        seen += !before;
        check_mask(s, got, i, h.at + i);
    }
    ck_assert_msg(h.n >= least && seen >= crops, "only %d masks of %d crops: the test says nothing",
                  h.n, seen);
    for (int i = 0; i < h.n; i++) free(h.at[i].mask);
    msx_masks_free(got);
}

START_TEST(masks_are_what_one_would_find_by_hand) {
    static const struct {
        msx_preset preset;
        int64_t width, height;
        double iou, stability;
        int64_t region;
        int least;
    } cases[] = {
        {MSX_PRESET_SAM, 190, 150, 0.4, 0.6, 0, 5},   {MSX_PRESET_SAM, 110, 90, 0.3, 0, 40, 5},
        {MSX_PRESET_SAM, 97, 190, 0, 0.6, 0, 3},      {MSX_PRESET_MEDSAM, 190, 150, 0.2, 0.5, 0, 3},
        {MSX_PRESET_MICROSAM, 90, 90, 0.3, 0, 25, 5},
    };
    scene s;
    msx_generate_options o = MSX_GENERATE_OPTIONS;
    o.points_per_side = 6;
    o.points_per_batch = 20; /* 36 points are no multiple of it */
    o.pred_iou_thresh = cases[_i].iou;
    o.stability_score_thresh = cases[_i].stability;
    o.min_mask_region_area = cases[_i].region;
    scene_open(&s, cases[_i].preset, cases[_i].width, cases[_i].height);
    compare(&s, &o, cases[_i].least, 1);
    scene_close(&s);
}
END_TEST

START_TEST(crops_are_searched_too) {
    scene s;
    msx_generate_options o = MSX_GENERATE_OPTIONS;
    o.points_per_side = 5;
    o.crop_n_layers = 1 + _i;
    o.crop_n_points_downscale_factor = 2;
    o.pred_iou_thresh = 0.2;
    o.stability_score_thresh = 0.4;
    o.crop_nms_thresh = 0.6;
    scene_open(&s, MSX_PRESET_SAM, _i ? 310 : 230, _i ? 260 : 200);
    compare(&s, &o, 7, 2);
    scene_close(&s);
}
END_TEST

/* ---- what must not matter, and what must ---------------------------------------------------------------- */

static msx_generate_options few_points(void) {
    msx_generate_options o = MSX_GENERATE_OPTIONS;
    o.points_per_side = 6;
    o.pred_iou_thresh = 0.3;
    o.stability_score_thresh = 0.4;
    return o;
}

static void check_same(const scene *s, const msx_masks *a, const msx_masks *b) {
    ck_assert_int_gt(msx_masks_count(a), 2);
    ck_assert_int_eq(msx_masks_count(a), msx_masks_count(b));
    for (int64_t i = 0; i < msx_masks_count(a); i++) {
        msx_mask_record x = {.struct_size = sizeof x}, y = x;
        size_t n, m;
        const uint32_t *runs = msx_masks_runs(a, i, &n), *others = msx_masks_runs(b, i, &m);
        test_ok(s->ctx, msx_masks_record(a, i, &x));
        test_ok(s->ctx, msx_masks_record(b, i, &y));
        ck_assert_int_eq(memcmp(&x, &y, sizeof x), 0);
        ck_assert_int_eq(n, m);
        ck_assert_int_eq(memcmp(runs, others, n * sizeof *runs), 0);
    }
}

START_TEST(threads_and_batches_change_no_bit) {
    scene s;
    msx_generate_options o = few_points();
    msx_masks *first, *other;
    scene_open(&s, MSX_PRESET_SAM, 230, 200);
    o.crop_n_layers = 1;
    test_ok(s.ctx, msx_masks_generate(&first, s.model, s.image, &o));
    static const int tries[][2] = {{1, 1}, {2, 7}, {3, 64}, {1, 1000}};
    for (int i = 0; i < 4; i++) {
        o.points_per_batch = tries[i][1];
        test_ok(s.ctx, msx_ctx_set_threads(s.ctx, tries[i][0]));
        test_ok(s.ctx, msx_masks_generate(&other, s.model, s.image, &o));
        check_same(&s, first, other);
        msx_masks_free(other);
    }
    msx_masks_free(first);
    scene_close(&s);
}
END_TEST

/* micro-sam stretches the whole image and then crops it: a crop is not stretched again. */
START_TEST(crops_are_cut_from_the_stretched_image) {
    scene s;
    msx_generate_options o = few_points();
    msx_model *plain;
    msx_checkpoint *weights;
    msx_masks *got, *want;
    scene_open(&s, MSX_PRESET_MICROSAM, 230, 200);
    uint8_t *p = msx_image_data(s.image);
    int64_t n = 230 * 200 * 3;
    for (int64_t i = 0; i < n; i++) p[i] = (uint8_t)(p[i] / 3 + 40); /* a dull image */
    o.crop_n_layers = 1;
    test_ok(s.ctx, msx_masks_generate(&got, s.model, s.image, &o));
    for (int c = 0; c < 3; c++) {
        int low = 255, high = 0;
        for (int64_t i = c; i < n; i += 3) {
            low = p[i] < low ? p[i] : low;
            high = p[i] > high ? p[i] : high;
        }
        for (int64_t i = c; i < n; i += 3)
            p[i] = (uint8_t)((float)(p[i] - low) / ((float)(high - low) + 1e-7f) * 255.0f);
    }
    test_ok(s.ctx,
            msx_checkpoint_open(&weights, s.ctx, test_path("examples/data/models/mini-base.pth")));
    test_ok(s.ctx, msx_model_load(&plain, s.device, weights, MSX_PRESET_SAM));
    test_ok(s.ctx, msx_masks_generate(&want, plain, s.image, &o));
    check_same(&s, got, want);
    msx_masks_free(got);
    msx_masks_free(want);
    msx_model_free(plain);
    msx_checkpoint_free(weights);
    scene_close(&s);
}
END_TEST

START_TEST(own_points_are_used) {
    scene s;
    msx_generate_options o = few_points();
    msx_masks *got;
    static const double points[] = {40 / 230.0, 38 / 200.0, 120 / 230.0, 50 / 200.0};
    const msx_point_grid grids[2] = {{points, 2}, {NULL, 0}};
    scene_open(&s, MSX_PRESET_SAM, 230, 200);
    o.point_grids = grids;
    o.crop_n_layers = 1; /* without points: nothing is found there */
    o.pred_iou_thresh = o.stability_score_thresh = 0;
    test_ok(s.ctx, msx_masks_generate(&got, s.model, s.image, &o));
    ck_assert_int_ge(msx_masks_count(got), 2);
    for (int64_t i = 0; i < msx_masks_count(got); i++) {
        msx_mask_record r = {.struct_size = sizeof r};
        test_ok(s.ctx, msx_masks_record(got, i, &r));
        int k = fabs(r.point_coords[0] - 40) < 1e-9 ? 0 : 1;
        ck_assert(fabs(r.point_coords[0] - (k ? 120 : 40)) < 1e-9);
        ck_assert(fabs(r.point_coords[1] - (k ? 50 : 38)) < 1e-9);
        ck_assert(r.crop_box[2] == 230 && r.crop_box[3] == 200);
    }
    msx_masks_free(got);
    scene_close(&s);
}
END_TEST

/* Each pixel shows the smallest mask that covers it. */
START_TEST(labels_show_small_masks_over_large_ones) {
    scene s;
    msx_generate_options o = few_points();
    msx_masks *got;
    msx_image *labels;
    scene_open(&s, MSX_PRESET_SAM, 190, 150);
    o.pred_iou_thresh = o.stability_score_thresh = 0;
    o.box_nms_thresh = 0.95;
    test_ok(s.ctx, msx_masks_generate(&got, s.model, s.image, &o));
    test_ok(s.ctx, msx_masks_labels(&labels, got));
    ck_assert_int_eq(msx_image_type(labels), MSX_PIXEL_U16);
    int64_t n = s.width * s.height, overlaps = 0;
    uint16_t *want = calloc((size_t)n, sizeof *want);
    int64_t *area = calloc((size_t)n, sizeof *area);
    for (int64_t i = 0; i < msx_masks_count(got); i++) {
        msx_image *mask;
        msx_mask_record r = {.struct_size = sizeof r};
        test_ok(s.ctx, msx_masks_record(got, i, &r));
        test_ok(s.ctx, msx_masks_image(&mask, got, i));
        const uint8_t *inside = msx_image_data(mask);
        for (int64_t k = 0; k < n; k++) {
            if (!inside[k]) continue;
            overlaps += want[k] != 0;
            if (want[k] && area[k] <= r.area) continue;
            want[k] = (uint16_t)(i + 1);
            area[k] = r.area;
        }
        msx_image_free(mask);
    }
    ck_assert_int_gt(overlaps, 0);
    ck_assert_int_eq(memcmp(msx_image_data(labels), want, (size_t)n * sizeof *want), 0);
    free(want);
    free(area);
    msx_image_free(labels);
    msx_masks_free(got);
    scene_close(&s);
}
END_TEST

/* Images of every form; thresholds that nothing passes. */
START_TEST(odd_images_give_masks_or_none) {
    static const struct {
        int64_t width, height;
        int channels;
    } images[] = {{1, 1, 1}, {160, 1, 3}, {31, 97, 4}, {64, 48, 1}, {33, 50, 2}};
    scene s;
    msx_generate_options o = few_points();
    msx_masks *got;
    scene_open(&s, MSX_PRESET_SAM, 40, 40);
    o.points_per_side = 2;
    o.pred_iou_thresh = o.stability_score_thresh = 0;
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        msx_image *image = make_image(s.ctx, images[i].width, images[i].height, images[i].channels);
        test_ok(s.ctx, msx_masks_generate(&got, s.model, image, &o));
        ck_assert_int_eq(msx_masks_width(got), images[i].width);
        ck_assert_int_ge(msx_masks_count(got), 1);
        msx_masks_free(got);
        msx_image_free(image);
    }
    o.pred_iou_thresh = 1e6;
    o.min_mask_region_area = 5;
    o.crop_n_layers = 1;
    test_ok(s.ctx, msx_masks_generate(&got, s.model, s.image, &o));
    ck_assert_int_eq(msx_masks_count(got), 0);
    msx_image *labels;
    test_ok(s.ctx, msx_masks_labels(&labels, got));
    msx_image_free(labels);
    msx_masks_free(got);
    memset(msx_image_data(s.image), 0, 40 * 40 * 3); /* all zero */
    test_ok(s.ctx, msx_masks_generate(&got, s.model, s.image, NULL));
    msx_masks_free(got);
    scene_close(&s);
}
END_TEST

/* ---- progress, mistakes, memory -------------------------------------------------------------------------- */

typedef struct steps {
    int64_t seen, total, stop_at;
} steps;

static int count_steps(const msx_progress *p, void *payload) {
    steps *s = payload;
    if (strcmp(p->stage, "generate")) return 0;
    s->seen++;
    s->total = p->total;
    return p->done != s->seen || p->done == s->stop_at;
}

START_TEST(progress_counts_batches_and_may_stop) {
    scene s;
    msx_generate_options o = few_points();
    msx_masks *got;
    steps all = {0, 0, -1}, cut = {0, 0, 3};
    scene_open(&s, MSX_PRESET_SAM, 120, 90);
    o.crop_n_layers = 1;
    o.points_per_batch = 20;
    o.crop_n_points_downscale_factor = 2;
    msx_ctx_set_progress(s.ctx, count_steps, &all);
    test_ok(s.ctx, msx_masks_generate(&got, s.model, s.image, &o));
    ck_assert_int_eq(all.seen, 2 + 4); /* 36 points, and 9 in each of 4 crops */
    ck_assert_int_eq(all.total, all.seen);
    msx_masks_free(got);
    msx_ctx_set_progress(s.ctx, count_steps, &cut);
    test_fails(s.ctx, msx_masks_generate(&got, s.model, s.image, &o), MSX_E_CANCELLED, "generate");
    ck_assert_ptr_null(got);
    ck_assert_int_eq(cut.seen, 3);
    msx_ctx_set_progress(s.ctx, NULL, NULL);
    msx_ctx_cancel(s.ctx);
    test_fails(s.ctx, msx_masks_generate(&got, s.model, s.image, &o), MSX_E_CANCELLED, "");
    scene_close(&s);
}
END_TEST

START_TEST(mistakes_are_refused_with_a_text) {
    scene s;
    msx_masks *got;
    msx_image *deep, *thin;
    scene_open(&s, MSX_PRESET_SAM, 60, 50);
    const msx_generate_options good = few_points();
    const msx_point_grid bad_grids[] = {{NULL, 3}, {(const double[]){0.5, 1.5}, 1}};
    struct {
        msx_generate_options o;
        msx_status status;
        const char *text;
    } cases[14];
    for (size_t i = 0; i < 14; i++) cases[i].o = good, cases[i].status = MSX_E_ARG;
    cases[0].o.struct_size = 8, cases[0].text = "MSX_GENERATE_OPTIONS";
    cases[1].o.points_per_side = 0, cases[1].text = "points_per_side is 0";
    cases[2].o.points_per_batch = -1, cases[2].text = "points_per_batch is -1";
    cases[3].o.pred_iou_thresh = NAN, cases[3].text = "pred_iou_thresh is nan";
    cases[4].o.stability_score_thresh = INFINITY, cases[4].text = "stability_score_thresh is inf";
    cases[5].o.stability_score_offset = -1, cases[5].text = "stability_score_offset is -1";
    cases[6].o.box_nms_thresh = 1.5, cases[6].text = "box_nms_thresh is 1.5";
    cases[7].o.crop_n_layers = 9, cases[7].text = "crop_n_layers is 9";
    cases[8].o.crop_overlap_ratio = 1, cases[8].text = "crop_overlap_ratio is 1";
    cases[9].o.crop_n_points_downscale_factor = 0, cases[9].text = "downscale_factor is 0";
    cases[10].o.min_mask_region_area = -4, cases[10].text = "min_mask_region_area is -4";
    cases[11].o.point_grids = bad_grids, cases[11].text = "grid 0 is NULL";
    cases[12].o.point_grids = bad_grids + 1, cases[12].text = "1.5 in grid 0 is outside";
    cases[13].o.crop_n_layers = 2, cases[13].o.crop_n_points_downscale_factor = 3;
    cases[13].text = "no point is left for the crops of layer 2";
    for (size_t i = 0; i < 14; i++) {
        test_fails(s.ctx, msx_masks_generate(&got, s.model, s.image, &cases[i].o), cases[i].status,
                   cases[i].text);
        ck_assert_ptr_null(got);
    }
    test_fails(s.ctx, msx_masks_generate(&got, s.model, NULL, &good), MSX_E_ARG, "NULL");
    test_fails(s.ctx, msx_masks_generate(NULL, s.model, s.image, &good), MSX_E_ARG, "NULL");
    ck_assert_int_eq(msx_masks_generate(&got, NULL, s.image, &good), MSX_E_ARG);
    test_ok(s.ctx, msx_image_create(&deep, s.ctx, 9, 9, 1, MSX_PIXEL_U16, NULL));
    test_fails(s.ctx, msx_masks_generate(&got, s.model, deep, &good), MSX_E_ARG, "8-bit");
    test_ok(s.ctx, msx_image_create(&thin, s.ctx, 3, 2, 1, MSX_PIXEL_U8, NULL));
    msx_generate_options o = good;
    o.crop_n_layers = 2;
    test_fails(s.ctx, msx_masks_generate(&got, s.model, thin, &o), MSX_E_SHAPE, "too small for");
    test_ok(s.ctx, msx_masks_generate(&got, s.model, s.image, &good));
    msx_mask_record r = {.struct_size = sizeof r};
    msx_image *mask;
    test_fails(s.ctx, msx_masks_record(got, msx_masks_count(got), &r), MSX_E_ARG, "mask ");
    test_fails(s.ctx, msx_masks_record(got, 0, NULL), MSX_E_ARG, "struct_size");
    test_fails(s.ctx, msx_masks_image(&mask, got, -1), MSX_E_ARG, "mask -1");
    ck_assert_ptr_null(msx_masks_runs(got, -1, NULL));
    ck_assert_int_eq(msx_masks_count(NULL), -1);
    msx_masks_free(NULL);
    msx_masks_free(got);
    msx_image_free(deep);
    msx_image_free(thin);
    scene_close(&s);
}
END_TEST

/* The single-mask part of a model: one mask token, one hypernetwork, one IoU. */
static msx_checkpoint *single_mask_copy(msx_ctx *ctx) {
    msx_checkpoint *c, *one;
    test_ok(ctx, msx_checkpoint_open(&c, ctx, test_path("golden/a/model.pth")));
    test_ok(ctx, msx_checkpoint_create(&one, ctx));
    for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
        const char *name = msx_checkpoint_name(c, i);
        const char *mlp = strstr(name, "output_hypernetworks_mlps.");
        if (mlp && mlp[26] != '0') continue;
        int64_t dims[MSX_MAX_RANK] = {0};
        for (int a = 0; a < msx_checkpoint_rank(c, i); a++) dims[a] = msx_checkpoint_dim(c, i, a);
        if (strstr(name, "mask_tokens.") || strstr(name, "iou_prediction_head.layers.2"))
            dims[0] = 1;
        float *data = test_tensor(c, name, NULL);
        test_ok(ctx, msx_checkpoint_add(one, name, msx_checkpoint_rank(c, i), dims, data));
        free(data);
    }
    msx_checkpoint_free(c);
    return one;
}

START_TEST(a_model_of_one_mask_is_refused) {
    scene s;
    msx_model *m;
    msx_masks *got;
    scene_open(&s, MSX_PRESET_SAM, 60, 50);
    msx_checkpoint *one = single_mask_copy(s.ctx);
    test_ok(s.ctx, msx_model_load(&m, s.device, one, MSX_PRESET_SAM));
    test_fails(s.ctx, msx_masks_generate(&got, m, s.image, NULL), MSX_E_UNSUPPORTED, "multimask");
    msx_model_free(m);
    msx_checkpoint_free(one);
    scene_close(&s);
}
END_TEST

START_TEST(every_failing_allocation_is_returned_and_nothing_leaks) {
    msx_generate_options o = few_points();
    o.points_per_side = 2;
    o.points_per_batch = 3;
    o.pred_iou_thresh = o.stability_score_thresh = 0;
    o.crop_n_layers = 1;
    o.min_mask_region_area = 20;
    for (int64_t fail_at = 0;; fail_at++) {
        test_allocator memory;
        msx_ctx *ctx;
        msx_device *d;
        msx_model *m;
        msx_checkpoint *weights;
        msx_masks *got = NULL;
        msx_image *labels = NULL;
        test_allocator_init(&memory, -1, _i != 0);
        ck_assert_int_eq(msx_ctx_create(&ctx, &memory.table), MSX_OK);
        test_ok(ctx, msx_ctx_set_threads(ctx, 1));
        test_ok(ctx, msx_device_open(&d, ctx, "cpu"));
        test_ok(ctx, msx_checkpoint_open(&weights, ctx, test_path("golden/a/model.pth")));
        test_ok(ctx, msx_model_load(&m, d, weights, MSX_PRESET_MICROSAM));
        msx_image *image = make_image(ctx, 40, 30, 1);
        memory.calls = 0;
        memory.fail_at = 19 * fail_at + _i;
        msx_status status = msx_masks_generate(&got, m, image, &o);
        if (status >= 0) status = msx_masks_labels(&labels, got);
        bool reached = memory.calls > memory.fail_at;
        if (reached)
            ck_assert_msg(status == MSX_E_NOMEM, "allocation %d: %s", (int)memory.fail_at,
                          msx_ctx_error(ctx));
        else
            test_ok(ctx, status);
        memory.fail_at = -1;
        msx_image_free(labels);
        msx_masks_free(got);
        msx_image_free(image);
        msx_model_free(m);
        msx_checkpoint_free(weights);
        msx_device_free(d);
        msx_ctx_free(ctx);
        ck_assert_int_eq(memory.live, 0);
        if (!reached) break;
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("generate");
    TCase *t = tcase_create("generate");
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, masks_are_what_one_would_find_by_hand, 0, 5);
    tcase_add_loop_test(t, crops_are_searched_too, 0, 2);
    tcase_add_test(t, threads_and_batches_change_no_bit);
    tcase_add_test(t, crops_are_cut_from_the_stretched_image);
    tcase_add_test(t, own_points_are_used);
    tcase_add_test(t, labels_show_small_masks_over_large_ones);
    tcase_add_test(t, odd_images_give_masks_or_none);
    tcase_add_test(t, progress_counts_batches_and_may_stop);
    tcase_add_test(t, mistakes_are_refused_with_a_text);
    tcase_add_test(t, a_model_of_one_mask_is_refused);
    tcase_add_loop_test(t, every_failing_allocation_is_returned_and_nothing_leaks, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
