/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that move data: rounding, patches, 3x3 neighbourhoods, transposition, gathers, pixel shuffles.
 * One thread writes one element (or one vector), neighbours write neighbours. Limit: memory
 * bandwidth. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/instructions.h"

#define THREADS 256

/* y[0..3] of every thread; the tail is done one by one. */
static __global__ void narrow_kernel(msxk_low *y, const float *x, int64_t n, int precision) {
    int64_t i = 4 * msxk_thread();
    for (int64_t k = i; k < i + 4 && k < n; k++) msxk_write(y + k, x[k], precision);
}

int msxk_cuda_narrow(msx_kdev *dev, msxk_low *y, const float *x, int64_t n) {
    if (n <= 0) return MSXK_OK;
    return MSXK_LAUNCH(dev, narrow_kernel, msxk_cuda_blocks(n, 4 * THREADS), THREADS, 0, y, x, n,
                       dev->precision);
}

/* image (B,3,g*p,g*p) -> rows (B*g*g, 3*p*p), columns (c, ky, kx) */
template <class T>
static __global__ void patchify_kernel(T *rows, const float *image, int64_t n, int64_t grid,
                                       int64_t patch, int precision) {
    int64_t i = msxk_thread(), area = patch * patch, side = grid * patch;
    if (i >= n) return;
    int64_t row = i / (3 * area), column = i % (3 * area);
    int64_t y = row / grid % grid * patch + column % area / patch;
    int64_t x = row % grid * patch + column % patch;
    int64_t plane = row / (grid * grid) * 3 + column / area;
    msxk_write(rows + i, image[(plane * side + y) * side + x], precision);
}

template <class T>
static int patchify(msx_kdev *dev, T *rows, const float *image, int64_t batch, int64_t grid,
                    int64_t patch) {
    int64_t n = batch * grid * grid * 3 * patch * patch;
    if (n <= 0) return MSXK_OK;
    return MSXK_LAUNCH(dev, patchify_kernel<T>, msxk_cuda_blocks(n, THREADS), THREADS, 0, rows,
                       image, n, grid, patch, dev->precision);
}

int msxk_cuda_patchify(msx_kdev *dev, float *rows, const float *image, int64_t batch, int64_t grid,
                       int64_t patch) {
    return patchify(dev, rows, image, batch, grid, patch);
}

int msxk_cuda_patchify_low(msx_kdev *dev, msxk_low *rows, const float *image, int64_t batch,
                           int64_t grid, int64_t patch) {
    return patchify(dev, rows, image, batch, grid, patch);
}

static __global__ void add_rows_kernel(float *y, const float *x, const float *add, int64_t n,
                                       int64_t total) {
    int64_t i = msxk_thread();
    if (i < total) y[i] = x[i] + add[i % n];
}

int msxk_cuda_add_rows(msx_kdev *dev, float *y, const float *x, const float *add, int64_t batch,
                       int64_t n) {
    int64_t total = batch * n;
    if (total <= 0) return MSXK_OK;
    return MSXK_LAUNCH(dev, add_rows_kernel, msxk_cuda_blocks(total, THREADS), THREADS, 0, y, x,
                       add, n, total);
}

/* x (B,g,g,C) -> rows (B*g*g, 9*C), columns (ky, kx, c); a pixel is `units` of V, whatever they hold: a
 * zero of every format is all zeros. */
template <class V>
static __global__ void im2col3_kernel(V *rows, const V *x, int64_t n, int64_t grid, int64_t units) {
    int64_t i = msxk_thread();
    if (i >= n) return;
    int64_t unit = i % units, k = i / units % 9, token = i / units / 9;
    int64_t y = token / grid % grid + k / 3 - 1, column = token % grid + k % 3 - 1;
    V v = {};
    if (y >= 0 && y < grid && column >= 0 && column < grid)
        v = x[((token / (grid * grid) * grid + y) * grid + column) * units + unit];
    rows[i] = v;
}

template <class T>
static int im2col3(msx_kdev *dev, T *rows, const T *x, int64_t batch, int64_t grid,
                   int64_t channels) {
    int64_t tokens = batch * grid * grid, bytes = channels * (int64_t)sizeof(T);
    if (tokens <= 0 || channels <= 0) return MSXK_OK;
    if (bytes % 16 == 0 && ((uintptr_t)rows | (uintptr_t)x) % 16 == 0) {
        int64_t n = tokens * 9 * (bytes / 16);
        return MSXK_LAUNCH(dev, im2col3_kernel<uint4>, msxk_cuda_blocks(n, THREADS), THREADS, 0,
                           reinterpret_cast<uint4 *>(rows), reinterpret_cast<const uint4 *>(x), n,
                           grid, bytes / 16);
    }
    int64_t n = tokens * 9 * channels;
    return MSXK_LAUNCH(dev, im2col3_kernel<T>, msxk_cuda_blocks(n, THREADS), THREADS, 0, rows, x, n,
                       grid, channels);
}

int msxk_cuda_im2col3(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t grid,
                      int64_t channels) {
    return im2col3(dev, rows, x, batch, grid, channels);
}

