/* SPDX-License-Identifier: Apache-2.0 */
/* A place against many rows, column by column: most rows differ in the choice at the root of a family and are
 * done after one comparison. Every row goes through the operations of kernel.c in their order. */
#include "optimize/kernel.h"

void msx__kernel_columns(const double *x, int64_t n, int64_t d, double *columns) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) columns[j * n + i] = x[i * d + j];
}

/* Squared distances over a block, which mean nothing for rows where it is not active. */
static void squares(const msx__kernel *k, const msx__kernel_block *block,
                    const msx__kernel_rows *rows, const double *b, double *out) {
    const int32_t *dims = k->dims + block->first;
    const bool shared = block->length >= 0;
    for (int64_t i = 0; i < rows->n; i++) out[i] = 0;
    for (int32_t j = 0; j < block->count; j++) {
        const double *column = rows->columns + dims[j] * rows->stride, place = b[dims[j]];
        const double inverse = shared ? 1 : k->inverse[k->lengths[j]];
        for (int64_t i = 0; i < rows->n; i++)
            out[i] += (column[i] - place) * (column[i] - place) * inverse;
    }
    for (int64_t i = 0; shared && i < rows->n; i++) out[i] *= k->inverse[block->length];
}

static void choice_rows(const msx__kernel *k, int32_t choice, const msx__kernel_rows *rows,
                        const double *b, double *out, double *room) {
    const msx__kernel_choice *c = &k->choices[choice];
    const double rho = k->inverse[c->rho], value = b[c->parameter];
    const double *column = rows->columns + c->parameter * rows->stride;
    const int32_t *run = k->runs + c->runs + (int32_t)value;
    const int64_t n = rows->n, d = k->space->n;
    for (int64_t i = 0; i < n; i++) out[i] = 1;
    for (int32_t e = run[0]; e < run[1]; e++) {
        const msx__kernel_below *below = &k->below[e];
        if (below->block >= 0) squares(k, &k->blocks[below->block], rows, b, room);
        for (int64_t i = 0; i < n; i++) {
            if (column[i] != value) continue;
            out[i] *= below->block >= 0
                          ? msx__kernel_matern(room[i])
                          : msx__kernel_choice_value(k, below->choice, rows->x + i * d, b);
        }
    }
    for (int64_t i = 0; i < n; i++) out[i] = column[i] == value ? rho + (1 - rho) * out[i] : rho;
}

void msx__kernel_family_rows(const msx__kernel *k, int32_t family, const msx__kernel_rows *rows,
                             const double *b, double *factor, double *term, double *room) {
    const int64_t n = rows->n;
    if (family < k->n_families) {
        choice_rows(k, k->families[family], rows, b, factor, room);
        for (int64_t i = 0; i < n; i++) term[i] = factor[i];
        return;
    }
    const msx__kernel_block *block = &k->blocks[0];
    squares(k, block, rows, b, room);
    for (int64_t i = 0; i < n; i++) factor[i] = msx__kernel_matern(room[i]);
    for (int64_t i = 0; i < n; i++) term[i] = 0;
    for (int32_t j = 0; k->share > 0 && j < block->count; j++) {
        const int32_t dim = k->dims[j];
        const double *column = rows->columns + dim * rows->stride, place = b[dim];
        const double inverse = k->inverse[k->lengths[j]];
        for (int64_t i = 0; i < n; i++)
            term[i] += msx__kernel_matern((column[i] - place) * (column[i] - place) * inverse);
    }
}

void msx__kernel_values(const msx__kernel *k, const msx__kernel_rows *rows, const double *b,
                        double *value, double *factors, double *room) {
    const int64_t n = rows->n;
    const int32_t families = msx__kernel_families(k);
    double *factor = room, *term = factor + n, *sum = term + n, *more = sum + n;
    for (int64_t i = 0; i < n; i++) value[i] = 1;
    for (int64_t i = 0; i < n; i++) sum[i] = 0;
    for (int32_t f = 0; f < families; f++) {
        msx__kernel_family_rows(k, f, rows, b, factor, term, more);
        for (int64_t i = 0; factors && i < n; i++) factors[i * families + f] = factor[i];
        for (int64_t i = 0; i < n; i++) value[i] *= factor[i];
        for (int64_t i = 0; i < n; i++) sum[i] += term[i];
    }
    for (int64_t i = 0; i < n; i++)
        value[i] = (1 - k->share) * value[i] + k->share * sum[i] / k->n_terms;
}
