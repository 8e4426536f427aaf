/* SPDX-License-Identifier: Apache-2.0 */
/* Rebuilding a merged file: equal in every container and type; which byte, tensor or input is not. */
#include "checkpoint/internal.h"
#include "merge/small_sam.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const names[] = {"base", "a", "b"};
static const char plan_text[] = "medsamix: 1\n"
                                "models: [a, b]\n"
                                "groups:\n"
                                "  encoder.0: {method: ties, retain: 0.3}\n"
                                "  neck: {method: slerp, score: {b: 0.9}}\n"
                                "  \"*\": {method: linear, weight: {base: 0.1}}\n";

static msx_ctx *ctx;
static const char *folder;
static char files[3][128], merged[128];
static const char *const paths[] = {files[0], files[1], files[2]};

static void save_model(int i, uint32_t seed) {
    msx_checkpoint *c = small_sam(ctx, 2, 1, seed);
    test_ok(ctx, msx_checkpoint_save(c, files[i], NULL));
    msx_checkpoint_free(c);
}

static void merge(const char *ending, const msx_save_options *options) {
    msx_plan *plan;
    snprintf(merged, sizeof merged, "%s/merged.%s", folder, ending);
    test_ok(ctx, msx_plan_parse(&plan, ctx, plan_text, strlen(plan_text), "plan"));
    test_ok(ctx, msx_merge_files(ctx, plan, paths, names, 3, merged, options, false));
    msx_plan_free(plan);
}

static void set_up(void) {
    ctx = test_ctx();
    folder = test_make_folder();
    for (int i = 0; i < 3; i++) {
        snprintf(files[i], sizeof files[i], "%s/%d.safetensors", folder, i);
        save_model(i, (uint32_t)i + 1);
    }
    merge("safetensors", NULL);
}
static void tear_down(void) {
    test_remove_folder(folder);
    msx_ctx_free(ctx);
}

static msx_merge_check verify(void) {
    msx_merge_check check = {.struct_size = sizeof check};
    test_ok(ctx, msx_merge_verify(&check, ctx, merged, paths, names, 3));
    ck_assert_int_eq(check.equal, check.first_byte < 0);
    return check;
}

START_TEST(what_was_merged_is_equal_in_every_container_type_and_scheme) {
    static const msx_dtype types[] = {MSX_DTYPE_F32, MSX_DTYPE_F16, MSX_DTYPE_BF16, MSX_DTYPE_F64};
    static const char *const endings[] = {"pth", "safetensors"}, *const schemes[] = {"official",
                                                                                     "hf"};
    for (size_t i = 0; i < 16; i++) {
        msx_save_options o = {
            .struct_size = sizeof o, .dtype = types[i / 4], .scheme = schemes[i % 2]};
        merge(endings[i / 2 % 2], &o);
        msx_merge_check check = verify();
        ck_assert_int_eq(check.equal, 1);
        ck_assert_str_eq(check.tensor, "");
    }
}
END_TEST

/* Change one byte of the merged file. */
static void flip(int64_t at) {
    FILE *f = fopen(merged, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, (long)at, SEEK_SET), 0);
    int c = fgetc(f);
    fseek(f, (long)at, SEEK_SET);
    fputc(c ^ 1, f);
    ck_assert_int_eq(fclose(f), 0);
}

static int64_t size_of_merged(void) {
    struct stat st;
    ck_assert_int_eq(stat(merged, &st), 0);
    return st.st_size;
}

START_TEST(a_flipped_bit_is_found_with_its_byte_and_tensor) {
    int64_t last = size_of_merged() - 1;
    flip(last);
    msx_merge_check check = verify();
    ck_assert_int_eq(check.first_byte, last);
    msx_checkpoint *c;
    test_ok(ctx, msx_checkpoint_open(&c, ctx, merged));
    ck_assert_str_eq(check.tensor, msx_checkpoint_name(c, msx_checkpoint_count(c) - 1));
    msx_checkpoint_free(c);
}
END_TEST

