/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting into fronts, Parzen densities, and the distribution that cmaes evolves. */
#include "optimize/cma.h"
#include "optimize/fronts.h"
#include "optimize/parzen.h"
#include "support/problems.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- fronts ----------------------------------------------------------------------------------------- */

enum { ROWS = 60 };

/* Fronts by their definition: peel off what nothing left dominates. */
START_TEST(fronts_are_peeled_off) {
    msx_ctx *ctx = test_ctx();
    const int m = _i + 1;
    double costs[ROWS * 3], crowding[ROWS];
    const double *rows[ROWS];
    int64_t order[ROWS], rank[ROWS], expected[ROWS];
    msx_rng rng;
    msx__rng_init(&rng, 3, (uint64_t)m);
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < m; k++) costs[i * m + k] = floor(8 * msx_rng_uniform(&rng));
        rows[i] = costs + i * m;
        expected[i] = -1;
    }
    for (int64_t front = 0, left = ROWS; left; front++)
        for (int pass = 0; pass < 2; pass++) /* find, then take off */
            for (int i = 0; i < ROWS; i++) {
                bool dominated = false;
                for (int j = 0; j < ROWS && !pass && expected[i] == -1; j++)
                    dominated |= expected[j] < 0 && msx__dominates(rows[j], rows[i], m);
                if (!pass && expected[i] == -1 && !dominated) expected[i] = -2 - front;
                if (pass && expected[i] == -2 - front) {
                    expected[i] = front;
                    left--;
                }
            }
    test_ok(ctx, msx__fronts_sort(ctx, rows, ROWS, m, order, rank, crowding));
    for (int i = 0; i < ROWS; i++) ck_assert_int_eq(rank[i], expected[i]);
    for (int i = 0; i + 1 < ROWS; i++) {
        int64_t a = order[i], b = order[i + 1];
        ck_assert(rank[a] < rank[b] || (rank[a] == rank[b] && crowding[a] >= crowding[b]));
    }
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(crowding_is_the_room_between_neighbours) {
    msx_ctx *ctx = test_ctx();
    const double costs[4][2] = {{0, 10}, {1, 6}, {4, 4}, {8, 0}};
    const double *rows[4] = {costs[0], costs[1], costs[2], costs[3]};
    int64_t order[4], rank[4];
    double crowding[4];
    test_ok(ctx, msx__fronts_sort(ctx, rows, 4, 2, order, rank, crowding));
    ck_assert(isinf(crowding[0]) && isinf(crowding[3]));
    ck_assert_double_eq_tol(crowding[1], 4.0 / 8 + 6.0 / 10, 1e-12);
    ck_assert_double_eq_tol(crowding[2], 7.0 / 8 + 6.0 / 10, 1e-12);
    const int64_t sorted[4] = {0, 3, 2, 1};
    ck_assert(!memcmp(order, sorted, sizeof sorted));
    msx_ctx_free(ctx);
}
END_TEST

/* ---- Parzen densities -------------------------------------------------------------------------------- */

static msx_space *mixed(msx_ctx *ctx) {
    const char *const letters[] = {"a", "b", "c"};
    msx_space *s;
    test_ok(ctx, msx_space_create(&s, ctx));
    test_ok(ctx, msx_space_add_float(s, "x", 0, 2, 1, false));
    test_ok(ctx, msx_space_add_int(s, "n", 1, 4, 2));
    test_ok(ctx, msx_space_add_categorical(s, "c", letters, 3, 0));
    return s;
}

/* The density adds up to 1 over the space, and draws follow it. */
START_TEST(densities_add_up_and_are_drawn_from) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = mixed(ctx);
    const double observed[4][3] = {{0.1, 1, 0}, {0.3, 2, 0}, {1.9, 4, 2}, {1.2, 4, 2}};
    const double *rows[4] = {observed[0], observed[1], observed[2], observed[3]};
    const int32_t dims[3] = {0, 1, 2};
    for (int n = 0; n <= 4; n += 2) {
        msx__parzen p;
        test_ok(ctx, msx__parzen_init(&p, s, dims, 3, rows, n, 1));
        enum { CELLS = 200, DRAWS = 20000 };
        double total = 0, corner = 0;
        for (int c = 0; c < 3; c++)
            for (int k = 0; k < 4; k++)
                for (int i = 0; i < CELLS; i++) {
                    const double place[3] = {(i + 0.5) / CELLS, k / 3.0, c};
                    double mass = exp(msx__parzen_log(&p, place)) / CELLS;
                    total += mass;
                    if (place[0] < 0.25 && k < 2 && c == 0) corner += mass;
                }
        ck_assert_double_eq_tol(total, 1, 1e-3);
        msx_rng rng;
        msx__rng_init(&rng, 4, (uint64_t)n);
        double drawn = 0;
        for (int i = 0; i < DRAWS; i++) {
            double place[3];
            msx__parzen_draw(&p, &rng, place);
            drawn += place[0] < 0.25 && place[1] < 0.5 && place[2] == 0;
        }
        ck_assert_double_eq_tol(drawn / DRAWS, corner, 0.01);
        /* Both observations lie there; evenly spread it would hold 1 / 24. */
        if (n == 2) ck_assert_double_gt(corner, 4.0 / 24);
        msx__parzen_free(&p);
    }
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(old_observations_fade) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = mixed(ctx);
    enum { N = 60 };
    double x[N][3];
    const double *rows[N];
    for (int i = 0; i < N; i++) {
        x[i][0] = i < N / 2 ? 0.4 : 1.6;
        x[i][1] = 2;
        x[i][2] = 0;
        rows[i] = x[i];
    }
    const int32_t dims[1] = {0};
    msx__parzen p;
    test_ok(ctx, msx__parzen_init(&p, s, dims, 1, rows, N, 1));
    const double old[1] = {0.2}, new[1] = {0.8};
    ck_assert_double_gt(msx__parzen_log(&p, new), msx__parzen_log(&p, old) + 0.3);
    msx__parzen_free(&p);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

