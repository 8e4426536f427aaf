/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of bfloat16 in the processor's matrix registers: an instruction multiplies 16 rows of 16 words by 16
 * columns. A panel's rows, two elements a word, are what it wants of B. Two by two registers hold sums.
 * Instructions: Intel 64 and IA-32 Architectures Optimization Reference Manual, chapter 20. */
#include "kernels/cpu/tiles.h"

#if MSXK_HAVE_AMX
#include <immintrin.h>
#include <string.h>

#define SIDE    16 /* rows of a register; words of a row */
#define ROWS    (2 * SIDE)
#define COLS    (2 * SIDE)
#define AHEAD   2 /* steps of B that are asked for before they are needed */
#define FOR_AMX __attribute__((target("amx-tile,amx-bf16")))

/* Registers: sums of the upper rows and of the lower ones, A, B. Their numbers become text. */
#define UPPER_LEFT  0
#define UPPER_RIGHT 1
#define LOWER_LEFT  2
#define LOWER_RIGHT 3
#define UPPER       4
#define LOWER       5
#define LEFT        6
#define RIGHT       7
#define REGISTERS   8

/* The compiler does not know that these instructions read memory. */
#define WRITTEN(p) __asm__ volatile("" : : "r"(p) : "memory")

typedef struct shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16]; /* of a row of each register */
    uint8_t rows[16];
} shapes;

/* Tiles of this height follow, until leave(). Takes about as long as a step of 9 products. */
FOR_AMX static void enter(int rows) {
    int upper = rows < SIDE ? rows : SIDE, lower = rows - upper;
    shapes s = {.palette = 1};
    for (int i = 0; i < REGISTERS; i++) {
        int is_lower = i == LOWER_LEFT || i == LOWER_RIGHT || i == LOWER;
        int height = i >= LEFT ? SIDE : is_lower ? lower : upper;
        s.bytes[i] = height ? SIDE * sizeof(msxk_word) : 0;
        s.rows[i] = (uint8_t)height;
    }
    WRITTEN(&s);
    _tile_loadconfig(&s);
}

FOR_AMX static void leave(void) {
    _tile_release();
}

#define SUMS(instruction, c, ldc, lower)                                                           \
    do {                                                                                           \
        size_t bytes = (size_t)(ldc) * sizeof *(c);                                                \
        instruction(UPPER_LEFT, c, bytes);                                                         \
        instruction(UPPER_RIGHT, (c) + SIDE, bytes);                                               \
        if (!(lower)) break;                                                                       \
        instruction(LOWER_LEFT, (c) + SIDE * (ldc), bytes);                                        \
        instruction(LOWER_RIGHT, (c) + SIDE * (ldc) + SIDE, bytes);                                \
    } while (0)

/* 16 words of k. */
FOR_AMX MSXK_INLINE void step(int lower, const msxk_word *a, int64_t lda, const msxk_word *b) {
    size_t bytes = (size_t)lda * sizeof *a;
    for (int i = 0; i < 2 * SIDE; i++) __builtin_prefetch(b + (AHEAD * SIDE * 2 + i) * SIDE);
    _tile_loadd(LEFT, b, COLS * sizeof *b);
    _tile_loadd(UPPER, a, bytes);
    _tile_loadd(RIGHT, b + SIDE, COLS * sizeof *b);
    _tile_dpbf16ps(UPPER_LEFT, UPPER, LEFT);
    _tile_dpbf16ps(UPPER_RIGHT, UPPER, RIGHT);
    if (!lower) return;
    _tile_loadd(LOWER, a + SIDE * lda, bytes);
    _tile_dpbf16ps(LOWER_LEFT, LOWER, LEFT);
    _tile_dpbf16ps(LOWER_RIGHT, LOWER, RIGHT);
}

/* The last words of k, with zeros up to a whole step. */
FOR_AMX static void last_step(int rows, int64_t k, const msxk_word *a, int64_t lda,
                              const msxk_word *b) {
    msxk_word padded_a[ROWS * SIDE] = {0}, padded_b[SIDE * COLS] = {0};
    for (int r = 0; r < rows; r++)
        memcpy((void *)(padded_a + r * SIDE), a + r * lda, (size_t)k * sizeof *a);
    memcpy((void *)padded_b, b, (size_t)(k * COLS) * sizeof *b);
    WRITTEN(padded_a);
    WRITTEN(padded_b);
    step(rows > SIDE, padded_a, SIDE, padded_b);
}

FOR_AMX static void tile(int rows, int64_t k, const msxk_word *a, int64_t lda, const msxk_word *b,
                         float *c, int64_t ldc, int accumulate) {
    int lower = rows > SIDE;
    int64_t p = 0;
    WRITTEN(a);
    if (accumulate) {
        SUMS(_tile_loadd, c, ldc, lower);
    } else {
        _tile_zero(UPPER_LEFT);
        _tile_zero(UPPER_RIGHT);
        if (lower) _tile_zero(LOWER_LEFT);
        if (lower) _tile_zero(LOWER_RIGHT);
    }
    for (; p + SIDE <= k; p += SIDE) step(lower, a + p, lda, b + p * COLS);
    if (p < k) last_step(rows, k - p, a + p, lda, b + p * COLS);
    SUMS(_tile_stored, c, ldc, lower);
}

#define TILE(r)                                                                                    \
    static void tile_##r(int64_t k, const msxk_word *a, int64_t lda, const msxk_word *b, float *c, \
                         int64_t ldc, int accumulate) {                                            \
        tile(r, k, a, lda, b, c, ldc, accumulate);                                                 \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
TILE(14)
TILE(15)
TILE(16)
TILE(17)
TILE(18)
TILE(19)
TILE(20)
TILE(21)
TILE(22)
TILE(23)
TILE(24)
TILE(25)
TILE(26)
TILE(27)
TILE(28)
TILE(29)
TILE(30)
TILE(31)
TILE(32)

static const msxk_tile_fn tiles[] = {0,       tile_1,  tile_2,  tile_3,  tile_4,  tile_5,  tile_6,
                                     tile_7,  tile_8,  tile_9,  tile_10, tile_11, tile_12, tile_13,
                                     tile_14, tile_15, tile_16, tile_17, tile_18, tile_19, tile_20,
                                     tile_21, tile_22, tile_23, tile_24, tile_25, tile_26, tile_27,
                                     tile_28, tile_29, tile_30, tile_31, tile_32};

_Static_assert(ROWS <= MSXK_MOST_ROWS && COLS <= MSXK_MOST_COLS, "tiles of a set");

const msxk_tiles msxk_tiles_amx = {ROWS, COLS, tiles, enter, leave};
#endif
