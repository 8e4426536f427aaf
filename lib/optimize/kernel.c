/* SPDX-License-Identifier: Apache-2.0 */
/* Values and derivatives of the covariance of two places; kernel_space.c lays the space out, kernel_rows.c
 * compares a place with many. */
#include "optimize/kernel.h"

#include <math.h>

#define SQRT5 2.23606797749978969641

/* Where a derivative goes: to the parameters of the covariance, or to the places in b. */
typedef struct target {
    double *gradient;
    bool places;
} target;

double msx__kernel_matern(double square) {
    double r = SQRT5 * sqrt(square);
    return (1 + r + r * r / 3) * exp(-r);
}

/* The same, and -2 d matern / d square. */
static double matern_slope(double square, double *slope) {
    double r = SQRT5 * sqrt(square), e = exp(-r);
    *slope = 5.0 / 3 * (1 + r) * e;
    return (1 + r + r * r / 3) * e;
}

static double inverse_of(const msx__kernel *k, const msx__kernel_block *b, int32_t i) {
    return k->inverse[b->length >= 0 ? b->length : k->lengths[i]];
}

static double square_of(const msx__kernel *k, const msx__kernel_block *block, const double *a,
                        const double *b) {
    const int32_t *dims = k->dims + block->first;
    double sum = 0;
    if (block->length >= 0) {
        for (int32_t i = 0; i < block->count; i++)
            sum += (a[dims[i]] - b[dims[i]]) * (a[dims[i]] - b[dims[i]]);
        return sum * k->inverse[block->length];
    }
    for (int32_t i = 0; i < block->count; i++)
        sum += (a[dims[i]] - b[dims[i]]) * (a[dims[i]] - b[dims[i]]) * k->inverse[k->lengths[i]];
    return sum;
}

/* Derivative of a matern over the dims first .. first + count of a block. */
static void derive_block(const msx__kernel *k, const msx__kernel_block *block, int32_t first,
                         int32_t count, const double *a, const double *b, double weight,
                         const target *t) {
    for (int32_t i = first; i < first + count; i++) {
        int32_t d = k->dims[block->first + i];
        double apart = b[d] - a[d], inverse = inverse_of(k, block, i);
        if (t->places)
            t->gradient[d] -= weight * apart * inverse;
        else
            t->gradient[block->length >= 0 ? block->length : k->lengths[i]] +=
                weight * apart * apart * inverse;
    }
}

/* ---- choices and what hangs on them --------------------------------------------------------------- */

static double below_value(const msx__kernel *k, const msx__kernel_below *e, const double *a,
                          const double *b) {
    return e->block >= 0 ? msx__kernel_matern(square_of(k, &k->blocks[e->block], a, b))
                         : msx__kernel_choice_value(k, e->choice, a, b);
}

double msx__kernel_choice_value(const msx__kernel *k, int32_t choice, const double *a,
                                const double *b) {
    const msx__kernel_choice *c = &k->choices[choice];
    double rho = k->inverse[c->rho], value = a[c->parameter], product = 1;
    if (value != b[c->parameter]) return rho;
    const int32_t *run = k->runs + c->runs + (int32_t)value;
    for (int32_t i = run[0]; i < run[1]; i++) product *= below_value(k, &k->below[i], a, b);
    return rho + (1 - rho) * product;
}

/* Derivatives of a choice whose value is `known`. */
static void derive_choice(const msx__kernel *k, int32_t choice, const double *a, const double *b,
                          double known, double weight, const target *t) {
    const msx__kernel_choice *c = &k->choices[choice];
    double rho = k->inverse[c->rho], value = a[c->parameter];
    if (value != b[c->parameter]) {
        if (!t->places) t->gradient[c->rho] += weight * rho * (1 - rho);
        return;
    }
    double product = (known - rho) / (1 - rho);
    const int32_t *run = k->runs + c->runs + (int32_t)value;
    if (!t->places) t->gradient[c->rho] += weight * rho * (1 - rho) * (1 - product);
    /* A product of 0 is so far away that nothing moves it. */
    for (int32_t i = run[0]; product > 0 && i < run[1]; i++) {
        const msx__kernel_below *e = &k->below[i];
        double others = weight * (1 - rho) * product;
        if (e->choice >= 0) {
            double own = msx__kernel_choice_value(k, e->choice, a, b);
            derive_choice(k, e->choice, a, b, own, others / own, t);
            continue;
        }
        const msx__kernel_block *block = &k->blocks[e->block];
        double slope, own = matern_slope(square_of(k, block, a, b), &slope);
        derive_block(k, block, 0, block->count, a, b, others / own * slope, t);
    }
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static double one_number(const msx__kernel *k, int32_t i, const double *a, const double *b) {
    int32_t d = k->dims[i];
    return (a[d] - b[d]) * (a[d] - b[d]) * k->inverse[k->lengths[i]];
}

/* A family's factor of the product, and its part of the sum of terms. */
static void family_value(const msx__kernel *k, int32_t family, const double *a, const double *b,
                         double *factor, double *term) {
    if (family < k->n_families) {
        *factor = *term = msx__kernel_choice_value(k, k->families[family], a, b);
        return;
    }
    double sum = 0;
    *factor = msx__kernel_matern(square_of(k, &k->blocks[0], a, b));
    for (int32_t i = 0; k->share > 0 && i < k->blocks[0].count; i++)
        sum += msx__kernel_matern(one_number(k, i, a, b));
    *term = sum;
}

double msx__kernel_factors(const msx__kernel *k, const double *a, const double *b,
                           double *factors) {
    double product = 1, sum = 0;
    for (int32_t f = 0; f < msx__kernel_families(k); f++) {
        double factor, term;
        family_value(k, f, a, b, &factor, &term);
        if (factors) factors[f] = factor;
        product *= factor;
        sum += term;
    }
    return (1 - k->share) * product + k->share * sum / k->n_terms;
}

double msx__kernel_value(const msx__kernel *k, const double *a, const double *b) {
    return msx__kernel_factors(k, a, b, NULL);
}

static void derive(const msx__kernel *k, const double *a, const double *b, double weight,
                   const double *factors, int64_t stride, const target *t) {
    const double w = k->share;
    double product = 1, sum = 0;
    for (int32_t f = 0; f < msx__kernel_families(k); f++) product *= factors[f * stride];
    double of_product = weight * (1 - w) * product, of_term = weight * w / k->n_terms;
    for (int32_t f = 0; f < k->n_families; f++) {
        double own = factors[f * stride];
        sum += own;
        derive_choice(k, k->families[f], a, b, own, of_product / own + of_term, t);
    }
    if (k->numbers) {
        const msx__kernel_block *block = &k->blocks[0];
        double slope, own = matern_slope(square_of(k, block, a, b), &slope);
        if (own > 0) derive_block(k, block, 0, block->count, a, b, of_product / own * slope, t);
        for (int32_t i = 0; w > 0 && i < block->count; i++) {
            sum += matern_slope(one_number(k, i, a, b), &slope);
            derive_block(k, block, i, 1, a, b, of_term * slope, t);
        }
    }
    if (!t->places) t->gradient[0] += weight * w * (1 - w) * (sum / k->n_terms - product);
}

void msx__kernel_learn(const msx__kernel *k, const double *a, const double *b, double weight,
                       const double *factors, double *gradient) {
    derive(k, a, b, weight, factors, 1, &(target){gradient, false});
}

void msx__kernel_slope(const msx__kernel *k, const double *a, const double *b, double weight,
                       const double *factors, int64_t stride, double *gradient) {
    derive(k, a, b, weight, factors, stride, &(target){gradient, true});
}
