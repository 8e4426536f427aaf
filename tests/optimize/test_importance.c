/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of importance on functions whose parts are known. */
#include "support/problems.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRIALS = 300 };

typedef struct past {
    msx_space *space;
    int64_t d;
    double *x, *costs;
} past;

static past remember(msx_ctx *ctx, const char *problem) {
    past p;
    test_ok(ctx, msx_space_create(&p.space, ctx));
    test_ok(ctx, test_problem_find(problem)->build(p.space));
    p.d = msx_space_count(p.space);
    p.x = calloc((size_t)(TRIALS * p.d), sizeof *p.x);
    p.costs = calloc(TRIALS, sizeof *p.costs);
    for (int i = 0; i < TRIALS; i++) {
        double costs[3];
        msx_space_sample(p.space, 6, (uint64_t)i, p.x + i * p.d);
        test_problem_find(problem)->cost(p.x + i * p.d, costs);
        p.costs[i] = costs[0];
    }
    return p;
}

static void forget(past *p) {
    free(p->x);
    free(p->costs);
    msx_space_free(p->space);
}

/* x0 alone, x1 and x2 by their product, the others not at all. */
START_TEST(shares_are_those_of_the_function) {
    msx_ctx *ctx = test_ctx();
    past p = remember(ctx, "zdt1"); /* six numbers */
    for (int i = 0; i < TRIALS; i++) {
        const double *x = p.x + i * p.d;
        p.costs[i] = 2 * x[0] + 4 * x[1] * x[2];
    }
    double out[6], again[6], fit;
    test_ok(ctx, msx_importance(out, &fit, ctx, p.space, p.x, p.costs, TRIALS, NULL, 6, 1));
    ck_assert_double_gt(fit, 0.8);
    const double expected[3] = {3.0 / 10, 4.0 / 10, 4.0 / 10}; /* 1/3, 4/9, 4/9 of 10/9 */
    for (int k = 0; k < 3; k++) ck_assert_double_eq_tol(out[k], expected[k], 0.1);
    for (int k = 3; k < 6; k++) ck_assert_double_lt(out[k], 0.08);
    test_ok(ctx, msx_importance(again, NULL, ctx, p.space, p.x, p.costs, TRIALS, NULL, 6, 1));
    ck_assert(!memcmp(out, again, sizeof out));
    /* Together, the pair is what x0 is not; who is in no group is never redrawn. */
    const int64_t group[6] = {0, 1, 1, -1, -1, -1};
    test_ok(ctx, msx_importance(out, NULL, ctx, p.space, p.x, p.costs, TRIALS, group, 2, 1));
    ck_assert_double_eq_tol(out[0] + out[1], 1, 0.15);
    for (int i = 0; i < TRIALS; i++) p.costs[i] = 4;
    test_ok(ctx, msx_importance(out, &fit, ctx, p.space, p.x, p.costs, TRIALS, group, 2, 1));
    ck_assert(out[0] == 0 && out[1] == 0 && fit == 0);
    forget(&p);
    msx_ctx_free(ctx);
}
END_TEST

/* The layer groups of the merge problem matter less and less. */
START_TEST(conditional_groups_are_ranked) {
    msx_ctx *ctx = test_ctx();
    past p = remember(ctx, "merge19");
    int64_t group[190];
    for (int i = 0; i < 190; i++) group[i] = i / 10;
    double out[19], fit, first = 0, last = 0;
    test_ok(ctx, msx_importance(out, &fit, ctx, p.space, p.x, p.costs, TRIALS, group, 19, 1));
    ck_assert_double_gt(fit, 0.05);
    for (int g = 0; g < 6; g++) first += out[g];
    for (int g = 13; g < 19; g++) last += out[g];
    ck_assert_double_gt(first, 3 * last);
    forget(&p);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(arguments_are_checked) {
    msx_ctx *ctx = test_ctx();
    past p = remember(ctx, "branin");
    double out[2];
    const int64_t beyond[2] = {0, 2};
#define CALL(out, x, costs, n, group, groups)                                                      \
    msx_importance(out, NULL, ctx, p.space, x, costs, n, group, groups, 0)
    ck_assert_int_eq(msx_importance(out, NULL, NULL, p.space, p.x, p.costs, 9, NULL, 2, 0),
                     MSX_E_ARG);
    test_fails(ctx, CALL(NULL, p.x, p.costs, 9, NULL, 2), MSX_E_ARG, "out");
    test_fails(ctx, CALL(out, NULL, p.costs, 9, NULL, 2), MSX_E_ARG, "NULL");
    test_fails(ctx, CALL(out, p.x, NULL, 9, NULL, 2), MSX_E_ARG, "NULL");
    test_fails(ctx, CALL(out, p.x, p.costs, 4, NULL, 2), MSX_E_ARG, "too few");
    test_fails(ctx, CALL(out, p.x, p.costs, 9, NULL, 3), MSX_E_ARG, "3 groups");
    test_fails(ctx, CALL(out, p.x, p.costs, 9, beyond, 2), MSX_E_ARG, "'x1' is in group 2");
    p.costs[3] = NAN;
    test_fails(ctx, CALL(out, p.x, p.costs, 9, NULL, 2), MSX_E_ARG, "cost 3");
    p.costs[3] = 1;
    p.x[5] = 99;
    test_fails(ctx, CALL(out, p.x, p.costs, 9, NULL, 2), MSX_E_ARG, "'x1' is 99");
#undef CALL
    forget(&p);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(no_memory_is_survived) {
    for (int64_t fail_at = 0;; fail_at++) {
        test_allocator a;
        test_allocator_init(&a, -1, false);
        msx_ctx *ctx;
        ck_assert_int_eq(msx_ctx_create(&ctx, &a.table), MSX_OK);
        past p = remember(ctx, "branin");
        double out[2], fit;
        a.calls = 0;
        a.fail_at = fail_at;
        msx_status status = msx_importance(out, &fit, ctx, p.space, p.x, p.costs, 20, NULL, 2, 0);
        ck_assert(status == MSX_OK || status == MSX_E_NOMEM);
        bool done = a.calls <= fail_at;
        forget(&p);
        msx_ctx_free(ctx);
        ck_assert_int_eq(a.live, 0);
        if (!done) continue;
        ck_assert_int_eq(status, MSX_OK);
        break;
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("importance");
    TCase *t = tcase_create("importance");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, shares_are_those_of_the_function);
    tcase_add_test(t, conditional_groups_are_ranked);
    tcase_add_test(t, arguments_are_checked);
    tcase_add_test(t, no_memory_is_survived);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
