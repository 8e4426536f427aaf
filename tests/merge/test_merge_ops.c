/* SPDX-License-Identifier: Apache-2.0 */
/* The merging ops of the CPU backend against plain float64 loops, on odd sizes and several thread
 * counts. */
#include "kernels/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 4 };

/* Around the ops' block sizes, and far from them. */
static const int64_t sizes[] = {0, 1, 3, 31, 2047, 2048, 2049, 4095, 4097, 20011};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

typedef struct fixture {
    int64_t n;
    float *base, *x[MODELS], *out, *again;
    msx_kdev *one, *three; /* one thread, three threads */
} fixture;

static uint32_t next(uint32_t *state) {
    return *state = *state * 1664525u + 1013904223u;
}

/* Differences from a coarse grid, so that equal magnitudes are common. */
static void fixture_init(fixture *f, int64_t n, uint32_t seed) {
    f->n = n;
    float **all[] = {&f->base, &f->x[0], &f->x[1], &f->x[2], &f->x[3], &f->out, &f->again};
    for (size_t a = 0; a < sizeof all / sizeof *all; a++) {
        *all[a] = malloc((size_t)n * sizeof(float) + 1);
        for (int64_t i = 0; i < n; i++) {
            float step = (float)((int)(next(&seed) >> 24) - 128) / 64;
            (*all[a])[i] = a == 0 ? step : f->base[i] + step;
        }
    }
    f->one = kernel_open(1);
    f->three = kernel_open(3);
}

static void fixture_free(fixture *f) {
    free(f->base);
    for (int m = 0; m < MODELS; m++) free(f->x[m]);
    free(f->out);
    free(f->again);
    msxk_cpu.close(f->one);
    msxk_cpu.close(f->three);
}

static void same_bits(const fixture *f) {
    ck_assert(!memcmp(f->out, f->again, (size_t)f->n * sizeof *f->out));
}

START_TEST(linear_is_the_weighted_sum) {
    fixture f;
    fixture_init(&f, sizes[_i], 1);
    const double weight[MODELS] = {0.1, 0.2, 0.3, 0.4};
    const float *const *x = (const float *const *)f.x;
    ck_assert_int_eq(msxk_cpu.merge_linear(f.one, f.out, x, weight, MODELS, f.n), MSXK_OK);
    ck_assert_int_eq(msxk_cpu.merge_linear(f.three, f.again, x, weight, MODELS, f.n), MSXK_OK);
    same_bits(&f);
    for (int64_t i = 0; i < f.n; i++) {
        double expected = 0;
        for (int m = 0; m < MODELS; m++) expected += weight[m] * f.x[m][i];
        ck_assert_double_eq_tol(f.out[i], expected, 1e-6);
    }
    fixture_free(&f);
}
END_TEST

START_TEST(task_adds_the_scaled_sum_of_changes) {
    fixture f;
    fixture_init(&f, sizes[_i], 2);
    const double weight[MODELS] = {1, 0.5, 0, 2};
    const float *const *x = (const float *const *)f.x;
    ck_assert_int_eq(msxk_cpu.merge_task(f.one, f.out, f.base, x, weight, MODELS, 0.3, f.n),
                     MSXK_OK);
    ck_assert_int_eq(msxk_cpu.merge_task(f.three, f.again, f.base, x, weight, MODELS, 0.3, f.n),
                     MSXK_OK);
    same_bits(&f);
    for (int64_t i = 0; i < f.n; i++) {
        double sum = 0;
        for (int m = 0; m < MODELS; m++) sum += weight[m] * ((double)f.x[m][i] - f.base[i]);
        ck_assert_double_eq_tol(f.out[i], f.base[i] + 0.3 * sum, 2e-6);
    }
    fixture_free(&f);
}
END_TEST

START_TEST(dots_are_exact_to_float64) {
    fixture f;
    fixture_init(&f, sizes[_i], 3);
    double one[3], three[3], expected[3] = {0};
    ck_assert_int_eq(msxk_cpu.dots(f.one, one, f.x[0], f.x[1], f.n), MSXK_OK);
    ck_assert_int_eq(msxk_cpu.dots(f.three, three, f.x[0], f.x[1], f.n), MSXK_OK);
    ck_assert(!memcmp(one, three, sizeof one));
    for (int64_t i = 0; i < f.n; i++) {
        expected[0] += (double)f.x[0][i] * f.x[0][i];
        expected[1] += (double)f.x[0][i] * f.x[1][i];
        expected[2] += (double)f.x[1][i] * f.x[1][i];
    }
    for (int c = 0; c < 3; c++)
        ck_assert_double_eq_tol(one[c], expected[c], 1e-12 * (1 + fabs(expected[c])));
    fixture_free(&f);
}
END_TEST

