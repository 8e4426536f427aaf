/* SPDX-License-Identifier: Apache-2.0 */
/* Times measured side by side, round by round, and their medians. */
#ifndef MSX_TESTS_ROUNDS_H
#define MSX_TESTS_ROUNDS_H

#include <stdlib.h>
#include <time.h>

enum { MAX_ROUNDS = 64 };

typedef struct series {
    double seconds[MAX_ROUNDS];
    int n;
} series;

static inline double clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void series_add(series *s, double seconds) {
    if (s->n < MAX_ROUNDS) s->seconds[s->n++] = seconds;
}

static inline int series_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double series_median(const series *s) {
    series sorted = *s;
    if (s->n == 0) return 0;
    qsort(sorted.seconds, (size_t)s->n, sizeof *sorted.seconds, series_compare);
    return 0.5 * (sorted.seconds[(s->n - 1) / 2] + sorted.seconds[s->n / 2]);
}

/* Median over the rounds that both have of a / b. */
static inline double series_ratio(const series *a, const series *b) {
    series ratios = {.n = 0};
    for (int i = 0; i < a->n && i < b->n; i++) series_add(&ratios, a->seconds[i] / b->seconds[i]);
    return series_median(&ratios);
}

#endif
