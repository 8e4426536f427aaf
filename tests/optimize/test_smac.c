/* SPDX-License-Identifier: Apache-2.0 */
/* The model-based drivers on the merge search's kind of space: stages, resuming, parallel trials. */
#include "core/file.h"
#include "support/problems.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIALS = 60, CUT = 37, COLUMNS = 190 };

static msx_space *merge_space(msx_ctx *ctx) {
    msx_space *s;
    test_ok(ctx, msx_space_create(&s, ctx));
    test_ok(ctx, test_problem_find("merge19")->build(s));
    ck_assert_int_eq(msx_space_count(s), COLUMNS);
    return s;
}

/* The merge's cost and, for a second objective, how far slerp is from being used everywhere. */
static void cost(const double *x, double *costs) {
    test_problem_find("merge19")->cost(x, costs);
    costs[1] = 0;
    for (int g = 0; g < COLUMNS; g += 10) costs[1] += x[g] != 3;
}

enum { FOREST = 1, PROCESS = 2 };

static msx_optimizer *make(msx_ctx *ctx, const msx_space *s, const char *driver, double surrogate,
                           double retrain) {
    msx_optimizer *o;
    int objectives = strcmp(driver, "parego") ? 1 : 2;
    test_ok(ctx, msx_optimizer_create(&o, ctx, driver, s, objectives, TRIALS, 5));
    test_ok(ctx, msx_optimizer_set(o, "candidates", 300));
    test_ok(ctx, msx_optimizer_set(o, "gp_candidates", 100));
    test_ok(ctx, msx_optimizer_set(o, "gp_starts", 2));
    if (surrogate) test_ok(ctx, msx_optimizer_set(o, "surrogate", surrogate));
    test_ok(ctx, msx_optimizer_set(o, "retrain_after", retrain));
    return o;
}

/* A tenth of the trials is initial, and all others are the model's; as SMAC3 does it, a quarter is, and a
 * fifth of the others is random. */
static const struct {
    double smac3;
    int initial, random, model;
} stages[] = {{0, 6, 0, 50}, {1, 15, 2, 27}};

START_TEST(stages_follow_each_other) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = merge_space(ctx);
    msx_optimizer *o = make(ctx, s, "smac", 0, 1);
    test_ok(ctx, msx_optimizer_set(o, "smac3", stages[_i].smac3));
    double x[COLUMNS], costs[2];
    msx_space_default(s, x);
    test_ok(ctx, msx_optimizer_enqueue(o, x));
    int model = 0, random = 0;
    for (int i = 0; i < TRIALS; i++) {
        int64_t trial;
        test_ok(ctx, msx_optimizer_ask(o, x, &trial));
        const char *origin = msx_optimizer_origin(o);
        if (i == 0) ck_assert_str_eq(origin, "enqueued");
        if (i > 0 && i < stages[_i].initial) ck_assert_str_eq(origin, "sobol");
        if (i >= stages[_i].initial) {
            ck_assert(!strcmp(origin, "model") || !strcmp(origin, "random"));
            model += !strcmp(origin, "model");
            random += !strcmp(origin, "random");
        }
        test_ok(ctx, msx_space_check(s, x));
        cost(x, costs);
        test_ok(ctx, msx_optimizer_tell(o, trial, costs));
    }
    ck_assert_int_ge(random, stages[_i].random);
    ck_assert_int_ge(model, stages[_i].model);
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

static const struct {
    const char *driver;
    double surrogate, retrain_after;
} kinds[] = {{"smac", PROCESS, 1},
             {"smac", FOREST, 1},
             {"smac", FOREST, 8},
             {"parego", PROCESS, 1},
             {"parego", FOREST, 8}};

