/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cpu: matrix products with their epilogues, against float64 loops. */
#include "kernel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

static double activate(double x, int act) {
    if (act == MSXK_ACT_GELU) return 0.5 * x * erfc(-x / sqrt(2.0));
    return act == MSXK_ACT_RELU && x < 0 ? 0 : x;
}

/* c (batch, m, ldc) */
static void reference(const msxk_gemm *g, double *c) {
    for (int64_t p = 0; p < (g->batch ? g->batch : 1); p++)
        for (int64_t i = 0; i < g->m; i++)
            for (int64_t j = 0; j < g->n; j++) {
                double sum = 0;
                const float *w = g->w + p * g->stride_w;
                for (int64_t k = 0; k < g->k; k++)
                    sum += (double)g->a[p * g->stride_a + i * g->lda + k] *
                           w[g->w_transposed ? j * g->ldw + k : k * g->ldw + j];
                sum = activate(g->alpha * sum + (g->bias ? g->bias[j] : 0), g->act);
                if (g->residual) sum += g->residual[p * g->stride_r + i * g->ldr + j];
                c[(p * g->m + i) * g->n + j] = sum;
            }
}

typedef struct problem {
    msxk_gemm g;
    float *a, *w, *bias, *residual, *c;
} problem;

static problem make(int64_t m, int64_t n, int64_t k, int64_t batch, int transposed, bool bias,
                    bool residual, int act) {
    problem p = {.a = random_floats(batch * m * k, 1),
                 .w = random_floats(batch * n * k, 2),
                 .bias = random_floats(n, 3),
                 .residual = random_floats(batch * m * n, 4),
                 .c = result_floats(batch * m * n)};
    p.g = (msxk_gemm){
        .m = m,
        .n = n,
        .k = k,
        .a = p.a,
        .lda = k ? k : 1,
        .w = p.w,
        .ldw = transposed ? (k ? k : 1) : (n ? n : 1),
        .w_transposed = transposed,
        .bias = bias ? p.bias : NULL,
        .residual = residual ? p.residual : NULL,
        .ldr = n ? n : 1,
        .c = p.c,
        .ldc = n ? n : 1,
        .alpha = 0.75f,
        .act = act,
        .batch = batch,
        .stride_a = m * k,
        .stride_w = n * k,
        .stride_c = m * n,
        .stride_r = m * n,
    };
    return p;
}

static void discard(problem *p) {
    free(p->a);
    free(p->w);
    free(p->bias);
    free(p->residual);
    free(p->c);
}

static void run_and_check(msx_kdev *dev, problem *p) {
    int64_t n = (p->g.batch ? p->g.batch : 1) * p->g.m * p->g.n;
    double *expected = malloc((size_t)n * sizeof *expected + 1);
    reference(&p->g, expected);
    ck_assert_int_eq(K->gemm(dev, &p->g), MSXK_OK);
    check_close("gemm", p->c, expected, n, 2e-6 * (1 + sqrt((double)p->g.k)));
    free(expected);
}

START_TEST(odd_sizes_match_float64_loops) {
    msx_kdev *dev = kernel_open(2);
    for (int m = 0; m < ODD_SIZES; m++)
        for (int n = 0; n < ODD_SIZES; n++)
            for (int k = 0; k < ODD_SIZES; k++)
                for (int variant = 0; variant < 12; variant++) {
                    problem p = make(odd_sizes[m], odd_sizes[n], odd_sizes[k], 1 + variant % 2 * 2,
                                     variant / 2 % 2, variant % 3 != 0, variant >= 6, variant / 4);
                    run_and_check(dev, &p);
                    discard(&p);
                }
    K->close(dev);
}
END_TEST

