/* SPDX-License-Identifier: Apache-2.0 */
/* The four methods on hand-sized vectors, their edge cases, and the registry. */
#include "merge/merge.h"
#include "support/support.h"

#include <math.h>
#include <string.h>

enum { N = 6 };

/* Values computed by hand from the formulas of docs/methods.md. */
static const float base[N] = {0, 1, -1, .5f, .2f, -.3f};
static const float x1[N] = {.4f, 1.1f, -1.3f, .5f, 0, .3f};
static const float x2[N] = {-.1f, 1.5f, -.8f, .9f, .1f, .1f};

/* The given values are those of a method's first parameters; the others have their defaults. */
static void complete(double *all, const msx_merge_method *m, size_t n_models,
                     const double *values) {
    static const struct {
        const char *method;
        size_t params;
    } given[] = {{"linear", 1}, {"task_arithmetic", 1}, {"ties", 2}, {"slerp", 4}};
    size_t known = 0;
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (!strcmp(given[i].method, m->name)) known = given[i].params;
    for (size_t i = 0; i < m->n_params; i++)
        for (size_t k = 0; k < (m->params[i].per_model ? n_models : 1); k++)
            *all++ = i < known ? *values++ : m->params[i].initial;
}

/* Run a method as the merger would. */
static msx_status apply(const char *method, const float *const *models, size_t n_models,
                        const double *values, float *out, char *why) {
    msx_ctx *ctx = test_ctx();
    msx__merge_kernels k;
    test_ok(ctx, msx__merge_kernels_open(&k, ctx));
    int64_t dims[1] = {N};
    double all[64];
    msx_merge_call call = {sizeof call, "t", N, 1,  dims, n_models,     models,
                           all,         out, 1, &k, why,  why ? 256 : 0};
    const msx_merge_method *m = msx_merge_method_find(ctx, method);
    ck_assert_ptr_nonnull(m);
    complete(all, m, n_models, values);
    msx_status status = m->apply(&call, m->payload);
    msx__merge_kernels_close(&k);
    msx_ctx_free(ctx);
    return status;
}

static void expect(const float *out, const double *expected) {
    for (int i = 0; i < N; i++)
        ck_assert_msg(fabs(out[i] - expected[i]) <= 1e-5, "element %d: %.9g instead of %.9g", i,
                      (double)out[i], expected[i]);
}

static const float *const three[] = {base, x1, x2};

START_TEST(linear_golden) {
    float out[N];
    ck_assert_int_eq(apply("linear", three, 3, (double[]){0, .6, .3}, out, NULL), MSX_OK);
    expect(out, (double[]){.233333, 1.233333, -1.133333, .633333, .033333, .233333});
}
END_TEST

START_TEST(linear_of_zero_weights_is_the_mean) {
    float out[N];
    double mean[N];
    for (int i = 0; i < N; i++) mean[i] = ((double)base[i] + x1[i] + x2[i]) / 3;
    ck_assert_int_eq(apply("linear", three, 3, (double[]){0, 0, 0}, out, NULL), MSX_OK);
    expect(out, mean);
    ck_assert_int_eq(apply("linear", three, 3, (double[]){.5, .5, .5}, out, NULL), MSX_OK);
    expect(out, mean);
}
END_TEST

START_TEST(linear_of_one_model_is_that_model_to_the_bit) {
    float out[N], odd[N];
    memcpy(odd, x1, sizeof odd);
    odd[0] = -0.0f;
    const float *const models[] = {base, odd, x2};
    ck_assert_int_eq(apply("linear", models, 3, (double[]){0, .37, 0}, out, NULL), MSX_OK);
    ck_assert(!memcmp(out, odd, sizeof out));
}
END_TEST

START_TEST(linear_ignores_the_order_of_models) {
    float out[N], swapped[N];
    const float *const other[] = {x1, x2, base};
    apply("linear", three, 3, (double[]){.2, .5, .3}, out, NULL);
    apply("linear", other, 3, (double[]){.5, .3, .2}, swapped, NULL);
    for (int i = 0; i < N; i++) ck_assert_double_eq_tol(out[i], swapped[i], 1e-6);
}
END_TEST

