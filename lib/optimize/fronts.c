/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/fronts.h"

#include <math.h>
#include <stdlib.h>

typedef struct keyed {
    double key;
    int64_t rank, row;
} keyed;

bool msx__dominates(const double *a, const double *b, int64_t m) {
    bool better = false;
    for (int64_t k = 0; k < m; k++) {
        if (a[k] > b[k]) return false;
        better |= a[k] < b[k];
    }
    return better;
}

/* By front, then by key, then by index. */
static int by_key(const void *a, const void *b) {
    const keyed *p = a, *q = b;
    if (p->rank != q->rank) return p->rank < q->rank ? -1 : 1;
    if (p->key != q->key) return p->key < q->key ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

/* Fronts one after the other: what only dominated rows of earlier fronts dominate is next. `above`: for
 * each row how many rows that have no front yet dominate it. */
static void find_fronts(const double *const *costs, int64_t n, int m, int64_t *rank, int64_t *above,
                        keyed *rows) {
    if (m == 1) {
        for (int64_t i = 0; i < n; i++) rows[i] = (keyed){costs[i][0], 0, i};
        qsort(rows, (size_t)n, sizeof *rows, by_key);
        for (int64_t i = 0, front = 0; i < n; i++) {
            front += i && rows[i].key > rows[i - 1].key;
            rank[rows[i].row] = front;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        rank[i] = -1;
        above[i] = 0;
        for (int64_t j = 0; j < n; j++) above[i] += msx__dominates(costs[j], costs[i], m);
    }
    for (int64_t front = 0, left = n; left; front++) {
        for (int64_t i = 0; i < n; i++)
            if (rank[i] < 0 && !above[i]) {
                rank[i] = front;
                left--;
            }
        for (int64_t i = 0; i < n; i++)
            if (rank[i] == front)
                for (int64_t j = 0; j < n; j++)
                    above[j] -= rank[j] < 0 && msx__dominates(costs[i], costs[j], m);
    }
}

/* Sum over objectives of the distance between a row's neighbours in its front; infinite at its ends. */
static void find_crowding(const double *const *costs, int64_t n, int m, const int64_t *rank,
                          double *crowding, keyed *rows) {
    for (int64_t i = 0; i < n; i++) crowding[i] = 0;
    for (int k = 0; k < m; k++) {
        for (int64_t i = 0; i < n; i++) rows[i] = (keyed){costs[i][k], rank[i], i};
        qsort(rows, (size_t)n, sizeof *rows, by_key);
        for (int64_t begin = 0, end; begin < n; begin = end) {
            for (end = begin + 1; end < n && rows[end].rank == rows[begin].rank; end++) continue;
            double range = rows[end - 1].key - rows[begin].key;
            crowding[rows[begin].row] = crowding[rows[end - 1].row] = INFINITY;
            for (int64_t i = begin + 1; i + 1 < end && range > 0; i++)
                crowding[rows[i].row] += (rows[i + 1].key - rows[i - 1].key) / range;
        }
    }
}

msx_status msx__fronts_sort(msx_ctx *ctx, const double *const *costs, int64_t n, int m,
                            int64_t *order, int64_t *rank, double *crowding) {
    keyed *rows = msx__alloc(ctx, (size_t)n, sizeof *rows);
    if (!rows) return MSX_E_NOMEM;
    find_fronts(costs, n, m, rank, order, rows);
    find_crowding(costs, n, m, rank, crowding, rows);
    for (int64_t i = 0; i < n; i++) rows[i] = (keyed){-crowding[i], rank[i], i};
    qsort(rows, (size_t)n, sizeof *rows, by_key);
    for (int64_t i = 0; i < n; i++) order[i] = rows[i].row;
    msx__free(ctx, rows);
    return MSX_OK;
}
