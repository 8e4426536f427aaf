// SPDX-License-Identifier: Apache-2.0
// The runtime calls that kernels/cuda makes: two devices that both are the host, with 1 GiB each.
#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <stdlib.h>

namespace {

const int devices = 2;
const size_t device_bytes = (size_t)1 << 30;

std::mutex lock;
std::map<void *, std::pair<size_t, int>> allocations; // bytes and device
size_t in_use[devices];
thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

cudaError_t fail(cudaError_t error) {
    last_error = error;
    return error;
}

} // namespace

struct on_cpu_stream {
    int device;
};

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    default:
        return "invalid argument";
    }
}

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = devices;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= devices) return fail(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = 99 << 10;
        break; // of sm_86
    case cudaDevAttrMultiProcessorCount:
        *value = 4;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = 8;
        break;
    }
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    std::lock_guard<std::mutex> guard(lock);
    *total = device_bytes;
    *available = device_bytes - in_use[current_device];
    return cudaSuccess;
}

// Filled with NaN (of every format), so that what is read before it was written shows.
cudaError_t cudaMalloc(void **memory, size_t bytes) {
    std::lock_guard<std::mutex> guard(lock);
    *memory = nullptr;
    if (bytes > device_bytes - in_use[current_device]) return fail(cudaErrorMemoryAllocation);
    void *block = nullptr;
    if (posix_memalign(&block, 256, bytes)) return fail(cudaErrorMemoryAllocation);
    memset(block, 0xff, bytes);
    allocations[block] = {bytes, current_device};
    in_use[current_device] += bytes;
    *memory = block;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    if (!memory) return cudaSuccess;
    std::lock_guard<std::mutex> guard(lock);
    auto found = allocations.find(memory);
    if (found == allocations.end()) return fail(cudaErrorInvalidValue);
    in_use[found->second.second] -= found->second.first;
    allocations.erase(found);
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
    memmove(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t) {
    memset(to, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    *stream = new on_cpu_stream{current_device};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int value) {
    return value <= 99 << 10 ? cudaSuccess : fail(cudaErrorInvalidValue);
}
