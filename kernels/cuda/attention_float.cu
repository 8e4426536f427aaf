/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder's attention in float32 (and tf32, whose gain lies in the products around it): 32 queries
 * against tiles of 64 keys, online softmax (Milakov and Gimelshein 2018), no score matrix in memory.
 *
 * 128 threads as 8 x 16: a thread has 4 queries, and of a tile the scores of keys tx, tx + 16, ... Of the
 * output it has four neighbouring channels in each 64, and one in every 16 of what is left. Vectors of four
 * come from shared memory for sixteen multiplications each. Limit: float32 multiplications and
 * shared memory's bandwidth, about equally.
 */
#include "kernels/cuda/attention.h"

#define QUERIES 32
#define THREADS 128
#define ROWS    4 /* queries of a thread */
#define COLUMNS 4 /* keys of a thread in a tile */

/* Shared memory, in floats. */
struct float_areas {
    int stride; /* of a row of q, k and v: 4 more than its channels, so that rows start in other banks */
    int q, k, v, weights, bias_h, bias_w, total;
};

static __host__ __device__ float_areas float_layout(int channels, int bias_stride) {
    float_areas a;
    a.stride = channels + 4;
    a.q = 0;
    a.k = a.q + QUERIES * a.stride;
    a.v = a.k + MSXK_TILE_KEYS * a.stride;
    a.weights = a.v + MSXK_TILE_KEYS * a.stride;
    a.bias_h = a.weights + QUERIES * (MSXK_TILE_KEYS + 4);
    a.bias_w = a.bias_h + QUERIES * bias_stride;
    a.total = a.bias_w + QUERIES * bias_stride;
    return a;
}

/* Channel of a thread's j-th output. */
template <int CHANNELS> static __device__ __forceinline__ int channel_of(int tx, int j) {
    enum { QUADS = CHANNELS / 64 };
    return j < 4 * QUADS ? j / 4 * 64 + 4 * tx + j % 4 : 64 * QUADS + (j - 4 * QUADS) * 16 + tx;
}

/* o (4 rows) += weights of four keys times their values */
template <int CHANNELS>
static __device__ __forceinline__ void times_values(float o[ROWS][CHANNELS / 16],
                                                    const float4 p[ROWS], const float *v,
                                                    int stride, int tx) {
    enum { QUADS = CHANNELS / 64, PER_THREAD = CHANNELS / 16 };
#pragma unroll
    for (int key = 0; key < 4; key++) {
        float value[PER_THREAD];
#pragma unroll
        for (int j = 0; j < QUADS; j++) {
            float4 four = *reinterpret_cast<const float4 *>(v + key * stride + 64 * j + 4 * tx);
            value[4 * j] = four.x, value[4 * j + 1] = four.y;
            value[4 * j + 2] = four.z, value[4 * j + 3] = four.w;
        }
#pragma unroll
        for (int j = 4 * QUADS; j < PER_THREAD; j++)
            value[j] = v[key * stride + channel_of<CHANNELS>(tx, j)];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float weight = key == 0 ? p[r].x : key == 1 ? p[r].y : key == 2 ? p[r].z : p[r].w;
#pragma unroll
            for (int j = 0; j < PER_THREAD; j++) o[r][j] += weight * value[j];
        }
    }
}

/* CHANNELS floats of a head to a row of shared memory, zero behind the last of them; `piece`: four at a time,
 * or one where rows are not aligned for that. */
template <int CHANNELS>
static __device__ __forceinline__ void load_piece(float *to, const float *from, int piece,
                                                  int64_t dim, bool wide) {
    if (wide) {
        float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (from && 4 * piece < dim) four = reinterpret_cast<const float4 *>(from)[piece];
        reinterpret_cast<float4 *>(to)[piece] = four;
    } else {
        to[piece] = from && piece < dim ? from[piece] : 0.0f;
    }
}

/* bias[query][k] = q . table[position - k + side - 1]; `rows`: room for two tiles of keys, through which the
 * table comes. */
