/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan's patterns, values over the depth and filters come to for every tensor, and merges whose plan
 * names its files and element type. */
#include "merge/small_sam.h"

#include <medsamix/sys/merge_method.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH = 5, MODELS = 3, SEEN = 512 };
static const char *const names[MODELS] = {"base", "a", "b"};

/* A method that only says with which values it was called for which tensor. */
static struct seen {
    char tensor[128];
    double gain, weight[MODELS];
} seen[SEEN];
static size_t n_seen;

static msx_status look(const msx_merge_call *call, void *payload) {
    (void)payload;
    ck_assert_uint_lt(n_seen, SEEN);
    struct seen *s = &seen[n_seen++];
    snprintf(s->tensor, sizeof s->tensor, "%s", call->tensor);
    s->gain = call->values[0];
    memcpy(s->weight, call->values + 1, sizeof s->weight);
    memcpy(call->out, call->models[0], (size_t)call->elements * sizeof *call->out);
    return MSX_OK;
}

static const msx_merge_param params[] = {{"gain", false, false, -100, 100, -1, ""},
                                         {"weight", true, false, 0, 1, 0.5, ""}};
static const msx_merge_method probe = {
    .struct_size = sizeof probe, .name = "look", .params = params, .n_params = 2, .apply = look};
static const msx_merge_method other = {
    .struct_size = sizeof other, .name = "other", .params = params, .n_params = 2, .apply = look};

static msx_ctx *ctx;
static msx_merger *merger;
static msx_checkpoint *target;

static void set_up(void) {
    ctx = test_ctx();
    test_ok(ctx, msx_ctx_set_threads(ctx, 1));
    test_ok(ctx, msx_merge_method_register(ctx, &probe));
    test_ok(ctx, msx_merge_method_register(ctx, &other));
    msx_checkpoint *models[MODELS];
    for (uint32_t k = 0; k < MODELS; k++) models[k] = small_sam(ctx, DEPTH, 2, k + 1);
    test_ok(ctx, msx_merger_create(&merger, ctx, models, names, MODELS, false));
    for (int k = 0; k < MODELS; k++) msx_checkpoint_free(models[k]);
    test_ok(ctx, msx_checkpoint_create(&target, ctx));
}
static void tear_down(void) {
    msx_checkpoint_free(target);
    msx_merger_free(merger);
    msx_ctx_free(ctx);
}

static msx_plan *plan_of(const char *groups) {
    msx_plan *p;
    char text[1024];
    snprintf(text, sizeof text, "medsamix: 1\nmodels: [a, b]\ngroups: {%s}\n", groups);
    test_ok(ctx, msx_plan_parse(&p, ctx, text, strlen(text), "here"));
    return p;
}

static void run(const char *groups) {
    msx_plan *p = plan_of(groups);
    n_seen = 0;
    test_ok(ctx, msx_merger_run(merger, p, NULL, target, NULL));
    msx_plan_free(p);
}

static const struct seen *seen_at(const char *tensor) {
    for (size_t i = 0; i < n_seen; i++)
        if (!strcmp(seen[i].tensor, tensor)) return &seen[i];
    return NULL;
}

/* The gain that a tensor was merged with. */
static double gain_of(const char *tensor) {
    const struct seen *s = seen_at(tensor);
    ck_assert_msg(s != NULL, "%s was not merged", tensor);
    return s->gain;
}

static double gain_of_block(int block) {
    char name[128];
    snprintf(name, sizeof name, "image_encoder.blocks.%d.norm1.bias", block);
    return gain_of(name);
}

START_TEST(values_lie_evenly_over_the_groups_of_an_entry) {
    run("'encoder.*': {method: look, gain: [10, 20, 50]}");
    static const double over_five[DEPTH] = {10, 15, 20, 35, 50};
    for (int b = 0; b < DEPTH; b++) ck_assert_double_eq(gain_of_block(b), over_five[b]);
    ck_assert_ptr_null(seen_at("image_encoder.pos_embed")); /* no entry: the base's */
    run("'encoder.?': {method: look, gain: [1, 2]}");
    for (int b = 0; b < DEPTH; b++) ck_assert_double_eq(gain_of_block(b), 1 + b / 4.0);
}
END_TEST

