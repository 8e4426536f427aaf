/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cuda: merging has the bits of the CPU backend. */
#include "backends.h"

enum { MODELS = 5 };

static const int64_t sizes[] = {0, 1, 7, 2047, 2048, 2049, 4096, 4097, 8195};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Models in host memory and on the GPU; x[0] is the base. */
typedef struct models {
    float *x[MODELS], *there[MODELS];
    int64_t n;
} models;

/* Changes take few values, so that ties are frequent; `ties` 0 makes them all different. */
static models make(backends *b, int64_t n, bool ties) {
    models m = {.n = n};
    for (uint32_t k = 0; k < MODELS; k++) {
        m.x[k] = random_floats(n, k + 1);
        for (int64_t i = 0; k && ties && i < n; i++)
            m.x[k][i] = m.x[0][i] + (float)(int)(m.x[k][i] * 4) / 4;
        m.there[k] = floats_on(b->cuda, m.x[k], n);
    }
    return m;
}

static void discard(backends *b, models *m) {
    for (int k = 0; k < MODELS; k++) {
        free(m->x[k]);
        b->cuda->k->release(b->cuda->dev, m->there[k]);
    }
}

START_TEST(sums_and_dots_have_the_bits_of_the_cpu) {
    static const double weight[MODELS] = {0.3, -0.1, 0.7, 1e-3, 0.2};
    backends b = backends_open(MSX_PRECISION_FP32);
    for (int s = 0; s < SIZES; s++) {
        models m = make(&b, sizes[s], false);
        int64_t n = m.n;
        float *expected = random_floats(n, 9), *y = floats_on(b.cuda, NULL, n), *got;
        const float *const *here = (const float *const *)m.x;
        const float *const *there = (const float *const *)m.there;
        for (size_t count = 0; count <= MODELS; count++) {
            RUN(b.cpu, merge_linear, expected, here, weight, count, n);
            RUN(b.cuda, merge_linear, y, there, weight, count, n);
            got = take_floats(b.cuda, y, n);
            check_same("linear", got, expected, n);
            free(got);
            y = floats_on(b.cuda, NULL, n);
        }
        RUN(b.cpu, merge_task, expected, m.x[0], here + 1, weight, MODELS - 1, 0.37, n);
        RUN(b.cuda, merge_task, y, m.there[0], there + 1, weight, MODELS - 1, 0.37, n);
        got = take_floats(b.cuda, y, n);
        check_same("task", got, expected, n);
        double a[3], c[3];
        RUN(b.cpu, dots, a, m.x[1], m.x[2], n);
        RUN(b.cuda, dots, c, m.there[1], m.there[2], n);
        ck_assert_int_eq(memcmp(a, c, sizeof a), 0);
        free(expected), free(got);
        discard(&b, &m);
    }
    backends_close(&b);
}
END_TEST

/* Thresholds, ties and the merge for several k, with and without many ties. */
static void compare_ties(backends *b, models *m, double part) {
    int64_t n = m->n, k = (int64_t)(part * (double)n);
    if (k < 1) k = 1;
    float threshold[MODELS - 1], other;
    int64_t kept[MODELS - 1], other_kept;
    for (int i = 0; i < MODELS - 1; i++) {
        RUN(b->cpu, select_threshold, m->x[0], m->x[i + 1], n, k, threshold + i, kept + i);
        RUN(b->cuda, select_threshold, m->there[0], m->there[i + 1], n, k, &other, &other_kept);
        ck_assert_msg(memcmp(threshold + i, &other, sizeof other) == 0 && kept[i] == other_kept,
                      "%lld of %lld: %a and %lld ties, expected %a and %lld", (long long)k,
                      (long long)n, (double)other, (long long)other_kept, (double)threshold[i],
                      (long long)kept[i]);
    }
    if (part > 0.6) kept[1] = -1; /* nothing of this one */
    float *expected = random_floats(n, 9), *y = floats_on(b->cuda, NULL, n);
    RUN(b->cpu, merge_ties, expected, m->x[0], (const float *const *)m->x + 1, threshold, kept,
        MODELS - 1, 0.8, n);
    RUN(b->cuda, merge_ties, y, m->there[0], (const float *const *)m->there + 1, threshold, kept,
        MODELS - 1, 0.8, n);
    float *got = take_floats(b->cuda, y, n);
    check_same("ties", got, expected, n);
    free(expected), free(got);
}

