/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cuda: norms, data movement and post-processing against the CPU backend. */
#include "backends.h"

START_TEST(norms_match) {
    static const int64_t widths[] = {1, 3, 17, 32, 33, 64, 128, 256, 768, 1024, 1280};
    backends b = backends_open(MSX_PRECISION_FP32);
    for (int w = 0; w < 10; w++)
        for (int r = 0; r < ODD_SIZES; r++)
            for (int act = MSXK_ACT_NONE; act <= MSXK_ACT_RELU; act++) {
                int64_t rows = odd_sizes[r], cols = widths[w], n = rows * cols;
                float *x = random_floats(n, 1), *weight = random_floats(cols, 2);
                float *bias = random_floats(cols, 3), *expected = random_floats(n, 4);
                for (int64_t i = 0; i < n; i++) x[i] += 100; /* one pass would cancel */
                RUN(b.cpu, layer_norm, expected, x, weight, bias, rows, cols, 1e-3f, act);
                float *dx = floats_on(b.cuda, x, n), *dw = floats_on(b.cuda, weight, cols);
                float *db = floats_on(b.cuda, bias, cols);
                RUN(b.cuda, layer_norm, dx, dx, dw, db, rows, cols, 1e-3f, act); /* in place */
                float *got = take_floats(b.cuda, dx, n);
                check_close("layer norm", got, expected, n, 3e-4);
                b.cuda->k->release(b.cuda->dev, dw);
                b.cuda->k->release(b.cuda->dev, db);
                free(x), free(weight), free(bias), free(expected), free(got);
            }
    backends_close(&b);
}
END_TEST

/* Both low formats; the rows' starts are not aligned for vectors in every case. */
START_TEST(low_norms_and_patches_match) {
    msx_precision p = _i ? MSX_PRECISION_BF16 : MSX_PRECISION_FP16;
    backends b = backends_open(p);
    static const int64_t widths[] = {5, 33, 64, 128, 768};
    for (int w = 0; w < 4; w++) {
        int64_t rows = 7, cols = widths[w], n = rows * cols;
        float *x = random_floats(n, 1), *weight = random_floats(cols, 2);
        float *bias = random_floats(cols, 3), *expected = random_floats(n, 4);
        RUN(b.cpu, layer_norm, expected, x, weight, bias, rows, cols, 1e-6f, MSXK_ACT_NONE);
        float *dx = floats_on(b.cuda, x, n), *dw = floats_on(b.cuda, weight, cols);
        float *db = floats_on(b.cuda, bias, cols);
        msxk_low *y = to_device(b.cuda, NULL, (size_t)n * sizeof *y);
        RUN(b.cuda, layer_norm_low, y, dx, dw, db, rows, cols, 1e-6f, MSXK_ACT_NONE);
        msxk_low *low = take(b.cuda, y, (size_t)n * sizeof *y);
        float *got = low_values(p, low, n);
        check_close("low norm", got, expected, n, low_unit(p));
        free(x), free(weight), free(bias), free(expected), free(low), free(got);
    }
    enum { B = 2, G = 3, P = 5, S = G * P, N = B * 3 * S * S };
    float *image = random_floats(N, 1), *rows = random_floats(N, 2);
    float *there = floats_on(b.cuda, image, N);
    msxk_low *y = to_device(b.cuda, NULL, N * sizeof *y);
    RUN(b.cpu, patchify, rows, image, B, G, P);
    RUN(b.cuda, patchify_low, y, there, B, G, P);
    msxk_low *low = take(b.cuda, y, N * sizeof *y);
    float *got = low_values(p, low, N);
    check_close("low patches", got, rows, N, low_unit(p) / 2);
    free(image), free(rows), free(low), free(got);
    backends_close(&b);
}
END_TEST

START_TEST(rounding_matches) {
    enum { N = 4099 };
    backends b = backends_open(MSX_PRECISION_BF16);
    float *x = random_floats(N, 1);
    for (int i = 0; i < N; i++) x[i] = ldexpf(x[i], i % 200 - 100);
    x[0] = INFINITY, x[1] = -INFINITY, x[2] = 3.4e38f, x[3] = -0.0f;
    msxk_low expected[N], *y = to_device(b.cuda, NULL, sizeof expected);
    float *there = floats_on(b.cuda, x, N);
    RUN(b.cpu, narrow, expected, x, N);
    RUN(b.cuda, narrow, y, there, N);
    msxk_low *got = take(b.cuda, y, sizeof expected);
    ck_assert_int_eq(memcmp(got, expected, sizeof expected), 0);
    RUN(b.cuda, narrow, NULL, NULL, 0);
    free(x), free(got);
    backends_close(&b);
}
END_TEST

