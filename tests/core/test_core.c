/* SPDX-License-Identifier: Apache-2.0 */
/* lib/core: errors, limits, buffers, numbers, generator, hashes, files, suggestions, registry. */
#include "core/core.h"
#include "core/file.h"
#include "core/random.h"
#include "support/support.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(error_text_is_one_line_and_kept) {
    msx_ctx *ctx = test_ctx();
    ck_assert_str_eq(msx_ctx_error(ctx), "");
    ck_assert_int_eq(msx__fail(ctx, MSX_E_FORMAT, "a\nb\x1b[31m %d", 7), MSX_E_FORMAT);
    ck_assert_str_eq(msx_ctx_error(ctx), "a?b?[31m 7");
    ck_assert_int_eq(msx_ctx_error_status(ctx), MSX_E_FORMAT);
    msx__fail(ctx, MSX_E_IO, "again: %s", msx_ctx_error(ctx));
    ck_assert_str_eq(msx_ctx_error(ctx), "again: a?b?[31m 7");
    msx_ctx_clear_error(ctx);
    ck_assert_str_eq(msx_ctx_error(ctx), "");
    msx_ctx_free(ctx);
    msx_ctx_free(NULL);
}
END_TEST

static void *fail_elsewhere(void *ctx) {
    msx__fail(ctx, MSX_E_ARG, "other thread");
    return strcmp(msx_ctx_error(ctx), "other thread") ? NULL : ctx;
}

typedef struct failing {
    msx_ctx *ctx;
    pthread_barrier_t all;
} failing;

/* Fail while all the others do: what is this thread told? */
static void *fail_together(void *payload) {
    failing *f = payload;
    msx__fail(f->ctx, MSX_E_ARG, "thread %p", (void *)pthread_self());
    pthread_barrier_wait(&f->all);
    char own[64];
    snprintf(own, sizeof own, "thread %p", (void *)pthread_self());
    bool same = !strcmp(msx_ctx_error(f->ctx), own);
    if (same && msx_ctx_error_status(f->ctx) == MSX_E_ARG) return (void *)"own";
    bool lost = !strcmp(msx_ctx_error(f->ctx), "out of memory");
    lost = lost && msx_ctx_error_status(f->ctx) == MSX_E_NOMEM;
    return (void *)(lost ? "lost" : "wrong");
}

START_TEST(each_thread_has_its_own_error) {
    msx_ctx *ctx = test_ctx();
    msx__fail(ctx, MSX_E_IO, "main thread");
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, fail_elsewhere, ctx);
    pthread_join(thread, &result);
    ck_assert_ptr_eq(result, ctx);
    ck_assert_str_eq(msx_ctx_error(ctx), "main thread");
    msx_ctx_free(ctx);
}
END_TEST

static int inside, most_inside;

static int count_inside(const msx_progress *p, void *payload) {
    (void)p;
    (void)payload;
    int n = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    if (n > most_inside) most_inside = n;
    sched_yield();
    __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void count_line(msx_log_level level, const char *line, void *payload) {
    (void)level;
    (void)line;
    count_inside(NULL, payload);
}

static void *speak(void *ctx) {
    for (int i = 0; i < 200; i++) {
        if (msx__progress(ctx, "stage", i, 200, 0) < 0) return NULL;
        msx__log(ctx, MSX_LOG_INFO, "line %d", i);
    }
    return ctx;
}

/* Receivers are a program's, which may not expect two threads. */
START_TEST(receivers_are_called_one_at_a_time) {
    msx_ctx *ctx = test_ctx();
    msx_ctx_set_progress(ctx, count_inside, NULL);
    msx_ctx_set_log(ctx, count_line, NULL);
    pthread_t threads[3];
    void *result;
    for (int i = 0; i < 3; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, speak, ctx), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &result);
        ck_assert_ptr_eq(result, ctx);
    }
    ck_assert_int_eq(most_inside, 1);
    msx_ctx_free(ctx);
}
END_TEST

