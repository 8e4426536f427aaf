/* SPDX-License-Identifier: Apache-2.0 */
/* Karcher mean: the point of the sphere with the smallest sum of squared arcs to all models. */
#include "merge/blend.h"

#include <math.h>

static const msx_merge_param params[] = {
    {"use", true, true, 0, 1, 1, "models below 0.5 are left out; all when none is left"},
    {"max_iter", false, false, 1, 1000, 10, "steps at most"},
    {"tol", false, false, 0, 1, 1e-5, "length below which a step ends the search"},
};
enum { MAX_ITER, TOL };

/* v' u, both given by their coordinates in the unit vectors of the models. */
static double product(const double *v, const double *u, const double *gram, const double *norm,
                      size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (norm[i] > 0 && norm[j] > 0)
                sum += v[i] * u[j] * gram[i * n + j] / (norm[i] * norm[j]);
    return sum;
}

static void scale(double *v, size_t n, double factor) {
    for (size_t i = 0; i < n; i++) v[i] *= factor;
}

/* One step from u along the mean of the logarithms; returns its length. */
static double step(double *u, const double *gram, const double *norm, size_t n, double share,
                   double tol) {
    double along[MSX__MAX_MODELS] = {0}, back = 0;
    for (size_t i = 0; i < n; i++) {
        double unit[MSX__MAX_MODELS] = {0};
        if (norm[i] == 0) continue;
        unit[i] = 1;
        double cosine = fmin(fmax(product(unit, u, gram, norm, n), -1), 1), angle = acos(cosine);
        if (angle < tol || sin(angle) < 1e-6) continue; /* opposite: no arc is the shortest */
        along[i] = share * angle / sin(angle);
        back += along[i] * cosine;
    }
    for (size_t i = 0; i < n; i++) along[i] -= back * u[i];
    double length = sqrt(fmax(product(along, along, gram, norm, n), 0));
    if (length < tol || length == 0) return 0;
    for (size_t i = 0; i < n; i++) u[i] = cos(length) * u[i] + sin(length) / length * along[i];
    scale(u, n, 1 / sqrt(product(u, u, gram, norm, n)));
    return length;
}

/* All vectors of the iteration are combinations of the models, so it runs on their coordinates. The
 * length is the mean over all models: those of length zero have no direction, but shorten it. */
static void coefficients(double *c, const double *gram, const msx__blend *b) {
    double norm[MSX__MAX_MODELS], u[MSX__MAX_MODELS] = {0}, length = 0, tol = b->options[TOL];
    size_t n = b->n, directed = 0, first = 0;
    for (size_t i = n; i-- > 0;) {
        norm[i] = sqrt(gram[i * n + i]);
        length += norm[i] / (double)n;
        if (norm[i] <= tol) norm[i] = 0;
        if (norm[i] == 0) continue;
        directed++;
        u[i] = 1;
        first = i;
    }
    for (size_t i = 0; i < n; i++) c[i] = 0;
    if (directed == 0) return;
    double size = sqrt(fmax(product(u, u, gram, norm, n), 0)) / (double)directed;
    if (size < tol)
        for (size_t i = 0; i < n; i++) u[i] = i == first;
    else
        scale(u, n, 1 / (size * (double)directed));
    for (int k = 0; k < (int)b->options[MAX_ITER]; k++)
        if (step(u, gram, norm, n, 1 / (double)directed, tol) == 0) break;
    for (size_t i = 0; i < n; i++) c[i] = norm[i] > 0 ? u[i] / norm[i] * length : 0;
}

static msx_status apply(const msx_merge_call *call, void *payload) {
    (void)payload;
    const double *use = call->values, *options = use + call->n_models;
    msx__blend b = {.lines = msx__lines_whole(call),
                    .coefficients = coefficients,
                    .options = {options[MAX_ITER], options[TOL]}};
    for (size_t m = 0; m < call->n_models; m++)
        if (use[m] >= 0.5) b.x[b.n++] = call->models[m];
    if (b.n == 0)
        for (; b.n < call->n_models; b.n++) b.x[b.n] = call->models[b.n];
    if (!msx__blend_copy_equal(call, &b)) msx__blend_apply(call, &b);
    return MSX_OK;
}

const msx_merge_method msx__method_karcher = {
    .struct_size = sizeof(msx_merge_method),
    .name = "karcher",
    .about = "mean on the sphere of all models, with their mean length",
    .source = "Karcher, Comm. Pure Appl. Math. 1977; mergekit, karcher",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .apply = apply,
};
