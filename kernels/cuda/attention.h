/* SPDX-License-Identifier: Apache-2.0 */
/* What both kernels of the encoder's attention share: which queries a block has, where a key lies. */
#ifndef MSX_KERNELS_CUDA_ATTENTION_H
#define MSX_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/cuda.h"

/* Keys of a tile in shared memory. */
#define MSXK_TILE_KEYS 64

struct msxk_attention_shape {
    int64_t heads, dim, width; /* width = heads * dim; a row of qkv has 3 * width */
    int grid, side, across;    /* across: windows in a row */
    int queries, blocks;       /* of a block; blocks of a window */
    int bias_stride;           /* floats between two queries' biases in shared memory */
    unsigned magic;            /* ceil(2^32 / side) */
    float scale;
};

static inline msxk_attention_shape msxk_shape_of(const msxk_attention *a, int queries) {
    msxk_attention_shape s;
    s.heads = a->heads;
    s.dim = a->dim;
    s.width = a->heads * a->dim;
    s.grid = (int)a->grid;
    s.side = (int)a->side;
    s.across = (int)((a->grid + a->side - 1) / a->side);
    s.queries = queries;
    int64_t most = a->side < a->grid ? a->side : a->grid; /* real tokens in a row of a window */
    s.blocks = (int)((most * most + queries - 1) / queries);
    /* 8 modulo 32: the biases of eight queries lie in different banks */
    s.bias_stride = (s.side + 23) / 32 * 32 + 8;
    s.magic = s.side > 1 ? (unsigned)(((uint64_t)1 << 32) / (unsigned)s.side + 1) : 0;
    s.scale = 1.0f / sqrtf((float)a->dim);
    return s;
}

static inline int64_t msxk_shape_grid(const msxk_attention *a, const msxk_attention_shape &s) {
    return a->batch * a->heads * s.across * s.across * s.blocks;
}

/* MSXK_OK, or why a problem cannot be run. */
static inline int msxk_attention_check(msx_kdev *dev, const msxk_attention *a) {
    if (a->side < 1) return msxk_cuda_fail(dev, MSXK_E_ARG, "attention: a window of no extent");
    if (a->side > 4096 || a->grid > 32768)
        return msxk_cuda_fail(dev, MSXK_E_ARG,
                              "attention: a grid of %lld tokens in windows of "
                              "%lld is too large",
                              (long long)a->grid, (long long)a->side);
    if (a->dim > 128)
        return msxk_cuda_fail(dev, MSXK_E_ARG,
                              "attention: heads of %lld channels; this backend has at most 128",
                              (long long)a->dim);
    return MSXK_OK;
}

/* One block's window of one image and head. Consecutive blocks share it, so its keys stay in cache. */
struct msxk_window {
    int64_t image, head;
    int y, x, rows, cols; /* corner on the grid; extent of what lies on the grid */
    int first;            /* query */
};

static __device__ __forceinline__ msxk_window msxk_window_of(const msxk_attention_shape &s) {
    int64_t i = blockIdx.x, cells = (int64_t)s.across * s.across;
    msxk_window w;
    w.first = (int)(i % s.blocks) * s.queries;
    i /= s.blocks;
    int cell = (int)(i % cells);
    w.head = i / cells % s.heads;
    w.image = i / cells / s.heads;
    w.y = cell / s.across * s.side;
    w.x = cell % s.across * s.side;
    w.rows = min(s.side, s.grid - w.y);
    w.cols = min(s.side, s.grid - w.x);
    return w;
}

/* key / side, exact for keys below 2^24 */
static __device__ __forceinline__ int msxk_key_row(const msxk_attention_shape &s, int key) {
    return s.side > 1 ? (int)__umulhi((unsigned)key, s.magic) : key;
}

/* Row of qkv of the window's token (y, x). */
static __device__ __forceinline__ int64_t msxk_token(const msxk_attention_shape &s,
                                                     const msxk_window &w, int y, int x) {
    return (w.image * s.grid + w.y + y) * s.grid + w.x + x;
}

#endif
