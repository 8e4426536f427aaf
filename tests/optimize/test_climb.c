/* SPDX-License-Identifier: Apache-2.0 */
/* Expected improvement and its slopes, what processes believe of a history, and the climbs on that. */
#include "optimize/climb.h"
#include "optimize/climber.h"
#include "optimize/parego.h"
#include "support/problems.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A history of random configurations of a problem, all told but the last `running`. */
typedef struct past {
    msx_space *space;
    msx_history history;
    double *values;
    const double **x, **costs;
    uint8_t *failed;
} past;

static past remember(msx_ctx *ctx, const char *problem, int64_t n, int64_t running) {
    const test_problem *p = test_problem_find(problem);
    past q = {0};
    test_ok(ctx, msx_space_create(&q.space, ctx));
    test_ok(ctx, p->build(q.space));
    const int64_t d = msx_space_count(q.space), width = d + p->n_objectives;
    q.values = calloc((size_t)(n * width), sizeof *q.values);
    q.x = calloc((size_t)n, sizeof *q.x);
    q.costs = calloc((size_t)n, sizeof *q.costs);
    q.failed = calloc((size_t)n, 1);
    for (int64_t i = 0; i < n; i++) {
        double *row = q.values + i * width;
        msx_space_sample(q.space, 3, (uint64_t)i, row);
        p->cost(row, row + d);
        q.x[i] = row;
        q.costs[i] = i < n - running ? row + d : NULL;
    }
    q.history = (msx_history){.struct_size = sizeof q.history,
                              .ctx = ctx,
                              .space = q.space,
                              .n_objectives = p->n_objectives,
                              .n_trials = n,
                              .asked = n,
                              .x = q.x,
                              .costs = q.costs,
                              .failed = q.failed};
    return q;
}

static void forget(past *q) {
    free(q->values);
    free(q->x);
    free(q->costs);
    free(q->failed);
    msx_space_free(q->space);
}

static void believe(msx_ctx *ctx, msx__belief *b, const past *q, int64_t limit) {
    msx__told t;
    test_ok(ctx, msx__told_init(&t, &q->history, limit));
    ck_assert_int_eq(msx__belief_update(b, &q->history, &t, NULL), MSX_OK);
    msx__told_free(&t);
}

/* ---- utilities ---------------------------------------------------------------------------------------- */

START_TEST(log_improvement_is_right_everywhere) {
    double slope;
    /* E[max(0, z)] of a standard normal, and a value of its tail: h(-5) = 5.34616e-8 */
    ck_assert_double_eq_tol(msx__log_improvement(0, &slope), log(0.3989422804014327), 1e-12);
    ck_assert_double_eq_tol(slope, 0.5 / 0.3989422804014327, 1e-12);
    ck_assert_double_eq_tol(exp(msx__log_improvement(-5, NULL)) / 5.34616e-8, 1, 1e-5);
    ck_assert_double_eq_tol(exp(msx__log_improvement(40, NULL)), 40, 1e-9);
    for (double u = -200; u < 8; u += 0.37) { /* slopes, also across the change of formula */
        double low = msx__log_improvement(u - 1e-5, NULL),
               high = msx__log_improvement(u + 1e-5, NULL);
        msx__log_improvement(u, &slope);
        ck_assert_double_eq_tol((high - low) / 2e-5 / slope, 1, 1e-5);
    }
    /* The series takes over where the formula ends. */
    double before = msx__log_improvement(-29.999999, NULL),
           after = msx__log_improvement(-30.000001, NULL);
    ck_assert_double_eq_tol(before - after, 2e-6 * 30, 1e-6);
}
END_TEST

/* A utility over three costs with all its parts away from 0 and 1. */
static void aim(msx_ctx *ctx, msx__utility *u) {
    msx_rng rng;
    msx__rng_init(&rng, 5, 0);
    test_ok(ctx, msx__utility_init(u, ctx, 3, &rng));
    for (int k = 0; k < 3; k++) {
        u->theta[k] = 0.2 + 0.1 * k;
        u->offset[k] = 0.5 - 0.1 * k;
        u->slope[k] = 0.3 + 0.05 * k;
    }
    u->eta = 0.2;
}