/* Without memory for their slots the first few threads still have texts of their own. */
START_TEST(errors_need_no_memory) {
    enum { THREADS = 6, RESERVED = 4 };
    test_allocator memory;
    failing f;
    pthread_t thread[THREADS];
    int own = 0, lost = 0;
    test_allocator_init(&memory, -1, true);
    ck_assert_int_eq(msx_ctx_create(&f.ctx, &memory.table), MSX_OK);
    memory.fail_at = memory.calls;
    pthread_barrier_init(&f.all, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) pthread_create(thread + i, NULL, fail_together, &f);
    for (int i = 0; i < THREADS; i++) {
        void *told;
        pthread_join(thread[i], &told);
        own += !strcmp(told, "own");
        lost += !strcmp(told, "lost");
    }
    pthread_barrier_destroy(&f.all);
    ck_assert_int_eq(own, RESERVED);
    ck_assert_int_eq(lost, THREADS - RESERVED);
    memory.fail_at = -1;
    msx_ctx_free(f.ctx);
    ck_assert_int_eq(memory.live, 0);
}
END_TEST

START_TEST(limits_and_threads_are_checked) {
    msx_ctx *ctx = test_ctx();
    ck_assert_int_eq(msx_ctx_limit(ctx, MSX_LIMIT_TENSORS), 65536);
    test_ok(ctx, msx_ctx_set_limit(ctx, MSX_LIMIT_TENSORS, 3));
    ck_assert_int_eq(msx_ctx_limit(ctx, MSX_LIMIT_TENSORS), 3);
    test_fails(ctx, msx_ctx_set_limit(ctx, (msx_limit)99, 3), MSX_E_ARG, "99");
    test_fails(ctx, msx_ctx_set_limit(ctx, MSX_LIMIT_TENSORS, 0), MSX_E_ARG, "outside");
    ck_assert_int_ge(msx_ctx_threads(ctx), 1);
    test_ok(ctx, msx_ctx_set_threads(ctx, 5));
    ck_assert_int_eq(msx_ctx_threads(ctx), 5);
    test_fails(ctx, msx_ctx_set_threads(ctx, -1), MSX_E_ARG, "-1");
    msx__set_thread_share(2);
    ck_assert_int_eq(msx_ctx_threads(ctx), 2);
    msx__set_thread_share(0);
    ck_assert_int_eq(msx_ctx_threads(ctx), 5);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(sizes_are_checked) {
    msx_ctx *ctx = test_ctx();
    ck_assert_ptr_null(msx__alloc(ctx, SIZE_MAX / 2, 4));
    ck_assert_int_eq(msx_ctx_error_status(ctx), MSX_E_NOMEM);
    int64_t p;
    ck_assert(msx__product((int64_t[]){3, 0, 5}, 3, &p) && p == 0);
    ck_assert(msx__product(NULL, 0, &p) && p == 1);
    ck_assert(!msx__product((int64_t[]){INT64_MAX, 2}, 2, &p));
    ck_assert(!msx__product((int64_t[]){-1, 2}, 2, &p));
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(doubles_survive_text) {
    const double values[] = {0, 1, -1, 0.1, 1.0 / 3, 1e-300, 6.02e23, 0.5, 123456789.125};
    char text[32];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        double back;
        msx__format_double(values[i], text);
        ck_assert(msx__parse_double(text, &back));
        ck_assert(back == values[i]);
    }
    msx__format_double(0.1, text);
    ck_assert_str_eq(text, "0.1");
    const char *bad[] = {"", "nan", "0x1", " 1", "1 ", "1,5", "--1", "1e999", "1.2.3"};
    double ignored;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!msx__parse_double(bad[i], &ignored), "'%s'", bad[i]);
}
END_TEST

/* Known answers of the Random123 distribution for philox4x32-10. */
START_TEST(philox_known_answers) {
    uint32_t out[4];
    msx__philox(0, 0, 0, out);
    ck_assert_uint_eq(out[0], 0x6627e8d5u);
    ck_assert_uint_eq(out[1], 0xe169c58du);
    ck_assert_uint_eq(out[2], 0xbc57ac4cu);
    ck_assert_uint_eq(out[3], 0x9b00dbd8u);
    msx__philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    ck_assert_uint_eq(out[0], 0x408f276du);
    ck_assert_uint_eq(out[1], 0x41c83b0eu);
    ck_assert_uint_eq(out[2], 0xa20bc7c6u);
    ck_assert_uint_eq(out[3], 0x6d5451fdu);
}
END_TEST

