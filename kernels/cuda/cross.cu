/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder's attentions, in float32. Two kernels by what is few:
 *
 *   few keys (image to token, token to token): the keys and values of a head lie in shared memory, and
 *   a thread has one query.
 *   many keys (token to image): a block has a few queries, and each of its threads every 128th key; a
 *   thread keeps maximum, sum and weighted values of its own, which are joined at the end. Any sizes.
 *
 * Limit: reading the keys and values, once for a block's queries, from the L2 cache.
 */
#include "kernels/cuda/cuda.h"

#define THREADS     128
#define SHARED_MOST ((int64_t)48 << 10)

struct cross_shape {
    int64_t tq, tk, heads, width, stride_q, stride_k, stride_v, stride_out, blocks;
    int dim, vectors,
        wide; /* rows of k and v may be read four floats at a time; q and out likewise */
    float scale;
};

/* The problem, head and first query of a block. */
struct cross_place {
    int64_t problem, channel, first;
};
static __device__ __forceinline__ cross_place place_of(const cross_shape &s, int queries) {
    int64_t i = blockIdx.x;
    return cross_place{i / s.blocks / s.heads, i / s.blocks % s.heads * s.dim,
                       i % s.blocks * queries};
}

/* A head's channels, zero behind them; as vectors of four where all rows are aligned and full. */
template <int CHANNELS>
static __device__ __forceinline__ void load_row(float *to, const float *from, const cross_shape &s,
                                                int wide) {
    if (wide) {
#pragma unroll
        for (int c = 0; c < CHANNELS; c += 4) {
            float4 four = *reinterpret_cast<const float4 *>(from + c);
            to[c] = four.x, to[c + 1] = four.y, to[c + 2] = four.z, to[c + 3] = four.w;
        }
        return;
    }
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) to[c] = c < s.dim ? from[c] : 0.0f;
}

template <int CHANNELS>
static __device__ __forceinline__ void store_row(float *to, const float *from,
                                                 const cross_shape &s) {
    if (s.wide) {
#pragma unroll
        for (int c = 0; c < CHANNELS; c += 4)
            *reinterpret_cast<float4 *>(to + c) =
                make_float4(from[c], from[c + 1], from[c + 2], from[c + 3]);
        return;
    }
#pragma unroll
    for (int c = 0; c < CHANNELS; c++)
        if (c < s.dim) to[c] = from[c];
}

/* CHANNELS: a head's, at most. */
template <int CHANNELS>
static __global__ void __launch_bounds__(THREADS)
    few_keys_kernel(float *out, const float *q, const float *k, const float *v, cross_shape s) {
    MSXK_SHARED(float, keys);
    float *values = keys + s.tk * CHANNELS;
    cross_place at = place_of(s, THREADS);
    k += at.problem * s.stride_k + at.channel;
    v += at.problem * s.stride_v + at.channel;
    for (int64_t i = threadIdx.x; i < s.tk * CHANNELS; i += blockDim.x) {
        int c = (int)(i % CHANNELS);
        keys[i] = c < s.dim ? k[i / CHANNELS * s.width + c] : 0.0f;
        values[i] = c < s.dim ? v[i / CHANNELS * s.width + c] : 0.0f;
    }
    __syncthreads();
    int64_t row = at.first + threadIdx.x;
    if (row >= s.tq) return;
    float query[CHANNELS], sums[CHANNELS], most = -INFINITY, total = 0.0f;
    load_row<CHANNELS>(query, q + at.problem * s.stride_q + row * s.width + at.channel, s, s.wide);
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) {
        query[c] *= s.scale;
        sums[c] = 0.0f;
    }
    for (int64_t key = 0; key < s.tk; key++) {
        float score = 0.0f;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) score += query[c] * keys[key * CHANNELS + c];
        float now = fmaxf(most, score), shrink = expf(most - now), weight = expf(score - now);
        most = now;
        total = total * shrink + weight;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++)
            sums[c] = sums[c] * shrink + weight * values[key * CHANNELS + c];
    }
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) sums[c] /= total;
    store_row<CHANNELS>(out + at.problem * s.stride_out + row * s.width + at.channel, sums, s);
}

/* Join the threads' maxima, sums and values of one query; `mine` (2 + channels) is this thread's, the
 * result is thread 0's. Halving keeps the order of the additions fixed. */
template <int CHANNELS>
static __device__ void join(float *shared, float most, float total, const float *sums) {
    float *mine = shared + threadIdx.x * (CHANNELS + 3); /* an odd stride keeps the banks apart */
    __syncthreads();
    mine[0] = most;
    mine[1] = total;
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) mine[2 + c] = sums[c];
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x >= half) continue;
        const float *other = mine + half * (CHANNELS + 3);
        float now = fmaxf(mine[0], other[0]);
        if (now == -INFINITY) continue; /* neither has a key */
        float a = expf(mine[0] - now), b = expf(other[0] - now);
        mine[0] = now;
        mine[1] = mine[1] * a + other[1] * b;
        for (int c = 0; c < CHANNELS; c++) mine[2 + c] = mine[2 + c] * a + other[2 + c] * b;
    }
    __syncthreads();
}

