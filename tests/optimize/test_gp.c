/* SPDX-License-Identifier: Apache-2.0 */
/* Gaussian processes on conditional spaces: the algebra, the covariance and its derivatives, learning, and
 * what is predicted, against plain formulas and finite differences. */
#include "optimize/gp.h"
#include "optimize/matrix.h"
#include "support/problems.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_D = 190, ROWS = 40 };

/* Rows of random configurations of a problem, as places. */
typedef struct sample {
    msx_space *space;
    int64_t d;
    double *x, *e, *y; /* (ROWS, d), (ROWS, d), (ROWS) first cost */
} sample;

static sample draw(msx_ctx *ctx, const char *name) {
    const test_problem *p = test_problem_find(name);
    sample s;
    test_ok(ctx, msx_space_create(&s.space, ctx));
    test_ok(ctx, p->build(s.space));
    s.d = msx_space_count(s.space);
    s.x = calloc((size_t)(ROWS * s.d), sizeof *s.x);
    s.e = calloc((size_t)(ROWS * s.d), sizeof *s.e);
    s.y = calloc(ROWS, sizeof *s.y);
    for (int64_t i = 0; i < ROWS; i++) {
        double costs[4];
        msx_space_sample(s.space, 5, (uint64_t)i, s.x + i * s.d);
        msx__gp_encode(s.space, s.x + i * s.d, s.e + i * s.d);
        p->cost(s.x + i * s.d, costs);
        s.y[i] = costs[0];
    }
    double mean = 0, square = 0;
    for (int i = 0; i < ROWS; i++) mean += s.y[i] / ROWS;
    for (int i = 0; i < ROWS; i++) square += (s.y[i] - mean) * (s.y[i] - mean) / ROWS;
    for (int i = 0; i < ROWS; i++) s.y[i] = (s.y[i] - mean) / sqrt(square);
    return s;
}

static void forget(sample *s) {
    free(s->x);
    free(s->e);
    free(s->y);
    msx_space_free(s->space);
}

/* Parameters away from the prior's means, alike for the same space. */
static void shake(msx__kernel *k, uint64_t seed) {
    msx_rng rng;
    double theta[400];
    msx__rng_init(&rng, seed, 0);
    for (int32_t i = 0; i < k->n_theta; i++)
        theta[i] = k->prior_mean[i] + 0.7 * msx_rng_normal(&rng);
    msx__kernel_set(k, theta);
}

START_TEST(factors_and_inverses_are_right) {
    enum { N = 17 };
    double a[N * N], l[N * N], row[N], inverse[N * N], x[N], y[N], z[N];
    msx_rng rng;
    msx__rng_init(&rng, 3, 0);
    for (int i = 0; i < N * N; i++) row[i % N] = l[i] = msx_rng_normal(&rng);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i * N + j] = i == j ? 0.5 : 0;
            for (int k = 0; k < N; k++) a[i * N + j] += l[i * N + k] * l[j * N + k];
        }
    memcpy(l, a, sizeof l);
    ck_assert(msx__cholesky(l, N));
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++)
            ck_assert_double_eq_tol(msx__dot(l + i * N, l + j * N, j + 1), a[i * N + j], 1e-10);
    msx__invert_lower(l, N, row);
    msx__gram_of_lower(l, N, inverse);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++) sum += a[i * N + k] * inverse[k * N + j];
            ck_assert_double_eq_tol(sum, i == j, 1e-8);
        }
    for (int i = 0; i < N; i++) x[i] = i - 3;
    msx__lower_times(l, N, x, y);
    msx__lower_transposed_times(l, N, y, z);
    for (int i = 0; i < N; i++)
        ck_assert_double_eq_tol(z[i], msx__dot(inverse + i * N, x, N), 1e-8);
    double indefinite[4] = {1, 0, 2, 1};
    ck_assert(!msx__cholesky(indefinite, 2));

    double copy[N * N], values[N], vectors[N * N];
    memcpy(copy, a, sizeof copy);
    msx__eigen(copy, N, values, vectors);
    for (int i = 0; i < N; i++) {
        ck_assert_double_gt(values[i], 0.4);
        for (int j = 0; j < N; j++) {
            double rebuilt = 0;
            for (int k = 0; k < N; k++)
                rebuilt += values[k] * vectors[k * N + i] * vectors[k * N + j];
            ck_assert_double_eq_tol(rebuilt, a[i * N + j], 1e-9);
            ck_assert_double_eq_tol(msx__dot(vectors + i * N, vectors + j * N, N), i == j, 1e-10);
        }
    }
}
END_TEST

