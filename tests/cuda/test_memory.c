/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cuda: running out of device memory and of host memory, and using the handle afterwards. */
#include "backends.h"

START_TEST(running_out_says_how_much_was_asked) {
    backends b = backends_open(MSX_PRECISION_FP32);
    const msx_kernels *k = b.cuda->k;
    msx_kdev *dev = b.cuda->dev;
    void *huge, *block;
    ck_assert_int_eq(k->alloc(dev, &huge, (size_t)1 << 50), MSXK_E_NOMEM);
    ck_assert_ptr_null(huge);
    ck_assert_ptr_nonnull(strstr(k->error(dev), "1125899906842624 bytes asked for"));
    ck_assert_int_eq(k->alloc(dev, &huge, SIZE_MAX - 8), MSXK_E_NOMEM);
    float x[3] = {1, 2, 3}, y[3];
    RUN(b.cuda, alloc, &block, sizeof x);
    ck_assert_int_eq((uintptr_t)block % 64, 0);
    RUN(b.cuda, upload, block, x, sizeof x);
    RUN(b.cuda, download, y, block, sizeof y);
    ck_assert_int_eq(memcmp(x, y, sizeof x), 0);
    k->release(dev, block);
    k->release(dev, NULL);
    float *floats;
    test_fails(b.ctx, msx__device_alloc(b.cuda, &floats, (int64_t)1 << 48), MSX_E_NOMEM,
               "device cuda:0: out of device memory: 1125899906842624 bytes asked for");
    backends_close(&b);
}
END_TEST

/* Many blocks of changing sizes; contents stay apart, and what was released is used again. */
START_TEST(blocks_do_not_overlap) {
    enum { BLOCKS = 100, ROUNDS = 400 };
    backends b = backends_open(MSX_PRECISION_FP32);
    uint8_t *blocks[BLOCKS] = {0}, host[3000];
    size_t sizes[BLOCKS] = {0};
    for (int round = 0; round < ROUNDS; round++) {
        int i = round * 37 % BLOCKS;
        if (blocks[i]) {
            RUN(b.cuda, download, host, blocks[i], sizes[i]);
            for (size_t c = 0; c < sizes[i]; c++) ck_assert_int_eq(host[c], i);
            b.cuda->k->release(b.cuda->dev, blocks[i]);
        }
        sizes[i] = (size_t)(round * 7919 % 3000);
        memset(host, i, sizeof host);
        blocks[i] = to_device(b.cuda, host, sizes[i]);
    }
    for (int i = 0; i < BLOCKS; i++) b.cuda->k->release(b.cuda->dev, blocks[i]);
    backends_close(&b);
}
END_TEST

/* Every allocation of host memory fails once; whatever opened is closed again. */
START_TEST(host_memory_that_runs_out_is_reported) {
    bool done = false;
    for (int64_t fail_at = 0; !done; fail_at++) {
        ck_assert_int_lt(fail_at, 50);
        test_allocator allocator;
        test_allocator_init(&allocator, -1, false);
        msx_ctx *ctx;
        ck_assert_int_eq(msx_ctx_create(&ctx, &allocator.table), MSX_OK);
        allocator.fail_at = allocator.calls + fail_at;
        msx_device *d;
        msx_status status = msx_device_open(&d, ctx, "cuda:0");
        float *memory = NULL;
        double dots[3];
        if (status == MSX_OK) status = msx__device_alloc(d, &memory, 10);
        if (status == MSX_OK)
            status = msx__device_status(d, d->k->dots(d->dev, dots, memory, memory, 10));
        msxk_gemm g = {.m = 1, .n = 1, .k = 1, .a = memory, .lda = 1, .w = memory, .ldw = 1};
        g.c = memory, g.ldc = 1;
        if (status == MSX_OK) status = msx__device_status(d, d->k->gemm(d->dev, &g));
        ck_assert(status == MSX_OK || status == MSX_E_NOMEM);
        done = status == MSX_OK;
        if (d) msx__device_release(d, memory);
        msx_device_free(d);
        msx_ctx_free(ctx);
        ck_assert_int_eq(allocator.live, 0);
    }
}
END_TEST

START_TEST(devices_are_opened_by_number) {
    msx_ctx *ctx = test_ctx();
    msx_device *d;
    test_ok(ctx, msx_device_open(&d, ctx, "cuda"));
    ck_assert_int_eq(msx_device_precision(d), MSX_PRECISION_FP32);
    for (int p = MSX_PRECISION_FP32; p <= MSX_PRECISION_BF16; p++)
        test_ok(ctx, msx_device_set_precision(d, (msx_precision)p));
    msx_device_free(d);
    test_fails(ctx, msx_device_open(&d, ctx, "cuda:999"), MSX_E_DEVICE, "numbered from 0");
    ck_assert_ptr_null(d);
    msx_ctx_free(ctx);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("cuda: memory");
    TCase *t = tcase_create("memory");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, running_out_says_how_much_was_asked);
    tcase_add_test(t, blocks_do_not_overlap);
    tcase_add_test(t, host_memory_that_runs_out_is_reported);
    tcase_add_test(t, devices_are_opened_by_number);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_cuda_run(suite());
}