template <int CHANNELS, int QUERIES>
static __global__ void __launch_bounds__(THREADS)
    many_keys_kernel(float *out, const float *q, const float *k, const float *v, cross_shape s) {
    MSXK_SHARED(float, shared);
    float *queries = shared + THREADS * (CHANNELS + 3);
    cross_place at = place_of(s, QUERIES);
    k += at.problem * s.stride_k + at.channel;
    v += at.problem * s.stride_v + at.channel;
    for (int i = threadIdx.x; i < QUERIES * CHANNELS; i += THREADS) {
        int64_t row = at.first + i / CHANNELS;
        int c = i % CHANNELS;
        queries[i] = row < s.tq && c < s.dim
                         ? q[at.problem * s.stride_q + row * s.width + at.channel + c] * s.scale
                         : 0.0f;
    }
    __syncthreads();
    float most[QUERIES], total[QUERIES], sums[QUERIES][CHANNELS];
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        most[i] = -INFINITY;
        total[i] = 0.0f;
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) sums[i][c] = 0.0f;
    }
    for (int64_t key = threadIdx.x; key < s.tk; key += THREADS) {
        float row[CHANNELS], shrink[QUERIES], weight[QUERIES];
        load_row<CHANNELS>(row, k + key * s.width, s, s.vectors);
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            float score = 0.0f;
#pragma unroll
            for (int c = 0; c < CHANNELS; c++) score += queries[i * CHANNELS + c] * row[c];
            float now = fmaxf(most[i], score);
            shrink[i] = expf(most[i] - now);
            weight[i] = expf(score - now);
            most[i] = now;
            total[i] = total[i] * shrink[i] + weight[i];
        }
        load_row<CHANNELS>(row, v + key * s.width, s, s.vectors);
#pragma unroll
        for (int i = 0; i < QUERIES; i++)
#pragma unroll
            for (int c = 0; c < CHANNELS; c++)
                sums[i][c] = sums[i][c] * shrink[i] + weight[i] * row[c];
    }
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        join<CHANNELS>(shared, most[i], total[i], sums[i]);
        int64_t row = at.first + i;
        if (row < s.tq && (int)threadIdx.x < s.dim)
            out[at.problem * s.stride_out + row * s.width + at.channel + threadIdx.x] =
                shared[2 + threadIdx.x] / shared[1];
    }
}

typedef void cross_kernel(float *, const float *, const float *, const float *, cross_shape);

/* Registers bound a thread's queries times channels. */
static const struct {
    int channels, queries;
    cross_kernel *few, *many;
} kernels[] = {
    {8, 8, few_keys_kernel<8>, many_keys_kernel<8, 8>},
    {16, 4, few_keys_kernel<16>, many_keys_kernel<16, 4>},
    {32, 2, few_keys_kernel<32>, many_keys_kernel<32, 2>},
    {64, 1, few_keys_kernel<64>, many_keys_kernel<64, 1>},
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

int msxk_cuda_cross(msx_kdev *dev, const msxk_cross *c) {
    if (c->batch <= 0 || c->tq <= 0 || c->heads <= 0 || c->dim <= 0) return MSXK_OK;
    if (c->tk <= 0) return msxk_cuda_fail(dev, MSXK_E_ARG, "attention without keys");
    int i = 0;
    while (i < KERNELS && kernels[i].channels < c->dim) i++;
    if (i == KERNELS)
        return msxk_cuda_fail(dev, MSXK_E_ARG,
                              "decoder attention: heads of %lld channels; this backend has at most "
                              "%d",
                              (long long)c->dim, kernels[KERNELS - 1].channels);
    int64_t few_bytes = 2 * c->tk * kernels[i].channels * (int64_t)sizeof(float);
    bool few = c->tk <= 64 && few_bytes <= SHARED_MOST;
    int64_t queries = few ? THREADS : kernels[i].queries, blocks = (c->tq + queries - 1) / queries;
    bool full = c->dim == kernels[i].channels;
    bool vectors = full && c->stride_k % 4 == 0 && c->stride_v % 4 == 0 &&
                   ((uintptr_t)c->k | (uintptr_t)c->v) % 16 == 0;
    bool wide = full && c->stride_q % 4 == 0 && c->stride_out % 4 == 0 &&
                ((uintptr_t)c->q | (uintptr_t)c->out) % 16 == 0;
    cross_shape s = {c->tq,       c->tk,       c->heads,    c->heads * c->dim,
                     c->stride_q, c->stride_k, c->stride_v, c->stride_out,
                     blocks,      (int)c->dim, vectors,     wide,
                     c->scale};
    unsigned grid = (unsigned)(c->batch * c->heads * blocks);
    if (few) {
        unsigned threads = c->tq < THREADS ? (unsigned)(c->tq + 31) / 32 * 32 : THREADS;
        return MSXK_LAUNCH(dev, kernels[i].few, grid, threads, (size_t)few_bytes, c->out, c->q,
                           c->k, c->v, s);
    }
    size_t bytes =
        (size_t)(THREADS * (kernels[i].channels + 3) + kernels[i].queries * kernels[i].channels) *
        sizeof(float);
    return MSXK_LAUNCH(dev, kernels[i].many, grid, THREADS, bytes, c->out, c->q, c->k, c->v, s);
}
