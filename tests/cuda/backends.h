/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparing the CUDA backend with the CPU's, op by op. The plug-in is the one that lies beside the test:
 * the emulated one of tests/cuda_on_cpu in `make test`, the real one in `make check-gpu`.
 */
#ifndef MSX_TESTS_CUDA_BACKENDS_H
#define MSX_TESTS_CUDA_BACKENDS_H

#include "model/device.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sizes that no block, warp or vector divides. */
static const int64_t odd_sizes[] = {0, 1, 3, 17, 33};
enum { ODD_SIZES = 5 };

/* One CPU and one CUDA device, at one precision. */
typedef struct backends {
    msx_ctx *ctx;
    msx_device *cpu, *cuda;
} backends;

static inline backends backends_open(msx_precision precision) {
    backends b = {.ctx = test_ctx()};
    test_ok(b.ctx, msx_device_open(&b.cpu, b.ctx, "cpu"));
    test_ok(b.ctx, msx_device_open(&b.cuda, b.ctx, "cuda:0"));
    test_ok(b.ctx, msx_device_set_precision(b.cuda, precision));
    if (precision == MSX_PRECISION_BF16) test_ok(b.ctx, msx_device_set_precision(b.cpu, precision));
    return b;
}

static inline void backends_close(backends *b) {
    msx_device_free(b->cpu);
    msx_device_free(b->cuda);
    msx_ctx_free(b->ctx);
}

/* Call an op of a device; the test fails when the op does. */
#define RUN(device, op, ...)                                                                       \
    ck_assert_msg((device)->k->op((device)->dev, __VA_ARGS__) == MSXK_OK, #op ": %s",              \
                  (device)->k->error((device)->dev))

/* Memory of a device with `bytes` of `host`, or uninitialised for NULL. */
static inline void *to_device(msx_device *d, const void *host, size_t bytes) {
    void *there;
    RUN(d, alloc, &there, bytes);
    if (host) RUN(d, upload, there, host, bytes);
    return there;
}

static inline float *floats_on(msx_device *d, const float *host, int64_t n) {
    return to_device(d, host, (size_t)n * sizeof *host);
}

/* A result of a device in host memory, freed with free; the device's memory is released. */
static inline void *take(msx_device *d, void *there, size_t bytes) {
    void *host = malloc(bytes + 1);
    RUN(d, download, host, there, bytes);
    d->k->release(d->dev, there);
    return host;
}

static inline float *take_floats(msx_device *d, float *there, int64_t n) {
    return take(d, there, (size_t)n * sizeof *there);
}

/* Values in -1..1, from a generator of its own; `seed` makes buffers different. Freed with free. */
static inline float *random_floats(int64_t n, uint32_t seed) {
    float *x = malloc((size_t)n * sizeof *x + 1);
    uint32_t state = seed * 2654435761u + 12345u;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    return x;
}

/* Fail unless |got - expected| <= bound * max(1, largest |expected|) everywhere. */
static inline void check_close(const char *what, const float *got, const float *expected, int64_t n,
                               double bound) {
    double largest = 1;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)expected[i]));
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - expected[i]) <= bound * largest,
                      "%s: element %lld of %lld is %g, expected %g", what, (long long)i,
                      (long long)n, (double)got[i], (double)expected[i]);
}

/* Fail unless the results are the same, bit by bit. */
static inline void check_same(const char *what, const float *got, const float *expected,
                              int64_t n) {
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(memcmp(got + i, expected + i, sizeof *got) == 0,
                      "%s: element %lld of %lld is %a, expected %a", what, (long long)i,
                      (long long)n, (double)got[i], (double)expected[i]);
}

/* ---- low formats ---------------------------------------------------------------------------------- */

static inline float low_value(msx_precision p, msxk_low x) {
    int mantissa = p == MSX_PRECISION_FP16 ? 10 : 7, bias = p == MSX_PRECISION_FP16 ? 15 : 127;
    int field = (x & 0x7fff) >> mantissa, fraction = x & ((1 << mantissa) - 1);
    double value = field ? ldexp((1 << mantissa) + fraction, field - bias - mantissa)
                         : ldexp(fraction, 1 - bias - mantissa);
    if (field == 2 * bias + 1) value = fraction ? (double)NAN : (double)INFINITY;
    return (float)(x >> 15 ? -value : value);
}

static inline float *low_values(msx_precision p, const msxk_low *x, int64_t n) {
    float *values = malloc((size_t)n * sizeof *values + 1);
    for (int64_t i = 0; i < n; i++) values[i] = low_value(p, x[i]);
    return values;
}

/* One unit of a format's last place, for values near 1. */
static inline double low_unit(msx_precision p) {
    return p == MSX_PRECISION_FP16 ? 1.0 / 1024 : p == MSX_PRECISION_BF16 ? 1.0 / 128 : 1e-6;
}

/* 0 where the plug-in beside the test has a device to run on. */
static inline int test_cuda_probe(void) {
    msx_ctx *ctx;
    msx_device *d;
    if (msx_ctx_create(&ctx, NULL) < 0) return 1;
    int status = msx_device_open(&d, ctx, "cuda:0") < 0 ? 77 : 0;
    if (status)
        printf("%s\n", msx_ctx_error(ctx));
    else
        msx_device_free(d);
    msx_ctx_free(ctx);
    return status;
}

/* Skip with 77 where there is no device. A process asks that is a child as those of the tests will be: CUDA
 * does not work in the child of a process that has used it. */
static inline int test_cuda_run(Suite *s) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int status = test_cuda_probe();
        fflush(NULL);
        _exit(status);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) status = 1 << 8;
    if (!WEXITSTATUS(status)) return test_run(s);
    srunner_free(srunner_create(s));
    return WEXITSTATUS(status);
}

#endif
