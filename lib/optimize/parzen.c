/* SPDX-License-Identifier: Apache-2.0 */
/* Widths and weights are those of Optuna 5's multivariate estimator, as its documentation and the paper on
 * it give them (S. Watanabe, "Tree-structured Parzen estimator: understanding its algorithm components and
 * their roles for better empirical performance", arXiv 2304.11127). */
#include "optimize/parzen.h"

#include <math.h>
#include <string.h>

#define WIDTH   0.2 /* of a kernel, as a share of the range, for one observation */
#define EQUAL   25  /* newest observations that weigh alike; older ones fade */
#define SMALL   100 /* kernels are at least as wide as a share 1 / SMALL of the range */
#define DRAWS   100
#define LOG_2PI 1.8378770664093454836

static double below(double v) {
    return 0.5 * erfc(-v * M_SQRT1_2);
}

/* Mass of a normal inside the bounds. */
static double mass(double place, double sigma) {
    return below((1 - place) / sigma) - below(-place / sigma);
}

/* Half the distance between the places of neighbouring whole numbers; 0 for a float. */
static double half_step(const msx__param *p) {
    return p->kind == MSX_PARAM_INT && p->upper > p->lower ? 0.5 / (p->upper - p->lower) : 0;
}

static bool is_choice(const msx__parzen *p, int64_t k) {
    return p->space->params[p->dims[k]].kind == MSX_PARAM_CATEGORICAL;
}

/* 1 for the newest EQUAL of n, falling to 1 / n towards the oldest. */
static double age_weight(int64_t i, int64_t n) {
    int64_t fading = n - EQUAL;
    if (i >= fading) return 1;
    if (fading == 1) return 1.0 / (double)n;
    return 1.0 / (double)n + (1 - 1.0 / (double)n) * (double)i / (double)(fading - 1);
}

msx_status msx__parzen_init(msx__parzen *p, const msx_space *space, const int32_t *dims, int64_t d,
                            const double *const *rows, int64_t n, double prior) {
    msx_ctx *ctx = space->ctx;
    *p = (msx__parzen){.ctx = ctx, .space = space, .dims = dims, .d = d, .n = n, .prior = prior};
    int64_t cells;
    if (!msx__mul(n, d, &cells)) return msx__nomem(ctx, SIZE_MAX);
    p->places = msx__alloc(ctx, (size_t)cells, sizeof *p->places);
    p->weights = msx__alloc(ctx, (size_t)n + 1, sizeof *p->weights);
    p->logs = msx__alloc(ctx, (size_t)n + 1, sizeof *p->logs);
    p->scratch = msx__alloc(ctx, (size_t)n + 1, sizeof *p->scratch);
    if (!p->places || !p->weights || !p->logs || !p->scratch) {
        msx__parzen_free(p);
        return MSX_E_NOMEM;
    }
    double kernels = (double)n + 1, sum = 0;
    p->sigma = WIDTH * pow(n ? (double)n : 1, -1.0 / (double)(d + 4));
    p->sigma = fmax(p->sigma, 1 / fmin(SMALL, kernels));
    for (int64_t i = 0; i <= n; i++) sum += p->weights[i] = i < n ? age_weight(i, n) : prior;
    for (int64_t i = 0; i <= n; i++) p->logs[i] = log(p->weights[i] / sum);
    for (int64_t i = 0; i <= n; i++)
        p->weights[i] = p->weights[i] / sum + (i ? p->weights[i - 1] : 0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < d; k++) {
            const msx__param *q = &space->params[dims[k]];
            double value = rows[i][dims[k]];
            double place = is_choice(p, k) ? value : msx__space_encode(q, value);
            p->places[i * d + k] = place;
            if (!is_choice(p, k) && half_step(q) == 0) p->logs[i] -= log(mass(place, p->sigma));
        }
    for (int64_t k = 0; k < d; k++) /* the broad kernel sits in the middle */
        if (!is_choice(p, k) && half_step(&space->params[dims[k]]) == 0)
            p->logs[n] -= log(mass(0.5, 1));
    return MSX_OK;
}

void msx__parzen_free(msx__parzen *p) {
    if (!p->ctx) return;
    msx__free(p->ctx, p->places);
    msx__free(p->ctx, p->weights);
    msx__free(p->ctx, p->logs);
    msx__free(p->ctx, p->scratch);
    *p = (msx__parzen){0};
}

static double draw_normal(double middle, double sigma, double half, msx_rng *rng) {
    double u = middle;
    for (int i = 0; i < DRAWS; i++) {
        u = middle + sigma * msx_rng_normal(rng);
        if (u >= -half && u <= 1 + half) break;
    }
    return fmin(fmax(u, 0), 1);
}

/* An observed choice has weight 1 + prior / kernels, each other one prior / kernels. */
void msx__parzen_draw(const msx__parzen *p, msx_rng *rng, double *places) {
    double u = msx_rng_uniform(rng), kernels = (double)p->n + 1;
    int64_t i = 0;
    while (i < p->n && u >= p->weights[i]) i++;
    for (int64_t k = 0; k < p->d; k++) {
        const msx__param *q = &p->space->params[p->dims[k]];
        const double *place = i < p->n ? &p->places[i * p->d + k] : NULL;
        if (!is_choice(p, k)) {
            u = draw_normal(place ? *place : 0.5, place ? p->sigma : 1, half_step(q), rng);
            places[k] = msx__space_encode(q, msx__space_decode(q, u));
            continue;
        }
        double smooth = p->prior / kernels, all = 1 + smooth * (double)q->n_choices;
        bool same = place && msx_rng_uniform(rng) * all < 1;
        places[k] = same ? *place : (double)msx_rng_below(rng, (uint64_t)q->n_choices);
    }
}

/* Of a number's density under one normal; what normalises floats is in `logs` already. */
static double log_number(double u, double middle, double sigma, double half) {
    double v = (u - middle) / sigma;
    if (half == 0) return -0.5 * (v * v + LOG_2PI) - log(sigma);
    double inside = below((1 + half - middle) / sigma) - below((-half - middle) / sigma);
    double share = below((u + half - middle) / sigma) - below((u - half - middle) / sigma);
    return log(fmax(share, 1e-300) / inside);
}

double msx__parzen_log(const msx__parzen *p, const double *places) {
    const double kernels = (double)p->n + 1;
    for (int64_t i = 0; i <= p->n; i++) p->scratch[i] = p->logs[i];
    for (int64_t k = 0; k < p->d; k++) {
        const msx__param *q = &p->space->params[p->dims[k]];
        if (is_choice(p, k)) {
            double choices = (double)q->n_choices, smooth = p->prior / kernels;
            double other = log(smooth / (1 + smooth * choices));
            double same = log((1 + smooth) / (1 + smooth * choices));
            for (int64_t i = 0; i < p->n; i++)
                p->scratch[i] += p->places[i * p->d + k] == places[k] ? same : other;
            p->scratch[p->n] -= log(choices);
            continue;
        }
        double half = half_step(q);
        for (int64_t i = 0; i < p->n; i++)
            p->scratch[i] += log_number(places[k], p->places[i * p->d + k], p->sigma, half);
        p->scratch[p->n] += log_number(places[k], 0.5, 1, half);
    }
    double highest = -INFINITY, sum = 0;
    for (int64_t i = 0; i <= p->n; i++) highest = fmax(highest, p->scratch[i]);
    for (int64_t i = 0; i <= p->n; i++) sum += exp(p->scratch[i] - highest);
    return highest + log(sum);
}
