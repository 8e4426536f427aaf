/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of CUDA that kernels/cuda uses, on the host: this folder comes first on the include path, so
 * the sources of the kernels compile as C++ and run on any machine, also under AddressSanitizer.
 *
 * A grid runs block by block; the threads of a block are fibers of one host thread (grid.cpp) that
 * change over at barriers and warp collectives. Device memory is the host's, shared memory is
 * allocated anew for every launch, both filled with NaN before use. Streams do everything at once. A
 * barrier that not all threads reach, or a collective without its whole warp, ends the process with a
 * text.
 */
#ifndef MSX_TESTS_CUDA_RUNTIME_H
#define MSX_TESTS_CUDA_RUNTIME_H

#include <functional>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tuple>

/* ---- words of the language ---------------------------------------------------------------------- */

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {
    }
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline float2 make_float2(float x, float y) {
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y) {
    return {x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}

extern __thread uint3 threadIdx, blockIdx;
extern __thread uint3 blockDim, gridDim;

/* ---- runtime (runtime.cpp) ----------------------------------------------------------------------- */

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101
};
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3
};
enum cudaDeviceAttr {
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum { cudaStreamNonBlocking = 1 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
typedef struct on_cpu_stream *cudaStream_t;
typedef struct on_cpu_graph *cudaGraph_t;
typedef struct on_cpu_graph *cudaGraphExec_t;

const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value);

/* ---- the grid (grid.cpp) -------------------------------------------------------------------------- */

namespace on_cpu {

void run(dim3 grid, dim3 block, size_t shared, const std::function<void()> &kernel);
/* At once, or when the graph is started that the stream is being captured for. */
void submit(cudaStream_t stream, const std::function<void()> &work);
void *shared_memory(void);
void block_barrier(void);
void warp_barrier(unsigned mask);
unsigned lane(void);
/* 16 bytes of every lane of the running warp, for one collective; the barrier lies inside. */
struct alignas(16) slot {
    unsigned char bytes[16];
};
const slot *exchange(const slot &mine);
/* The same, and the lane that comes last does `work` on all slots before any lane goes on. */
void meet(const slot &mine, void (*work)(const slot all[32]));
/* Copies of 16 bytes that happen as late as they may: when the thread waits for their group. */
void copy_later(void *shared, const void *global);
void copies_commit(void);
void copies_wait(unsigned pending);

template <class... PARAMETERS, class... ARGUMENTS>
void launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            void (*kernel)(PARAMETERS...), ARGUMENTS... arguments) {
    std::tuple<PARAMETERS...> kept(arguments...);
    submit(stream, [=] { run(grid, block, shared, [&] { std::apply(kernel, kept); }); });
}

/* The value of lane `source(lane)`. */
template <class T> T from_lane(T value, unsigned source) {
    static_assert(sizeof(T) <= sizeof(slot), "one slot a lane");
    slot mine = {};
    memcpy(mine.bytes, &value, sizeof value);
    const slot *all = exchange(mine);
    T result;
    memcpy(&result, all[source % 32].bytes, sizeof result);
    return result;
}

} // namespace on_cpu

/* ---- functions of the device ----------------------------------------------------------------------- */

static inline void __syncthreads(void) {
    on_cpu::block_barrier();
}
static inline void __syncwarp(unsigned mask = 0xffffffffu) {
    on_cpu::warp_barrier(mask);
}
template <class T> T __shfl_sync(unsigned, T value, int source) {
    return on_cpu::from_lane(value, (unsigned)source);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int bits) {
    return on_cpu::from_lane(value, on_cpu::lane() ^ (unsigned)bits);
}
template <class T> T __shfl_up_sync(unsigned, T value, unsigned delta) {
    unsigned lane = on_cpu::lane();
    return on_cpu::from_lane(value, lane < delta ? lane : lane - delta);
}
static inline unsigned __ballot_sync(unsigned, int predicate) {
    on_cpu::slot mine = {};
    mine.bytes[0] = predicate != 0;
    const on_cpu::slot *all = on_cpu::exchange(mine);
    unsigned bits = 0;
    for (int i = 0; i < 32; i++) bits |= (unsigned)all[i].bytes[0] << i;
    return bits;
}
static inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
static inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((uint64_t)a * b >> 32);
}
/* Threads of a grid take turns, so an ordinary addition is atomic. */
template <class T, class U> T atomicAdd(T *to, U value) {
    T old = *to;
    *to = old + (T)value;
    return old;
}
template <class T> T atomicMin(T *to, T value) {
    T old = *to;
    if (value < old) *to = value;
    return old;
}
template <class T> T atomicMax(T *to, T value) {
    T old = *to;
    if (value > old) *to = value;
    return old;
}
static inline double __dmul_rn(double a, double b) {
    return a * b;
}
static inline double __dadd_rn(double a, double b) {
    return a + b;
}
static inline double __dsub_rn(double a, double b) {
    return a - b;
}
static inline double __ddiv_rn(double a, double b) {
    return a / b;
}
static inline float __fmul_rn(float a, float b) {
    return a * b;
}
static inline float __fadd_rn(float a, float b) {
    return a + b;
}
static inline float __fsub_rn(float a, float b) {
    return a - b;
}
static inline float __fdiv_rn(float a, float b) {
    return a / b;
}
static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline long long __double_as_longlong(double x) {
    long long bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline double __longlong_as_double(long long bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline float normcdff(float x) {
    return 0.5f * erfcf(-x * 0.70710678f);
}
static inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}
static inline void __threadfence(void) {
}
template <class T> T __ldcg(const T *p) {
    return *p;
}
template <class T> T __ldg(const T *p) {
    return *p;
}
using std::max;
using std::min;

#endif