int msxk_cuda_im2col3_low(msx_kdev *dev, msxk_low *rows, const msxk_low *x, int64_t batch,
                          int64_t grid, int64_t channels) {
    return im2col3(dev, rows, x, batch, grid, channels);
}

/* (B, rows, cols) -> (B, cols, rows) in tiles of 32 x 32, so that reads and writes both run along rows;
 * one more column in shared memory keeps the banks apart. */
static __global__ void transpose_kernel(float *y, const float *x, int64_t rows, int64_t cols,
                                        int64_t across, int64_t down) {
    MSXK_SHARED(float, tile);
    int64_t b = blockIdx.x / (across * down), cell = blockIdx.x % (across * down);
    int64_t top = cell / across * 32, left = cell % across * 32;
    int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
    for (int i = ty; i < 32; i += THREADS / 32)
        if (top + i < rows && left + tx < cols)
            tile[i * 33 + tx] = x[(b * rows + top + i) * cols + left + tx];
    __syncthreads();
    for (int i = ty; i < 32; i += THREADS / 32)
        if (left + i < cols && top + tx < rows)
            y[(b * cols + left + i) * rows + top + tx] = tile[tx * 33 + i];
}

int msxk_cuda_transpose(msx_kdev *dev, float *y, const float *x, int64_t batch, int64_t rows,
                        int64_t cols) {
    if (batch <= 0 || rows <= 0 || cols <= 0) return MSXK_OK;
    int64_t across = (cols + 31) / 32, down = (rows + 31) / 32;
    return MSXK_LAUNCH(dev, transpose_kernel, (unsigned)(batch * across * down), THREADS,
                       32 * 33 * sizeof(float), y, x, rows, cols, across, down);
}

static __global__ void gather_add_kernel(float *y, const float *x, const int64_t *index,
                                         const float *add, int add_per_prompt, int64_t n,
                                         int64_t total) {
    int64_t i = msxk_thread();
    if (i < total) y[i] = x[index[i / n] * n + i % n] + add[add_per_prompt ? i : i % n];
}

int msxk_cuda_gather_add(msx_kdev *dev, float *y, const float *x, const int64_t *index,
                         const float *add, int add_per_prompt, int64_t prompts, int64_t n) {
    int64_t total = prompts * n;
    if (total <= 0) return MSXK_OK;
    void *there;
    size_t bytes = (size_t)prompts * sizeof *index;
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_OP, bytes, &there));
    MSXK_RETURN_IF(msxk_cuda_check(
        dev, cudaMemcpyAsync(there, index, bytes, cudaMemcpyHostToDevice, dev->stream), "upload"));
    return MSXK_LAUNCH(dev, gather_add_kernel, msxk_cuda_blocks(total, THREADS), THREADS, 0, y, x,
                       static_cast<const int64_t *>(there), add, add_per_prompt, n, total);
}

/* in (B*h*w, 4*C), columns (ky, kx, c) -> out (B, 2h, 2w, C) = act(in + bias) */
static __global__ void shuffle2_kernel(float *out, const float *in, const float *bias, int64_t n,
                                       int64_t h, int64_t w, int64_t channels, int act) {
    int64_t i = msxk_thread();
    if (i >= n) return;
    int64_t c = i % channels, x = i / channels % (2 * w), y = i / channels / (2 * w) % (2 * h);
    int64_t b = i / channels / (2 * w) / (2 * h);
    int64_t row = (b * h + y / 2) * w + x / 2, column = (y % 2 * 2 + x % 2) * channels + c;
    out[i] = msxk_activate(in[row * 4 * channels + column] + bias[c], act);
}

int msxk_cuda_shuffle2(msx_kdev *dev, float *out, const float *in, const float *bias, int64_t batch,
                       int64_t h, int64_t w, int64_t channels, int act) {
    int64_t n = batch * h * w * 4 * channels;
    if (n <= 0) return MSXK_OK;
    return MSXK_LAUNCH(dev, shuffle2_kernel, msxk_cuda_blocks(n, THREADS), THREADS, 0, out, in,
                       bias, n, h, w, channels, act);
}

/* x (B,2h,2w,C) -> rows (B*h*w, C*4), columns (c, ky, kx) */
static __global__ void unshuffle2_kernel(float *rows, const float *x, int64_t n, int64_t w,
                                         int64_t channels) {
    int64_t i = msxk_thread();
    if (i >= n) return;
    int64_t k = i % 4, c = i / 4 % channels, column = i / 4 / channels % w;
    int64_t line = i / 4 / channels / w; /* b * h + y */
    rows[i] = x[((2 * line + k / 2) * 2 * w + 2 * column + k % 2) * channels + c];
}

int msxk_cuda_unshuffle2(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t h,
                         int64_t w, int64_t channels) {
    int64_t n = batch * h * w * 4 * channels;
    if (n <= 0) return MSXK_OK;
    return MSXK_LAUNCH(dev, unshuffle2_kernel, msxk_cuda_blocks(n, THREADS), THREADS, 0, rows, x, n,
                       w, channels);
}