/* More columns than one chunk, more rows than one chunk, and a residual that all problems share. */
START_TEST(sizes_of_several_chunks_match) {
    msx_kdev *dev = kernel_open(2);
    const int64_t sizes[][3] = {{4, 4099, 9},    {700, 37, 65},   {301, 1537, 33},
                                {129, 129, 129}, {129, 33, 1541}, {17, 257, 3072},
                                {3, 129, 1024},  {1, 129, 129},   {2, 33, 17}};
    for (int i = 0; i < 18; i++) {
        const int64_t *size = sizes[i / 2];
        problem p = make(size[0], size[1], size[2], 2, i % 2, true, true, MSXK_ACT_NONE);
        if (i % 2) p.g.stride_r = 0;
        if (i % 4 == 0) p.g.alpha = 1;
        run_and_check(dev, &p);
        discard(&p);
    }
    K->close(dev);
}
END_TEST

START_TEST(leading_dimensions_leave_gaps_alone) {
    msx_kdev *dev = kernel_open(1);
    enum { M = 5, N = 7, KK = 3, LD = 11 };
    problem p = make(M, LD, LD, 1, 1, true, false, MSXK_ACT_RELU);
    float c[M * LD];
    for (int i = 0; i < M * LD; i++) c[i] = 42;
    p.g.n = N, p.g.k = KK, p.g.c = c;
    double expected[M * N];
    reference(&p.g, expected);
    ck_assert_int_eq(K->gemm(dev, &p.g), MSXK_OK);
    for (int i = 0; i < M; i++) {
        check_close("row", c + i * LD, expected + i * N, N, 1e-6);
        for (int j = N; j < LD; j++) ck_assert(c[i * LD + j] == 42);
    }
    discard(&p);
    K->close(dev);
}
END_TEST

START_TEST(residual_may_be_the_result) {
    msx_kdev *dev = kernel_open(2);
    problem p = make(301, 33, 17, 3, 1, true, true, MSXK_ACT_NONE);
    int64_t n = 3 * 301 * 33;
    double *expected = malloc((size_t)n * sizeof *expected);
    reference(&p.g, expected);
    memcpy(p.c, p.residual, (size_t)n * sizeof *p.c);
    p.g.residual = p.c;
    ck_assert_int_eq(K->gemm(dev, &p.g), MSXK_OK);
    check_close("in place", p.c, expected, n, 1e-5);
    p.g.alpha = 1; /* sums begin with the residual instead of being scaled before */
    p.g.residual = p.residual;
    reference(&p.g, expected);
    p.g.residual = p.c;
    memcpy(p.c, p.residual, (size_t)n * sizeof *p.c);
    ck_assert_int_eq(K->gemm(dev, &p.g), MSXK_OK);
    check_close("in place, not scaled", p.c, expected, n, 1e-5);
    p.g.act = MSXK_ACT_GELU;
    ck_assert_int_eq(K->gemm(dev, &p.g), MSXK_E_ARG);
    ck_assert_ptr_nonnull(strstr(K->error(dev), "in place"));
    free(expected);
    discard(&p);
    K->close(dev);
}
END_TEST

START_TEST(gelu_is_exact_where_it_is_hard) {
    msx_kdev *dev = kernel_open(1);
    enum { N = 4001 };
    float x[N], one = 1, got[N];
    double expected[N];
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - 2000) / 100.0f;
        expected[i] = activate(x[i], MSXK_ACT_GELU);
    }
    msxk_gemm g = {.m = N,
                   .n = 1,
                   .k = 1,
                   .a = x,
                   .lda = 1,
                   .w = &one,
                   .ldw = 1,
                   .c = got,
                   .ldc = 1,
                   .alpha = 1,
                   .act = MSXK_ACT_GELU,
                   .w_transposed = 1};
    ck_assert_int_eq(K->gemm(dev, &g), MSXK_OK);
    for (int i = 0; i < N; i++)
        ck_assert_msg(fabs(got[i] - expected[i]) <= 7e-8 + 6e-8 * fabs(expected[i]),
                      "gelu(%g) is %.9g, expected %.9g", x[i], got[i], expected[i]);
    x[0] = NAN;
    ck_assert_int_eq(K->gemm(dev, &g), MSXK_OK);
    ck_assert(isnan(got[0]));
    K->close(dev);
}
END_TEST

