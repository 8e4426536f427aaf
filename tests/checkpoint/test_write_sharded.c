/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints in several files: what is written is read back, files are cut where they should be, they
 * appear together, and a merge into them is verified like any other. */
#include "merge/small_sam.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static msx_ctx *ctx;
static const char *folder;
static char index_path[160];

static void set_up(void) {
    ctx = test_ctx();
    folder = test_make_folder();
    snprintf(index_path, sizeof index_path, "%s/model.safetensors.index.json", folder);
}
static void tear_down(void) {
    test_remove_folder(folder);
    msx_ctx_free(ctx);
}

static int count_files(void) {
    DIR *d = opendir(folder);
    int n = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.' || e->d_name[1] > '.';
    closedir(d);
    return n;
}

static int64_t size_of(const char *name) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s is not there", path);
    fseek(f, 0, SEEK_END);
    int64_t size = ftell(f);
    fclose(f);
    return size;
}

static void expect_same(const msx_checkpoint *whole, const char *path, double bound) {
    msx_checkpoint *c;
    test_ok(ctx, msx_checkpoint_open(&c, ctx, path));
    ck_assert_int_eq(msx_checkpoint_count(c), msx_checkpoint_count(whole));
    for (int64_t i = 0; i < msx_checkpoint_count(whole); i++) {
        int64_t n, m;
        float *got = test_tensor(c, msx_checkpoint_name(whole, i), &n);
        float *expected = test_tensor((msx_checkpoint *)whole, msx_checkpoint_name(whole, i), &m);
        ck_assert_int_eq(n, m);
        for (int64_t k = 0; k < n; k++)
            ck_assert_double_le(fabs((double)(got[k] - expected[k])), bound);
        free(got);
        free(expected);
    }
    msx_checkpoint_free(c);
}

START_TEST(shards_hold_the_checkpoint) {
    static const msx_dtype types[] = {MSX_DTYPE_F32, MSX_DTYPE_F16};
    static const char *const schemes[] = {"official", "hf"};
    msx_checkpoint *whole = small_sam(ctx, 3, 2, 9), *c;
    test_ok(ctx, msx_checkpoint_set_meta(whole, "who", "a test"));
    for (int i = 0; i < 4; i++) {
        const msx_save_options o = {.struct_size = sizeof o,
                                    .dtype = types[i % 2],
                                    .scheme = schemes[i / 2],
                                    .shard_bytes = 9000};
        test_ok(ctx, msx_checkpoint_save(whole, index_path, &o));
        expect_same(whole, index_path, i % 2 ? 1e-3 : 0);
        test_ok(ctx, msx_checkpoint_open(&c, ctx, index_path));
        ck_assert_str_eq(msx_checkpoint_container(c), "sharded safetensors");
        ck_assert_str_eq(msx_checkpoint_scheme(c), schemes[i / 2]);
        ck_assert_int_eq(msx_checkpoint_dtype(c, 0), types[i % 2]);
        ck_assert_str_eq(msx_checkpoint_meta(c, "who"), "a test");
        msx_checkpoint_free(c);
    }
    msx_checkpoint_free(whole);
}
END_TEST

/* Three tensors of 40, 60 and 50 bytes of data, at most 100 in a file. */
START_TEST(a_new_file_begins_where_the_next_tensor_does_not_fit) {
    msx_checkpoint *c;
    const int64_t dims[] = {10, 15, 12, 60};
    test_ok(ctx, msx_checkpoint_create(&c, ctx));
    for (int i = 0; i < 4; i++) {
        char name[2] = {(char)('a' + i)};
        test_ok(ctx, msx_checkpoint_add(c, name, 1, &dims[i], NULL));
    }
    const msx_save_options o = {.struct_size = sizeof o, .shard_bytes = 100};
    test_ok(ctx, msx_checkpoint_save(c, index_path, &o));
    ck_assert_int_eq(count_files(), 4);
    /* header and data: a and b, then c, then d, which is larger than allowed and has a file alone */
    ck_assert_int_eq(size_of("model-00001-of-00003.safetensors") % 64, 100 % 64);
    ck_assert_int_eq(size_of("model-00002-of-00003.safetensors") % 64, 48);
    ck_assert_int_eq(size_of("model-00003-of-00003.safetensors") % 64, 240 % 64);
    char text[2048];
    FILE *f = fopen(index_path, "rb");
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    ck_assert_str_eq(text, "{\n  \"metadata\": {\n    \"medsamix.shard_bytes\": \"100\",\n"
                           "    \"total_size\": 388\n  },\n  \"weight_map\": {\n"
                           "    \"a\": \"model-00001-of-00003.safetensors\",\n"
                           "    \"b\": \"model-00001-of-00003.safetensors\",\n"
                           "    \"c\": \"model-00002-of-00003.safetensors\",\n"
                           "    \"d\": \"model-00003-of-00003.safetensors\"\n  }\n}\n");
    expect_same(c, index_path, 0);
    /* without a size there is one file */
    test_ok(ctx, msx_checkpoint_save(c, index_path, NULL));
    ck_assert_int_eq(size_of("model-00001-of-00001.safetensors") % 64, 388 % 64);
    expect_same(c, index_path, 0);
    msx_checkpoint_free(c);
}
END_TEST

