/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder's attention in float32 (and tf32, whose gain lies in the products around it): 32 queries
 * against tiles of 64 keys, online softmax (Milakov and Gimelshein 2018), no score matrix in memory.
 *
 * 128 threads as 8 x 16: a thread has 4 queries, and of a tile the scores of keys tx, tx + 16, ... and
 * the channels tx, tx + 16, ... of the output. Limit: float32 multiplications from shared memory.
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

/* bias[query][k] = q . table[position - k + side - 1] */
static __device__ void relative_bias(float *bias, const float *q, int stride, const float *table,
                                     const msxk_attention_shape &s, const msxk_window &w,
                                     bool by_row) {
    for (int i = threadIdx.x; i < QUERIES * s.side; i += THREADS) {
        int query = i / s.side, k = i % s.side, index = w.first + query;
        int position = by_row ? index / w.cols : index % w.cols;
        if (index >= w.rows * w.cols) position = 0; /* its q is zero */
        const float *row = table + (int64_t)(position - k + s.side - 1) * s.dim;
        float sum = 0.0f;
        for (int c = 0; c < s.dim; c++) sum += q[query * stride + c] * row[c];
        bias[query * s.bias_stride + k] = sum;
    }
}

/* k and v of keys [first, first + 64): from qkv, the bias where the window reaches over the grid, zero
 * behind the last key. */
template <int CHANNELS>
static __device__ void load_keys(float *k, float *v, int stride, const float *qkv,
                                 const float *qkv_bias, const msxk_attention_shape &s,
                                 const msxk_window &w, int first) {
    for (int i = threadIdx.x; i < MSXK_TILE_KEYS * CHANNELS; i += THREADS) {
        int row = i / CHANNELS, c = i % CHANNELS, key = first + row;
        float key_value = 0.0f, value = 0.0f;
        if (key < s.side * s.side && c < s.dim) {
            int y = msxk_key_row(s, key), x = key - y * s.side;
            bool real = y < w.rows && x < w.cols;
            const float *from = real ? qkv + msxk_token(s, w, y, x) * 3 * s.width : qkv_bias;
            key_value = from[s.width + w.head * s.dim + c];
            value = from[2 * s.width + w.head * s.dim + c];
        }
        k[row * stride + c] = key_value;
        v[row * stride + c] = value;
    }
}

template <int CHANNELS>
static __global__ void __launch_bounds__(THREADS)
    attention_float_kernel(const float *qkv, const float *qkv_bias, const float *rel_h,
                           const float *rel_w, float *out, msxk_attention_shape s) {
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

    for (int i = threadIdx.x; i < QUERIES * CHANNELS; i += THREADS) {
        int row = i / CHANNELS, c = i % CHANNELS, index = w.first + row;
        float value = 0.0f;
        if (index < queries && c < s.dim)
            value = qkv[msxk_token(s, w, index / w.cols, index % w.cols) * 3 * s.width +
                        w.head * s.dim + c];
        q[row * at.stride + c] = value;
    }
    __syncthreads();
    relative_bias(bias_h, q, at.stride, rel_h, s, w, true);
    relative_bias(bias_w, q, at.stride, rel_w, s, w, false);

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
        load_keys<CHANNELS>(k, v, at.stride, qkv, qkv_bias, s, w, first);
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
        for (int key = 0; key < MSXK_TILE_KEYS; key++) {
            float p[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) p[r] = weights[(row0 + r) * WEIGHT_STRIDE + key];
#pragma unroll
            for (int j = 0; j < PER_THREAD; j++) {
                float value = v[key * at.stride + tx + 16 * j];
#pragma unroll
                for (int r = 0; r < ROWS; r++) o[r][j] += p[r] * value;
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int index = w.first + row0 + r;
        if (index >= queries) continue;
        float *to =
            out + msxk_token(s, w, index / w.cols, index % w.cols) * s.width + w.head * s.dim;
#pragma unroll
        for (int j = 0; j < PER_THREAD; j++)
            if (tx + 16 * j < s.dim) to[tx + 16 * j] = o[r][j] / sum[r];
    }
}

int msxk_cuda_attention(msx_kdev *dev, const msxk_attention *a) {
    static const struct {
        int channels;
        void (*kernel)(const float *, const float *, const float *, const float *, float *,
                       msxk_attention_shape);
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
    return MSXK_LAUNCH(dev, kernels[i].kernel, (unsigned)msxk_shape_grid(a, s), THREADS, bytes,
                       a->qkv, a->qkv_bias, a->rel_h, a->rel_w, a->out, s);
}
