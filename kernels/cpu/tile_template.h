/* SPDX-License-Identifier: Apache-2.0 */
/* The tiles of one instruction set. Define before including, once a file: TILE_ROWS, TILE_FOR (target
 * attribute), VEC, VEC_FLOATS, VEC_ZERO(), VEC_LOAD(p), VEC_STORE(p, v), VEC_FILL(word) and
 * VEC_ADD_PRODUCT(sum, a, b). A tile is two vectors wide. */
#include "kernels/cpu/tiles.h"

/* Rows of B that are asked for before they are needed: a panel streams through the first-level cache. */
#define AHEAD 8

TILE_FOR MSXK_INLINE void tile(int rows, int64_t k, const msxk_word *a, int64_t lda,
                               const msxk_word *b, float *c, int64_t ldc, int accumulate) {
    VEC left[TILE_ROWS], right[TILE_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        left[i] = accumulate ? VEC_LOAD(c + i * ldc) : VEC_ZERO();
        right[i] = accumulate ? VEC_LOAD(c + i * ldc + VEC_FLOATS) : VEC_ZERO();
    }
    for (int64_t p = 0; p < k; p++, b += 2 * VEC_FLOATS) {
        __builtin_prefetch(b + AHEAD * 2 * VEC_FLOATS);
        __builtin_prefetch(b + AHEAD * 2 * VEC_FLOATS + VEC_FLOATS);
        VEC b0 = VEC_LOAD(b), b1 = VEC_LOAD(b + VEC_FLOATS);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            VEC x = VEC_FILL(a[i * lda + p]);
            left[i] = VEC_ADD_PRODUCT(left[i], x, b0);
            right[i] = VEC_ADD_PRODUCT(right[i], x, b1);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        VEC_STORE(c + i * ldc, left[i]);
        VEC_STORE(c + i * ldc + VEC_FLOATS, right[i]);
    }
}

#define TILE(r)                                                                                    \
    TILE_FOR static void tile_##r(int64_t k, const msxk_word *a, int64_t lda, const msxk_word *b,  \
                                  float *c, int64_t ldc, int accumulate) {                         \
        tile(r, k, a, lda, b, c, ldc, accumulate);                                                 \
    }                                                                                              \
    _Static_assert(r <= TILE_ROWS && TILE_ROWS <= MSXK_MOST_ROWS, "tiles of a set")
