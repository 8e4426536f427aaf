/* SPDX-License-Identifier: Apache-2.0 */
/* lib/model: the steps of automatic mask generation: grids, crops, run lengths, suppression, small regions. */
#include "model/masks.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- grids and crops --------------------------------------------------------------------------------- */

/* numpy.linspace(1 / 2n, 1 - 1 / 2n, n) */
START_TEST(points_lie_at_cell_centres) {
    static const double five[] = {0x1.999999999999ap-4, 0x1.3333333333334p-2, 0x1.0p-1,
                                  0x1.6666666666667p-1, 0x1.ccccccccccccdp-1};
    msx_ctx *ctx = test_ctx();
    double *points;
    test_ok(ctx, msx__grid_make(&points, ctx, 5));
    for (int i = 0; i < 25; i++) {
        ck_assert(points[2 * i] == five[i % 5]);
        ck_assert(points[2 * i + 1] == five[i / 5]);
    }
    msx_free(ctx, points);
    test_ok(ctx, msx__grid_make(&points, ctx, 1));
    ck_assert(points[0] == 0.5 && points[1] == 0.5);
    msx_free(ctx, points);
    msx_ctx_free(ctx);
}
END_TEST

/* From generate_crop_boxes() run by hand in Python. */
START_TEST(crops_are_the_official_ones) {
    static const int64_t wide[][5] = {{0, 0, 100, 80, 0},  {0, 0, 64, 54, 1},    {0, 27, 64, 80, 1},
                                      {37, 0, 100, 54, 1}, {37, 27, 100, 80, 1}, {0, 0, 35, 30, 2},
                                      {0, 17, 35, 47, 2},  {0, 34, 35, 64, 2},   {0, 51, 35, 80, 2},
                                      {22, 0, 57, 30, 2}};
    static const int64_t tall[][5] = {{0, 0, 47, 61, 0},  {0, 0, 32, 39, 1},   {0, 23, 32, 61, 1},
                                      {16, 0, 47, 39, 1}, {16, 23, 47, 61, 1}, {0, 0, 18, 22, 2},
                                      {0, 14, 18, 36, 2}, {0, 28, 18, 50, 2},  {0, 42, 18, 61, 2},
                                      {10, 0, 28, 22, 2}};
    msx_ctx *ctx = test_ctx();
    for (int t = 0; t < 2; t++) {
        const int64_t(*want)[5] = t ? tall : wide;
        msx__crop *crops;
        int64_t n;
        test_ok(ctx, msx__crops_make(&crops, &n, ctx, want[0][2], want[0][3], 2, 512.0 / 1500));
        ck_assert_int_eq(n, 1 + 4 + 16);
        for (int i = 0; i < 10; i++) {
            ck_assert_int_eq(memcmp(crops[i].box, want[i], sizeof crops[i].box), 0);
            ck_assert_int_eq(crops[i].layer, want[i][4]);
        }
        const int64_t last[2][4] = {{66, 51, 100, 80}, {30, 42, 47, 61}};
        ck_assert_int_eq(memcmp(crops[20].box, last[t], sizeof last[t]), 0);
        msx_free(ctx, crops);
        test_ok(ctx, msx__crops_make(&crops, &n, ctx, 3, 9, 0, 0.5));
        ck_assert_int_eq(n, 1);
        msx_free(ctx, crops);
    }
    msx__crop *none;
    int64_t n;
    test_fails(ctx, msx__crops_make(&none, &n, ctx, 3, 90, 2, 512.0 / 1500), MSX_E_SHAPE,
               "too small for 4 x 4 crops");
    ck_assert_ptr_null(none);
    msx_ctx_free(ctx);
}
END_TEST

/* ---- runs -------------------------------------------------------------------------------------------- */

/* A row of a picture a line. */
static void draw(uint8_t *mask, const char *const *rows, int width, int height) {
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) mask[y * width + x] = rows[y][x] == '#';
}

