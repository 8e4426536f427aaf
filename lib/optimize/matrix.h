/* SPDX-License-Identifier: Apache-2.0 */
/* The little dense algebra that Gaussian processes and covariance matrices need: row-major, float64,
 * one thread, sums in a fixed order. */
#ifndef MSX_OPTIMIZE_MATRIX_H
#define MSX_OPTIMIZE_MATRIX_H

#include <stdbool.h>
#include <stdint.h>

double msx__dot(const double *a, const double *b, int64_t n);
void msx__axpy(double *y, double factor, const double *x, int64_t n); /* y += factor x */

/* The lower triangle of the symmetric a (n, n) becomes its Cholesky factor; the rest is not looked at.
 * False when a is not positive definite. */
bool msx__cholesky(double *a, int64_t n);

/* The lower triangle l (n, n) becomes its inverse; `row`: room for n. */
void msx__invert_lower(double *l, int64_t n, double *row);

/* out = w^T w for a lower triangle w (n, n), all n * n entries: with w the inverse of a Cholesky factor,
 * the inverse of the matrix. */
void msx__gram_of_lower(const double *w, int64_t n, double *out);

/* out = w x, and out = w^T x, for a lower triangle w. */
void msx__lower_times(const double *w, int64_t n, const double *x, double *out);
void msx__lower_transposed_times(const double *w, int64_t n, const double *x, double *out);

/* Eigenvectors (rows of `vectors`) and eigenvalues of the symmetric a (n, n), which is destroyed. */
void msx__eigen(double *a, int64_t n, double *values, double *vectors);

#endif
