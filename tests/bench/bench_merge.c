/* SPDX-License-Identifier: Apache-2.0 */
/* Merging three models of the size of ViT-B in memory: every method as a share of the bandwidth of a copy,
 * and rebuilding one layer group.
 *
 *   bench_merge [THREADS [METHOD...]]
 *
 * Bytes of a merge: each model read once and the result written once, 4 (n + 1) a weight; what a method
 * reads again is not counted. A copy moves 8 a float. Neither counts the fetching of lines that are then
 * overwritten: the faster of two copies does not fetch them, nor do the merging ops.
 * Times are medians; shares and ratios are medians of what one round measured side by side, so that other
 * work on the machine tells less. */
#include "bench/rounds.h"
#include "support/vit_files.h"

#include <medsamix/sys/merge_method.h>
#include <stdio.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { MODELS = 3, ROUNDS = 9, GROUPS = 64 };
#define SLOW_SECONDS 2.0 /* a method that took as long in all has enough rounds */

typedef struct bench {
    msx_ctx *ctx;
    int threads;
    msx_merger *merger;
    msx_checkpoint *target;
    float *from, *to; /* what the copies copy, as large as a model */
    int64_t weights;
} bench;

static const char *const names[MODELS] = {"base", "a", "b"};

/* ---- copying, as STREAM does -------------------------------------------------------------------------- */

static double copy_plain(const bench *b) {
    double start = clock_now();
#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (int64_t i = 0; i < b->weights; i++) b->to[i] = b->from[i];
    return clock_now() - start;
}

#ifdef __SSE2__
static double copy_streamed(const bench *b) {
    double start = clock_now();
#pragma omp parallel for schedule(static) num_threads(b->threads)
    for (int64_t i = 0; i < b->weights / 4; i++) /* up to three floats too few do not matter */
        _mm_stream_ps(b->to + 4 * i, _mm_loadu_ps(b->from + 4 * i));
    return clock_now() - start;
}
#else
#define copy_streamed copy_plain
#endif

static double copy_once(const bench *b) {
    double plain = copy_plain(b), streamed = copy_streamed(b);
    return plain < streamed ? plain : streamed;
}

/* ---- methods ------------------------------------------------------------------------------------------ */

static msx_status make_plan(msx_plan **plan, msx_ctx *ctx, const char *method) {
    static const char *const sparse[] = {"dare", "della", "breadcrumbs"};
    msx_status status = msx_plan_create(plan, ctx);
    if (status >= 0) status = msx_plan_set_method(*plan, "*", method);
    for (size_t i = 0; i < sizeof sparse / sizeof *sparse && status >= 0; i++)
        if (!strncmp(method, sparse[i], strlen(sparse[i])))
            status = msx_plan_set_param(*plan, "*", "density", 0.5); /* 1 does nothing */
    return status;
}

static int bench_method(const bench *b, const char *method) {
    series merges = {.n = 0}, copies = {.n = 0};
    double bytes = 4.0 * (MODELS + 1) * (double)b->weights, copied = 8.0 * (double)b->weights;
    double all = 0;
    msx_plan *plan = NULL;
    msx_status status = make_plan(&plan, b->ctx, method);
    for (int round = 0; round < ROUNDS && status >= 0 && all < SLOW_SECONDS; round++) {
        double copy = copy_once(b), start = clock_now();
        status = msx_merger_run(b->merger, plan, NULL, b->target, NULL);
        double seconds = clock_now() - start;
        all += seconds;
        series_add(&copies, copy / copied);
        series_add(&merges, seconds / bytes);
    }
    double per_byte = series_median(&merges);
    printf("%-18s %9.1f %8.2f %7.0f %%\n", method, 1e3 * bytes * per_byte, 1e-9 / per_byte,
           100 * series_ratio(&copies, &merges));
    msx_plan_free(plan);
    return status >= 0;
}

/* ---- one group ---------------------------------------------------------------------------------------- */

/* Elements of the tensors that the last run changed, as a share of all. */
static double share_of(const bench *b, const uint8_t *changed) {
    const msx_arch *arch = msx_merger_arch(b->merger);
    double elements = 0;
    for (int64_t i = 0; i < msx_arch_tensor_count(arch); i++)
        if (changed[i])
            elements += (double)msx_checkpoint_elements(
                b->target, msx_checkpoint_find(b->target, msx_arch_tensor_name(arch, i)));
    return elements / (double)b->weights;
}

/* Change each group in turn and rebuild it; times in shares of a full merge. */
static msx_status rebuild_groups(const bench *b, const char *method, msx_plan *plan,
                                 msx_plan *changed_plan, const msx_groups *groups) {
    uint8_t *changed = calloc((size_t)msx_arch_tensor_count(msx_merger_arch(b->merger)), 1);
    int64_t n = msx_groups_count(groups);
    double sum = 0, largest = 0, weights = 0;
    const char *largest_name = "";
    msx_status status = changed && n <= GROUPS ? MSX_OK : MSX_E_NOMEM;
    for (int64_t g = 0; g < n && status >= 0; g++) {
        series full = {.n = 0}, one = {.n = 0};
        const char *name = msx_groups_name(groups, g);
        for (int round = 0; round < 3 && status >= 0; round++) {
            double start = clock_now();
            status = msx_merger_run(b->merger, plan, NULL, b->target, NULL);
            series_add(&full, clock_now() - start);
            if (status >= 0) status = msx_plan_set_method(changed_plan, name, "passthrough");
            if (status >= 0)
                status = msx_merger_run(b->merger, changed_plan, plan, b->target, NULL);
            start = clock_now();
            if (status >= 0)
                status = msx_merger_run(b->merger, plan, changed_plan, b->target, changed);
            series_add(&one, clock_now() - start);
            if (status >= 0) status = msx_plan_set_method(changed_plan, name, method);
        }
        double ratio = series_ratio(&one, &full);
        sum += ratio;
        if (ratio > largest) {
            largest = ratio;
            largest_name = name;
            weights = share_of(b, changed);
        }
    }
    if (status >= 0)
        printf("%-18s %8d %8.1f %% %9.1f %%   %s, %.1f %% of the weights\n", method, (int)n,
               100 * sum / (double)n, 100 * largest, largest_name, 100 * weights);
    free(changed);
    return status;
}

