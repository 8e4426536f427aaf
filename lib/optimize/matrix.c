/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/matrix.h"

#include <math.h>
#include <string.h>

#define LANES      8  /* sums kept apart, so that they can be vectorised without being reordered */
#define MAX_SWEEPS 60 /* of Jacobi; some ten are enough */

double msx__dot(const double *a, const double *b, int64_t n) {
    double sum[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) sum[k] += a[i + k] * b[i + k];
    double rest = 0;
    for (; i < n; i++) rest += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7])) + rest;
}

void msx__axpy(double *y, double factor, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += factor * x[i];
}

bool msx__cholesky(double *a, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double *row = a + i * n;
        for (int64_t j = 0; j < i; j++)
            row[j] = (row[j] - msx__dot(row, a + j * n, j)) / a[j * n + j];
        double pivot = row[i] - msx__dot(row, row, i);
        if (!(pivot > 0)) return false;
        row[i] = sqrt(pivot);
    }
    return true;
}

void msx__invert_lower(double *l, int64_t n, double *row) {
    for (int64_t i = 0; i < n; i++) {
        double *target = l + i * n, pivot = 1 / target[i];
        memcpy(row, target, (size_t)i * sizeof *row);
        memset(target, 0, (size_t)i * sizeof *target);
        for (int64_t k = 0; k < i; k++) msx__axpy(target, -row[k] * pivot, l + k * n, k + 1);
        target[i] = pivot;
    }
}

void msx__gram_of_lower(const double *w, int64_t n, double *out) {
    memset(out, 0, (size_t)(n * n) * sizeof *out);
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i <= k; i++) msx__axpy(out + i * n, w[k * n + i], w + k * n, i + 1);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) out[j * n + i] = out[i * n + j];
}

void msx__lower_times(const double *w, int64_t n, const double *x, double *out) {
    for (int64_t i = 0; i < n; i++) out[i] = msx__dot(w + i * n, x, i + 1);
}

void msx__lower_transposed_times(const double *w, int64_t n, const double *x, double *out) {
    memset(out, 0, (size_t)n * sizeof *out);
    for (int64_t i = 0; i < n; i++) msx__axpy(out, x[i], w + i * n, i + 1);
}

/* Cyclic Jacobi (G. Golub, C. Van Loan, "Matrix Computations", 8.5): slow and exact to the last bits
 * also for small eigenvalues. */
void msx__eigen(double *a, int64_t n, double *values, double *vectors) {
    memset(vectors, 0, (size_t)(n * n) * sizeof *vectors);
    for (int64_t i = 0; i < n; i++) vectors[i * n + i] = 1;
    for (int sweep = 0; sweep < MAX_SWEEPS; sweep++) {
        double off = 0, diagonal = 0;
        for (int64_t i = 0; i < n; i++) {
            diagonal += a[i * n + i] * a[i * n + i];
            for (int64_t j = 0; j < i; j++) off += a[i * n + j] * a[i * n + j];
        }
        if (off <= 1e-26 * diagonal) break;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                double apq = a[p * n + q];
                if (apq == 0) continue;
                double tau = (a[q * n + q] - a[p * n + p]) / (2 * apq);
                double t = (tau >= 0 ? 1 : -1) / (fabs(tau) + sqrt(1 + tau * tau));
                double c = 1 / sqrt(1 + t * t), s = t * c;
                for (int64_t k = 0; k < n; k++) { /* columns p and q */
                    double kp = a[k * n + p], kq = a[k * n + q];
                    a[k * n + p] = c * kp - s * kq;
                    a[k * n + q] = s * kp + c * kq;
                }
                for (int64_t k = 0; k < n; k++) { /* rows p and q, and the vectors */
                    double pk = a[p * n + k], qk = a[q * n + k];
                    a[p * n + k] = c * pk - s * qk;
                    a[q * n + k] = s * pk + c * qk;
                    double vp = vectors[p * n + k], vq = vectors[q * n + k];
                    vectors[p * n + k] = c * vp - s * vq;
                    vectors[q * n + k] = s * vp + c * vq;
                }
            }
    }
    for (int64_t i = 0; i < n; i++) values[i] = a[i * n + i];
}
