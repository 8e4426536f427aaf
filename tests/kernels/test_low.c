/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cpu in bfloat16: rounding, and every op with low operands against the float32 op on operands
 * that were rounded before. */
#include "kernel.h"

static float from_bf16(msxk_low x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Nearest, ties to even, by trying both neighbours in double. */
static msxk_low to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    msxk_low below = (msxk_low)(bits >> 16), above = (msxk_low)(below + 1);
    double down = fabs((double)x - from_bf16(below)), up = fabs((double)x - from_bf16(above));
    return down < up || (down == up && below % 2 == 0) ? below : above;
}

static msxk_low *random_low(int64_t n, uint32_t seed) {
    float *x = random_floats(n, seed);
    msxk_low *y = malloc((size_t)n * sizeof *y + 1);
    for (int64_t i = 0; i < n; i++) y[i] = to_bf16(x[i]);
    free(x);
    return y;
}

static float *widened(const msxk_low *x, int64_t n) {
    float *y = malloc((size_t)n * sizeof *y + 1);
    for (int64_t i = 0; i < n; i++) y[i] = from_bf16(x[i]);
    return y;
}

/* Two values that are `error` apart, rounded: a whole unit apart when a boundary lies between. */
static double nearly(double x, double error) {
    return error + fabs(x) / 128;
}

static msx_kdev *open_low(int threads) {
    msx_kdev *dev = kernel_open(threads);
    ck_assert_int_eq(K->set_precision(dev, MSXK_BF16), MSXK_OK);
    return dev;
}

static const float *as_floats(const msxk_low *x) {
    return (const float *)(const void *)x;
}

START_TEST(precisions_that_are_not_offered_are_refused) {
    msx_kdev *dev = kernel_open(1);
    ck_assert_int_eq(K->set_precision(dev, MSXK_FP16), MSXK_E_ARG);
    ck_assert_ptr_nonnull(strstr(K->error(dev), "fp32 and bf16"));
    ck_assert_int_eq(K->set_precision(dev, MSXK_TF32), MSXK_E_ARG);
    ck_assert_int_eq(K->set_precision(dev, 4), MSXK_E_ARG);
    ck_assert_int_eq(K->set_precision(dev, MSXK_FP32), MSXK_OK);
    K->close(dev);
}
END_TEST

/* A path that was set stays, so that tests reach all of them. */
START_TEST(bfloat16_takes_the_best_path_and_only_it_asks_for_matrix_registers) {
    msx_kdev *dev;
    ck_assert_int_eq(K->open(&dev, 0, 1, NULL), MSXK_OK);
    ck_assert_int_lt(dev->path, MSXK_AMX);
    ck_assert_int_eq(K->set_precision(dev, MSXK_FP32), MSXK_OK);
    ck_assert_int_lt(dev->path, MSXK_AMX);
    ck_assert_int_eq(K->set_precision(dev, MSXK_BF16), MSXK_OK);
    ck_assert_int_eq(dev->path, msxk_cpu_best_path());
    K->close(dev);
    dev = open_low(1);
    ck_assert_int_eq(dev->path, kernel_path);
    K->close(dev);
}
END_TEST