START_TEST(generator_is_uniform_and_normal) {
    msx_rng r;
    msx__rng_init(&r, 42, 1);
    double sum = 0, square = 0, normal = 0, normal2 = 0;
    enum { N = 100000 };
    int64_t counts[7] = {0};
    for (int i = 0; i < N; i++) {
        double u = msx_rng_uniform(&r), z = msx_rng_normal(&r);
        ck_assert(u >= 0 && u < 1);
        sum += u;
        square += u * u;
        normal += z;
        normal2 += z * z;
        counts[msx_rng_below(&r, 7)]++;
    }
    ck_assert_double_eq_tol(sum / N, 0.5, 0.005);
    ck_assert_double_eq_tol(square / N, 1.0 / 3, 0.005);
    ck_assert_double_eq_tol(normal / N, 0, 0.015);
    ck_assert_double_eq_tol(normal2 / N, 1, 0.02);
    for (int i = 0; i < 7; i++) ck_assert_double_eq_tol((double)counts[i] / N, 1.0 / 7, 0.006);
    ck_assert_uint_eq(msx_rng_below(&r, 1), 0);
}
END_TEST

START_TEST(sha256_known_answer) {
    msx__sha256 h;
    char hex[MSX__SHA256_HEX];
    msx__sha256_begin(&h);
    msx__sha256_add(&h, "abc", 3);
    msx__sha256_hex(&h, hex);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

START_TEST(outputs_appear_when_complete) {
    msx_ctx *ctx = test_ctx();
    const char *folder = test_make_folder();
    char path[128], *data;
    size_t n;
    snprintf(path, sizeof path, "%s/x.bin", folder);
    msx__output o;
    test_ok(ctx, msx__output_open(&o, ctx, path));
    char *big = calloc(1, 200000);
    test_ok(ctx, msx__output_write(&o, "head", 4));
    test_ok(ctx, msx__output_write(&o, big, 200000));
    ck_assert_int_ne(access(path, F_OK), 0);
    test_ok(ctx, msx__output_commit(&o));
    test_ok(ctx, msx__read_whole(ctx, path, 1 << 20, &data, &n));
    ck_assert_uint_eq(n, 200004);
    ck_assert(!memcmp(data, "head", 4));
    msx__free(ctx, data);
    test_fails(ctx, msx__read_whole(ctx, path, 100, &data, &n), MSX_E_LIMIT, "limit of 100");
    test_ok(ctx, msx__output_open(&o, ctx, path));
    msx__output_discard(&o);
    char command[256];
    snprintf(command, sizeof command, "test \"$(ls -A %s)\" = x.bin", folder);
    ck_assert_int_eq(system(command), 0);
    test_fails(ctx, msx__output_open(&o, ctx, folder), MSX_E_IO, "folder");
    test_fails(ctx, msx__output_open(&o, ctx, "/nonexistent/x"), MSX_E_IO, "/nonexistent/x");
    msx__file f;
    test_fails(ctx, msx__file_open(&f, ctx, folder), MSX_E_IO, "folder");
    test_fails(ctx, msx__file_open(&f, ctx, "/dev/null"), MSX_E_IO, "device");
    test_ok(ctx, msx__file_open(&f, ctx, path));
    char byte;
    test_fails(ctx, msx__file_read(&f, 200004, &byte, 1), MSX_E_FORMAT, "truncated");
    test_fails(ctx, msx__file_read(&f, -1, &byte, 1), MSX_E_FORMAT, "truncated");
    msx__file_close(&f);
    free(big);
    test_remove_folder(folder);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(suggestions) {
    const char *names[] = {"linear", "task_arithmetic", NULL, "ties", "slerp"};
    ck_assert_str_eq(msx_closest_name("lineer", names, 5), "linear");
    ck_assert_str_eq(msx_closest_name("TEIS", names, 5), "ties");
    ck_assert_str_eq(msx_closest_name("task", names, 5), "task_arithmetic");
    ck_assert_ptr_null(msx_closest_name("karcher", names, 5));
    ck_assert_ptr_null(msx_closest_name(NULL, names, 5));
    msx_ctx *ctx = test_ctx();
    test_fails(ctx, msx__unknown(ctx, "method", "slurp", names, 5), MSX_E_NOTFOUND, "'slerp'");
    test_fails(ctx, msx__unknown(ctx, "method", "zzz", names, 5), MSX_E_NOTFOUND,
               "linear, task_arithmetic, ties, slerp");
    msx_ctx_free(ctx);
}
END_TEST

static int stop_at_two(const msx_progress *p, void *payload) {
    (void)payload;
    return p->done >= 2;
}

START_TEST(progress_and_cancel) {
    msx_ctx *ctx = test_ctx();
    test_ok(ctx, msx__progress(ctx, "x", 5, 5, NAN));
    msx_ctx_set_progress(ctx, stop_at_two, NULL);
    test_ok(ctx, msx__progress(ctx, "x", 1, 5, NAN));
    test_fails(ctx, msx__progress(ctx, "x", 2, 5, NAN), MSX_E_CANCELLED, "x");
    msx_ctx_cancel(ctx);
    ck_assert(msx_ctx_cancelled(ctx));
    test_fails(ctx, msx__progress(ctx, "x", 1, 5, NAN), MSX_E_CANCELLED, "cancelled");
    msx_ctx_reset_cancel(ctx);
    test_ok(ctx, msx__check_cancel(ctx));
    msx_ctx_free(ctx);
}
END_TEST

static msx_status two_builtins(msx_ctx *ctx) {
    MSX_TRY(msx__registry_add(ctx, MSX__METHODS, "one", "1"));
    return msx__registry_add(ctx, MSX__METHODS, "two", "2");
}

START_TEST(registry_holds_builtins_once) {
    msx_ctx *ctx = test_ctx();
    test_ok(ctx, msx__registry_once(ctx, MSX__METHODS, two_builtins));
    test_ok(ctx, msx__registry_once(ctx, MSX__METHODS, two_builtins));
    ck_assert_int_eq(msx__registry_count(ctx, MSX__METHODS), 2);
    ck_assert_str_eq(msx__registry_find(ctx, MSX__METHODS, "two"), "2");
    ck_assert_ptr_null(msx__registry_find(ctx, MSX__METHODS, "three"));
    ck_assert_ptr_null(msx__registry_at(ctx, MSX__METHODS, 2));
    test_fails(ctx, msx__registry_add(ctx, MSX__METHODS, "one", "x"), MSX_E_EXISTS, "one");
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(memory_failures_are_returned) {
    for (int64_t i = 0; i < 5; i++) {
        test_allocator a;
        test_allocator_init(&a, i, true);
        msx_ctx *ctx;
        if (msx_ctx_create(&ctx, &a.table) < 0) continue;
        msx__buffer b;
        msx__buffer_init(&b, ctx);
        for (int k = 0; k < 100; k++) msx__buffer_printf(&b, "line %d\n", k);
        if (b.failed) ck_assert_int_eq(msx_ctx_error_status(ctx), MSX_E_NOMEM);
        msx__buffer_free(&b);
        msx_ctx_free(ctx);
        ck_assert_int_eq(a.live, 0);
    }
}
END_TEST

START_TEST(versions_agree) {
    ck_assert_int_eq(msx_version(), MSX_VERSION);
    ck_assert_str_eq(msx_version_string(), MSX_VERSION_STRING);
    ck_assert_ptr_nonnull(strstr(msx_build_info(), "zlib"));
    ck_assert_str_eq(msx_status_name(MSX_E_SHAPE), "shapes disagree");
    ck_assert_str_eq(msx_status_name((msx_status)-999), "unknown status");
}
END_TEST

int main(void) {
    Suite *s = suite_create("core");
    TCase *t = tcase_create("core");
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    tcase_add_test(t, error_text_is_one_line_and_kept);
    tcase_add_test(t, each_thread_has_its_own_error);
    tcase_add_test(t, receivers_are_called_one_at_a_time);
    tcase_add_test(t, errors_need_no_memory);
    tcase_add_test(t, limits_and_threads_are_checked);
    tcase_add_test(t, sizes_are_checked);
    tcase_add_test(t, doubles_survive_text);
    tcase_add_test(t, philox_known_answers);
    tcase_add_test(t, generator_is_uniform_and_normal);
    tcase_add_test(t, sha256_known_answer);
    tcase_add_test(t, outputs_appear_when_complete);
    tcase_add_test(t, suggestions);
    tcase_add_test(t, progress_and_cancel);
    tcase_add_test(t, registry_holds_builtins_once);
    tcase_add_test(t, memory_failures_are_returned);
    tcase_add_test(t, versions_agree);
    return test_run(s);
}