template <int CHANNELS>
static __device__ void relative_bias(float *bias, const float *q, float *rows, int stride,
                                     const float *table, const msxk_attention_shape &s,
                                     const msxk_window &w, bool by_row, bool wide) {
    const int held = 2 * MSXK_TILE_KEYS, entries = 2 * s.side - 1;
    const int pieces = wide ? CHANNELS / 4 : CHANNELS;
    for (int first = 0; first < entries; first += held) {
        __syncthreads();
        for (int i = threadIdx.x; i < held * pieces; i += THREADS) {
            int row = i / pieces;
            const float *from = first + row < entries ? table + (first + row) * s.dim : NULL;
            load_piece<CHANNELS>(rows + row * stride, from, i % pieces, s.dim, wide);
        }
        __syncthreads();
        for (int i = threadIdx.x; i < QUERIES * s.side; i += THREADS) {
            int query = i / s.side, k = i % s.side, index = w.first + query;
            int position = by_row ? index / w.cols : index % w.cols;
            if (index >= w.rows * w.cols) position = 0; /* its q is zero */
            int row = position - k + s.side - 1 - first;
            if (row < 0 || row >= held) continue;
            const float4 *a = reinterpret_cast<const float4 *>(q + query * stride);
            const float4 *b = reinterpret_cast<const float4 *>(rows + row * stride);
            float sum = 0.0f;
#pragma unroll 4
            for (int c = 0; c < CHANNELS / 4; c++)
                sum += a[c].x * b[c].x + a[c].y * b[c].y + a[c].z * b[c].z + a[c].w * b[c].w;
            bias[query * s.bias_stride + k] = sum;
        }
    }
}

/* k and v of keys [first, first + 64): from qkv, the bias where the window reaches over the grid, zero
 * behind the last key. */
template <int CHANNELS>
static __device__ void load_keys(float *k, float *v, int stride, const float *qkv,
                                 const float *qkv_bias, const msxk_attention_shape &s,
                                 const msxk_window &w, int first, bool wide) {
    const int pieces = wide ? CHANNELS / 4 : CHANNELS;
    for (int i = threadIdx.x; i < MSXK_TILE_KEYS * pieces; i += THREADS) {
        int row = i / pieces, piece = i % pieces, key = first + row;
        const float *from = NULL;
        if (key < s.side * s.side) {
            int y = msxk_key_row(s, key), x = key - y * s.side;
            bool real = y < w.rows && x < w.cols;
            from = (real ? qkv + msxk_token(s, w, y, x) * 3 * s.width : qkv_bias) + s.width +
                   w.head * s.dim;
        }
        load_piece<CHANNELS>(k + row * stride, from, piece, s.dim, wide);
        load_piece<CHANNELS>(v + row * stride, from ? from + s.width : NULL, piece, s.dim, wide);
    }
}

template <int CHANNELS>
static __global__ void __launch_bounds__(THREADS, 4)
    attention_float_kernel(const float *qkv, const float *qkv_bias, const float *rel_h,
                           const float *rel_w, float *out, msxk_attention_shape s, bool wide) {
    enum { PER_THREAD = CHANNELS / 16, WEIGHT_STRIDE = MSXK_TILE_KEYS + 4 };
    MSXK_SHARED(float, memory);
    float_areas at = float_layout(CHANNELS, s.bias_stride);
    float *q = memory + at.q, *k = memory + at.k, *v = memory + at.v;
    float *weights = memory + at.weights, *bias_h = memory + at.bias_h,
          *bias_w = memory + at.bias_w;
    msxk_window w = msxk_window_of(s);
    int queries = w.rows * w.cols, keys = s.side * s.side;
    if (w.first >= queries) return;
    int tx = threadIdx.x % 16, row0 = threadIdx.x / 16 * ROWS;

    const int pieces = wide ? CHANNELS / 4 : CHANNELS;
    for (int i = threadIdx.x; i < QUERIES * pieces; i += THREADS) {
        int row = i / pieces, index = w.first + row;
        const float *from = NULL;
        if (index < queries)
            from = qkv + msxk_token(s, w, index / w.cols, index % w.cols) * 3 * s.width +
                   w.head * s.dim;
        load_piece<CHANNELS>(q + row * at.stride, from, i % pieces, s.dim, wide);
    }
    relative_bias<CHANNELS>(bias_h, q, k, at.stride, rel_h, s, w, true, wide);
    relative_bias<CHANNELS>(bias_w, q, k, at.stride, rel_w, s, w, false, wide);

    float most[ROWS], sum[ROWS], o[ROWS][PER_THREAD];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        most[r] = -INFINITY;
        sum[r] = 0.0f;
#pragma unroll
        for (int j = 0; j < PER_THREAD; j++) o[r][j] = 0.0f;
    }
    for (int first = 0; first < keys; first += MSXK_TILE_KEYS) {
        __syncthreads();
        load_keys<CHANNELS>(k, v, at.stride, qkv, qkv_bias, s, w, first, wide);
        __syncthreads();
        float scores[ROWS][COLUMNS] = {};
        for (int c = 0; c < CHANNELS; c += 4) {
            float4 a[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                a[r] = *reinterpret_cast<const float4 *>(q + (row0 + r) * at.stride + c);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                float4 b = *reinterpret_cast<const float4 *>(k + (tx + 16 * j) * at.stride + c);
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    scores[r][j] += a[r].x * b.x + a[r].y * b.y + a[r].z * b.z + a[r].w * b.w;
            }
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            int key = first + tx + 16 * j, y = msxk_key_row(s, key), x = key - y * s.side;
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                scores[r][j] = key < keys ? scores[r][j] * s.scale +
                                                bias_h[(row0 + r) * s.bias_stride + y] +
                                                bias_w[(row0 + r) * s.bias_stride + x]
                                          : -INFINITY;
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float now = most[r], total = 0.0f;
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) now = fmaxf(now, scores[r][j]);
#pragma unroll
            for (int bits = 8; bits > 0; bits /= 2)
                now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, bits));
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                float weight = expf(scores[r][j] - now);
                weights[(row0 + r) * WEIGHT_STRIDE + tx + 16 * j] = weight;
                total += weight;
            }
