/* SPDX-License-Identifier: Apache-2.0 */
/* Combinations of models by their lengths and angles, and what the arcs of SLERP share. */
#include "merge/blend.h"

#include <math.h>
#include <string.h>

enum { LANES = 8, BLOCK = 4096 };

/* <a - origin, b - origin> in float64, in interleaved sums of fixed order. Lines whose elements are
 * neighbours, the common case, are read several at a time. */
static double dot(const float *a, const float *b, const float *origin, const msx__lines *lines) {
    double sum[LANES] = {0};
    int64_t k = 0, whole = lines->stride == 1 ? lines->length / LANES * LANES : 0;
    for (; k < whole && !origin; k += LANES)
        for (int l = 0; l < LANES; l++) sum[l] += (double)a[k + l] * (double)b[k + l];
    for (; k < whole; k += LANES)
        for (int l = 0; l < LANES; l++)
            sum[l] += (double)(a[k + l] - origin[k + l]) * (double)(b[k + l] - origin[k + l]);
    for (; k < lines->length; k++) {
        int64_t i = k * lines->stride;
        float o = origin ? origin[i] : 0;
        sum[k % LANES] += (double)(a[i] - o) * (double)(b[i] - o);
    }
    for (int l = 1; l < LANES; l++) sum[0] += sum[l];
    return sum[0];
}

static void fill_gram(double *gram, const msx__blend *b, int64_t start, int threads) {
    int64_t n = (int64_t)b->n;
    const float *origin = b->origin ? b->origin + start : NULL;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t pair = 0; pair < n * n; pair++) {
        int64_t i = pair / n, j = pair % n;
        if (i <= j)
            gram[pair] = gram[j * n + i] = dot(b->x[i] + start, b->x[j] + start, origin, &b->lines);
    }
}

/* `n` neighbouring elements, at most BLOCK. */
static void combine_run(float *out, const msx__blend *b, const double *c, int64_t start,
                        int64_t n) {
    const float *origin = b->origin ? b->origin + start : NULL;
    float sum[BLOCK];
    for (int64_t i = 0; i < n; i++) sum[i] = 0;
    for (size_t m = 0; m < b->n; m++) {
        const float *x = b->x[m] + start;
        float factor = (float)c[m];
        for (int64_t i = 0; i < n && !origin; i++) sum[i] += factor * x[i];
        for (int64_t i = 0; i < n && origin; i++) sum[i] += factor * (x[i] - origin[i]);
    }
    for (int64_t i = 0; i < n; i++) out[start + i] = origin ? origin[i] + sum[i] : sum[i];
}

/* Elements [first, last) of a line, at most BLOCK. */
static void combine(float *out, const msx__blend *b, const double *c, int64_t start, int64_t first,
                    int64_t last) {
    if (b->lines.stride == 1) {
        combine_run(out, b, c, start + first, last - first);
        return;
    }
    for (int64_t k = first; k < last; k++) {
        int64_t i = start + k * b->lines.stride;
        float o = b->origin ? b->origin[i] : 0, sum = 0;
        for (size_t m = 0; m < b->n; m++) sum += (float)c[m] * (b->x[m][i] - o);
        out[i] = b->origin ? o + sum : sum;
    }
}

static void blend_line(const msx_merge_call *call, const msx__blend *b, int64_t line, int threads) {
    double gram[MSX__MAX_MODELS * MSX__MAX_MODELS], c[MSX__MAX_MODELS];
    int64_t start = msx__line_start(&b->lines, line), length = b->lines.length;
    fill_gram(gram, b, start, length > BLOCK ? threads : 1);
    b->coefficients(c, gram, b);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && length > BLOCK)
    for (int64_t k = 0; k < length; k += BLOCK)
        combine(call->out, b, c, start, k, k + BLOCK < length ? k + BLOCK : length);
}

void msx__blend_apply(const msx_merge_call *call, const msx__blend *b) {
    if (b->lines.count == 1) {
        blend_line(call, b, 0, call->threads);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t line = 0; line < b->lines.count; line++) blend_line(call, b, line, 1);
}

bool msx__blend_copy_equal(const msx_merge_call *call, const msx__blend *b) {
    size_t bytes = (size_t)call->elements * sizeof(float);
    if (!bytes) return true;
    for (size_t m = 1; m < b->n; m++)
        if (memcmp(b->x[0], b->x[m], bytes)) return false;
    memcpy(call->out, b->x[0], bytes);
    return true;
}

bool msx__top_two(const double *score, size_t n, size_t pair[2]) {
    pair[0] = 0;
    for (size_t m = 1; m < n; m++)
        if (score[m] > score[pair[0]]) pair[0] = m;
    pair[1] = pair[0] == 0 ? 1 : 0;
    for (size_t m = 0; m < n; m++)
        if (m != pair[0] && score[m] > score[pair[1]]) pair[1] = m;
    for (size_t m = 0; m < n; m++)
        if (m != pair[0] && m != pair[1] && score[m] == score[pair[1]]) return false;
    return true;
}

bool msx__slerp_is_straight(const double dots[3], double colinear, double *cosine) {
    double norms = sqrt(dots[0]) * sqrt(dots[2]);
    *cosine = norms > 0 ? dots[1] / norms : 1;
    return !(fabs(*cosine) <= colinear) || fabs(*cosine) >= 1;
}

void msx__arc_weights(const double dots[3], double t, double colinear, double weight[2]) {
    double cosine;
    weight[0] = 1 - t;
    weight[1] = t;
    if (msx__slerp_is_straight(dots, colinear, &cosine)) return;
    double angle = acos(cosine);
    weight[0] = sin((1 - t) * angle) / sin(angle);
    weight[1] = sin(t * angle) / sin(angle);
}