static int largest_first(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static float change(const fixture *f, int m, int64_t i) {
    return f->x[m][i] - f->base[i];
}

START_TEST(selection_finds_the_kth_largest_and_its_ties) {
    fixture f;
    fixture_init(&f, sizes[_i], 4);
    float *sorted = malloc((size_t)f.n * sizeof *sorted + 1);
    for (int64_t i = 0; i < f.n; i++) sorted[i] = fabsf(change(&f, 0, i));
    qsort(sorted, (size_t)f.n, sizeof *sorted, largest_first);
    for (int step = 0; step <= 8 && f.n > 0; step++) {
        int64_t k = 1 + (f.n - 1) * step / 8, above = 0, ties, ties3;
        float threshold, threshold3;
        ck_assert_int_eq(
            msxk_cpu.select_threshold(f.one, f.base, f.x[0], f.n, k, &threshold, &ties), MSXK_OK);
        ck_assert_int_eq(
            msxk_cpu.select_threshold(f.three, f.base, f.x[0], f.n, k, &threshold3, &ties3),
            MSXK_OK);
        ck_assert(threshold == sorted[k - 1] && threshold == threshold3 && ties == ties3);
        while (above < f.n && sorted[above] > threshold) above++;
        ck_assert_int_eq(ties, k - above);
    }
    float threshold;
    int64_t ties;
    ck_assert_int_eq(msxk_cpu.select_threshold(f.one, f.base, f.x[0], f.n, 0, &threshold, &ties),
                     MSXK_E_ARG);
    ck_assert_int_eq(
        msxk_cpu.select_threshold(f.one, f.base, f.x[0], f.n, f.n + 1, &threshold, &ties),
        MSXK_E_ARG);
    free(sorted);
    fixture_free(&f);
}
END_TEST

/* Is element i among the k largest changes of a model, earlier ones winning ties? */
static bool is_kept(const fixture *f, int m, int64_t i, const int64_t *rank, int64_t k) {
    return rank[(int64_t)m * f->n + i] < k;
}

static const fixture *sorting;
static int sorting_model;
static int by_magnitude_then_index(const void *a, const void *b) {
    int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    float x = fabsf(change(sorting, sorting_model, i));
    float y = fabsf(change(sorting, sorting_model, j));
    return x < y ? 1 : x > y ? -1 : i < j ? -1 : i > j;
}

START_TEST(ties_follows_its_definition) {
    fixture f;
    fixture_init(&f, sizes[_i], 5);
    int64_t *rank = malloc((size_t)(MODELS * f.n) * sizeof *rank + 1);
    int64_t *order = malloc((size_t)f.n * sizeof *order + 1);
    sorting = &f;
    for (int m = 0; m < MODELS; m++) {
        sorting_model = m;
        for (int64_t i = 0; i < f.n; i++) order[i] = i;
        qsort(order, (size_t)f.n, sizeof *order, by_magnitude_then_index);
        for (int64_t i = 0; i < f.n; i++) rank[m * f.n + order[i]] = i;
    }
    int64_t k = f.n * 2 / 5;
    float threshold[MODELS] = {0};
    int64_t ties[MODELS] = {-1, -1, -1, -1};
    for (int m = 0; m < MODELS && k > 0; m++)
        ck_assert_int_eq(
            msxk_cpu.select_threshold(f.one, f.base, f.x[m], f.n, k, &threshold[m], &ties[m]),
            MSXK_OK);
    const float *const *x = (const float *const *)f.x;
    ck_assert_int_eq(
        msxk_cpu.merge_ties(f.one, f.out, f.base, x, threshold, ties, MODELS, 0.7, f.n), MSXK_OK);
    ck_assert_int_eq(
        msxk_cpu.merge_ties(f.three, f.again, f.base, x, threshold, ties, MODELS, 0.7, f.n),
        MSXK_OK);
    same_bits(&f);
    for (int64_t i = 0; i < f.n; i++) {
        double kept[MODELS], elected = 0, sum = 0;
        int agreeing = 0;
        for (int m = 0; m < MODELS; m++) {
            kept[m] = is_kept(&f, m, i, rank, k) ? (double)change(&f, m, i) : 0;
            elected += kept[m];
        }
        for (int m = 0; m < MODELS; m++)
            if (elected >= 0 ? kept[m] > 0 : kept[m] < 0) {
                sum += kept[m];
                agreeing++;
            }
        ck_assert_double_eq_tol(f.out[i], f.base[i] + (agreeing ? 0.7 * sum / agreeing : 0), 1e-6);
    }
    free(rank);
    free(order);
    fixture_free(&f);
}
END_TEST

START_TEST(ties_of_the_threshold_go_to_the_lower_index) {
    enum { N = 10000, KEPT = 4999 };
    fixture f;
    fixture_init(&f, N, 6);
    for (int i = 0; i < N; i++) {
        f.base[i] = 0;
        f.x[0][i] = i % 2 ? 1.0f : -1.0f;
    }
    const float *x[1] = {f.x[0]};
    float threshold;
    int64_t ties;
    msxk_cpu.select_threshold(f.three, f.base, f.x[0], N, KEPT, &threshold, &ties);
    ck_assert(threshold == 1 && ties == KEPT);
    msxk_cpu.merge_ties(f.three, f.out, f.base, x, &threshold, &ties, 1, 1, N);
    for (int i = 0; i < N; i++) ck_assert(f.out[i] == (i < KEPT ? f.x[0][i] : 0));
    ties = -1;
    msxk_cpu.merge_ties(f.three, f.out, f.base, x, &threshold, &ties, 1, 1, N);
    for (int i = 0; i < N; i++) ck_assert(f.out[i] == 0);
    fixture_free(&f);
}
END_TEST

/* ---- large tensors: selection by a sample, streamed results ------------------------------------------ */

enum { LARGE = (1 << 18) + 4099 };

/* Magnitudes of a kind, with signs; every kind is another trap for a sample. */
static float large_change(int kind, int64_t i, uint32_t random) {
    float sign = random & 1 ? 1.0f : -1.0f, u = (float)(random >> 8) / (1 << 24);
    switch (kind) {
    case 0:
        return sign * u * u; /* many different */
    case 1:
        return sign; /* all equal */
    case 2:
        return sign * (float)(random >> 29); /* eight values */
    case 3:
        return i % 16 ? sign * u : 1000 * sign * u; /* a column of large ones */
    case 4:
        return (float)i; /* sorted */
    case 5:
        return i < LARGE - 300 ? 0 : sign * (1 + u); /* nearly all zero */
    case 6:
        return random % 1000 ? sign * u : NAN; /* some are not numbers */
    default:
        return sign * (1 + (float)(random >> 20) * 1e-7f); /* one exponent */
    }
}
enum { LARGE_KINDS = 8 };

static int by_bits_falling(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

static void fill_large(fixture *f, int kind) {
    uint32_t state = 9;
    memset(f->base, 0, LARGE * sizeof *f->base);
    for (int64_t i = 0; i < LARGE; i++) f->x[0][i] = large_change(kind, i, next(&state));
}

static void expect_exact_selection(const fixture *f, const uint32_t *sorted, int64_t k) {
    msx_kdev *const devices[] = {f->one, f->three};
    for (int t = 0; t < 2; t++) {
        int64_t ties, above = 0;
        float threshold;
        ck_assert_int_eq(
            msxk_cpu.select_threshold(devices[t], f->base, f->x[0], LARGE, k, &threshold, &ties),
            MSXK_OK);
        ck_assert_uint_eq(bits_of(threshold), sorted[k - 1]);
        while (above < LARGE && sorted[above] > sorted[k - 1]) above++;
        ck_assert_int_eq(ties, k - above);
    }
}

START_TEST(large_selections_are_exact) {
    static const int64_t ranks[] = {1, 2, 299, LARGE / 4, LARGE / 2, LARGE - 7, LARGE};
    uint32_t *sorted = malloc(LARGE * sizeof *sorted);
    fixture f;
    fixture_init(&f, LARGE, 8);
    for (int kind = 0; kind < LARGE_KINDS; kind++) {
        fill_large(&f, kind);
        for (int64_t i = 0; i < LARGE; i++) sorted[i] = bits_of(f.x[0][i]);
        qsort(sorted, LARGE, sizeof *sorted, by_bits_falling);
        for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
            expect_exact_selection(&f, sorted, ranks[r]);
    }
    free(sorted);
    fixture_free(&f);
}
END_TEST

/* One model at scale 1 shows what was kept: exactly k, of equal ones those of lower index. */
START_TEST(large_merges_keep_exactly_k) {
    fixture f;
    fixture_init(&f, LARGE, 8);
    const float *x[1] = {f.x[0]};
    for (int kind = 0; kind < LARGE_KINDS; kind++) {
        fill_large(&f, kind);
        for (int64_t i = 0; i < LARGE; i++)
            if (isnan(f.x[0][i])) f.x[0][i] = 2;
        int64_t k = 2 * LARGE / 5, ties;
        float threshold;
        msxk_cpu.select_threshold(f.one, f.base, f.x[0], LARGE, k, &threshold, &ties);
        ck_assert_int_eq(
            msxk_cpu.merge_ties(f.one, f.out, f.base, x, &threshold, &ties, 1, 1, LARGE), MSXK_OK);
        ck_assert_int_eq(
            msxk_cpu.merge_ties(f.three, f.again, f.base, x, &threshold, &ties, 1, 1, LARGE),
            MSXK_OK);
        same_bits(&f);
        for (int64_t i = 0; i < LARGE; i++) {
            float d = f.x[0][i];
            bool kept = fabsf(d) > threshold || (fabsf(d) == threshold && ties-- > 0);
            if (f.out[i] != (kept ? d : 0))
                ck_abort_msg("kind %d, element %lld", kind, (long long)i);
        }
    }
    fixture_free(&f);
}
END_TEST

START_TEST(streamed_results_are_the_plain_ones) {
    fixture f;
    fixture_init(&f, LARGE, 10);
    const double weight[MODELS] = {0.1, -0.2, 0.3, 0.4};
    const float w[MODELS] = {0.1f, -0.2f, 0.3f, 0.4f}, *const *x = (const float *const *)f.x;
    for (int off = 0; off < 2; off++) { /* on a line, and off every multiple of 16 bytes */
        msx_kdev *dev = off ? f.three : f.one;
        int64_t n = LARGE - off;
        ck_assert_int_eq(msxk_cpu.merge_linear(dev, f.out + off, x, weight, MODELS, n), MSXK_OK);
        ck_assert_int_eq(msxk_cpu.merge_task(dev, f.again + off, f.base, x, weight, MODELS, 0.5, n),
                         MSXK_OK);
        for (int64_t i = 0; i < n; i++) {
            float linear = w[0] * x[0][i], task = 0;
            for (int m = 1; m < MODELS; m++) linear += w[m] * x[m][i];
            for (int m = 0; m < MODELS; m++) task += w[m] * (x[m][i] - f.base[i]);
            if (f.out[i + off] != linear || f.again[i + off] != f.base[i] + 0.5f * task)
                ck_abort_msg("element %lld", (long long)i);
        }
    }
    fixture_free(&f);
}
END_TEST

START_TEST(a_nan_counts_as_the_largest_change) {
    fixture f;
    fixture_init(&f, 100, 7);
    f.x[0][40] = NAN;
    float threshold;
    int64_t ties;
    ck_assert_int_eq(msxk_cpu.select_threshold(f.one, f.base, f.x[0], 100, 1, &threshold, &ties),
                     MSXK_OK);
    ck_assert(isnan(threshold));
    ck_assert_int_eq(ties, 1);
    fixture_free(&f);
}
END_TEST

static void add_tests(TCase *t) {
    tcase_add_loop_test(t, linear_is_the_weighted_sum, 0, N_SIZES);
    tcase_add_loop_test(t, task_adds_the_scaled_sum_of_changes, 0, N_SIZES);
    tcase_add_loop_test(t, dots_are_exact_to_float64, 0, N_SIZES);
    tcase_add_loop_test(t, selection_finds_the_kth_largest_and_its_ties, 0, N_SIZES);
    tcase_add_loop_test(t, ties_follows_its_definition, 0, N_SIZES);
    tcase_add_test(t, ties_of_the_threshold_go_to_the_lower_index);
    tcase_add_test(t, large_selections_are_exact);
    tcase_add_test(t, large_merges_keep_exactly_k);
    tcase_add_test(t, streamed_results_are_the_plain_ones);
    tcase_add_test(t, a_nan_counts_as_the_largest_change);
}

int main(void) {
    Suite *s = suite_create("merge_ops");
    kernel_cases(s, add_tests);
    return test_run(s);
}
