/* SPDX-License-Identifier: Apache-2.0 */
/* Post-processing: resampling of logits, probabilities, masks and their overlap. Resampling rounds
 * after every operation, as the CPU does, so that equal logits give equal masks. Limit: memory
 * bandwidth. */
#include "kernels/cuda/resample.h"

#define THREADS 256

struct bilinear_shape {
    int64_t total, in_h, in_w, h, w, out_h, out_w;
    float scale_y, scale_x;
};

static __global__ void bilinear_kernel(float *out, const float *in, bilinear_shape s) {
    int64_t i = msxk_thread();
    if (i >= s.total) return;
    msxk_tap down = msxk_find_tap((int)(i / s.out_w % s.out_h), (int)s.h, s.scale_y);
    msxk_tap across = msxk_find_tap((int)(i % s.out_w), (int)s.w, s.scale_x);
    const float *image = in + i / s.out_w / s.out_h * s.in_h * s.in_w;
    out[i] = msxk_between(down, across, [&](int y, int x) { return image[y * s.in_w + x]; });
}

int msxk_cuda_bilinear(msx_kdev *dev, float *out, const float *in, int64_t n, int64_t in_h,
                       int64_t in_w, int64_t crop_h, int64_t crop_w, int64_t out_h, int64_t out_w) {
    if (n <= 0 || out_h <= 0 || out_w <= 0) return MSXK_OK;
    bilinear_shape s = {n * out_h * out_w,
                        in_h,
                        in_w,
                        crop_h ? crop_h : in_h,
                        crop_w ? crop_w : in_w,
                        out_h,
                        out_w,
                        0.0f,
                        0.0f};
    if (s.h < 1 || s.w < 1 || s.h > in_h || s.w > in_w)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "bilinear: the input has no pixels");
    s.scale_y = (float)s.h / (float)out_h;
    s.scale_x = (float)s.w / (float)out_w;
    return MSXK_LAUNCH(dev, bilinear_kernel, msxk_cuda_blocks(s.total, THREADS), THREADS, 0, out,
                       in, s);
}

static __global__ void sigmoid_kernel(float *y, const float *x, int64_t n) {
    int64_t i = msxk_thread();
    if (i < n) y[i] = msxk_sigmoid(x[i]);
}

int msxk_cuda_sigmoid(msx_kdev *dev, float *y, const float *x, int64_t n) {
    if (n <= 0) return MSXK_OK;
    return MSXK_LAUNCH(dev, sigmoid_kernel, msxk_cuda_blocks(n, THREADS), THREADS, 0, y, x, n);
}

static __global__ void threshold_kernel(uint8_t *mask, const float *x, int64_t n, float threshold) {
    int64_t i = msxk_thread();
    if (i < n) mask[i] = x[i] > threshold;
}

int msxk_cuda_threshold(msx_kdev *dev, uint8_t *mask, const float *x, int64_t n, float threshold) {
    if (n <= 0) return MSXK_OK;
    return MSXK_LAUNCH(dev, threshold_kernel, msxk_cuda_blocks(n, THREADS), THREADS, 0, mask, x, n,
                       threshold);
}

/* Votes of a warp are counted at once; integers, so any order of addition gives the same. */
static __global__ void overlap_kernel(unsigned long long *counts, const uint8_t *reference,
                                      const uint8_t *prediction, int64_t n) {
    unsigned tp = 0, fp = 0, fn = 0;
    for (int64_t first = (int64_t)blockIdx.x * THREADS; first < n;
         first += (int64_t)gridDim.x * THREADS) {
        int64_t i = first + threadIdx.x;
        bool r = i < n && reference[i], p = i < n && prediction[i];
        tp += __popc(__ballot_sync(0xffffffffu, r && p));
        fp += __popc(__ballot_sync(0xffffffffu, !r && p));
        fn += __popc(__ballot_sync(0xffffffffu, r && !p));
    }
    if (threadIdx.x % 32) return;
    atomicAdd(counts, (unsigned long long)tp);
    atomicAdd(counts + 1, (unsigned long long)fp);
    atomicAdd(counts + 2, (unsigned long long)fn);
}

int msxk_cuda_overlap(msx_kdev *dev, int64_t counts[4], const uint8_t *reference,
                      const uint8_t *prediction, int64_t n) {
    unsigned long long sums[3] = {0, 0, 0};
    if (n > 0) {
        void *memory;
        MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_OP, sizeof sums, &memory));
        MSXK_RETURN_IF(msxk_cuda_check(dev, cudaMemsetAsync(memory, 0, sizeof sums, dev->stream),
                                       "cudaMemsetAsync"));
        int64_t blocks = (n + THREADS - 1) / THREADS, most = 8 * (int64_t)dev->processors;
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, overlap_kernel, (unsigned)(blocks < most ? blocks : most),
                                   THREADS, 0, static_cast<unsigned long long *>(memory), reference,
                                   prediction, n));
        MSXK_RETURN_IF(msxk_cuda_download(dev, sums, memory, sizeof sums));
    }
    for (int i = 0; i < 3; i++) counts[i] = (int64_t)sums[i];
    counts[3] = (n > 0 ? n : 0) - counts[0] - counts[1] - counts[2];
    return MSXK_OK;
}
