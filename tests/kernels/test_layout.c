/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cpu: norms, data movement and post-processing, against plain loops. */
#include "kernel.h"

START_TEST(layer_norm_matches_and_survives_a_large_mean) {
    static const int64_t widths[] = {1, 3, 4, 17, 33, 768};
    for (int threads = 1; threads <= 2; threads++)
        for (int w = 0; w < 6; w++)
            for (int r = 0; r < ODD_SIZES; r++)
                for (int act = MSXK_ACT_NONE; act <= MSXK_ACT_RELU; act++) {
                    int64_t rows = odd_sizes[r] * 3, cols = widths[w], n = rows * cols;
                    float *x = random_floats(n, 1), *y = result_floats(n);
                    float *weight = random_floats(cols, 2), *bias = random_floats(cols, 3);
                    double *expected = malloc((size_t)n * sizeof *expected + 1);
                    for (int64_t i = 0; i < n; i++) x[i] += 100; /* one pass would cancel */
                    for (int64_t i = 0; i < rows; i++) {
                        double mean = 0, variance = 0;
                        for (int64_t c = 0; c < cols; c++) mean += x[i * cols + c];
                        mean /= (double)cols;
                        for (int64_t c = 0; c < cols; c++)
                            variance += pow(x[i * cols + c] - mean, 2) / (double)cols;
                        for (int64_t c = 0; c < cols; c++) {
                            double v = (x[i * cols + c] - mean) / sqrt(variance + 1e-3) * weight[c];
                            v += bias[c];
                            if (act == MSXK_ACT_RELU && v < 0) v = 0;
                            if (act == MSXK_ACT_GELU) v *= 0.5 * erfc(-v / sqrt(2.0));
                            expected[i * cols + c] = v;
                        }
                    }
                    msx_kdev *dev = kernel_open(threads);
                    ck_assert_int_eq(K->layer_norm(dev, y, x, weight, bias, rows, cols, 1e-3f, act),
                                     MSXK_OK);
                    check_close("layer norm", y, expected, n,
                                3e-4); /* one pass would be 2e-3 off */
                    K->close(dev);
                    free(x);
                    free(y);
                    free(weight);
                    free(bias);
                    free(expected);
                }
}
END_TEST

START_TEST(patches_are_channel_row_column) {
    enum { B = 2, G = 3, P = 5, S = G * P };
    msx_kdev *dev = kernel_open(2);
    float *image = random_floats(B * 3 * S * S, 1), *rows = result_floats(B * 3 * S * S);
    ck_assert_int_eq(K->patchify(dev, rows, image, B, G, P), MSXK_OK);
    for (int i = 0; i < B * 3 * S * S; i++) {
        int b = i / (3 * S * S), patch = i / (3 * P * P) % (G * G), c = i / (P * P) % 3;
        int y = patch / G * P + i / P % P, x = patch % G * P + i % P;
        ck_assert(rows[i] == image[((b * 3 + c) * S + y) * S + x]);
    }
    K->close(dev);
    free(image);
    free(rows);
}
END_TEST

START_TEST(neighbourhoods_are_padded_with_zeros) {
    static const int grids[] = {1, 2, 7};
    msx_kdev *dev = kernel_open(2);
    for (int i = 0; i < 3; i++)
        for (int c = 1; c <= 33; c += 16) {
            int64_t g = grids[i], n = 2 * g * g * 9 * c;
            float *x = random_floats(2 * g * g * c, 1), *rows = result_floats(n);
            ck_assert_int_eq(K->im2col3(dev, rows, x, 2, g, c), MSXK_OK);
            for (int64_t k = 0; k < n; k++) {
                int64_t b = k / (g * g * 9 * c), y = k / (g * 9 * c) % g + k / (3 * c) % 3 - 1;
                int64_t column = k / (9 * c) % g + k / c % 3 - 1;
                bool inside = y >= 0 && y < g && column >= 0 && column < g;
                float expected = inside ? x[((b * g + y) * g + column) * c + k % c] : 0;
                ck_assert(rows[k] == expected);
            }
            free(x);
            free(rows);
        }
    K->close(dev);
}
END_TEST

START_TEST(transposition_turns_every_odd_size) {
    msx_kdev *dev = kernel_open(2);
    for (int r = 0; r < ODD_SIZES; r++)
        for (int c = 0; c < ODD_SIZES; c++) {
            int64_t rows = odd_sizes[r], cols = odd_sizes[c] * 3, n = 2 * rows * cols;
            float *x = random_floats(n, 1), *y = result_floats(n);
            ck_assert_int_eq(K->transpose(dev, y, x, 2, rows, cols), MSXK_OK);
            for (int64_t i = 0; i < n; i++) {
                int64_t b = i / (rows * cols), k = i % (rows * cols);
                ck_assert(y[b * rows * cols + k % cols * rows + k / cols] == x[i]);
            }
            free(x);
            free(y);
        }
    K->close(dev);
}
END_TEST