/* Read the merged file, let `change` work on it in memory, save it again. */
static void rewrite(void (*change)(msx_checkpoint *c)) {
    msx_checkpoint *from, *to;
    test_ok(ctx, msx_checkpoint_open(&from, ctx, merged));
    test_ok(ctx, msx_checkpoint_create(&to, ctx));
    for (int64_t i = 0; i < msx_checkpoint_count(from); i++) {
        int64_t dims[MSX_MAX_RANK], n = msx_checkpoint_elements(from, i);
        int rank = msx_checkpoint_rank(from, i);
        for (int k = 0; k < rank; k++) dims[k] = msx_checkpoint_dim(from, i, k);
        test_ok(ctx, msx_checkpoint_add(to, msx_checkpoint_name(from, i), rank, dims, NULL));
        test_ok(ctx, msx_checkpoint_read(from, i, msx_checkpoint_data(to, i), n));
    }
    for (int64_t i = 0; i < msx_checkpoint_meta_count(from); i++) {
        const char *key = msx_checkpoint_meta_key(from, i);
        test_ok(ctx, msx_checkpoint_set_meta(to, key, msx_checkpoint_meta(from, key)));
    }
    change(to);
    test_ok(ctx, msx_checkpoint_save(to, merged, NULL));
    msx_checkpoint_free(to);
    msx_checkpoint_free(from);
}

static void change_a_weight(msx_checkpoint *c) {
    msx_checkpoint_data(c, msx_checkpoint_find(c, "image_encoder.neck.2.weight"))[5] += 1;
}
static void add_a_tensor(msx_checkpoint *c) {
    test_ok(ctx, msx_checkpoint_add(c, "extra", 0, NULL, NULL));
}
static void change_the_plan(msx_checkpoint *c) {
    test_ok(ctx, msx_checkpoint_set_meta(c, "medsamix.plan",
                                         "medsamix: 1\ngroups: {neck: {method: ties}}\n"));
}
static void add_metadata(msx_checkpoint *c) {
    test_ok(ctx, msx_checkpoint_set_meta(c, "note", "of another program"));
    test_ok(ctx, msx_checkpoint_set_meta(c, "medsamix.version", "0.0.9"));
}
static void age_the_plan(msx_checkpoint *c) {
    test_ok(ctx, msx_checkpoint_set_meta(c, "medsamix.plan", "medsamix: 2\n"));
}

START_TEST(the_first_tensor_that_differs_is_named_whatever_the_header_says) {
    merge("pth", NULL); /* here a checksum before the data differs first */
    rewrite(change_a_weight);
    msx_merge_check check = verify();
    ck_assert_int_eq(check.equal, 0);
    ck_assert_str_eq(check.tensor, "image_encoder.neck.2.weight");
    merge("safetensors", NULL);
    rewrite(add_a_tensor);
    check = verify();
    ck_assert_int_eq(check.equal, 0);
    ck_assert_str_eq(check.tensor, "extra");
    merge("safetensors", NULL);
    rewrite(change_the_plan);
    check = verify();
    ck_assert_int_eq(check.equal, 0);
    ck_assert_int_eq(check.first_byte, 0); /* the length of the header */
    ck_assert_str_ne(check.tensor, "");
}
END_TEST

START_TEST(metadata_of_others_belongs_to_the_file) {
    rewrite(add_metadata);
    ck_assert_int_eq(verify().equal, 1);
}
END_TEST

START_TEST(inputs_that_are_not_the_recorded_ones_are_named_all) {
    msx_merge_check check = {.struct_size = sizeof check};
    save_model(0, 77);
    save_model(2, 78);
    test_fails(ctx, msx_merge_verify(&check, ctx, merged, paths, names, 3), MSX_E_FORMAT,
               "the SHA-256 differs of base (");
    ck_assert_ptr_nonnull(strstr(msx_ctx_error(ctx), "2.safetensors)"));
    ck_assert_ptr_null(strstr(msx_ctx_error(ctx), "1.safetensors)"));
}
END_TEST

/* What the inputs were is not known, only whether these give the same bytes. */
START_TEST(a_draft_is_compared_with_what_its_inputs_give) {
    const msx_save_options o = {.struct_size = sizeof o, .draft = 1};
    msx_merge_check check = verify();
    ck_assert_int_eq(check.draft, 0);
    merge("pth", &o);
    check = verify();
    ck_assert_int_eq(check.equal, 1);
    ck_assert_int_eq(check.draft, 1);
    merge("safetensors", &o);
    rewrite(add_metadata);
    ck_assert_int_eq(verify().equal, 1);
    save_model(1, 79);
    check = verify();
    ck_assert_int_eq(check.equal, 0);
    ck_assert_int_eq(check.draft, 1);
    ck_assert_str_ne(check.tensor, "");
    test_fails(ctx, msx_merge_verify(&check, ctx, merged, paths, names, 2), MSX_E_NOTFOUND,
               "unknown model of the plan 'b'");
    check = (msx_merge_check){.struct_size = offsetof(msx_merge_check, draft), .draft = 7};
    test_ok(ctx, msx_merge_verify(&check, ctx, merged, paths, names, 3));
    ck_assert_int_eq(check.draft, 7);
}
END_TEST