/* ---- the evolved distribution ------------------------------------------------------------------------ */

typedef struct one {
    double x[8], cost;
} one;

static int by_cost(const void *a, const void *b) {
    double p = ((const one *)a)->cost, q = ((const one *)b)->cost;
    return (p > q) - (p < q);
}

/* Generations on a cost; @return the lowest cost seen. */
static double evolve(msx__cma *c, double (*cost)(const double *), int generations) {
    one *rows = calloc((size_t)c->population, sizeof *rows);
    const double **x = calloc((size_t)c->population, sizeof *x);
    double best = INFINITY;
    msx_rng rng;
    msx__rng_init(&rng, 12, 0);
    for (int g = 0; g < generations; g++) {
        for (int64_t i = 0; i < c->population; i++) {
            msx__cma_draw(c, &rng, rows[i].x);
            rows[i].cost = cost(rows[i].x);
        }
        qsort(rows, (size_t)c->population, sizeof *rows, by_cost);
        for (int64_t i = 0; i < c->population; i++) x[i] = rows[i].x;
        best = fmin(best, rows[0].cost);
        msx__cma_learn(c, x, rows[0].cost, &rng);
    }
    free(rows);
    free(x);
    return best;
}

/* A narrow valley across the axes: only a full covariance follows it. */
static double ridge(const double *x) {
    double along = 0, across = 0;
    for (int i = 0; i < 5; i++) along += x[i] - 0.37;
    for (int i = 0; i < 4; i++) across += (x[i] - x[i + 1]) * (x[i] - x[i + 1]);
    return along * along + 1e4 * across;
}

START_TEST(numbers_converge_on_a_ridge) {
    msx_ctx *ctx = test_ctx();
    msx_space *s;
    test_ok(ctx, msx_space_create(&s, ctx));
    for (int i = 0; i < 5; i++) {
        const char name[2] = {(char)('a' + i), 0};
        test_ok(ctx, msx_space_add_float(s, name, 0, 1, 0.8, false));
    }
    msx__cma c;
    test_ok(ctx, msx__cma_init(&c, s, 0, 0.2, NULL));
    ck_assert_int_eq(c.population, 8);
    ck_assert(c.full);
    ck_assert_double_lt(evolve(&c, ridge, 200), 1e-7);
    /* the longest axis is the diagonal */
    const double *covariance = c.covariance;
    for (int i = 0; i < 4; i++) ck_assert_double_gt(covariance[i * 5 + i + 1], 0.5 * covariance[0]);
    ck_assert_int_eq(evolve(&c, ridge, 200) < 1e-12, 1);
    ck_assert(msx__cma_converged(&c));
    msx__cma_free(&c);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

/* Only switch 1 with low at 0.2 is good; with switch 0 it is `other` that is there, and worth nothing. */
static double switched(const double *x) {
    return x[0] == 1 ? (x[1] - 0.2) * (x[1] - 0.2) : 1 + (isnan(x[2]) ? 9 : 0) + (x[3] != 2);
}

START_TEST(choices_and_their_children_converge) {
    msx_ctx *ctx = test_ctx();
    msx_space *s;
    const char *const names[] = {"a", "b", "c"};
    const size_t on = 1, off = 0;
    test_ok(ctx, msx_space_create(&s, ctx));
    test_ok(ctx, msx_space_add_categorical(s, "switch", names, 3, 0));
    test_ok(ctx, msx_space_add_float(s, "low", 0, 1, 0.5, false));
    test_ok(ctx, msx_space_condition(s, 1, 0, &on, 1));
    test_ok(ctx, msx_space_add_float(s, "other", 0, 1, 0.5, false));
    test_ok(ctx, msx_space_condition(s, 2, 0, &off, 1));
    test_ok(ctx, msx_space_add_categorical(s, "letter", names, 3, 0));
    msx__cma c;
    test_ok(ctx, msx__cma_init(&c, s, 10, 0.25, NULL));
    ck_assert_double_lt(evolve(&c, switched, 80), 1e-6);
    const double *q = c.frequency;
    ck_assert_double_gt(q[1], 0.7);
    for (int i = 0; i < 3; i++) ck_assert_double_gt(q[i], 0.01); /* the margin */
    ck_assert_double_eq_tol(q[0] + q[1] + q[2], 1, 1e-9);
    ck_assert_double_eq_tol(c.mean[0], 0.2, 0.05);
    /* `other` was nearly always inactive, so that it knows as little as at first. */
    double deviation = c.sigma * sqrt(c.covariance[c.full ? 3 : 1]);
    ck_assert_double_gt(deviation, 3 * c.sigma * sqrt(c.covariance[0]));
    msx__cma_free(&c);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("evolution");
    TCase *t = tcase_create("evolution");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, fronts_are_peeled_off, 0, 3);
    tcase_add_test(t, crowding_is_the_room_between_neighbours);
    tcase_add_test(t, densities_add_up_and_are_drawn_from);
    tcase_add_test(t, old_observations_fade);
    tcase_add_test(t, numbers_converge_on_a_ridge);
    tcase_add_test(t, choices_and_their_children_converge);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
