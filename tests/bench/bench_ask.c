/* SPDX-License-Identifier: Apache-2.0 */
/* Time of taking in N trials of the merge problem (19 groups, 190 columns) and of the asks that follow, as
 * Markdown: the first one, which learns the model's parameters, and the next.
 *   bench_ask [--threads T] [N...] */
#include "support/problems.h"

#include <medsamix/medsamix.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_OBJECTIVES = 12, NEXT = 5 };

static void check(msx_ctx *ctx, msx_status status) {
    if (status >= 0) return;
    fprintf(stderr, "bench_ask: %s\n", msx_ctx_error(ctx));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* As many objectives as wanted: the cost with the groups' order turned round. */
static void costs_of(const double *x, int64_t d, int m, double *costs, double *turned) {
    for (int k = 0; k < m; k++) {
        int64_t shift = 10 * (k * 3 % 19);
        for (int64_t i = 0; i < d; i++) turned[i] = x[(i + shift) % d];
        test_problem_find("merge19")->cost(turned, &costs[k]);
    }
}

static void row(msx_ctx *ctx, const char *driver, int m, int64_t n) {
    msx_space *s;
    msx_optimizer *o;
    check(ctx, msx_space_create(&s, ctx));
    check(ctx, test_problem_find("merge19")->build(s));
    check(ctx, msx_optimizer_create(&o, ctx, driver, s, m, n + NEXT + 1, 1));
    const int64_t d = msx_space_count(s);
    double *x = calloc((size_t)d, 2 * sizeof *x), costs[MAX_OBJECTIVES], taken = 0, first = 0,
           next = 0;
    for (int64_t i = 0; i < n; i++) {
        msx_space_sample(s, 3, (uint64_t)i, x);
        costs_of(x, d, m, costs, x + d);
        double begin = now();
        check(ctx, msx_optimizer_replay(o, x, costs));
        taken += now() - begin;
    }
    for (int i = 0; i <= NEXT; i++) {
        int64_t trial;
        double begin = now();
        check(ctx, msx_optimizer_ask(o, x, &trial));
        double spent = now() - begin;
        if (i)
            next += spent / NEXT;
        else
            first = spent;
        costs_of(x, d, m, costs, x + d);
        check(ctx, msx_optimizer_tell(o, trial, costs));
    }
    printf("| %s | %d | %lld | %.1f | %.0f | %.0f |\n", driver, m, (long long)n, 1e3 * taken,
           1e3 * first, 1e3 * next);
    fflush(stdout);
    free(x);
    msx_optimizer_free(o);
    msx_space_free(s);
}

int main(int argc, char **argv) {
    static const struct {
        const char *driver;
        int objectives;
    } rows[] = {{"smac", 1}, {"parego", 2}, {"parego", 12},
                {"tpe", 1},  {"cmaes", 1},  {"nsga2", 12}};
    const char *usual[] = {"120", "200", "1000", "10000"};
    msx_ctx *ctx;
    if (msx_ctx_create(&ctx, NULL) < 0) return 1;
    if (argc > 2 && !strcmp(argv[1], "--threads")) {
        check(ctx, msx_ctx_set_threads(ctx, atoi(argv[2])));
        argc -= 2, argv += 2;
    }
    const char **sizes = argc > 1 ? (const char **)argv + 1 : usual;
    const int n_sizes = argc > 1 ? argc - 1 : 4;
    printf("libmedsamix %s, ms with %d threads\n\n", MSX_VERSION_STRING, msx_ctx_threads(ctx));
    printf("| optimizer | objectives | trials | taking them in | first ask | next asks |\n");
    printf("|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < n_sizes; k++)
            row(ctx, rows[i].driver, rows[i].objectives, atoll(sizes[k]));
    msx_ctx_free(ctx);
    return 0;
}
