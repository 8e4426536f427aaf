/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cpu: attention in windows, global, and of the decoder, against float64 loops that pad the map
 * and hold the score matrix, as the reference implementation does. */
#include "kernel.h"

/* out (keys-sized scores are local) = softmax(scores) v for one query of one head */
static void weigh(double *scores, int64_t keys, const double *v, int64_t dim, double *out) {
    double max = -INFINITY, sum = 0;
    for (int64_t k = 0; k < keys; k++) max = fmax(max, scores[k]);
    for (int64_t k = 0; k < keys; k++) sum += scores[k] = exp(scores[k] - max);
    for (int64_t c = 0; c < dim; c++) {
        out[c] = 0;
        for (int64_t k = 0; k < keys; k++) out[c] += scores[k] / sum * v[k * dim + c];
    }
}

/* One window of one image and head: q, k, v (side*side, dim), padded with the bias. */
static void reference_window(const msxk_attention *a, const float *qkv, int64_t head, int64_t wy,
                             int64_t wx, double *out) {
    int64_t s = a->side, d = a->dim, keys = s * s, width = a->heads * d;
    double *parts = malloc((size_t)(3 * keys * d + keys + d) * sizeof *parts);
    double *q = parts, *k = q + keys * d, *v = k + keys * d, *scores = v + keys * d;
    double *result = scores + keys;
    for (int64_t t = 0; t < keys; t++)
        for (int64_t c = 0; c < 3 * d; c++) {
            int64_t y = wy + t / s, x = wx + t % s, channel = c / d * width + head * d + c % d;
            bool real = y < a->grid && x < a->grid;
            parts[c / d * keys * d + t * d + c % d] =
                real ? qkv[(y * a->grid + x) * 3 * width + channel] : a->qkv_bias[channel];
        }
    for (int64_t i = 0; i < keys; i++) {
        int64_t y = wy + i / s, x = wx + i % s;
        if (y >= a->grid || x >= a->grid) continue;
        for (int64_t j = 0; j < keys; j++) {
            double dot = 0, row = 0, col = 0;
            const float *h = a->rel_h + (i / s - j / s + s - 1) * d;
            const float *w = a->rel_w + (i % s - j % s + s - 1) * d;
            for (int64_t c = 0; c < d; c++) {
                dot += q[i * d + c] * k[j * d + c];
                row += q[i * d + c] * h[c];
                col += q[i * d + c] * w[c];
            }
            scores[j] = dot / sqrt((double)d) + row + col;
        }
        weigh(scores, keys, v, d, result);
        memcpy(out + (y * a->grid + x) * width + head * d, result, (size_t)d * sizeof *out);
    }
    free(parts);
}

typedef struct shape {
    int64_t batch, grid, side, heads, dim;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1, 1},   {2, 5, 5, 2, 3},    {1, 7, 3, 3, 17},  {2, 20, 7, 2, 8},
    {1, 7, 14, 2, 16}, {1, 33, 33, 1, 17}, {1, 13, 12, 1, 4}, {1, 25, 25, 2, 9},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct buffers {
    float *qkv, *bias, *rel_h, *rel_w, *out;
    msxk_attention a;
} buffers;

static buffers make(const shape *s, uint32_t seed) {
    int64_t width = s->heads * s->dim, n = s->batch * s->grid * s->grid;
    buffers b = {.qkv = random_floats(n * 3 * width, seed),
                 .bias = random_floats(3 * width, seed + 1),
                 .rel_h = random_floats((2 * s->side - 1) * s->dim, seed + 2),
                 .rel_w = random_floats((2 * s->side - 1) * s->dim, seed + 3),
                 .out = result_floats(n * width)};
    for (int64_t i = 0; i < n * 3 * width; i++) b.qkv[i] *= 3; /* sharp softmax */
    b.a = (msxk_attention){s->batch, s->grid, s->side, s->heads, s->dim, b.qkv,
                           b.bias,   b.rel_h, b.rel_w, b.out,    0};
    return b;
}

static void discard(buffers *b) {
    free(b->qkv);
    free(b->bias);
    free(b->rel_h);
    free(b->rel_w);
    free(b->out);
}

START_TEST(windows_and_global_match_the_padded_matrix) {
    const shape *s = shapes + _i;
    buffers b = make(s, 7);
    int64_t tokens = s->grid * s->grid, width = s->heads * s->dim, n = s->batch * tokens * width;
    double *expected = malloc((size_t)n * sizeof *expected);
    for (int64_t i = 0; i < s->batch * s->heads; i++)
        for (int64_t y = 0; y < s->grid; y += s->side)
            for (int64_t x = 0; x < s->grid; x += s->side)
                reference_window(&b.a, b.qkv + i / s->heads * tokens * 3 * width, i % s->heads, y,
                                 x, expected + i / s->heads * tokens * width);
    msx_kdev *dev = kernel_open(2);
    ck_assert_int_eq(K->attention(dev, &b.a), MSXK_OK);
    check_close("attention", b.out, expected, n, 5e-6);
    K->close(dev);
    free(expected);
    discard(&b);
}
END_TEST