START_TEST(one_group_has_the_first_value) {
    run("neck: {method: look, gain: [3, 4, 5]}");
    ck_assert_double_eq(gain_of("image_encoder.neck.0.weight"), 3);
}
END_TEST

/* Groups with an entry of their own do not count for the others' depth. */
START_TEST(the_rest_has_a_depth_of_its_own) {
    run("encoder.2: {method: look, gain: 99}, 'encoder.*': {method: look, gain: [0, 3]}");
    static const double rest[DEPTH] = {0, 1, 99, 2, 3};
    for (int b = 0; b < DEPTH; b++) ck_assert_double_eq(gain_of_block(b), rest[b]);
    /* patch_embed, pos_embed, 5 blocks, neck, prompt.0 to 3, decoder.0 to 5: 18 groups */
    run("'*': {method: look, gain: [0, 17]}");
    ck_assert_double_eq_tol(gain_of("image_encoder.patch_embed.proj.bias"), 0, 1e-12);
    ck_assert_double_eq_tol(gain_of("image_encoder.pos_embed"), 1, 1e-12);
    ck_assert_double_eq_tol(gain_of_block(3), 5, 1e-12);
    ck_assert_double_eq_tol(gain_of("mask_decoder.iou_token.weight"), 17, 1e-12);
}
END_TEST

START_TEST(a_name_goes_before_patterns_and_of_these_the_last) {
    run("'*': {method: look, gain: 1}, 'encoder.*': {method: look, gain: 2}, "
        "encoder.3: {method: look, gain: 3}, '*.?': {method: look, gain: 4}");
    ck_assert_double_eq(gain_of_block(3), 3);
    ck_assert_double_eq(gain_of_block(2), 4);
    ck_assert_double_eq(gain_of("prompt_encoder.no_mask_embed.weight"), 4);
    ck_assert_double_eq(gain_of("image_encoder.neck.0.weight"), 1);
}
END_TEST

START_TEST(filters_tell_the_tensors_of_a_group_apart) {
    run("'encoder.*': {method: look, gain: [{filter: attn, value: [0, 4]}, {filter: '*.bias', "
        "value: 7}, {filter: mlp.lin1, value: 8}, {value: 9}], "
        "weight: {a: [{filter: norm, value: 0.25}]}}");
    for (int b = 0; b < DEPTH; b++) {
        static const char *const tensors[] = {"attn.qkv.weight", "attn.qkv.bias",   "norm1.bias",
                                              "mlp.lin1.bias",   "mlp.lin1.weight", "norm1.weight"};
        const double expected[] = {b, b, 7, 7, 8, 9}; /* the first filter that names it */
        for (int k = 0; k < 6; k++) {
            char name[128];
            snprintf(name, sizeof name, "image_encoder.blocks.%d.%s", b, tensors[k]);
            ck_assert_double_eq(gain_of(name), expected[k]);
            bool norm = strstr(name, "norm") != NULL;
            ck_assert_double_eq(seen_at(name)->weight[1], norm ? 0.25 : 0.5);
            ck_assert_double_eq(seen_at(name)->weight[0], 0.5);
        }
    }
}
END_TEST