START_TEST(narrowing_rounds_to_nearest_even) {
    enum { N = 20011 };
    static float x[N];
    static msxk_low y[N];
    for (int i = 0; i < N; i++) { /* bits of every exponent below the largest, of both signs */
        uint32_t bits = (uint32_t)i * 214013u + 2531011u;
        bits = (bits ^ bits << 7) % 0x7f000000u | (uint32_t)i % 2 << 31;
        if (i % 3 == 0) bits = (bits & 0xffff0000u) | 0x8000u; /* ties */
        memcpy(x + i, &bits, sizeof bits);
    }
    msx_kdev *dev = open_low(2);
    ck_assert_int_eq(K->narrow(dev, y, x, N), MSXK_OK);
    for (int i = 0; i < N; i++)
        ck_assert_msg(y[i] == to_bf16(x[i]), "%a became %04x", (double)x[i], y[i]);
    const float special[] = {INFINITY, -INFINITY, 3.4e38f, -0.0f, NAN};
    ck_assert_int_eq(K->narrow(dev, y, special, 5), MSXK_OK);
    ck_assert_int_eq(y[0], 0x7f80);
    ck_assert_int_eq(y[1], 0xff80);
    ck_assert_int_eq(y[2], 0x7f80); /* beyond the largest bfloat16 */
    ck_assert_int_eq(y[3], 0x8000);
    ck_assert(isnan(from_bf16(y[4])));
    uint32_t quiet = 0x7f800001u; /* a NaN whose upper half alone would be infinity */
    memcpy(x, &quiet, sizeof quiet);
    ck_assert_int_eq(K->narrow(dev, y, x, 1), MSXK_OK);
    ck_assert(isnan(from_bf16(y[0])));
    ck_assert_int_eq(K->narrow(dev, y, x, 0), MSXK_OK);
    K->close(dev);
}
END_TEST

/* c (batch, m, n) with `low` operands; the same in float32 from the same values. */
static void compare_gemm(int threads, int64_t m, int64_t n, int64_t k, int low, int transposed) {
    enum { BATCH = 2 };
    bool in = low & MSXK_LOW_A, out = low & MSXK_LOW_C;
    int64_t size = BATCH * m * n;
    msxk_low *a = random_low(BATCH * m * k, 1), *w = random_low(n * k, 2), *c = random_low(size, 3);
    float *wide_a = widened(a, BATCH * m * k), *wide_w = widened(w, n * k);
    float *bias = random_floats(n, 4), *residual = random_floats(size, 5);
    float *got = result_floats(size), *expected = result_floats(size);
    msxk_gemm g = {.m = m,
                   .n = n,
                   .k = k,
                   .a = wide_a,
                   .lda = k ? k : 1,
                   .w = wide_w,
                   .ldw = transposed ? (k ? k : 1) : (n ? n : 1),
                   .w_transposed = transposed,
                   .bias = bias,
                   .residual = out ? NULL : residual,
                   .ldr = n ? n : 1,
                   .c = expected,
                   .ldc = n ? n : 1,
                   .alpha = 0.5f,
                   .act = MSXK_ACT_GELU,
                   .batch = BATCH,
                   .stride_a = m * k,
                   .stride_c = m * n,
                   .stride_r = m * n};
    msx_kdev *dev = open_low(threads);
    ck_assert_int_eq(K->gemm(dev, &g), MSXK_OK);
    g.low = low;
    if (in) g.a = as_floats(a), g.w = as_floats(w);
    g.c = out ? (float *)(void *)c : got;
    ck_assert_int_eq(K->gemm(dev, &g), MSXK_OK);
    for (int64_t i = 0; i < size; i++) {
        float value = out ? from_bf16(c[i]) : got[i];
        float aim = out ? from_bf16(to_bf16(expected[i])) : expected[i];
        double bound = out ? nearly(expected[i], 2e-6 * sqrt((double)k)) : 2e-6 * sqrt((double)k);
        if (kernel_path < MSXK_AVX512BF16 || !in) bound = 0;
        ck_assert_msg(fabs(value - aim) <= bound, "%lld: %a, not %a", (long long)i, (double)value,
                      (double)aim);
    }
    K->close(dev);
    free(a), free(w), free(c), free(wide_a), free(wide_w);
    free(bias), free(residual), free(got), free(expected);
}

START_TEST(products_are_those_of_the_rounded_operands) {
    static const int lows[] = {MSXK_LOW_A | MSXK_LOW_W, MSXK_LOW_C,
                               MSXK_LOW_A | MSXK_LOW_W | MSXK_LOW_C};
    for (int m = 0; m < ODD_SIZES; m++)
        for (int n = 0; n < ODD_SIZES; n++)
            for (int k = 0; k < ODD_SIZES; k++)
                for (int variant = 0; variant < 6; variant++)
                    compare_gemm(1 + k % 2, odd_sizes[m], odd_sizes[n], odd_sizes[k],
                                 lows[variant % 3], variant / 3);
    compare_gemm(2, 129, 129, 129, lows[2], 0);
    compare_gemm(2, 301, 1537, 33, lows[2], 1);
    compare_gemm(3, 700, 37, 65, lows[0], 1);
}
END_TEST