START_TEST(threads_and_neighbours_change_no_bit) {
    const shape *s = shapes + _i;
    buffers b = make(s, 11);
    int64_t tokens = s->grid * s->grid, width = s->heads * s->dim;
    size_t bytes = (size_t)(s->batch * tokens * width) * sizeof(float);
    float *first = malloc(bytes);
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        msx_kdev *dev = kernel_open(threads);
        ck_assert_int_eq(K->attention(dev, &b.a), MSXK_OK);
        if (threads == 1) memcpy(first, b.out, bytes);
        ck_assert_int_eq(memcmp(first, b.out, bytes), 0);
        if (threads == 2) {
            b.a.batch = 1;
            b.a.qkv += (s->batch - 1) * tokens * 3 * width; /* the last image alone */
            ck_assert_int_eq(K->attention(dev, &b.a), MSXK_OK);
            ck_assert_int_eq(
                memcmp(first + (s->batch - 1) * tokens * width, b.out, bytes / (size_t)s->batch),
                0);
            b.a.batch = s->batch;
            b.a.qkv = b.qkv;
        }
        K->close(dev);
    }
    free(first);
    discard(&b);
}
END_TEST

START_TEST(empty_batches_do_nothing) {
    msx_kdev *dev = kernel_open(2);
    msxk_attention a = {.batch = 0, .grid = 3, .side = 3, .heads = 1, .dim = 1};
    ck_assert_int_eq(K->attention(dev, &a), MSXK_OK);
    msxk_cross c = {.batch = 2, .tq = 0, .tk = 3, .heads = 1, .dim = 1};
    ck_assert_int_eq(K->cross(dev, &c), MSXK_OK);
    K->close(dev);
}
END_TEST

START_TEST(cross_attention_matches) {
    static const int64_t counts[][2] = {{1, 1}, {7, 33}, {7, 1300}, {300, 7}, {3, 17}, {129, 513}};
    enum { HEADS = 3, DIM = 5, WIDTH = HEADS * DIM, BATCH = 2 };
    int64_t tq = counts[_i][0], tk = counts[_i][1];
    float *q = random_floats(BATCH * tq * WIDTH, 1), *k = random_floats(BATCH * tk * WIDTH, 2);
    float *v = random_floats(tk * WIDTH, 3), *out = result_floats(BATCH * tq * WIDTH);
    for (int64_t i = 0; i < BATCH * tq * WIDTH; i++) q[i] *= 20; /* maxima that change by tile */
    double *expected = malloc((size_t)(BATCH * tq * WIDTH) * sizeof *expected);
    double *scores = malloc((size_t)(tk * (1 + DIM)) * sizeof *scores), *vd = scores + tk;
    for (int64_t i = 0; i < BATCH * tq * HEADS; i++) {
        int64_t p = i / HEADS / tq, row = i / HEADS, head = i % HEADS;
        for (int64_t j = 0; j < tk; j++) {
            double dot = 0;
            for (int c = 0; c < DIM; c++) {
                dot += (double)q[row * WIDTH + head * DIM + c] *
                       k[(p * tk + j) * WIDTH + head * DIM + c];
                vd[j * DIM + c] = v[j * WIDTH + head * DIM + c];
            }
            scores[j] = 0.3f * dot;
        }
        weigh(scores, tk, vd, DIM, expected + row * WIDTH + head * DIM);
    }
    msxk_cross c = {.batch = BATCH,
                    .tq = tq,
                    .tk = tk,
                    .heads = HEADS,
                    .dim = DIM,
                    .scale = 0.3f,
                    .q = q,
                    .stride_q = tq * WIDTH,
                    .k = k,
                    .stride_k = tk * WIDTH,
                    .v = v, /* shared */
                    .out = out,
                    .stride_out = tq * WIDTH};
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        msx_kdev *dev = kernel_open(threads);
        ck_assert_int_eq(K->cross(dev, &c), MSXK_OK);
        check_close("cross", out, expected, BATCH * tq * WIDTH, 1e-5);
        K->close(dev);
    }
    free(q);
    free(k);
    free(v);
    free(out);
    free(expected);
    free(scores);
}
END_TEST

static void add_tests(TCase *t) {
    tcase_add_loop_test(t, windows_and_global_match_the_padded_matrix, 0, SHAPES);
    tcase_add_loop_test(t, threads_and_neighbours_change_no_bit, 0, SHAPES);
    tcase_add_test(t, empty_batches_do_nothing);
    tcase_add_loop_test(t, cross_attention_matches, 0, 6);
}

int main(void) {
    Suite *s = suite_create("attention");
    kernel_cases(s, add_tests);
    return test_run(s);
}