/* Bytes are the same for any number of threads, and for a problem alone and in a batch. */
START_TEST(threads_and_neighbours_change_no_bit) {
    problem p = make(401, 193, 65, 3, 1, true, true, MSXK_ACT_GELU);
    int64_t n = 401 * 193;
    float *first = malloc((size_t)(3 * n) * sizeof *first);
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        msx_kdev *dev = kernel_open(threads);
        ck_assert_int_eq(K->gemm(dev, &p.g), MSXK_OK);
        if (threads == 1) memcpy(first, p.c, (size_t)(3 * n) * sizeof *first);
        ck_assert_int_eq(memcmp(first, p.c, (size_t)(3 * n) * sizeof *first), 0);
        K->close(dev);
    }
    msx_kdev *dev = kernel_open(2);
    for (int64_t i = 0; i < 3; i++) {
        msxk_gemm one = p.g;
        one.batch = 1;
        one.a += i * one.stride_a, one.w += i * one.stride_w, one.residual += i * one.stride_r;
        ck_assert_int_eq(K->gemm(dev, &one), MSXK_OK);
        ck_assert_int_eq(memcmp(first + i * n, p.c, (size_t)n * sizeof *first), 0);
    }
    K->close(dev);
    free(first);
    discard(&p);
}
END_TEST

/* Sums of one order: the paths with fused multiply-add agree to the last bit. */
START_TEST(paths_with_tiles_agree) {
    if (kernel_path <= MSXK_AVX2) return;
    problem p = make(131, 193, 1541, 2, 1, true, true, MSXK_ACT_GELU);
    size_t bytes = 2 * 131 * 193 * sizeof(float);
    float *first = malloc(bytes);
    msx_kdev *dev = kernel_open(2);
    ck_assert_int_eq(msxk_cpu_set_path(dev, MSXK_AVX2), MSXK_OK);
    ck_assert_int_eq(K->gemm(dev, &p.g), MSXK_OK);
    memcpy(first, p.c, bytes);
    ck_assert_int_eq(msxk_cpu_set_path(dev, kernel_path), MSXK_OK);
    ck_assert_int_eq(K->gemm(dev, &p.g), MSXK_OK);
    ck_assert_int_eq(memcmp(first, p.c, bytes), 0);
    K->close(dev);
    free(first);
    discard(&p);
}
END_TEST

START_TEST(paths_that_the_processor_lacks_are_refused) {
    msx_kdev *dev = kernel_open(1);
    ck_assert_int_eq(msxk_cpu_set_path(dev, MSXK_PATHS), MSXK_E_ARG);
    ck_assert_int_eq(msxk_cpu_set_path(dev, -1), MSXK_E_ARG);
    ck_assert_ptr_null(msxk_cpu_path_name(MSXK_PATHS));
    ck_assert_int_eq(K->set_precision(dev, MSXK_FP32), MSXK_OK);
    K->close(dev);
}
END_TEST

#ifdef _OPENMP
START_TEST(the_callers_number_of_threads_is_left_alone) {
    msx_kdev *dev = kernel_open(1);
    problem p = make(65, 65, 65, 1, 1, false, false, MSXK_ACT_NONE);
    omp_set_num_threads(5);
    ck_assert_int_eq(K->gemm(dev, &p.g), MSXK_OK);
    ck_assert_int_eq(omp_get_max_threads(), 5);
    discard(&p);
    K->close(dev);
}
END_TEST
#endif

static void add_tests(TCase *t) {
    tcase_add_test(t, odd_sizes_match_float64_loops);
    tcase_add_test(t, sizes_of_several_chunks_match);
    tcase_add_test(t, leading_dimensions_leave_gaps_alone);
    tcase_add_test(t, residual_may_be_the_result);
    tcase_add_test(t, gelu_is_exact_where_it_is_hard);
    tcase_add_test(t, threads_and_neighbours_change_no_bit);
    tcase_add_test(t, paths_with_tiles_agree);
    tcase_add_test(t, paths_that_the_processor_lacks_are_refused);
#ifdef _OPENMP
    tcase_add_test(t, the_callers_number_of_threads_is_left_alone);
#endif
}

int main(void) {
    Suite *s = suite_create("gemm");
    kernel_cases(s, add_tests);
    return test_run(s);
}
