// SPDX-License-Identifier: Apache-2.0
// The runtime calls that kernels/cuda makes: two devices that both are the host, with 1 GiB each.
#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <stdlib.h>
#include <vector>

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

struct on_cpu_graph {
    std::vector<std::function<void()>> work;
};

struct on_cpu_stream {
    int device;
    on_cpu_graph *capture;
};

void on_cpu::submit(cudaStream_t stream, const std::function<void()> &work) {
    if (stream->capture)
        stream->capture->work.push_back(work);
    else
        work();
}

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

// Copies from and to the host may not be captured: kernels/cuda makes none between begin and end.
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (stream->capture && kind != cudaMemcpyDeviceToDevice) return fail(cudaErrorInvalidValue);
    on_cpu::submit(stream, [=] { memmove(to, from, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    on_cpu::submit(stream, [=] { memset(to, value, bytes); });
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (stream->capture) return fail(cudaErrorInvalidValue);
    stream->capture = new on_cpu_graph();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = stream->capture;
    stream->capture = nullptr;
    return *graph ? cudaSuccess : fail(cudaErrorInvalidValue);
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long) {
    *exec = new on_cpu_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
    for (const auto &work : exec->work) work();
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    *stream = new on_cpu_stream{current_device, nullptr};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return stream->capture ? fail(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int value) {
    return value <= 99 << 10 ? cudaSuccess : fail(cudaErrorInvalidValue);
}