START_TEST(task_arithmetic_golden) {
    float out[N];
    ck_assert_int_eq(apply("task_arithmetic", three, 3, (double[]){.3}, out, NULL), MSX_OK);
    expect(out, (double[]){.09, 1.18, -1.03, .62, .11, 0});
}
END_TEST

START_TEST(ties_golden) {
    float out[N];
    ck_assert_int_eq(apply("ties", three, 3, (double[]){.5, .5}, out, NULL), MSX_OK);
    expect(out, (double[]){.2, 1.25, -1.15, .7, .2, -.05});
}
END_TEST

START_TEST(scaling_zero_is_the_base_to_the_bit) {
    float out[N], odd[N];
    memcpy(odd, base, sizeof odd);
    odd[0] = -0.0f;
    const float *const models[] = {odd, x1, x2};
    apply("task_arithmetic", models, 3, (double[]){0}, out, NULL);
    ck_assert(!memcmp(out, odd, sizeof out));
    apply("ties", models, 3, (double[]){.5, 0}, out, NULL);
    ck_assert(!memcmp(out, odd, sizeof out));
    apply("ties", models, 3, (double[]){0.16, 1}, out, NULL); /* floor(0.96) keeps nothing */
    ck_assert(!memcmp(out, odd, sizeof out));
}
END_TEST

START_TEST(ties_of_all_elements_is_the_untrimmed_form) {
    float out[N];
    double expected[N];
    for (int i = 0; i < N; i++) {
        double d1 = (double)x1[i] - base[i], d2 = (double)x2[i] - base[i];
        double sign = d1 + d2 >= 0 ? 1 : -1, sum = 0;
        int n = 0;
        if (d1 * sign > 0) sum += d1, n++;
        if (d2 * sign > 0) sum += d2, n++;
        expected[i] = base[i] + (n ? sum / n : 0);
    }
    ck_assert_int_eq(apply("ties", three, 3, (double[]){1, 1}, out, NULL), MSX_OK);
    expect(out, expected);
}
END_TEST

START_TEST(ties_sign_tie_elects_plus) {
    const float zero[N] = {0}, up[N] = {.5f, 1, 1, 1, 1, 1}, down[N] = {-.5f, -1, -1, -1, -1, -1};
    const float *const models[] = {zero, down, up};
    float out[N];
    ck_assert_int_eq(apply("ties", models, 3, (double[]){1, 1}, out, NULL), MSX_OK);
    ck_assert(!memcmp(out, up, sizeof out));
}
END_TEST

/* Values: score of each model, t, ratio, colinear. */
START_TEST(slerp_golden) {
    float out[N];
    const double expected[N] = {.279535, 1.230107, -1.200917, .615852, .025993, .255140};
    const float *const two[] = {x1, x2};
    ck_assert_int_eq(apply("slerp", two, 2, (double[]){.5, .5, .25, 0, .9995}, out, NULL), MSX_OK);
    expect(out, expected);
    /* the same pair among three, and with the higher score on the later model */
    ck_assert_int_eq(apply("slerp", three, 3, (double[]){0, .6, .9, .25, 0, .9995}, out, NULL),
                     MSX_OK);
    expect(out, expected);
}
END_TEST

START_TEST(slerp_takes_the_two_highest_scores_by_softmax_or_ratio) {
    float out[N], by_t[N];
    const float *const two[] = {x2, x1};
    double t = exp(.4) / (exp(.4) + exp(.9));
    apply("slerp", two, 2, (double[]){.5, .5, t, 0, .9995}, by_t, NULL);
    apply("slerp", three, 3, (double[]){.3, .4, .9, NAN, 0, .9995}, out, NULL);
    for (int i = 0; i < N; i++) ck_assert_double_eq_tol(out[i], by_t[i], 1e-6);
    apply("slerp", two, 2, (double[]){.5, .5, .4 / 1.3, 0, .9995}, by_t, NULL);
    apply("slerp", three, 3, (double[]){.3, .4, .9, NAN, 1, .9995}, out, NULL);
    for (int i = 0; i < N; i++) ck_assert_double_eq_tol(out[i], by_t[i], 1e-6);
}
END_TEST

