/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that move data: patches, 3x3 neighbourhoods, transposition, gathers, pixel shuffles. */
#include "kernels/cpu/ops.h"

#include <string.h>

#define SERIAL_ITEMS (1 << 16) /* floats that are not worth waking threads */

static int threads_for(const msx_kdev *dev, int64_t floats) {
    return floats > SERIAL_ITEMS ? dev->threads : 1;
}

/* image (B,3,g*p,g*p) -> rows (B*g*g, 3*p*p), columns (c, ky, kx) */
int msxk_cpu_patchify(msx_kdev *dev, float *rows, const float *image, int64_t batch, int64_t grid,
                      int64_t patch) {
    int64_t side = grid * patch, floats = 3 * patch * patch;
    int threads = threads_for(dev, batch * side * side);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < batch * grid; i++) {
        const float *from = image + i / grid * 3 * side * side + i % grid * patch * side;
        for (int64_t x = 0; x < grid; x++) {
            float *to = rows + (i * grid + x) * floats;
            for (int64_t c = 0; c < 3; c++)
                for (int64_t ky = 0; ky < patch; ky++, to += patch)
                    memcpy(to, from + (c * side + ky) * side + x * patch,
                           (size_t)patch * sizeof *to);
        }
    }
    return MSXK_OK;
}

int msxk_cpu_add_rows(msx_kdev *dev, float *y, const float *x, const float *add, int64_t batch,
                      int64_t n) {
    enum { CHUNK = 4096 };
    int64_t chunks = (n + CHUNK - 1) / CHUNK;
    int threads = threads_for(dev, batch * n);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < batch * chunks; i++) {
        int64_t b = i / chunks, first = i % chunks * CHUNK;
        int64_t count = n - first < CHUNK ? n - first : CHUNK;
        const float *from = x + b * n + first;
        float *to = y + b * n + first;
        for (int64_t c = 0; c < count; c++) to[c] = from[c] + add[first + c];
    }
    return MSXK_OK;
}

int msxk_cpu_patchify_low(msx_kdev *dev, msxk_low *rows, const float *image, int64_t batch,
                          int64_t grid, int64_t patch) {
    int64_t side = grid * patch, elements = 3 * patch * patch;
    int threads = threads_for(dev, batch * side * side);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < batch * grid; i++) {
        const float *from = image + i / grid * 3 * side * side + i % grid * patch * side;
        for (int64_t x = 0; x < grid; x++) {
            msxk_low *to = rows + (i * grid + x) * elements;
            for (int64_t c = 0; c < 3; c++)
                for (int64_t ky = 0; ky < patch; ky++, to += patch)
                    msxk_cpu_round(dev, to, from + (c * side + ky) * side + x * patch, patch);
        }
    }
    return MSXK_OK;
}

/* x (B,g,g,C) -> rows (B*g*g, 9*C), columns (ky, kx, c): a 3x3 convolution becomes one product. Only
 * the bytes of a pixel matter: a zero of either format is all zeros. */
static void gather_neighbours(const msx_kdev *dev, char *rows, const char *x, int64_t batch,
                              int64_t grid, size_t bytes) {
    int threads = threads_for(dev, batch * grid * grid * (int64_t)(bytes / sizeof(float)));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < batch * grid; i++) {
        const char *image = x + (size_t)(i / grid * grid * grid) * bytes;
        char *to = rows + (size_t)(i * grid * 9) * bytes;
        for (int64_t column = 0; column < grid; column++)
            for (int64_t k = 0; k < 9; k++, to += bytes) {
                int64_t row = i % grid + k / 3 - 1, col = column + k % 3 - 1;
                if (row < 0 || row >= grid || col < 0 || col >= grid)
                    memset(to, 0, bytes);
                else
                    memcpy(to, image + (size_t)(row * grid + col) * bytes, bytes);
            }
    }
}

