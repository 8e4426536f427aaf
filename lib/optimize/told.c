/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/told.h"

#include "optimize/fronts.h"

#include <math.h>
#include <stdlib.h>

#define FRONT_ROWS  1000 /* of more trials, only so many are compared with each other */
#define FRONT_SHARE 0.01 /* of the whole range: less is no range */

msx_status msx__told_init(msx__told *t, const msx_history *h, int64_t limit) {
    const int m = h->n_objectives;
    int64_t cells;
    *t = (msx__told){.ctx = h->ctx, .m = m};
    if (!msx__mul(limit + 2, m, &cells)) return msx__nomem(h->ctx, SIZE_MAX);
    t->trials = msx__alloc(h->ctx, (size_t)limit, sizeof *t->trials);
    t->costs = msx__alloc(h->ctx, (size_t)cells, sizeof *t->costs);
    if (!t->trials || !t->costs) {
        msx__told_free(t);
        return MSX_E_NOMEM;
    }
    t->low = t->costs + limit * m;
    t->high = t->low + m;
    for (int64_t i = 0; i < limit; i++)
        if (h->costs[i]) t->trials[t->n++] = i;
    for (int64_t i = 0; i < limit; i++)
        if (!h->costs[i]) t->trials[t->n + t->running++] = i;
    msx__told_first(t, h, t->n);
    return MSX_OK;
}

void msx__told_free(msx__told *t) {
    if (!t->ctx) return;
    msx__free(t->ctx, t->trials);
    msx__free(t->ctx, t->costs);
    *t = (msx__told){0};
}

void msx__told_first(msx__told *t, const msx_history *h, int64_t n) {
    const int m = t->m;
    bool any = false;
    for (int k = 0; k < m; k++) t->low[k] = t->high[k] = 0;
    for (int64_t i = 0; i < n; i++) {
        if (h->failed[t->trials[i]]) continue;
        const double *costs = h->costs[t->trials[i]];
        for (int k = 0; k < m; k++) {
            t->low[k] = any ? fmin(t->low[k], costs[k]) : costs[k];
            t->high[k] = any ? fmax(t->high[k], costs[k]) : costs[k];
        }
        any = true;
    }
    for (int64_t i = 0; i < n; i++) {
        const double *costs = h->failed[t->trials[i]] ? t->high : h->costs[t->trials[i]];
        for (int k = 0; k < m; k++) t->costs[i * m + k] = costs[k];
    }
}

void msx__told_add_up(const msx__told *t, int64_t n, double *score) {
    for (int64_t i = 0; i < n; i++) {
        score[i] = 0;
        for (int k = 0; k < t->m; k++) {
            double range = t->high[k] - t->low[k];
            score[i] += range > 0 ? (t->costs[i * t->m + k] - t->low[k]) / range : 0;
        }
    }
}

msx_status msx__told_front(const msx__told *t, double *low, double *high) {
    const int m = t->m;
    double *score = msx__alloc(t->ctx, (size_t)t->n, 2 * sizeof *score);
    int64_t *rows = msx__alloc(t->ctx, (size_t)t->n, sizeof *rows);
    if (!score || !rows) {
        msx__free(t->ctx, score);
        msx__free(t->ctx, rows);
        return MSX_E_NOMEM;
    }
    msx__told_add_up(t, t->n, score);
    const int64_t n = msx__told_thin(score, t->n, FRONT_ROWS, rows, score + t->n);
    for (int k = 0; k < m; k++) {
        low[k] = INFINITY;
        high[k] = -INFINITY;
    }
    for (int64_t i = 0; i < n; i++) {
        const double *costs = t->costs + rows[i] * m;
        bool dominated = false;
        for (int64_t j = 0; j < n && !dominated; j++)
            dominated = msx__dominates(t->costs + rows[j] * m, costs, m);
        for (int k = 0; !dominated && k < m; k++) {
            low[k] = fmin(low[k], costs[k]);
            high[k] = fmax(high[k], costs[k]);
        }
    }
    for (int k = 0; k < m; k++) {
        if (high[k] - low[k] > FRONT_SHARE * (t->high[k] - t->low[k])) continue;
        low[k] = t->low[k];
        high[k] = t->high[k];
    }
    msx__free(t->ctx, score);
    msx__free(t->ctx, rows);
    return MSX_OK;
}

static int ascending(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

int64_t msx__told_thin(const double *score, int64_t n, int64_t keep, int64_t *rows,
                       double *scratch) {
    int64_t count = 0;
    if (n <= keep) {
        for (; count < n; count++) rows[count] = count;
        return n;
    }
    for (int64_t i = 0; i < n; i++) scratch[i] = score[i];
    qsort(scratch, (size_t)n, sizeof *scratch, ascending);
    const int64_t best = keep / 2, others = n - best;
    double limit = scratch[best];
    int64_t below = 0, passed = 0;
    for (int64_t i = 0; i < n && count < keep; i++) {
        if (below < best && score[i] < limit) {
            rows[count++] = i;
            below++;
            continue;
        }
        /* Every (others / (keep - best))-th of the rest. */
        if (passed * (keep - best) / others != (passed + 1) * (keep - best) / others)
            rows[count++] = i;
        passed++;
    }
    return count;
}
