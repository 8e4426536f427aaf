/* SPDX-License-Identifier: Apache-2.0 */
/* Elementary functions that compilers can vectorise: no branches, no calls, no tables. */
#ifndef MSX_KERNELS_CPU_VECMATH_H
#define MSX_KERNELS_CPU_VECMATH_H

#include "kernels/cpu/paths.h"

#include <stdint.h>
#include <string.h>

/* Sums and maxima run in this many lanes whatever the instruction set, so that the order of the
 * additions, and with it every bit, is the same everywhere. */
#define MSXK_LANES 16

/* The lanes added up in a fixed tree. */
MSXK_INLINE float msxk_sum_lanes(const float lanes[MSXK_LANES]) {
    float half[MSXK_LANES / 2];
    for (int i = 0; i < 8; i++) half[i] = lanes[i] + lanes[i + 8];
    for (int i = 0; i < 4; i++) half[i] += half[i + 4];
    return (half[0] + half[2]) + (half[1] + half[3]);
}

/* a * b + c, in one instruction where `fused`, a constant: for variants of MSXK_FUSED_VARIANTS. */
MSXK_INLINE float msxk_mul_add(int fused, float a, float b, float c) {
    return fused ? __builtin_fmaf(a, b, c) : a * b + c;
}

/* e^x for x in [-87, 88], relative error below 1e-7; smaller x count as -87 (1.6e-38). NaN stays. */
MSXK_INLINE float msxk_exp_of(int fused, float x) {
    const float to_integer = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = x < -87.0f ? -87.0f : x;
    float shifted = msxk_mul_add(fused, x, 1.44269504f, to_integer);
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    float n = shifted - to_integer;
    float r = msxk_mul_add(fused, n, -0.693359375f, x); /* ln 2 in two parts */
    r = msxk_mul_add(fused, n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = msxk_mul_add(fused, p, r, 1.3981999507e-3f);
    p = msxk_mul_add(fused, p, r, 8.3334519073e-3f);
    p = msxk_mul_add(fused, p, r, 4.1665795894e-2f);
    p = msxk_mul_add(fused, p, r, 1.6666665459e-1f);
    p = msxk_mul_add(fused, p, r, 5.0000001201e-1f);
    p = msxk_mul_add(fused, p, r * r, r) + 1.0f;
    bits = (bits - 0x4B400000u + 127u) << 23; /* 2^n */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}
MSXK_INLINE float msxk_exp(float x) {
    return msxk_exp_of(0, x);
}

/* x * Phi(x), the exact GELU: error below 7e-8 plus half a unit in the last place of the result. With
 * a = |x| it is max(x, 0) - a * Phi(-a), and Phi(-a) * e^(a*a/2) is a polynomial in 1 / (1 + 0.3 a)
 * (own minimax fit, relative error 1.5e-7): nothing cancels in the negative tail, as it does in
 * 1 + erf. */
MSXK_INLINE float msxk_gelu(float x) {
    float a = x < 0.0f ? -x : x;
    float t = 1.0f / (1.0f + 0.3f * a);
    float p = 0.0356768481f;
    p = p * t - 0.157211632f;
    p = p * t + 0.206368044f;
    p = p * t - 0.0536968559f;
    p = p * t + 0.12856856f;
    p = p * t + 0.0999113917f;
    p = p * t + 0.120754294f;
    p = p * t + 0.119629279f;
    float tail = a * (p * t * msxk_exp(-0.5f * a * a));
    return (x > 0.0f ? x : 0.0f) - tail;
}

#endif