int msxk_cpu_im2col3(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t grid,
                     int64_t channels) {
    gather_neighbours(dev, (char *)rows, (const char *)x, batch, grid,
                      (size_t)channels * sizeof *x);
    return MSXK_OK;
}

int msxk_cpu_im2col3_low(msx_kdev *dev, msxk_low *rows, const msxk_low *x, int64_t batch,
                         int64_t grid, int64_t channels) {
    gather_neighbours(dev, (char *)rows, (const char *)x, batch, grid,
                      (size_t)channels * sizeof *x);
    return MSXK_OK;
}

/* (B, rows, cols) -> (B, cols, rows), in tiles that stay in the first-level cache */
int msxk_cpu_transpose(msx_kdev *dev, float *y, const float *x, int64_t batch, int64_t rows,
                       int64_t cols) {
    enum { TILE = 32 };
    int64_t strips = (rows + TILE - 1) / TILE;
    int threads = threads_for(dev, batch * rows * cols);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < batch * strips; i++) {
        const float *from = x + i / strips * rows * cols;
        float *to = y + i / strips * rows * cols;
        int64_t first = i % strips * TILE, last = first + TILE < rows ? first + TILE : rows;
        for (int64_t left = 0; left < cols; left += TILE)
            for (int64_t c = left; c < cols && c < left + TILE; c++)
                for (int64_t r = first; r < last; r++) to[c * rows + r] = from[r * cols + c];
    }
    return MSXK_OK;
}

int msxk_cpu_gather_add(msx_kdev *dev, float *y, const float *x, const int64_t *index,
                        const float *add, int add_per_prompt, int64_t prompts, int64_t n) {
    enum { CHUNK = 4096 };
    int64_t chunks = (n + CHUNK - 1) / CHUNK;
    int threads = threads_for(dev, prompts * n);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < prompts * chunks; i++) {
        int64_t p = i / chunks, first = i % chunks * CHUNK;
        int64_t count = n - first < CHUNK ? n - first : CHUNK;
        const float *from = x + index[p] * n + first;
        const float *more = add + (add_per_prompt ? p * n : 0) + first;
        float *to = y + p * n + first;
        for (int64_t c = 0; c < count; c++) to[c] = from[c] + more[c];
    }
    return MSXK_OK;
}

/* in (B*h*w, 4*C), columns (ky, kx, c) -> out (B, 2h, 2w, C) = act(in + bias) */
int msxk_cpu_shuffle2(msx_kdev *dev, float *out, const float *in, const float *bias, int64_t batch,
                      int64_t h, int64_t w, int64_t channels, int act) {
    int64_t pair = 2 * channels; /* the two pixels (ky, 0) and (ky, 1) are neighbours in both */
    int threads = threads_for(dev, batch * h * w * 4 * channels);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < batch * h * 2; i++) {
        const float *from = in + i / 2 * w * 4 * channels + i % 2 * pair;
        float *to = out + i * w * pair;
        for (int64_t x = 0; x < w; x++)
            memcpy(to + x * pair, from + x * 2 * pair, (size_t)pair * sizeof *to);
        msxk_cpu_epilogue(dev, to, channels, 2 * w, channels, bias, act, NULL, 0);
    }
    return MSXK_OK;
}

/* x (B,2h,2w,C) -> rows (B*h*w, C*4), columns (c, ky, kx) */
int msxk_cpu_unshuffle2(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t h,
                        int64_t w, int64_t channels) {
    int threads = threads_for(dev, batch * h * w * 4 * channels);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < batch * h; i++) {
        const float *from = x + i * 2 * 2 * w * channels;
        float *to = rows + i * w * 4 * channels;
        for (int64_t column = 0; column < w; column++)
            for (int64_t c = 0; c < channels; c++)
                for (int64_t k = 0; k < 4; k++)
                    *to++ = from[(k / 2 * 2 * w + 2 * column + k % 2) * channels + c];
    }
    return MSXK_OK;
}
