/* SPDX-License-Identifier: Apache-2.0 */
/* Writing checkpoints and reading them back. */
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static msx_ctx *ctx;
static const char *folder;
static char path_a[200], path_b[200];

static void setup(void) {
    ctx = test_ctx();
    folder = test_make_folder();
}
static void teardown(void) {
    test_remove_folder(folder);
    msx_ctx_free(ctx);
}

static const char *in_folder(char *out, const char *name) {
    snprintf(out, 200, "%s/%s", folder, name);
    return out;
}

static msx_checkpoint *open_path(const char *path) {
    msx_checkpoint *c;
    test_ok(ctx, msx_checkpoint_open(&c, ctx, path));
    return c;
}

static void expect_equal(msx_checkpoint *a, msx_checkpoint *b) {
    ck_assert_int_eq(msx_checkpoint_count(a), msx_checkpoint_count(b));
    for (int64_t i = 0; i < msx_checkpoint_count(a); i++) {
        const char *name = msx_checkpoint_name(a, i);
        int64_t n, m;
        ck_assert_str_eq(msx_checkpoint_name(b, i), name); /* also the same order */
        ck_assert_int_eq(msx_checkpoint_rank(a, i), msx_checkpoint_rank(b, i));
        for (int k = 0; k < msx_checkpoint_rank(a, i); k++)
            ck_assert_int_eq(msx_checkpoint_dim(a, i, k), msx_checkpoint_dim(b, i, k));
        float *x = test_tensor(a, name, &n), *y = test_tensor(b, name, &m);
        ck_assert_msg(n == m && !memcmp(x, y, (size_t)n * sizeof *x), "%s differs", name);
        free(x);
        free(y);
    }
}

static char *whole(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*n + 1);
    ck_assert_uint_eq(fread(data, 1, *n, f), *n);
    fclose(f);
    return data;
}

static const char *const endings[] = {"x.pth", "x.pt", "x.safetensors"};

START_TEST(what_is_written_is_read_back) {
    msx_checkpoint *golden = open_path(test_path("golden/a/model.safetensors"));
    test_ok(ctx, msx_checkpoint_set_meta(golden, "medsamix.plan", "line 1\nline \"2\" \xc3\xa4\n"));
    test_ok(ctx, msx_checkpoint_set_meta(golden, "medsamix.version", "0.1"));
    test_ok(ctx, msx_checkpoint_save(golden, in_folder(path_a, endings[_i]), NULL));
    msx_checkpoint *c = open_path(path_a);
    ck_assert_str_eq(msx_checkpoint_container(c), _i < 2 ? "torch zip" : "safetensors");
    expect_equal(golden, c);
    ck_assert_int_eq(msx_checkpoint_meta_count(c), 2);
    ck_assert_str_eq(msx_checkpoint_meta(c, "medsamix.plan"), "line 1\nline \"2\" \xc3\xa4\n");
    msx_checkpoint_free(c);
    msx_checkpoint_free(golden);
}
END_TEST

START_TEST(equal_checkpoints_give_equal_files) {
    size_t n, m;
    char name_a[32], name_b[32];
    snprintf(name_a, sizeof name_a, "a%s", endings[_i]);
    snprintf(name_b, sizeof name_b, "b%s", endings[_i]);
    msx_checkpoint *golden = open_path(test_path("golden/a/model.safetensors"));
    test_ok(ctx, msx_checkpoint_set_meta(golden, "b", "1"));
    test_ok(ctx, msx_checkpoint_set_meta(golden, "a", "2"));
    test_ok(ctx, msx_checkpoint_save(golden, in_folder(path_a, name_a), NULL));
    msx_checkpoint *c = open_path(path_a);
    test_ok(ctx, msx_checkpoint_save(c, in_folder(path_b, name_b), NULL));
    char *x = whole(path_a, &n), *y = whole(path_b, &m);
    ck_assert(n == m && !memcmp(x, y, n));
    free(x);
    free(y);
    msx_checkpoint_free(c);
    msx_checkpoint_free(golden);
}
END_TEST

START_TEST(a_file_may_be_written_over_itself) {
    msx_checkpoint *golden = open_path(test_path("golden/a/model.safetensors"));
    test_ok(ctx, msx_checkpoint_save(golden, in_folder(path_a, endings[_i]), NULL));
    msx_checkpoint *c = open_path(path_a);
    test_ok(ctx, msx_checkpoint_save(c, path_a, NULL));
    msx_checkpoint *d = open_path(path_a);
    expect_equal(golden, d);
    expect_equal(golden, c); /* still reads the file it opened */
    msx_checkpoint_free(golden);
    msx_checkpoint_free(c);
    msx_checkpoint_free(d);
}
END_TEST

