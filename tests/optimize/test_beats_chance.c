/* SPDX-License-Identifier: Apache-2.0 */
/* The median of a few seeds: every driver against chance, the model-based ones against the others too. The
 * table with 20 seeds is docs/benchmarks/optimizers.md. */
#include "support/problems.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_SEEDS = 9, MAX_TRIALS = 120 };

/* Best cost after some trials, or minus the hypervolume. */
static double run(msx_ctx *ctx, const test_problem *p, const char *driver, int trials,
                  uint64_t seed) {
    msx_space *s;
    msx_optimizer *o;
    test_ok(ctx, msx_space_create(&s, ctx));
    test_ok(ctx, p->build(s));
    test_ok(ctx, msx_optimizer_create(&o, ctx, driver, s, p->n_objectives, trials, seed));
    double *x = calloc((size_t)msx_space_count(s), sizeof *x), *costs, result = INFINITY;
    costs = calloc((size_t)(trials * p->n_objectives), sizeof *costs);
    for (int i = 0; i < trials; i++) {
        int64_t trial;
        double *row = costs + i * p->n_objectives;
        ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_OK);
        p->cost(x, row);
        test_ok(ctx, msx_optimizer_tell(o, trial, row));
        result = fmin(result, row[0]);
    }
    if (p->n_objectives > 1) {
        const double reference[] = {p->reference, p->reference, p->reference};
        test_ok(ctx, msx_hypervolume(ctx, costs, trials, p->n_objectives, reference, &result));
        result = -result;
    }
    free(x);
    free(costs);
    msx_optimizer_free(o);
    msx_space_free(s);
    return result;
}

static int ascending(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

static double median(msx_ctx *ctx, const test_problem *p, const char *driver, int trials,
                     int seeds) {
    double results[MAX_SEEDS];
    for (int i = 0; i < seeds; i++) results[i] = run(ctx, p, driver, trials, (uint64_t)i);
    qsort(results, (size_t)seeds, sizeof *results, ascending);
    return results[seeds / 2];
}

static const struct {
    const char *problem, *driver, *rival;
    int trials, seeds;
} pairs[] = {
    {"branin", "smac", "tpe", 40, 5},       {"hartmann6", "smac", "tpe", 60, 5},
    {"func2c", "smac", "sobol", 60, 5},     {"jenatton", "smac", "random", 40, 5},
    {"zdt1", "parego", "nsga2", 40, 3},     {"dtlz2_m3", "parego", "sobol", 40, 3},
    {"branin", "tpe", "random", 120, 9},    {"merge19", "tpe", "sobol", 120, 5},
    {"zdt1", "tpe", "sobol", 120, 5},       {"camel", "cmaes", "random", 120, 9},
    {"merge19", "cmaes", "random", 120, 9}, {"dtlz2_m2", "nsga2", "sobol", 120, 9},
    {"zdt3", "nsga2", "random", 120, 9},
};

START_TEST(the_driver_beats_its_rival) {
    msx_ctx *ctx = test_ctx();
    const test_problem *p = test_problem_find(pairs[_i].problem);
    ck_assert_int_le(pairs[_i].trials, MAX_TRIALS);
    double rival = median(ctx, p, pairs[_i].rival, pairs[_i].trials, pairs[_i].seeds);
    double driver = median(ctx, p, pairs[_i].driver, pairs[_i].trials, pairs[_i].seeds);
    ck_assert_msg(driver < rival, "%s: %s %g, %s %g", p->name, pairs[_i].driver, driver,
                  pairs[_i].rival, rival);
    msx_ctx_free(ctx);
}
END_TEST

int main(void) {
    if (getenv("MSX_SANITIZED")) {
        puts("hundreds of runs, whose parts the other tests have: too slow under sanitizers");
        return 77;
    }
    Suite *suite = suite_create("beats chance");
    TCase *t = tcase_create("problems");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, the_driver_beats_its_rival, 0, (int)(sizeof pairs / sizeof *pairs));
    suite_add_tcase(suite, t);
    return test_run(suite);
}