START_TEST(rows_are_added_and_gathered) {
    enum { N = 5003, PROMPTS = 3 };
    static const int64_t index[PROMPTS] = {1, 0, 1};
    msx_kdev *dev = kernel_open(2);
    float *x = random_floats(2 * N, 1), *add = random_floats(PROMPTS * N, 2);
    float *y = result_floats(PROMPTS * N);
    for (int own = 0; own < 2; own++) {
        ck_assert_int_eq(K->gather_add(dev, y, x, index, add, own, PROMPTS, N), MSXK_OK);
        for (int i = 0; i < PROMPTS * N; i++)
            ck_assert(y[i] == x[index[i / N] * N + i % N] + add[own ? i : i % N]);
    }
    ck_assert_int_eq(K->add_rows(dev, y, y, add, 2, N), MSXK_OK);
    for (int i = 0; i < 2 * N; i++)
        ck_assert(y[i] == x[index[i / N] * N + i % N] + add[i] + add[i % N]);
    ck_assert_int_eq(K->add_rows(dev, y, y, add, 2, 0), MSXK_OK);
    K->close(dev);
    free(x);
    free(add);
    free(y);
}
END_TEST

START_TEST(shuffle_and_unshuffle_place_every_pixel) {
    enum { B = 2, H = 3, W = 5, C = 7, N = B * H * W * 4 * C };
    msx_kdev *dev = kernel_open(2);
    float *in = random_floats(N, 1), *bias = random_floats(C, 2);
    float *out = result_floats(N), *rows = result_floats(N);
    ck_assert_int_eq(K->shuffle2(dev, out, in, bias, B, H, W, C, MSXK_ACT_RELU), MSXK_OK);
    ck_assert_int_eq(K->unshuffle2(dev, rows, out, B, H, W, C), MSXK_OK);
    for (int i = 0; i < N; i++) {
        int b = i / (H * W * 4 * C), cell = i / (4 * C) % (H * W), k = i / C % 4, c = i % C;
        int y = cell / W * 2 + k / 2, x = cell % W * 2 + k % 2;
        float expected = in[i] + bias[c] < 0 ? 0 : in[i] + bias[c];
        ck_assert(out[((b * 2 * H + y) * 2 * W + x) * C + c] == expected);
        ck_assert(rows[(b * H * W + cell) * 4 * C + c * 4 + k] == expected);
    }
    K->close(dev);
    free(in);
    free(bias);
    free(out);
    free(rows);
}
END_TEST

START_TEST(bilinear_matches_with_and_without_crop) {
    static const int64_t sizes[][6] = {/* in, crop, out: heights and widths */
                                       {1, 1, 0, 0, 5, 3},    {3, 4, 0, 0, 7, 9},
                                       {17, 13, 0, 0, 5, 33}, {9, 9, 4, 7, 11, 3},
                                       {33, 33, 1, 33, 2, 1}, {80, 80, 0, 0, 160, 160}};
    msx_kdev *dev = kernel_open(2);
    for (int s = 0; s < 6; s++) {
        int64_t ih = sizes[s][0], iw = sizes[s][1], ch = sizes[s][2], cw = sizes[s][3];
        int64_t oh = sizes[s][4], ow = sizes[s][5], h = ch ? ch : ih, w = cw ? cw : iw;
        float *in = random_floats(2 * ih * iw, 1), *out = result_floats(2 * oh * ow);
        double *expected = malloc((size_t)(2 * oh * ow) * sizeof *expected);
        for (int64_t i = 0; i < 2 * oh * ow; i++) {
            double y = fmax(0, ((double)(i / ow % oh) + .5) * (double)h / (double)oh - .5);
            double x = fmax(0, ((double)(i % ow) + .5) * (double)w / (double)ow - .5);
            int64_t y0 = (int64_t)y, x0 = (int64_t)x;
            int64_t y1 = y0 + 1 < h ? y0 + 1 : y0, x1 = x0 + 1 < w ? x0 + 1 : x0;
            const float *p = in + i / (oh * ow) * ih * iw;
            double fy = y - (double)y0, fx = x - (double)x0;
            expected[i] = (1 - fy) * ((1 - fx) * p[y0 * iw + x0] + fx * p[y0 * iw + x1]) +
                          fy * ((1 - fx) * p[y1 * iw + x0] + fx * p[y1 * iw + x1]);
        }
        ck_assert_int_eq(K->bilinear(dev, out, in, 2, ih, iw, ch, cw, oh, ow), MSXK_OK);
        check_close("bilinear", out, expected, 2 * oh * ow, 1e-5);
        free(in);
        free(out);
        free(expected);
    }
    float pixel = 1;
    ck_assert_int_eq(K->bilinear(dev, &pixel, &pixel, 1, 1, 1, 2, 2, 1, 1), MSXK_E_ARG);
    ck_assert_int_eq(K->bilinear(dev, &pixel, &pixel, 0, 1, 1, 0, 0, 1, 1), MSXK_OK);
    K->close(dev);
}
END_TEST

