/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer norm by row, one warp a row, two passes: one pass (E[x^2] - mean^2) cancels when |mean| >>
 * deviation. Rows of the widths that SAM has stay in registers between the passes; others are read
 * three times, from the first-level cache. Limit: memory bandwidth.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/instructions.h"

#define WARPS 4 /* rows of a block */

struct norm_shape {
    int64_t rows, cols;
    float eps;
    int act;
};

/* Four neighbours as one store: 16 bytes of float, 8 of low. */
static __device__ __forceinline__ void put4(float *y, float4 v, int) {
    *reinterpret_cast<float4 *>(y) = v;
}
static __device__ __forceinline__ void put4(msxk_low *y, float4 v, int precision) {
    uint2 pair =
        precision == MSXK_FP16
            ? make_uint2(msxk_pack(v.x, v.y, msxk_fp16()), msxk_pack(v.z, v.w, msxk_fp16()))
            : make_uint2(msxk_pack(v.x, v.y, msxk_bf16()), msxk_pack(v.z, v.w, msxk_bf16()));
    *reinterpret_cast<uint2 *>(y) = pair;
}

static __device__ __forceinline__ float square(float x) {
    return x * x;
}

/* cols == 128 * QUADS: each lane holds QUADS groups of four. */
template <class T, int QUADS>
static __global__ void __launch_bounds__(32 * WARPS)
    norm_in_registers(T *y, const float *x, const float *w, const float *b, norm_shape s,
                      int precision) {
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (row >= s.rows) return;
    const float4 *from = reinterpret_cast<const float4 *>(x + row * s.cols) + lane;
    float4 v[QUADS];
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < QUADS; i++) v[i] = from[32 * i];
#pragma unroll
    for (int i = 0; i < QUADS; i++) sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
    float mean = msxk_warp_sum(sum) / (float)s.cols;
#pragma unroll
    for (int i = 0; i < QUADS; i++)
        squares += (square(v[i].x - mean) + square(v[i].y - mean)) +
                   (square(v[i].z - mean) + square(v[i].w - mean));
    float factor = 1.0f / sqrtf(msxk_warp_sum(squares) / (float)s.cols + s.eps);
    const float4 *weight = reinterpret_cast<const float4 *>(w) + lane;
    const float4 *bias = reinterpret_cast<const float4 *>(b) + lane;
#pragma unroll
    for (int i = 0; i < QUADS; i++) {
        float4 scale = weight[32 * i], add = bias[32 * i], r;
        r.x = msxk_activate((v[i].x - mean) * factor * scale.x + add.x, s.act);
        r.y = msxk_activate((v[i].y - mean) * factor * scale.y + add.y, s.act);
        r.z = msxk_activate((v[i].z - mean) * factor * scale.z + add.z, s.act);
        r.w = msxk_activate((v[i].w - mean) * factor * scale.w + add.w, s.act);
        put4(y + row * s.cols + 4 * (lane + 32 * i), r, precision);
    }
}

/* cols == 4 * LANES, a part of a warp a row: what the masks' upscaling has. */
template <class T, int LANES>
static __global__ void __launch_bounds__(32 * WARPS)
    norm_short(T *y, const float *x, const float *w, const float *b, norm_shape s, int precision) {
    int64_t row = msxk_thread() / LANES;
    int lane = threadIdx.x % LANES;
    bool exists = row < s.rows; /* the others take part in the warp's sums */
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (exists) v = reinterpret_cast<const float4 *>(x + row * s.cols)[lane];
    float sum = (v.x + v.y) + (v.z + v.w);
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    float mean = sum / (float)s.cols;
    float squares =
        (square(v.x - mean) + square(v.y - mean)) + (square(v.z - mean) + square(v.w - mean));
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset /= 2)
        squares += __shfl_xor_sync(0xffffffffu, squares, offset);
    if (!exists) return;
    float factor = 1.0f / sqrtf(squares / (float)s.cols + s.eps);
    float4 scale = reinterpret_cast<const float4 *>(w)[lane];
    float4 add = reinterpret_cast<const float4 *>(b)[lane], r;
    r.x = msxk_activate((v.x - mean) * factor * scale.x + add.x, s.act);
    r.y = msxk_activate((v.y - mean) * factor * scale.y + add.y, s.act);
    r.z = msxk_activate((v.z - mean) * factor * scale.z + add.z, s.act);
    r.w = msxk_activate((v.w - mean) * factor * scale.w + add.w, s.act);
    put4(y + row * s.cols + 4 * lane, r, precision);
}

template <class T>
static __global__ void __launch_bounds__(32 * WARPS)
    norm_any(T *y, const float *x, const float *w, const float *b, norm_shape s, int precision) {
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (row >= s.rows) return;
    x += row * s.cols;
    y += row * s.cols;
    float sum = 0.0f, squares = 0.0f;
    for (int64_t c = lane; c < s.cols; c += 32) sum += x[c];
    float mean = msxk_warp_sum(sum) / (float)s.cols;
    for (int64_t c = lane; c < s.cols; c += 32) squares += square(x[c] - mean);
    float factor = 1.0f / sqrtf(msxk_warp_sum(squares) / (float)s.cols + s.eps);
    for (int64_t c = lane; c < s.cols; c += 32)
        msxk_write(y + c, msxk_activate((x[c] - mean) * factor * w[c] + b[c], s.act), precision);
}

template <class T>
static int run(msx_kdev *dev, T *y, const float *x, const float *w, const float *b,
               const norm_shape &s) {
    if (s.rows <= 0 || s.cols <= 0) return MSXK_OK;
    uintptr_t addresses = (uintptr_t)x | (uintptr_t)y | (uintptr_t)w | (uintptr_t)b;
    static const struct {
        int64_t cols;
        int rows; /* of a block */
        void (*kernel)(T *, const float *, const float *, const float *, norm_shape, int);
    } special[] = {{32, 4 * WARPS, norm_short<T, 8>},      {64, 2 * WARPS, norm_short<T, 16>},
                   {128, WARPS, norm_in_registers<T, 1>},  {256, WARPS, norm_in_registers<T, 2>},
                   {768, WARPS, norm_in_registers<T, 6>},  {1024, WARPS, norm_in_registers<T, 8>},
                   {1280, WARPS, norm_in_registers<T, 10>}};
    for (const auto &k : special)
        if (s.cols == k.cols && addresses % 16 == 0)
            return MSXK_LAUNCH(dev, k.kernel, msxk_cuda_blocks(s.rows, k.rows), 32 * WARPS, 0, y, x,
                               w, b, s, dev->precision);
    return MSXK_LAUNCH(dev, norm_any<T>, msxk_cuda_blocks(s.rows, WARPS), 32 * WARPS, 0, y, x, w, b,
                       s, dev->precision);
}

int msxk_cuda_layer_norm(msx_kdev *dev, float *y, const float *x, const float *w, const float *b,
                         int64_t rows, int64_t cols, float eps, int act) {
    return run(dev, y, x, w, b, norm_shape{rows, cols, eps, act});
}

int msxk_cuda_layer_norm_low(msx_kdev *dev, msxk_low *y, const float *x, const float *w,
                             const float *b, int64_t rows, int64_t cols, float eps, int act) {
    return run(dev, y, x, w, b, norm_shape{rows, cols, eps, act});
}
