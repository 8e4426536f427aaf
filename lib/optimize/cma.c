/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers: N. Hansen, "The CMA evolution strategy: a tutorial", arXiv 1604.00772; a diagonal covariance
 * for many of them: R. Ros, N. Hansen, "A simple modification in CMA-ES achieving linear time and space
 * complexity", PPSN 2008. Choices: R. Hamano, S. Saito, M. Nomura, K. Uchida, S. Shirakawa, "CatCMA:
 * stochastic optimization for mixed-category problems", GECCO 2024, whose frequencies follow the natural
 * gradient with the adaptive steps of Y. Akimoto et al., ICML 2019, and keep a margin. */
#include "optimize/cma.h"

#include "optimize/matrix.h"

#include <math.h>
#include <string.h>

#define FULL_LIMIT 40  /* numbers; more learn a diagonal */
#define DRAWS      20  /* of a number inside the bounds, before it is clipped */
#define ALPHA      1.5 /* of the adaptive steps */
#define MARGIN     0.73
#define SMALL      1e-7 /* of the range: deviations below it have converged */
#define FARTHEST   3.0 /* longest step that a foreign configuration may teach, in expected lengths */
#define STALE      30  /* generations */

static bool is_number(const msx__param *p) {
    return p->kind != MSX_PARAM_CATEGORICAL && msx__space_values(p) > 1;
}

static void start(msx__cma *c, double sigma, msx_rng *rng) {
    const int64_t n = c->n, cells = c->full ? n * n : n;
    c->sigma = sigma;
    c->step = 1;
    c->path = 0;
    memset(c->p_sigma, 0, (size_t)n * sizeof *c->p_sigma);
    memset(c->p_c, 0, (size_t)n * sizeof *c->p_c);
    memset(c->covariance, 0, (size_t)cells * sizeof *c->covariance);
    memset(c->basis, 0, (size_t)cells * sizeof *c->basis);
    for (int64_t k = 0; k < n; k++) {
        const msx__param *p = &c->space->params[c->dims[k]];
        c->mean[k] = rng ? msx_rng_uniform(rng) : msx__space_encode(p, p->initial);
        c->scale[k] = 1;
        c->covariance[c->full ? k * n + k : k] = 1;
        if (c->full) c->basis[k * n + k] = 1;
    }
    for (int64_t i = 0; i < c->space->n; i++)
        for (int64_t v = 0; c->offset[i] >= 0 && v < c->space->params[i].n_choices; v++) {
            c->frequency[c->offset[i] + v] = 1.0 / (double)c->space->params[i].n_choices;
            c->shift[c->offset[i] + v] = 0;
        }
}

msx_status msx__cma_init(msx__cma *c, const msx_space *space, int64_t population, double sigma,
                         msx_rng *rng) {
    msx_ctx *ctx = space->ctx;
    const size_t d = (size_t)space->n;
    int64_t values = 0;
    *c = (msx__cma){.ctx = ctx, .space = space, .best = INFINITY};
    c->dims = msx__alloc(ctx, d, sizeof *c->dims);
    c->offset = msx__alloc(ctx, d, sizeof *c->offset);
    if (!c->dims || !c->offset) {
        msx__cma_free(c);
        return MSX_E_NOMEM;
    }
    for (int64_t i = 0; i < space->n; i++) {
        const msx__param *p = &space->params[i];
        c->offset[i] = -1;
        if (is_number(p)) c->dims[c->n++] = (int32_t)i;
        if (p->kind != MSX_PARAM_CATEGORICAL) continue;
        c->offset[i] = values;
        values += p->n_choices;
        c->n_choices += p->n_choices > 1;
        c->n_free += p->n_choices - 1;
    }
    c->full = c->n <= FULL_LIMIT;
    const double free_ones = (double)(c->n + c->n_choices);
    c->population = population ? population : 4 + (int64_t)(3 * log(fmax(free_ones, 1)));
    const size_t n = (size_t)c->n, cells = c->full ? n * n : n;
    c->mean = msx__alloc(ctx, 4 * n, sizeof *c->mean);
    c->covariance = msx__alloc(ctx, 2 * cells, sizeof *c->covariance);
    c->frequency = msx__alloc(ctx, 2 * (size_t)values, sizeof *c->frequency);
    c->work = msx__alloc(ctx, 4 * n + cells + (size_t)values, sizeof *c->work);
    if (!c->mean || !c->covariance || !c->frequency || !c->work) {
        msx__cma_free(c);
        return MSX_E_NOMEM;
    }
    c->p_sigma = c->mean + n;
    c->p_c = c->p_sigma + n;
    c->scale = c->p_c + n;
    c->basis = c->covariance + cells;
    c->shift = c->frequency + values;
    start(c, sigma, rng);
    return MSX_OK;
}

