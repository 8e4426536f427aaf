/* SPDX-License-Identifier: Apache-2.0 */
/* Post-processing: resampling of logits, probabilities, masks and their overlap. */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/vecmath.h"

#define CHUNK        8192
#define SERIAL_ITEMS (1 << 17)

static int threads_for(const msx_kdev *dev, int64_t items) {
    return items > SERIAL_ITEMS ? dev->threads : 1;
}

/* Where an output pixel lies between two input pixels, in float as PyTorch computes it (the weights
 * of pixel centres; borders are held). */
typedef struct tap {
    int64_t low, high;
    float weight; /* of high */
} tap;

static inline tap find_tap(int64_t i, int64_t in, float scale) {
    float source = scale * ((float)i + 0.5f) - 0.5f;
    if (source < 0.0f) source = 0.0f;
    int64_t low = (int64_t)source;
    if (low > in - 1) low = in - 1;
    return (tap){low, low + 1 < in ? low + 1 : low, source - (float)low};
}

int msxk_cpu_bilinear(msx_kdev *dev, float *out, const float *in, int64_t n, int64_t in_h,
                      int64_t in_w, int64_t crop_h, int64_t crop_w, int64_t out_h, int64_t out_w) {
    if (n <= 0 || out_h <= 0 || out_w <= 0) return MSXK_OK;
    int64_t h = crop_h ? crop_h : in_h, w = crop_w ? crop_w : in_w;
    if (h < 1 || w < 1 || h > in_h || w > in_w)
        return msxk_cpu_fail(dev, MSXK_E_ARG, "bilinear: the input has no pixels");
    float scale_y = (float)h / (float)out_h, scale_x = (float)w / (float)out_w;
    float *memory = msxk_cpu_scratch(dev, 1, out_w * (int64_t)(sizeof(tap) / sizeof(float)));
    if (!memory) return MSXK_E_NOMEM;
    tap *across = (tap *)(void *)memory;
    for (int64_t x = 0; x < out_w; x++) across[x] = find_tap(x, w, scale_x);
    int threads = threads_for(dev, n * out_h * out_w);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n * out_h; i++) {
        tap down = find_tap(i % out_h, h, scale_y);
        const float *top = in + (i / out_h * in_h + down.low) * in_w;
        const float *bottom = in + (i / out_h * in_h + down.high) * in_w;
        float b1 = down.weight, b0 = 1.0f - b1, *to = out + i * out_w;
        for (int64_t x = 0; x < out_w; x++) {
            tap t = across[x];
            float r1 = t.weight, r0 = 1.0f - r1;
            to[x] = b0 * (r0 * top[t.low] + r1 * top[t.high]) +
                    b1 * (r0 * bottom[t.low] + r1 * bottom[t.high]);
        }
    }
    return MSXK_OK;
}

MSXK_INLINE void sigmoid_chunk(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float e = msxk_exp(x[i] < 0.0f ? x[i] : -x[i]); /* never overflows */
        y[i] = (x[i] < 0.0f ? e : 1.0f) / (1.0f + e);
    }
}
MSXK_VARIANTS(void, sigmoid_chunk, (float *y, const float *x, int64_t n), (y, x, n));

int msxk_cpu_sigmoid(msx_kdev *dev, float *y, const float *x, int64_t n) {
    int threads = threads_for(dev, n);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t first = 0; first < n; first += CHUNK)
        sigmoid_chunk_on[dev->path](y + first, x + first, n - first < CHUNK ? n - first : CHUNK);
    return MSXK_OK;
}

int msxk_cpu_threshold(msx_kdev *dev, uint8_t *mask, const float *x, int64_t n, float threshold) {
    int threads = threads_for(dev, n);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t first = 0; first < n; first += CHUNK) {
        int64_t last = first + CHUNK < n ? first + CHUNK : n;
        for (int64_t i = first; i < last; i++) mask[i] = x[i] > threshold;
    }
    return MSXK_OK;
}

/* Integer counts: any order of addition gives the same. Any non-zero byte is inside. */
int msxk_cpu_overlap(msx_kdev *dev, int64_t counts[4], const uint8_t *reference,
                     const uint8_t *prediction, int64_t n) {
    int64_t tp = 0, fp = 0, fn = 0;
    int threads = threads_for(dev, n);
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : tp, fp, fn)
    for (int64_t first = 0; first < n; first += CHUNK) {
        int64_t last = first + CHUNK < n ? first + CHUNK : n;
        for (int64_t i = first; i < last; i++) {
            int r = reference[i] != 0, p = prediction[i] != 0;
            tp += r & p;
            fp += (1 - r) & p;
            fn += r & (1 - p);
        }
    }
    counts[0] = tp;
    counts[1] = fp;
    counts[2] = fn;
    counts[3] = (n > 0 ? n : 0) - tp - fp - fn;
    return MSXK_OK;
}