/* ---- minimising ------------------------------------------------------------------------------------- */

static double valley(void *payload, const double *x, double *gradient) {
    (*(int *)payload)++;
    double a = x[1] - x[0] * x[0], b = 1 - x[0];
    gradient[0] = -400 * x[0] * a - 2 * b;
    gradient[1] = 200 * a;
    return 100 * a * a + b * b;
}

START_TEST(valleys_are_followed_inside_a_box) {
    msx_ctx *ctx = test_ctx();
    msx__minimiser m;
    test_ok(ctx, msx__minimiser_init(&m, ctx, 2));
    double x[2] = {-1.2, 1}, lower[2] = {-2, -2}, upper[2] = {2, 2};
    int calls = 0;
    double value = msx__minimise(&m, valley, &calls, x, lower, upper, 2, 100, 0.1);
    ck_assert_int_le(calls, 100);
    ck_assert_double_lt(value, 1e-6);
    ck_assert_double_eq_tol(x[0], 1, 1e-2);
    /* The optimum is outside: the best point of the edge is found. */
    x[0] = -0.5, x[1] = 0, upper[0] = 0.5;
    value = msx__minimise(&m, valley, &calls, x, lower, upper, 2, 100, 0.1);
    ck_assert(x[0] == 0.5);
    ck_assert_double_eq_tol(x[1], 0.25, 1e-3);
    ck_assert_double_eq_tol(value, 0.25, 1e-4);
    msx__minimiser_free(&m);
    msx_ctx_free(ctx);
}
END_TEST

/* ---- the covariance ---------------------------------------------------------------------------------- */

static const char *const spaces[] = {"branin", "func3c", "jenatton", "merge19"};
enum { SPACES = 4 };