START_TEST(data_is_moved_to_the_same_places) {
    enum { MOST = 2 * 9 * 20 * 20 * 33 };
    backends b = backends_open(MSX_PRECISION_FP32);
    float *x = random_floats(MOST, 1), *add = random_floats(MOST, 2), *expected = malloc(4 * MOST);
    float *dx = floats_on(b.cuda, x, MOST), *da = floats_on(b.cuda, add, MOST), *got;
#define COMPARE(n, op, ...)                                                                        \
    do {                                                                                           \
        float *y = expected, *in = x, *more = add;                                                 \
        (void)more;                                                                                \
        RUN(b.cpu, op, __VA_ARGS__);                                                               \
        y = floats_on(b.cuda, NULL, n), in = dx, more = da;                                        \
        RUN(b.cuda, op, __VA_ARGS__);                                                              \
        got = take_floats(b.cuda, y, n);                                                           \
        check_same(#op, got, expected, n);                                                         \
        free(got);                                                                                 \
    } while (0)
    static const int64_t index[] = {1, 0, 1};
    COMPARE(2 * 3 * 35 * 35, patchify, y, in, 2, 7, 5);
    COMPARE(2 * 3 * 40 * 40, patchify, y, in, 2, 5, 8);
    COMPARE(3 * 1001, add_rows, y, in, more, 3, 1001);
    COMPARE(3 * 1000, add_rows, y, in, more, 3, 1000);
    COMPARE(2 * 7 * 7 * 9 * 5, im2col3, y, in, 2, 7, 5);
    COMPARE(1 * 20 * 20 * 9 * 32, im2col3, y, in, 1, 20, 32);
    COMPARE(9 * 3, im2col3, y, in, 1, 1, 3);
    for (int r = 0; r < ODD_SIZES; r++)
        for (int c = 0; c < ODD_SIZES; c++)
            COMPARE(2 * odd_sizes[r] * odd_sizes[c] * 3, transpose, y, in, 2, odd_sizes[r],
                    odd_sizes[c] * 3);
    for (int own = 0; own < 4; own++)
        COMPARE(3 * (5003 + own / 2), gather_add, y, in, index, more, own % 2, 3, 5003 + own / 2);
    COMPARE(2 * 3 * 5 * 4 * 8, shuffle2, y, in, more, 2, 3, 5, 8, MSXK_ACT_RELU);
    COMPARE(2 * 3 * 5 * 4 * 7, shuffle2, y, in, more, 2, 3, 5, 7, MSXK_ACT_RELU);
    COMPARE(2 * 3 * 5 * 4 * 7, unshuffle2, y, in, 2, 3, 5, 7);
    COMPARE(0, patchify, y, in, 0, 7, 5);
    COMPARE(0, add_rows, y, in, more, 3, 0);
    COMPARE(0, gather_add, y, in, index, more, 0, 0, 5);
    COMPARE(0, shuffle2, y, in, more, 0, 3, 5, 7, MSXK_ACT_NONE);
    float *y = floats_on(b.cuda, NULL, 2 * 3 * 5 * 4 * 7);
    RUN(b.cpu, shuffle2, expected, x, add, 2, 3, 5, 7, MSXK_ACT_GELU);
    RUN(b.cuda, shuffle2, y, dx, da, 2, 3, 5, 7, MSXK_ACT_GELU);
    got = take_floats(b.cuda, y, 2 * 3 * 5 * 4 * 7);
    check_close("shuffle2", got, expected, 2 * 3 * 5 * 4 * 7, 1e-6);
    free(got), free(x), free(add), free(expected);
    backends_close(&b);
}
END_TEST

START_TEST(low_neighbourhoods_match) {
    backends b = backends_open(MSX_PRECISION_BF16);
    static const int64_t channels[] = {1, 7, 8, 32};
    for (int c = 0; c < 4; c++) {
        int64_t n = 2 * 5 * 5 * channels[c];
        size_t bytes = (size_t)n * sizeof(msxk_low);
        msxk_low *x = malloc(bytes), *expected = malloc(9 * bytes);
        for (int64_t i = 0; i < n; i++) x[i] = (msxk_low)(i * 40503 + 1);
        msxk_low *dx = to_device(b.cuda, x, bytes), *y = to_device(b.cuda, NULL, 9 * bytes);
        RUN(b.cpu, im2col3_low, expected, x, 2, 5, channels[c]);
        RUN(b.cuda, im2col3_low, y, dx, 2, 5, channels[c]);
        msxk_low *got = take(b.cuda, y, 9 * bytes);
        ck_assert_int_eq(memcmp(got, expected, 9 * bytes), 0);
        free(x), free(expected), free(got);
    }
    backends_close(&b);
}
END_TEST

START_TEST(resampling_has_the_bits_of_the_cpu) {
    static const int64_t sizes[][6] = {/* in, crop, out: heights and widths */
                                       {1, 1, 0, 0, 5, 3},    {3, 4, 0, 0, 7, 9},
                                       {17, 13, 0, 0, 5, 33}, {9, 9, 4, 7, 11, 3},
                                       {33, 33, 1, 33, 2, 1}, {80, 80, 0, 0, 160, 160}};
    backends b = backends_open(MSX_PRECISION_FP32);
    for (int s = 0; s < 6; s++) {
        const int64_t *z = sizes[s];
        int64_t in = 2 * z[0] * z[1], out = 2 * z[4] * z[5];
        float *x = random_floats(in, 1), *expected = random_floats(out, 2);
        float *dx = floats_on(b.cuda, x, in), *y = floats_on(b.cuda, NULL, out);
        RUN(b.cpu, bilinear, expected, x, 2, z[0], z[1], z[2], z[3], z[4], z[5]);
        RUN(b.cuda, bilinear, y, dx, 2, z[0], z[1], z[2], z[3], z[4], z[5]);
        float *got = take_floats(b.cuda, y, out);
        check_same("bilinear", got, expected, out);
        free(x), free(expected), free(got);
    }
    ck_assert_int_eq(b.cuda->k->bilinear(b.cuda->dev, NULL, NULL, 1, 1, 1, 2, 2, 1, 1), MSXK_E_ARG);
    RUN(b.cuda, bilinear, NULL, NULL, 0, 1, 1, 0, 0, 1, 1);
    backends_close(&b);
}
END_TEST

START_TEST(masks_and_counts_match) {
    enum { N = 30011 };
    backends b = backends_open(MSX_PRECISION_FP32);
    float *x = random_floats(N, 1), *expected = malloc(N * sizeof *expected);
    uint8_t *reference = malloc(N), *mask = malloc(N);
    for (int i = 0; i < N; i++) {
        x[i] *= 120;
        reference[i] = (uint8_t)(i % 3 ? 0 : 200);
    }
    float *dx = floats_on(b.cuda, x, N), *y = floats_on(b.cuda, NULL, N);
    uint8_t *dr = to_device(b.cuda, reference, N), *dm = to_device(b.cuda, NULL, N);
    RUN(b.cpu, sigmoid, expected, x, N);
    RUN(b.cuda, sigmoid, y, dx, N);
    RUN(b.cpu, threshold, mask, x, N, 0.5f);
    RUN(b.cuda, threshold, dm, dx, N, 0.5f);
    int64_t counts[4], truth[4];
    for (int64_t n = N; n >= 0; n -= N / 2 + 1) {
        RUN(b.cpu, overlap, truth, reference, mask, n);
        RUN(b.cuda, overlap, counts, dr, dm, n);
        ck_assert_int_eq(memcmp(counts, truth, sizeof counts), 0);
    }
    uint8_t *got_mask = take(b.cuda, dm, N);
    ck_assert_int_eq(memcmp(got_mask, mask, N), 0);
    float *got = take_floats(b.cuda, y, N);
    check_close("sigmoid", got, expected, N, 2e-7);
    RUN(b.cuda, overlap, counts, NULL, NULL, 0);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(counts[i], 0);
    free(x), free(expected), free(reference), free(mask), free(got_mask), free(got);
    backends_close(&b);
}
END_TEST

/* One object: maps of SIDE x SIDE logits onto an image, resampled through a middle of `middle`. */
typedef struct object {
    int64_t maps, height, width, crop_h, crop_w, middle;
    bool broken; /* with logits that are not finite */
} object;
enum { SIDE = 12, MASKS = 4, ANOTHER = 200, IGNORE = 300 };

/* The CPU's ops one by one. */
static void expect_counts(backends *b, const object *o, const float *logits, const uint16_t *labels,
                          int64_t counts[5]) {
    int64_t n = o->height * o->width, area = SIDE * SIDE;
    float *map = malloc((size_t)n * sizeof *map), *middle = random_floats(o->middle * o->middle, 1);
    float low[SIDE * SIDE];
    uint8_t *mask = calloc((size_t)n, 1), *one = malloc((size_t)n), *reference = malloc((size_t)n);
    counts[4] = 0;
    for (int64_t k = 0; k < o->maps; k++) {
        const float *from = logits + k * MASKS * area;
        for (int64_t i = 0; i < area; i++) counts[4] += !isfinite(from[i]);
        if (o->middle) {
            RUN(b->cpu, bilinear, middle, from, 1, SIDE, SIDE, 0, 0, o->middle, o->middle);
            RUN(b->cpu, bilinear, map, middle, 1, o->middle, o->middle, o->crop_h, o->crop_w,
                o->height, o->width);
        } else {
            RUN(b->cpu, sigmoid, low, from, area);
            RUN(b->cpu, bilinear, map, low, 1, SIDE, SIDE, 0, 0, o->height, o->width);
        }
        RUN(b->cpu, threshold, one, map, n, o->middle ? 0.0f : 0.5f);
        for (int64_t i = 0; i < n; i++) mask[i] |= one[i];
    }
    for (int64_t i = 0; i < n; i++) {
        reference[i] = labels[i] == ANOTHER;
        if (labels[i] == IGNORE) mask[i] = 0;
    }
    RUN(b->cpu, overlap, counts, reference, mask, n);
    free(map), free(middle), free(mask), free(one), free(reference);
}

START_TEST(objects_are_counted_as_their_masks_would_be) {
    static const object objects[] = {
        {1, 33, 17, 40, 21, 40, false}, {3, 17, 65, 9, 40, 40, false}, {0, 5, 7, 40, 40, 40, false},
        {2, 64, 64, 40, 40, 40, true},  {1, 1, 1, 1, 1, 40, false},
    };
    enum { N = 5, FLOATS = 3 * MASKS * SIDE * SIDE };
    backends b = backends_open(MSX_PRECISION_FP32);
    msxk_object list[N];
    int64_t expected[N][5], got[N][5];
    uint16_t *there[N];
    float *maps[N];
    for (int i = 0; i < N; i++) {
        object o = objects[i];
        if (_i) o.middle = 0;
        int64_t n = o.height * o.width;
        float *logits = random_floats(FLOATS, (uint32_t)i);
        uint16_t *labels = malloc((size_t)n * sizeof *labels);
        for (int64_t k = 0; k < FLOATS; k++) logits[k] -= 0.3f;
        for (int64_t k = 0; k < n; k++)
            labels[k] = (uint16_t)(k % 7 == 0 ? IGNORE : k % 3 ? ANOTHER : 0);
        if (o.broken) logits[5] = NAN, logits[MASKS * SIDE * SIDE] = INFINITY;
        if (o.broken) logits[SIDE * SIDE] = NAN; /* of another mask: not looked at */
        expect_counts(&b, &o, logits, labels, expected[i]);
        maps[i] = floats_on(b.cuda, logits, FLOATS);
        there[i] = to_device(b.cuda, labels, (size_t)n * sizeof *labels);
        list[i] = (msxk_object){
            maps[i],  o.maps,  MASKS * SIDE * SIDE, there[i], ANOTHER, IGNORE, o.height, o.width,
            o.crop_h, o.crop_w};
        free(logits), free(labels);
    }
    RUN(b.cuda, count_objects, got, list, N, SIDE, _i ? 0 : 40);
    for (int i = 0; i < N; i++)
        for (int c = 0; c < 5; c++)
            ck_assert_msg(got[i][c] == expected[i][c], "object %d: count %d is %lld, not %lld", i,
                          c, (long long)got[i][c], (long long)expected[i][c]);
    RUN(b.cuda, count_objects, got, list, 0, SIDE, 0);
    ck_assert_int_eq(b.cuda->k->count_objects(b.cuda->dev, got, list, 1, 0, 0), MSXK_E_ARG);
    for (int i = 0; i < N; i++) {
        b.cuda->k->release(b.cuda->dev, maps[i]);
        b.cuda->k->release(b.cuda->dev, there[i]);
    }
    backends_close(&b);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: layout");
    TCase *t = tcase_create("ops");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, norms_match);
    tcase_add_loop_test(t, low_norms_and_patches_match, 0, 2);
    tcase_add_test(t, rounding_matches);
    tcase_add_test(t, data_is_moved_to_the_same_places);
    tcase_add_test(t, low_neighbourhoods_match);
    tcase_add_test(t, resampling_has_the_bits_of_the_cpu);
    tcase_add_test(t, masks_and_counts_match);
    tcase_add_loop_test(t, objects_are_counted_as_their_masks_would_be, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
