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

typedef float msxk_vec8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float msxk_vec4 __attribute__((vector_size(16), aligned(4), may_alias));

/* The lanes added up in a fixed tree. Vectors by name: of loops over halves, compilers make scalars. */
MSXK_INLINE float msxk_sum_lanes(const float lanes[MSXK_LANES]) {
    const msxk_vec8 *half = (const msxk_vec8 *)lanes;
    msxk_vec8 a = half[0] + half[1];
    msxk_vec4 b =
        __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/* The highest lane; NaN may be passed over. */
MSXK_INLINE float msxk_max_lanes(const float lanes[MSXK_LANES]) {
    float most[4];
    for (int i = 0; i < 4; i++) {
        float a = lanes[i] > lanes[i + 4] ? lanes[i] : lanes[i + 4];
        float b = lanes[i + 8] > lanes[i + 12] ? lanes[i + 8] : lanes[i + 12];
        most[i] = a > b ? a : b;
    }
    float a = most[0] > most[1] ? most[0] : most[1], b = most[2] > most[3] ? most[2] : most[3];
    return a > b ? a : b;
}

/* a * b + c, in one instruction where `fused`, a constant: for variants of MSXK_FUSED_VARIANTS. */
MSXK_INLINE float msxk_mul_add(int fused, float a, float b, float c) {
    return fused ? __builtin_fmaf(a, b, c) : a * b + c;
}

/* e^x for x in [-87, 88], relative error below 1e-7; smaller x count as -87 (1.6e-38). NaN stays. */
MSXK_INLINE float msxk_exp(float x) {
    const float to_integer = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = x < -87.0f ? -87.0f : x;
    float shifted = x * 1.44269504f + to_integer;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    float n = shifted - to_integer;
    float r = n * -0.693359375f + x; /* ln 2 in two parts */
    r = n * 2.12194440e-4f + r;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    bits = (bits - 0x4B400000u + 127u) << 23; /* 2^n */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* 2^x for x in [-126, 127], relative error below 1e-7, 1 at 0; smaller x count as -126 (1.2e-38). NaN stays.
 * Own minimax fit on [-1/2, 1/2], 1.6e-8. */
MSXK_INLINE float msxk_exp2_of(int fused, float x) {
    const float to_integer = 12582912.0f; /* as above; its last bits are those of the integer */
    x = x < -126.0f ? -126.0f : x;
    float shifted = x + to_integer, r = x - (shifted - to_integer);
    float p = 0x1.41d334p-13f;
    p = msxk_mul_add(fused, p, r, 0x1.5f456ap-10f);
    p = msxk_mul_add(fused, p, r, 0x1.3b2dbcp-7f);
    p = msxk_mul_add(fused, p, r, 0x1.c6aed4p-5f);
    p = msxk_mul_add(fused, p, r, 0x1.ebfbdap-3f);
    p = msxk_mul_add(fused, p, r, 0x1.62e430p-1f);
    p = msxk_mul_add(fused, p, r, 1.0f);
    uint32_t bits, power;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&power, &shifted, sizeof power);
    bits += power << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* x * Phi(x), the exact GELU: error below 7e-8 plus half a unit in the last place of the result. With
 * a = |x| it is max(x, 0) - a * Phi(-a), and Phi(-a) * e^(a*a/2) is a polynomial in t, a's place in [0, 5.5]
 * as [-1, 1] (own minimax fit of a * Phi(-a), 1.5e-8; beyond, that is below 2e-7 and falls). Nothing
 * cancels in the negative tail, as it does in 1 + erf, and nothing is divided. */
MSXK_INLINE float msxk_gelu_of(int fused, float x) {
    float a = x < 0.0f ? -x : x;
    float t = msxk_mul_add(fused, a < 5.5f ? a : 5.5f, 0x1.745d18p-2f, -1.0f);
    float p = -0x1.8fa57cp-7f;
    p = msxk_mul_add(fused, p, t, -0x1.dad926p-7f);
    p = msxk_mul_add(fused, p, t, -0x1.e2662cp-9f);
    p = msxk_mul_add(fused, p, t, 0x1.5c9d36p-6f);
    p = msxk_mul_add(fused, p, t, -0x1.b774b6p-9f);
    p = msxk_mul_add(fused, p, t, 0x1.080018p-6f);
    p = msxk_mul_add(fused, p, t, -0x1.f82ff4p-6f);
    p = msxk_mul_add(fused, p, t, 0x1.5b7130p-5f);
    p = msxk_mul_add(fused, p, t, -0x1.f69128p-5f);
    p = msxk_mul_add(fused, p, t, 0x1.58945ep-4f);
    p = msxk_mul_add(fused, p, t, -0x1.bc5b66p-4f);
    p = msxk_mul_add(fused, p, t, 0x1.0bb94ap-3f);
    float tail = p * msxk_exp2_of(fused, a * (-0.72134752f * a)); /* 1 / (2 ln 2) */
    return msxk_mul_add(fused, -a, tail, x > 0.0f ? x : 0.0f);
}

#endif