/* In one call, as the CPU in two. */
static void compare_top(backends *b, models *m, double part) {
    int64_t n = m->n, k = (int64_t)(part * (double)n), kept[MODELS - 1];
    float threshold[MODELS - 1], *expected = random_floats(n, 9), *y = floats_on(b->cuda, NULL, n);
    if (k < 1) k = 1;
    for (int i = 0; i < MODELS - 1; i++)
        RUN(b->cpu, select_threshold, m->x[0], m->x[i + 1], n, k, threshold + i, kept + i);
    RUN(b->cpu, merge_ties, expected, m->x[0], (const float *const *)m->x + 1, threshold, kept,
        MODELS - 1, 0.8, n);
    RUN(b->cuda, merge_ties_top, y, m->there[0], (const float *const *)m->there + 1, MODELS - 1, k,
        0.8, n);
    float *got = take_floats(b->cuda, y, n);
    check_same("ties at once", got, expected, n);
    free(expected), free(got);
}

START_TEST(ties_keeps_the_same_elements) {
    static const double parts[] = {0, 0.2, 0.5, 0.77, 1};
    backends b = backends_open(MSX_PRECISION_FP32);
    for (int s = 1; s < SIZES; s++) {
        models m = make(&b, sizes[s], _i);
        if (m.n > 9) m.x[2][5] = NAN, m.x[3][7] = INFINITY;
        for (int k = 2; k < 4; k++) {
            b.cuda->k->release(b.cuda->dev, m.there[k]);
            m.there[k] = floats_on(b.cuda, m.x[k], m.n);
        }
        for (int i = 0; i < 5; i++) {
            compare_ties(&b, &m, parts[i]);
            compare_top(&b, &m, parts[i]);
        }
        discard(&b, &m);
    }
    float threshold;
    int64_t kept;
    ck_assert_int_eq(b.cuda->k->select_threshold(b.cuda->dev, NULL, NULL, 5, 6, &threshold, &kept),
                     MSXK_E_ARG);
    ck_assert_int_eq(b.cuda->k->select_threshold(b.cuda->dev, NULL, NULL, 5, 0, &threshold, &kept),
                     MSXK_E_ARG);
    RUN(b.cuda, merge_ties, NULL, NULL, NULL, NULL, NULL, 0, 1, 0);
    RUN(b.cuda, merge_ties_top, NULL, NULL, NULL, 0, 0, 1, 0);
    ck_assert_int_eq(b.cuda->k->merge_ties_top(b.cuda->dev, NULL, NULL, NULL, 0, 6, 1, 5),
                     MSXK_E_ARG);
    backends_close(&b);
}
END_TEST

START_TEST(too_many_models_are_refused) {
    enum { MANY = 129 };
    const float *x[MANY] = {0};
    double weight[MANY] = {0};
    backends b = backends_open(MSX_PRECISION_FP32);
    ck_assert_int_eq(b.cuda->k->merge_linear(b.cuda->dev, NULL, x, weight, MANY, 5), MSXK_E_ARG);
    ck_assert_ptr_nonnull(strstr(b.cuda->k->error(b.cuda->dev), "at most 128"));
    backends_close(&b);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: merge");
    TCase *t = tcase_create("merge");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, sums_and_dots_have_the_bits_of_the_cpu);
    tcase_add_loop_test(t, ties_keeps_the_same_elements, 0, 2);
    tcase_add_test(t, too_many_models_are_refused);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
