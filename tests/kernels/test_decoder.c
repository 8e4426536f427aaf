/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cpu: the fused steps of the mask decoder against float64 loops that hold every map. */
#include "kernel.h"

static double gelu(double x) {
    return 0.5 * x * erfc(-x / sqrt(2.0));
}

static void softmax(double *x, int64_t n, int64_t stride) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, x[i * stride]);
    for (int64_t i = 0; i < n; i++) sum += x[i * stride] = exp(x[i * stride] - max);
    for (int64_t i = 0; i < n; i++) x[i * stride] /= sum;
}

static void normalise(double *x, int64_t n, const float *w, const float *b, double eps) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++) x[i] = (x[i] - mean) / sqrt(variance + eps) * w[i] + b[i];
}

/* ---- two_way ------------------------------------------------------------------------------------- */

typedef struct sweep {
    msxk_two_way w;
    float *memory[12];
    int used;
} sweep;

static float *take(sweep *s, int64_t n, float scale) {
    float *x = random_floats(n, (uint32_t)(s->used + 1));
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
    return s->memory[s->used++] = x;
}

/* batch, n, tokens, heads, dim */
static const int64_t sweeps[][5] = {{1, 1, 1, 1, 1},    {2, 17, 3, 2, 3},   {3, 129, 7, 8, 33},
                                    {1, 300, 5, 8, 17}, {2, 513, 17, 8, 9}, {2, 600, 1, 3, 129}};
enum { SWEEPS = sizeof sweeps / sizeof *sweeps };

static sweep make_sweep(const int64_t *size, bool shared) {
    sweep s = {.used = 0};
    int64_t n = size[1], rows = size[2] * size[3], dim = size[4], batch = size[0];
    s.w = (msxk_two_way){.batch = batch,
                         .n = n,
                         .tokens = size[2],
                         .heads = size[3],
                         .dim = dim,
                         .stride_key = shared ? 0 : n * dim,
                         .eps = 1e-5f};
    float sharp = 6 / sqrtf((float)dim); /* scores of a few units: maxima that move */
    s.w.key = take(&s, (shared ? 1 : batch) * n * dim, 2);
    s.w.position = take(&s, n * dim, 1);
    s.w.a = take(&s, batch * rows * dim, sharp);
    s.w.c = take(&s, batch * rows, 3);
    s.w.u = take(&s, batch * rows * dim, 1);
    s.w.bias = take(&s, dim, 1);
    s.w.norm_w = take(&s, dim, 2);
    s.w.norm_b = take(&s, dim, 1);
    s.w.q = take(&s, batch * rows * dim, sharp);
    s.w.updated = take(&s, batch * n * dim, NAN);
    s.w.out = take(&s, batch * rows * dim, NAN);
    return s;
}

static void free_sweep(sweep *s) {
    for (int i = 0; i < s->used; i++) free(s->memory[i]);
}

/* Problem p in float64: updated (n, dim) and out (rows, dim). */
static void reference_sweep(const msxk_two_way *w, int64_t p, double *updated, double *out) {
    int64_t rows = w->tokens * w->heads, dim = w->dim;
    const float *key = w->key + p * w->stride_key, *a = w->a + p * rows * dim;
    const float *u = w->u + p * rows * dim, *q = w->q + p * rows * dim;
    double *scores = malloc((size_t)(w->n * rows) * sizeof *scores);
    for (int64_t i = 0; i < w->n; i++) {
        double *row = scores + i * rows, *to = updated + i * dim;
        for (int64_t j = 0; j < rows; j++) {
            row[j] = w->c[p * rows + j];
            for (int64_t c = 0; c < dim; c++)
                row[j] += ((double)key[i * dim + c] + w->position[i * dim + c]) * a[j * dim + c];
        }
        for (int64_t h = 0; h < w->heads; h++) softmax(row + h, w->tokens, w->heads);
        for (int64_t c = 0; c < dim; c++) {
            to[c] = (double)key[i * dim + c] + w->bias[c];
            for (int64_t j = 0; j < rows; j++) to[c] += row[j] * u[j * dim + c];
        }
        normalise(to, dim, w->norm_w, w->norm_b, (double)w->eps);
    }
    for (int64_t i = 0; i < w->n; i++)
        for (int64_t j = 0; j < rows; j++) {
            scores[i * rows + j] = 0;
            for (int64_t c = 0; c < dim; c++)
                scores[i * rows + j] +=
                    (updated[i * dim + c] + w->position[i * dim + c]) * q[j * dim + c];
        }
    for (int64_t j = 0; j < rows; j++) {
        softmax(scores + j, w->n, rows);
        for (int64_t c = 0; c < dim; c++) {
            out[j * dim + c] = 0;
            for (int64_t i = 0; i < w->n; i++)
                out[j * dim + c] += scores[i * rows + j] * updated[i * dim + c];
        }
    }
    free(scores);
}

