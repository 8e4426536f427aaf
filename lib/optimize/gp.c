/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/gp.h"

#include "core/thread.h"
#include "optimize/matrix.h"

#include <math.h>
#include <string.h>

/* Inverse gamma prior of the factor, which is integrated out: a Student t process (A. Shah, A. Wilson,
 * Z. Ghahramani, AISTATS 2014). Weak, and enough to keep a few trials from being believed too much. */
#define SHAPE 1.0
#define RATE  1.0
/* The logarithm of the noise. Costs are exact; what the covariance cannot explain counts as noise. */
#define NOISE_DEVIATION 3.0
#define MIN_NOISE       1e-7
#define MAX_NOISE       1.0
#define MIN_VARIANCE    1e-12

void msx__gp_encode(const msx_space *s, const double *x, double *out) {
    for (int64_t i = 0; i < s->n; i++)
        out[i] = isnan(x[i]) || s->params[i].kind == MSX_PARAM_CATEGORICAL
                     ? x[i]
                     : msx__space_encode(&s->params[i], x[i]);
}

msx_status msx__gp_init(msx__gp *g, const msx_space *space) {
    *g = (msx__gp){.ctx = space->ctx, .d = space->n};
    g->noise = MSX__GP_NOISE;
    msx_status status = msx__kernel_init(&g->kernel, space);
    if (status < 0) msx__gp_free(g);
    return status;
}

static void forget_data(msx__gp *g) {
    msx__free(g->ctx, g->x);
    msx__free(g->ctx, g->columns);
    msx__free(g->ctx, g->room);
    msx__free(g->ctx, g->inverse);
    msx__free(g->ctx, g->alpha);
    msx__free(g->ctx, g->factor);
    g->x = g->columns = g->room = g->inverse = g->alpha = g->factor = NULL;
    g->n = 0;
}

void msx__gp_free(msx__gp *g) {
    if (!g->ctx) return;
    forget_data(g);
    msx__kernel_free(&g->kernel);
    *g = (msx__gp){0};
}

/* ---- learning -------------------------------------------------------------------------------------- */

typedef struct lesson {
    msx__gp *gp;
    const double *x, *y, *columns;
    int64_t n;
    int m;
    double *l;       /* (n, n) covariance, its factor, the inverse of that */
    double *inverse; /* (n, n) inverse covariance, then the weights of its derivatives */
    double *alpha;   /* (m, n) */
    double *row;     /* (threads, 4 n) */
    double *parts;   /* (chunks of rows, variables) slopes that are added up in that order */
    int threads;
    double *factors; /* (n (n - 1) / 2, families) */
    double prior;    /* minus its logarithm, at the last evaluation */
} lesson;

#define CHUNK      8    /* rows */
#define MIN_VALUES 8000 /* of rows that are learnt from on several threads */

static int64_t chunks_of(int64_t n) {
    return (n + CHUNK - 1) / CHUNK;
}

int msx__gp_threads(const msx__gp *g, int64_t n) {
    return n * g->d < MIN_VALUES ? 1 : msx_ctx_threads(g->ctx);
}

/* The factored inverse covariance of n rows into l; false when it is not positive definite. `factors`: those
 * of the families for each pair of rows, NULL when they are not wanted. `row`: room for 4 n values, for each
 * thread. */
static bool factorise(const msx__gp *g, const double *x, const double *columns, int64_t n,
                      double *l, double *factors, int threads, double *row,
                      double *log_determinant) {
    const int32_t families = msx__kernel_families(&g->kernel);
#pragma omp parallel for num_threads(threads) schedule(dynamic, CHUNK)
    for (int64_t i = n - 1; i >= 0; i--) { /* the longest first */
        double *kept = factors ? factors + i * (i - 1) / 2 * families : NULL;
        const msx__kernel_rows rows = {.n = i, .stride = n, .x = x, .columns = columns};
        msx__kernel_values(&g->kernel, &rows, x + i * g->d, l + i * n, kept,
                           row + msx__thread() * 4 * n);
        for (int64_t j = 0; j < i; j++) l[i * n + j] += MSX__GP_CONSTANT;
        l[i * n + i] = MSX__GP_CONSTANT + 1 + g->noise;
    }
    if (!msx__cholesky(l, n)) return false;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += log(l[i * n + i]);
    *log_determinant = 2 * sum;
    msx__invert_lower(l, n, row);
    return true;
}

