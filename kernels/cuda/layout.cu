/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that move data: rounding, patches, 3x3 neighbourhoods, transposition, gathers, pixel shuffles.
 * One thread writes one vector (or one element, where rows are odd), neighbours write neighbours. Limit:
 * memory bandwidth. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/instructions.h"

#define THREADS 256

/* y = x, in runs of WIDTH */
template <int WIDTH>
static __global__ void narrow_kernel(msxk_low *y, const float *x, int64_t runs, int precision) {
    int64_t i = msxk_thread();
    if (i >= runs) return;
    msxk_run<float, WIDTH> from = reinterpret_cast<const msxk_run<float, WIDTH> *>(x)[i];
    msxk_run<msxk_low, WIDTH> to;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) msxk_write(&to.x[k], from.x[k], precision);
    reinterpret_cast<msxk_run<msxk_low, WIDTH> *>(y)[i] = to;
}

int msxk_cuda_narrow(msx_kdev *dev, msxk_low *y, const float *x, int64_t n) {
    if (n <= 0) return MSXK_OK;
    if (msxk_is_wide((uintptr_t)x | (uintptr_t)y, n, 4, sizeof *x))
        return MSXK_LAUNCH(dev, narrow_kernel<4>, msxk_cuda_blocks(n / 4, THREADS), THREADS, 0, y,
                           x, n / 4, dev->precision);
    return MSXK_LAUNCH(dev, narrow_kernel<1>, msxk_cuda_blocks(n, THREADS), THREADS, 0, y, x, n,
                       dev->precision);
}

/* image (B,3,g*p,g*p) -> rows (B*g*g, 3*p*p), columns (c, ky, kx), in runs of WIDTH along kx */
template <class T, class INDEX, int WIDTH>
static __global__ void patchify_kernel(T *rows, const float *image, INDEX runs, INDEX grid,
                                       INDEX patch, int precision) {
    INDEX i = (INDEX)msxk_thread(), across = patch / WIDTH, side = grid * patch;
    if (i >= runs) return;
    INDEX kx = i % across * WIDTH, ky = i / across % patch, c = i / across / patch % 3;
    INDEX row = i / across / patch / 3, x = row % grid * patch + kx;
    INDEX y = row / grid % grid * patch + ky, plane = row / grid / grid * 3 + c;
    msxk_run<float, WIDTH> from = *reinterpret_cast<const msxk_run<float, WIDTH> *>(
        image + ((int64_t)plane * side + y) * side + x);
    msxk_run<T, WIDTH> to;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) msxk_write(&to.x[k], from.x[k], precision);
    reinterpret_cast<msxk_run<T, WIDTH> *>(rows)[i] = to;
}

template <class T>
static int patchify(msx_kdev *dev, T *rows, const float *image, int64_t batch, int64_t grid,
                    int64_t patch) {
    int64_t n = batch * grid * grid * 3 * patch * patch;
    if (n <= 0) return MSXK_OK;
    if (msxk_is_small(n) && msxk_is_wide((uintptr_t)image | (uintptr_t)rows, patch, 4, 4))
        return MSXK_LAUNCH(dev, (patchify_kernel<T, unsigned, 4>), msxk_cuda_blocks(n / 4, THREADS),
                           THREADS, 0, rows, image, (unsigned)(n / 4), (unsigned)grid,
                           (unsigned)patch, dev->precision);
    return MSXK_LAUNCH(dev, (patchify_kernel<T, int64_t, 1>), msxk_cuda_blocks(n, THREADS), THREADS,
                       0, rows, image, n, grid, patch, dev->precision);
}

int msxk_cuda_patchify(msx_kdev *dev, float *rows, const float *image, int64_t batch, int64_t grid,
                       int64_t patch) {
    return patchify(dev, rows, image, batch, grid, patch);
}

int msxk_cuda_patchify_low(msx_kdev *dev, msxk_low *rows, const float *image, int64_t batch,
                           int64_t grid, int64_t patch) {
    return patchify(dev, rows, image, batch, grid, patch);
}

/* y = x[index] + add in runs of WIDTH, one row of n runs after the other; index NULL: x's rows in order;
 * `own`: add has rows, too. */
template <int WIDTH>
static __global__ void add_kernel(float *y, const float *x, const int64_t *index, const float *add,
                                  int own, int64_t n, int64_t rows) {
    typedef msxk_run<float, WIDTH> run;
    int64_t i = msxk_thread();
    if (i >= n) return;
    run more = {};
    if (!own) more = reinterpret_cast<const run *>(add)[i];
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        run v = reinterpret_cast<const run *>(x)[(index ? index[row] : row) * n + i];
        if (own) more = reinterpret_cast<const run *>(add)[row * n + i];
#pragma unroll
        for (int k = 0; k < WIDTH; k++) v.x[k] += more.x[k];
        reinterpret_cast<run *>(y)[row * n + i] = v;
    }
}

static int add(msx_kdev *dev, float *y, const float *x, const int64_t *index, const float *more,
               int own, int64_t n, int64_t rows) {
    unsigned down = (unsigned)(rows < 65535 ? rows : 65535);
    uintptr_t addresses = (uintptr_t)y | (uintptr_t)x | (uintptr_t)more;
    if (msxk_is_wide(addresses, n, 4, sizeof *y))
        return MSXK_LAUNCH(dev, add_kernel<4>, dim3(msxk_cuda_blocks(n / 4, THREADS), down),
                           THREADS, 0, y, x, index, more, own, n / 4, rows);
    return MSXK_LAUNCH(dev, add_kernel<1>, dim3(msxk_cuda_blocks(n, THREADS), down), THREADS, 0, y,
                       x, index, more, own, n, rows);
}