void msx__cma_free(msx__cma *c) {
    if (!c->ctx) return;
    msx__free(c->ctx, c->dims);
    msx__free(c->ctx, c->offset);
    msx__free(c->ctx, c->mean);
    msx__free(c->ctx, c->covariance);
    msx__free(c->ctx, c->frequency);
    msx__free(c->ctx, c->work);
    *c = (msx__cma){0};
}

/* ---- drawing --------------------------------------------------------------------------------------- */

/* out = basis^T (scale z): from independent to correlated. */
static void correlate(const msx__cma *c, const double *z, double *out) {
    const int64_t n = c->n;
    if (!c->full) {
        for (int64_t k = 0; k < n; k++) out[k] = c->scale[k] * z[k];
        return;
    }
    memset(out, 0, (size_t)n * sizeof *out);
    for (int64_t k = 0; k < n; k++) msx__axpy(out, c->scale[k] * z[k], c->basis + k * n, n);
}

static bool inside(const msx__cma *c, const double *y) {
    for (int64_t k = 0; k < c->n; k++) {
        double u = c->mean[k] + c->sigma * y[k];
        if (u < 0 || u > 1) return false;
    }
    return true;
}

static double draw_choice(const msx__cma *c, int64_t i, msx_rng *rng) {
    const double *q = c->frequency + c->offset[i];
    double u = msx_rng_uniform(rng);
    int64_t v = 0;
    while (v + 1 < c->space->params[i].n_choices && u >= q[v]) u -= q[v++];
    return (double)v;
}

/* A step inside the bounds: as a whole, or each number for itself where they are independent. */
static void draw_step(const msx__cma *c, msx_rng *rng, double *z, double *y) {
    if (c->full) {
        for (int attempt = 0; attempt < DRAWS; attempt++) {
            for (int64_t k = 0; k < c->n; k++) z[k] = msx_rng_normal(rng);
            correlate(c, z, y);
            if (inside(c, y)) return;
        }
        return;
    }
    for (int64_t k = 0; k < c->n; k++)
        for (int attempt = 0; attempt < DRAWS; attempt++) {
            y[k] = c->scale[k] * msx_rng_normal(rng);
            double u = c->mean[k] + c->sigma * y[k];
            if (u >= 0 && u <= 1) break;
        }
}

void msx__cma_draw(const msx__cma *c, msx_rng *rng, double *x) {
    const msx_space *s = c->space;
    double *z = c->work, *y = z + c->n;
    draw_step(c, rng, z, y);
    for (int64_t i = 0, k = 0; i < s->n; i++) {
        const msx__param *p = &s->params[i];
        bool number = k < c->n && c->dims[k] == i;
        double u = number ? c->mean[k] + c->sigma * y[k] : 0;
        k += number;
        if (!msx__space_active(s, x, i))
            x[i] = NAN;
        else if (p->kind == MSX_PARAM_CATEGORICAL)
            x[i] = draw_choice(c, i, rng);
        else
            x[i] = number ? msx__space_decode(p, fmin(fmax(u, 0), 1)) : p->lower;
    }
}

/* ---- learning -------------------------------------------------------------------------------------- */

typedef struct rates {
    int64_t parents;
    double mass; /* variance effective selection mass */
    double sum;  /* of the raw weights */
    double c_sigma, d_sigma, c_c, c_1, c_mu, expected;
} rates;

