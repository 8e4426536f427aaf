/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cuda/instructions.h in plain loops: conversions of the low formats and the warp's matrix
 * instructions, with the fragments as PTX lays them out over the lanes. */
#ifndef MSX_TESTS_INSTRUCTIONS_ON_CPU_H
#define MSX_TESTS_INSTRUCTIONS_ON_CPU_H

#include <cuda_runtime.h>

#include <stdlib.h>

/* Nearest even, into a format with `mantissa` bits and exponents of `bias`. */
static inline msxk_low round_to_format(float x, int mantissa, int bias) {
    uint32_t bits = __float_as_uint(x), sign = bits >> 31 << 15;
    double value = fabs((double)x);
    uint32_t top = (2u * (uint32_t)bias + 1) << mantissa; /* infinity */
    if (x != x) return (msxk_low)(sign | top | 1u << (mantissa - 1));
    if (value == 0) return (msxk_low)sign;
    int exponent;
    frexp(value, &exponent); /* value = f * 2^exponent, f in [0.5, 1) */
    int e = exponent - 1 < 1 - bias ? 1 - bias : exponent - 1;
    double units = nearbyint(ldexp(value, mantissa - e)); /* of the last place */
    if (value == (double)INFINITY || units * ldexp(1, e - mantissa) >= ldexp(1, bias + 1))
        return (msxk_low)(sign | top);
    /* the implicit bit adds one to the exponent field, or is missing in a subnormal */
    return (msxk_low)(sign | (((uint32_t)(e + bias - 1) << mantissa) + (uint32_t)units));
}

static inline float widen_format(msxk_low x, int mantissa, int bias) {
    uint32_t field = (x & 0x7fffu) >> mantissa, fraction = x & ((1u << mantissa) - 1);
    double value;
    if (field == 2u * (uint32_t)bias + 1)
        value = fraction ? (double)NAN : (double)INFINITY;
    else if (field == 0)
        value = ldexp(fraction, 1 - bias - mantissa);
    else
        value = ldexp((1u << mantissa) + fraction, (int)field - bias - mantissa);
    return (float)(x >> 15 ? -value : value);
}

static inline msxk_low msxk_to_low(float x, msxk_fp16) {
    return round_to_format(x, 10, 15);
}
static inline msxk_low msxk_to_low(float x, msxk_bf16) {
    return round_to_format(x, 7, 127);
}
static inline float msxk_to_float(msxk_low x, msxk_fp16) {
    static const float *const table = [] {
        static float all[1 << 16];
        for (unsigned i = 0; i < 1 << 16; i++) all[i] = widen_format((msxk_low)i, 10, 15);
        return all;
    }();
    return table[x];
}
static inline float msxk_to_float(msxk_low x, msxk_bf16) {
    return __uint_as_float((uint32_t)x << 16);
}

template <class T> uint32_t msxk_pack(float first, float second, T format) {
    return msxk_to_low(first, format) | (uint32_t)msxk_to_low(second, format) << 16;
}

/* What a lane brings to a product: its fragments, and where its sums are. */
struct mma_lane {
    const uint32_t *a, *b;
    float *c;
};

/* a: rows lane/4 and 8 more, columns 2 (lane%4) and 8 more; b: column lane/4, rows as a's columns; c: rows
 * as a, columns 2 (lane%4). */
template <class T> void multiply_warp(const mma_lane lanes[32]) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i % 2 * 8, at = lane % 4 * 2 + i / 2 * 8;
            a[row][at] = msxk_to_float((msxk_low)lanes[lane].a[i], T());
            a[row][at + 1] = msxk_to_float((msxk_low)(lanes[lane].a[i] >> 16), T());
            if (i % 2) continue;
            b[at][lane / 4] = msxk_to_float((msxk_low)lanes[lane].b[i / 2], T());
            b[at + 1][lane / 4] = msxk_to_float((msxk_low)(lanes[lane].b[i / 2] >> 16), T());
        }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = lanes[lane].c[i];
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
            lanes[lane].c[i] = sum;
        }
}

template <class T> void msxk_mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1, T) {
    const uint32_t b[2] = {b0, b1};
    const mma_lane lane = {a, b, c}, *mine = &lane;
    on_cpu::slot slot = {};
    memcpy(slot.bytes, &mine, sizeof mine);
    on_cpu::meet(slot, [](const on_cpu::slot all[32]) {
        mma_lane lanes[32];
        for (int i = 0; i < 32; i++) {
            const mma_lane *from;
            memcpy(&from, all[i].bytes, sizeof from);
            lanes[i] = *from;
        }
        multiply_warp<T>(lanes);
    });
}

static inline float msxk_exp2(float x) {
    return exp2f(x);
}

/* A row that a lane names, and where its four results go. */
struct matrix_lane {
    const msxk_low *row;
    uint32_t *result;
};

template <bool TRANSPOSED> void load_warp(const on_cpu::slot all[32]) {
    matrix_lane lanes[32];
    for (int i = 0; i < 32; i++) memcpy(lanes + i, all[i].bytes, sizeof *lanes);
    for (int lane = 0; lane < 32; lane++)
        for (int matrix = 0; matrix < 4; matrix++) {
            uint32_t pair = 0;
            for (int i = 0; i < 2; i++) {
                int line = lane / 4, column = lane % 4 * 2 + i;
                if (TRANSPOSED) std::swap(line, column);
                pair |= (uint32_t)lanes[8 * matrix + line].row[column] << 16 * i;
            }
            lanes[lane].result[matrix] = pair;
        }
}

template <bool TRANSPOSED> void load_matrices(uint32_t r[4], const msxk_low *row) {
    if ((uintptr_t)row % 16) abort(); /* the instruction faults */
    const matrix_lane lane = {row, r};
    on_cpu::slot mine = {};
    memcpy(mine.bytes, &lane, sizeof lane);
    on_cpu::meet(mine, load_warp<TRANSPOSED>);
}
static inline void msxk_load_matrices(uint32_t r[4], const msxk_low *row) {
    load_matrices<false>(r, row);
}
static inline void msxk_load_transposed(uint32_t r[4], const msxk_low *row) {
    load_matrices<true>(r, row);
}

static inline void msxk_copy_async(void *shared, const void *global) {
    if (((uintptr_t)shared | (uintptr_t)global) % 16) abort();
    on_cpu::copy_later(shared, global);
}
static inline void msxk_copies_commit(void) {
    on_cpu::copies_commit();
}
template <int PENDING> void msxk_copies_wait(void) {
    on_cpu::copies_wait(PENDING);
}

#endif
