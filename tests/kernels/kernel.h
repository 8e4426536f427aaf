/* SPDX-License-Identifier: Apache-2.0 */
/* Testing one op of the CPU backend: a device, random memory, and comparing with float64. */
#ifndef MSX_TESTS_KERNELS_KERNEL_H
#define MSX_TESTS_KERNELS_KERNEL_H

#include "kernels/cpu/cpu.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define K (&msxk_cpu)

/* Sizes that no block, lane or tile divides. */
static const int64_t odd_sizes[] = {0, 1, 3, 17, 33};
enum { ODD_SIZES = 5, MOST_THREADS = 3 };

/* The path of kernels/cpu/paths.h that the running test case is about. */
static int kernel_path;

static inline msx_kdev *kernel_open(int threads) {
    msx_kdev *dev;
    ck_assert_int_eq(K->open(&dev, 0, threads, NULL), MSXK_OK);
    ck_assert_int_eq(msxk_cpu_set_path(dev, kernel_path), MSXK_OK);
    return dev;
}

static inline void kernel_next_path(void) {
    kernel_path++;
}
static inline void kernel_first_path(void) {
    kernel_path = 0;
}

/* A test case of the tests that `add` adds, once for every path that this processor has. */
static inline void kernel_cases(Suite *s, void (*add)(TCase *)) {
    for (int path = 0; path <= msxk_cpu_best_path(); path++) {
        TCase *t = tcase_create(msxk_cpu_path_name(path));
        for (int i = 0; i < path; i++)
            tcase_add_checked_fixture(t, kernel_next_path, kernel_first_path);
        tcase_set_timeout(t, 120);
        add(t);
        suite_add_tcase(s, t);
    }
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

/* Filled with a value that shows when an op leaves something out. */
static inline float *result_floats(int64_t n) {
    float *x = malloc((size_t)n * sizeof *x + 1);
    for (int64_t i = 0; i < n; i++) x[i] = NAN;
    return x;
}

/* Fail unless |got - expected| <= bound * max(1, largest |expected|) everywhere. */
static inline void check_close(const char *what, const float *got, const double *expected,
                               int64_t n, double bound) {
    double largest = 1;
    for (int64_t i = 0; i < n; i++)
        if (fabs(expected[i]) > largest) largest = fabs(expected[i]);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs(got[i] - expected[i]) <= bound * largest,
                      "%s: element %lld of %lld is %.9g, expected %.9g", what, (long long)i,
                      (long long)n, got[i], expected[i]);
}

#endif
