/* SPDX-License-Identifier: Apache-2.0 */
/* From a space to the families, blocks and parameters of its covariance. */
#include "optimize/kernel.h"

#include <math.h>
#include <string.h>

/* Logarithm of a length, as a share of the range, before anything is known; up to so many numbers. */
#define LENGTH_MEAN      -0.3
#define LENGTH_DEVIATION 1.0
#define LENGTH_NUMBERS   8.0
#define MIN_LENGTH       0.02 /* of the range of a number */
#define MAX_LENGTH       200.0
#define RHO_DEVIATION    1.5
#define MIN_RHO          1e-3
/* Logit of w: more is a sum than is not. */
#define SHARE_MEAN      1.0
#define SHARE_DEVIATION 2.0
#define WIDE            64  /* more numbers without a parent than this share one length */
#define TOGETHER        0.3 /* correlation of configurations that differ in every choice */

static double logit(double p) {
    return log(p / (1 - p));
}

static bool is_number(const msx__param *p) {
    return p->kind != MSX_PARAM_CATEGORICAL;
}

static bool same_condition(const msx__param *a, const msx__param *b) {
    return a->parent == b->parent && (a->parent < 0 || !memcmp(a->when, b->when, sizeof a->when));
}

static int32_t add_theta(msx__kernel *k, double mean, double deviation, double lower,
                         double upper) {
    int32_t i = k->n_theta++;
    k->prior_mean[i] = mean;
    k->prior_deviation[i] = deviation;
    k->lower[i] = lower;
    k->upper[i] = upper;
    return i;
}

/* Most costs bend once or twice over the range of a number. The more of them there are, the longer the
 * lengths, else everything is equally far apart in a wide space (C. Hvarfner, E. Hellsten, L. Nardi,
 * "Vanilla Bayesian optimization performs great in high dimensions", ICML 2024). */
static int32_t add_length(msx__kernel *k, int32_t together) {
    double mean = LENGTH_MEAN + 0.5 * log(fmax((double)together / LENGTH_NUMBERS, 1));
    return add_theta(k, mean, LENGTH_DEVIATION, log(MIN_LENGTH), log(MAX_LENGTH));
}

/* Numbers under the same condition as parameter `first`, which is the first of them, form a block. */
static int32_t add_block(msx__kernel *k, int64_t first, int32_t *n_dims) {
    const msx_space *s = k->space;
    msx__kernel_block *b = &k->blocks[k->n_blocks];
    *b = (msx__kernel_block){.first = *n_dims, .length = -1};
    for (int64_t i = first; i < s->n; i++)
        if (is_number(&s->params[i]) && same_condition(&s->params[i], &s->params[first]))
            k->dims[b->first + b->count++] = (int32_t)i;
    *n_dims += b->count;
    return k->n_blocks++;
}

static void add_root_block(msx__kernel *k, int32_t *n_dims) {
    const msx_space *s = k->space;
    k->n_blocks = 1;
    k->blocks[0] = (msx__kernel_block){.length = -1};
    for (int64_t i = 0; i < s->n && !k->blocks[0].count; i++)
        if (is_number(&s->params[i]) && s->params[i].parent < 0) {
            k->n_blocks = 0;
            add_block(k, i, n_dims);
        }
    const int32_t count = k->blocks[0].count;
    k->numbers = count > 0;
    if (!count) return;
    bool wide = count > WIDE;
    int32_t shared = wide ? add_length(k, count) : 0;
    for (int32_t i = 0; i < count; i++) {
        k->lengths[i] = wide ? shared : add_length(k, count);
        k->family_of[k->dims[i]] = k->n_families;
    }
}

/* The first number of its condition stands for all of them. */
static bool is_first(const msx_space *s, int64_t i) {
    for (int64_t j = s->params[i].parent + 1; j < i; j++)
        if (is_number(&s->params[j]) && same_condition(&s->params[i], &s->params[j])) return false;
    return true;
}

static bool holds(const uint64_t *when, int64_t value) {
    return when[value / 64] >> value % 64 & 1;
}

/* Blocks and choices below choice c, by the values that switch them on. */
static void list_below(msx__kernel *k, int32_t c, const int32_t *choice_of, int32_t *n_dims) {
    const msx_space *s = k->space;
    const int64_t parent = k->choices[c].parameter;
    int32_t *run = k->runs + k->choices[c].runs, first_block = k->n_blocks;
    for (int64_t i = parent + 1; i < s->n; i++) {
        const msx__param *p = &s->params[i];
        if (p->parent != parent || !is_number(p) || !is_first(s, i)) continue;
        int32_t block = add_block(k, i, n_dims);
        k->blocks[block].length = add_length(k, k->blocks[block].count);
    }
    for (int64_t v = 0; v < s->params[parent].n_choices; v++) {
        run[v] = k->n_below;
        for (int32_t b = first_block; b < k->n_blocks; b++)
            if (holds(s->params[k->dims[k->blocks[b].first]].when, v))
                k->below[k->n_below++] = (msx__kernel_below){b, -1};
        for (int64_t i = parent + 1; i < s->n; i++) {
            const msx__param *p = &s->params[i];
            if (p->parent == parent && !is_number(p) && holds(p->when, v))
                k->below[k->n_below++] = (msx__kernel_below){-1, choice_of[i]};
        }
    }
    run[s->params[parent].n_choices] = k->n_below;
}

