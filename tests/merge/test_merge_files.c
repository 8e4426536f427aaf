/* SPDX-License-Identifier: Apache-2.0 */
/* Merging files into a file, its provenance, what may not leave a file behind; differences by group. */
#include "core/file.h"
#include "merge/small_sam.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const names[] = {"base", "ft0", "ft1"};
static const char *const paths[] = {"tests/golden/merge/base.safetensors",
                                    "tests/golden/merge/finetuned0.safetensors",
                                    "tests/golden/merge/finetuned1.safetensors"};
static const char plan_text[] = "medsamix: 1\n"
                                "granularity: {encoder: 2, prompt: 1, decoder: 1}\n"
                                "models: [ft0, ft1]\n"
                                "groups:\n"
                                "  encoder.0-1: {method: ties, retain: 0.3}\n"
                                "  neck: {method: slerp, score: {ft1: 0.9}}\n"
                                "  prompt.0: {method: task_arithmetic, scaling: 0.25}\n"
                                "  \"*\": {method: linear, weight: {base: 0.1}}\n";

static msx_ctx *ctx;
static msx_plan *plan;
static const char *folder;
static char out[128];

static void set_up(void) {
    ctx = test_ctx();
    folder = test_make_folder();
    snprintf(out, sizeof out, "%s/merged.safetensors", folder);
    test_ok(ctx, msx_plan_parse(&plan, ctx, plan_text, strlen(plan_text), "plan"));
}
static void tear_down(void) {
    test_remove_folder(folder);
    msx_plan_free(plan);
    msx_ctx_free(ctx);
}

static void expect_empty_folder(void) {
    ck_assert_int_eq(rmdir(folder), 0); /* a hidden file would keep it */
    ck_assert_int_eq(mkdir(folder, 0700), 0);
}

static void expect_same_as_in_memory(const char *path) {
    msx_checkpoint *c[3], *file, *target;
    msx_merger *m;
    for (int i = 0; i < 3; i++) test_ok(ctx, msx_checkpoint_open(&c[i], ctx, paths[i]));
    test_ok(ctx, msx_merger_create(&m, ctx, c, names, 3, false));
    test_ok(ctx, msx_checkpoint_create(&target, ctx));
    test_ok(ctx, msx_merger_run(m, plan, NULL, target, NULL));
    test_ok(ctx, msx_checkpoint_open(&file, ctx, path));
    ck_assert_int_eq(msx_checkpoint_count(file), msx_checkpoint_count(target));
    for (int64_t i = 0; i < msx_checkpoint_count(target); i++) {
        int64_t n;
        float *got = test_tensor(file, msx_checkpoint_name(target, i), &n);
        ck_assert_int_eq(n, msx_checkpoint_elements(target, i));
        ck_assert(!memcmp(got, msx_checkpoint_data(target, i), (size_t)n * sizeof *got));
        free(got);
    }
    msx_checkpoint_free(file);
    msx_checkpoint_free(target);
    msx_merger_free(m);
    for (int i = 0; i < 3; i++) msx_checkpoint_free(c[i]);
}

static void expect_provenance(const char *path) {
    msx_checkpoint *file;
    test_ok(ctx, msx_checkpoint_open(&file, ctx, path));
    ck_assert_str_eq(msx_checkpoint_meta(file, "medsamix.version"), MSX_VERSION_STRING);
    ck_assert_str_eq(msx_checkpoint_meta(file, "medsamix.plan"), plan_text);
    for (int i = 0; i < 3; i++) {
        char key[64], digest[MSX__SHA256_HEX];
        snprintf(key, sizeof key, "medsamix.input.%s", names[i]);
        test_ok(ctx, msx__file_sha256(ctx, paths[i], digest));
        ck_assert_str_eq(msx_checkpoint_meta(file, key), digest);
    }
    msx_checkpoint_free(file);
}

START_TEST(a_file_holds_the_bits_of_the_merge_in_memory) {
    test_ok(ctx, msx_merge_files(ctx, plan, paths, names, 3, out, NULL, false));
    expect_same_as_in_memory(out);
    expect_provenance(out);
    snprintf(out, sizeof out, "%s/merged.pth", folder);
    test_ok(ctx, msx_merge_files(ctx, plan, paths, names, 3, out, NULL, false));
    expect_same_as_in_memory(out);
    expect_provenance(out);
}
END_TEST

