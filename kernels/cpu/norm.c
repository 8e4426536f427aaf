/* SPDX-License-Identifier: Apache-2.0 */
/* Layer norm by row. Two passes: one pass (E[x^2] - mean^2) cancels when |mean| >> deviation. */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#include <math.h>

#define CHUNK_ROWS   32
#define SERIAL_ITEMS (1 << 15)

MSXK_INLINE float row_sum(const float *x, int64_t n) {
    float lanes[MSXK_LANES] = {0};
    int64_t i = 0;
    for (; i + MSXK_LANES <= n; i += MSXK_LANES)
        for (int l = 0; l < MSXK_LANES; l++) lanes[l] += x[i + l];
    for (int l = 0; i < n; i++, l++) lanes[l] += x[i];
    return msxk_sum_lanes(lanes);
}

MSXK_INLINE float row_squares(const float *x, float mean, int64_t n) {
    float lanes[MSXK_LANES] = {0};
    int64_t i = 0;
    for (; i + MSXK_LANES <= n; i += MSXK_LANES)
        for (int l = 0; l < MSXK_LANES; l++) lanes[l] += (x[i + l] - mean) * (x[i + l] - mean);
    for (int l = 0; i < n; i++, l++) lanes[l] += (x[i] - mean) * (x[i] - mean);
    return msxk_sum_lanes(lanes);
}

/* y, x (rows, cols) */
MSXK_INLINE void norm_rows(float *y, const float *x, const float *w, const float *b, int64_t rows,
                           int64_t cols, float eps) {
    for (int64_t r = 0; r < rows; r++, x += cols, y += cols) {
        float mean = row_sum(x, cols) / (float)cols;
        float variance = row_squares(x, mean, cols) / (float)cols;
        float factor = 1.0f / sqrtf(variance + eps);
        for (int64_t c = 0; c < cols; c++) y[c] = (x[c] - mean) * factor * w[c] + b[c];
    }
}
MSXK_VARIANTS(void, norm_rows,
              (float *y, const float *x, const float *w, const float *b, int64_t rows, int64_t cols,
               float eps),
              (y, x, w, b, rows, cols, eps));

void msxk_cpu_norm_rows(const msx_kdev *dev, float *y, const float *x, const float *w,
                        const float *b, int64_t rows, int64_t cols, float eps) {
    norm_rows_on[dev->path](y, x, w, b, rows, cols, eps);
}

int msxk_cpu_layer_norm_low(msx_kdev *dev, msxk_low *y, const float *x, const float *w,
                            const float *b, int64_t rows, int64_t cols, float eps, int act) {
    if (rows <= 0 || cols <= 0) return MSXK_OK;
    float *scratch = msxk_cpu_scratch(dev, dev->threads, cols);
    if (!scratch) return MSXK_E_NOMEM;
    int threads = rows * cols > SERIAL_ITEMS ? dev->threads : 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float *row = scratch + msxk_cpu_thread() * msxk_cpu_area(cols);
        norm_rows_on[dev->path](row, x + r * cols, w, b, 1, cols, eps);
        if (act != MSXK_ACT_NONE) msxk_cpu_epilogue(dev, row, cols, 1, cols, NULL, act, NULL, 0);
        msxk_cpu_round(dev, y + r * cols, row, cols);
    }
    return MSXK_OK;
}

int msxk_cpu_layer_norm(msx_kdev *dev, float *y, const float *x, const float *w, const float *b,
                        int64_t rows, int64_t cols, float eps, int act) {
    if (rows <= 0 || cols <= 0) return MSXK_OK;
    int64_t chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    int threads = rows * cols > SERIAL_ITEMS ? dev->threads : 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < chunks; i++) {
        int64_t row = i * CHUNK_ROWS;
        int64_t n = rows - row < CHUNK_ROWS ? rows - row : CHUNK_ROWS;
        norm_rows_on[dev->path](y + row * cols, x + row * cols, w, b, n, cols, eps);
        if (act != MSXK_ACT_NONE)
            msxk_cpu_epilogue(dev, y + row * cols, cols, n, cols, NULL, act, NULL, 0);
    }
    return MSXK_OK;
}
