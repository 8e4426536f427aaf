/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles by path, packing of B, and products made of tiles. */
#include "kernels/cpu/tiles.h"

#include <string.h>

typedef float vec4 __attribute__((vector_size(16), aligned(4), may_alias));

const msxk_tiles *msxk_cpu_tiles(int path) {
#if MSXK_HAVE_X86
    if (path >= MSXK_AVX512) return &msxk_tiles_avx512;
    if (path == MSXK_AVX2) return &msxk_tiles_avx2;
#endif
    (void)path;
    return &msxk_tiles_plain;
}

const msxk_tiles *msxk_cpu_low_tiles(int path) {
#if MSXK_HAVE_X86
    if (path == MSXK_AVX512BF16) return &msxk_tiles_avx512bf16;
#endif
#if MSXK_HAVE_AMX
    if (path == MSXK_AMX) return &msxk_tiles_amx;
#endif
    (void)path;
    return NULL;
}

static vec4 load4(const msxk_word *p) {
    return *(const vec4 *)(const void *)p;
}

static void store4(msxk_word *p, vec4 v) {
    *(vec4 *)(void *)p = v;
}

/* Four rows of k words become four columns of a panel. */
static void turn4(msxk_word *to, int64_t cols, const msxk_word *from, int64_t ld, int64_t k) {
    int64_t p = 0;
    for (; p + 4 <= k; p += 4) {
        vec4 a = load4(from + p), b = load4(from + ld + p);
        vec4 c = load4(from + 2 * ld + p), d = load4(from + 3 * ld + p);
        vec4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5),
             cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
        vec4 ef = __builtin_shufflevector(a, b, 2, 6, 3, 7),
             gh = __builtin_shufflevector(c, d, 2, 6, 3, 7);
        store4(to + p * cols, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
        store4(to + (p + 1) * cols, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
        store4(to + (p + 2) * cols, __builtin_shufflevector(ef, gh, 0, 1, 4, 5));
        store4(to + (p + 3) * cols, __builtin_shufflevector(ef, gh, 2, 3, 6, 7));
    }
    for (; p < k; p++)
        for (int64_t i = 0; i < 4; i++) to[p * cols + i] = from[i * ld + p];
}

void msxk_pack_rows(const msxk_tiles *t, msxk_word *panels, const msxk_word *from, int64_t ld,
                    int64_t n, int64_t k) {
    int64_t cols = t->cols;
    for (int64_t first = 0; first < n; first += cols, panels += cols * k) {
        int64_t col = 0, real = n - first < cols ? n - first : cols;
        if (real < cols) memset((void *)panels, 0, (size_t)(cols * k) * sizeof *panels);
        for (; col + 4 <= real; col += 4)
            turn4(panels + col, cols, from + (first + col) * ld, ld, k);
        for (; col < real; col++)
            for (int64_t p = 0; p < k; p++) panels[p * cols + col] = from[(first + col) * ld + p];
    }
}

void msxk_pack_columns(const msxk_tiles *t, float *panels, const float *from, int64_t ld, int64_t n,
                       int64_t k) {
    int64_t cols = t->cols;
    for (int64_t first = 0; first < n; first += cols) {
        int64_t real = n - first < cols ? n - first : cols;
        for (int64_t p = 0; p < k; p++, panels += cols) {
            memcpy(panels, from + p * ld + first, (size_t)real * sizeof *panels);
            if (real < cols) memset(panels + real, 0, (size_t)(cols - real) * sizeof *panels);
        }
    }
}

void msxk_pack_pairs(const msxk_tiles *t, msxk_word *panels, const msxk_low *from, int64_t stride_k,
                     int64_t stride_n, int64_t n, int64_t k) {
    int64_t cols = t->cols;
    for (int64_t first = 0; first < n; first += cols) {
        int64_t real = n - first < cols ? n - first : cols;
        for (int64_t p = 0; p < k; p += 2, panels += cols) {
            const msxk_low *even = from + p * stride_k + first * stride_n, *odd = even + stride_k;
            uint32_t words[MSXK_MOST_COLS] = {0};
            for (int64_t c = 0; c < real; c++) words[c] = even[c * stride_n];
            for (int64_t c = 0; c < real && p + 1 < k; c++)
                words[c] |= (uint32_t)odd[c * stride_n] << 16;
            memcpy((void *)panels, words, (size_t)cols * sizeof *panels);
        }
    }
}

void msxk_multiply(const msxk_tiles *t, int64_t m, int64_t n, int64_t k, const msxk_word *a,
                   int64_t lda, const msxk_word *panels, float *c, int64_t ldc, int accumulate) {
    int64_t strips = (m + t->rows - 1) / t->rows; /* of nearly equal height */
    for (int64_t s = 0; s < strips; s++) {
        int64_t row = m * s / strips, rows = m * (s + 1) / strips - row;
        msxk_tile_fn tile = t->fn[rows];
        msxk_tiles_enter(t, (int)rows);
        for (int64_t col = 0; col < n; col += t->cols)
            tile(k, a + row * lda, lda, panels + col * k, c + row * ldc + col, ldc, accumulate);
        msxk_tiles_leave(t);
    }
}