/* alpha = inverse^T inverse y; @return y . alpha. */
static double solve(const double *inverse, int64_t n, const double *y, double *alpha, double *row) {
    msx__lower_times(inverse, n, y, row);
    msx__lower_transposed_times(inverse, n, row, alpha);
    return msx__dot(row, row, n);
}

/* Minus the logarithm of evidence times prior. The last variable is the logarithm of the noise. */
static double improbability(void *payload, const double *theta, double *gradient) {
    lesson *s = payload;
    msx__gp *g = s->gp;
    msx__kernel *k = &g->kernel;
    const int64_t n = s->n, d = g->d;
    const int32_t last = k->n_theta, families = msx__kernel_families(k);
    double determinant;
    msx__kernel_set(k, theta);
    g->noise = exp(theta[last]);
    if (!factorise(g, s->x, s->columns, n, s->l, s->factors, s->threads, s->row, &determinant))
        return INFINITY;
    msx__gram_of_lower(s->l, n, s->inverse);
    double value = 0.5 * s->m * determinant;
    for (int64_t i = 0; i < n * n; i++) s->inverse[i] *= -s->m;
    for (int t = 0; t < s->m; t++) {
        double *alpha = s->alpha + t * n;
        double fit = solve(s->l, n, s->y + t * n, alpha, s->row);
        value += (SHAPE + 0.5 * (double)n) * log(RATE + 0.5 * fit);
        double weight = (SHAPE + 0.5 * (double)n) / (RATE + 0.5 * fit);
        for (int64_t i = 0; i < n; i++)
            msx__axpy(s->inverse + i * n, weight * alpha[i], alpha, i + 1);
    }
    const int64_t variables = last + 1, chunks = chunks_of(n);
    memset(s->parts, 0, (size_t)(chunks * variables) * sizeof *s->parts);
#pragma omp parallel for num_threads(s->threads) schedule(dynamic)
    for (int64_t c = chunks - 1; c >= 0; c--) {
        double *part = s->parts + c * variables;
        for (int64_t i = c * CHUNK; i < n && i < (c + 1) * CHUNK; i++) {
            for (int64_t j = 0; j < i; j++)
                msx__kernel_learn(k, s->x + i * d, s->x + j * d, -s->inverse[i * n + j],
                                  s->factors + (i * (i - 1) / 2 + j) * families, part);
            part[last] -= 0.5 * g->noise * s->inverse[i * n + i];
        }
    }
    memset(gradient, 0, (size_t)variables * sizeof *gradient);
    for (int64_t c = 0; c < chunks; c++)
        msx__axpy(gradient, 1, s->parts + c * variables, variables);
    s->prior = 0;
    for (int32_t i = 0; i <= last; i++) {
        double mean = i < last ? k->prior_mean[i] : log(MSX__GP_NOISE);
        double deviation = i < last ? k->prior_deviation[i] : NOISE_DEVIATION;
        double away = (theta[i] - mean) / deviation;
        s->prior += 0.5 * away * away;
        gradient[i] += away / deviation;
    }
    return value + s->prior;
}

msx_status msx__gp_learn(msx__gp *g, const double *x, const double *y, int64_t n, int m,
                         int evaluations, double *evidence) {
    msx_ctx *ctx = g->ctx;
    const int32_t variables = g->kernel.n_theta + 1;
    const size_t rows = (size_t)n;
    lesson s = {.gp = g, .x = x, .y = y, .n = n, .m = m, .threads = msx__gp_threads(g, n)};
    msx__minimiser minimiser;
    MSX_TRY(msx__minimiser_init(&minimiser, ctx, variables));
    s.l = msx__alloc(ctx, rows * rows, sizeof *s.l);
    s.inverse = msx__alloc(ctx, rows * rows, sizeof *s.inverse);
    s.alpha = msx__alloc(ctx, rows * (size_t)m, sizeof *s.alpha);
    s.row = msx__alloc(ctx, 4 * rows * (size_t)s.threads, sizeof *s.row);
    s.parts = msx__alloc(ctx, (size_t)chunks_of(n) * (size_t)variables, sizeof *s.parts);
    double *columns = msx__alloc(ctx, rows * (size_t)g->d, sizeof *columns);
    s.columns = columns;
    const size_t families = (size_t)msx__kernel_families(&g->kernel);
    s.factors = msx__alloc(ctx, rows * (rows - 1) / 2 * families, sizeof *s.factors);
    double *theta = msx__alloc(ctx, (size_t)variables * 3, sizeof *theta);
    msx_status status =
        s.l && s.inverse && s.alpha && s.row && s.parts && columns && s.factors && theta
            ? MSX_OK
            : MSX_E_NOMEM;
    if (status == MSX_OK) {
        double *lower = theta + variables, *upper = lower + variables;
        msx__kernel_columns(x, n, g->d, columns);
        for (int32_t i = 0; i + 1 < variables; i++) {
            theta[i] = g->kernel.theta[i];
            lower[i] = g->kernel.lower[i];
            upper[i] = g->kernel.upper[i];
        }
        theta[variables - 1] = log(g->noise);
        lower[variables - 1] = log(MIN_NOISE);
        upper[variables - 1] = log(MAX_NOISE);
        double value = msx__minimise(&minimiser, improbability, &s, theta, lower, upper, variables,
                                     evaluations, 1);
        *evidence = -value;
        msx__kernel_set(&g->kernel, theta);
        g->noise = exp(theta[variables - 1]);
    }
    msx__free(ctx, s.l);
    msx__free(ctx, s.inverse);
    msx__free(ctx, s.alpha);
    msx__free(ctx, s.row);
    msx__free(ctx, s.parts);
    msx__free(ctx, columns);
    msx__free(ctx, s.factors);
    msx__free(ctx, theta);
    msx__minimiser_free(&minimiser);
    return status;
}