/* The size that shards were cut to belongs to these files, not to what is made of them. */
START_TEST(one_file_of_shards_is_that_of_the_whole) {
    msx_checkpoint *whole = small_sam(ctx, 2, 1, 3), *c;
    char direct[200], again[200];
    snprintf(direct, sizeof direct, "%s/direct.safetensors", folder);
    snprintf(again, sizeof again, "%s/again.safetensors", folder);
    const msx_save_options o = {.struct_size = sizeof o, .shard_bytes = 5000};
    test_ok(ctx, msx_checkpoint_save(whole, index_path, &o));
    test_ok(ctx, msx_checkpoint_save(whole, direct, NULL));
    test_ok(ctx, msx_checkpoint_open(&c, ctx, index_path));
    test_ok(ctx, msx_checkpoint_save(c, again, NULL));
    msx_checkpoint_free(c);
    char command[512];
    snprintf(command, sizeof command, "cmp -s '%s' '%s'", direct, again);
    ck_assert_int_eq(system(command), 0);
    msx_checkpoint_free(whole);
}
END_TEST

START_TEST(what_cannot_be_written_leaves_nothing) {
    msx_checkpoint *c = small_sam(ctx, 2, 1, 3);
    char path[200];
    msx_save_options o = {.struct_size = sizeof o, .shard_bytes = 1};
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof name, "more.%d", i);
        test_ok(ctx, msx_checkpoint_add(c, name, 1, (const int64_t[]){3}, NULL));
    }
    test_fails(ctx, msx_checkpoint_save(c, index_path, &o), MSX_E_LIMIT,
               "more than 256 files of 1 b");
    o.shard_bytes = -5;
    test_fails(ctx, msx_checkpoint_save(c, index_path, &o), MSX_E_ARG, "shard_bytes is -5");
    o.shard_bytes = 20000;
    snprintf(path, sizeof path, "%s/x.index.json", folder);
    test_fails(ctx, msx_checkpoint_save(c, path, &o), MSX_E_ARG,
               "has to end in .safetensors.index.json");
    snprintf(path, sizeof path, "%s/nowhere/x.safetensors.index.json", folder);
    test_fails(ctx, msx_checkpoint_save(c, path, &o), MSX_E_IO, "nowhere");
    o.struct_size = 8;
    test_fails(ctx, msx_checkpoint_save(c, index_path, &o), MSX_E_ARG, "struct_size");
    ck_assert_int_eq(count_files(), 0);
    /* the options of a program that was built before there were shards */
    o = (msx_save_options){.struct_size = offsetof(msx_save_options, shard_bytes),
                           .shard_bytes = -5};
    test_ok(ctx, msx_checkpoint_save(c, index_path, &o));
    ck_assert_int_eq(count_files(), 2);
    msx_checkpoint_free(c);
}
END_TEST

static int stop_at_10(const msx_progress *p, void *payload) {
    (void)payload;
    return p->done >= 10;
}

START_TEST(a_stopped_save_leaves_nothing) {
    msx_checkpoint *c = small_sam(ctx, 2, 1, 3);
    const msx_save_options o = {.struct_size = sizeof o, .shard_bytes = 2000};
    msx_ctx_set_progress(ctx, stop_at_10, NULL);
    ck_assert_int_eq(msx_checkpoint_save(c, index_path, &o), MSX_E_CANCELLED);
    ck_assert_int_eq(count_files(), 0);
    msx_checkpoint_free(c);
}
END_TEST