START_TEST(resuming_changes_nothing) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = merge_space(ctx);
    msx_optimizer *a = make(ctx, s, kinds[_i].driver, kinds[_i].surrogate, kinds[_i].retrain_after);
    msx_optimizer *b = make(ctx, s, kinds[_i].driver, kinds[_i].surrogate, kinds[_i].retrain_after);
    double *x = calloc(TRIALS * COLUMNS, sizeof *x), costs[2], again[COLUMNS];
    int64_t trial;
    for (int i = 0; i < TRIALS; i++) {
        double *row = x + i * COLUMNS;
        test_ok(ctx, msx_optimizer_ask(a, row, &trial));
        cost(row, costs);
        test_ok(ctx, msx_optimizer_tell(a, trial, i % 9 == 4 ? NULL : costs));
    }
    for (int i = 0; i < CUT; i++) {
        cost(x + i * COLUMNS, costs);
        test_ok(ctx, msx_optimizer_replay(b, x + i * COLUMNS, i % 9 == 4 ? NULL : costs));
    }
    for (int i = CUT; i < TRIALS; i++) {
        test_ok(ctx, msx_optimizer_ask(b, again, &trial));
        for (int k = 0; k < COLUMNS; k++) {
            double expected = x[i * COLUMNS + k];
            ck_assert_msg(again[k] == expected || (isnan(again[k]) && isnan(expected)),
                          "trial %d, column %d: %g, expected %g", i, k, again[k], expected);
        }
        cost(again, costs);
        test_ok(ctx, msx_optimizer_tell(b, trial, i % 9 == 4 ? NULL : costs));
    }
    uint64_t states[2][4];
    msx_optimizer_rng_state(a, states[0]);
    msx_optimizer_rng_state(b, states[1]);
    ck_assert(!memcmp(states[0], states[1], sizeof states[0]));
    free(x);
    msx_optimizer_free(a);
    msx_optimizer_free(b);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

/* Told trials enough that all threads have work, in learning and in climbing. */
START_TEST(threads_change_no_bit) {
    enum { TOLD = 50 };
    const char *driver = _i ? "parego" : "smac";
    double found[3][2][COLUMNS], costs[2];
    for (int threads = 1; threads <= 3; threads++) {
        msx_ctx *ctx = test_ctx();
        test_ok(ctx, msx_ctx_set_threads(ctx, threads));
        msx_space *s = merge_space(ctx);
        msx_optimizer *o = make(ctx, s, driver, PROCESS, 1);
        for (int i = 0; i < TOLD; i++) {
            double *x = found[threads - 1][0];
            msx_space_sample(s, 3, (uint64_t)i, x);
            cost(x, costs);
            test_ok(ctx, msx_optimizer_replay(o, x, costs));
        }
        for (int i = 0; i < 2; i++) {
            int64_t trial;
            test_ok(ctx, msx_optimizer_ask(o, found[threads - 1][i], &trial));
            cost(found[threads - 1][i], costs);
            test_ok(ctx, msx_optimizer_tell(o, trial, costs));
        }
        ck_assert_str_eq(msx_optimizer_origin(o), "model");
        msx_optimizer_free(o);
        msx_space_free(s);
        msx_ctx_free(ctx);
    }
    for (int i = 1; i < 3; i++)
        for (int k = 0; k < 2 * COLUMNS; k++) {
            double a = found[0][k / COLUMNS][k % COLUMNS], b = found[i][k / COLUMNS][k % COLUMNS];
            ck_assert_msg(a == b || (isnan(a) && isnan(b)), "%d threads, value %d: %g, not %g",
                          i + 1, k, b, a);
        }
}
END_TEST

