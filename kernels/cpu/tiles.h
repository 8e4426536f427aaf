/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small products in registers, which large ones and attention are made of.
 *
 * A tile is C (rows, cols) = or += A (rows, k) B (k, cols). A is read where it stands, one word
 * broadcast at a time. B was packed into panels: `cols` columns each, all k rows of a panel one after
 * the other, zero beyond the last column. Every element of C is one sum over k in order, whatever the
 * tile's height, so results do not depend on how a product is cut into tiles.
 *
 * A word is 32 bits: a float, or two neighbouring bfloat16 along k. lda and k count words.
 */
#ifndef MSX_KERNELS_CPU_TILES_H
#define MSX_KERNELS_CPU_TILES_H

#include "kernels/cpu/paths.h"
#include "kernels/kernels.h"

typedef float __attribute__((may_alias)) msxk_word;

typedef void (*msxk_tile_fn)(int64_t k, const msxk_word *a, int64_t lda, const msxk_word *b,
                             float *c, int64_t ldc, int accumulate);

#define MSXK_MOST_ROWS 32
#define MSXK_MOST_COLS 32

typedef struct msxk_tiles {
    int rows, cols;         /* of the largest tile */
    const msxk_tile_fn *fn; /* fn[r] for r = 1 .. rows */
    /* Around calls of tiles of one height, on the same thread; NULL where nothing is to be set up. */
    void (*enter)(int rows), (*leave)(void);
} msxk_tiles;

/* Tiles of float32, and of bfloat16 (NULL where the path has none). */
const msxk_tiles *msxk_cpu_tiles(int path);
const msxk_tiles *msxk_cpu_low_tiles(int path);

extern const msxk_tiles msxk_tiles_plain;
#if MSXK_HAVE_X86
extern const msxk_tiles msxk_tiles_avx2, msxk_tiles_avx512, msxk_tiles_avx512bf16;
#endif
#if MSXK_HAVE_AMX
extern const msxk_tiles msxk_tiles_amx;
#endif

static inline void msxk_tiles_enter(const msxk_tiles *t, int rows) {
    if (t->enter) t->enter(rows);
}
static inline void msxk_tiles_leave(const msxk_tiles *t) {
    if (t->leave) t->leave();
}

/* ---- packing B -------------------------------------------------------------------------------- */

/* Words that the panels of n columns take. */
static inline int64_t msxk_panel_words(const msxk_tiles *t, int64_t n, int64_t k) {
    return (n + t->cols - 1) / t->cols * t->cols * k;
}
/* From (n, k) words: B is their transpose. */
void msxk_pack_rows(const msxk_tiles *t, msxk_word *panels, const msxk_word *from, int64_t ld,
                    int64_t n, int64_t k);
/* From (k, n) floats. */
void msxk_pack_columns(const msxk_tiles *t, float *panels, const float *from, int64_t ld, int64_t n,
                       int64_t k);
/* From bfloat16, element (k, n) of B at from[k * stride_k + n * stride_n]: each two along k become a
 * word; an odd last one meets a zero. */
void msxk_pack_pairs(const msxk_tiles *t, msxk_word *panels, const msxk_low *from, int64_t stride_k,
                     int64_t stride_n, int64_t n, int64_t k);

/* C (m, n) = or += A (m, k) B: all tiles of a product whose B is packed. C must hold whole panels. */
void msxk_multiply(const msxk_tiles *t, int64_t m, int64_t n, int64_t k, const msxk_word *a,
                   int64_t lda, const msxk_word *panels, float *c, int64_t ldc, int accumulate);

#endif