/* Tutorial, table 1, with positive weights only. */
static rates rates_of(const msx__cma *c) {
    const double n = (double)(c->n ? c->n : 1);
    rates r = {.parents = c->population / 2};
    double squares = 0;
    for (int64_t i = 0; i < r.parents; i++) {
        double w = log(((double)c->population + 1) / 2) - log((double)(i + 1));
        r.sum += w;
        squares += w * w;
    }
    r.mass = r.sum * r.sum / squares;
    r.c_sigma = (r.mass + 2) / (n + r.mass + 5);
    r.d_sigma = 1 + 2 * fmax(0, sqrt((r.mass - 1) / (n + 1)) - 1) + r.c_sigma;
    r.c_c = (4 + r.mass / n) / (n + 4 + 2 * r.mass / n);
    r.c_1 = 2 / ((n + 1.3) * (n + 1.3) + r.mass);
    r.c_mu = fmin(1 - r.c_1, 2 * (r.mass - 2 + 1 / r.mass) / ((n + 2) * (n + 2) + r.mass));
    if (!c->full) {
        double faster = (n + 2) / 3;
        r.c_1 = fmin(1, r.c_1 * faster);
        r.c_mu = fmin(1 - r.c_1, r.c_mu * faster);
    }
    r.expected = sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
    return r;
}

static double weight_of(const msx__cma *c, const rates *r, int64_t i) {
    return (log(((double)c->population + 1) / 2) - log((double)(i + 1))) / r->sum;
}

/* The step (x - mean) / sigma of a configuration, shortened when it is longer than a draw would be (N. Hansen,
 * "Injecting external solutions into CMA-ES", 2011): the caller's first trials are no draws. */
static void step_of(const msx__cma *c, const rates *r, const double *x, msx_rng *rng, double *z,
                    double *y) {
    const int64_t n = c->n;
    for (int64_t k = 0; k < n; k++) z[k] = msx_rng_normal(rng);
    correlate(c, z, y);
    for (int64_t k = 0; k < n; k++) {
        double value = x[c->dims[k]];
        if (isnan(value)) continue; /* inactive: stays the draw it is */
        y[k] = (msx__space_encode(&c->space->params[c->dims[k]], value) - c->mean[k]) / c->sigma;
    }
    double square = 0;
    for (int64_t k = 0; k < n; k++) {
        double along = c->full ? msx__dot(c->basis + k * n, y, n) : y[k];
        square += along * along / (c->scale[k] * c->scale[k]);
    }
    double longest = FARTHEST * r->expected;
    if (square > longest * longest)
        for (int64_t k = 0; k < n; k++) y[k] *= longest / sqrt(square);
}

static void decompose(msx__cma *c) {
    const int64_t n = c->n;
    double *copy = c->work + 4 * n;
    if (!c->full) {
        for (int64_t k = 0; k < n; k++) c->scale[k] = sqrt(c->covariance[k]);
        return;
    }
    memcpy(copy, c->covariance, (size_t)(n * n) * sizeof *copy);
    msx__eigen(copy, n, c->scale, c->basis);
    for (int64_t k = 0; k < n; k++) c->scale[k] = sqrt(fmax(c->scale[k], 1e-20));
}

static void learn_numbers(msx__cma *c, const double *const *x, msx_rng *rng) {
    const int64_t n = c->n;
    const rates r = rates_of(c);
    double *z = c->work, *y = z + n, *mean = y + n, *delta = mean + n;
    double *sum = c->work + 4 * n; /* of the parents' outer products */
    const int64_t cells = c->full ? n * n : n;
    memset(sum, 0, (size_t)cells * sizeof *sum);
    memset(delta, 0, (size_t)n * sizeof *delta);
    for (int64_t i = 0; i < r.parents; i++) {
        double w = weight_of(c, &r, i);
        step_of(c, &r, x[i], rng, z, y);
        msx__axpy(delta, w, y, n);
        if (c->full)
            for (int64_t k = 0; k < n; k++) msx__axpy(sum + k * n, w * y[k], y, n);
        else
            for (int64_t k = 0; k < n; k++) sum[k] += w * y[k] * y[k];
    }
    for (int64_t k = 0; k < n; k++) {
        c->mean[k] = fmin(fmax(c->mean[k] + c->sigma * delta[k], 0), 1);
        z[k] = (c->full ? msx__dot(c->basis + k * n, delta, n) : delta[k]) / c->scale[k];
    }
    if (c->full) { /* back: covariance^-1/2 delta */
        memset(y, 0, (size_t)n * sizeof *y);
        for (int64_t k = 0; k < n; k++) msx__axpy(y, z[k], c->basis + k * n, n);
    } else {
        memcpy(y, z, (size_t)n * sizeof *y);
    }
    double length = 0, keep = sqrt(r.c_sigma * (2 - r.c_sigma) * r.mass);
    for (int64_t k = 0; k < n; k++) {
        c->p_sigma[k] = (1 - r.c_sigma) * c->p_sigma[k] + keep * y[k];
        length += c->p_sigma[k] * c->p_sigma[k];
    }
    length = sqrt(length);
    double settled = sqrt(1 - pow(1 - r.c_sigma, 2 * (double)(c->generations + 1)));
    bool slow = length / settled < (1.4 + 2 / ((double)n + 1)) * r.expected;
    double follow = slow ? sqrt(r.c_c * (2 - r.c_c) * r.mass) : 0;
    for (int64_t k = 0; k < n; k++) c->p_c[k] = (1 - r.c_c) * c->p_c[k] + follow * delta[k];
    double old = 1 - r.c_1 - r.c_mu + (slow ? 0 : r.c_1 * r.c_c * (2 - r.c_c));
    for (int64_t k = 0; k < cells; k++) c->covariance[k] = old * c->covariance[k] + r.c_mu * sum[k];
    for (int64_t k = 0; k < n; k++) {
        if (c->full)
            msx__axpy(c->covariance + k * n, r.c_1 * c->p_c[k], c->p_c, n);
        else
            c->covariance[k] += r.c_1 * c->p_c[k] * c->p_c[k];
    }
    c->sigma = fmin(c->sigma * exp(r.c_sigma / r.d_sigma * (length / r.expected - 1)), 1);
    decompose(c);
}

