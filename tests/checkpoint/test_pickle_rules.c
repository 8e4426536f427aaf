/* SPDX-License-Identifier: Apache-2.0 */
/* What the three rules for pickles take: the weights are the same whatever stands beside them. */
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static msx_ctx *ctx;

static void setup(void) {
    ctx = test_ctx();
}
static void teardown(void) {
    msx_ctx_free(ctx);
}

/* Status and text of each rule; text NULL: the file is read and holds 1 to 6. */
static const struct {
    const char *file, *tensor;
    const char *strict, *known, *tolerant;
} files[] = {
    {"torch_zip/valid_flat.pth", "w", NULL, NULL, NULL},
    {"torch_zip/valid_protocol4.pth", "w", NULL, NULL, NULL},
    {"torch_zip/valid_parameter.pth", "w", NULL, NULL, NULL},
    {"torch_zip/valid_size_class.pth", "w", NULL, NULL, NULL},
    {"torch_zip/valid_untyped_v3.pth", "w", NULL, NULL, NULL},
    {"torch_legacy/valid_flat.pth", "w", NULL, NULL, NULL},
    {"torch_zip/valid_trainer.pth", "w",
     "data.pkl: byte 13: the pickle names numpy.core.multiarray.scalar, which the strict rule",
     NULL, NULL},
    {"torch_legacy/valid_trainer.pth", "mask_decoder.w",
     "object (from byte 70): byte 25: the pickle names trainer.loss.Dice, which the strict", NULL,
     NULL},
    {"torch_zip/reject_call_beside_the_weights.pth", "w",
     "byte 14: the pickle names posix.system, which",
     "byte 63: the pickle calls posix.system, which", NULL},
    {"torch_zip/tolerant_trainer.pth", "mask_decoder.w",
     "the pickle names trainer.loss.make, which", "the pickle calls trainer.loss.make, which",
     NULL},
    {"torch_legacy/reject_module_source_instance.pth", "w",
     "the pickle names m.Net, which the strict rule", "holds the source code of a class", NULL},
    {"torch_zip/reject_call_system.pth", NULL, "the pickle names posix.system",
     "calls posix.system", "holds no state dict"},
    {"torch_zip/reject_call_nameless.pth", NULL, "calls something that has no name",
     "calls something that has no name", "holds no state dict"},
    {"torch_zip/tolerant_tensor_of_a_call.pth", "w", "the pickle names quant.make",
     "the pickle calls quant.make", NULL},
    {"torch_zip/tolerant_parameter_of_a_call.pth", NULL, "the pickle names quant.make",
     "the pickle calls quant.make", "tensor 'v': is no tensor"},
    {"torch_zip/reject_opcode_unknown.pth", NULL, "unknown opcode 0xff", "unknown opcode 0xff",
     "unknown opcode 0xff"},
};
enum { FILES = sizeof files / sizeof *files };

static void expect(const char *file, const char *tensor, msx_pickle_rule rule, const char *text) {
    static const float six[] = {1, 2, 3, 4, 5, 6};
    char path[200];
    msx_checkpoint *c;
    snprintf(path, sizeof path, "fuzz/corpus/%s", file);
    test_ok(ctx, msx_ctx_set_pickle_rule(ctx, rule));
    ck_assert_int_eq(msx_ctx_pickle_rule(ctx), rule);
    msx_status status = msx_checkpoint_open(&c, ctx, test_path(path));
    if (text) {
        ck_assert_msg(status < 0, "%s: rule %d takes it", file, (int)rule);
        test_fails(ctx, status, status == MSX_E_FORMAT ? MSX_E_FORMAT : MSX_E_UNSUPPORTED, text);
        return;
    }
    int64_t n;
    test_ok(ctx, status);
    float *values = test_tensor(c, tensor, &n);
    ck_assert_int_eq(n, 6);
    ck_assert_mem_eq(values, six, sizeof six);
    free(values);
    msx_checkpoint_free(c);
}

START_TEST(each_rule_takes_what_it_should) {
    for (int i = 0; i < FILES; i++) {
        expect(files[i].file, files[i].tensor, MSX_PICKLE_STRICT, files[i].strict);
        expect(files[i].file, files[i].tensor, MSX_PICKLE_KNOWN, files[i].known);
        expect(files[i].file, files[i].tensor, MSX_PICKLE_TOLERANT, files[i].tolerant);
    }
}
END_TEST

/* A tensor that only a call would make is not there; the others are. */
START_TEST(what_was_not_looked_at_is_missing) {
    msx_checkpoint *c;
    test_ok(ctx, msx_ctx_set_pickle_rule(ctx, MSX_PICKLE_TOLERANT));
    test_ok(ctx, msx_checkpoint_open(
                     &c, ctx, test_path("fuzz/corpus/torch_zip/tolerant_tensor_of_a_call.pth")));
    ck_assert_int_eq(msx_checkpoint_count(c), 1);
    ck_assert_int_lt(msx_checkpoint_find(c, "v"), 0);
    msx_checkpoint_free(c);
}
END_TEST

START_TEST(what_torch_writes_passes_the_strict_rule) {
    static const char *const golden[] = {"zip.pth",
                                         "legacy.pth",
                                         "half.pth",
                                         "bfloat16.pth",
                                         "double.pth",
                                         "parameters.pth",
                                         "one_shared_storage.pth",
                                         "strided.pth"};
    test_ok(ctx, msx_ctx_set_pickle_rule(ctx, MSX_PICKLE_STRICT));
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        char path[200];
        msx_checkpoint *c;
        snprintf(path, sizeof path, "golden/containers/%s", golden[i]);
        test_ok(ctx, msx_checkpoint_open(&c, ctx, test_path(path)));
        msx_checkpoint_free(c);
    }
}
END_TEST

START_TEST(unknown_rules_are_refused) {
    test_fails(ctx, msx_ctx_set_pickle_rule(ctx, (msx_pickle_rule)3), MSX_E_ARG, "pickle rule");
    test_fails(ctx, msx_ctx_set_pickle_rule(ctx, (msx_pickle_rule)-1), MSX_E_ARG, "pickle rule");
    ck_assert_int_eq(msx_ctx_set_pickle_rule(NULL, MSX_PICKLE_KNOWN), MSX_E_ARG);
    ck_assert_int_eq(msx_ctx_pickle_rule(NULL), MSX_PICKLE_KNOWN);
    ck_assert_int_eq(msx_ctx_pickle_rule(ctx), MSX_PICKLE_KNOWN);
}
END_TEST

int main(void) {
    Suite *s = suite_create("pickle rules");
    TCase *t = tcase_create("pickle rules");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, each_rule_takes_what_it_should);
    tcase_add_test(t, what_was_not_looked_at_is_missing);
    tcase_add_test(t, what_torch_writes_passes_the_strict_rule);
    tcase_add_test(t, unknown_rules_are_refused);
    suite_add_tcase(s, t);
    return test_run(s);
}