/* Says that it is a draft, and nothing of its inputs. */
START_TEST(a_draft_has_the_same_tensors_and_no_hashes) {
    static const char *const endings[] = {"safetensors", "pth", "safetensors.index.json"};
    const msx_save_options o = {.struct_size = sizeof o, .draft = 1, .shard_bytes = 9000};
    test_ok(ctx, msx_ctx_set_threads(ctx, 1 + _i % 2));
    snprintf(out, sizeof out, "%s/merged.%s", folder, endings[_i / 2]);
    test_ok(ctx, msx_merge_files(ctx, plan, paths, names, 3, out, &o, false));
    expect_same_as_in_memory(out);
    msx_checkpoint *file;
    test_ok(ctx, msx_checkpoint_open(&file, ctx, out));
    ck_assert_str_eq(msx_checkpoint_meta(file, "medsamix.version"), MSX_VERSION_STRING);
    ck_assert_str_eq(msx_checkpoint_meta(file, "medsamix.plan"), plan_text);
    ck_assert_str_eq(msx_checkpoint_meta(file, "medsamix.draft"), "inputs not hashed");
    for (int64_t i = 0; i < msx_checkpoint_meta_count(file); i++)
        ck_assert_ptr_null(strstr(msx_checkpoint_meta_key(file, i), "medsamix.input."));
    msx_checkpoint_free(file);
}
END_TEST

START_TEST(options_of_earlier_versions_are_no_draft) {
    msx_save_options o = {.struct_size = offsetof(msx_save_options, draft), .draft = 1};
    test_ok(ctx, msx_merge_files(ctx, plan, paths, names, 3, out, &o, false));
    expect_provenance(out);
    o.struct_size = offsetof(msx_save_options, shard_bytes);
    test_ok(ctx, msx_merge_files(ctx, plan, paths, names, 3, out, &o, false));
    expect_provenance(out);
    ck_assert_int_eq(unlink(out), 0);
    o.struct_size = 8;
    test_fails(ctx, msx_merge_files(ctx, plan, paths, names, 3, out, &o, false), MSX_E_ARG,
               "struct_size");
    o = (msx_save_options){.struct_size = sizeof o, .draft = 2};
    test_fails(ctx, msx_merge_files(ctx, plan, paths, names, 3, out, &o, false), MSX_E_ARG,
               "draft is 2; use 0 or 1");
    expect_empty_folder();
}
END_TEST

START_TEST(faults_leave_no_file) {
    static const char *const other[] = {"tests/golden/merge/base.safetensors",
                                        "tests/golden/c/model.pth"},
                             *const missing[] = {"tests/golden/merge/base.safetensors",
                                                 "nowhere.pth"};
    test_fails(ctx, msx_merge_files(ctx, plan, other, names, 2, out, NULL, false), MSX_E_SHAPE,
               "golden/c/model.pth");
    test_fails(ctx, msx_merge_files(ctx, plan, missing, names, 2, out, NULL, false), MSX_E_IO,
               "nowhere.pth");
    test_fails(ctx, msx_merge_files(ctx, plan, paths, names, 2, out, NULL, false), MSX_E_NOTFOUND,
               "unknown model of the plan 'ft1'");
    test_fails(ctx, msx_merge_files(ctx, NULL, paths, names, 3, out, NULL, false), MSX_E_ARG,
               "NULL");
    test_fails(ctx, msx_merge_files(ctx, plan, paths, names, 1, out, NULL, false), MSX_E_ARG,
               "2 to 65");
    ck_assert_int_eq(msx_merge_files(NULL, plan, paths, names, 3, out, NULL, false), MSX_E_ARG);
    expect_empty_folder();
}
END_TEST

START_TEST(weights_that_are_not_numbers_are_refused_unless_allowed) {
    msx_checkpoint *c = small_sam(ctx, 1, 1, 3);
    char good[128], bad[128];
    snprintf(good, sizeof good, "%s/good.safetensors", folder);
    snprintf(bad, sizeof bad, "%s/bad.safetensors", folder);
    test_ok(ctx, msx_checkpoint_save(c, good, NULL));
    int64_t at = msx_checkpoint_find(c, "image_encoder.neck.0.weight");
    msx_checkpoint_data(c, at)[7] = NAN;
    test_ok(ctx, msx_checkpoint_save(c, bad, NULL));
    msx_checkpoint_free(c);
    const char *const pair[] = {good, bad};
    msx_plan *average;
    static const char text[] = "medsamix: 1\ngroups: {'*': {method: linear}}\n";
    test_ok(ctx, msx_plan_parse(&average, ctx, text, strlen(text), "plan"));
    test_fails(ctx, msx_merge_files(ctx, average, pair, names, 2, out, NULL, false), MSX_E_FORMAT,
               "bad.safetensors: tensor image_encoder.neck.0.weight: element 7 is not a number");
    ck_assert_int_ne(access(out, F_OK), 0);
    test_ok(ctx, msx_merge_files(ctx, average, pair, names, 2, out, NULL, true));
    ck_assert_int_eq(access(out, F_OK), 0);
    msx_plan_free(average);
}
END_TEST

