/* SPDX-License-Identifier: Apache-2.0 */
/* Bilinear resampling of logits, rounded after every operation as kernels/cpu/masks.c does it, so that
 * equal logits give equal masks. */
#ifndef MSX_KERNELS_CUDA_RESAMPLE_H
#define MSX_KERNELS_CUDA_RESAMPLE_H

#include "kernels/cuda/cuda.h"

/* Where an output pixel lies between two input pixels. */
struct msxk_tap {
    int low, high;
    float weight; /* of high */
};

static __device__ __forceinline__ msxk_tap msxk_find_tap(int i, int in, float scale) {
    float source = __fsub_rn(__fmul_rn(scale, __fadd_rn((float)i, 0.5f)), 0.5f);
    if (source < 0.0f) source = 0.0f;
    int low = (int)source;
    if (low > in - 1) low = in - 1;
    return msxk_tap{low, low + 1 < in ? low + 1 : low, __fsub_rn(source, (float)low)};
}

static __device__ __forceinline__ float msxk_mix(float a, float weight_a, float b, float weight_b) {
    return __fadd_rn(__fmul_rn(weight_a, a), __fmul_rn(weight_b, b));
}

/* The four pixels at(y, x) around a place, weighted. */
template <class AT>
static __device__ __forceinline__ float msxk_between(const msxk_tap &down, const msxk_tap &across,
                                                     const AT &at) {
    float r1 = across.weight, r0 = __fsub_rn(1.0f, r1);
    float b1 = down.weight, b0 = __fsub_rn(1.0f, b1);
    return msxk_mix(msxk_mix(at(down.low, across.low), r0, at(down.low, across.high), r1), b0,
                    msxk_mix(at(down.high, across.low), r0, at(down.high, across.high), r1), b1);
}

static __device__ __forceinline__ float msxk_sigmoid(float x) {
    float e = expf(-fabsf(x)); /* never overflows */
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

#endif
