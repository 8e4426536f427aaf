/* SPDX-License-Identifier: Apache-2.0 */
/* What matters: how much of the variance of a forest's predictions goes when a group of parameters is held.
 * The total index of I. Sobol by the estimator of M. Jansen, "Analysis of variance designs for model
 * output", Comput. Phys. Commun. 117, 1999; on a forest as in F. Hutter, H. Hoos, K. Leyton-Brown, "An
 * efficient approach for assessing hyperparameter importance", ICML 2014. */
#include "optimize/forest.h"

#include <string.h>

enum {
    TREES = 64,
    SAMPLES = 512, /* configurations, each redrawn once in every group */
    FOLDS = 5,     /* of cross-validation */
    FEWEST = 5     /* trials */
};

static const msx__forest_options forest_options = {
    .trees = TREES, .feature_ratio = 1, .min_split = 2, .min_leaf = 1, .bootstrap = true};

typedef struct measure {
    msx_ctx *ctx;
    const msx_space *space;
    const int64_t *group; /* NULL: every parameter for itself */
    int64_t n_groups, n;
    msx__forest forest;
    double *features, *targets;           /* (n, d), (n) */
    double *part_features, *part_targets; /* those of the folds that a forest is grown from */
    double *x, *changed, *encoded;        /* (d) */
} measure;

static msx_status check(msx_ctx *ctx, const msx_space *s, const double *x, const double *costs,
                        int64_t n, const int64_t *group, int64_t n_groups) {
    if (!s || !x || !costs) return msx__fail(ctx, MSX_E_ARG, "importance: an argument is NULL");
    if (n < FEWEST)
        return msx__fail(ctx, MSX_E_ARG,
                         "importance: %" PRId64 " trials are too few; %d are needed", n, FEWEST);
    if (n_groups < 1 || (!group && n_groups != s->n))
        return msx__fail(ctx, MSX_E_ARG, "importance: %" PRId64 " groups of %" PRId64 " parameters",
                         n_groups, s->n);
    for (int64_t i = 0; group && i < s->n; i++)
        if (group[i] < -1 || group[i] >= n_groups)
            return msx__fail(ctx, MSX_E_ARG, "importance: parameter '%s' is in group %" PRId64,
                             s->params[i].name, group[i]);
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(costs[i]))
            return msx__fail(ctx, MSX_E_ARG, "importance: cost %" PRId64 " is not finite", i);
        MSX_TRY(msx_space_check(s, x + i * s->n));
    }
    return MSX_OK;
}

/* The forest's targets are logarithms: of 1 to 2, which leaves costs nearly as they are. */
static void set_targets(measure *m, const double *costs) {
    double low = costs[0], high = costs[0];
    for (int64_t i = 1; i < m->n; i++) {
        low = fmin(low, costs[i]);
        high = fmax(high, costs[i]);
    }
    for (int64_t i = 0; i < m->n; i++)
        m->targets[i] = high > low ? log1p((costs[i] - low) / (high - low)) : 0;
}

static void encode(const msx_space *s, const double *x, double *out) {
    for (int64_t k = 0; k < s->n; k++) out[k] = msx__forest_encode(&s->params[k], x[k]);
}

static double predict(const measure *m, const double *features) {
    double sum = 0;
    for (int t = 0; t < TREES; t++) sum += exp(msx__forest_tree(&m->forest, t, features));
    return sum / TREES;
}

/* 1 - squared error / variance, of trials that the forest was not grown from. */
static msx_status cross_validate(measure *m, uint64_t seed, double *out) {
    const int64_t d = m->space->n;
    double error = 0, mean = 0, variance = 0;
    for (int fold = 0; fold < FOLDS; fold++) {
        int64_t rows = 0;
        for (int64_t i = 0; i < m->n; i++) {
            if (i % FOLDS == fold) continue;
            memcpy(m->part_features + rows * d, m->features + i * d, (size_t)d * sizeof *m->x);
            m->part_targets[rows++] = m->targets[i];
        }
        MSX_TRY(msx__forest_train(&m->forest, m->space, m->part_features, m->part_targets, rows,
                                  &forest_options, seed));
        for (int64_t i = fold; i < m->n; i += FOLDS) {
            double off = predict(m, m->features + i * d) - exp(m->targets[i]);
            error += off * off;
        }
    }
    for (int64_t i = 0; i < m->n; i++) mean += exp(m->targets[i]) / (double)m->n;
    for (int64_t i = 0; i < m->n; i++) {
        double off = exp(m->targets[i]) - mean;
        variance += off * off;
    }
    *out = variance > 1e-12 ? 1 - error / variance : 0;
    return MSX_OK;
}

