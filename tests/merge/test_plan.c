/* SPDX-License-Identifier: Apache-2.0 */
/* Plans: building, canonical text, and every reason to refuse one. */
#include "core/core.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static msx_plan *parse(msx_ctx *ctx, const char *text) {
    msx_plan *p;
    test_ok(ctx, msx_plan_parse(&p, ctx, text, strlen(text), "here"));
    return p;
}

static const char *corpus(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "tests/fuzz/corpus/plan/%s.yaml", name);
    return path;
}

START_TEST(a_plan_is_built_and_printed) {
    msx_ctx *ctx = test_ctx();
    msx_plan *p;
    test_ok(ctx, msx_plan_create(&p, ctx));
    ck_assert_str_eq(msx_plan_text(p),
                     "medsamix: 1\ngranularity: {encoder: 1, prompt: 1, decoder: 1}\n"
                     "models: []\ngroups: {}\n");
    msx_granularity g = {sizeof g, 2, 0, 4};
    test_ok(ctx, msx_plan_set_granularity(p, &g));
    test_ok(ctx, msx_plan_add_model(p, "human"));
    test_ok(ctx, msx_plan_add_model(p, "no"));
    test_ok(ctx, msx_plan_add_group(p, "a.b", (const char *const[]){"*.x?", "y"}, 2));
    test_ok(ctx, msx_plan_set_method(p, "neck", "slerp"));
    test_ok(ctx, msx_plan_set_method(p, "*", "ties"));
    test_ok(ctx, msx_plan_set_param(p, "neck", "t", 0.1));
    test_ok(ctx, msx_plan_set_param(p, "neck", "score.no", -0.0));
    test_ok(ctx, msx_plan_set_param(p, "neck", "score.base", 1.0 / 3));
    test_ok(ctx, msx_plan_set_param(p, "*", "scaling", 1));
    static const char text[] =
        "medsamix: 1\ngranularity: {encoder: 2, prompt: 1, decoder: 4}\n"
        "models: [human, \"no\"]\ndefine:\n  a.b: [\"*.x?\", \"y\"]\ngroups:\n"
        "  neck: {method: slerp, score: {base: 0.3333333333333333, \"no\": 0}, t: 0.1}\n"
        "  \"*\": {method: ties, scaling: 1}\n";
    ck_assert_str_eq(msx_plan_text(p), text);
    msx_plan *again = parse(ctx, text);
    ck_assert_str_eq(msx_plan_text(again), text);

    ck_assert_int_eq(msx_plan_model_count(again), 2);
    ck_assert_str_eq(msx_plan_model(again, 1), "no");
    ck_assert_ptr_null(msx_plan_model(again, 2));
    ck_assert_int_eq(msx_plan_entry_count(again), 2);
    ck_assert_str_eq(msx_plan_entry_group(again, 0), "neck");
    ck_assert_str_eq(msx_plan_entry_method(again, 1), "ties");
    ck_assert_ptr_null(msx_plan_entry_group(again, 2));
    ck_assert_ptr_null(msx_plan_entry_method(again, -1));
    ck_assert(msx_plan_entry_param(again, 0, "score.base") == 1.0 / 3);
    ck_assert(isnan(msx_plan_entry_param(again, 0, "score.human")));
    ck_assert(isnan(msx_plan_entry_param(again, 0, "nonsense")));
    ck_assert(isnan(msx_plan_entry_param(again, 2, "t")));
    msx_granularity got;
    msx_plan_granularity(again, &got);
    ck_assert(got.encoder == 2 && got.prompt == 1 && got.decoder == 4);

    /* a new method forgets the old one's parameters and keeps the place */
    test_ok(ctx, msx_plan_set_method(p, "neck", "linear"));
    ck_assert_ptr_nonnull(strstr(msx_plan_text(p), "groups:\n  neck: {method: linear}\n"));
    msx_plan_free(again);
    msx_plan_free(p);
    msx_plan_free(NULL);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(wrong_values_are_refused) {
    msx_ctx *ctx = test_ctx();
    msx_plan *p;
    test_ok(ctx, msx_plan_create(&p, ctx));
    test_ok(ctx, msx_plan_add_model(p, "human"));
    test_ok(ctx, msx_plan_set_method(p, "neck", "linear"));
    char long_name[80];
    memset(long_name, 'a', 65);
    long_name[65] = 0;
    const char *const none[] = {NULL};
#define SET(key, value) msx_plan_set_param(p, "neck", key, value)
    test_fails(ctx, SET("weight.human", 1.01), MSX_E_ARG, "use 0 to 1");
    test_fails(ctx, SET("weight.human", NAN), MSX_E_ARG, "nan");
    test_fails(ctx, SET("weight.humn", 1), MSX_E_NOTFOUND, "did you mean 'human'");
    test_fails(ctx, SET("wieght.human", 1), MSX_E_NOTFOUND, "did you mean 'weight'");
    test_fails(ctx, SET("weight", 1), MSX_E_ARG, "weight.NAME");
    test_fails(ctx, SET("", 1), MSX_E_NOTFOUND, "parameter");
    test_fails(ctx, SET(NULL, 1), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_plan_set_param(p, "pos_embed", "weight.human", 1), MSX_E_NOTFOUND,
               "no method");
    test_fails(ctx, msx_plan_set_method(p, "neck", "lineer"), MSX_E_NOTFOUND,
               "did you mean 'linear'");
    test_fails(ctx, msx_plan_set_method(p, "neck", NULL), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_plan_set_method(p, NULL, "linear"), MSX_E_ARG, "group name");
    test_fails(ctx, msx_plan_set_method(p, "a/*", "linear"), MSX_E_ARG, "group name");
    test_fails(ctx, msx_plan_set_values(p, "neck", "weight.human", NULL, NULL, 1), MSX_E_ARG,
               "give 1 to 4096 values");
    test_fails(ctx, msx_plan_set_values(p, "neck", "weight.human", NULL, (double[]){0}, 0),
               MSX_E_ARG, "give 1 to 4096 values");
    test_fails(ctx, msx_plan_set_values(p, "neck", "weight.human", "", (double[]){0}, 1), MSX_E_ARG,
               "filter ''");
    test_fails(ctx, msx_plan_set_values(p, "neck", "weight.human", NULL, (double[]){0, 7}, 2),
               MSX_E_ARG, "use 0 to 1");
    test_fails(ctx, msx_plan_set_dtype(p, MSX_DTYPE_I8), MSX_E_ARG, "cannot be written");
    test_fails(ctx, msx_plan_set_path(p, "humn", "x.pth"), MSX_E_NOTFOUND, "no model 'humn'");
    test_fails(ctx, msx_plan_set_path(p, NULL, "x.pth"), MSX_E_NOTFOUND, "no model ''");
    test_fails(ctx, msx_plan_set_path(p, "human", "\xff"), MSX_E_ARG, "UTF-8");
    test_fails(ctx, msx_plan_set_method(p, long_name, "linear"), MSX_E_ARG, "group name");
    test_fails(ctx, msx_plan_add_model(p, "base"), MSX_E_ARG, "base");
    test_fails(ctx, msx_plan_add_model(p, "human"), MSX_E_EXISTS, "twice");
    test_fails(ctx, msx_plan_add_model(p, "a b"), MSX_E_ARG, "letters");
    test_fails(ctx, msx_plan_add_model(p, NULL), MSX_E_ARG, "letters");
    test_fails(ctx, msx_plan_add_group(p, "g", none, 1), MSX_E_ARG, "pattern");
    test_fails(ctx, msx_plan_add_group(p, "g", NULL, 0), MSX_E_ARG, "pattern");
    test_fails(ctx, msx_plan_set_granularity(p, NULL), MSX_E_ARG, "NULL");
    ck_assert_int_eq(msx_plan_set_param(NULL, "neck", "t", 1), MSX_E_ARG);
    ck_assert_ptr_null(msx_plan_text(NULL));
    char name[16];
    for (int i = 1; i < 64; i++) {
        snprintf(name, sizeof name, "m%d", i);
        test_ok(ctx, msx_plan_add_model(p, name));
    }
    test_fails(ctx, msx_plan_add_model(p, "one-more"), MSX_E_LIMIT, "64");
    msx_plan_free(p);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(valid_files_are_read_and_print_the_same_again) {
    static const char *const names[] = {"valid_canonical", "valid_block_style", "valid_define",
                                        "valid_gradient",  "valid_filters",     "valid_files",
                                        "valid_no_groups"};
    msx_ctx *ctx = test_ctx();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        msx_plan *p;
        test_ok(ctx, msx_plan_load(&p, ctx, corpus(names[i])));
        msx_plan *again = parse(ctx, msx_plan_text(p));
        ck_assert_str_eq(msx_plan_text(again), msx_plan_text(p));
        msx_plan_free(again);
        msx_plan_free(p);
    }
    msx_plan *p;
    test_ok(ctx, msx_plan_load(&p, ctx, corpus("valid_block_style")));
    ck_assert_str_eq(
        msx_plan_text(p),
        "medsamix: 1\ngranularity: {encoder: 2, prompt: 1, decoder: 4}\n"
        "models: [\"no\", a-b_C9]\ngroups:\n  \"*\": {method: ties, scaling: 0.001}\n");
    msx_plan_free(p);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(values_over_the_depth_and_filters_are_kept) {
    static const char text[] =
        "medsamix: 1\ngranularity: {encoder: 1, prompt: 1, decoder: 1}\nmodels: [a, b]\ngroups:\n"
        "  \"encoder.*\": {method: slerp, score: {base: 0.1, a: [0, 0.25, 1]}, "
        "t: [{filter: \"attn\", value: [0.5, 1]}, {filter: \"*.mlp.*\", value: 0.25}, {value: 0.125}]}\n";
    msx_ctx *ctx = test_ctx();
    msx_plan *p;
    test_ok(ctx, msx_plan_create(&p, ctx));
    test_ok(ctx, msx_plan_add_model(p, "a"));
    test_ok(ctx, msx_plan_add_model(p, "b"));
    test_ok(ctx, msx_plan_set_method(p, "encoder.*", "slerp"));
#define VALUES(key, filter, ...)                                                                   \
    test_ok(ctx, msx_plan_set_values(p, "encoder.*", key, filter, (double[]){__VA_ARGS__},         \
                                     sizeof(double[]){__VA_ARGS__} / sizeof(double)))
    VALUES("t", NULL, 0.125);
    VALUES("score.a", NULL, 0, 0.25, 1);
    VALUES("t", "attn", 1);
    VALUES("t", "*.mlp.*", 0.25);
    VALUES("t", "attn", 0.5, 1); /* replaces it, and keeps its place */
    test_ok(ctx, msx_plan_set_param(p, "encoder.*", "score.base", 0.1));
#undef VALUES
    ck_assert_str_eq(msx_plan_text(p), text);
    msx_plan *again = parse(ctx, text);
    ck_assert_str_eq(msx_plan_text(again), text);
    ck_assert_int_eq(msx_plan_entry_setting_count(again, 0), 5);
    msx_plan_setting s = {.struct_size = sizeof s};
    test_ok(ctx, msx_plan_entry_setting(&s, again, 0, 1));
    ck_assert_str_eq(s.param, "score");
    ck_assert_str_eq(s.model, "a");
    ck_assert_ptr_null(s.filter);
    ck_assert(s.n == 3 && s.values[1] == 0.25);
    test_ok(ctx, msx_plan_entry_setting(&s, again, 0, 3));
    ck_assert_str_eq(s.param, "t");
    ck_assert_ptr_null(s.model);
    ck_assert_str_eq(s.filter, "*.mlp.*");
    test_fails(ctx, msx_plan_entry_setting(&s, again, 0, 5), MSX_E_ARG, "no setting 5");
    test_fails(ctx, msx_plan_entry_setting(&s, again, 1, 0), MSX_E_ARG, "no setting 0 of entry 1");
    s.struct_size = 0;
    test_fails(ctx, msx_plan_entry_setting(&s, again, 0, 0), MSX_E_ARG, "struct_size");
    ck_assert_int_eq(msx_plan_entry_setting_count(again, 1), 0);
    ck_assert(msx_plan_entry_param(again, 0, "t") == 0.125);
    ck_assert(isnan(msx_plan_entry_param(again, 0, "score.a"))); /* three */
    msx_plan_free(again);
    msx_plan_free(p);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(files_are_named_and_found_beside_the_plan) {
    msx_ctx *ctx = test_ctx();
    msx_plan *p;
    test_ok(ctx, msx_plan_load(&p, ctx, corpus("valid_files")));
    ck_assert_str_eq(msx_plan_path(p, "base"), "../sam vit_b.pth");
    ck_assert_str_eq(msx_plan_file(p, "base"), "tests/fuzz/corpus/plan/../sam vit_b.pth");
    ck_assert_str_eq(msx_plan_file(p, "human"), "/data/\"quoted\\.pth");
    ck_assert_ptr_null(msx_plan_path(p, "macaque"));
    ck_assert_ptr_null(msx_plan_file(p, "macaque"));
    ck_assert_ptr_null(msx_plan_path(p, "nobody"));
    ck_assert_int_eq(msx_plan_dtype(p), MSX_DTYPE_BF16);
    ck_assert_str_eq(
        msx_plan_text(p),
        "medsamix: 1\ngranularity: {encoder: 1, prompt: 1, decoder: 1}\ndtype: bf16\n"
        "base: \"../sam vit_b.pth\"\nmodels: {human: \"/data/\\\"quoted\\\\.pth\", macaque: \"\", "
        "\"no\": \"\xc3\xa4\xc3\xb6.safetensors\"}\ngroups: {}\n");
    test_ok(ctx, msx_plan_set_folder(p, NULL));
    ck_assert_str_eq(msx_plan_file(p, "base"), "../sam vit_b.pth");
    test_ok(ctx, msx_plan_set_folder(p, "/models"));
    ck_assert_str_eq(msx_plan_file(p, "base"), "/models/../sam vit_b.pth");
    test_ok(ctx, msx_plan_set_path(p, "base", NULL));
    ck_assert_ptr_null(msx_plan_file(p, "base"));
    test_ok(ctx, msx_plan_set_dtype(p, 0));
    ck_assert_ptr_null(strstr(msx_plan_text(p), "dtype"));
    ck_assert_ptr_null(strstr(msx_plan_text(p), "base:"));
    msx_plan_free(p);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(a_saved_plan_is_its_text) {
    msx_ctx *ctx = test_ctx();
    const char *folder = test_make_folder();
    char path[128];
    snprintf(path, sizeof path, "%s/plan.yaml", folder);
    msx_plan *p, *again;
    test_ok(ctx, msx_plan_load(&p, ctx, corpus("valid_canonical")));
    test_ok(ctx, msx_plan_save(p, path));
    test_ok(ctx, msx_plan_load(&again, ctx, path));
    ck_assert_str_eq(msx_plan_text(again), msx_plan_text(p));
    msx_plan_free(again);
    test_fails(ctx, msx_plan_save(p, "/nonexistent/p.yaml"), MSX_E_IO, "/nonexistent/p.yaml");
    test_fails(ctx, msx_plan_load(&again, ctx, "/nonexistent/p.yaml"), MSX_E_IO, "nonexistent");
    msx_plan_free(p);
    test_remove_folder(folder);
    msx_ctx_free(ctx);
}
END_TEST

static const struct reject {
    const char *name;
    msx_status status;
    const char *text;
} rejects[] = {
    {"empty", MSX_E_FORMAT, ".yaml: 1:1: the text is empty"},
    {"only_comment", MSX_E_FORMAT, "2:1: the text is empty"},
    {"not_yaml", MSX_E_FORMAT, "3:1: not YAML"},
    {"tab_indentation", MSX_E_FORMAT, "3:1: not YAML"},
    {"not_utf8", MSX_E_FORMAT, "byte 36: not YAML in UTF-8"},
    {"control_character", MSX_E_FORMAT, "byte 37: not YAML in UTF-8"},
    {"nul_in_text", MSX_E_FORMAT, "2:25: NUL"},
    {"two_documents", MSX_E_FORMAT, "3:1: a second document"},
    {"anchor", MSX_E_FORMAT, "2:16: anchors"},
    {"alias", MSX_E_FORMAT, "2:16: aliases"},
    {"unquoted_star", MSX_E_FORMAT, "3:4: not YAML"},
    {"tag", MSX_E_FORMAT, "2:25: tags"},
    {"nested_too_deeply", MSX_E_LIMIT, "nested too deeply"},
    {"key_twice", MSX_E_FORMAT, "2:32: key 'neck' appears twice"},
    {"key_not_text", MSX_E_FORMAT, "2:10: a key must be a plain text"},
    {"too_many_values", MSX_E_LIMIT, "more than 4096"},
    {"list_as_plan", MSX_E_FORMAT, "1:1: a plan must be a mapping"},
    {"unknown_key", MSX_E_FORMAT, "2:8: unknown key 'group'; did you mean 'groups'?"},
    {"no_version", MSX_E_FORMAT, "1:1: key 'medsamix' is missing"},
    {"other_version", MSX_E_UNSUPPORTED, "1:11: plan version '2'"},
    {"version_is_list", MSX_E_FORMAT, "1:11: medsamix must be one value"},
    {"no_groups", MSX_E_FORMAT, "1:1: key 'groups' is missing"},
    {"groups_is_list", MSX_E_FORMAT, "2:9: groups must be a mapping"},
    {"granularity_five", MSX_E_FORMAT, "2:24: granularity must be 1, 2, 3 or 4"},
    {"granularity_unknown", MSX_E_NOTFOUND, "did you mean 'encoder'?"},
    {"model_is_base", MSX_E_FORMAT, "2:10: the base takes part"},
    {"model_twice", MSX_E_FORMAT, "2:13: model 'a' is named twice"},
    {"model_illegal", MSX_E_FORMAT, "2:10: model name 'a.b'"},
    {"models_too_many", MSX_E_LIMIT, "more than 64 models"},
    {"models_is_text", MSX_E_FORMAT, "2:9: models must be a list"},
    {"group_illegal", MSX_E_FORMAT, "group name 'a/b'"},
    {"group_is_text", MSX_E_FORMAT, "2:16: neck must be a mapping"},
    {"group_without_method", MSX_E_FORMAT, "2:16: a group needs 'method: NAME'"},
    {"method_unknown", MSX_E_NOTFOUND, "2:25: unknown merge method 'teis'; did you mean 'ties'?"},
    {"method_is_list", MSX_E_FORMAT, "2:25: method must be one value"},
    {"parameter_unknown", MSX_E_NOTFOUND, "did you mean 'scaling'?"},
    {"parameter_of_other_method", MSX_E_NOTFOUND, "unknown parameter of ties 'score'"},
    {"parameter_out_of_range", MSX_E_FORMAT, "'retain' of ties is 1.5; use 0 to 1"},
    {"parameter_not_number", MSX_E_FORMAT, "2:39: 'half' is not a number"},
    {"parameter_nan", MSX_E_FORMAT, "'.nan' is not a number"},
    {"parameter_is_nested_list", MSX_E_FORMAT, "2:40: a value of a list must be one value"},
    {"gradient_empty", MSX_E_FORMAT, "2:39: an empty list"},
    {"gradient_not_number", MSX_E_FORMAT, "2:43: 'half' is not a number"},
    {"gradient_out_of_range", MSX_E_FORMAT, "2:39: 'retain' of ties is 2; use 0 to 1"},
    {"filter_unknown_key", MSX_E_NOTFOUND, "unknown key 'filtr'; did you mean 'filter'?"},
    {"filter_without_value", MSX_E_FORMAT, "2:40: a filter needs 'value: NUMBER'"},
    {"filter_mixed", MSX_E_FORMAT, "a value with a filter must be a mapping"},
    {"filter_behind_the_rest", MSX_E_FORMAT, "2:40: a value without a filter takes all tensors"},
    {"filter_illegal", MSX_E_FORMAT, "filter 'a b': use 1 to 256 letters"},
    {"filter_is_list", MSX_E_FORMAT, "filter must be one value"},
    {"dtype_unknown", MSX_E_NOTFOUND, "2:8: unknown element type 'bf17'; did you mean 'bf16'?"},
    {"dtype_whole_number", MSX_E_NOTFOUND, "unknown element type 'i8'"},
    {"dtype_is_list", MSX_E_FORMAT, "2:8: dtype must be one value"},
    {"base_is_list", MSX_E_FORMAT, "2:7: base must be one value"},
    {"base_empty", MSX_E_FORMAT, "2:7: model 'base': the path must be 1 to 4095 bytes"},
    {"base_control_character", MSX_E_FORMAT, "2:7: model 'base': the path must be"},
    {"base_line_separator", MSX_E_FORMAT, "2:7: model 'base': the path must be"},
    {"models_file_is_list", MSX_E_FORMAT, "2:13: a must be one value"},
    {"models_base_in_mapping", MSX_E_FORMAT, "the base takes part in every plan"},
    {"parameter_dotted", MSX_E_FORMAT, "a dot in a parameter"},
    {"weight_without_model", MSX_E_FORMAT, "has a value for every model"},
    {"weight_of_unknown_model", MSX_E_NOTFOUND, "did you mean 'human'?"},
    {"scaling_per_model", MSX_E_NOTFOUND, "is one value for all models"},
    {"define_without_pattern", MSX_E_FORMAT, "2:13: group 'a' has no pattern"},
    {"define_illegal_pattern", MSX_E_FORMAT, "pattern '[x]'"},
    {"define_is_text", MSX_E_FORMAT, "2:13: a must be a list"},
};

START_TEST(every_fault_is_named_with_its_place) {
    msx_ctx *ctx = test_ctx();
    char name[64];
    snprintf(name, sizeof name, "reject_%s", rejects[_i].name);
    msx_plan *p;
    test_fails(ctx, msx_plan_load(&p, ctx, corpus(name)), rejects[_i].status, rejects[_i].text);
    ck_assert_ptr_null(p);
    ck_assert_msg(!strncmp(msx_ctx_error(ctx), corpus(name), strlen(corpus(name))), "%s",
                  msx_ctx_error(ctx));
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(limits_and_arguments_are_checked) {
    msx_ctx *ctx = test_ctx();
    msx_plan *p;
    test_ok(ctx, msx_ctx_set_limit(ctx, MSX_LIMIT_HEADER_BYTES, 10));
    test_fails(ctx, msx_plan_parse(&p, ctx, "medsamix: 1\n", 12, "x"), MSX_E_LIMIT, "x: 12 bytes");
    test_fails(ctx, msx_plan_load(&p, ctx, corpus("valid_canonical")), MSX_E_LIMIT, "limit of 10");
    test_fails(ctx, msx_plan_parse(&p, ctx, NULL, 1, "x"), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_plan_parse(&p, ctx, NULL, 0, NULL), MSX_E_FORMAT, "plan: 1:1");
    test_fails(ctx, msx_plan_load(&p, ctx, NULL), MSX_E_ARG, "NULL");
    ck_assert_int_eq(msx_plan_create(&p, NULL), MSX_E_ARG);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(memory_failures_are_returned) {
    static const char text[] =
        "medsamix: 1\nmodels: [a, b]\ndefine: {d: ['*.x', y]}\n"
        "base: 'x.pth'\ngroups:\n  neck: {method: linear, weight: {a: 1, b: [0.5, 1], base: 0}}\n"
        "  '*': {method: ties, retain: [{filter: attn, value: 0.1}, {value: [0, 1]}]}\n";
    bool done = false;
    for (int64_t fail_at = 1; !done; fail_at++) {
        test_allocator a;
        test_allocator_init(&a, fail_at, false);
        msx_ctx *ctx;
        ck_assert_int_eq(msx_ctx_create(&ctx, &a.table), MSX_OK);
        msx_plan *p;
        msx_status status = msx_plan_parse(&p, ctx, text, strlen(text), "x");
        if (status >= 0) status = msx_plan_set_folder(p, "folder");
        if (status >= 0 && !msx_plan_file(p, "base")) status = MSX_E_NOMEM;
        if (status >= 0 && !msx_plan_text(p)) status = MSX_E_NOMEM;
        done = a.calls <= fail_at;
        ck_assert_int_eq(status, done ? MSX_OK : MSX_E_NOMEM);
        msx_plan_free(p);
        msx_ctx_free(ctx);
        ck_assert_int_eq(a.live, 0);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    tcase_add_test(t, a_plan_is_built_and_printed);
    tcase_add_test(t, wrong_values_are_refused);
    tcase_add_test(t, valid_files_are_read_and_print_the_same_again);
    tcase_add_test(t, values_over_the_depth_and_filters_are_kept);
    tcase_add_test(t, files_are_named_and_found_beside_the_plan);
    tcase_add_test(t, a_saved_plan_is_its_text);
    tcase_add_loop_test(t, every_fault_is_named_with_its_place, 0,
                        sizeof rejects / sizeof *rejects);
    tcase_add_test(t, limits_and_arguments_are_checked);
    tcase_add_test(t, memory_failures_are_returned);
    return test_run(s);
}