static int stop_half_way(const msx_progress *p, void *payload) {
    (void)payload;
    return !strcmp(p->stage, "merge") && p->done > p->total / 2;
}

START_TEST(a_stopped_merge_leaves_no_file) {
    msx_ctx_set_progress(ctx, stop_half_way, NULL);
    test_fails(ctx, msx_merge_files(ctx, plan, paths, names, 3, out, NULL, false), MSX_E_CANCELLED,
               "merge");
    expect_empty_folder();
}
END_TEST

START_TEST(provenance_is_checked) {
    msx_checkpoint *target;
    const char *digests[] = {"00", NULL};
    test_ok(ctx, msx_checkpoint_create(&target, ctx));
    test_ok(ctx, msx_merge_set_provenance(target, plan, names, digests, 1));
    ck_assert_str_eq(msx_checkpoint_meta(target, "medsamix.input.base"), "00");
    test_fails(ctx, msx_merge_set_provenance(target, plan, names, digests, 2), MSX_E_ARG,
               "model 1");
    test_fails(ctx, msx_merge_set_provenance(NULL, plan, names, digests, 1), MSX_E_ARG, "NULL");
    ck_assert_int_eq(msx_merge_set_provenance(target, NULL, names, digests, 1), MSX_E_ARG);
    msx_checkpoint_free(target);
}
END_TEST

/* ---- differences ---------------------------------------------------------------------------------- */

START_TEST(differences_are_those_of_plain_loops) {
    msx_checkpoint *a = small_sam(ctx, 3, 2, 1), *b = small_sam(ctx, 3, 2, 1);
    for (int64_t i = 0; i < msx_checkpoint_count(b); i++)
        if (strstr(msx_checkpoint_name(b, i), "blocks.1."))
            for (int64_t k = 0; k < msx_checkpoint_elements(b, i); k++)
                msx_checkpoint_data(b, i)[k] += 1e-4f * (float)(k % 7);
    memset(msx_checkpoint_data(b, msx_checkpoint_find(b, "image_encoder.pos_embed")), 0,
           (size_t)msx_checkpoint_elements(b, msx_checkpoint_find(b, "image_encoder.pos_embed")) *
               4);
    msx_arch *arch;
    msx_groups *g;
    test_ok(ctx, msx_arch_infer(&arch, ctx, a));
    test_ok(ctx, msx_groups_create(&g, ctx, arch, NULL));
    int64_t n = msx_groups_count(g);
    msx_group_diff *d = calloc((size_t)n, sizeof *d), *back = calloc((size_t)n, sizeof *back);
    test_fails(ctx, msx_diff(d, ctx, a, b, g), MSX_E_ARG, "struct_size");
    d->struct_size = back->struct_size = sizeof *d;
    test_ok(ctx, msx_diff(d, ctx, a, b, g));
    test_ok(ctx, msx_diff(back, ctx, b, a, g));
    for (int64_t i = 0; i < n; i++) {
        double aa = 0, ab = 0, bb = 0, dd = 0;
        int64_t elements = 0;
        for (int64_t t = 0; t < msx_checkpoint_count(a); t++) {
            if (msx_groups_of_tensor(g, msx_checkpoint_name(a, t)) != i) continue;
            int64_t u = msx_checkpoint_find(b, msx_checkpoint_name(a, t));
            elements += msx_checkpoint_elements(a, t);
            for (int64_t k = 0; k < msx_checkpoint_elements(a, t); k++) {
                double x = msx_checkpoint_data(a, t)[k], y = msx_checkpoint_data(b, u)[k];
                aa += x * x;
                ab += x * y;
                bb += y * y;
                dd += (y - x) * (y - x);
            }
        }
        ck_assert_int_eq(d[i].elements, elements);
        ck_assert_int_eq(d[i].equal, dd == 0);
        ck_assert_double_eq_tol(d[i].relative_l2, sqrt(dd / aa), 1e-9 + 1e-6 * sqrt(dd / aa));
        ck_assert_double_eq_tol(d[i].cosine, bb > 0 ? ab / sqrt(aa * bb) : 0, 1e-9);
        if (bb == 0) ck_assert(isinf(back[i].relative_l2));
    }
    free(d);
    free(back);
    msx_groups_free(g);
    msx_arch_free(arch);
    msx_checkpoint_free(a);
    msx_checkpoint_free(b);
}
END_TEST