#pragma unroll
            for (int bits = 8; bits > 0; bits /= 2)
                total += __shfl_xor_sync(0xffffffffu, total, bits);
            float shrink = expf(most[r] - now);
            most[r] = now;
            sum[r] = sum[r] * shrink + total;
#pragma unroll
            for (int j = 0; j < PER_THREAD; j++) o[r][j] *= shrink;
        }
        __syncwarp(); /* a row's weights are written and read by one half of a warp */
        for (int key = 0; key < MSXK_TILE_KEYS; key += 4) {
            float4 p[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                p[r] =
                    *reinterpret_cast<const float4 *>(weights + (row0 + r) * WEIGHT_STRIDE + key);
            times_values<CHANNELS>(o, p, v + key * at.stride, at.stride, tx);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int index = w.first + row0 + r;
        if (index >= queries) continue;
        float *to =
            out + msxk_token(s, w, index / w.cols, index % w.cols) * s.width + w.head * s.dim;
#pragma unroll
        for (int j = 0; j < PER_THREAD; j++) {
            int c = channel_of<CHANNELS>(tx, j);
            if (c < s.dim) to[c] = o[r][j] / sum[r];
        }
    }
}

int msxk_cuda_attention(msx_kdev *dev, const msxk_attention *a) {
    static const struct {
        int channels;
        void (*kernel)(const float *, const float *, const float *, const float *, float *,
                       msxk_attention_shape, bool);
    } kernels[] = {{16, attention_float_kernel<16>},
                   {32, attention_float_kernel<32>},
                   {64, attention_float_kernel<64>},
                   {80, attention_float_kernel<80>},
                   {128, attention_float_kernel<128>}};
    if (a->batch <= 0 || a->grid <= 0 || a->heads <= 0 || a->dim <= 0) return MSXK_OK;
    MSXK_RETURN_IF(msxk_attention_check(dev, a));
    if (a->low) return msxk_cuda_attention_low(dev, a);
    int i = 0;
    while (kernels[i].channels < a->dim) i++;
    msxk_attention_shape s = msxk_shape_of(a, QUERIES);
    size_t bytes = (size_t)float_layout(kernels[i].channels, s.bias_stride).total * sizeof(float);
    MSXK_RETURN_IF(
        msxk_cuda_allow_shared(dev, reinterpret_cast<const void *>(kernels[i].kernel), bytes));
    uintptr_t addresses =
        (uintptr_t)a->qkv | (uintptr_t)a->qkv_bias | (uintptr_t)a->rel_h | (uintptr_t)a->rel_w;
    return MSXK_LAUNCH(dev, kernels[i].kernel, (unsigned)msxk_shape_grid(a, s), THREADS, bytes,
                       a->qkv, a->qkv_bias, a->rel_h, a->rel_w, a->out, s,
                       msxk_is_wide(addresses, a->dim, 4, sizeof(float)));
}