START_TEST(narrow_types_are_rounded_once) {
    static const struct {
        msx_dtype dtype;
        double bound; /* of the relative error */
    } types[] = {{MSX_DTYPE_F16, 0x1p-11}, {MSX_DTYPE_BF16, 0x1p-8}, {MSX_DTYPE_F64, 0}};
    msx_checkpoint *golden = open_path(test_path("golden/a/model.safetensors"));
    for (size_t t = 0; t < 3; t++) {
        msx_save_options o = {.struct_size = sizeof o, .dtype = types[t].dtype};
        test_ok(ctx, msx_checkpoint_save(golden, in_folder(path_a, endings[_i]), &o));
        msx_checkpoint *c = open_path(path_a);
        for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
            int64_t n;
            ck_assert_int_eq(msx_checkpoint_dtype(c, i), types[t].dtype);
            float *x = test_tensor(golden, msx_checkpoint_name(c, i), &n);
            float *y = test_tensor(c, msx_checkpoint_name(c, i), NULL);
            for (int64_t k = 0; k < n; k++)
                ck_assert_double_le(fabs((double)x[k] - y[k]),
                                    types[t].bound * fabs((double)x[k]) + 0x1p-25);
            free(x);
            free(y);
        }
        msx_checkpoint_free(c);
    }
    msx_checkpoint_free(golden);
}
END_TEST