START_TEST(networks_of_other_shapes_have_no_difference) {
    msx_checkpoint *a = small_sam(ctx, 3, 2, 1), *b = small_sam(ctx, 4, 2, 1);
    msx_arch *arch;
    msx_groups *g;
    test_ok(ctx, msx_arch_infer(&arch, ctx, a));
    test_ok(ctx, msx_groups_create(&g, ctx, arch, NULL));
    msx_group_diff d[32] = {{.struct_size = sizeof *d}};
    test_fails(ctx, msx_diff(d, ctx, a, b, g), MSX_E_SHAPE, "second model");
    test_fails(ctx, msx_diff(d, ctx, a, NULL, g), MSX_E_ARG, "NULL");
    ck_assert_int_eq(msx_diff(d, NULL, a, a, g), MSX_E_ARG);
    msx_groups_free(g);
    msx_arch_free(arch);
    msx_checkpoint_free(a);
    msx_checkpoint_free(b);
}
END_TEST

/* Merge two files and compare the result with the first. */
static msx_status merge_and_compare(msx_ctx *c, const char *const *pair) {
    static const char text[] = "medsamix: 1\ngroups: {'*': {method: ties}}\n";
    msx_plan *p = NULL;
    msx_checkpoint *a = NULL, *b = NULL;
    msx_arch *arch = NULL;
    msx_groups *g = NULL;
    msx_group_diff d[32] = {{.struct_size = sizeof *d}};
    msx_status status = msx_plan_parse(&p, c, text, strlen(text), "plan");
    if (status >= 0) status = msx_merge_files(c, p, pair, names, 2, out, NULL, false);
    if (status >= 0) status = msx_checkpoint_open(&a, c, pair[0]);
    if (status >= 0) status = msx_checkpoint_open(&b, c, out);
    if (status >= 0) status = msx_arch_infer(&arch, c, a);
    if (status >= 0) status = msx_groups_create(&g, c, arch, NULL);
    if (status >= 0) status = msx_diff(d, c, a, b, g);
    msx_groups_free(g);
    msx_arch_free(arch);
    msx_checkpoint_free(a);
    msx_checkpoint_free(b);
    msx_plan_free(p);
    return status;
}

START_TEST(memory_failures_leave_no_file) {
    char files[2][128];
    const char *const pair[] = {files[0], files[1]};
    for (int i = 0; i < 2; i++) {
        msx_checkpoint *c = small_sam(ctx, 1, 1, (uint32_t)i);
        snprintf(files[i], sizeof files[i], "%s/%d.safetensors", folder, i);
        test_ok(ctx, msx_checkpoint_save(c, files[i], NULL));
        msx_checkpoint_free(c);
    }
    test_allocator a;
    msx_ctx *own;
    test_allocator_init(&a, -1, false);
    ck_assert_int_eq(msx_ctx_create(&own, &a.table), MSX_OK);
    test_ok(own, merge_and_compare(own, pair));
    msx_ctx_free(own);
    ck_assert_int_eq(a.live, 0);
    int64_t calls = a.calls;
    for (int64_t fail_at = 1; fail_at < calls; fail_at += 3) {
        unlink(out);
        test_allocator_init(&a, fail_at, true);
        ck_assert_int_eq(msx_ctx_create(&own, &a.table), MSX_OK);
        ck_assert_int_eq(merge_and_compare(own, pair), MSX_E_NOMEM);
        msx_ctx_free(own);
        ck_assert_int_eq(a.live, 0);
    }
    unlink(out);
    unlink(files[0]);
    unlink(files[1]);
    expect_empty_folder();
}
END_TEST

int main(void) {
    Suite *s = suite_create("merge_files");
    TCase *t = tcase_create("merge_files");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    suite_add_tcase(s, t);
    tcase_add_test(t, a_file_holds_the_bits_of_the_merge_in_memory);
    tcase_add_loop_test(t, a_draft_has_the_same_tensors_and_no_hashes, 0, 6);
    tcase_add_test(t, options_of_earlier_versions_are_no_draft);
    tcase_add_test(t, faults_leave_no_file);
    tcase_add_test(t, weights_that_are_not_numbers_are_refused_unless_allowed);
    tcase_add_test(t, a_stopped_merge_leaves_no_file);
    tcase_add_test(t, provenance_is_checked);
    tcase_add_test(t, differences_are_those_of_plain_loops);
    tcase_add_test(t, networks_of_other_shapes_have_no_difference);
    tcase_add_test(t, memory_failures_leave_no_file);
    return test_run(s);
}
