/* SPDX-License-Identifier: Apache-2.0 */
/* The signed-rank test against values by hand, against all sign patterns, and (through
 * test_wilcoxon.sh, which runs this program with an argument) against SciPy. */
#include "core/random.h"
#include "search/wilcoxon.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double p_of(const double *d, int64_t n) {
    double p = NAN;
    msx_ctx *ctx = test_ctx();
    test_ok(ctx, msx__wilcoxon_below(ctx, d, n, &p));
    msx_ctx_free(ctx);
    return p;
}

START_TEST(small_cases_are_those_by_hand) {
    static const struct {
        double d[8];
        int64_t n;
        double p;
    } cases[] = {
        {{0}, 0, 1},
        {{-1}, 1, 0.5},
        {{1}, 1, 1},
        {{0, 0, 0}, 3, 1},        /* nothing says anything */
        {{-1, -2, -3}, 3, 0.125}, /* 1 of 8 patterns */
        {{-1, -2, -3, -4}, 4, 0.0625},
        {{1, -2, -3, -4}, 4, 0.125}, /* sums 0 and 1 */
        {{1, 2, -3, -4}, 4, 0.3125}, /* 0, 1, 2, 3 = 1 + 2 and 3 alone */
        {{1, 2, 3, 4}, 4, 1},
        {{1, -1}, 2, 0.75},          /* both of rank 1.5: sums 0, 1.5, 1.5, 3 */
        {{0, -1, -2, -3}, 4, 0.125}, /* the zero leaves three */
        {{0, 0, -1, -2, 3}, 5, 0.5}, /* ranks 3, 4, 5: sums 0, 3, 4, 5, not 7, 8, 9, 12 */
        {{NAN, -1, -2, -3}, 4, 0.125},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double p = p_of(cases[i].d, cases[i].n);
        ck_assert_msg(fabs(p - cases[i].p) < 1e-15, "case %zu: %g, not %g", i, p, cases[i].p);
    }
}
END_TEST

/* Ranks by counting, sign patterns by counting: nothing shared with the code. */
static double by_enumeration(const double *d, int n) {
    double rank[16], observed = 0;
    for (int i = 0; i < n; i++) {
        int below = 0, same = 0;
        for (int k = 0; k < n; k++) {
            below += fabs(d[k]) < fabs(d[i]);
            same += fabs(d[k]) == fabs(d[i]);
        }
        rank[i] = below + 0.5 * (same + 1);
        if (d[i] > 0) observed += rank[i];
        if (d[i] == 0) observed += 0.5 * rank[i];
    }
    int64_t low = 0;
    for (int pattern = 0; pattern < 1 << n; pattern++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += d[i] == 0 ? 0.5 * rank[i] : (pattern >> i & 1) ? rank[i] : 0;
        low += sum <= observed;
    }
    return (double)low / (1 << n);
}

START_TEST(ties_and_zeros_give_what_all_sign_patterns_give) {
    msx_rng rng;
    msx__rng_init(&rng, 5, 0);
    for (int round = 0; round < 200; round++) {
        double d[12];
        int n = 1 + (int)msx_rng_below(&rng, 12);
        for (int i = 0; i < n; i++) d[i] = (double)msx_rng_below(&rng, 9) - 5;
        double p = p_of(d, n), expected = by_enumeration(d, n);
        ck_assert_msg(fabs(p - expected) < 1e-12, "round %d: %.17g, not %.17g", round, p, expected);
    }
}
END_TEST

/* Normal with a shift: without ties. */
static void draw(double *d, int64_t n, uint64_t stream) {
    msx_rng rng;
    msx__rng_init(&rng, 11, stream);
    for (int64_t i = 0; i < n; i++) d[i] = msx_rng_normal(&rng) - 0.1 * (double)(stream % 7) + 0.3;
}

START_TEST(the_approximation_continues_the_exact_values) {
    enum { N = MSX__WILCOXON_EXACT };
    double d[N + 1];
    for (uint64_t k = 0; k < 20; k++) {
        draw(d, N + 1, k);
        d[N] = 1e-9; /* the lowest rank: it hardly matters */
        ck_assert(fabs(p_of(d, N) - p_of(d, N + 1)) < 0.01);
    }
    double zeros[N + 1] = {0};
    ck_assert(p_of(zeros, N + 1) == 1);
}
END_TEST

START_TEST(lack_of_memory_is_returned) {
    for (int64_t at = 0;; at++) {
        test_allocator memory;
        msx_ctx *ctx;
        double d[5] = {-1, -2, 3, -4, 0}, p;
        test_allocator_init(&memory, -1, false);
        ck_assert_int_eq(msx_ctx_create(&ctx, &memory.table), MSX_OK);
        memory.calls = 0;
        memory.fail_at = at;
        msx_status status = msx__wilcoxon_below(ctx, d, 5, &p);
        bool reached = memory.calls > at;
        ck_assert_int_eq(status, reached ? MSX_E_NOMEM : MSX_OK);
        memory.fail_at = -1;
        msx_ctx_free(ctx);
        ck_assert_int_eq(memory.live, 0);
        if (!reached) break;
    }
}
END_TEST

/* For SciPy: "p d d d ...", one case a line. */
static int print_cases(void) {
    static const int64_t sizes[] = {1, 2, 3, 5, 8, 13, 21, 34, 50, 75, 101, 150, 400};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    double d[400], p;
    msx_ctx *ctx;
    if (msx_ctx_create(&ctx, NULL) < 0) return 1;
    for (uint64_t k = 0; k < 5 * SIZES; k++) {
        int64_t n = sizes[k % SIZES];
        draw(d, n, k);
        if (msx__wilcoxon_below(ctx, d, n, &p) < 0) return 1;
        printf("%.17g", p);
        for (int64_t i = 0; i < n; i++) printf(" %.17g", d[i]);
        printf("\n");
    }
    msx_ctx_free(ctx);
    return 0;
}

static Suite *suite(void) {
    Suite *s = suite_create("wilcoxon");
    TCase *t = tcase_create("wilcoxon");
    tcase_add_test(t, small_cases_are_those_by_hand);
    tcase_add_test(t, ties_and_zeros_give_what_all_sign_patterns_give);
    tcase_add_test(t, the_approximation_continues_the_exact_values);
    tcase_add_test(t, lack_of_memory_is_returned);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "cases")) return print_cases();
    return test_run(suite());
}