START_TEST(slopes_of_utilities_are_those_of_their_values) {
    msx_ctx *ctx = test_ctx();
    msx__utility one = {.m = 1, .eta = -1}, several;
    aim(ctx, &several);
    msx_rng rng;
    msx__rng_init(&rng, 6, 0);
    for (int round = 0; round < 40; round++) {
        const msx__utility *u = round % 2 ? &several : &one;
        double means[3], variances[3], d_means[3], d_variances[3], room[3];
        for (int k = 0; k < 3; k++) {
            means[k] = 1.5 * msx_rng_normal(&rng);
            variances[k] = 0.05 + msx_rng_uniform(&rng);
        }
        double value = msx__utility_value(u, means, variances, d_means, d_variances, room);
        ck_assert(isfinite(value));
        ck_assert(value == msx__utility_value(u, means, variances, NULL, NULL, room));
        for (int k = 0; k < u->m; k++)
            for (int part = 0; part < 2; part++) {
                double *moved = part ? &variances[k] : &means[k], kept = *moved, sides[2];
                for (int side = 0; side < 2; side++) {
                    *moved = kept + (side ? 1e-6 : -1e-6);
                    sides[side] = msx__utility_value(u, means, variances, NULL, NULL, room);
                }
                *moved = kept;
                double slope = part ? d_variances[k] : d_means[k];
                ck_assert_double_eq_tol(slope, (sides[1] - sides[0]) / 2e-6,
                                        1e-4 * (1 + fabs(slope)));
            }
    }
    msx__utility_free(&several);
    msx_ctx_free(ctx);
}
END_TEST

/* The samples' mean against many more of them. */
START_TEST(samples_take_the_expectation) {
    msx_ctx *ctx = test_ctx();
    msx__utility u;
    aim(ctx, &u);
    const double means[3] = {-0.6, -0.3, -0.9}, variances[3] = {0.2, 0.4, 0.1};
    msx_rng rng;
    msx__rng_init(&rng, 8, 0);
    enum { DRAWS = 200000 };
    double sum = 0;
    for (int i = 0; i < DRAWS; i++) {
        double drawn[3];
        for (int k = 0; k < 3; k++) drawn[k] = means[k] + sqrt(variances[k]) * msx_rng_normal(&rng);
        sum += fmax(0, u.eta - msx__utility_weigh(&u, drawn)) / DRAWS;
    }
    double room[3],
        expected = exp(msx__utility_value(&u, means, variances, NULL, NULL, room)) * 2e-3 / 64;
    ck_assert_double_eq_tol(expected / sum, 1, 0.1);
    msx__utility_free(&u);
    msx_ctx_free(ctx);
}
END_TEST

/* ---- beliefs ------------------------------------------------------------------------------------------ */

START_TEST(running_trials_hold_what_is_predicted) {
    msx_ctx *ctx = test_ctx();
    past q = remember(ctx, "hartmann6", 40, 5);
    msx__belief without, with;
    test_ok(ctx, msx__belief_init(&without, q.space, 1));
    test_ok(ctx, msx__belief_init(&with, q.space, 1));
    believe(ctx, &without, &q, 35);
    believe(ctx, &with, &q, 40);
    ck_assert_int_eq(without.n, 35);
    ck_assert_int_eq(with.n, 40);
    double place[6], k[40], v[40], mean, before, after;
    for (int i = 35; i < 40; i++) {
        ck_assert_int_eq(with.trials[i], i);
        msx__gp_encode(q.space, q.x[i], place);
        msx__gp_covariances(&without.gps[0], place, k);
        msx__gp_posterior(&without.gps[0], k, &mean, &before, v);
        ck_assert_double_eq_tol(with.means[i], mean, 1e-3);
        msx__gp_covariances(&with.gps[0], place, k);
        msx__gp_posterior(&with.gps[0], k, &mean, &after, v);
        ck_assert_double_lt(after, 0.1 * before); /* nothing is left to be found there */
    }
    msx__belief_free(&without);
    msx__belief_free(&with);
    forget(&q);
    msx_ctx_free(ctx);
}
END_TEST