START_TEST(faults_of_the_call_and_of_the_file_have_a_text) {
    static const char *const more[] = {"base", "a", "b", "c"};
    const char *const four[] = {files[0], files[1], files[2], files[2]};
    msx_merge_check check = {.struct_size = sizeof check};
    test_fails(ctx, msx_merge_verify(&check, ctx, merged, paths, names, 2), MSX_E_NOTFOUND,
               "was merged from a model 'b', which is not given");
    test_fails(ctx, msx_merge_verify(&check, ctx, merged, four, more, 4), MSX_E_NOTFOUND,
               "was not merged from a model 'c'");
    test_fails(ctx, msx_merge_verify(&check, ctx, files[0], paths, names, 3), MSX_E_UNSUPPORTED,
               "carries no plan");
    test_fails(ctx, msx_merge_verify(&check, ctx, NULL, paths, names, 3), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_merge_verify(&check, ctx, merged, paths, names, 1), MSX_E_ARG, "2 to 65");
    ck_assert_int_eq(msx_merge_verify(&check, NULL, merged, paths, names, 3), MSX_E_ARG);
    check.struct_size = 0;
    test_fails(ctx, msx_merge_verify(&check, ctx, merged, paths, names, 3), MSX_E_ARG,
               "struct_size");
    check.struct_size = sizeof check;
    rewrite(age_the_plan);
    test_fails(ctx, msx_merge_verify(&check, ctx, merged, paths, names, 3), MSX_E_UNSUPPORTED,
               "merged.safetensors: medsamix.plan: 1:11: plan version '2'");
}
END_TEST

START_TEST(a_file_that_ends_early_or_late_differs_where_it_ends) {
    msx_checkpoint *c;
    msx__output o;
    test_ok(ctx, msx_checkpoint_open(&c, ctx, files[0]));
    int64_t size = c->file.size;
    char *bytes = malloc((size_t)size + 1);
    ck_assert_ptr_nonnull(bytes);
    test_ok(ctx, msx__file_read(&c->file, 0, bytes, (size_t)size));
    for (int64_t n = size - 1; n <= size + 1; n++) {
        bytes[size] = 0;
        msx__output_compare(&o, ctx, &c->file);
        test_ok(ctx, msx__output_write(&o, bytes, (size_t)n / 2));
        test_ok(ctx, msx__output_write(&o, bytes + n / 2, (size_t)(n - n / 2)));
        test_ok(ctx, msx__output_commit(&o));
        ck_assert_int_eq(o.differs, n == size ? -1 : n < size ? n : size);
        msx__output_discard(&o);
    }
    free(bytes);
    msx_checkpoint_free(c);
}
END_TEST

START_TEST(memory_failures_are_returned) {
    test_allocator a;
    msx_ctx *own;
    int64_t calls = 1;
    flip(size_of_merged() / 2);
    for (int64_t fail_at = -1; fail_at < calls; fail_at += fail_at < 0 ? 2 : 7) {
        msx_merge_check check = {.struct_size = sizeof check};
        test_allocator_init(&a, fail_at, fail_at > 0);
        if (msx_ctx_create(&own, &a.table) == MSX_OK) {
            msx_status status = msx_merge_verify(&check, own, merged, paths, names, 3);
            ck_assert_int_eq(status, fail_at < 0 ? MSX_OK : MSX_E_NOMEM);
            msx_ctx_free(own);
        }
        ck_assert_int_eq(a.live, 0);
        if (fail_at < 0) calls = a.calls;
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify");
    TCase *t = tcase_create("verify");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    suite_add_tcase(s, t);
    tcase_add_test(t, what_was_merged_is_equal_in_every_container_type_and_scheme);
    tcase_add_test(t, a_flipped_bit_is_found_with_its_byte_and_tensor);
    tcase_add_test(t, the_first_tensor_that_differs_is_named_whatever_the_header_says);
    tcase_add_test(t, metadata_of_others_belongs_to_the_file);
    tcase_add_test(t, inputs_that_are_not_the_recorded_ones_are_named_all);
    tcase_add_test(t, a_draft_is_compared_with_what_its_inputs_give);
    tcase_add_test(t, faults_of_the_call_and_of_the_file_have_a_text);
    tcase_add_test(t, a_file_that_ends_early_or_late_differs_where_it_ends);
    tcase_add_test(t, memory_failures_are_returned);
    return test_run(s);
}