START_TEST(sigmoid_threshold_and_overlap_match) {
    enum { N = 30011 };
    msx_kdev *dev = kernel_open(2);
    float *x = random_floats(N, 1), *y = result_floats(N);
    double *expected = malloc(N * sizeof *expected);
    uint8_t *mask = malloc(N), *other = malloc(N);
    for (int i = 0; i < N; i++) {
        x[i] *= 120;
        expected[i] = 1 / (1 + exp(-(double)x[i]));
        other[i] = (uint8_t)(i % 3 ? 0 : 200);
    }
    ck_assert_int_eq(K->sigmoid(dev, y, x, N), MSXK_OK);
    check_close("sigmoid", y, expected, N, 2e-7);
    ck_assert_int_eq(K->threshold(dev, mask, y, N, 0.5f), MSXK_OK);
    int64_t counts[4], truth[4] = {0};
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(mask[i], y[i] > 0.5f);
        truth[mask[i] ? (other[i] ? 0 : 1) : (other[i] ? 2 : 3)]++;
    }
    ck_assert_int_eq(K->overlap(dev, counts, other, mask, N), MSXK_OK);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(counts[i], truth[i]);
    ck_assert_int_eq(K->overlap(dev, counts, other, mask, 0), MSXK_OK);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(counts[i], 0);
    K->close(dev);
    free(x);
    free(y);
    free(expected);
    free(mask);
    free(other);
}
END_TEST

/* ---- device ---------------------------------------------------------------------------------------- */

static void *limited_alloc(size_t bytes, void *payload) {
    int *left = payload;
    return (*left)-- > 0 ? malloc(bytes) : NULL;
}
static void limited_free(void *memory, void *payload) {
    (void)payload;
    free(memory);
}

START_TEST(running_out_of_memory_is_reported) {
    int left = 0;
    msxk_memory memory = {limited_alloc, limited_free, &left};
    msx_kdev *dev;
    ck_assert_int_eq(K->open(&dev, 0, 1, &memory), MSXK_E_NOMEM);
    ck_assert_ptr_null(dev);
    left = 1;
    ck_assert_int_eq(K->open(&dev, 0, 1, &memory), MSXK_OK);
    void *block;
    ck_assert_int_eq(K->alloc(dev, &block, 100), MSXK_E_NOMEM);
    ck_assert_ptr_null(block);
    ck_assert_ptr_nonnull(strstr(K->error(dev), "out of memory"));
    float x = 1;
    ck_assert_int_eq(K->bilinear(dev, &x, &x, 1, 1, 1, 0, 0, 1, 1), MSXK_E_NOMEM);
    left = 1;
    ck_assert_int_eq(K->alloc(dev, &block, SIZE_MAX - 8), MSXK_E_NOMEM);
    ck_assert_int_eq(K->alloc(dev, &block, 100), MSXK_OK);
    ck_assert_int_eq((uintptr_t)block % 64, 0);
    K->release(dev, block);
    K->release(dev, NULL);
    K->close(dev);
    K->close(NULL);
}
END_TEST

static void add_tests(TCase *t) {
    tcase_add_test(t, layer_norm_matches_and_survives_a_large_mean);
    tcase_add_test(t, patches_are_channel_row_column);
    tcase_add_test(t, neighbourhoods_are_padded_with_zeros);
    tcase_add_test(t, transposition_turns_every_odd_size);
    tcase_add_test(t, rows_are_added_and_gathered);
    tcase_add_test(t, shuffle_and_unshuffle_place_every_pixel);
    tcase_add_test(t, bilinear_matches_with_and_without_crop);
    tcase_add_test(t, sigmoid_threshold_and_overlap_match);
    tcase_add_test(t, running_out_of_memory_is_reported);
}

int main(void) {
    Suite *s = suite_create("layout");
    kernel_cases(s, add_tests);
    return test_run(s);
}