START_TEST(one_low_factor_and_low_residuals_are_refused) {
    float x[4] = {0};
    msxk_gemm g = {.m = 1, .n = 1, .k = 1, .a = x, .lda = 1, .w = x, .ldw = 1, .c = x, .ldc = 1};
    msx_kdev *dev = open_low(1);
    g.low = MSXK_LOW_A;
    ck_assert_int_eq(K->gemm(dev, &g), MSXK_E_ARG);
    g.low = MSXK_LOW_C;
    g.residual = x + 1;
    ck_assert_int_eq(K->gemm(dev, &g), MSXK_E_ARG);
    K->close(dev);
}
END_TEST

START_TEST(leading_dimensions_leave_gaps_alone) {
    enum { M = 5, N = 7, KK = 3, LD = 11 };
    msxk_low *a = random_low(M * LD, 1), *w = random_low(N * LD, 2), c[M * LD];
    memset(c, 0x5a, sizeof c);
    msxk_gemm g = {.m = M,
                   .n = N,
                   .k = KK,
                   .a = as_floats(a),
                   .lda = LD,
                   .w = as_floats(w),
                   .ldw = LD,
                   .w_transposed = 1,
                   .c = (float *)(void *)c,
                   .ldc = LD,
                   .alpha = 1,
                   .low = MSXK_LOW_A | MSXK_LOW_W | MSXK_LOW_C};
    msx_kdev *dev = open_low(2);
    ck_assert_int_eq(K->gemm(dev, &g), MSXK_OK);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < LD; j++) {
            double sum = 0;
            for (int k = 0; k < KK; k++)
                sum += (double)from_bf16(a[i * LD + k]) * from_bf16(w[j % N * LD + k]);
            if (j < N)
                ck_assert(fabs(from_bf16(c[i * LD + j]) - sum) <= 4e-3 * fabs(sum));
            else
                ck_assert_int_eq(c[i * LD + j], 0x5a5a);
        }
    K->close(dev);
    free(a), free(w);
}
END_TEST

/* batch, grid, side, heads, dim */
static const int64_t attentions[][5] = {
    {1, 1, 1, 1, 1}, {2, 5, 5, 2, 3}, {1, 7, 3, 3, 17}, {1, 7, 14, 2, 16}, {1, 25, 25, 2, 9}};

START_TEST(attention_is_that_of_the_rounded_operands) {
    const int64_t *s = attentions[_i];
    int64_t width = s[3] * s[4], tokens = s[0] * s[1] * s[1], n = tokens * width;
    msxk_low *qkv = random_low(3 * n, 1), *out = random_low(n, 2);
    float *bias = random_floats(3 * width, 3), *wide = widened(qkv, 3 * n);
    float *rel_h = random_floats((2 * s[2] - 1) * s[4], 4), *expected = result_floats(n);
    float *rel_w = random_floats((2 * s[2] - 1) * s[4], 5), *rounded = result_floats(3 * width);
    for (int64_t i = 0; i < 3 * width; i++) rounded[i] = from_bf16(to_bf16(bias[i]));
    msxk_attention a = {
        s[0], s[1], s[2], s[3], s[4], wide, rounded, rel_h, rel_w, expected, 0,
    };
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        msx_kdev *dev = open_low(threads);
        a.low = 0, a.qkv = wide, a.qkv_bias = rounded, a.out = expected;
        ck_assert_int_eq(K->attention(dev, &a), MSXK_OK);
        a.low = 1, a.qkv = as_floats(qkv), a.qkv_bias = bias, a.out = (float *)(void *)out;
        ck_assert_int_eq(K->attention(dev, &a), MSXK_OK);
        /* Where products of bfloat16 exist, weights are rounded too: by half of 2^-8 of values up to 1, and
         * then the result once more. */
        bool weights_low = kernel_path >= MSXK_AVX512BF16;
        for (int64_t i = 0; i < n; i++)
            if (weights_low)
                ck_assert(fabsf(from_bf16(out[i]) - expected[i]) <= 0x1p-8f);
            else
                ck_assert_int_eq(out[i], to_bf16(expected[i]));
        K->close(dev);
    }
    free(qkv), free(out), free(bias), free(wide), free(rel_h);
    free(rel_w), free(expected), free(rounded);
}
END_TEST

