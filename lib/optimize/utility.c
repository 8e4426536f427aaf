/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/utility.h"

#include "optimize/parego.h"
#include "optimize/sobol.h"

#include <math.h>

#define SAMPLES      64
#define TEMPERATURE  2e-3  /* of the smooth maximum(0, improvement), in units of a cost's range */
#define SMALL        -40.0 /* of a gain: 1 + e^gain is 1 */
#define FAR          -30.0 /* beyond, a series: the distribution function is about to underflow */
#define LOG_SQRT_2PI 0.91893853320467274178

double msx__log_improvement(double u, double *slope) {
    double log_density = -0.5 * u * u - LOG_SQRT_2PI;
    if (u < FAR) {
        double q = 1 / (u * u), h = 1 - 3 * q + 15 * q * q;
        if (slope) *slope = -u * (1 - q + 3 * q * q) / h;
        return log_density + log(h * q);
    }
    double below = 0.5 * erfc(-u * M_SQRT1_2), h = exp(log_density) + u * below;
    if (slope) *slope = below / h;
    return log(h);
}

/* log(sd h(u)), u = (eta - mean) / sd: d / d mean = -h'/h / sd, d / d sd = (1 - u h'/h) / sd. */
static double single(const msx__utility *u, const double *means, const double *variances,
                     double *d_means, double *d_variances, double *room) {
    (void)room;
    double sd = sqrt(variances[0]), place = (u->eta - means[0]) / sd, slope;
    double value = log(sd) + msx__log_improvement(place, &slope);
    if (d_means) {
        d_means[0] = -slope / sd;
        d_variances[0] = (1 - place * slope) / (2 * variances[0]);
    }
    return value;
}

/* log of the sum over samples of log(1 + exp(gain)), gain = improvement / T; apart from the highest gain
 * where all are far below 0. Samples that are 1e-17 of the highest are not worth an exponential. */
static double several(const msx__utility *u, const double *means, const double *variances,
                      double *d_means, double *d_variances, double *deviations) {
    double total = 0, highest = -INFINITY;
    double gains[SAMPLES], slopes[SAMPLES];
    int worst[SAMPLES];
    for (int k = 0; k < u->m; k++) deviations[k] = sqrt(variances[k]);
    for (int s = 0; s < u->samples; s++) {
        const double *normal = u->normal + s * u->m;
        double most = -INFINITY, sum = 0;
        for (int k = 0; k < u->m; k++) {
            double term =
                u->theta[k] * (u->offset[k] + u->slope[k] * (means[k] + deviations[k] * normal[k]));
            if (term > most) {
                most = term;
                worst[s] = k;
            }
            sum += term;
        }
        gains[s] = (u->eta - most - MSX__PAREGO_RHO * sum) / TEMPERATURE;
        highest = fmax(highest, gains[s]);
    }
    const double top = fmin(highest, 0), apart = highest < SMALL ? highest : 0;
    for (int s = 0; s < u->samples; s++) {
        double gain = gains[s], soft = 0;
        slopes[s] = 0;
        if (gain < top + SMALL) continue;
        if (gain < SMALL) {
            soft = slopes[s] = exp(gain - apart);
        } else if (gain > -SMALL) {
            soft = gain;
            slopes[s] = 1;
        } else {
            double e = exp(gain);
            soft = log1p(e);
            slopes[s] = e / (1 + e);
        }
        total += soft;
    }
    if (d_means) {
        for (int k = 0; k < u->m; k++) d_means[k] = d_variances[k] = 0;
        for (int s = 0; s < u->samples; s++) {
            if (!(slopes[s] > 0)) continue;
            const double *normal = u->normal + s * u->m;
            double weight = -slopes[s] / total / TEMPERATURE;
            for (int k = 0; k < u->m; k++) {
                double d = weight * u->theta[k] * u->slope[k] * ((k == worst[s]) + MSX__PAREGO_RHO);
                d_means[k] += d;
                d_variances[k] += d * normal[k] / (2 * deviations[k]);
            }
        }
    }
    return apart + log(total);
}

double msx__utility_weigh(const msx__utility *u, const double *means) {
    double most = -INFINITY, sum = 0;
    for (int k = 0; k < u->m; k++) {
        double term = u->theta[k] * (u->offset[k] + u->slope[k] * means[k]);
        most = fmax(most, term);
        sum += term;
    }
    return most + MSX__PAREGO_RHO * sum;
}

double msx__utility_value(const msx__utility *u, const double *means, const double *variances,
                          double *d_means, double *d_variances, double *room) {
    return (u->samples ? several : single)(u, means, variances, d_means, d_variances, room);
}

/* Quantile of the standard normal: bisection on erfc, accurate and called a few hundred times. */
static double normal_quantile(double p) {
    double low = -9, high = 9;
    for (int i = 0; i < 60; i++) {
        double middle = 0.5 * (low + high);
        if (0.5 * erfc(-middle * M_SQRT1_2) < p)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

msx_status msx__utility_init(msx__utility *u, msx_ctx *ctx, int m, msx_rng *rng) {
    *u = (msx__utility){.ctx = ctx, .m = m};
    const size_t room = (size_t)m;
    u->offset = msx__alloc(ctx, room, sizeof *u->offset);
    u->slope = msx__alloc(ctx, room, sizeof *u->slope);
    u->theta = msx__alloc(ctx, room, sizeof *u->theta);
    u->normal = msx__alloc(ctx, room * SAMPLES, sizeof *u->normal);
    if (!u->offset || !u->slope || !u->theta || !u->normal) {
        msx__utility_free(u);
        return MSX_E_NOMEM;
    }
    if (m == 1) return MSX_OK;
    u->samples = SAMPLES;
    uint64_t seed = msx_rng_u64(rng);
    for (int s = 0; s < SAMPLES; s++)
        for (int k = 0; k < m; k++)
            u->normal[s * m + k] =
                normal_quantile(msx__sobol(seed, (uint64_t)s, k) * (1 - 0x1p-20) + 0x1p-21);
    return MSX_OK;
}

void msx__utility_free(msx__utility *u) {
    if (!u->ctx) return;
    msx__free(u->ctx, u->offset);
    msx__free(u->ctx, u->slope);
    msx__free(u->ctx, u->theta);
    msx__free(u->ctx, u->normal);
    *u = (msx__utility){0};
}