START_TEST(slerp_ties_go_to_the_earlier_model) {
    float out[N], expected[N];
    const float *const two[] = {base, x1};
    apply("slerp", two, 2, (double[]){.5, .5, NAN, 0, .9995}, expected, NULL);
    apply("slerp", three, 3, (double[]){.5, .5, .5, NAN, 0, .9995}, out, NULL);
    ck_assert(!memcmp(out, expected, sizeof out));
}
END_TEST

START_TEST(slerp_t_without_a_clear_pair_is_refused) {
    float out[N];
    char why[256] = "";
    ck_assert_int_eq(apply("slerp", three, 3, (double[]){.5, .5, .5, .3, 0, .9995}, out, why),
                     MSX_E_ARG);
    ck_assert_ptr_nonnull(strstr(why, "single out two"));
}
END_TEST

START_TEST(slerp_ends_are_the_models_to_the_bit) {
    float out[N];
    const float *const two[] = {x1, x2};
    apply("slerp", two, 2, (double[]){.5, .5, 0, 0, .9995}, out, NULL);
    ck_assert(!memcmp(out, x1, sizeof out));
    apply("slerp", two, 2, (double[]){.5, .5, 1, 0, .9995}, out, NULL);
    ck_assert(!memcmp(out, x2, sizeof out));
}
END_TEST

/* Nearly parallel, opposite, and zero vectors have no arc: the straight line is taken. */
START_TEST(slerp_without_an_arc_is_a_straight_line) {
    float near[N], opposite[N], out[N];
    const float zero[N] = {0};
    for (int i = 0; i < N; i++) {
        near[i] = x1[i] * 1.5f + (i == 0 ? .01f : 0);
        opposite[i] = -x1[i];
    }
    const float *const ends[] = {near, opposite, zero};
    for (int e = 0; e < 3; e++) {
        const float *const two[] = {x1, ends[e]};
        ck_assert_int_eq(apply("slerp", two, 2, (double[]){.5, .5, .4, 0, .9995}, out, NULL),
                         MSX_OK);
        for (int i = 0; i < N; i++)
            ck_assert_double_eq_tol(out[i], .6 * x1[i] + .4 * ends[e][i], 1e-6);
    }
    /* with the threshold at 1 the near pair does have an arc, of another length */
    const float *const two[] = {x1, near};
    apply("slerp", two, 2, (double[]){.5, .5, .4, 0, 1}, out, NULL);
    ck_assert(fabs(out[0] - (.6 * x1[0] + .4 * near[0])) > 1e-9);
}
END_TEST

START_TEST(equal_models_merge_to_themselves_to_the_bit) {
    static const struct {
        const char *method;
        double values[6];
    } calls[] = {
        {"linear", {.3, .7, .9}},
        {"task_arithmetic", {.7}},
        {"ties", {.6, .9}},
        {"slerp", {.2, .4, .7, NAN, 0, .9995}},
    };
    const float *const same[] = {x1, x1, x1};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        float copies[2][N], out[N];
        memcpy(copies[0], x1, sizeof x1);
        memcpy(copies[1], x1, sizeof x1);
        const float *const models[] = {same[0], copies[0], copies[1]};
        ck_assert_int_eq(apply(calls[i].method, models, 3, calls[i].values, out, NULL), MSX_OK);
        ck_assert_msg(!memcmp(out, x1, sizeof out), "%s", calls[i].method);
    }
}
END_TEST

/* ---- registry ------------------------------------------------------------------------------------- */

static msx_status take_base(const msx_merge_call *call, void *payload) {
    (void)payload;
    memcpy(call->out, call->models[0], (size_t)call->elements * sizeof *call->out);
    return MSX_OK;
}

