/* SPDX-License-Identifier: Apache-2.0 */
/* Simple regret and hypervolume of the optimizers on problems with known answers, as Markdown.
 *   bench_optimizers [--seeds N] [--trials N] [--set KEY=VALUE]... [--driver NAME] [PROBLEM...]
 * --set applies to the model-based drivers; --driver measures that one alone. */
#include "support/problems.h"

#include <medsamix/medsamix.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SEEDS = 200, MAX_TRIALS = 1000, MAX_MARKS = 4, MAX_SETTINGS = 16 };

typedef struct settings {
    int seeds, trials;
    const char *driver;
    const char *set[MAX_SETTINGS];
    int n_set;
    int marks[MAX_MARKS]; /* numbers of evaluations in the table */
    int n_marks;
} settings;

static void die(msx_ctx *ctx, const char *what) {
    fprintf(stderr, "bench_optimizers: %s: %s\n", what, ctx ? msx_ctx_error(ctx) : "");
    exit(1);
}

static int ascending(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

static double quantile(const double *sorted, int n, double q) {
    double place = q * (n - 1);
    int i = (int)place;
    return i + 1 < n ? sorted[i] + (place - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static void apply(msx_ctx *ctx, msx_optimizer *o, const settings *s) {
    for (int i = 0; msx_optimizer_option_count(o) && i < s->n_set; i++) {
        char key[64];
        const char *equals = strchr(s->set[i], '=');
        if (!equals) die(NULL, "--set needs KEY=VALUE");
        snprintf(key, sizeof key, "%.*s", (int)(equals - s->set[i]), s->set[i]);
        if (msx_optimizer_set(o, key, atof(equals + 1)) < 0) die(ctx, key);
    }
}

/* One run; out[k] is the regret, or the share of the hypervolume, after marks[k] evaluations. */
static void run(msx_ctx *ctx, const test_problem *p, const char *driver, const settings *s,
                uint64_t seed, double *out) {
    msx_space *space;
    msx_optimizer *o;
    if (msx_space_create(&space, ctx) < 0 || p->build(space) < 0) die(ctx, p->name);
    if (msx_optimizer_create(&o, ctx, driver, space, p->n_objectives, s->trials, seed) < 0)
        die(ctx, driver);
    apply(ctx, o, s);
    double *x = calloc((size_t)msx_space_count(space), sizeof *x), best = INFINITY;
    double *costs = calloc((size_t)(s->trials * p->n_objectives), sizeof *costs);
    double reference[8] = {p->reference, p->reference, p->reference, p->reference};
    for (int i = 0, mark = 0; i < s->trials; i++) {
        int64_t trial;
        double *row = costs + i * p->n_objectives;
        if (msx_optimizer_ask(o, x, &trial) != MSX_OK) die(ctx, "ask");
        p->cost(x, row);
        if (msx_optimizer_tell(o, trial, row) != MSX_OK) die(ctx, "tell");
        best = fmin(best, row[0]);
        if (mark >= s->n_marks || i + 1 != s->marks[mark]) continue;
        double volume = 0;
        if (p->n_objectives > 1 &&
            msx_hypervolume(ctx, costs, i + 1, p->n_objectives, reference, &volume) < 0)
            die(ctx, "hypervolume");
        out[mark++] = p->n_objectives > 1 ? volume / p->optimum : best - p->optimum;
    }
    free(x);
    free(costs);
    msx_optimizer_free(o);
    msx_space_free(space);
}

static void row(msx_ctx *ctx, const test_problem *p, const char *driver, const settings *s) {
    static double values[MAX_MARKS][MAX_SEEDS];
    struct timespec begin, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (int seed = 0; seed < s->seeds; seed++) {
        double out[MAX_MARKS];
        run(ctx, p, driver, s, (uint64_t)seed, out);
        for (int k = 0; k < s->n_marks; k++) values[k][seed] = out[k];
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    printf("| %s | %s |", p->name, driver);
    double mean = 0;
    for (int i = 0; i < s->seeds; i++) mean += values[s->n_marks - 1][i] / s->seeds;
    for (int k = 0; k < s->n_marks; k++) {
        qsort(values[k], (size_t)s->seeds, sizeof values[k][0], ascending);
        printf(" %.4f (%.4f, %.4f) |", quantile(values[k], s->seeds, 0.5),
               quantile(values[k], s->seeds, 0.25), quantile(values[k], s->seeds, 0.75));
    }
    printf(" %.4f | %.1f |\n", mean, 1e3 * seconds / s->seeds / s->trials);
    fflush(stdout);
}

static void heading(const char *what, const settings *s) {
    printf("\n| problem | optimizer |");
    for (int k = 0; k < s->n_marks; k++) printf(" %s %d |", k ? "at" : what, s->marks[k]);
    printf(" mean at %d | CPU ms per trial |\n|---|---|", s->marks[s->n_marks - 1]);
    for (int k = 0; k < s->n_marks + 2; k++) printf("---|");
    printf("\n");
}

static void table(msx_ctx *ctx, const settings *s, bool several, const char *const *wanted, int n) {
    bool begun = false;
    for (int i = 0; i < test_problem_count; i++) {
        const test_problem *p = &test_problems[i];
        bool chosen = n == 0;
        for (int k = 0; k < n; k++) chosen |= !strcmp(wanted[k], p->name);
        if (!chosen || (p->n_objectives > 1) != several) continue;
        if (!begun) heading(several ? "share of the hypervolume at" : "regret at", s);
        begun = true;
        static const char *const one[] = {"random", "sobol", "tpe", "cmaes", "smac"};
        static const char *const more[] = {"random", "sobol", "tpe", "nsga2", "parego"};
        for (int k = 0; k < 5; k++) {
            const char *driver = several ? more[k] : one[k];
            if (!s->driver || !strcmp(s->driver, driver)) row(ctx, p, driver, s);
        }
    }
}

int main(int argc, char **argv) {
    settings s = {.seeds = 20, .trials = 120};
    int i = 1;
    for (; i + 1 < argc && !strncmp(argv[i], "--", 2); i += 2) {
        if (!strcmp(argv[i], "--seeds"))
            s.seeds = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--trials"))
            s.trials = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--driver"))
            s.driver = argv[i + 1];
        else if (!strcmp(argv[i], "--set") && s.n_set < MAX_SETTINGS)
            s.set[s.n_set++] = argv[i + 1];
        else
            die(NULL, argv[i]);
    }
    if (s.seeds < 1 || s.seeds > MAX_SEEDS || s.trials < 1 || s.trials > MAX_TRIALS)
        die(NULL, "--seeds 1 to 200, --trials 1 to 1000");
    const int marks[] = {30, 60, 120, 200};
    for (int k = 0; k < MAX_MARKS && marks[k] < s.trials; k++) s.marks[s.n_marks++] = marks[k];
    if (s.n_marks == MAX_MARKS) s.n_marks--;
    s.marks[s.n_marks++] = s.trials;
    msx_ctx *ctx;
    if (msx_ctx_create(&ctx, NULL) < 0) die(NULL, "no memory");
    msx_ctx_set_threads(ctx, 1); /* to run beside others; no result depends on it */
    printf("libmedsamix %s, %d seeds, %d evaluations: median (quartiles)\n", MSX_VERSION_STRING,
           s.seeds, s.trials);
    table(ctx, &s, false, (const char *const *)argv + i, argc - i);
    table(ctx, &s, true, (const char *const *)argv + i, argc - i);
    msx_ctx_free(ctx);
    return 0;
}