static void check_sweep(const int64_t *size, bool shared) {
    sweep s = make_sweep(size, shared);
    int64_t map = s.w.n * s.w.dim, rows = s.w.tokens * s.w.heads, sums = rows * s.w.dim;
    double *updated = malloc((size_t)(s.w.batch * map) * sizeof *updated);
    double *out = malloc((size_t)(s.w.batch * sums) * sizeof *out);
    for (int64_t p = 0; p < s.w.batch; p++)
        reference_sweep(&s.w, p, updated + p * map, out + p * sums);
    msx_kdev *dev = kernel_open(2);
    ck_assert_int_eq(K->two_way(dev, &s.w), MSXK_OK);
    check_close("updated", s.w.updated, updated, s.w.batch * map, 2e-5);
    check_close("out", s.w.out, out, s.w.batch * sums, 2e-5);
    K->close(dev);
    free(updated), free(out);
    free_sweep(&s);
}

START_TEST(a_sweep_updates_and_attends) {
    check_sweep(sweeps[_i], false);
    check_sweep(sweeps[_i], true);
}
END_TEST

START_TEST(a_sweep_in_place_and_in_company_has_the_same_bits) {
    sweep s = make_sweep(sweeps[_i], false);
    int64_t map = s.w.n * s.w.dim, rows = s.w.tokens * s.w.heads, last = s.w.batch - 1;
    size_t map_bytes = (size_t)(s.w.batch * map) * sizeof(float);
    size_t out_bytes = (size_t)(s.w.batch * rows * s.w.dim) * sizeof(float);
    float *updated = malloc(map_bytes), *out = malloc(out_bytes), *key = malloc(map_bytes);
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        msx_kdev *dev = kernel_open(threads);
        ck_assert_int_eq(K->two_way(dev, &s.w), MSXK_OK);
        if (threads == 1) memcpy(updated, s.w.updated, map_bytes), memcpy(out, s.w.out, out_bytes);
        ck_assert(!memcmp(updated, s.w.updated, map_bytes) && !memcmp(out, s.w.out, out_bytes));
        memcpy(key, s.w.key, map_bytes);
        msxk_two_way in_place = s.w, alone = s.w;
        in_place.key = in_place.updated = key;
        ck_assert_int_eq(K->two_way(dev, &in_place), MSXK_OK);
        ck_assert(!memcmp(updated, key, map_bytes) && !memcmp(out, s.w.out, out_bytes));
        alone.batch = 1;
        alone.key += last * map, alone.a += last * rows * s.w.dim, alone.c += last * rows;
        alone.u += last * rows * s.w.dim, alone.q += last * rows * s.w.dim;
        ck_assert_int_eq(K->two_way(dev, &alone), MSXK_OK);
        ck_assert(!memcmp(updated + last * map, s.w.updated, map_bytes / (size_t)s.w.batch));
        ck_assert(!memcmp(out + last * rows * s.w.dim, s.w.out, out_bytes / (size_t)s.w.batch));
        K->close(dev);
    }
    free(updated), free(out), free(key);
    free_sweep(&s);
}
END_TEST

/* ---- masks --------------------------------------------------------------------------------------- */

/* batch, grid, dim, half, quarter, masks */
static const int64_t pictures[][6] = {{1, 1, 1, 1, 1, 1},
                                      {2, 3, 17, 5, 3, 4},
                                      {1, 17, 33, 8, 4, 3},
                                      {3, 7, 16, 4, 2, 17},
                                      {2, 13, 129, 33, 17, 1}};
enum { PICTURES = sizeof pictures / sizeof *pictures };

typedef struct picture {
    msxk_masks m;
    float *memory[9], *logits;
    int64_t floats;
} picture;

static picture make_picture(const int64_t *s) {
    int64_t tokens = s[1] * s[1];
    int64_t sizes[] = {
        s[0] * tokens * s[2], 4 * s[3] * s[2], s[3], s[3], s[3], 4 * s[4] * s[3], s[4],
        s[0] * s[5] * s[4]};
    picture p = {.floats = s[0] * s[5] * 16 * tokens};
    for (int i = 0; i < 8; i++) p.memory[i] = random_floats(sizes[i], (uint32_t)i + 21);
    p.logits = result_floats(p.floats);
    p.m = (msxk_masks){s[0],        s[1],        s[2],        s[3],        s[4],        s[5],
                       p.memory[0], p.memory[1], p.memory[2], p.memory[3], p.memory[4], 1e-6f,
                       p.memory[5], p.memory[6], p.memory[7], p.logits};
    return p;
}