/* Two processes are learnt side by side: whichever runs out of memory, the caller is told, and can ask again. */
START_TEST(memory_that_a_thread_lacks_is_the_callers_error) {
    enum { TOLD = 50, CALLS = 60 };
    for (int fail_at = 0; fail_at < CALLS; fail_at += 3) {
        test_allocator a;
        test_allocator_init(&a, -1, false);
        msx_ctx *ctx;
        ck_assert_int_eq(msx_ctx_create(&ctx, &a.table), MSX_OK);
        test_ok(ctx, msx_ctx_set_threads(ctx, 2));
        msx_space *s = merge_space(ctx);
        msx_optimizer *o = make(ctx, s, "parego", PROCESS, 1);
        double x[COLUMNS], costs[2];
        for (int i = 0; i < TOLD; i++) {
            msx_space_sample(s, 3, (uint64_t)i, x);
            cost(x, costs);
            test_ok(ctx, msx_optimizer_replay(o, x, costs));
        }
        int64_t trial;
        a.fail_at = a.calls + fail_at;
        test_fails(ctx, msx_optimizer_ask(o, x, &trial), MSX_E_NOMEM, "out of memory");
        a.fail_at = -1;
        test_ok(ctx, msx_optimizer_ask(o, x, &trial));
        msx_optimizer_free(o);
        msx_space_free(s);
        msx_ctx_free(ctx);
        ck_assert_int_eq(a.live, 0);
    }
}
END_TEST

/* Trials that are asked together differ, and all failing at first does no harm. */
START_TEST(several_workers_and_failures_are_fine) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = merge_space(ctx);
    msx_optimizer *o = make(ctx, s, kinds[_i].driver, kinds[_i].surrogate, kinds[_i].retrain_after);
    enum { WORKERS = 4 };
    double x[WORKERS][COLUMNS], costs[2];
    int64_t trials[WORKERS];
    for (int round = 0; round < 8; round++) {
        for (int w = 0; w < WORKERS; w++) {
            test_ok(ctx, msx_optimizer_ask(o, x[w], &trials[w]));
            for (int v = 0; v < w; v++) ck_assert(!msx_space_equal(s, x[v], x[w]));
        }
        for (int w = WORKERS - 1; w >= 0; w--) {
            cost(x[w], costs);
            test_ok(ctx, msx_optimizer_tell(o, trials[w], round < 4 ? NULL : costs));
        }
    }
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(options_are_named_bounded_and_documented) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = merge_space(ctx);
    msx_optimizer *o;
    test_ok(ctx, msx_optimizer_create(&o, ctx, "smac", s, 1, 0, 5));
    ck_assert_int_gt(msx_optimizer_option_count(o), 10);
    char *docs, row[160];
    size_t bytes;
    test_ok(ctx, msx__read_whole(ctx, "docs/search.md", 1 << 20, &docs, &bytes));
    for (int64_t i = 0; i < msx_optimizer_option_count(o); i++) {
        /* fresh, as a preset changes what the others are when they are not set */
        msx_optimizer_free(o);
        test_ok(ctx, msx_optimizer_create(&o, ctx, "smac", s, 1, 0, 5));
        double lower, upper, value;
        const char *about, *name = msx_optimizer_option(o, i, &lower, &upper, &about);
        ck_assert_int_gt(strlen(about), 5);
        test_ok(ctx, msx_optimizer_get(o, name, &value));
        ck_assert(value >= lower && value <= upper);
        snprintf(row, sizeof row, "| `%s` | %.15g | %.15g | %.15g |", name, value, lower, upper);
        ck_assert_msg(strstr(docs, row), "docs/search.md lacks: %s", row);
        test_ok(ctx, msx_optimizer_set(o, name, upper));
        test_fails(ctx, msx_optimizer_set(o, name, upper + 1), MSX_E_ARG, name);
        test_fails(ctx, msx_optimizer_set(o, name, lower - 1), MSX_E_ARG, name);
    }
    msx__free(ctx, docs);
    test_fails(ctx, msx_optimizer_set(o, "tree", 3), MSX_E_NOTFOUND, "did you mean 'trees'");
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("smac");
    TCase *t = tcase_create("smac");
    const int n = sizeof kinds / sizeof *kinds;
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, stages_follow_each_other, 0, sizeof stages / sizeof *stages);
    tcase_add_loop_test(t, resuming_changes_nothing, 0, n);
    tcase_add_loop_test(t, several_workers_and_failures_are_fine, 0, n);
    tcase_add_loop_test(t, threads_change_no_bit, 0, 2);
    tcase_add_test(t, memory_that_a_thread_lacks_is_the_callers_error);
    tcase_add_test(t, options_are_named_bounded_and_documented);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