/* ---- predicting ------------------------------------------------------------------------------------ */

msx_status msx__gp_condition(msx__gp *g, const double *x, const double *y, int64_t n, int m) {
    msx_ctx *ctx = g->ctx;
    const size_t rows = (size_t)n;
    forget_data(g);
    g->x = msx__alloc(ctx, rows * (size_t)g->d, sizeof *g->x);
    g->columns = msx__alloc(ctx, rows * (size_t)g->d, sizeof *g->columns);
    const int threads = msx__gp_threads(g, n);
    g->room = msx__alloc(ctx, 4 * rows * (size_t)threads, sizeof *g->room);
    g->inverse = msx__alloc(ctx, rows * rows, sizeof *g->inverse);
    g->alpha = msx__alloc(ctx, rows * (size_t)m, sizeof *g->alpha);
    g->factor = msx__alloc(ctx, (size_t)m, sizeof *g->factor);
    double determinant;
    msx_status status =
        g->x && g->columns && g->room && g->inverse && g->alpha && g->factor ? MSX_OK : MSX_E_NOMEM;
    if (status == MSX_OK) {
        g->n = n;
        g->m = m;
        memcpy(g->x, x, rows * (size_t)g->d * sizeof *x);
        msx__kernel_columns(x, n, g->d, g->columns);
        /* Rows that all but coincide: more noise until it can be factored. */
        const double noise = g->noise;
        while (!factorise(g, g->x, g->columns, n, g->inverse, NULL, threads, g->room, &determinant))
            g->noise *= 10;
        g->noise = noise;
        for (int t = 0; t < m; t++) {
            double fit = solve(g->inverse, n, y + t * n, g->alpha + t * n, g->room);
            g->factor[t] = (RATE + 0.5 * fit) / (SHAPE + 0.5 * (double)n);
        }
    } else {
        forget_data(g);
    }
    return status;
}

void msx__gp_covariances(const msx__gp *g, const double *place, double *k) {
    const msx__kernel_rows rows = msx__gp_rows(g);
    msx__kernel_values(&g->kernel, &rows, place, k, NULL, g->room);
    for (int64_t i = 0; i < g->n; i++) k[i] += MSX__GP_CONSTANT;
}

void msx__gp_means(const msx__gp *g, const double *k, double *means) {
    for (int t = 0; t < g->m; t++) means[t] = msx__dot(g->alpha + t * g->n, k, g->n);
}

void msx__gp_posterior(const msx__gp *g, const double *k, double *means, double *variance,
                       double *v) {
    msx__gp_means(g, k, means);
    msx__lower_times(g->inverse, g->n, k, v);
    *variance = fmax(MSX__GP_CONSTANT + 1 - msx__dot(v, v, g->n), MIN_VARIANCE);
}

/* y - alpha / diagonal of the inverse covariance (Rasmussen and Williams, 5.12). */
msx_status msx__gp_leave_one_out(const msx__gp *g, const double *y, int t, double *out) {
    const int64_t n = g->n;
    for (int64_t i = 0; i < n; i++) {
        double diagonal = 0;
        for (int64_t k = i; k < n; k++) diagonal += g->inverse[k * n + i] * g->inverse[k * n + i];
        out[i] = y[i] - g->alpha[t * n + i] / diagonal;
    }
    return MSX_OK;
}