/* ---- merging ---------------------------------------------------------------------------------------- */

enum { MODELS = 2 };
static const char *const names[MODELS] = {"base", "a"};
static char paths[MODELS][200];
static const char *const inputs[MODELS] = {paths[0], paths[1]};

static void merge_into_shards(const char *scheme) {
    static const char plan[] = "medsamix: 1\ngroups: {'*': {method: ties}}\n";
    msx_plan *p;
    for (uint32_t k = 0; k < MODELS; k++) {
        msx_checkpoint *c = small_sam(ctx, 3, 2, k + 1);
        snprintf(paths[k], sizeof paths[k], "%s/in%u.safetensors", folder, k);
        test_ok(ctx, msx_checkpoint_save(c, paths[k], NULL));
        msx_checkpoint_free(c);
    }
    test_ok(ctx, msx_plan_parse(&p, ctx, plan, strlen(plan), "plan"));
    const msx_save_options o = {
        .struct_size = sizeof o, .scheme = scheme, .dtype = MSX_DTYPE_BF16, .shard_bytes = 7000};
    test_ok(ctx, msx_merge_files(ctx, p, inputs, names, MODELS, index_path, &o, false));
    msx_plan_free(p);
}

static msx_merge_check verify(void) {
    msx_merge_check check = {.struct_size = sizeof check};
    test_ok(ctx, msx_merge_verify(&check, ctx, index_path, inputs, names, MODELS));
    return check;
}

START_TEST(a_merge_into_shards_is_verified) {
    merge_into_shards(_i ? "hf" : "official");
    msx_merge_check check = verify();
    ck_assert_msg(check.equal, "%s", check.tensor);
    char path[300];
    snprintf(path, sizeof path, "%s/model-00003-of-%05d.safetensors", folder, count_files() - 3);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    off_t last = lseek(fd, -1, SEEK_END);
    char byte;
    ck_assert_int_eq(pread(fd, &byte, 1, last), 1);
    byte ^= 1;
    ck_assert_int_eq(pwrite(fd, &byte, 1, last), 1);
    close(fd);
    check = verify();
    ck_assert(!check.equal);
    ck_assert_int_eq(check.first_byte, last);
    ck_assert_str_ne(check.tensor, "");
}
END_TEST

START_TEST(memory_that_runs_out_leaves_nothing) {
    msx_checkpoint *c = small_sam(ctx, 1, 1, 3);
    char source[200];
    snprintf(source, sizeof source, "%s/in.pth", folder);
    test_ok(ctx, msx_checkpoint_save(c, source, NULL));
    msx_checkpoint_free(c);
    for (int64_t fail_at = 0;; fail_at++) {
        test_allocator a;
        msx_ctx *small;
        test_allocator_init(&a, -1, false);
        ck_assert_int_eq(msx_ctx_create(&small, &a.table), MSX_OK);
        test_ok(small, msx_checkpoint_open(&c, small, source));
        const msx_save_options o = {
            .struct_size = sizeof o, .dtype = MSX_DTYPE_F16, .shard_bytes = 9000};
        a.fail_at = a.calls + fail_at;
        msx_status status = msx_checkpoint_save(c, index_path, &o);
        bool reached = a.calls > a.fail_at;
        ck_assert_int_eq(status, reached ? MSX_E_NOMEM : MSX_OK);
        if (reached) ck_assert_int_eq(count_files(), 1);
        a.fail_at = -1;
        msx_checkpoint_free(c);
        msx_ctx_free(small);
        ck_assert_int_eq(a.live, 0);
        if (!reached) break;
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("write sharded");
    TCase *t = tcase_create("write sharded");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    suite_add_tcase(s, t);
    tcase_add_test(t, shards_hold_the_checkpoint);
    tcase_add_test(t, a_new_file_begins_where_the_next_tensor_does_not_fit);
    tcase_add_test(t, one_file_of_shards_is_that_of_the_whole);
    tcase_add_test(t, what_cannot_be_written_leaves_nothing);
    tcase_add_test(t, a_stopped_save_leaves_nothing);
    tcase_add_loop_test(t, a_merge_into_shards_is_verified, 0, 2);
    tcase_add_test(t, memory_that_runs_out_leaves_nothing);
    return test_run(s);
}
