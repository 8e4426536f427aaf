/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cuda: the encoder's and the decoder's attentions against the CPU backend. */
#include "backends.h"

typedef struct shape {
    int64_t batch, grid, side, heads, dim;
} shape;

/* Windows that overlap the edge, several blocks of queries, tails of tiles, every padded head size, and
 * heads that are not aligned for vectors. */
static const shape shapes[] = {
    {1, 1, 1, 1, 1},    {2, 5, 5, 2, 3},   {1, 7, 3, 3, 17},   {2, 20, 7, 2, 32}, {1, 7, 14, 2, 16},
    {1, 13, 13, 1, 40}, {1, 25, 25, 1, 8}, {1, 16, 14, 1, 64}, {1, 9, 6, 1, 80},  {1, 6, 4, 1, 100},
    {1, 15, 14, 1, 64}, {1, 10, 9, 1, 80}, {1, 7, 7, 1, 16},   {1, 8, 8, 1, 16},  {1, 9, 3, 1, 16},
    {1, 5, 5, 1, 32},   {1, 7, 7, 1, 48},  {1, 3, 3, 1, 64},   {1, 5, 5, 1, 80},  {1, 7, 7, 1, 128},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct problem {
    shape s;
    int64_t tokens, width, table;
    float *qkv, *bias, *rel_h, *rel_w, *out;
} problem;

static problem make(shape s) {
    problem p = {.s = s, .tokens = s.batch * s.grid * s.grid, .width = s.heads * s.dim};
    p.table = (2 * s.side - 1) * s.dim;
    p.qkv = random_floats(p.tokens * 3 * p.width, 1);
    p.bias = random_floats(3 * p.width, 2);
    p.rel_h = random_floats(p.table, 3);
    p.rel_w = random_floats(p.table, 4);
    p.out = random_floats(p.tokens * p.width, 5);
    for (int64_t i = 0; i < p.tokens * 3 * p.width; i++) p.qkv[i] *= 3; /* sharp softmax */
    for (int64_t i = 0; i < p.table; i++) p.rel_h[i] *= 0.3f, p.rel_w[i] *= 0.3f;
    return p;
}

static void discard(problem *p) {
    free(p->qkv), free(p->bias), free(p->rel_h), free(p->rel_w), free(p->out);
}

static msxk_attention describe(const problem *p) {
    return (msxk_attention){p->s.batch, p->s.grid, p->s.side, p->s.heads, p->s.dim, p->qkv,
                            p->bias,    p->rel_h,  p->rel_w,  p->out,     0};
}

static problem upload(msx_device *d, const problem *p) {
    problem there = *p;
    there.qkv = floats_on(d, p->qkv, p->tokens * 3 * p->width);
    there.bias = floats_on(d, p->bias, 3 * p->width);
    there.rel_h = floats_on(d, p->rel_h, p->table);
    there.rel_w = floats_on(d, p->rel_w, p->table);
    there.out = floats_on(d, NULL, p->tokens * p->width);
    return there;
}

START_TEST(windows_and_global_match_in_float) {
    backends b = backends_open(MSX_PRECISION_FP32);
    problem here = make(shapes[_i]), there = upload(b.cuda, &here);
    msxk_attention cpu = describe(&here), cuda = describe(&there);
    RUN(b.cpu, attention, &cpu);
    RUN(b.cuda, attention, &cuda);
    float *got = take_floats(b.cuda, there.out, here.tokens * here.width);
    check_close("attention", got, here.out, here.tokens * here.width, 1e-5);
    free(got);
    discard(&here);
    backends_close(&b);
}
END_TEST

/* Against float32 on operands that were rounded before. */
static void compare_low(shape s, msx_precision precision) {
    backends b = backends_open(precision);
    problem here = make(s), there = upload(b.cuda, &here);
    int64_t n = here.tokens * here.width;
    msxk_low *qkv = to_device(b.cuda, NULL, (size_t)(3 * n) * sizeof *qkv);
    msxk_low *out = to_device(b.cuda, NULL, (size_t)n * sizeof *out);
    RUN(b.cuda, narrow, qkv, there.qkv, 3 * n);
    msxk_attention cpu = describe(&here), cuda = describe(&there);
    cuda.low = 1;
    cuda.qkv = (float *)(void *)qkv;
    cuda.out = (float *)(void *)out;
    RUN(b.cuda, attention, &cuda);
    msxk_low *host_qkv = take(b.cuda, qkv, (size_t)(3 * n) * sizeof *qkv);
    float *rounded = low_values(precision, host_qkv, 3 * n);
    cpu.qkv = rounded;
    RUN(b.cpu, attention, &cpu);
    msxk_low *host_out = take(b.cuda, out, (size_t)n * sizeof *out);
    float *got = low_values(precision, host_out, n);
    /* weights and tables of positions are rounded as well; sharp softmax multiplies errors of scores */
    double error = test_relative_l2(got, here.out, n);
    ck_assert_msg(error < 3 * low_unit(precision), "relative error %g", error);
    check_close("low attention", got, here.out, n, 16 * low_unit(precision));
    free(host_qkv), free(rounded), free(host_out), free(got);
    discard(&here);
    backends_close(&b);
}

START_TEST(windows_and_global_match_in_low_precision) {
    compare_low(shapes[_i / 2], _i % 2 ? MSX_PRECISION_BF16 : MSX_PRECISION_FP16);
}
END_TEST

/* The kernels of the full-size networks. */
START_TEST(the_grid_of_64_matches) {
    if (getenv("MSX_SANITIZED")) return; /* minutes; its helpers have run on the other shapes */
    static const shape full[] = {{1, 64, 64, 2, 64}, {1, 64, 64, 1, 80}};
    compare_low(full[_i], _i ? MSX_PRECISION_BF16 : MSX_PRECISION_FP16);
}
END_TEST

START_TEST(sizes_that_do_not_fit_are_refused) {
    backends b = backends_open(MSX_PRECISION_FP32);
    msxk_attention a = {.batch = 1, .grid = 1, .side = 0, .heads = 1, .dim = 1};
    ck_assert_int_eq(b.cuda->k->attention(b.cuda->dev, &a), MSXK_E_ARG);
    a.side = 1, a.dim = 129;
    ck_assert_int_eq(b.cuda->k->attention(b.cuda->dev, &a), MSXK_E_ARG);
    a.dim = 16, a.low = 1;
    ck_assert_int_eq(b.cuda->k->attention(b.cuda->dev, &a), MSXK_E_ARG);
    a.batch = 0;
    RUN(b.cuda, attention, &a);
    msxk_cross c = {.batch = 1, .tq = 1, .heads = 1, .dim = 1};
    ck_assert_int_eq(b.cuda->k->cross(b.cuda->dev, &c), MSXK_E_ARG);
    c.tk = 1, c.dim = 65;
    ck_assert_int_eq(b.cuda->k->cross(b.cuda->dev, &c), MSXK_E_ARG);
    c.tq = 0;
    RUN(b.cuda, cross, &c);
    backends_close(&b);
}
END_TEST

START_TEST(decoder_attention_matches) {
    static const int64_t counts[][2] = {{1, 1},  {7, 33},   {7, 1300}, {300, 7},
                                        {3, 17}, {129, 65}, {7, 7},    {5, 64}};
    static const int64_t dims[] = {1, 5, 8, 16, 32, 64};
    backends b = backends_open(MSX_PRECISION_FP32);
    int64_t tq = counts[_i][0], tk = counts[_i][1];
    enum { HEADS = 3, BATCH = 2 };
    for (int i = 0; i < 6; i++) {
        int64_t dim = dims[i], width = HEADS * dim;
        float *q = random_floats(BATCH * tq * width, 1), *k = random_floats(BATCH * tk * width, 2);
        float *v = random_floats(tk * width, 3), *out = random_floats(BATCH * tq * width, 4);
        for (int64_t j = 0; j < BATCH * tq * width; j++) q[j] *= 8;
        msxk_cross c = {.batch = BATCH,
                        .tq = tq,
                        .tk = tk,
                        .heads = HEADS,
                        .dim = dim,
                        .scale = 0.3f,
                        .q = q,
                        .stride_q = tq * width,
                        .k = k,
                        .stride_k = tk * width,
                        .v = v, /* shared */
                        .out = out,
                        .stride_out = tq * width};
        RUN(b.cpu, cross, &c);
        c.q = floats_on(b.cuda, q, BATCH * tq * width);
        c.k = floats_on(b.cuda, k, BATCH * tk * width);
        c.v = floats_on(b.cuda, v, tk * width);
        c.out = floats_on(b.cuda, NULL, BATCH * tq * width);
        RUN(b.cuda, cross, &c);
        float *got = take_floats(b.cuda, c.out, BATCH * tq * width);
        check_close("cross", got, out, BATCH * tq * width, 1e-5);
        free(q), free(k), free(v), free(out), free(got);
    }
    backends_close(&b);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: attention");
    TCase *t = tcase_create("attention");
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, windows_and_global_match_in_float, 0, SHAPES);
    tcase_add_loop_test(t, windows_and_global_match_in_low_precision, 0, 2 * SHAPES);
    tcase_add_loop_test(t, the_grid_of_64_matches, 0, 2);
    tcase_add_test(t, sizes_that_do_not_fit_are_refused);
    tcase_add_loop_test(t, decoder_attention_matches, 0, 8);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