START_TEST(masks_are_runs_down_the_columns) {
    static const char *const rows[] = {"#.##", "..#.", ".##."};
    static const struct {
        int64_t crop[4], width, height;
        uint32_t runs[16];
        int64_t n;
        int64_t box[4];
    } cases[] = {
        /* columns #.. ..# ### #.. */
        {{0, 0, 4, 3}, 4, 3, {0, 1, 4, 5, 2}, 5, {0, 0, 3, 2}},
        /* the same at (1, 2) of 6 x 6 */
        {{1, 2, 5, 5}, 6, 6, {8, 1, 7, 1, 3, 3, 3, 1, 9}, 9, {0, 0, 3, 2}},
    };
    msx_ctx *ctx = test_ctx();
    uint8_t mask[12], back[36];
    draw(mask, rows, 4, 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        msx__runs r;
        int64_t box[4], sum = 0;
        test_ok(ctx,
                msx__runs_encode(&r, ctx, mask, cases[i].crop, cases[i].width, cases[i].height));
        for (int64_t k = 0; k < r.n; k++) sum += r.length[k];
        ck_assert_int_eq(sum, cases[i].width * cases[i].height);
        ck_assert_int_eq(r.n, cases[i].n);
        ck_assert_int_eq(memcmp(r.length, cases[i].runs, (size_t)r.n * sizeof *r.length), 0);
        ck_assert_int_eq(msx__runs_area(&r), 6);
        memset(back, 0, sizeof back);
        msx__runs_decode(&r, back, cases[i].width, cases[i].height);
        for (int64_t y = 0; y < cases[i].height; y++)
            for (int64_t x = 0; x < cases[i].width; x++) {
                int64_t u = x - cases[i].crop[0], v = y - cases[i].crop[1];
                bool in = u >= 0 && v >= 0 && u < 4 && v < 3;
                ck_assert_int_eq(back[y * cases[i].width + x], in ? mask[v * 4 + u] : 0);
            }
        msx__mask_box(mask, 4, 3, box);
        ck_assert_int_eq(memcmp(box, cases[i].box, sizeof box), 0);
        msx_free(ctx, r.length);
    }
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(empty_and_full_masks_are_runs) {
    msx_ctx *ctx = test_ctx();
    uint8_t mask[6] = {0};
    const int64_t crop[4] = {0, 0, 2, 3};
    int64_t box[4];
    msx__runs r;
    test_ok(ctx, msx__runs_encode(&r, ctx, mask, crop, 2, 3));
    ck_assert_int_eq(r.n, 1);
    ck_assert_int_eq(r.length[0], 6);
    ck_assert_int_eq(msx__runs_area(&r), 0);
    msx_free(ctx, r.length);
    msx__mask_box(mask, 2, 3, box);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(box[i], 0);
    memset(mask, 1, sizeof mask);
    test_ok(ctx, msx__runs_encode(&r, ctx, mask, crop, 2, 3));
    ck_assert_int_eq(r.n, 2);
    ck_assert_int_eq(r.length[0], 0);
    ck_assert_int_eq(r.length[1], 6);
    msx_free(ctx, r.length);
    msx_ctx_free(ctx);
}
END_TEST

/* ---- suppression ------------------------------------------------------------------------------------- */

static void check_nms(const int64_t (*boxes)[4], const float *scores, int64_t n, double threshold,
                      const int64_t *want, int64_t n_want) {
    msx_ctx *ctx = test_ctx();
    int64_t keep[16], kept;
    test_ok(ctx, msx__nms(ctx, boxes, scores, n, threshold, keep, &kept));
    ck_assert_int_eq(kept, n_want);
    for (int64_t i = 0; i < kept; i++) ck_assert_int_eq(keep[i], want[i]);
    msx_ctx_free(ctx);
}

START_TEST(the_better_of_overlapping_boxes_stays) {
    /* IoU of the first two: 81 / 119 = 0.68; the third touches both, the fourth is elsewhere */
    static const int64_t boxes[][4] = {
        {0, 0, 10, 10}, {1, 1, 11, 11}, {0, 0, 10, 12}, {50, 50, 60, 60}};
    check_nms(boxes, (float[]){.5f, .9f, .7f, .6f}, 4, 0.7, (int64_t[]){1, 2, 3}, 3);
    check_nms(boxes, (float[]){.5f, .9f, .7f, .6f}, 4, 0.5, (int64_t[]){1, 3}, 2);
    check_nms(boxes, (float[]){.5f, .9f, .7f, .6f}, 4, 1, (int64_t[]){1, 2, 3, 0}, 4);
    check_nms(boxes, (float[]){1, 1, 1, 1}, 4, 0.7, (int64_t[]){0, 1, 3}, 3); /* ties: the first */
    check_nms(boxes, (float[]){.5f, .9f, NAN, .6f}, 4, 0.7, (int64_t[]){2, 1, 3}, 3);
    check_nms(boxes, NULL, 0, 0.7, NULL, 0);
}
END_TEST

/* Exactly at the threshold a box stays, as 4/5 in float32 is compared with 0.8 in double. */
START_TEST(boxes_at_the_threshold_and_without_area) {
    static const int64_t boxes[][4] = {{0, 0, 10, 10}, {0, 0, 10, 8}, {3, 3, 3, 9}, {3, 3, 3, 9}};
    check_nms(boxes, (float[]){4, 3, 2, 1}, 4, (double)0.8f, (int64_t[]){0, 1, 2, 3}, 4);
    check_nms(boxes, (float[]){4, 3, 2, 1}, 4, 0.8, (int64_t[]){0, 2, 3}, 3);
}
END_TEST

/* ---- small regions ------------------------------------------------------------------------------------- */

static void check_regions(const char *const *rows, const char *const *want, int height,
                          int64_t least) {
    int width = (int)strlen(rows[0]);
    msx_ctx *ctx = test_ctx();
    uint8_t mask[200], expected[200];
    bool changed;
    draw(mask, rows, width, height);
    draw(expected, want, width, height);
    bool differ = memcmp(mask, expected, (size_t)(width * height)) != 0;
    test_ok(ctx, msx__remove_small_regions(ctx, mask, width, height, least, &changed));
    for (int i = 0; i < width * height; i++)
        ck_assert_msg(mask[i] == expected[i], "pixel %d,%d is %d", i % width, i / width, mask[i]);
    ck_assert_int_eq(changed, differ);
    msx_ctx_free(ctx);
}

START_TEST(small_holes_and_islands_go) {
    static const char *const rows[] = {"..........", ".#####....", ".#...#..#.",
                                       ".#####...#", "..........", "........#."};
    static const char *const filled[] = {"..........", ".#####....", ".#####..#.",
                                         ".#####...#", "..........", "........#."};
    static const char *const clean[] = {"..........", ".#####....", ".#####....",
                                        ".#####....", "..........", ".........."};
    check_regions(rows, rows, 6, 1);
    check_regions(rows,
                  (const char *const[]){"..........", ".#####....", ".#...#..#.", ".#####...#",
                                        "..........", ".........."},
                  6, 2);                 /* the single pixel; diagonal neighbours belong together */
    check_regions(rows, clean, 6, 4);    /* the hole of 3 and both islands */
    check_regions(filled, clean, 6, 15); /* 15 pixels are enough */
    check_regions(filled, clean, 6, 16); /* all are too small: the largest stays */
}
END_TEST

START_TEST(the_outside_is_a_hole_too_when_it_is_small) {
    static const char *const rows[] = {"####", "####", "###."}, *const full[] = {"####", "####",
                                                                                 "####"};
    check_regions(rows, full, 3, 2);
    check_regions((const char *const[]){"....", "....", "...."},
                  (const char *const[]){"....", "....", "...."}, 3, 12);
    check_regions((const char *const[]){"....", "....", "...."}, full, 3, 13);
}
END_TEST

/* Equal islands: the one whose block of 2 x 2 pixels comes first, though the other's pixel does. */
START_TEST(of_equal_islands_the_first_block_wins) {
    check_regions((const char *const[]){"....#.", "#.....", "......"},
                  (const char *const[]){"......", "#.....", "......"}, 3, 5);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("masks");
    TCase *t = tcase_create("masks");
    tcase_add_test(t, points_lie_at_cell_centres);
    tcase_add_test(t, crops_are_the_official_ones);
    tcase_add_test(t, masks_are_runs_down_the_columns);
    tcase_add_test(t, empty_and_full_masks_are_runs);
    tcase_add_test(t, the_better_of_overlapping_boxes_stays);
    tcase_add_test(t, boxes_at_the_threshold_and_without_area);
    tcase_add_test(t, small_holes_and_islands_go);
    tcase_add_test(t, the_outside_is_a_hole_too_when_it_is_small);
    tcase_add_test(t, of_equal_islands_the_first_block_wins);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
