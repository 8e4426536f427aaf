/* SPDX-License-Identifier: Apache-2.0 */
/* The signed-rank test, exact by dynamic programming over rank sums. */
#include "search/wilcoxon.h"

#include <math.h>
#include <stdlib.h>

/* A difference without its sign. Ranks are doubled: means of ranks are halves. */
typedef struct ranked {
    double size;
    int sign; /* -1, 0, 1 */
    int64_t rank2;
} ranked;

static int by_size(const void *a, const void *b) {
    double x = ((const ranked *)a)->size, y = ((const ranked *)b)->size;
    return (x > y) - (x < y);
}

static void rank_all(ranked *r, const double *differences, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double d = isnan(differences[i]) ? 0 : differences[i];
        r[i] = (ranked){.size = fabs(d), .sign = (d > 0) - (d < 0)};
    }
    qsort(r, (size_t)n, sizeof *r, by_size);
    for (int64_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && r[end].size == r[first].size;) end++;
        for (int64_t i = first; i < end; i++) r[i].rank2 = first + 1 + end;
    }
}

/* Share of the sign patterns whose doubled rank sum is at most `observed`: ways[s] is the probability
 * that the differences looked at so far sum to s. */
static double exact(double *ways, const ranked *r, int64_t n, int64_t observed) {
    int64_t most = 0;
    ways[0] = 1;
    for (int64_t i = 0; i < n; i++) {
        if (r[i].sign == 0) continue;
        int64_t rank = r[i].rank2;
        for (int64_t s = most + 1; s <= most + rank; s++) ways[s] = 0;
        most += rank;
        for (int64_t s = most; s >= 0; s--)
            ways[s] = 0.5 * ways[s] + (s >= rank ? 0.5 * ways[s - rank] : 0);
    }
    double p = 0;
    for (int64_t s = 0; s <= observed && s <= most; s++) p += ways[s];
    return p;
}

static double approximate(const ranked *r, int64_t n, int64_t observed) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; i++) {
        if (r[i].sign == 0) continue;
        mean += 0.5 * (double)r[i].rank2;
        variance += 0.25 * (double)r[i].rank2 * (double)r[i].rank2;
    }
    if (variance == 0) return 1;
    return 0.5 * erfc((mean - (double)observed) / sqrt(2 * variance));
}

/* The zeros' halves are the same for every sign pattern, so they cancel out of the comparison: what is
 * split is the ranks that they take from the others. */
msx_status msx__wilcoxon_below(msx_ctx *ctx, const double *differences, int64_t n, double *p) {
    *p = 1;
    if (n < 1) return MSX_OK;
    bool small = n <= MSX__WILCOXON_EXACT;
    ranked *r = msx__alloc(ctx, (size_t)n, sizeof *r);
    double *ways = small ? msx__alloc(ctx, (size_t)(n * (n + 1)) + 1, sizeof *ways) : NULL;
    msx_status status = r && (ways || !small) ? MSX_OK : MSX_E_NOMEM;
    if (status >= 0) {
        int64_t observed = 0;
        rank_all(r, differences, n);
        for (int64_t i = 0; i < n; i++)
            if (r[i].sign > 0) observed += r[i].rank2;
        *p = small ? exact(ways, r, n, observed) : approximate(r, n, observed);
    }
    msx__free(ctx, ways);
    msx__free(ctx, r);
    return status;
}
