/* SPDX-License-Identifier: Apache-2.0 */
/* The forest, the costs it sees, expected improvement, and the walks that maximise it. */
#include "optimize/acquire.h"
#include "optimize/parego.h"
#include "support/problems.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const msx__forest_options plain = {10, 1, 2, 1, false, false},
                                 bagged = {10, 1, 2, 1, true, false};
static const msx__model_options bagged_model = {{10, 1, 2, 1, true, false}, MSX__FLOOR_GAP, true};

START_TEST(costs_are_encoded_as_published) {
    double y[] = {0.1, 0.3, 0.2, 0.9, 0.5}, sorted[5];
    const double expected[] = {-3.713572, -1.315677, -1.921813, 0, -0.669050};
    msx__encode_costs(y, 5, MSX__FLOOR_GAP, sorted);
    for (int i = 0; i < 5; i++) ck_assert_double_eq_tol(y[i], expected[i], 1e-6);
    double ties[40];
    for (int i = 0; i < 40; i++) ties[i] = i < 20 ? 1 : i;
    double room[40];
    msx__encode_costs(ties, 40, MSX__FLOOR_GAP, room);
    ck_assert_double_eq_tol(ties[0], log(1e-3 / 1.001), 1e-9); /* not -23 */
    double same[] = {2, 2, 2};
    msx__encode_costs(same, 3, MSX__FLOOR_GAP, room);
    ck_assert(same[0] == 0 && same[2] == 0);
}
END_TEST

START_TEST(expected_improvement_has_its_published_values) {
    ck_assert_double_eq_tol(msx__expected_improvement(-2, -1.5, 0.36), 0.00711159, 1e-8);
    ck_assert_double_eq_tol(msx__expected_improvement(-2, -2.2, 0.04), 0.02477056, 1e-8);
    ck_assert(msx__expected_improvement(-2, -1, 0) == 0);
    /* far in the tail it stays positive and falls */
    double far = msx__expected_improvement(-2, 4, 0.09),
           further = msx__expected_improvement(-2, 5, 0.09);
    ck_assert(far > further && further > 0);
}
END_TEST

START_TEST(parego_weighs_as_published) {
    const double costs[] = {0.5, 0.2}, low[] = {0, 0}, high[] = {1, 1}, theta[] = {0.3, 0.7};
    ck_assert_double_eq_tol(msx__parego_scalar(costs, low, high, theta, 2), 0.1645, 1e-12);
    const double flat[] = {0, 0}; /* an objective that never changes counts as 1 */
    ck_assert_double_eq_tol(msx__parego_scalar(flat, low, flat, theta, 2), 0.7 + 0.05, 1e-12);
}
END_TEST

/* Uniform on the simplex, also in short runs of them; preferences shift them. */
START_TEST(parego_weights_leave_no_holes) {
    double mean[3] = {0}, corner = 0, early = 0, preferred[3] = {0};
    enum { DRAWS = 20000, FEW = 64 };
    const double preference[3] = {0.75, 0.25, 0};
    for (int i = 0; i < DRAWS; i++) {
        double t[3];
        msx__parego_weights(1, (uint64_t)i, preference, 3, t);
        ck_assert_double_eq_tol(t[0] + t[1] + t[2], 1, 1e-12);
        ck_assert(t[2] == 0);
        for (int k = 0; k < 3; k++) preferred[k] += t[k] / DRAWS;
        msx__parego_weights(1, (uint64_t)i, NULL, 3, t);
        ck_assert_double_eq_tol(t[0] + t[1] + t[2], 1, 1e-12);
        for (int k = 0; k < 3; k++) mean[k] += t[k] / DRAWS;
        corner += t[0] > 0.5;
        early += i < FEW && t[0] > 0.5;
    }
    for (int k = 0; k < 3; k++) ck_assert_double_eq_tol(mean[k], 1.0 / 3, 0.01);
    ck_assert_double_eq_tol(corner / DRAWS, 0.25, 0.015); /* share of the simplex's area */
    ck_assert_double_eq_tol(early / FEW, 0.25, 0.05);
    ck_assert_double_gt(preferred[0], 2 * preferred[1]);
}
END_TEST

