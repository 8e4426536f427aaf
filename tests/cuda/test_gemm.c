/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cuda: products with their epilogues in every precision against the CPU backend. */
#include "backends.h"

typedef struct problem {
    int64_t m, n, k, batch;
    int transposed, act;
    bool bias, residual, in_place;
} problem;

/* Operands of a problem in host memory, and the op's description of them. */
typedef struct operands {
    float *a, *w, *bias, *residual, *c;
    int64_t na, nw, nc;
} operands;

static operands make(const problem *p) {
    operands o = {.na = p->batch * p->m * p->k, .nw = p->batch * p->n * p->k};
    o.nc = p->batch * p->m * p->n;
    o.a = random_floats(o.na, 1), o.w = random_floats(o.nw, 2), o.bias = random_floats(p->n, 3);
    o.residual = random_floats(o.nc, 4), o.c = random_floats(o.nc, 5);
    return o;
}

static void discard(operands *o) {
    free(o->a), free(o->w), free(o->bias), free(o->residual), free(o->c);
}

static msxk_gemm describe(const problem *p, const operands *o) {
    msxk_gemm g = {.m = p->m,
                   .n = p->n,
                   .k = p->k,
                   .a = o->a,
                   .lda = p->k ? p->k : 1,
                   .w = o->w,
                   .ldw = p->transposed ? (p->k ? p->k : 1) : (p->n ? p->n : 1),
                   .w_transposed = p->transposed,
                   .bias = p->bias ? o->bias : NULL,
                   .residual = p->in_place   ? o->c
                               : p->residual ? o->residual
                                             : NULL,
                   .ldr = p->n ? p->n : 1,
                   .c = o->c,
                   .ldc = p->n ? p->n : 1,
                   .alpha = 0.75f,
                   .act = p->act,
                   .batch = p->batch,
                   .stride_a = p->m * p->k,
                   .stride_w = p->n * p->k,
                   .stride_c = p->m * p->n,
                   .stride_r = p->m * p->n};
    return g;
}

/* The same problem with all operands on the GPU. */
static operands upload(msx_device *d, const problem *p, const operands *o) {
    operands there = *o;
    there.a = floats_on(d, o->a, o->na);
    there.w = floats_on(d, o->w, o->nw);
    there.bias = floats_on(d, o->bias, p->n);
    there.residual = floats_on(d, o->residual, o->nc);
    there.c = floats_on(d, o->c, o->nc);
    return there;
}

static void release(msx_device *d, operands *o) {
    float *all[] = {o->a, o->w, o->bias, o->residual};
    for (int i = 0; i < 4; i++) d->k->release(d->dev, all[i]);
}

/* `change` may alter the description alike on both backends. */
static void compare(backends *b, const problem *p, void (*change)(msxk_gemm *g), double bound) {
    operands here = make(p), there = upload(b->cuda, p, &here);
    msxk_gemm cpu = describe(p, &here), cuda = describe(p, &there);
    if (change) change(&cpu), change(&cuda);
    RUN(b->cpu, gemm, &cpu);
    RUN(b->cuda, gemm, &cuda);
    float *got = take_floats(b->cuda, there.c, here.nc);
    check_close("gemm", got, here.c, here.nc, bound * (1 + sqrt((double)p->k)));
    free(got);
    release(b->cuda, &there);
    discard(&here);
}

START_TEST(odd_sizes_match) {
    backends b = backends_open(_i ? MSX_PRECISION_TF32 : MSX_PRECISION_FP32);
    double bound = _i ? 1.0 / 1024 : 2e-6; /* tf32: 10 bits of mantissa */
    for (int m = 0; m < ODD_SIZES; m++)
        for (int n = 0; n < ODD_SIZES; n++)
            for (int k = 0; k < ODD_SIZES; k++)
                for (int variant = 0; variant < 12; variant++) {
                    problem p = {odd_sizes[m],        odd_sizes[n],    odd_sizes[k],
                                 1 + variant % 2 * 2, variant / 2 % 2, variant / 4,
                                 variant % 3 != 0,    variant >= 6,    false};
                    compare(&b, &p, NULL, bound);
                }
    backends_close(&b);
}
END_TEST

