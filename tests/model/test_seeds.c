/* SPDX-License-Identifier: Apache-2.0 */
/* lib/model: prompts on slices: given by calls, read from files, taken from labels. */
#include "model/seeds.h"
#include "support/support.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *corpus(const char *name) {
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", test_path("fuzz/corpus/boxes"), name);
    return path;
}

START_TEST(files_of_boxes_are_read) {
    msx_ctx *ctx = test_ctx();
    msx_seeds *s;
    test_ok(ctx, msx_seeds_create(&s, ctx));
    test_ok(ctx, msx_seeds_read(s, corpus("valid_header_and_labels.csv")));
    ck_assert_int_eq(msx_seeds_count(s), 3);
    const msx__seed *last = s->seeds + 2;
    ck_assert_int_eq(last->label, 65535);
    ck_assert_int_eq(last->first, 7);
    ck_assert_int_eq(last->last, 7);
    ck_assert(last->at[0] == 1.5 && last->at[1] == 2.5 && last->at[2] == 30.25 &&
              last->at[3] == 40);
    ck_assert_int_eq(last->line, 4);
    test_ok(ctx, msx_seeds_read(s, corpus("valid_no_header_no_labels.csv")));
    ck_assert_int_eq(msx_seeds_count(s), 5);
    ck_assert_int_eq(s->seeds[4].label, 1);
    test_ok(ctx, msx_seeds_read(s, corpus("valid_spreadsheet.csv")));
    ck_assert_int_eq(msx_seeds_count(s), 6);
    ck_assert_int_eq(s->seeds[5].first, 3);
    ck_assert(s->seeds[5].at[0] == 10);
    msx_seeds_free(s);
    msx_ctx_free(ctx);
}
END_TEST

static const struct reject {
    const char *name, *text;
} rejects[] = {
    {"reject_empty", ": has no box in it"},
    {"reject_only_header", ": has no box in it"},
    {"reject_only_blank_lines", ": has no box in it"},
    {"reject_header_twice", ":2:1: slice 'slice' is not a number"},
    {"reject_header_of_other_columns", ":1:1: slice 'z' is not a number"},
    {"reject_too_few_fields", ":1:1: give slice,x0,y0,x1,y1 or"},
    {"reject_too_many_fields", ":1:1: more than slice,x0,y0,x1,y1,label"},
    {"reject_semicolons", ":1:1: give slice,x0,y0,x1,y1 or"},
    {"reject_field_too_long", ":1:9: a field of more than 47 bytes"},
    {"reject_not_a_number", ":1:9: y1 'five' is not a number"},
    {"reject_empty_field", ":1:5: y0 '' is not a number"},
    {"reject_nan", ":1:3: x0 'nan' is not a number"},
    {"reject_infinity", ":1:7: x1 'inf' is not a number"},
    {"reject_huge_number", ":1:7: x1 '1e999' is not a number"},
    {"reject_negative_slice", ":1:1: a slice is a whole number from 0 on"},
    {"reject_fraction_of_a_slice", ":1:1: a slice is a whole number from 0 on"},
    {"reject_slice_too_large", ":1:1: a slice is a whole number from 0 on"},
    {"reject_label_zero", ":1:11: a label is a whole number from 1 to 65535"},
    {"reject_label_too_large", ":1:11: a label is a whole number from 1 to 65535"},
    {"reject_fraction_of_a_label", ":1:11: a label is a whole number from 1 to 65535"},
    {"reject_corners_swapped_x", ":1:3: a box has x0 <= x1 and y0 <= y1"},
    {"reject_corners_swapped_y", ":1:3: a box has x0 <= x1 and y0 <= y1"},
    {"reject_zero_byte", ":2:1: a zero byte; this is no text file"},
    {"reject_binary", ":1:1: "},
    {"reject_second_line_bad", ":2:1: give slice,x0,y0,x1,y1 or"},
};
enum { N_REJECTS = sizeof rejects / sizeof *rejects };

START_TEST(bad_files_are_refused_with_the_place_and_add_nothing) {
    msx_ctx *ctx = test_ctx();
    msx_seeds *s;
    const double box[4] = {1, 2, 3, 4};
    char name[96];
    test_ok(ctx, msx_seeds_create(&s, ctx));
    test_ok(ctx, msx_seeds_box(s, 1, 0, 0, box));
    for (int i = 0; i < N_REJECTS; i++) {
        snprintf(name, sizeof name, "%s.csv", rejects[i].name);
        test_fails(ctx, msx_seeds_read(s, corpus(name)), MSX_E_FORMAT, rejects[i].text);
        ck_assert_ptr_nonnull(strstr(msx_ctx_error(ctx), name));
        ck_assert_int_eq(msx_seeds_count(s), 1);
    }
    test_fails(ctx, msx_seeds_read(s, "/nowhere.csv"), MSX_E_IO, "/nowhere.csv");
    msx_seeds_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(every_file_of_the_corpus_is_tested) {
    int files = 0;
    DIR *d = opendir(test_path("fuzz/corpus/boxes"));
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) files += !strncmp(e->d_name, "reject_", 7);
    closedir(d);
    ck_assert_int_eq(files, N_REJECTS);
}
END_TEST

