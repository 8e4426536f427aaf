/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles for AVX2: 12 of 16 registers hold sums. */
#include "kernels/cpu/paths.h"

#if MSXK_HAVE_X86
#include <immintrin.h>

#define TILE_ROWS                6
#define TILE_FOR                 MSXK_FOR_AVX2
#define VEC                      __m256
#define VEC_FLOATS               8
#define VEC_ZERO()               _mm256_setzero_ps()
#define VEC_LOAD(p)              _mm256_loadu_ps((const void *)(p))
#define VEC_STORE(p, v)          _mm256_storeu_ps(p, v)
#define VEC_FILL(x)              _mm256_set1_ps(x)
#define VEC_ADD_PRODUCT(s, a, b) _mm256_fmadd_ps(a, b, s)
#include "kernels/cpu/tile_template.h"

TILE(1);
TILE(2);
TILE(3);
TILE(4);
TILE(5);
TILE(6);

static const msxk_tile_fn tiles[] = {0, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};

const msxk_tiles msxk_tiles_avx2 = {TILE_ROWS, 2 * VEC_FLOATS, tiles, NULL, NULL};
#endif