START_TEST(hf_names_go_out_and_come_back) {
    msx_checkpoint *golden = open_path(test_path("golden/b/model.pth"));
    msx_save_options o = {.struct_size = sizeof o, .scheme = "hf"};
    test_ok(ctx, msx_checkpoint_save(golden, in_folder(path_a, endings[_i]), &o));
    size_t n;
    char *bytes = whole(path_a, &n);
    static const char *const names[] = {
        "vision_encoder.layers.11.layer_norm1.weight",
        "vision_encoder.neck.conv2.weight",
        "shared_image_embedding.positional_embedding",
        "prompt_encoder.shared_embedding.positional_embedding",
        "prompt_encoder.mask_embed.layer_norm2.bias",
        "mask_decoder.transformer.layer_norm_final_attn.weight",
        "mask_decoder.output_hypernetworks_mlps.3.layers.0.weight",
        "mask_decoder.output_hypernetworks_mlps.3.proj_out.bias",
        "mask_decoder.iou_prediction_head.proj_in.weight",
        "mask_decoder.upscale_layer_norm.weight",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_msg(memmem(bytes, n, names[i], strlen(names[i])), "no %s", names[i]);
    ck_assert_ptr_null(memmem(bytes, n, "image_encoder", 13));
    ck_assert_ptr_null(memmem(bytes, n, "output_upscaling", 16));
    free(bytes);
    msx_checkpoint *c = open_path(path_a);
    ck_assert_str_eq(msx_checkpoint_scheme(c), "hf");
    expect_equal(golden, c);
    msx_checkpoint_free(c);
    msx_checkpoint_free(golden);
}
END_TEST

START_TEST(names_that_would_meet_are_refused) {
    msx_checkpoint *golden = open_path(test_path("golden/a/model.safetensors")), *c;
    msx_save_options o = {.struct_size = sizeof o, .scheme = "hf"};
    test_ok(ctx, msx_checkpoint_create(&c, ctx));
    for (int64_t i = 0; i < msx_checkpoint_count(golden); i++) {
        int64_t dims[MSX_MAX_RANK];
        int rank = msx_checkpoint_rank(golden, i);
        for (int a = 0; a < rank; a++) dims[a] = msx_checkpoint_dim(golden, i, a);
        test_ok(ctx, msx_checkpoint_add(c, msx_checkpoint_name(golden, i), rank, dims, NULL));
    }
    test_ok(ctx, msx_checkpoint_add(c, "vision_encoder.pos_embed", 0, NULL, NULL));
    test_fails(ctx, msx_checkpoint_save(c, in_folder(path_a, endings[_i]), &o), MSX_E_UNSUPPORTED,
               "two tensors would be written as 'vision_encoder.pos_embed'");
    msx_checkpoint_free(c);
    test_ok(ctx, msx_checkpoint_create(&c, ctx));
    test_ok(ctx, msx_checkpoint_add(c, "__metadata__", 0, NULL, NULL));
    test_fails(ctx, msx_checkpoint_save(c, in_folder(path_a, "x.safetensors"), NULL),
               MSX_E_UNSUPPORTED, "reserves");
    test_fails(ctx, msx_checkpoint_add(golden, "x", 0, NULL, NULL), MSX_E_ARG, "in memory only");
    msx_checkpoint_free(c);
    msx_checkpoint_free(golden);
}
END_TEST

START_TEST(odd_tensors_are_kept) {
    msx_checkpoint *c;
    float one = 42;
    test_ok(ctx, msx_checkpoint_create(&c, ctx));
    test_ok(ctx, msx_checkpoint_add(c, "scalar", 0, NULL, &one));
    test_ok(ctx, msx_checkpoint_add(c, "empty", 2, (int64_t[]){0, 300}, NULL));
    test_ok(ctx, msx_checkpoint_add(c, "rank 5 \"quoted\"", 5, (int64_t[]){1, 2, 1, 3, 1}, NULL));
    test_ok(ctx, msx_checkpoint_add(c, "long", 1, (int64_t[]){70000}, NULL));
    test_ok(ctx, msx_checkpoint_add(c, "empty too", 1, (int64_t[]){0}, NULL));
    test_ok(ctx, msx_checkpoint_save(c, in_folder(path_a, endings[_i]), NULL));
    msx_checkpoint *d = open_path(path_a);
    ck_assert_int_eq(msx_checkpoint_count(d), 5);
    for (int64_t i = 0; i < 5; i++) {
        int64_t k = msx_checkpoint_find(d, msx_checkpoint_name(c, i)), n;
        ck_assert_int_ge(k, 0);
        ck_assert_int_eq(msx_checkpoint_rank(d, k), msx_checkpoint_rank(c, i));
        float *x = test_tensor(d, msx_checkpoint_name(c, i), &n);
        ck_assert_int_eq(n, msx_checkpoint_elements(c, i));
        if (n) ck_assert_float_eq(x[0], i == 0 ? 42.0f : 0.0f);
        free(x);
    }
    msx_checkpoint_free(c);
    msx_checkpoint_free(d);
}
END_TEST

/* More records than 16 bits count need the zip64 end records. */
START_TEST(many_tensors_need_zip64) {
    msx_checkpoint *c;
    char name[16];
    float value;
    test_ok(ctx, msx_ctx_set_limit(ctx, MSX_LIMIT_TENSORS, 70000));
    test_ok(ctx, msx_checkpoint_create(&c, ctx));
    for (int i = 0; i < 66000; i++) {
        snprintf(name, sizeof name, "t%05d", i);
        value = (float)i;
        test_ok(ctx, msx_checkpoint_add(c, name, 0, NULL, &value));
    }
    test_ok(ctx, msx_checkpoint_save(c, in_folder(path_a, "x.pth"), NULL));
    msx_checkpoint *d = open_path(path_a);
    ck_assert_int_eq(msx_checkpoint_count(d), 66000);
    test_ok(ctx, msx_checkpoint_read(d, 65999, &value, 1));
    ck_assert_float_eq(value, 65999);
    msx_checkpoint_free(d);
    msx_checkpoint_free(c);
}
END_TEST

START_TEST(bad_options_write_nothing) {
    msx_checkpoint *c;
    msx_save_options o = {.struct_size = sizeof o};
    test_ok(ctx, msx_checkpoint_create(&c, ctx));
    test_ok(ctx, msx_checkpoint_add(c, "x", 0, NULL, NULL));
    in_folder(path_a, "x.pth");
    test_fails(ctx, msx_checkpoint_save(c, in_folder(path_b, "x.onnx"), NULL), MSX_E_ARG,
               "use .pth, .pt, .safetensors or .safetensors.index.json");
    test_fails(ctx, msx_checkpoint_save(c, "", NULL), MSX_E_ARG, "path");
    test_fails(ctx, msx_checkpoint_save(c, "/no/such/folder/x.pth", NULL), MSX_E_IO,
               "/no/such/folder/x.pth");
    o.struct_size = 1;
    test_fails(ctx, msx_checkpoint_save(c, path_a, &o), MSX_E_ARG, "struct_size");
    o = (msx_save_options){.struct_size = sizeof o, .dtype = MSX_DTYPE_I8};
    test_fails(ctx, msx_checkpoint_save(c, path_a, &o), MSX_E_ARG, "element type");
    o = (msx_save_options){.struct_size = sizeof o, .scheme = "hff"};
    test_fails(ctx, msx_checkpoint_save(c, path_a, &o), MSX_E_NOTFOUND, "did you mean 'hf'");
    o = (msx_save_options){.struct_size = sizeof o, .container = "safetensor"};
    test_fails(ctx, msx_checkpoint_save(c, path_a, &o), MSX_E_NOTFOUND, "safetensors");
    o = (msx_save_options){.struct_size = sizeof o, .scheme = "hf"};
    test_fails(ctx, msx_checkpoint_save(c, path_a, &o), MSX_E_SHAPE, "not a SAM");
    test_ok(ctx, msx_checkpoint_set_meta(c, "key", "\xff\xfe"));
    test_fails(ctx, msx_checkpoint_save(c, path_a, NULL), MSX_E_ARG, "'key' is not UTF-8");
    ck_assert_int_ne(access(path_a, F_OK), 0);
    msx_checkpoint_free(c);
}
END_TEST

static int stop_at(const msx_progress *progress, void *payload) {
    return progress->done >= *(const int *)payload;
}

START_TEST(a_cancelled_save_leaves_nothing_behind) {
    msx_checkpoint *golden = open_path(test_path("golden/a/model.safetensors"));
    int at = 20;
    msx_ctx_set_progress(ctx, stop_at, &at);
    test_fails(ctx, msx_checkpoint_save(golden, in_folder(path_a, endings[_i]), NULL),
               MSX_E_CANCELLED, "save");
    char command[100];
    snprintf(command, sizeof command, "test -z \"$(ls -A %s)\"", folder);
    ck_assert_int_eq(system(command), 0);
    msx_checkpoint_free(golden);
}
END_TEST

START_TEST(no_allocation_failure_is_lost_while_saving) {
    for (int for_ever = 0; for_ever < 2; for_ever++)
        for (int64_t n = 0, step = 1; step; n++) {
            test_allocator a;
            msx_ctx *small;
            test_allocator_init(&a, -1, for_ever);
            ck_assert_int_eq(msx_ctx_create(&small, &a.table), MSX_OK);
            msx_checkpoint *c;
            ck_assert_int_eq(msx_checkpoint_create(&c, small), MSX_OK);
            ck_assert_int_eq(msx_checkpoint_add(c, "x", 1, (int64_t[]){5}, NULL), MSX_OK);
            ck_assert_int_eq(msx_checkpoint_add(c, "y", 1, (int64_t[]){9}, NULL), MSX_OK);
            a.fail_at = a.calls + n;
            msx_save_options o = {.struct_size = sizeof o, .dtype = MSX_DTYPE_F16};
            msx_status status = msx_checkpoint_save(c, in_folder(path_a, endings[_i]), &o);
            if (status == MSX_OK) step = 0;
            ck_assert_msg(status == MSX_OK || status == MSX_E_NOMEM, "allocation %d: %s", (int)n,
                          msx_status_name(status));
            ck_assert_int_eq(access(path_a, F_OK) == 0, status == MSX_OK);
            unlink(path_a);
            a.fail_at = -1;
            msx_checkpoint_free(c);
            msx_ctx_free(small);
            ck_assert_int_eq(a.live, 0);
        }
}
END_TEST

int main(void) {
    Suite *s = suite_create("save");
    TCase *t = tcase_create("save");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, what_is_written_is_read_back, 0, 3);
    tcase_add_loop_test(t, equal_checkpoints_give_equal_files, 0, 3);
    tcase_add_loop_test(t, a_file_may_be_written_over_itself, 0, 3);
    tcase_add_loop_test(t, narrow_types_are_rounded_once, 1, 3);
    tcase_add_loop_test(t, hf_names_go_out_and_come_back, 1, 3);
    tcase_add_loop_test(t, names_that_would_meet_are_refused, 1, 3);
    tcase_add_loop_test(t, odd_tensors_are_kept, 1, 3);
    tcase_add_test(t, many_tensors_need_zip64);
    tcase_add_test(t, bad_options_write_nothing);
    tcase_add_loop_test(t, a_cancelled_save_leaves_nothing_behind, 1, 3);
    tcase_add_loop_test(t, no_allocation_failure_is_lost_while_saving, 1, 3);
    suite_add_tcase(s, t);
    return test_run(s);
}