START_TEST(the_four_methods_come_first) {
    msx_ctx *ctx = test_ctx();
    static const char *const names[] = {"linear", "task_arithmetic", "ties", "slerp"};
    ck_assert_int_ge(msx_merge_method_count(ctx), 4);
    for (int i = 0; i < 4; i++) {
        const msx_merge_method *m = msx_merge_method_at(ctx, i);
        ck_assert_str_eq(m->name, names[i]);
        ck_assert_ptr_eq(msx_merge_method_find(ctx, names[i]), m);
        ck_assert(m->about && m->source);
    }
    ck_assert_ptr_null(msx_merge_method_at(ctx, msx_merge_method_count(ctx)));
    ck_assert_ptr_null(msx_merge_method_find(ctx, "nearswap2"));
    ck_assert_ptr_null(msx_merge_method_find(ctx, NULL));
    ck_assert_int_eq(msx_merge_method_count(NULL), 0);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(faulty_methods_are_refused) {
    static const msx_merge_param good = {"gain", false, true, 0, 1, .5, ""},
                                 capital = {"Gain", false, true, 0, 1, .5, ""},
                                 reserved = {"method", false, true, 0, 1, .5, ""},
                                 crossed = {"gain", false, true, 1, 0, .5, ""},
                                 outside = {"gain", false, true, 0, 1, 2, ""},
                                 twice[2] = {{"gain", false, true, 0, 1, .5, ""},
                                             {"gain", false, true, 0, 1, .5, ""}};
    const struct {
        msx_merge_method method;
        const char *text;
    } cases[] = {
        {{.name = "a", .apply = take_base}, "struct_size"},
        {{.struct_size = sizeof(msx_merge_method), .name = "A b", .apply = take_base}, "name"},
        {{.struct_size = sizeof(msx_merge_method), .apply = take_base}, "name"},
        {{.struct_size = sizeof(msx_merge_method), .name = "a"}, "apply"},
        {{.struct_size = sizeof(msx_merge_method), .name = "a", .apply = take_base, .n_params = 1},
         "params"},
#define WITH(p, n)                                                                                 \
    {.struct_size = sizeof(msx_merge_method),                                                      \
     .name = "a",                                                                                  \
     .apply = take_base,                                                                           \
     .params = p,                                                                                  \
     .n_params = n}
        {WITH(&capital, 1), "params[0].name"},
        {WITH(&reserved, 1), "params[0].name"},
        {WITH(&crossed, 1), "in order"},
        {WITH(&outside, 1), "initial"},
        {WITH(twice, 2), "twice"},
    };
    msx_ctx *ctx = test_ctx();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        test_fails(ctx, msx_merge_method_register(ctx, &cases[i].method), MSX_E_ARG, cases[i].text);
    const msx_merge_method ties = {sizeof ties, "ties", "", "", &good, 1, take_base, NULL};
    test_fails(ctx, msx_merge_method_register(ctx, &ties), MSX_E_EXISTS, "ties");
    const msx_merge_method mine = {sizeof mine, "mine", "", "", &good, 1, take_base, NULL};
    test_ok(ctx, msx_merge_method_register(ctx, &mine));
    ck_assert_ptr_eq(msx_merge_method_find(ctx, "mine"), &mine);
    ck_assert_int_eq(msx_merge_method_register(NULL, &mine), MSX_E_ARG);
    test_fails(ctx, msx_merge_method_register(ctx, NULL), MSX_E_ARG, "NULL");
    msx_ctx_free(ctx);
}
END_TEST

int main(void) {
    Suite *s = suite_create("methods");
    TCase *t = tcase_create("methods");
    suite_add_tcase(s, t);
    tcase_add_test(t, linear_golden);
    tcase_add_test(t, linear_of_zero_weights_is_the_mean);
    tcase_add_test(t, linear_of_one_model_is_that_model_to_the_bit);
    tcase_add_test(t, linear_ignores_the_order_of_models);
    tcase_add_test(t, task_arithmetic_golden);
    tcase_add_test(t, ties_golden);
    tcase_add_test(t, scaling_zero_is_the_base_to_the_bit);
    tcase_add_test(t, ties_of_all_elements_is_the_untrimmed_form);
    tcase_add_test(t, ties_sign_tie_elects_plus);
    tcase_add_test(t, slerp_golden);
    tcase_add_test(t, slerp_takes_the_two_highest_scores_by_softmax_or_ratio);
    tcase_add_test(t, slerp_ties_go_to_the_earlier_model);
    tcase_add_test(t, slerp_t_without_a_clear_pair_is_refused);
    tcase_add_test(t, slerp_ends_are_the_models_to_the_bit);
    tcase_add_test(t, slerp_without_an_arc_is_a_straight_line);
    tcase_add_test(t, equal_models_merge_to_themselves_to_the_bit);
    tcase_add_test(t, the_four_methods_come_first);
    tcase_add_test(t, faulty_methods_are_refused);
    return test_run(s);
}