START_TEST(norms_are_rounded_once) {
    static const int64_t widths[] = {1, 3, 17, 33, 768};
    for (int w = 0; w < 5; w++)
        for (int r = 0; r < ODD_SIZES; r++)
            for (int act = MSXK_ACT_NONE; act <= MSXK_ACT_RELU; act++) {
                int64_t rows = odd_sizes[r] * 3, cols = widths[w], n = rows * cols;
                float *x = random_floats(n, 1), *expected = result_floats(n);
                float *weight = random_floats(cols, 2), *bias = random_floats(cols, 3);
                msxk_low *y = random_low(n, 4);
                msx_kdev *dev = open_low(1 + r % MOST_THREADS);
                ck_assert_int_eq(
                    K->layer_norm(dev, expected, x, weight, bias, rows, cols, 1e-6f, act), MSXK_OK);
                ck_assert_int_eq(K->layer_norm_low(dev, y, x, weight, bias, rows, cols, 1e-6f, act),
                                 MSXK_OK);
                for (int64_t i = 0; i < n; i++) ck_assert_int_eq(y[i], to_bf16(expected[i]));
                K->close(dev);
                free(x), free(expected), free(weight), free(bias), free(y);
            }
}
END_TEST

START_TEST(patches_and_neighbourhoods_are_the_float_ones) {
    enum { B = 2, G = 3, P = 5, S = G * P, C = 7 };
    msx_kdev *dev = open_low(2);
    float *image = random_floats(B * 3 * S * S, 1), *rows = result_floats(B * 3 * S * S);
    msxk_low *low = random_low(B * 3 * S * S, 2);
    ck_assert_int_eq(K->patchify(dev, rows, image, B, G, P), MSXK_OK);
    ck_assert_int_eq(K->patchify_low(dev, low, image, B, G, P), MSXK_OK);
    for (int i = 0; i < B * 3 * S * S; i++) ck_assert_int_eq(low[i], to_bf16(rows[i]));
    msxk_low *x = random_low(B * G * G * C, 3), *around = random_low(9 * B * G * G * C, 4);
    float *wide = widened(x, B * G * G * C), *expected = result_floats(9 * B * G * G * C);
    ck_assert_int_eq(K->im2col3(dev, expected, wide, B, G, C), MSXK_OK);
    ck_assert_int_eq(K->im2col3_low(dev, around, x, B, G, C), MSXK_OK);
    for (int i = 0; i < 9 * B * G * G * C; i++) ck_assert(from_bf16(around[i]) == expected[i]);
    K->close(dev);
    free(image), free(rows), free(low), free(x), free(around), free(wide), free(expected);
}
END_TEST

static void add_tests(TCase *t) {
    tcase_add_test(t, precisions_that_are_not_offered_are_refused);
    tcase_add_test(t, bfloat16_takes_the_best_path_and_only_it_asks_for_matrix_registers);
    tcase_add_test(t, narrowing_rounds_to_nearest_even);
    tcase_add_test(t, products_are_those_of_the_rounded_operands);
    tcase_add_test(t, one_low_factor_and_low_residuals_are_refused);
    tcase_add_test(t, leading_dimensions_leave_gaps_alone);
    tcase_add_loop_test(t, attention_is_that_of_the_rounded_operands, 0, 5);
    tcase_add_test(t, norms_are_rounded_once);
    tcase_add_test(t, patches_and_neighbourhoods_are_the_float_ones);
}

int main(void) {
    Suite *s = suite_create("low precision");
    kernel_cases(s, add_tests);
    return test_run(s);
}