/* Beliefs that grew trial by trial equal those that begin late, also when trials failed. */
START_TEST(beliefs_do_not_depend_on_when_they_began) {
    msx_ctx *ctx = test_ctx();
    past q = remember(ctx, _i ? "dtlz2_m3" : "func3c", 45, 0);
    const int m = q.history.n_objectives;
    for (int i = 3; i < 45; i += 8) q.failed[i] = 1;
    msx__belief grown, late;
    test_ok(ctx, msx__belief_init(&grown, q.space, m));
    for (int64_t n = 1; n <= 45; n += n < 10 ? 1 : 5) {
        believe(ctx, &grown, &q, n);
        test_ok(ctx, msx__belief_init(&late, q.space, m));
        believe(ctx, &late, &q, n);
        ck_assert_int_eq(grown.n, late.n);
        ck_assert(!memcmp(grown.means, late.means, (size_t)(n * m) * sizeof *late.means));
        msx__belief_free(&late);
    }
    msx__belief_free(&grown);
    forget(&q);
    msx_ctx_free(ctx);
}
END_TEST

/* Positive costs over many orders of magnitude are learnt as logarithms; a parabola is not. */
START_TEST(costs_are_learnt_as_they_fit) {
    msx_ctx *ctx = test_ctx();
    past q = remember(ctx, "rosenbrock2", 30, 0);
    msx__belief b;
    for (int wide = 0; wide < 2; wide++) {
        for (int i = 0; i < 30; i++) {
            double *x = q.values + 3 * i, far = (x[0] - 1) * (x[0] - 1) + (x[1] + 2) * (x[1] + 2);
            x[2] = wide ? exp(0.3 * far) : far;
        }
        test_ok(ctx, msx__belief_init(&b, q.space, 1));
        believe(ctx, &b, &q, 30);
        ck_assert_int_eq(b.logarithms, wide);
        msx__belief_free(&b);
    }
    forget(&q);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(too_many_trials_are_thinned) {
    double score[100], scratch[100];
    int64_t rows[100], best = 0;
    for (int i = 0; i < 100; i++) score[i] = (i * 37) % 100;
    ck_assert_int_eq(msx__told_thin(score, 100, 100, rows, scratch), 100);
    int64_t n = msx__told_thin(score, 100, 20, rows, scratch);
    ck_assert_int_le(n, 20);
    ck_assert_int_ge(n, 19);
    for (int64_t i = 0; i < n; i++) {
        best += score[rows[i]] < 10;
        if (i) ck_assert_int_gt(rows[i], rows[i - 1]);
    }
    ck_assert_int_ge(best, 10);
    ck_assert(rows[n - 1] > 85 && rows[0] < 15); /* the others cover all times */
    for (int i = 0; i < 100; i++) score[i] = 1;  /* all alike */
    ck_assert_int_le(msx__told_thin(score, 100, 20, rows, scratch), 20);
}
END_TEST

/* ---- climbs ------------------------------------------------------------------------------------------- */

static const char *const problems[] = {"branin", "func3c", "jenatton", "merge19", "dtlz2_m3"};
enum { PROBLEMS = 5 };

START_TEST(climbs_end_higher_and_know_where_they_are) {
    msx_ctx *ctx = test_ctx();
    past q = remember(ctx, problems[_i], 40, 0);
    const int m = q.history.n_objectives;
    const int64_t d = msx_space_count(q.space);
    msx__belief b;
    msx__utility u;
    msx__climber c, fresh;
    msx_rng rng;
    msx__rng_init(&rng, 2, 0);
    test_ok(ctx, msx__belief_init(&b, q.space, m));
    believe(ctx, &b, &q, 40);
    test_ok(ctx, msx__utility_init(&u, ctx, m, &rng));
    for (int k = 0; k < m; k++) u.theta[k] = 1.0 / m, u.offset[k] = 0.5, u.slope[k] = 0.2;
    u.eta = m > 1 ? 0.1 : b.score[0];
    for (int64_t i = 0; i < b.n && m == 1; i++) u.eta = fmin(u.eta, b.score[i]);
    test_ok(ctx, msx__climber_init(&c, &b, &u, &q.history));
    test_ok(ctx, msx__climber_init(&fresh, &b, &u, &q.history));
    double x[190];
    int better = 0;
    for (int i = 0; i < 6; i++) {
        msx_space_sample(q.space, 9, (uint64_t)i, x);
        double before = msx__climber_place(&c, x);
        msx__climber_climb(&c, &rng);
        test_ok(ctx, msx_space_check(q.space, c.x)); /* children came and went with parents */
        ck_assert_double_ge(c.value, before);
        better += c.value > before + 0.01;
        /* what was updated family by family equals what is computed afresh */
        ck_assert_double_eq_tol(msx__climber_place(&fresh, c.x), c.value,
                                1e-9 * (1 + fabs(c.value)));
        ck_assert(!memcmp(fresh.e, c.e, (size_t)d * sizeof *c.e));
    }
    ck_assert_int_ge(better, 4);
    msx__climber_free(&c);
    msx__climber_free(&fresh);
    msx__utility_free(&u);
    msx__belief_free(&b);
    forget(&q);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(proposals_are_new_sorted_and_better_than_chance) {
    msx_ctx *ctx = test_ctx();
    past q = remember(ctx, "jenatton", 40, 0);
    msx__belief b;
    msx__climber c;
    msx_rng rng;
    msx__rng_init(&rng, 2, 0);
    test_ok(ctx, msx__belief_init(&b, q.space, 1));
    believe(ctx, &b, &q, 40);
    msx__utility u = {.m = 1, .eta = INFINITY};
    for (int64_t i = 0; i < b.n; i++) u.eta = fmin(u.eta, b.score[i]);
    msx__proposals p = {0};
    const msx__climb_options options = {200, 6};
    test_ok(ctx, msx__climb(&p, &b, &u, &q.history, &options, &rng));
    ck_assert_int_ge(p.n, 6);
    test_ok(ctx, msx__climber_init(&c, &b, &u, &q.history));
    double last = INFINITY, first = 0, x[9];
    for (int64_t i = 0; i < p.n; i++) {
        const double *row = p.x + i * 9;
        test_ok(ctx, msx_space_check(q.space, row));
        for (int64_t k = 0; k < 40; k++) ck_assert(!msx_space_equal(q.space, row, q.x[k]));
        for (int64_t k = 0; k < i; k++) ck_assert(!msx_space_equal(q.space, row, p.x + k * 9));
        double value = msx__climber_place(&c, row);
        if (!i) first = value;
        ck_assert_double_le(value, last + 1e-9 * (1 + fabs(last)));
        last = value;
    }
    for (int i = 0; i < 300; i++) {
        msx_space_sample(q.space, 8, (uint64_t)i, x);
        ck_assert_double_le(msx__climber_place(&c, x), first);
    }
    msx__climber_free(&c);
    msx__proposals_free(&p, ctx);
    msx__belief_free(&b);
    forget(&q);
    msx_ctx_free(ctx);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("climb");
    TCase *t = tcase_create("climb");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, log_improvement_is_right_everywhere);
    tcase_add_test(t, slopes_of_utilities_are_those_of_their_values);
    tcase_add_test(t, samples_take_the_expectation);
    tcase_add_test(t, running_trials_hold_what_is_predicted);
    tcase_add_loop_test(t, beliefs_do_not_depend_on_when_they_began, 0, 2);
    tcase_add_test(t, costs_are_learnt_as_they_fit);
    tcase_add_test(t, too_many_trials_are_thinned);
    tcase_add_loop_test(t, climbs_end_higher_and_know_where_they_are, 0, PROBLEMS);
    tcase_add_test(t, proposals_are_new_sorted_and_better_than_chance);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
