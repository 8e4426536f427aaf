/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles for every machine: four floats a vector, which all 64-bit processors have. */
typedef float vec4 __attribute__((vector_size(16), aligned(4), may_alias));

#define TILE_ROWS 4
#define TILE_FOR
#define VEC                      vec4
#define VEC_FLOATS               4
#define VEC_ZERO()               ((vec4){0})
#define VEC_LOAD(p)              (*(const vec4 *)(const void *)(p))
#define VEC_STORE(p, v)          (*(vec4 *)(void *)(p) = (v))
#define VEC_FILL(x)              ((vec4){(x), (x), (x), (x)})
#define VEC_ADD_PRODUCT(s, a, b) ((s) + (a) * (b))
#include "kernels/cpu/tile_template.h"

TILE(1);
TILE(2);
TILE(3);
TILE(4);

static const msxk_tile_fn tiles[] = {0, tile_1, tile_2, tile_3, tile_4};

const msxk_tiles msxk_tiles_plain = {TILE_ROWS, 2 * VEC_FLOATS, tiles, NULL, NULL};