static void lay_out(msx__kernel *k) {
    const msx_space *s = k->space;
    int32_t n_dims = 0, n_runs = 0, *choice_of = k->family_of; /* filled with families at the end */
    add_theta(k, SHARE_MEAN, SHARE_DEVIATION, -8, 8);
    for (int64_t i = 0; i < s->n; i++)
        if (!is_number(&s->params[i]) && s->params[i].parent < 0) k->n_families++;
    add_root_block(k, &n_dims);
    double spread = logit(pow(TOGETHER, 1.0 / (k->n_families ? k->n_families : 1)));
    for (int64_t i = 0; i < s->n; i++) {
        if (is_number(&s->params[i])) continue;
        choice_of[i] = k->n_choices;
        int32_t first_run = n_runs;
        n_runs += (int32_t)s->params[i].n_choices + 1;
        k->choices[k->n_choices++] = (msx__kernel_choice){
            .parameter = (int32_t)i,
            .rho = add_theta(k, spread, RHO_DEVIATION, logit(MIN_RHO), logit(1 - MIN_RHO)),
            .runs = first_run,
        };
    }
    for (int32_t c = 0; c < k->n_choices; c++) list_below(k, c, choice_of, &n_dims);
    int32_t family = 0;
    for (int64_t i = 0; i < s->n; i++) {
        const msx__param *p = &s->params[i];
        if (p->parent >= 0) {
            k->family_of[i] = k->family_of[p->parent];
        } else if (!is_number(p)) {
            k->families[family] = choice_of[i];
            k->family_of[i] = family++;
        }
    }
    k->n_terms = k->n_families + k->blocks[0].count;
}

msx_status msx__kernel_init(msx__kernel *k, const msx_space *space) {
    msx_ctx *ctx = space->ctx;
    const size_t d = (size_t)space->n, theta = d + 1; /* at most one parameter each, and w */
    size_t runs = 0, below = 0; /* every child may hang on every value of its parent */
    for (int64_t i = 0; i < space->n; i++) {
        const msx__param *p = &space->params[i];
        runs += (size_t)p->n_choices + 1;
        for (int64_t v = 0; p->parent >= 0 && v < space->params[p->parent].n_choices; v++)
            below += holds(p->when, v);
    }
    *k = (msx__kernel){.space = space};
    k->blocks = msx__alloc(ctx, d + 1, sizeof *k->blocks);
    k->choices = msx__alloc(ctx, d, sizeof *k->choices);
    k->below = msx__alloc(ctx, below, sizeof *k->below);
    k->runs = msx__alloc(ctx, runs, sizeof *k->runs);
    k->dims = msx__alloc(ctx, d, sizeof *k->dims);
    k->lengths = msx__alloc(ctx, d, sizeof *k->lengths);
    k->families = msx__alloc(ctx, d, sizeof *k->families);
    k->family_of = msx__alloc(ctx, d, sizeof *k->family_of);
    k->prior_mean = msx__alloc(ctx, theta, sizeof *k->prior_mean);
    k->prior_deviation = msx__alloc(ctx, theta, sizeof *k->prior_deviation);
    k->lower = msx__alloc(ctx, theta, sizeof *k->lower);
    k->upper = msx__alloc(ctx, theta, sizeof *k->upper);
    k->theta = msx__alloc(ctx, theta, sizeof *k->theta);
    k->inverse = msx__alloc(ctx, theta, sizeof *k->inverse);
    if (!k->blocks || !k->choices || !k->below || !k->runs || !k->dims || !k->lengths ||
        !k->families || !k->family_of || !k->prior_mean || !k->prior_deviation || !k->lower ||
        !k->upper || !k->theta || !k->inverse) {
        msx__kernel_free(k);
        return MSX_E_NOMEM;
    }
    lay_out(k);
    msx__kernel_set(k, NULL);
    return MSX_OK;
}

void msx__kernel_free(msx__kernel *k) {
    if (!k->space) return;
    msx_ctx *ctx = k->space->ctx;
    msx__free(ctx, k->blocks);
    msx__free(ctx, k->choices);
    msx__free(ctx, k->below);
    msx__free(ctx, k->runs);
    msx__free(ctx, k->dims);
    msx__free(ctx, k->lengths);
    msx__free(ctx, k->families);
    msx__free(ctx, k->family_of);
    msx__free(ctx, k->prior_mean);
    msx__free(ctx, k->prior_deviation);
    msx__free(ctx, k->lower);
    msx__free(ctx, k->upper);
    msx__free(ctx, k->theta);
    msx__free(ctx, k->inverse);
    *k = (msx__kernel){0};
}

void msx__kernel_set(msx__kernel *k, const double *theta) {
    for (int32_t i = 0; i < k->n_theta; i++) {
        k->theta[i] = theta ? theta[i] : k->prior_mean[i];
        k->inverse[i] = exp(-2 * k->theta[i]);
    }
    for (int32_t c = 0; c < k->n_choices; c++)
        k->inverse[k->choices[c].rho] = 1 / (1 + exp(-k->theta[k->choices[c].rho]));
    k->share = k->n_terms > 1 ? 1 / (1 + exp(-k->theta[0])) : 0;
}
