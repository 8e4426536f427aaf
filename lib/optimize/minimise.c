/* SPDX-License-Identifier: Apache-2.0 */
/* L-BFGS (J. Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35, 1980). A
 * variable on a bound that the gradient pushes against is left out of the step; steps are cut off at the
 * box and backtracked until they descend (L. Armijo, 1966). */
#include "optimize/minimise.h"

#include "optimize/matrix.h"

#include <math.h>
#include <string.h>

#define PAIRS        6    /* of steps and gradient differences that are remembered */
#define SUFFICIENT   1e-4 /* share of the promised descent that must be kept */
#define CURVATURE    1e-10
#define MIN_PROGRESS 1e-9 /* relative; less ends it */

msx_status msx__minimiser_init(msx__minimiser *m, msx_ctx *ctx, int64_t capacity) {
    *m = (msx__minimiser){.ctx = ctx, .capacity = capacity};
    m->memory = msx__alloc(ctx, (size_t)capacity * (2 * PAIRS + 4), sizeof *m->memory);
    return m->memory ? MSX_OK : MSX_E_NOMEM;
}

void msx__minimiser_free(msx__minimiser *m) {
    if (m->ctx) msx__free(m->ctx, m->memory);
    *m = (msx__minimiser){0};
}

typedef struct state {
    int64_t n;
    double *gradient, *direction, *next, *next_gradient;
    double *s, *y; /* (PAIRS, n) rings */
    double rho[PAIRS];
    int count, newest;
} state;

/* direction = -H gradient over the free variables. */
static void choose_direction(state *b, const double *x, const double *lower, const double *upper) {
    const int64_t n = b->n;
    double *d = b->direction, factor[PAIRS];
    for (int64_t i = 0; i < n; i++) d[i] = -b->gradient[i];
    for (int k = 0; k < b->count; k++) {
        int p = (b->newest + PAIRS - k) % PAIRS;
        factor[p] = b->rho[p] * msx__dot(b->s + p * n, d, n);
        msx__axpy(d, -factor[p], b->y + p * n, n);
    }
    if (b->count) {
        const double *y = b->y + b->newest * n;
        double scale = 1 / (b->rho[b->newest] * msx__dot(y, y, n));
        for (int64_t i = 0; i < n; i++) d[i] *= scale;
    }
    for (int k = b->count - 1; k >= 0; k--) {
        int p = (b->newest + PAIRS - k) % PAIRS;
        msx__axpy(d, factor[p] - b->rho[p] * msx__dot(b->y + p * n, d, n), b->s + p * n, n);
    }
    for (int64_t i = 0; i < n; i++)
        if ((x[i] <= lower[i] && d[i] < 0) || (x[i] >= upper[i] && d[i] > 0)) d[i] = 0;
}

static void remember(state *b, const double *x) {
    const int64_t n = b->n;
    int p = b->count ? (b->newest + 1) % PAIRS : 0;
    double *s = b->s + p * n, *y = b->y + p * n;
    for (int64_t i = 0; i < n; i++) {
        s[i] = b->next[i] - x[i];
        y[i] = b->next_gradient[i] - b->gradient[i];
    }
    double sy = msx__dot(s, y, n);
    if (!(sy > CURVATURE * msx__dot(y, y, n))) return;
    b->rho[p] = 1 / sy;
    b->newest = p;
    if (b->count < PAIRS) b->count++;
}

double msx__minimise(msx__minimiser *m, msx__smooth_fn f, void *payload, double *x,
                     const double *lower, const double *upper, int64_t n, int evaluations,
                     double first) {
    double *p = m->memory;
    state b = {.n = n,
               .gradient = p,
               .direction = p + n,
               .next = p + 2 * n,
               .next_gradient = p + 3 * n,
               .s = p + 4 * n,
               .y = p + (4 + PAIRS) * n};
    double value = f(payload, x, b.gradient);
    if (!isfinite(value)) return value;
    for (int used = 1; used < evaluations;) {
        choose_direction(&b, x, lower, upper);
        double slope = msx__dot(b.direction, b.gradient, n);
        if (!(slope < 0)) {
            if (!b.count) break; /* no descent but along the bounds */
            b.count = 0;
            continue;
        }
        double step = 1, reached = INFINITY;
        if (!b.count) step = first / sqrt(msx__dot(b.direction, b.direction, n));
        bool found = false;
        while (used < evaluations && !found) {
            double descent = 0;
            for (int64_t i = 0; i < n; i++) {
                b.next[i] = fmin(fmax(x[i] + step * b.direction[i], lower[i]), upper[i]);
                descent += b.gradient[i] * (b.next[i] - x[i]);
            }
            reached = f(payload, b.next, b.next_gradient);
            used++;
            found = isfinite(reached) && reached <= value + SUFFICIENT * descent;
            if (!found) step *= 0.25;
            if (step < 1e-12) break;
        }
        if (!found) {
            if (!b.count || used >= evaluations) break;
            b.count = 0; /* once more, along the gradient */
            continue;
        }
        remember(&b, x);
        double progress = value - reached;
        value = reached;
        memcpy(x, b.next, (size_t)n * sizeof *x);
        double *swap = b.gradient;
        b.gradient = b.next_gradient;
        b.next_gradient = swap;
        if (progress <= MIN_PROGRESS * (1 + fabs(value))) break;
    }
    return value;
}
