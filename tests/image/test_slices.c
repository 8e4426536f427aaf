/* SPDX-License-Identifier: Apache-2.0 */
/* lib/image: volumes slice by slice hold what whole volumes hold, along every axis and for every
 * rule; what is written are the same bytes; nothing is left in the scratch folder. */
#include "support/support.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *const axes[] = {"i", "j", "k"};

static char folder[64], source[128];

/* A volume of numbers from 0 to `most` in a file of the folder. */
static void make_source(msx_ctx *ctx, const char *name, const int64_t dim[3], unsigned most) {
    int64_t n = dim[0] * dim[1] * dim[2];
    float *data = malloc((size_t)n * sizeof *data);
    uint32_t state = 12345;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (float)((state >> 8) % (most + 1));
    }
    data[n - 1] = (float)most;
    msx_volume *v;
    strcpy(folder, test_make_folder());
    snprintf(source, sizeof source, "%s/%s", folder, name);
    test_ok(ctx, msx_volume_create(&v, ctx, dim, data));
    test_ok(ctx, msx_volume_save_labels(v, source));
    msx_volume_free(v);
    free(data);
}

static void remove_source(void) {
    int entries = 0;
    DIR *d = opendir(folder);
    ck_assert_ptr_nonnull(d);
    while (readdir(d)) entries++;
    closedir(d);
    ck_assert_int_eq(entries, 2 + 1); /* ".", ".." and the source: no scratch file was left */
    test_remove_folder(folder);
}

static void expect_same(msx_ctx *ctx, const msx_volume *v, const msx_slices *s, msx_axis axis) {
    ck_assert_int_eq(msx_slices_axis(s), axis);
    ck_assert_int_eq(msx_slices_count(s), msx_volume_dim(v, (int)axis));
    for (int64_t i = msx_slices_count(s) - 1; i >= 0; i--) { /* backwards: any order will do */
        msx_image *want, *got;
        test_ok(ctx, msx_volume_slice(&want, v, axis, i));
        test_ok(ctx, msx_slices_read(&got, s, i));
        ck_assert_int_eq(msx_image_width(got), msx_image_width(want));
        ck_assert_int_eq(msx_image_height(got), msx_image_height(want));
        ck_assert_int_eq(msx_image_width(got), msx_slices_width(s));
        ck_assert_int_eq(msx_image_height(got), msx_slices_height(s));
        const float *w = msx_image_data(want);
        int64_t n = msx_image_width(want) * msx_image_height(want), same = 0;
        bool narrow = msx_image_type(got) == MSX_PIXEL_U8;
        for (int64_t at = 0; at < n; at++)
            same += w[at] == (narrow ? ((const uint8_t *)msx_image_data(got))[at]
                                     : ((const uint16_t *)msx_image_data(got))[at]);
        ck_assert_int_eq(same, n);
        msx_image_free(want);
        msx_image_free(got);
    }
}

static const struct shape {
    int64_t dim[3];
    const char *name;
} shapes[] = {
    {{1, 1, 1}, "one.nii"},      {{5, 4, 3}, "small.nii.gz"},       {{7, 1, 9}, "flat.nii"},
    {{1, 33, 2}, "thin.nii.gz"}, {{300, 200, 40}, "blocks.nii.gz"}, /* more than one block of planes */
};

START_TEST(every_axis_and_rule_gives_the_values_of_the_whole_volume) {
    static const char *const rules[] = {"mr", "minmax", "ct:300,200"};
    msx_ctx *ctx = test_ctx();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        make_source(ctx, shapes[i].name, shapes[i].dim, 1000);
        for (int axis = 0; axis < 3; axis++)
            for (int rule = 0; rule < 3; rule++) {
                msx_volume *v;
                msx_slices *s;
                test_ok(ctx, msx_volume_load(&v, ctx, source));
                test_ok(ctx, msx_volume_window(v, rules[rule]));
                test_ok(ctx, msx_slices_load(&s, ctx, source, axes[axis], rules[rule], folder));
                expect_same(ctx, v, s, (msx_axis)axis);
                test_ok(ctx, msx_volume_same_space(v, "a", msx_slices_space(s), "b"));
                ck_assert_ptr_null(msx_volume_data(msx_slices_space(s)));
                msx_slices_free(s);
                msx_volume_free(v);
            }
        remove_source();
    }
    msx_ctx_free(ctx);
}
END_TEST