/* Frequencies step along the natural gradient sum w (observed - frequency), a length of `step`; steps grow
 * while they agree with each other. A choice that is inactive in a configuration learns nothing from it. */
static void learn_choices(msx__cma *c, const double *const *x) {
    const msx_space *s = c->space;
    const rates r = rates_of(c);
    double *gradient = c->work, norm = 0;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t count = c->offset[i] < 0 ? 0 : s->params[i].n_choices;
        double *g = gradient + c->offset[i], *q = c->frequency + c->offset[i];
        for (int64_t v = 0; v < count; v++) g[v] = 0;
        for (int64_t k = 0; count && k < r.parents; k++) {
            if (isnan(x[k][i])) continue;
            double w = weight_of(c, &r, k);
            for (int64_t v = 0; v < count; v++) g[v] += w * ((x[k][i] == (double)v) - q[v]);
        }
        for (int64_t v = 0; v < count; v++) norm += g[v] * g[v] / q[v]; /* Fisher metric */
    }
    norm = sqrt(norm);
    if (!(norm > 0)) return;
    double beta = c->step / sqrt((double)c->n_free), length = 0, keep = sqrt(beta * (2 - beta));
    double floor_of = 1 - pow(MARGIN, 1 / (double)c->n_choices);
    for (int64_t i = 0; i < s->n; i++) {
        int64_t count = c->offset[i] < 0 ? 0 : s->params[i].n_choices;
        double *g = gradient + c->offset[i], *q = c->frequency + c->offset[i];
        double *p = c->shift + c->offset[i], sum = 0, above = 0;
        double least = count > 1 ? floor_of / (double)(count - 1) : 1;
        if (count < 2) continue;
        for (int64_t v = 0; v < count; v++) {
            p[v] = (1 - beta) * p[v] + keep * g[v] / sqrt(q[v]) / norm;
            length += p[v] * p[v];
            q[v] = fmax(q[v] + c->step / norm * g[v], least);
            sum += q[v];
            above += q[v] - least;
        }
        for (int64_t v = 0; v < count && above > 0; v++) q[v] += (1 - sum) / above * (q[v] - least);
    }
    c->path = (1 - beta) * (1 - beta) * c->path + beta * (2 - beta);
    c->step *= exp(beta * (c->path - length / ALPHA));
    c->step = fmin(fmax(c->step, 1e-6), sqrt((double)c->n_free));
}

void msx__cma_learn(msx__cma *c, const double *const *x, double best, msx_rng *rng) {
    if (c->n) learn_numbers(c, x, rng);
    if (c->n_choices) learn_choices(c, x);
    c->generations++;
    c->stale = best < c->best ? 0 : c->stale + 1;
    c->best = fmin(c->best, best);
}

bool msx__cma_converged(const msx__cma *c) {
    double widest = 0;
    for (int64_t k = 0; k < c->n; k++) {
        int64_t cell = c->full ? k * c->n + k : k;
        widest = fmax(widest, c->sigma * sqrt(c->covariance[cell]));
    }
    return (c->n && widest < SMALL) || c->stale >= STALE + (c->n + c->n_choices) / 2;
}