START_TEST(calls_are_checked) {
    msx_ctx *ctx = test_ctx();
    msx_seeds *s;
    const double good[4] = {1, 2, 3, 4}, swapped[4] = {3, 2, 1, 4}, nan_[4] = {NAN, 2, 3, 4};
    test_ok(ctx, msx_seeds_create(&s, ctx));
    test_fails(ctx, msx_seeds_box(s, 0, 0, 0, good), MSX_E_ARG, "label 0 of an object");
    test_fails(ctx, msx_seeds_box(s, 65536, 0, 0, good), MSX_E_ARG, "outside 1 to 65535");
    test_fails(ctx, msx_seeds_box(s, 1, -1, 0, good), MSX_E_ARG, "slices count from 0");
    test_fails(ctx, msx_seeds_box(s, 1, 3, 2, good), MSX_E_ARG, "slices 3 to 2 are none");
    test_fails(ctx, msx_seeds_box(s, 1, 0, 0, swapped), MSX_E_ARG, "x0 <= x1");
    test_fails(ctx, msx_seeds_box(s, 1, 0, 0, nan_), MSX_E_ARG, "x0 <= x1");
    test_fails(ctx, msx_seeds_box(s, 1, 0, 0, NULL), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_seeds_point(s, 1, 0, 1, INFINITY, 1), MSX_E_ARG, "is not finite");
    test_fails(ctx, msx_seeds_point(s, 1, 0, 1, 1, 2), MSX_E_ARG, "1 is inside, 0 outside");
    ck_assert_int_eq(msx_seeds_count(s), 0);
    ck_assert_int_eq(msx_seeds_count(NULL), 0);
    msx_seeds_free(s);
    msx_seeds_free(NULL);
    msx_ctx_free(ctx);
}
END_TEST

/* Labels 2 and 300 on slice 1, 300 in two parts on slice 3. */
static msx_slices *make_labels(msx_ctx *ctx, const char *folder) {
    const int64_t dim[3] = {6, 5, 4};
    msx_volume *v;
    msx_slices *labels;
    char path[128];
    test_ok(ctx, msx_volume_create(&v, ctx, dim, NULL));
    float *at = msx_volume_data(v);
    at[1 + 6 * (2 + 5 * 1)] = at[2 + 6 * (4 + 5 * 1)] = 2;
    at[5 + 6 * (0 + 5 * 1)] = 300;
    at[0 + 6 * (1 + 5 * 3)] = at[4 + 6 * (3 + 5 * 3)] = 300;
    snprintf(path, sizeof path, "%s/labels.nii", folder);
    test_ok(ctx, msx_volume_save_labels(v, path));
    msx_volume_free(v);
    test_ok(ctx, msx_slices_load_labels(&labels, ctx, path, "k", folder));
    return labels;
}

START_TEST(labels_give_tight_boxes_per_slice) {
    static const struct {
        int label, slice;
        double box[4];
    } want[] = {{2, 1, {1, 2, 2, 4}}, {300, 1, {5, 0, 5, 0}}, {300, 3, {0, 1, 4, 3}}};
    msx_ctx *ctx = test_ctx();
    const char *folder = test_make_folder();
    msx_slices *labels = make_labels(ctx, folder), *empty, *real;
    msx_seeds *s;
    test_ok(ctx, msx_seeds_create(&s, ctx));
    test_ok(ctx, msx_seeds_labels(s, labels));
    ck_assert_int_eq(msx_seeds_count(s), 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(s->seeds[i].label, want[i].label);
        ck_assert_int_eq(s->seeds[i].first, want[i].slice);
        ck_assert_int_eq(s->seeds[i].last, want[i].slice);
        for (int k = 0; k < 4; k++) ck_assert(s->seeds[i].at[k] == want[i].box[k]);
    }
    test_ok(ctx, msx_slices_create_like(&empty, labels, MSX_PIXEL_U8));
    test_ok(ctx, msx_slices_create_like(&real, labels, MSX_PIXEL_F32));
    test_fails(ctx, msx_seeds_labels(s, empty), MSX_E_FORMAT, "no label at all");
    test_fails(ctx, msx_seeds_labels(s, real), MSX_E_ARG, "8 or 16 bit");
    ck_assert_int_eq(msx_seeds_count(s), 3);
    msx_slices_free(empty);
    msx_slices_free(real);
    msx_slices_free(labels);
    msx_seeds_free(s);
    test_remove_folder(folder);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(running_out_of_memory_is_returned_and_leaks_nothing) {
    const char *folder = test_make_folder();
    for (int64_t fail_at = 0, done = 0; !done; fail_at++) {
        ck_assert_int_lt(fail_at, 200);
        test_allocator a;
        msx_ctx *ctx;
        msx_seeds *s = NULL;
        test_allocator_init(&a, -1, true);
        ck_assert_int_eq(msx_ctx_create(&ctx, &a.table), MSX_OK);
        msx_slices *labels = make_labels(ctx, folder);
        a.fail_at = a.calls + fail_at;
        msx_status status = msx_seeds_create(&s, ctx);
        for (int i = 0; status == MSX_OK && i < 8; i++) {
            status = msx_seeds_read(s, corpus("valid_header_and_labels.csv"));
            if (status == MSX_OK) status = msx_seeds_labels(s, labels);
        }
        if (status < 0) ck_assert_int_eq(status, MSX_E_NOMEM);
        done = status == MSX_OK;
        msx_seeds_free(s);
        msx_slices_free(labels);
        msx_ctx_free(ctx);
        ck_assert_int_eq(a.live, 0);
    }
    test_remove_folder(folder);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("seeds");
    TCase *t = tcase_create("seeds");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, files_of_boxes_are_read);
    tcase_add_test(t, bad_files_are_refused_with_the_place_and_add_nothing);
    tcase_add_test(t, every_file_of_the_corpus_is_tested);
    tcase_add_test(t, calls_are_checked);
    tcase_add_test(t, labels_give_tight_boxes_per_slice);
    tcase_add_test(t, running_out_of_memory_is_returned_and_leaks_nothing);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