/* m->changed is m->x with one group drawn anew, and what that switches on. */
static void redraw(measure *m, int64_t group, msx_rng *rng) {
    const msx_space *s = m->space;
    for (int64_t i = 0; i < s->n; i++) {
        bool own = (m->group ? m->group[i] : i) == group;
        m->changed[i] = m->x[i];
        if (!msx__space_active(s, m->changed, i))
            m->changed[i] = NAN;
        else if (own || isnan(m->x[i]))
            m->changed[i] = msx__space_quantile(&s->params[i], msx_rng_uniform(rng));
    }
}

static void find_shares(measure *m, uint64_t seed, double *out) {
    double mean = 0, square = 0;
    msx_rng rng;
    msx__rng_init(&rng, seed, 0);
    for (int64_t g = 0; g < m->n_groups; g++) out[g] = 0;
    for (int i = 0; i < SAMPLES; i++) {
        msx__space_draw(m->space, &rng, m->x);
        encode(m->space, m->x, m->encoded);
        double value = predict(m, m->encoded);
        mean += value / SAMPLES;
        square += value * value / SAMPLES;
        for (int64_t g = 0; g < m->n_groups; g++) {
            redraw(m, g, &rng);
            encode(m->space, m->changed, m->encoded);
            double off = predict(m, m->encoded) - value;
            out[g] += off * off / (2.0 * SAMPLES);
        }
    }
    double variance = square - mean * mean;
    for (int64_t g = 0; g < m->n_groups; g++) out[g] = variance > 1e-12 ? out[g] / variance : 0;
}

static void free_measure(measure *m) {
    msx__forest_free(&m->forest);
    msx__free(m->ctx, m->features);
    msx__free(m->ctx, m->targets);
    msx__free(m->ctx, m->part_features);
    msx__free(m->ctx, m->part_targets);
    msx__free(m->ctx, m->x);
}

msx_status msx_importance(double *out, double *fit, msx_ctx *ctx, const msx_space *space,
                          const double *x, const double *costs, int64_t n, const int64_t *group,
                          int64_t n_groups, uint64_t seed) {
    if (!ctx) return MSX_E_ARG;
    if (!out) return msx__fail(ctx, MSX_E_ARG, "importance: out is NULL");
    MSX_TRY(check(ctx, space, x, costs, n, group, n_groups));
    measure m = {.ctx = ctx, .space = space, .group = group, .n_groups = n_groups, .n = n};
    const size_t d = (size_t)space->n, rows = (size_t)n;
    int64_t cells;
    if (!msx__mul(n, space->n, &cells)) return msx__nomem(ctx, SIZE_MAX);
    m.features = msx__alloc(ctx, (size_t)cells, sizeof *m.features);
    m.targets = msx__alloc(ctx, rows, sizeof *m.targets);
    m.part_features = msx__alloc(ctx, (size_t)cells, sizeof *m.part_features);
    m.part_targets = msx__alloc(ctx, rows, sizeof *m.part_targets);
    m.x = msx__alloc(ctx, 3 * d, sizeof *m.x);
    msx_status status =
        m.features && m.targets && m.part_features && m.part_targets && m.x ? MSX_OK : MSX_E_NOMEM;
    if (status == MSX_OK) {
        m.changed = m.x + d;
        m.encoded = m.changed + d;
        set_targets(&m, costs);
        for (int64_t i = 0; i < n; i++) encode(space, x + i * space->n, m.features + i * space->n);
        if (fit) status = cross_validate(&m, seed, fit);
    }
    if (status == MSX_OK)
        status =
            msx__forest_train(&m.forest, space, m.features, m.targets, n, &forest_options, seed);
    if (status == MSX_OK) find_shares(&m, seed, out);
    free_measure(&m);
    return status;
}