START_TEST(covariances_are_symmetric_and_positive) {
    msx_ctx *ctx = test_ctx();
    sample s = draw(ctx, spaces[_i]);
    msx__kernel k;
    test_ok(ctx, msx__kernel_init(&k, s.space));
    for (uint64_t seed = 0; seed < 5; seed++) {
        double a[ROWS * ROWS];
        shake(&k, seed);
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < ROWS; j++) {
                double value = msx__kernel_value(&k, s.e + i * s.d, s.e + j * s.d);
                a[i * ROWS + j] = value + (i == j ? 1e-9 : 0);
                ck_assert(value > 0 && value <= 1 + 1e-12);
                if (i == j) ck_assert_double_eq_tol(value, 1, 1e-12);
                ck_assert(value == msx__kernel_value(&k, s.e + j * s.d, s.e + i * s.d));
            }
        ck_assert(msx__cholesky(a, ROWS));
    }
    msx__kernel_free(&k);
    forget(&s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(rows_have_the_bits_of_each_pair) {
    msx_ctx *ctx = test_ctx();
    sample s = draw(ctx, spaces[_i]);
    msx__kernel k;
    test_ok(ctx, msx__kernel_init(&k, s.space));
    double columns[ROWS * MAX_D], values[ROWS], room[4 * ROWS], alone[MAX_D];
    double *factors = malloc((size_t)(ROWS * s.d) * sizeof *factors);
    msx__kernel_columns(s.e, ROWS, s.d, columns);
    for (uint64_t seed = 0; seed < 5; seed++) {
        shake(&k, seed);
        const int32_t families = msx__kernel_families(&k);
        for (int64_t n = 0; n <= ROWS; n += ROWS / 2) {
            const msx__kernel_rows rows = {n, ROWS, s.e, columns};
            for (int j = 0; j < ROWS; j++) {
                msx__kernel_values(&k, &rows, s.e + j * s.d, values, factors, room);
                for (int64_t i = 0; i < n; i++) {
                    double one = msx__kernel_factors(&k, s.e + i * s.d, s.e + j * s.d, alone);
                    ck_assert_mem_eq(&values[i], &one, sizeof one);
                    ck_assert_mem_eq(factors + i * families, alone,
                                     (size_t)families * sizeof *alone);
                }
            }
        }
    }
    free(factors);
    msx__kernel_free(&k);
    forget(&s);
    msx_ctx_free(ctx);
}
END_TEST

/* Two configurations that differ in a choice are as alike whatever the numbers below it are. */
START_TEST(numbers_that_only_one_has_are_not_compared) {
    msx_ctx *ctx = test_ctx();
    msx_space *space;
    test_ok(ctx, msx_space_create(&space, ctx));
    test_ok(ctx, test_problem_find("jenatton")->build(space));
    msx__kernel k;
    test_ok(ctx, msx__kernel_init(&k, space));
    double x[3][9], e[3][9];
    msx_space_default(space, x[0]); /* x1 = 0: x2, r8, x4 */
    memcpy(x[1], x[0], sizeof x[0]);
    memcpy(x[2], x[0], sizeof x[0]);
    x[1][5] = 0.9; /* x4 */
    x[2][1] = 1;   /* x2: x5 instead of x4 */
    msx_space_repair(space, x[2]);
    for (int i = 0; i < 3; i++) msx__gp_encode(space, x[i], e[i]);
    ck_assert(msx__kernel_value(&k, e[0], e[2]) == msx__kernel_value(&k, e[1], e[2]));
    ck_assert(msx__kernel_value(&k, e[0], e[1]) > msx__kernel_value(&k, e[0], e[2]));
    msx__kernel_free(&k);
    msx_space_free(space);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(derivatives_are_those_of_the_value) {
    msx_ctx *ctx = test_ctx();
    sample s = draw(ctx, spaces[_i]);
    msx__kernel k;
    test_ok(ctx, msx__kernel_init(&k, s.space));
    shake(&k, 9);
    double theta[400], gradient[400], factors[400], place[MAX_D], slope[MAX_D];
    for (int pair = 0; pair < 6; pair++) {
        const double *a = s.e + 2 * pair * s.d, *b = a + s.d;
        memset(gradient, 0, sizeof gradient);
        ck_assert(msx__kernel_factors(&k, a, b, factors) == msx__kernel_value(&k, a, b));
        msx__kernel_learn(&k, a, b, 2, factors, gradient);
        memcpy(theta, k.theta, (size_t)k.n_theta * sizeof *theta);
        for (int32_t i = 0; i < k.n_theta; i++) {
            double sides[2];
            for (int side = 0; side < 2; side++) {
                double moved = theta[i];
                theta[i] += side ? 1e-5 : -1e-5;
                msx__kernel_set(&k, theta);
                sides[side] = msx__kernel_value(&k, a, b);
                theta[i] = moved;
            }
            ck_assert_double_eq_tol(gradient[i], 2 * (sides[1] - sides[0]) / 2e-5, 1e-7);
        }
        msx__kernel_set(&k, theta);
        memset(slope, 0, sizeof slope);
        msx__kernel_slope(&k, a, b, 3, factors, 1, slope);
        memcpy(place, b, (size_t)s.d * sizeof *place);
        for (int64_t i = 0; i < s.d; i++) {
            if (isnan(b[i]) || msx_space_kind(s.space, i) == MSX_PARAM_CATEGORICAL) {
                ck_assert(slope[i] == 0);
                continue;
            }
            double sides[2];
            for (int side = 0; side < 2; side++) {
                place[i] = b[i] + (side ? 1e-6 : -1e-6);
                sides[side] = msx__kernel_value(&k, a, place);
            }
            place[i] = b[i];
            ck_assert_double_eq_tol(slope[i], 3 * (sides[1] - sides[0]) / 2e-6, 1e-6);
        }
    }
    msx__kernel_free(&k);
    forget(&s);
    msx_ctx_free(ctx);
}
END_TEST

/* ---- learning and predicting ------------------------------------------------------------------------- */

/* Means and variances by the textbook's formulas, with the inverse written out. */
START_TEST(predictions_are_the_textbooks) {
    msx_ctx *ctx = test_ctx();
    sample s = draw(ctx, "func3c");
    msx__gp g;
    test_ok(ctx, msx__gp_init(&g, s.space));
    g.noise = 1e-3;
    double y[2 * ROWS], covariance[ROWS * ROWS], inverse[ROWS * ROWS], row[ROWS], k[ROWS], v[ROWS];
    for (int i = 0; i < ROWS; i++) {
        y[i] = s.y[i];
        y[ROWS + i] = sin(5 * s.y[i]);
        for (int j = 0; j < ROWS; j++)
            covariance[i * ROWS + j] = MSX__GP_CONSTANT + (i == j ? 1e-3 : 0) +
                                       msx__kernel_value(&g.kernel, s.e + i * s.d, s.e + j * s.d);
    }
    const int rows = ROWS - 8; /* the others are predicted */
    double compact[ROWS * ROWS], targets[2 * ROWS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < rows; j++) compact[i * rows + j] = covariance[i * ROWS + j];
    ck_assert(msx__cholesky(compact, rows));
    msx__invert_lower(compact, rows, row);
    msx__gram_of_lower(compact, rows, inverse);
    memcpy(targets, y, (size_t)rows * sizeof *y);
    memcpy(targets + rows, y + ROWS, (size_t)rows * sizeof *y);
    test_ok(ctx, msx__gp_condition(&g, s.e, targets, rows, 2));
    for (int i = rows; i < ROWS; i++) {
        double means[2], variance, expected[2] = {0, 0}, reduction = 0;
        msx__gp_covariances(&g, s.e + i * s.d, k);
        msx__gp_posterior(&g, k, means, &variance, v);
        for (int p = 0; p < rows; p++)
            for (int q = 0; q < rows; q++) {
                double between = covariance[i * ROWS + p] * inverse[p * rows + q];
                expected[0] += between * targets[q];
                expected[1] += between * targets[rows + q];
                reduction += between * covariance[i * ROWS + q];
            }
        ck_assert_double_eq_tol(means[0], expected[0], 1e-8);
        ck_assert_double_eq_tol(means[1], expected[1], 1e-8);
        ck_assert_double_eq_tol(variance, MSX__GP_CONSTANT + 1 - reduction, 1e-8);
    }
    /* A row itself is predicted to within the noise. */
    double means[2], variance;
    msx__gp_covariances(&g, s.e, k);
    msx__gp_posterior(&g, k, means, &variance, v);
    ck_assert_double_eq_tol(means[0], targets[0], 0.05);
    ck_assert_double_lt(variance, 2e-3);
    msx__gp_free(&g);
    forget(&s);
    msx_ctx_free(ctx);
}
END_TEST

/* A sum over families is found to be one, and what does not matter gets a long length. */
START_TEST(learning_finds_what_matters) {
    msx_ctx *ctx = test_ctx();
    sample s = draw(ctx, "zdt1"); /* six numbers */
    double mean = 0, square = 0, evidence, start;
    for (int i = 0; i < ROWS; i++) {
        const double *e = s.e + i * s.d;
        s.y[i] = sin(6 * e[0]) + 3 * (e[1] - 0.4) * (e[1] - 0.4);
        mean += s.y[i] / ROWS;
    }
    for (int i = 0; i < ROWS; i++) square += (s.y[i] - mean) * (s.y[i] - mean) / ROWS;
    for (int i = 0; i < ROWS; i++) s.y[i] = (s.y[i] - mean) / sqrt(square);
    msx__gp g;
    test_ok(ctx, msx__gp_init(&g, s.space));
    test_ok(ctx, msx__gp_learn(&g, s.e, s.y, ROWS, 1, 1, &start));
    test_ok(ctx, msx__gp_learn(&g, s.e, s.y, ROWS, 1, 60, &evidence));
    ck_assert_double_gt(evidence, start + 10);
    ck_assert_double_gt(g.kernel.share, 0.5);
    const double *length = g.kernel.theta + 1; /* logarithms, in the order of the numbers */
    for (int i = 2; i < 6; i++) ck_assert_double_gt(length[i], length[0]);
    test_ok(ctx, msx__gp_condition(&g, s.e, s.y, ROWS, 1));
    double worst = 0, k[ROWS], v[ROWS], predicted, variance;
    for (int i = 0; i < 200; i++) {
        double e[6];
        msx_space_sample(s.space, 8, (uint64_t)i, e);
        msx__gp_covariances(&g, e, k);
        msx__gp_posterior(&g, k, &predicted, &variance, v);
        double truth = sin(6 * e[0]) + 3 * (e[1] - 0.4) * (e[1] - 0.4);
        worst = fmax(worst, fabs(predicted - (truth - mean) / sqrt(square)));
    }
    ck_assert_double_lt(worst, 0.5);
    msx__gp_free(&g);
    forget(&s);
    msx_ctx_free(ctx);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gp");
    TCase *t = tcase_create("gp");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, factors_and_inverses_are_right);
    tcase_add_test(t, valleys_are_followed_inside_a_box);
    tcase_add_loop_test(t, covariances_are_symmetric_and_positive, 0, SPACES);
    tcase_add_loop_test(t, rows_have_the_bits_of_each_pair, 0, SPACES);
    tcase_add_test(t, numbers_that_only_one_has_are_not_compared);
    tcase_add_loop_test(t, derivatives_are_those_of_the_value, 0, SPACES);
    tcase_add_test(t, predictions_are_the_textbooks);
    tcase_add_test(t, learning_finds_what_matters);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
