/* SPDX-License-Identifier: Apache-2.0 */
/* Costs as the forest sees them, fitting it, and expected improvement. */
#include "optimize/model.h"

#include "optimize/parego.h"
#include "optimize/told.h"

#include <math.h>
#include <stdlib.h>

#define QUANTILE 0.05
#define ROWS     1500 /* trials at most that a forest is fitted to */

static int ascending(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

/* Of sorted values, with linear interpolation. */
static double quantile(const double *sorted, int64_t n, double q) {
    double place = q * (double)(n - 1);
    int64_t i = (int64_t)place;
    if (i + 1 >= n) return sorted[n - 1];
    return sorted[i] + (place - (double)i) * (sorted[i + 1] - sorted[i]);
}

/* `low` and `high` of the encoding; `y` is sorted. */
static void cost_range(const double *y, int64_t n, double gap, double *low, double *high) {
    *high = y[n - 1];
    *low = y[0] - fmax(quantile(y, n, QUANTILE) - y[0], gap * (*high - y[0]));
}

double msx__encode_costs(double *y, int64_t n, double gap, double *sorted) {
    for (int64_t i = 0; i < n; i++) sorted[i] = y[i];
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    double low, high, density = 0;
    cost_range(sorted, n, gap, &low, &high);
    for (int64_t i = 0; i < n; i++) {
        bool apart = high > low;
        density -= apart ? log(y[i] - low) : 0;
        y[i] = apart ? log((y[i] - low) / (high - low)) : 0;
    }
    return density;
}

/* One cost for each told trial; of too many, the lowest and an even share of the others remain. Numbers of
 * the trials go to m->trials, running ones behind. @return how many are told ones. */
static int64_t collect(msx__model *m, const msx__told *t, const double *theta, double *score,
                       int64_t *rows) {
    for (int64_t i = 0; i < t->n; i++)
        score[i] = theta ? msx__parego_scalar(t->costs + i * t->m, t->low, t->high, theta, t->m)
                         : t->costs[i * t->m];
    int64_t told = msx__told_thin(score, t->n, ROWS, rows, m->means);
    for (int64_t i = 0; i < told; i++) {
        m->y[i] = score[rows[i]];
        m->trials[i] = t->trials[rows[i]];
    }
    for (m->n = told; m->n < told + t->running; m->n++)
        m->trials[m->n] = t->trials[t->n + m->n - told];
    return told;
}

static void encode_row(const msx_space *s, const double *x, double *out) {
    for (int64_t k = 0; k < s->n; k++) out[k] = msx__forest_encode(&s->params[k], x[k]);
}

/* Told trials first, then the running ones with what a first forest predicts for them: a fantasy
 * that keeps the next proposal away from where results are on their way. */
static msx_status fit(msx__model *m, const msx_history *h, int64_t told,
                      const msx__model_options *options, uint64_t seed) {
    const int64_t d = m->space->n;
    msx__encode_costs(m->y, told, options->floor_gap, m->means);
    if (!options->fantasies) m->n = told;
    for (int64_t i = 0; i < m->n; i++) encode_row(m->space, h->x[m->trials[i]], m->x + i * d);
    MSX_TRY(msx__forest_train(&m->forest, m->space, m->x, m->y, told, &options->forest, seed));
    double variance;
    for (int64_t i = told; i < m->n; i++)
        msx__forest_predict(&m->forest, m->x + i * d, &m->y[i], &variance);
    if (told < m->n)
        MSX_TRY(msx__forest_train(&m->forest, m->space, m->x, m->y, m->n, &options->forest, seed));
    m->eta = INFINITY;
    for (int64_t i = 0; i < m->n; i++) {
        msx__forest_predict(&m->forest, m->x + i * d, &m->means[i], &variance);
        m->eta = fmin(m->eta, m->means[i]);
    }
    return MSX_OK;
}

static msx_status fit_told(msx__model *m, const msx_history *h, const msx__told *t,
                           const double *theta, const msx__model_options *options, uint64_t seed) {
    if (!t->n) return MSX_DONE_EXHAUSTED;
    const int64_t all = t->n + t->running;
    int64_t rows = (t->n < ROWS ? t->n : ROWS) + t->running, cells;
    if (!msx__mul(rows, h->space->n, &cells)) return msx__nomem(h->ctx, SIZE_MAX);
    m->x = msx__alloc(h->ctx, (size_t)cells, sizeof *m->x);
    m->y = msx__alloc(h->ctx, (size_t)rows, sizeof *m->y);
    m->means = msx__alloc(h->ctx, (size_t)all, sizeof *m->means);
    m->trials = msx__alloc(h->ctx, (size_t)rows, sizeof *m->trials);
    double *score = msx__alloc(h->ctx, (size_t)t->n, sizeof *score);
    int64_t *kept = msx__alloc(h->ctx, (size_t)t->n, sizeof *kept);
    msx_status status = MSX_E_NOMEM;
    if (m->x && m->y && m->means && m->trials && score && kept)
        status = fit(m, h, collect(m, t, theta, score, kept), options, seed);
    msx__free(h->ctx, score);
    msx__free(h->ctx, kept);
    return status;
}

msx_status msx__model_fit(msx__model *m, const msx_history *h, int64_t n, const double *theta,
                          const msx__model_options *options, uint64_t seed) {
    msx__model_free(m);
    *m = (msx__model){.ctx = h->ctx, .space = h->space};
    msx__told t;
    msx_status status = msx__told_init(&t, h, n);
    if (status == MSX_OK) status = fit_told(m, h, &t, theta, options, seed);
    msx__told_free(&t);
    if (status != MSX_OK) msx__model_free(m);
    return status;
}

void msx__model_free(msx__model *m) {
    if (!m->ctx) return;
    msx__forest_free(&m->forest);
    msx__free(m->ctx, m->trials);
    msx__free(m->ctx, m->x);
    msx__free(m->ctx, m->y);
    msx__free(m->ctx, m->means);
    *m = (msx__model){0};
}

/* Normal distribution function; erfc keeps the far left tail exact. */
static double phi(double v) {
    return 0.5 * erfc(-v * M_SQRT1_2);
}

double msx__expected_improvement(double eta, double mean, double variance) {
    double s = sqrt(variance);
    if (!(s > 0)) return 0;
    double v = (eta - mean) / s;
    double ei = exp(eta) * phi(v) - exp(mean + variance / 2) * phi(v - s);
    return ei > 0 ? ei : 0;
}