START_TEST(what_names_nothing_is_an_error) {
    static const struct {
        const char *groups, *text;
    } cases[] = {
        {"'encodr.*': {method: look}", "here: 3:22: unknown layer groups 'encodr.*'"},
        {"'neck?': {method: look}", "unknown layer groups 'neck?'; did you mean 'neck'?"},
        {"neck: {method: look, gain: [{filter: attn, value: 1}]}",
         "here: 3:16: group 'neck': filter 'attn' of gain names no tensor of it"},
        {"'*': {method: look, weight: {b: [{filter: 'attn', value: 1}, {filter: '*.atn.*', value: "
         "0}]}}",
         "group '*': filter '*.atn.*' of weight names no tensor of it"},
        {"'encoder.*': {method: look, gain: [{filter: attn, value: 1}]}, 'encoder.?': {method: look}",
         "group 'encoder.*': filter 'attn' of gain names no tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        msx_plan *p = plan_of(cases[i].groups);
        test_fails(ctx, msx_merger_run(merger, p, NULL, target, NULL), MSX_E_NOTFOUND,
                   cases[i].text);
        msx_plan_free(p);
    }
}
END_TEST

START_TEST(only_the_tensors_of_a_changed_filter_are_rebuilt) {
    static const char *const groups[] = {
        "'encoder.*': {method: look, gain: [{filter: attn, value: [1, 2]}, {value: 5}]}",
        "'encoder.*': {method: look, gain: [{filter: attn, value: [1, 3]}, {value: 5}]}"};
    msx_plan *before = plan_of(groups[0]), *now = plan_of(groups[1]);
    test_ok(ctx, msx_merger_run(merger, before, NULL, target, NULL));
    n_seen = 0;
    test_ok(ctx, msx_merger_run(merger, now, before, target, NULL));
    ck_assert_uint_eq(n_seen, 6 * (DEPTH - 1)); /* the first block's value is the same */
    for (size_t i = 0; i < n_seen; i++) {
        ck_assert_ptr_nonnull(strstr(seen[i].tensor, "attn"));
        ck_assert_ptr_null(strstr(seen[i].tensor, "blocks.0."));
    }
    msx_plan_free(before);
    msx_plan_free(now);
}
END_TEST

START_TEST(running_out_of_memory_is_returned) {
    static const char text[] = "medsamix: 1\ngroups: {'*': {method: linear, weight: {base: "
                               "[{filter: attn, value: [0, 1]}]}}}\n";
    for (int64_t fail_at = 0;; fail_at++) {
        test_allocator a;
        msx_ctx *small;
        msx_plan *p;
        test_allocator_init(&a, -1, false);
        ck_assert_int_eq(msx_ctx_create(&small, &a.table), MSX_OK);
        test_ok(small, msx_plan_parse(&p, small, text, strlen(text), "x"));
        msx_checkpoint *c = small_sam(small, 2, 2, 1), *out;
        msx_checkpoint *const both[] = {c, c};
        msx_merger *m;
        test_ok(small, msx_ctx_set_threads(small, 1));
        test_ok(small, msx_merger_create(&m, small, both, names, 2, false));
        test_ok(small, msx_checkpoint_create(&out, small));
        a.fail_at = a.calls + fail_at;
        msx_status status = msx_merger_run(m, p, NULL, out, NULL);
        bool reached = a.calls > a.fail_at;
        ck_assert_int_eq(status, reached ? MSX_E_NOMEM : MSX_OK);
        a.fail_at = -1;
        msx_checkpoint_free(out);
        msx_merger_free(m);
        msx_checkpoint_free(c);
        msx_plan_free(p);
        msx_ctx_free(small);
        ck_assert_int_eq(a.live, 0);
        if (!reached) break;
        if (fail_at > 60) fail_at += 37; /* the target's tensors, one like the other */
    }
}
END_TEST

/* ---- plans that name their files ------------------------------------------------------------------ */

static const char *folder;
static char where[4][160];

static void save_models(void) {
    static const char *const files[] = {"base", "a", "b"};
    folder = test_make_folder();
    for (uint32_t k = 0; k < MODELS; k++) {
        msx_checkpoint *c = small_sam(ctx, DEPTH, 2, k + 1);
        snprintf(where[k], sizeof where[k], "%s/%s.safetensors", folder, files[k]);
        test_ok(ctx, msx_checkpoint_save(c, where[k], NULL));
        msx_checkpoint_free(c);
    }
    snprintf(where[3], sizeof where[3], "%s/plan.yaml", folder);
}

static void expect_dtype(const char *path, msx_dtype dtype) {
    msx_checkpoint *c;
    test_ok(ctx, msx_checkpoint_open(&c, ctx, path));
    ck_assert_int_eq(msx_checkpoint_dtype(c, 0), dtype);
    msx_checkpoint_free(c);
}

START_TEST(a_plan_says_all_of_a_merge) {
    static const char text[] = "medsamix: 1\ndtype: f16\nbase: base.safetensors\n"
                               "models: {a: a.safetensors, b: b.safetensors}\n"
                               "groups: {'*': {method: ties, retain: [0.2, 0.8]}}\n";
    save_models();
    FILE *f = fopen(where[3], "w");
    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    msx_plan *p;
    test_ok(ctx, msx_plan_load(&p, ctx, where[3]));
    char out[160], by_hand[160];
    snprintf(out, sizeof out, "%s/out.pth", folder);
    snprintf(by_hand, sizeof by_hand, "%s/hand.pth", folder);
    test_ok(ctx, msx_merge_files(ctx, p, NULL, NULL, 0, out, NULL, false));
    expect_dtype(out, MSX_DTYPE_F16);
    const char *const paths[] = {where[0], where[1], where[2]};
    const msx_save_options wide = {.struct_size = sizeof wide, .dtype = MSX_DTYPE_F32};
    test_ok(ctx, msx_merge_files(ctx, p, paths, names, MODELS, by_hand, &wide, false));
    expect_dtype(by_hand, MSX_DTYPE_F32);

    /* the files stand beside the merged one, and are given */
    msx_merge_check check = {.struct_size = sizeof check};
    test_ok(ctx, msx_merge_verify(&check, ctx, out, NULL, NULL, 0));
    ck_assert(check.equal);
    test_ok(ctx, msx_merge_verify(&check, ctx, out, paths, names, MODELS));
    ck_assert(check.equal);

    test_ok(ctx, msx_plan_set_path(p, "b", NULL));
    test_fails(ctx, msx_merge_files(ctx, p, NULL, NULL, 0, out, NULL, false), MSX_E_NOTFOUND,
               "the plan names no file for 'b'");
    test_fails(ctx, msx_merge_files(ctx, p, paths, NULL, 0, out, NULL, false), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_merge_verify(&check, ctx, out, NULL, names, MODELS), MSX_E_ARG, "NULL");
    msx_plan_free(p);
    test_remove_folder(folder);
}
END_TEST

START_TEST(files_that_moved_are_told) {
    save_models();
    msx_plan *p = plan_of("'*': {method: linear}");
    test_ok(ctx, msx_plan_set_path(p, "base", "gone.safetensors"));
    test_ok(ctx, msx_plan_set_folder(p, folder));
    char out[160];
    snprintf(out, sizeof out, "%s/out.pth", folder);
    for (int k = 1; k < MODELS; k++) test_ok(ctx, msx_plan_set_path(p, names[k], where[k]));
    test_fails(ctx, msx_merge_files(ctx, p, NULL, NULL, 0, out, NULL, false), MSX_E_IO,
               "/gone.safetensors: cannot be opened");
    const char *const paths[] = {where[0], where[1], where[2]};
    test_ok(ctx, msx_merge_files(ctx, p, paths, names, MODELS, out, NULL, false));
    msx_merge_check check = {.struct_size = sizeof check};
    test_fails(ctx, msx_merge_verify(&check, ctx, out, NULL, NULL, 0), MSX_E_IO,
               "/gone.safetensors: cannot be opened");
    test_ok(ctx, msx_merge_verify(&check, ctx, out, paths, names, MODELS));
    ck_assert(check.equal);
    msx_plan_free(p);
    test_remove_folder(folder);
}
END_TEST

int main(void) {
    Suite *s = suite_create("depth");
    TCase *t = tcase_create("depth");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    suite_add_tcase(s, t);
    tcase_add_test(t, values_lie_evenly_over_the_groups_of_an_entry);
    tcase_add_test(t, one_group_has_the_first_value);
    tcase_add_test(t, the_rest_has_a_depth_of_its_own);
    tcase_add_test(t, a_name_goes_before_patterns_and_of_these_the_last);
    tcase_add_test(t, filters_tell_the_tensors_of_a_group_apart);
    tcase_add_test(t, what_names_nothing_is_an_error);
    tcase_add_test(t, only_the_tensors_of_a_changed_filter_are_rebuilt);
    tcase_add_test(t, running_out_of_memory_is_returned);
    tcase_add_test(t, a_plan_says_all_of_a_merge);
    tcase_add_test(t, files_that_moved_are_told);
    return test_run(s);
}