static int bench_groups(const bench *b, const char *method) {
    const msx_granularity pairs = {sizeof pairs, 2, 1, 1};
    msx_plan *plan = NULL, *changed = NULL;
    msx_groups *groups = NULL;
    msx_status status = make_plan(&plan, b->ctx, method);
    if (status >= 0) status = make_plan(&changed, b->ctx, method);
    if (status >= 0) status = msx_plan_set_granularity(plan, &pairs);
    if (status >= 0) status = msx_plan_set_granularity(changed, &pairs);
    if (status >= 0) status = msx_plan_groups(&groups, plan, msx_merger_arch(b->merger));
    if (status >= 0) status = rebuild_groups(b, method, plan, changed, groups);
    msx_groups_free(groups);
    msx_plan_free(changed);
    msx_plan_free(plan);
    return status >= 0;
}

/* ---- all ---------------------------------------------------------------------------------------------- */

static msx_status load(bench *b) {
    msx_checkpoint *models[MODELS] = {NULL};
    msx_status status = msx_ctx_set_threads(b->ctx, b->threads);
    for (int k = 0; k < MODELS && status >= 0; k++)
        status = test_make_vit_b(&models[k], b->ctx, (uint64_t)k);
    if (status >= 0) status = msx_merger_create(&b->merger, b->ctx, models, names, MODELS, false);
    for (int k = 0; k < MODELS; k++) msx_checkpoint_free(models[k]);
    if (status >= 0) status = msx_checkpoint_create(&b->target, b->ctx);
    if (status < 0) return status;
    const msx_arch *arch = msx_merger_arch(b->merger);
    for (int64_t i = 0; i < msx_arch_tensor_count(arch); i++) {
        int64_t dims[MSX_MAX_RANK], elements = 1;
        int rank = msx_arch_tensor_shape(arch, i, dims);
        while (rank > 0) elements *= dims[--rank];
        b->weights += elements;
    }
    size_t bytes = (size_t)b->weights * sizeof(float);
    b->from = aligned_alloc(64, (bytes + 63) / 64 * 64);
    b->to = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!b->from || !b->to) return MSX_E_NOMEM;
    memset(b->from, 1, bytes);
    memset(b->to, 0, bytes);
    return status;
}

static int is_wanted(const char *method, char **wanted, int n) {
    for (int i = 0; i < n; i++)
        if (!strcmp(wanted[i], method)) return 1;
    return n == 0;
}

static int measure(bench *b, char **wanted, int n_wanted) {
    msx_plan *plan = NULL;
    msx_status status = load(b);
    if (status >= 0) status = make_plan(&plan, b->ctx, "linear"); /* touches all memory once */
    if (status >= 0) status = msx_merger_run(b->merger, plan, NULL, b->target, NULL);
    msx_plan_free(plan);
    if (status < 0) return 0;
    series copies = {.n = 0};
    for (int round = 0; round < ROUNDS; round++) series_add(&copies, copy_once(b));
    printf("%d models of %.1f million weights, %d threads\n\n", MODELS, 1e-6 * (double)b->weights,
           b->threads);
    printf("%-18s %9s %8s %9s\n", "method", "ms", "GB/s", "of copy");
    printf("%-18s %9.1f %8.2f\n", "copy", 1e3 * series_median(&copies),
           8e-9 * (double)b->weights / series_median(&copies));
    for (int64_t i = 0; i < msx_merge_method_count(b->ctx); i++) {
        const char *method = msx_merge_method_at(b->ctx, i)->name;
        if (is_wanted(method, wanted, n_wanted) && !bench_method(b, method)) return 0;
    }
    printf("\n%-18s %8s %10s %11s\n", "rebuild one group", "groups", "mean", "largest");
    return (!is_wanted("linear", wanted, n_wanted) || bench_groups(b, "linear")) &&
           (!is_wanted("ties", wanted, n_wanted) || bench_groups(b, "ties"));
}

int main(int argc, char **argv) {
    bench b = {.threads = argc > 1 ? atoi(argv[1]) : 2};
    if (b.threads < 1 || msx_ctx_create(&b.ctx, NULL) < 0) return 1;
    int good = measure(&b, argv + 2, argc > 2 ? argc - 2 : 0);
    if (!good) fprintf(stderr, "bench_merge: %s\n", msx_ctx_error(b.ctx));
    free(b.from);
    free(b.to);
    msx_checkpoint_free(b.target);
    msx_merger_free(b.merger);
    msx_ctx_free(b.ctx);
    return !good;
}