static void expect_equal_files(const char *a, const char *b) {
    char *bytes[2];
    long n[2];
    const char *paths[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(paths[i], "rb");
        ck_assert_ptr_nonnull(f);
        fseek(f, 0, SEEK_END);
        n[i] = ftell(f);
        rewind(f);
        bytes[i] = malloc((size_t)n[i]);
        ck_assert_int_eq((long)fread(bytes[i], 1, (size_t)n[i], f), n[i]);
        fclose(f);
    }
    ck_assert_int_eq(n[0], n[1]);
    ck_assert_int_eq(memcmp(bytes[0], bytes[1], (size_t)n[0]), 0);
    free(bytes[0]);
    free(bytes[1]);
}

START_TEST(labels_are_read_written_and_kept_with_their_space) {
    msx_ctx *ctx = test_ctx();
    char path[160];
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int axis = 0; axis < 3; axis++) {
            make_source(ctx, shapes[i].name, shapes[i].dim, axis == 0 ? 255 : 40000);
            msx_volume *v;
            msx_slices *labels, *copy;
            test_ok(ctx, msx_volume_load(&v, ctx, source));
            test_ok(ctx, msx_slices_load_labels(&labels, ctx, source, axes[axis], folder));
            expect_same(ctx, v, labels, (msx_axis)axis);
            test_ok(ctx, msx_slices_create_like(&copy, labels, MSX_PIXEL_U16));
            for (int64_t k = 0; k < msx_slices_count(labels); k++) {
                msx_image *slice;
                test_ok(ctx, msx_slices_read(&slice, labels, k));
                test_ok(ctx, msx_slices_write(copy, k, slice));
                msx_image_free(slice);
            }
            snprintf(path, sizeof path, "%s/w_%s", folder, shapes[i].name);
            test_ok(ctx, msx_slices_save_labels(copy, path));
            expect_equal_files(source, path);
            unlink(path);
            msx_slices_free(labels);
            msx_slices_free(copy);
            msx_volume_free(v);
            remove_source();
        }
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(slices_not_written_are_zeros_and_eight_bits_are_saved_as_labels) {
    msx_ctx *ctx = test_ctx();
    make_source(ctx, "a.nii", (const int64_t[]){3, 4, 5}, 200);
    msx_slices *s, *narrow;
    msx_image *slice;
    char path[160];
    test_ok(ctx, msx_slices_load(&s, ctx, source, "j", "none", folder));
    test_ok(ctx, msx_slices_create_like(&narrow, s, MSX_PIXEL_U8));
    test_ok(ctx, msx_slices_read(&slice, s, 2));
    test_ok(ctx, msx_slices_write(narrow, 2, slice));
    snprintf(path, sizeof path, "%s/narrow.nii", folder);
    test_ok(ctx, msx_slices_save_labels(narrow, path));
    msx_volume *v, *w;
    test_ok(ctx, msx_volume_load(&v, ctx, source));
    test_ok(ctx, msx_volume_load(&w, ctx, path));
    for (int64_t i = 0; i < 60; i++)
        ck_assert(msx_volume_data(w)[i] == (i / 3 % 4 == 2 ? msx_volume_data(v)[i] : 0));
    unlink(path);
    msx_volume_free(v);
    msx_volume_free(w);
    msx_image_free(slice);
    msx_slices_free(narrow);
    msx_slices_free(s);
    remove_source();
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(mistakes_are_refused_with_a_text) {
    msx_ctx *ctx = test_ctx();
    make_source(ctx, "a.nii", (const int64_t[]){3, 4, 5}, 300);
    msx_slices *s = NULL, *f32 = NULL;
    msx_image *slice = NULL, *narrow = NULL;
    test_fails(ctx, msx_slices_load(&s, ctx, source, "k", "mri", folder), MSX_E_NOTFOUND, "mr");
    test_fails(ctx, msx_slices_load(&s, ctx, source, "z", "mr", folder), MSX_E_NOTFOUND,
               "slice axis 'z'");
    test_fails(ctx, msx_slices_load(&s, ctx, source, "k", "none", folder), MSX_E_ARG,
               "is outside 0 to 255");
    test_fails(ctx, msx_slices_load(&s, ctx, source, "k", "mr", "/nowhere"), MSX_E_IO,
               "/nowhere: a scratch file cannot be made");
    test_fails(ctx, msx_slices_load(&s, ctx, "/nowhere.nii", "k", "mr", folder), MSX_E_IO,
               "/nowhere.nii");
    ck_assert_int_eq(msx_slices_load(&s, NULL, source, "k", "mr", folder), MSX_E_ARG);
    ck_assert_ptr_null(s);
    test_ok(ctx, msx_slices_load(&s, ctx, source, "k", "mr", folder));
    test_fails(ctx, msx_slices_read(&slice, s, 5), MSX_E_ARG, "slice 5 is outside 0 to 4");
    test_fails(ctx, msx_slices_read(&slice, s, -1), MSX_E_ARG, "outside");
    test_ok(ctx, msx_image_create(&narrow, ctx, 3, 3, 1, MSX_PIXEL_U8, NULL));
    test_fails(ctx, msx_slices_write(s, 0, narrow), MSX_E_SHAPE, "3 x 4 pixels, the image 3 x 3");
    msx_image_free(narrow);
    test_ok(ctx, msx_image_create(&narrow, ctx, 3, 4, 1, MSX_PIXEL_U16, NULL));
    test_fails(ctx, msx_slices_write(s, 0, narrow), MSX_E_ARG, "of another type");
    test_ok(ctx, msx_slices_create_like(&f32, s, MSX_PIXEL_F32));
    test_fails(ctx, msx_slices_save_labels(f32, source), MSX_E_ARG, "float32");
    test_fails(ctx, msx_volume_slice(&slice, msx_slices_space(s), MSX_AXIS_K, 0), MSX_E_ARG,
               "without voxels");
    test_fails(ctx, msx_volume_save_labels(msx_slices_space(s), source), MSX_E_ARG,
               "without voxels");
    msx_ctx_cancel(ctx);
    msx_slices *stopped;
    test_fails(ctx, msx_slices_load(&stopped, ctx, source, "k", "mr", folder), MSX_E_CANCELLED, "");
    msx_image_free(narrow);
    msx_slices_free(f32);
    msx_slices_free(s);
    msx_slices_free(NULL);
    remove_source();
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(a_full_disk_is_said) {
    msx_ctx *ctx = test_ctx();
    make_source(ctx, "a.nii", (const int64_t[]){64, 64, 64}, 255);
    struct rlimit before, small = {4096, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    msx_slices *s;
    msx_status status = msx_slices_load(&s, ctx, source, "k", "mr", folder);
    setrlimit(RLIMIT_FSIZE, &before);
    test_fails(ctx, status, MSX_E_IO, "a scratch file cannot be");
    remove_source();
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(running_out_of_memory_is_returned_and_leaks_nothing) {
    msx_ctx *plain = test_ctx();
    make_source(plain, "a.nii.gz", (const int64_t[]){6, 5, 4}, 300);
    char path[160];
    snprintf(path, sizeof path, "%s/out.nii.gz", folder);
    for (int64_t fail_at = 0, done = 0; !done; fail_at++) {
        ck_assert_int_lt(fail_at, 400);
        test_allocator a;
        test_allocator_init(&a, -1, true);
        msx_ctx *ctx;
        ck_assert_int_eq(msx_ctx_create(&ctx, &a.table), MSX_OK);
        a.fail_at = a.calls + fail_at;
        msx_slices *s = NULL, *labels = NULL, *like = NULL;
        msx_image *slice = NULL;
        msx_status status = msx_slices_load(&s, ctx, source, "i", "mr", folder);
        if (status == MSX_OK) status = msx_slices_load_labels(&labels, ctx, source, "i", folder);
        if (status == MSX_OK) status = msx_slices_create_like(&like, s, MSX_PIXEL_U16);
        if (status == MSX_OK) status = msx_slices_read(&slice, labels, 3);
        if (status == MSX_OK) status = msx_slices_write(like, 3, slice);
        if (status == MSX_OK) status = msx_slices_save_labels(like, path);
        if (status == MSX_OK)
            done = 1;
        else
            ck_assert_int_eq(status, MSX_E_NOMEM);
        msx_image_free(slice);
        msx_slices_free(s);
        msx_slices_free(labels);
        msx_slices_free(like);
        msx_ctx_free(ctx);
        ck_assert_int_eq(a.live, 0);
    }
    unlink(path);
    remove_source();
    msx_ctx_free(plain);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("slices");
    TCase *t = tcase_create("slices");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, every_axis_and_rule_gives_the_values_of_the_whole_volume);
    tcase_add_test(t, labels_are_read_written_and_kept_with_their_space);
    tcase_add_test(t, slices_not_written_are_zeros_and_eight_bits_are_saved_as_labels);
    tcase_add_test(t, mistakes_are_refused_with_a_text);
    tcase_add_test(t, a_full_disk_is_said);
    tcase_add_test(t, running_out_of_memory_is_returned_and_leaks_nothing);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