int msxk_cuda_add_rows(msx_kdev *dev, float *y, const float *x, const float *more, int64_t batch,
                       int64_t n) {
    if (batch <= 0 || n <= 0) return MSXK_OK;
    return add(dev, y, x, NULL, more, 0, n, batch);
}

int msxk_cuda_gather_add(msx_kdev *dev, float *y, const float *x, const int64_t *index,
                         const float *more, int add_per_prompt, int64_t prompts, int64_t n) {
    if (prompts <= 0 || n <= 0) return MSXK_OK;
    void *there;
    size_t bytes = (size_t)prompts * sizeof *index;
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_OP, bytes, &there));
    MSXK_RETURN_IF(msxk_cuda_check(
        dev, cudaMemcpyAsync(there, index, bytes, cudaMemcpyHostToDevice, dev->stream), "upload"));
    return add(dev, y, x, static_cast<const int64_t *>(there), more, add_per_prompt, n, prompts);
}

/* x (B,g,g,C) -> rows (B*g*g, 9*C), columns (ky, kx, c); a pixel is `units` of V, whatever they hold: a
 * zero of every format is all zeros. */
template <class V, class INDEX>
static __global__ void im2col3_kernel(V *rows, const V *x, INDEX n, INDEX grid, INDEX units) {
    INDEX i = (INDEX)msxk_thread();
    if (i >= n) return;
    INDEX unit = i % units, k = i / units % 9, token = i / units / 9;
    INDEX y = token / grid % grid + k / 3, column = token % grid + k % 3; /* 1 too large */
    V v = {};
    if (y >= 1 && y <= grid && column >= 1 && column <= grid)
        v = x[((token / grid / grid * grid + y - 1) * grid + column - 1) * units + unit];
    rows[i] = v;
}

template <class T>
static int im2col3(msx_kdev *dev, T *rows, const T *x, int64_t batch, int64_t grid,
                   int64_t channels) {
    int64_t tokens = batch * grid * grid, units = channels * (int64_t)sizeof(T) / 16;
    int64_t n = tokens * 9 * channels, runs = tokens * 9 * units;
    if (tokens <= 0 || channels <= 0) return MSXK_OK;
    if (msxk_is_small(runs) &&
        msxk_is_wide((uintptr_t)rows | (uintptr_t)x, channels, 16 / (int)sizeof(T), sizeof(T)))
        return MSXK_LAUNCH(dev, (im2col3_kernel<uint4, unsigned>), msxk_cuda_blocks(runs, THREADS),
                           THREADS, 0, reinterpret_cast<uint4 *>(rows),
                           reinterpret_cast<const uint4 *>(x), (unsigned)runs, (unsigned)grid,
                           (unsigned)units);
    return MSXK_LAUNCH(dev, (im2col3_kernel<T, int64_t>), msxk_cuda_blocks(n, THREADS), THREADS, 0,
                       rows, x, n, grid, channels);
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

/* in (B*h*w, 4*C), columns (ky, kx, c) -> out (B, 2h, 2w, C) = act(in + bias), in runs of WIDTH channels */
template <class INDEX, int WIDTH>
static __global__ void shuffle2_kernel(float *out, const float *in, const float *bias, INDEX runs,
                                       INDEX w, INDEX units, int act) {
    typedef msxk_run<float, WIDTH> run;
    INDEX i = (INDEX)msxk_thread();
    if (i >= runs) return;
    INDEX c = i % units, x = i / units % (2 * w), line = i / units / (2 * w); /* b * 2h + y */
    INDEX from = ((line / 2 * w + x / 2) * 4 + line % 2 * 2 + x % 2) * units + c;
    run v = reinterpret_cast<const run *>(in)[from], more = reinterpret_cast<const run *>(bias)[c];
#pragma unroll
    for (int k = 0; k < WIDTH; k++) v.x[k] = msxk_activate(v.x[k] + more.x[k], act);
    reinterpret_cast<run *>(out)[i] = v;
}

int msxk_cuda_shuffle2(msx_kdev *dev, float *out, const float *in, const float *bias, int64_t batch,
                       int64_t h, int64_t w, int64_t channels, int act) {
    int64_t n = batch * h * w * 4 * channels;
    uintptr_t addresses = (uintptr_t)out | (uintptr_t)in | (uintptr_t)bias;
    if (n <= 0) return MSXK_OK;
    if (msxk_is_small(n) && msxk_is_wide(addresses, channels, 4, sizeof *out))
        return MSXK_LAUNCH(dev, (shuffle2_kernel<unsigned, 4>), msxk_cuda_blocks(n / 4, THREADS),
                           THREADS, 0, out, in, bias, (unsigned)(n / 4), (unsigned)w,
                           (unsigned)(channels / 4), act);
    return MSXK_LAUNCH(dev, (shuffle2_kernel<int64_t, 1>), msxk_cuda_blocks(n, THREADS), THREADS, 0,
                       out, in, bias, n, w, channels, act);
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