static void share_w(msxk_gemm *g) {
    g->stride_w = 0;
}
static void share_w_and_residual(msxk_gemm *g) {
    g->stride_w = g->stride_r = 0;
}
static void share_residual(msxk_gemm *g) {
    g->stride_r = 0;
}
/* A token of every prompt: rows of A far apart, one row a problem. */
static void pick_rows(msxk_gemm *g) {
    g->stride_w = 0;
    g->batch = g->m;
    g->m = 1;
    g->stride_a = g->lda;
    g->stride_c = g->stride_r = g->ldc;
}
static void pick_every_third_row(msxk_gemm *g) {
    g->stride_w = 0;
    g->batch = g->m / 3;
    g->m = 1;
    g->stride_a = 3 * g->lda;
    g->stride_c = 2 * g->ldc;
    g->stride_r = 0;
}
static void leave_gaps(msxk_gemm *g) {
    g->n -= 3;
    g->k -= 2;
    g->m -= 1;
}

START_TEST(batches_strides_and_shared_operands_match) {
    static const struct {
        void (*change)(msxk_gemm *g);
        int64_t batch;
    } cases[] = {{share_w, 3},   {share_w_and_residual, 3}, {share_residual, 3},
                 {pick_rows, 1}, {pick_every_third_row, 1}, {leave_gaps, 2},
                 {NULL, 0}};
    backends b = backends_open(MSX_PRECISION_FP32);
    for (int i = 0; i < 7; i++)
        for (int act = MSXK_ACT_NONE; act <= MSXK_ACT_RELU; act++)
            for (int wide = 0; wide < 2; wide++) {
                problem p = {
                    13,   wide ? 32 : 17, 21,   cases[i].batch ? cases[i].batch : 1, 1, act,
                    true, true,           false};
                compare(&b, &p, cases[i].change, 2e-6);
            }
    backends_close(&b);
}
END_TEST

START_TEST(residual_may_be_the_result) {
    backends b = backends_open(MSX_PRECISION_FP32);
    for (int64_t k = 0; k <= 17; k += 17)
        for (int64_t batch = 1; batch <= 3; batch += 2) {
            problem p = {33, 24, k, batch, 1, MSXK_ACT_NONE, true, true, true};
            compare(&b, &p, NULL, 2e-6);
        }
    float x[4] = {0};
    msxk_gemm g = {
        .m = 1, .n = 1, .k = 1, .a = x, .w = x, .c = x, .residual = x, .ldr = 1, .ldc = 1};
    g.act = MSXK_ACT_GELU;
    ck_assert_int_eq(b.cuda->k->gemm(b.cuda->dev, &g), MSXK_E_ARG);
    ck_assert_ptr_nonnull(strstr(b.cuda->k->error(b.cuda->dev), "in place"));
    backends_close(&b);
}
END_TEST

static msxk_low *narrow(backends *b, const float *x, int64_t n) {
    float *there = floats_on(b->cuda, x, n);
    msxk_low *low = to_device(b->cuda, NULL, (size_t)n * sizeof *low);
    RUN(b->cuda, narrow, low, there, n);
    b->cuda->k->release(b->cuda->dev, there);
    return low;
}

