/* SPDX-License-Identifier: Apache-2.0 */
/* Every merge method can be searched: its hyperparameters are columns of the space, with their bounds, and
 * every configuration is a plan that merges. */
#include "merge/small_sam.h"
#include "search/space.h"

#include <stdio.h>
#include <string.h>

enum { MODELS = 4, COLUMNS = 512 };
static const char *const names[MODELS] = {"base", "a", "b", "c"};

static msx_ctx *ctx;
static msx_merger *merger;
static msx_checkpoint *target;

static void set_up(void) {
    ctx = test_ctx();
    test_ok(ctx, msx_ctx_set_threads(ctx, 1)); /* the tensors are small */
    msx_checkpoint *models[MODELS];
    for (uint32_t k = 0; k < MODELS; k++) models[k] = small_sam(ctx, 2, 2, k + 1);
    test_ok(ctx, msx_merger_create(&merger, ctx, models, names, MODELS, false));
    test_ok(ctx, msx_checkpoint_create(&target, ctx));
    for (int k = 0; k < MODELS; k++) msx_checkpoint_free(models[k]);
}
static void tear_down(void) {
    msx_checkpoint_free(target);
    msx_merger_free(merger);
    msx_ctx_free(ctx);
}

static void make_space(msx__merge_space *s, const char *methods) {
    const msx__space_options coarse = {
        .granularity = {4, 4, 4}, .methods = methods, .keep_dead = true};
    test_ok(ctx, msx__merge_space_create(s, ctx, merger, names, MODELS, &coarse));
}

/* Bounds of a column; fails when there is none. */
static void expect_column(const msx_space *space, const char *method, const char *param,
                          const char *model, double lower, double upper) {
    char name[160];
    snprintf(name, sizeof name, "neck/%s.%s%s%s", method, param, model ? "." : "",
             model ? model : "");
    int64_t i = msx_space_find(space, name);
    ck_assert_msg(i >= 0, "%s is not searched", name);
    ck_assert_msg(msx_space_lower(space, i) == lower && msx_space_upper(space, i) == upper,
                  "%s is searched from %g to %g", name, msx_space_lower(space, i),
                  msx_space_upper(space, i));
}

/* What a person would expect to be varied, in the order of registration. */
static const struct expected {
    const char *method;
    const char *params[4]; /* within [0, 1] */
    const char *models;    /* a parameter of each model ... */
    bool base;             /* ... and of the base */
} expected[] = {
    {"linear", {NULL}, "weight", true},
    {"task_arithmetic", {"scaling"}, NULL, false},
    {"ties", {"retain", "scaling"}, NULL, false},
    {"slerp", {NULL}, "score", true},
    {"dare_linear", {"density", "lambda"}, "weight", false},
    {"dare_ties", {"density", "lambda"}, "weight", false},
    {"della", {"density", "lambda", "epsilon"}, "weight", false},
    {"della_linear", {"density", "lambda", "epsilon"}, "weight", false},
    {"breadcrumbs", {"density", "lambda"}, "weight", false},
    {"breadcrumbs_ties", {"density", "lambda"}, "weight", false},
    {"nuslerp", {NULL}, "weight", true},
    {"multislerp", {NULL}, "weight", true},
    {"karcher", {NULL}, "use", true},
    {"model_stock", {"filter_wise"}, NULL, false},
    {"sce", {"select_topk"}, NULL, false},
    {"ram", {NULL}, NULL, false},
    {"ramplus_tl", {"r", "alpha"}, NULL, false},
    {"nearswap", {NULL}, "score", true},
    {"arcee_fusion", {NULL}, "score", true},
    {"passthrough", {NULL}, "score", true},
};
enum { METHODS = sizeof expected / sizeof *expected };

START_TEST(hyperparameters_are_in_the_space) {
    const struct expected *e = &expected[_i];
    msx__merge_space s;
    ck_assert_int_eq(msx_merge_method_count(ctx), METHODS);
    make_space(&s, e->method);
    for (int p = 0; p < 4 && e->params[p]; p++)
        expect_column(s.space, e->method, e->params[p], NULL, 0,
                      strcmp(e->params[p], "epsilon") ? 1 : 0.5);
    for (int m = !e->base; m < MODELS && e->models; m++)
        expect_column(s.space, e->method, e->models, names[m], 0, 1);
    if (e->models && !e->base) {
        char name[160];
        snprintf(name, sizeof name, "neck/%s.%s.base", e->method, e->models);
        ck_assert_int_lt(msx_space_find(s.space, name), 0);
    }
    msx__merge_space_free(&s);
}
END_TEST

START_TEST(small_values_are_searched_on_a_logarithmic_scale) {
    static const char *const params[][2] = {
        {"ram", "epsilon"}, {"ramplus_tl", "epsilon"}, {"nearswap", "t"}, {"breadcrumbs", "gamma"}};
    for (int k = 0; k < 4; k++) {
        msx__merge_space s;
        char name[160];
        make_space(&s, params[k][0]);
        expect_column(s.space, params[k][0], params[k][1], NULL, 1e-6, 1);
        snprintf(name, sizeof name, "neck/%s.%s", params[k][0], params[k][1]);
        int64_t column = msx_space_find(s.space, name);
        double x[COLUMNS];
        int below = 0;
        for (uint64_t i = 0; i < 200; i++) {
            msx_space_sample(s.space, 3, i, x);
            below += x[column] < 1e-3;
        }
        ck_assert_int_gt(below, 60); /* half of the decades */
        msx__merge_space_free(&s);
    }
}
END_TEST

START_TEST(every_configuration_merges) {
    const struct expected *e = &expected[_i];
    msx__merge_space s;
    char methods[80];
    double x[COLUMNS];
    snprintf(methods, sizeof methods, "%s,%s", e->method,
             strcmp(e->method, "linear") ? "linear" : "ties");
    make_space(&s, methods);
    ck_assert_int_lt(msx_space_count(s.space), COLUMNS);
    for (uint64_t i = 0; i < 5; i++) {
        msx_plan *plan, *uniform;
        if (i == 0)
            msx_space_default(s.space, x);
        else
            msx_space_sample(s.space, 11, i, x);
        test_ok(ctx, msx__merge_space_plan(&plan, &s, x));
        test_ok(ctx, msx_merger_run(merger, plan, NULL, target, NULL));
        test_ok(ctx, msx__merge_space_uniform_plan(&uniform, &s, s.methods[0]));
        test_ok(ctx, msx_merger_run(merger, uniform, plan, target, NULL));
        msx_plan_free(uniform);
        msx_plan_free(plan);
    }
    msx__merge_space_free(&s);
}
END_TEST

int main(void) {
    Suite *s = suite_create("space of methods");
    TCase *t = tcase_create("space of methods");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, hyperparameters_are_in_the_space, 0, METHODS);
    tcase_add_test(t, small_values_are_searched_on_a_logarithmic_scale);
    tcase_add_loop_test(t, every_configuration_merges, 0, METHODS);
    suite_add_tcase(s, t);
    return test_run(s);
}
