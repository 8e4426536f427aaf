/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles for AVX-512: 28 of 32 registers hold sums. */
#include "kernels/cpu/paths.h"

#if MSXK_HAVE_X86
#include <immintrin.h>

#define TILE_ROWS                14
#define TILE_FOR                 MSXK_FOR_AVX512
#define VEC                      __m512
#define VEC_FLOATS               16
#define VEC_ZERO()               _mm512_setzero_ps()
#define VEC_LOAD(p)              _mm512_loadu_ps(p)
#define VEC_STORE(p, v)          _mm512_storeu_ps(p, v)
#define VEC_FILL(x)              _mm512_set1_ps(x)
#define VEC_ADD_PRODUCT(s, a, b) _mm512_fmadd_ps(a, b, s)
#include "kernels/cpu/tile_template.h"

TILE(1);
TILE(2);
TILE(3);
TILE(4);
TILE(5);
TILE(6);
TILE(7);
TILE(8);
TILE(9);
TILE(10);
TILE(11);
TILE(12);
TILE(13);
TILE(14);

static const msxk_tile_fn tiles[] = {0,       tile_1,  tile_2,  tile_3,  tile_4,
                                     tile_5,  tile_6,  tile_7,  tile_8,  tile_9,
                                     tile_10, tile_11, tile_12, tile_13, tile_14};

const msxk_tiles msxk_tiles_avx512 = {TILE_ROWS, 2 * VEC_FLOATS, tiles, NULL, NULL};
#endif
