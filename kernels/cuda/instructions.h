/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Low formats and the few instructions that C++ has no words for. All of them exist from sm_80 on. Only
 * this header knows PTX; tests replace it by plain loops (tests/cuda_on_cpu/instructions_on_cpu.h).
 */
#ifndef MSX_KERNELS_CUDA_INSTRUCTIONS_H
#define MSX_KERNELS_CUDA_INSTRUCTIONS_H

#include "kernels/kernels.h"

/* Tags of the two low formats. */
struct msxk_fp16 {};
struct msxk_bf16 {};

#ifndef __CUDACC__
#include "instructions_on_cpu.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>

static __device__ __forceinline__ msxk_low msxk_to_low(float x, msxk_fp16) {
    return __half_as_ushort(__float2half_rn(x));
}
static __device__ __forceinline__ msxk_low msxk_to_low(float x, msxk_bf16) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
static __device__ __forceinline__ float msxk_to_float(msxk_low x, msxk_fp16) {
    return __half2float(__ushort_as_half(x));
}
static __device__ __forceinline__ float msxk_to_float(msxk_low x, msxk_bf16) {
    return __bfloat162float(__ushort_as_bfloat16(x));
}

/* Two values in one register, `first` in the lower half. */
static __device__ __forceinline__ uint32_t msxk_pack(float first, float second, msxk_fp16) {
    __half2 pair = __floats2half2_rn(first, second);
    return *reinterpret_cast<uint32_t *>(&pair);
}
static __device__ __forceinline__ uint32_t msxk_pack(float first, float second, msxk_bf16) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return *reinterpret_cast<uint32_t *>(&pair);
}

/* c (16 x 8) += a (16 x 16) b (16 x 8), one warp; fragments as PTX defines them for m16n8k16. */
static __device__ __forceinline__ void msxk_mma(float c[4], const uint32_t a[4], uint32_t b0,
                                                uint32_t b1, msxk_fp16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
static __device__ __forceinline__ void msxk_mma(float c[4], const uint32_t a[4], uint32_t b0,
                                                uint32_t b1, msxk_bf16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* 2^x, within two units of the last place; results below 2^-126 are 0. */
static __device__ __forceinline__ float msxk_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Four 8 x 8 matrices of low elements from shared memory: lanes 8i .. 8i+7 name the rows (16 bytes,
 * aligned) of matrix i, and every lane gets two neighbours of row lane / 4 of each. */
static __device__ __forceinline__ void msxk_load_matrices(uint32_t r[4], const msxk_low *row) {
    unsigned address = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
/* The same, each matrix transposed on the way. */
static __device__ __forceinline__ void msxk_load_transposed(uint32_t r[4], const msxk_low *row) {
    unsigned address = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/* 16 bytes from global to shared memory, both aligned, past the registers; complete after the wait for
 * their group. */
static __device__ __forceinline__ void msxk_copy_async(void *shared, const void *global) {
    unsigned address = (unsigned)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global)
                 : "memory");
}
static __device__ __forceinline__ void msxk_copies_commit(void) {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Until at most PENDING groups of this thread are under way. */
template <int PENDING> static __device__ __forceinline__ void msxk_copies_wait(void) {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

#endif

/* Elements of either kind; `precision` says which low format. */
static __device__ __forceinline__ float msxk_read(const float *x, int) {
    return *x;
}
static __device__ __forceinline__ float msxk_read(const msxk_low *x, int precision) {
    return precision == MSXK_FP16 ? msxk_to_float(*x, msxk_fp16()) : msxk_to_float(*x, msxk_bf16());
}
static __device__ __forceinline__ void msxk_write(float *y, float x, int) {
    *y = x;
}
static __device__ __forceinline__ void msxk_write(msxk_low *y, float x, int precision) {
    *y = precision == MSXK_FP16 ? msxk_to_low(x, msxk_fp16()) : msxk_to_low(x, msxk_bf16());
}

#endif