/* float32 products of the rounded operands on the CPU against low ones, with a float32 or low result. */
static void compare_low(msx_precision precision, const problem *p, bool low_c, bool low_bias) {
    backends b = backends_open(precision);
    operands here = make(p);
    msxk_low *a = narrow(&b, here.a, here.na), *w = narrow(&b, here.w, here.nw);
    float *bias = floats_on(b.cuda, here.bias, p->n);
    float *residual = floats_on(b.cuda, here.residual, here.nc);
    size_t bytes = (size_t)here.nc * (low_c ? sizeof(msxk_low) : sizeof(float));
    void *c = to_device(b.cuda, NULL, bytes);
    operands there = here;
    there.a = (float *)(void *)a, there.w = (float *)(void *)w, there.c = c;
    there.bias = bias, there.residual = residual;
    msxk_gemm cuda = describe(p, &there), cpu = describe(p, &here);
    msxk_low *narrow_bias = narrow(&b, here.bias, p->n);
    cuda.low = MSXK_LOW_A | MSXK_LOW_W | (low_c ? MSXK_LOW_C : 0);
    if (low_bias) cuda.low_bias = narrow_bias;
    RUN(b.cuda, gemm, &cuda);
    msxk_low *host_a = take(b.cuda, a, (size_t)here.na * sizeof *a);
    msxk_low *host_w = take(b.cuda, w, (size_t)here.nw * sizeof *w);
    float *wide_a = low_values(precision, host_a, here.na);
    float *wide_w = low_values(precision, host_w, here.nw);
    cpu.a = wide_a, cpu.w = wide_w;
    RUN(b.cpu, gemm, &cpu);
    void *host_c = take(b.cuda, c, bytes);
    float *got = low_c ? low_values(precision, host_c, here.nc) : host_c;
    check_close("low gemm", got, here.c, here.nc,
                low_c ? 1.5 * low_unit(precision) : 2e-6 * (1 + sqrt((double)p->k)));
    if (low_c) free(got);
    free(host_a), free(host_w), free(wide_a), free(wide_w), free(host_c);
    discard(&here);
    backends_close(&b);
}

START_TEST(low_products_match) {
    msx_precision precision = _i ? MSX_PRECISION_BF16 : MSX_PRECISION_FP16;
    static const int64_t sizes[][3] = {{1, 1, 1}, {17, 33, 3}, {33, 32, 40}, {100, 24, 65}};
    for (int s = 0; s < 4; s++)
        for (int act = MSXK_ACT_NONE; act <= MSXK_ACT_RELU; act++)
            for (int low_c = 0; low_c < 2; low_c++)
                for (int64_t batch = 1; batch <= 2; batch++) {
                    problem p = {sizes[s][0], sizes[s][1], sizes[s][2], batch, act != 1,
                                 act,         true,        !low_c,      false};
                    compare_low(precision, &p, low_c, low_c && batch > 1);
                }
}
END_TEST

START_TEST(operands_that_do_not_fit_are_refused) {
    backends b = backends_open(MSX_PRECISION_FP16);
    float x[4] = {0};
    msxk_gemm g = {.m = 1, .n = 1, .k = 1, .a = x, .w = x, .c = x, .low = MSXK_LOW_A};
    ck_assert_int_eq(b.cuda->k->gemm(b.cuda->dev, &g), MSXK_E_ARG);
    g.low = MSXK_LOW_A | MSXK_LOW_W | MSXK_LOW_C;
    g.residual = x + 1;
    ck_assert_int_eq(b.cuda->k->gemm(b.cuda->dev, &g), MSXK_E_ARG);
    g.residual = NULL;
    test_ok(b.ctx, msx_device_set_precision(b.cuda, MSX_PRECISION_TF32));
    ck_assert_int_eq(b.cuda->k->gemm(b.cuda->dev, &g), MSXK_E_ARG);
    ck_assert_ptr_nonnull(strstr(b.cuda->k->error(b.cuda->dev), "no low precision"));
    backends_close(&b);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: gemm");
    TCase *t = tcase_create("gemm");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, odd_sizes_match, 0, 2);
    tcase_add_test(t, batches_strides_and_shared_operands_match);
    tcase_add_test(t, residual_may_be_the_result);
    tcase_add_loop_test(t, low_products_match, 0, 2);
    tcase_add_test(t, operands_that_do_not_fit_are_refused);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