static msx_space *mixed(msx_ctx *ctx) {
    msx_space *s;
    const char *const choices[] = {"a", "b", "c", "d"};
    test_ok(ctx, msx_space_create(&s, ctx));
    test_ok(ctx, msx_space_add_categorical(s, "c", choices, 4, 0));
    test_ok(ctx, msx_space_add_float(s, "x", 0, 1, 0.5, false));
    return s;
}

/* 0 for a and c, 1 for b and d, plus a step of 4 at x = 0.5. */
static double step_function(const double *x) {
    return ((int)x[0] % 2) + (x[1] > 0.5 ? 4 : 0);
}

START_TEST(trees_find_categories_and_thresholds) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = mixed(ctx);
    double x[64 * 2], y[64];
    for (int i = 0; i < 64; i++) {
        x[2 * i] = i % 4;
        x[2 * i + 1] = (i / 4 + 0.5) / 16;
        y[i] = step_function(x + 2 * i);
    }
    msx__forest f = {0};
    test_ok(ctx, msx__forest_train(&f, s, x, y, 64, &plain, 7));
    for (int t = 0; t < f.trees; t++) ck_assert_int_eq(f.n_nodes[t], 7); /* 3 splits, 4 leaves */
    for (int i = 0; i < 64; i++) {
        double mean, variance;
        msx__forest_predict(&f, x + 2 * i, &mean, &variance);
        ck_assert_double_eq_tol(mean, y[i], 1e-12);
        ck_assert_double_eq_tol(variance, 1e-10, 1e-12);
    }
    /* thresholds lie anywhere between the neighbours 0.46875 and 0.53125, not all in the middle */
    int low = 0, high = 0;
    for (int t = 0; t < f.trees; t++) {
        low += msx__forest_tree(&f, t, (double[]){0, 0.49}) > 1;
        high += msx__forest_tree(&f, t, (double[]){0, 0.51}) > 1;
    }
    ck_assert(low < high && high <= 10);
    msx__forest_free(&f);
    msx__forest_free(&f);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(leaves_hold_the_log_of_the_mean) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = mixed(ctx);
    const double x[] = {0, 0.1, 1, 0.5, 2, 0.9}, y[] = {-1, -3, -800};
    const msx__forest_options stump = {3, 1, 100, 1, false, false};
    msx__forest f = {0};
    test_ok(ctx, msx__forest_train(&f, s, x, y, 3, &stump, 7));
    double mean, variance;
    msx__forest_predict(&f, x, &mean, &variance);
    ck_assert_double_eq_tol(mean, log((exp(-1) + exp(-3)) / 3), 1e-12);
    const msx__forest_options big_leaves = {1, 1,     2,
                                            2, false, false}; /* 3 trials cannot be split 2 : 2 */
    test_ok(ctx, msx__forest_train(&f, s, x, y, 3, &big_leaves, 7));
    ck_assert_int_eq(f.n_nodes[0], 1);
    /* Copies of a bootstrap sample count in a leaf's mean unless only distinct trials do. */
    int lopsided = 0;
    const double triple[] = {0, 0.1, 1, 0.5, 2, 0.9}, three[] = {0, 0, log(4)};
    for (int distinct = 0; distinct < 2; distinct++) {
        const msx__forest_options sampled = {40, 1, 100, 1, true, distinct};
        test_ok(ctx, msx__forest_train(&f, s, triple, three, 3, &sampled, 7));
        for (int t = 0; t < 40; t++) {
            double value = exp(msx__forest_tree(&f, t, triple));
            bool of_distinct = fabs(value - 1) < 1e-9 || fabs(value - 2) < 1e-9 ||
                               fabs(value - 2.5) < 1e-9 || fabs(value - 4) < 1e-9;
            if (distinct) ck_assert(of_distinct);
            lopsided += !of_distinct; /* 1, 1, 4 of which one is drawn twice: 3, say */
        }
    }
    ck_assert_int_gt(lopsided, 0);
    const double same[] = {1, 0.5, 1, 0.5, 1, 0.5}; /* nothing tells these apart */
    test_ok(ctx, msx__forest_train(&f, s, same, y, 3, &bagged, 7));
    ck_assert_int_eq(f.n_nodes[0], 1);
    msx__forest_free(&f);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(forests_depend_on_their_seed_alone) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = mixed(ctx);
    double x[40 * 2], y[40], means[3][40], variance;
    msx_rng rng;
    msx__rng_init(&rng, 2, 0);
    for (int i = 0; i < 40; i++) {
        x[2 * i] = (double)msx_rng_below(&rng, 4);
        x[2 * i + 1] = msx_rng_uniform(&rng);
        y[i] = sin(9 * x[2 * i + 1]) + x[2 * i];
    }
    const uint64_t seeds[] = {5, 5, 6};
    for (int k = 0; k < 3; k++) {
        msx__forest f = {0};
        test_ok(ctx, msx__forest_train(&f, s, x, y, 40, &bagged, seeds[k]));
        for (int i = 0; i < 40; i++) {
            msx__forest_predict(&f, x + 2 * i, &means[k][i], &variance);
            ck_assert_double_ge(means[k][i], -1 - 1e-9); /* between the lowest and highest target */
            ck_assert_double_le(means[k][i], 4 + 1e-9);
        }
        msx__forest_free(&f);
    }
    ck_assert(!memcmp(means[0], means[1], sizeof means[0]));
    ck_assert(memcmp(means[0], means[2], sizeof means[0]));
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

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
    int64_t d = msx_space_count(q.space);
    q.values = calloc((size_t)(n * (d + 1)), sizeof *q.values);
    q.x = calloc((size_t)n, sizeof *q.x);
    q.costs = calloc((size_t)n, sizeof *q.costs);
    q.failed = calloc((size_t)n, 1);
    for (int64_t i = 0; i < n; i++) {
        double *row = q.values + i * (d + 1);
        msx_space_sample(q.space, 3, (uint64_t)i, row);
        p->cost(row, row + d);
        q.x[i] = row;
        q.costs[i] = i < n - running ? row + d : NULL;
    }
    q.history = (msx_history){.struct_size = sizeof q.history,
                              .ctx = ctx,
                              .space = q.space,
                              .n_objectives = 1,
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

START_TEST(walks_end_higher_and_know_where_they_are) {
    msx_ctx *ctx = test_ctx();
    const char *problems[] = {"branin", "func3c", "jenatton", "merge19"};
    const msx__walk_options options = {8, 0.05, 10};
    for (int p = 0; p < 4; p++) {
        past q = remember(ctx, problems[p], 60, 0);
        msx__model m = {0};
        test_ok(ctx, msx__model_fit(&m, &q.history, 60, NULL, &bagged_model, 1));
        msx_rng rng;
        msx__rng_init(&rng, 4, 0);
        msx__walker w;
        test_ok(ctx, msx__walker_init(&w, &m, &options, &rng));
        int64_t d = msx_space_count(q.space);
        double *features = calloc((size_t)d, sizeof *features), mean, variance;
        int better = 0;
        for (int i = 0; i < 20; i++) {
            for (int64_t k = 0; k < d; k++)
                features[k] = msx__forest_encode(&q.space->params[k], q.x[i][k]);
            msx__forest_predict(&m.forest, features, &mean, &variance);
            double before = msx__expected_improvement(m.eta, mean, variance);
            msx__walker_climb(&w, q.x[i]);
            test_ok(ctx, msx_space_check(q.space, w.x)); /* children came and went with parents */
            ck_assert_double_ge(w.improvement, before);
            better += w.improvement > before;
            /* what was updated step by step equals what is computed afresh */
            for (int64_t k = 0; k < d; k++)
                features[k] = msx__forest_encode(&q.space->params[k], w.x[k]);
            ck_assert(!memcmp(features, w.e, (size_t)d * sizeof *features));
            msx__forest_predict(&m.forest, features, &mean, &variance);
            ck_assert_double_eq_tol(w.improvement, msx__expected_improvement(m.eta, mean, variance),
                                    1e-12);
        }
        ck_assert_int_gt(better, 10);
        free(features);
        msx__walker_free(&w);
        msx__model_free(&m);
        forget(&q);
    }
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(proposals_are_sorted_and_better_than_chance) {
    msx_ctx *ctx = test_ctx();
    past q = remember(ctx, "jenatton", 40, 0);
    msx__model m = {0};
    test_ok(ctx, msx__model_fit(&m, &q.history, 40, NULL, &bagged_model, 1));
    msx__proposals p = {0};
    const msx__acquire_options options = {300, 5, {8, 0.05, 10}};
    msx_rng rng;
    msx__rng_init(&rng, 4, 0);
    test_ok(ctx, msx__acquire(&p, &m, &q.history, &options, &rng));
    ck_assert_int_eq(p.n, 10);
    double features[9], mean, variance, last = INFINITY, first = 0, chance = 0;
    for (int64_t i = 0; i < p.n + 100; i++) {
        double drawn[9];
        const double *x = i < p.n ? p.x + i * 9 : drawn;
        if (i >= p.n) msx_space_sample(q.space, 8, (uint64_t)i, drawn);
        test_ok(ctx, msx_space_check(q.space, x));
        for (int k = 0; k < 9; k++) features[k] = msx__forest_encode(&q.space->params[k], x[k]);
        msx__forest_predict(&m.forest, features, &mean, &variance);
        double ei = msx__expected_improvement(m.eta, mean, variance);
        if (i == 0) first = ei;
        if (i < p.n) ck_assert_double_le(ei, last + 1e-12);
        if (i < p.n) last = ei;
        if (i >= p.n) chance = fmax(chance, ei);
    }
    ck_assert_double_gt(first, chance);
    msx__proposals_free(&p, ctx);
    msx__model_free(&m);
    forget(&q);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(running_trials_hold_what_is_predicted) {
    msx_ctx *ctx = test_ctx();
    past q = remember(ctx, "branin", 30, 4);
    msx__model m = {0};
    test_ok(ctx, msx__model_fit(&m, &q.history, 30, NULL, &bagged_model, 1));
    double lowest = 0, highest = -INFINITY;
    for (int i = 0; i < 26; i++) {
        ck_assert_int_lt(m.trials[i], 26);
        lowest = fmin(lowest, m.y[i]);
        highest = fmax(highest, m.y[i]);
    }
    for (int i = 26; i < 30; i++) {
        ck_assert_int_ge(m.trials[i], 26);
        ck_assert(m.y[i] >= lowest && m.y[i] <= highest);
    }
    for (int i = 0; i < 30; i++) ck_assert_double_ge(m.means[i], m.eta);
    for (int i = 0; i < 30; i++) q.costs[i] = NULL;
    ck_assert_int_eq(msx__model_fit(&m, &q.history, 30, NULL, &bagged_model, 1),
                     MSX_DONE_EXHAUSTED);
    msx__model_free(&m);
    forget(&q);
    msx_ctx_free(ctx);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("forest");
    TCase *t = tcase_create("forest");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, costs_are_encoded_as_published);
    tcase_add_test(t, expected_improvement_has_its_published_values);
    tcase_add_test(t, parego_weighs_as_published);
    tcase_add_test(t, parego_weights_leave_no_holes);
    tcase_add_test(t, trees_find_categories_and_thresholds);
    tcase_add_test(t, leaves_hold_the_log_of_the_mean);
    tcase_add_test(t, forests_depend_on_their_seed_alone);
    tcase_add_test(t, walks_end_higher_and_know_where_they_are);
    tcase_add_test(t, proposals_are_sorted_and_better_than_chance);
    tcase_add_test(t, running_trials_hold_what_is_predicted);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
