/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects against their masks: post-processing, union and counting in one pass, so that a search brings
 * home five integers an object. A pixel of the image takes its 16 logits (two steps of resampling) or
 * its 4 probabilities straight from the low-resolution map, which stays in the first-level cache; with
 * the roundings of the steps one by one (resample.h). Limit: that arithmetic.
 */
#include "kernels/cuda/resample.h"

#include <string.h>

#define THREADS 256

enum { TP, FP, FN, NONFINITE, TALLIES };

struct steps {
    int side, middle; /* middle 0: probabilities in one step */
};

static __device__ __forceinline__ bool is_inside(const msxk_object &o, const steps &s,
                                                 const float *logits, int y, int x) {
    if (!s.middle) {
        float scale_y = (float)s.side / (float)o.height, scale_x = (float)s.side / (float)o.width;
        return msxk_between(msxk_find_tap(y, s.side, scale_y), msxk_find_tap(x, s.side, scale_x),
                            [&](int v, int u) { return msxk_sigmoid(logits[v * s.side + u]); }) >
               0.5f;
    }
    float first = (float)s.side / (float)s.middle;
    auto middle = [&](int v, int u) {
        return msxk_between(msxk_find_tap(v, s.side, first), msxk_find_tap(u, s.side, first),
                            [&](int j, int i) { return logits[j * s.side + i]; });
    };
    float scale_y = (float)o.crop_h / (float)o.height, scale_x = (float)o.crop_w / (float)o.width;
    return msxk_between(msxk_find_tap(y, (int)o.crop_h, scale_y),
                        msxk_find_tap(x, (int)o.crop_w, scale_x), middle) > 0.0f;
}

/* blockIdx.y: the object; whole warps go through the loops together. */
static __global__ void count_kernel(unsigned long long *tallies, const msxk_object *objects,
                                    steps s) {
    const msxk_object o = objects[blockIdx.y];
    unsigned mine[TALLIES] = {};
    int64_t pixels = o.height * o.width, step = (int64_t)gridDim.x * THREADS;
    int64_t start = (int64_t)blockIdx.x * THREADS;
    for (int64_t first = start; first < pixels; first += step) {
        int64_t i = first + threadIdx.x;
        bool mask = false, reference = false;
        if (i < pixels) {
            int32_t label = o.labels[i];
            reference = label == o.label;
            for (int64_t m = 0; m < o.maps && !mask && label != o.ignore; m++)
                mask = is_inside(o, s, o.logits + m * o.stride, (int)(i / o.width),
                                 (int)(i % o.width));
        }
        mine[TP] += __popc(__ballot_sync(0xffffffffu, reference && mask));
        mine[FP] += __popc(__ballot_sync(0xffffffffu, !reference && mask));
        mine[FN] += __popc(__ballot_sync(0xffffffffu, reference && !mask));
    }
    int64_t area = (int64_t)s.side * s.side, logits = o.maps * area;
    for (int64_t first = start; first < logits; first += step) {
        int64_t i = first + threadIdx.x;
        bool bad = i < logits && !isfinite(o.logits[i / area * o.stride + i % area]);
        mine[NONFINITE] += __popc(__ballot_sync(0xffffffffu, bad));
    }
    if (threadIdx.x % 32) return;
    for (int t = 0; t < TALLIES; t++)
        if (mine[t]) atomicAdd(tallies + blockIdx.y * TALLIES + t, (unsigned long long)mine[t]);
}

static int count(msx_kdev *dev, unsigned long long *host, const msxk_object *objects, int64_t n,
                 const steps &s) {
    size_t tally_bytes = (size_t)n * TALLIES * sizeof *host, bytes = (size_t)n * sizeof *objects;
    void *memory;
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_OP, tally_bytes + bytes, &memory));
    unsigned long long *tallies = static_cast<unsigned long long *>(memory);
    msxk_object *there = reinterpret_cast<msxk_object *>(tallies + n * TALLIES);
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t pixels = objects[i].height * objects[i].width;
        int64_t logits = objects[i].maps * (int64_t)s.side * s.side;
        if (pixels > most) most = pixels;
        if (logits > most) most = logits;
    }
    MSXK_RETURN_IF(msxk_cuda_check(dev, cudaMemsetAsync(memory, 0, tally_bytes, dev->stream),
                                   "cudaMemsetAsync"));
    MSXK_RETURN_IF(msxk_cuda_check(
        dev, cudaMemcpyAsync(there, objects, bytes, cudaMemcpyHostToDevice, dev->stream),
        "upload"));
    unsigned blocks = msxk_cuda_blocks(most, 4 * THREADS);
    for (int64_t first = 0; first < n && most; first += 65535) {
        unsigned rows = (unsigned)(n - first < 65535 ? n - first : 65535);
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, count_kernel, dim3(blocks, rows), THREADS, 0,
                                   tallies + first * TALLIES, there + first, s));
    }
    return msxk_cuda_download(dev, host, tallies, tally_bytes);
}

int msxk_cuda_count_objects(msx_kdev *dev, int64_t (*counts)[5], const msxk_object *objects,
                            int64_t n, int64_t side, int64_t middle) {
    if (n <= 0) return MSXK_OK;
    if (side < 1) return msxk_cuda_fail(dev, MSXK_E_ARG, "counting: the maps have no logits");
    size_t bytes = (size_t)n * TALLIES * sizeof(unsigned long long);
    unsigned long long *tallies =
        static_cast<unsigned long long *>(msxk_cuda_host_alloc(dev, bytes));
    if (!tallies) return MSXK_E_NOMEM;
    int code = count(dev, tallies, objects, n, steps{(int)side, (int)middle});
    for (int64_t i = 0; i < n && code == MSXK_OK; i++) {
        const unsigned long long *t = tallies + i * TALLIES;
        int64_t pixels = objects[i].height * objects[i].width;
        for (int k = TP; k <= FN; k++) counts[i][k] = (int64_t)t[k];
        counts[i][3] = pixels - counts[i][TP] - counts[i][FP] - counts[i][FN];
        counts[i][4] = (int64_t)t[NONFINITE];
    }
    dev->host.free(tallies, dev->host.payload);
    return code;
}