static void free_picture(picture *p) {
    for (int i = 0; i < 8; i++) free(p->memory[i]);
    free(p->logits);
}

/* The 4 x 4 logits of mask `mask` of problem `p` at image token `i`, row by row. */
static void reference_token(const msxk_masks *m, int64_t p, int64_t mask, int64_t i,
                            double out[16]) {
    const float *key = m->key + (p * m->grid * m->grid + i) * m->dim;
    const float *vector = m->vectors + (p * m->masks + mask) * m->quarter;
    double first[64];
    for (int k = 0; k < 4; k++) {
        for (int64_t c = 0; c < m->half; c++) {
            first[c] = m->b1[c];
            for (int64_t j = 0; j < m->dim; j++)
                first[c] += (double)key[j] * m->w1[(k * m->half + c) * m->dim + j];
        }
        normalise(first, m->half, m->norm_w, m->norm_b, (double)m->eps);
        for (int64_t c = 0; c < m->half; c++) first[c] = gelu(first[c]);
        for (int l = 0; l < 4; l++) {
            double sum = 0;
            for (int64_t c = 0; c < m->quarter; c++) {
                double x = m->b2[c];
                for (int64_t j = 0; j < m->half; j++)
                    x += first[j] * m->w2[(l * m->quarter + c) * m->half + j];
                sum += gelu(x) * vector[c];
            }
            out[(k / 2 * 2 + l / 2) * 4 + k % 2 * 2 + l % 2] = sum;
        }
    }
}

START_TEST(masks_are_the_upscaled_maps_times_the_vectors) {
    picture p = make_picture(pictures[_i]);
    int64_t g = p.m.grid, side = 4 * g;
    double *expected = malloc((size_t)p.floats * sizeof *expected), token[16];
    for (int64_t i = 0; i < p.m.batch * p.m.masks * g * g; i++) {
        int64_t mask = i / (g * g), at = i % (g * g);
        reference_token(&p.m, mask / p.m.masks, mask % p.m.masks, at, token);
        for (int k = 0; k < 16; k++)
            expected[(mask * side + at / g * 4 + k / 4) * side + at % g * 4 + k % 4] = token[k];
    }
    float *first = malloc((size_t)p.floats * sizeof *first);
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        msx_kdev *dev = kernel_open(threads);
        ck_assert_int_eq(K->masks(dev, &p.m), MSXK_OK);
        check_close("masks", p.logits, expected, p.floats, 1e-5);
        if (threads == 1) memcpy(first, p.logits, (size_t)p.floats * sizeof *first);
        ck_assert(!memcmp(first, p.logits, (size_t)p.floats * sizeof *first));
        K->close(dev);
    }
    free(expected), free(first);
    free_picture(&p);
}
END_TEST

START_TEST(empty_batches_do_nothing) {
    msx_kdev *dev = kernel_open(2);
    const msxk_two_way none[] = {{.batch = 0, .n = 3, .tokens = 1, .heads = 1, .dim = 1},
                                 {.batch = 2, .n = 0, .tokens = 1, .heads = 1, .dim = 1},
                                 {.batch = 2, .n = 3, .tokens = 0, .heads = 1, .dim = 1}};
    for (int i = 0; i < 3; i++) ck_assert_int_eq(K->two_way(dev, none + i), MSXK_OK);
    const msxk_masks nothing[] = {{.batch = 0, .grid = 3, .dim = 1, .masks = 1},
                                  {.batch = 1, .grid = 0, .dim = 1, .masks = 1},
                                  {.batch = 1, .grid = 3, .dim = 1, .masks = 0}};
    for (int i = 0; i < 3; i++) ck_assert_int_eq(K->masks(dev, nothing + i), MSXK_OK);
    K->close(dev);
}
END_TEST

static void add_tests(TCase *t) {
    tcase_add_loop_test(t, a_sweep_updates_and_attends, 0, SWEEPS);
    tcase_add_loop_test(t, a_sweep_in_place_and_in_company_has_the_same_bits, 0, SWEEPS);
    tcase_add_loop_test(t, masks_are_the_upscaled_maps_times_the_vectors, 0, PICTURES);
    tcase_add_test(t, empty_batches_do_nothing);
}

int main(void) {
    Suite *s = suite_create("decoder");
    kernel_cases(s, add_tests);
    return test_run(s);
}
