/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an 8-bit image to the network's input, square: skimage's cubic resampling as
 * lib/image/resize_skimage.c defines it, operation by operation in float64. MedSAM truncates the result
 * to 8 bit, so an error in the last bit can be a whole level: nothing here may be contracted or
 * reordered.
 *
 * Smoothing and interpolation have one thread a sample. The spline's recursions run along whole lines,
 * one thread a line: latency is their limit, and that there are only as many threads as lines.
 */
#include "kernels/cuda/prepare.h"

#include <math.h>
#include <utility>

#define THREADS 128
#define POLE    -0.267949192431122706472553658494127633 /* sqrt(3) - 2 */

enum { ROWS, COLUMNS, CHANNELS, AXES };

/* Index i of an infinite mirrored axis, as one of 0..n-1. */
static __device__ __forceinline__ int64_t mirror(int64_t i, int64_t n) {
    if (n == 1) return 0;
    int64_t period = 2 * n - 2;
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

static __global__ void widen_kernel(double *y, const uint8_t *x, int64_t n) {
    int64_t i = msxk_thread();
    if (i < n) y[i] = x[i];
}

/* The axis of n samples, `inner` apart, in (outer, n, inner). */
struct line {
    int64_t n, inner, total;
};

static __device__ __forceinline__ double sample_at(const double *x, const line &l, int64_t i,
                                                   bool zero) {
    if (i >= 0 && i < l.n) return x[i * l.inner];
    return zero ? 0.0 : x[mirror(i, l.n) * l.inner];
}

static __global__ void smooth_kernel(double *y, const double *x, line l, const double *weight,
                                     int64_t radius, int zero) {
    int64_t at = msxk_thread();
    if (at >= l.total) return;
    int64_t i = at / l.inner % l.n;
    x += at - i * l.inner;
    double sum = __dmul_rn(x[i * l.inner], weight[0]);
    for (int64_t k = radius; k > 0; k--)
        sum = __dadd_rn(
            sum, __dmul_rn(__dadd_rn(sample_at(x, l, i - k, zero), sample_at(x, l, i + k, zero)),
                           weight[k]));
    y[at] = sum;
}

/* x (rows, line) -> y (rows + 2 pad, line + 2 margin), zeros around */
static __global__ void surround_kernel(double *y, const double *x, int64_t rows, int64_t length,
                                       int64_t pad, int64_t margin, int64_t total) {
    int64_t at = msxk_thread(), longer = length + 2 * margin;
    if (at >= total) return;
    int64_t row = at / longer - pad, i = at % longer - margin;
    y[at] = row >= 0 && row < rows && i >= 0 && i < length ? x[row * length + i] : 0.0;
}

/* From samples to coefficients, one line a thread. z_last: POLE^(n-1), as the host computes it. */
static __global__ void spline_kernel(double *data, line l, double gain, double z_last,
                                     double last_factor) {
    int64_t at = msxk_thread();
    if (at >= l.total / l.n) return;
    double *c = data + at / l.inner * l.inner * l.n + at % l.inner;
    int64_t n = l.n, step = l.inner;
    const double z = POLE;
    double first = __dmul_rn(c[0], gain), last = __dmul_rn(c[(n - 1) * step], gain), power = z;
    first = __dadd_rn(first, __dmul_rn(z_last, last));
    for (int64_t i = 1; i < n - 1; i++) {
        double forward = __dmul_rn(c[i * step], gain);
        double backward = __dmul_rn(c[(n - 1 - i) * step], gain);
        first = __dadd_rn(first, __dmul_rn(power, __dadd_rn(forward, __dmul_rn(z_last, backward))));
        power = __dmul_rn(power, z);
    }
    double before = __ddiv_rn(first, __dsub_rn(1.0, __dmul_rn(z_last, z_last))), previous = before;
    c[0] = before;
    for (int64_t i = 1; i < n; i++) {
        previous = before;
        before = __dadd_rn(__dmul_rn(c[i * step], gain), __dmul_rn(z, before));
        c[i * step] = before;
    }
    before = __ddiv_rn(__dmul_rn(__dadd_rn(__dmul_rn(z, previous), before), z), last_factor);
    c[(n - 1) * step] = before;
    for (int64_t i = n - 2; i >= 0; i--) {
        before = __dmul_rn(z, __dsub_rn(before, c[i * step]));
        c[i * step] = before;
    }
}

/* Least and greatest result, as integers in the same order. */
struct extremes {
    unsigned long long low, high;
};

static __device__ __forceinline__ unsigned long long ordered(double x) {
    unsigned long long bits = (unsigned long long)__double_as_longlong(x);
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}
static __device__ __forceinline__ double unordered(unsigned long long key) {
    return __longlong_as_double((long long)(key >> 63 ? key & ~(1ull << 63) : ~key));
}

struct interpolation {
    const msxk_spline_tap *tap[AXES]; /* of the channels: NULL where they are left as they are */
    int64_t size;
};

/* y (size, size, 3); blockIdx.x is a row */
static __global__ void interpolate_kernel(double *y, const double *x, interpolation s,
                                          extremes *reached) {
    int64_t i = (int64_t)blockIdx.y * THREADS + threadIdx.x, row = blockIdx.x;
    bool inside = i < 3 * s.size;
    unsigned long long low = ~0ull, high = 0;
    if (inside) {
        int c = (int)(i % 3);
        const msxk_spline_tap *down = s.tap[ROWS] + row, *across = s.tap[COLUMNS] + i / 3;
        const msxk_spline_tap *channel = s.tap[CHANNELS] ? s.tap[CHANNELS] + c : NULL;
        double sum = 0.0;
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < 4; k++) {
                const double *from = x + down->offset[j] + across->offset[k];
                for (int m = 0; m < (channel ? 4 : 1); m++) {
                    double value = from[channel ? channel->offset[m] : c];
                    value = __dmul_rn(__dmul_rn(value, down->weight[j]), across->weight[k]);
                    sum = __dadd_rn(sum, channel ? __dmul_rn(value, channel->weight[m]) : value);
                }
            }
        y[row * 3 * s.size + i] = sum;
        low = high = ordered(sum);
    }
    for (int bits = 16; bits > 0; bits /= 2) {
        low = min(low, __shfl_xor_sync(0xffffffffu, low, bits));
        high = max(high, __shfl_xor_sync(0xffffffffu, high, bits));
    }
    if (threadIdx.x % 32 || low > high) return;
    atomicMin(&reached->low, low);
    atomicMax(&reached->high, high);
}

struct finish {
    double low, high;
    int zero, truncate, full;
    int64_t size;
};

static __device__ __forceinline__ double level_of(double v, double low, double high, int truncate) {
    v = v < low ? low : v > high ? high : v;
    return truncate ? (double)(uint8_t)v : v;
}

/* (size, size, 3) -> (3, size, size); clipping and truncation keep the order, so that the extremes of
 * what comes out are those of what goes in, clipped and truncated. */
static __global__ void finish_kernel(float *input, const double *x, const extremes *reached,
                                     finish s) {
    int64_t column = (int64_t)blockIdx.y * THREADS + threadIdx.x, row = blockIdx.x;
    if (column >= s.size) return;
    int colour = blockIdx.z;
    double least = unordered(reached->low), most = unordered(reached->high);
    if (s.zero && least <= 0 && most >= 0) s.low = fmin(s.low, 0.0), s.high = fmax(s.high, 0.0);
    double bottom = 0, range = 255;
    if (!s.full) {
        bottom = level_of(least, s.low, s.high, s.truncate);
        range = __dsub_rn(level_of(most, s.low, s.high, s.truncate), bottom);
        if (!(range > 1e-8)) range = 1e-8;
    }
    double v = level_of(x[(row * s.size + column) * 3 + colour], s.low, s.high, s.truncate);
    input[(colour * s.size + row) * s.size + column] =
        (float)__ddiv_rn(__dsub_rn(v, bottom), range);
}

/* Memory of one image. */
struct areas {
    uint8_t *image;
    double *a, *b, *result, *gaussian[AXES];
    msxk_spline_tap *tap[AXES];
    extremes *reached;
};

/* Samples of the image, and of it with zeros around. */
static int64_t plain_samples(const msxk_square *p) {
    return p->axis[ROWS].in * p->axis[COLUMNS].in * 3;
}
static int64_t padded_samples(const msxk_square *p) {
    int64_t pad = p->zero ? 2 * p->pad : 0;
    return (p->axis[ROWS].in + pad) * (p->axis[COLUMNS].in + pad) * 3;
}

/* The places of all of it; returns the bytes. */
static size_t lay_out(const msxk_square *p, areas *a, void *memory) {
    msxk_carver c = {static_cast<unsigned char *>(memory), 0};
    c.cut(&a->image, plain_samples(p));
    c.cut(&a->a, padded_samples(p));
    c.cut(&a->b, padded_samples(p));
    c.cut(&a->result, p->size * p->size * 3);
    c.cut(&a->reached, 1);
    for (int i = 0; i < AXES; i++) {
        if (p->axis[i].gaussian) c.cut(&a->gaussian[i], p->axis[i].radius + 1);
        if (p->axis[i].taps) c.cut(&a->tap[i], p->axis[i].out);
    }
    return c.bytes;
}

static int send_all(msx_kdev *dev, const msxk_square *p, const areas *a) {
    MSXK_RETURN_IF(msxk_send(dev, a->image, p->image, (size_t)plain_samples(p)));
    for (int i = 0; i < AXES; i++) {
        const msxk_spline *s = p->axis + i;
        if (s->gaussian)
            MSXK_RETURN_IF(msxk_send(dev, a->gaussian[i], s->gaussian,
                                     (size_t)(s->radius + 1) * sizeof(double)));
        if (s->taps)
            MSXK_RETURN_IF(msxk_send(dev, a->tap[i], s->taps, (size_t)s->out * sizeof *s->taps));
    }
    extremes none = {~0ull, 0};
    return msxk_send(dev, a->reached, &none, sizeof none);
}

static line line_of(const int64_t extent[AXES], int axis) {
    line l = {extent[axis], 1, extent[0] * extent[1] * extent[2]};
    for (int i = axis + 1; i < AXES; i++) l.inner *= extent[i];
    return l;
}

/* a->a becomes smooth, with its zeros around it. */
static int smooth(msx_kdev *dev, const msxk_square *p, areas *a, int64_t extent[AXES]) {
    for (int i = 0; i < AXES; i++) {
        if (!p->axis[i].gaussian) continue;
        line l = line_of(extent, i);
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, smooth_kernel, msxk_cuda_blocks(l.total, THREADS), THREADS,
                                   0, a->b, a->a, l, a->gaussian[i], p->axis[i].radius, p->zero));
        std::swap(a->a, a->b);
    }
    if (!p->zero) return MSXK_OK;
    int64_t total = padded_samples(p), margin = p->pad * extent[CHANNELS];
    MSXK_RETURN_IF(MSXK_LAUNCH(dev, surround_kernel, msxk_cuda_blocks(total, THREADS), THREADS, 0,
                               a->b, a->a, extent[ROWS], extent[COLUMNS] * extent[CHANNELS], p->pad,
                               margin, total));
    std::swap(a->a, a->b);
    extent[ROWS] += 2 * p->pad;
    extent[COLUMNS] += 2 * p->pad;
    return MSXK_OK;
}

static int make_coefficients(msx_kdev *dev, const msxk_square *p, const areas *a,
                             const int64_t extent[AXES]) {
    const double z = POLE, gain = (1.0 - z) * (1.0 - 1.0 / z);
    for (int i = 0; i < AXES; i++) {
        if (!p->axis[i].taps || extent[i] < 2) continue;
        line l = line_of(extent, i);
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, spline_kernel, msxk_cuda_blocks(l.total / l.n, THREADS),
                                   THREADS, 0, a->a, l, gain, pow(z, (double)(l.n - 1)),
                                   z * z - 1));
    }
    return MSXK_OK;
}

static int run(msx_kdev *dev, float *input, const msxk_square *p, areas *a) {
    int64_t extent[AXES] = {p->axis[ROWS].in, p->axis[COLUMNS].in, 3}, n = plain_samples(p);
    MSXK_RETURN_IF(send_all(dev, p, a));
    MSXK_RETURN_IF(MSXK_LAUNCH(dev, widen_kernel, msxk_cuda_blocks(n, THREADS), THREADS, 0, a->a,
                               a->image, n));
    MSXK_RETURN_IF(smooth(dev, p, a, extent));
    MSXK_RETURN_IF(make_coefficients(dev, p, a, extent));
    interpolation s = {{a->tap[ROWS], a->tap[COLUMNS], a->tap[CHANNELS]}, p->size};
    dim3 grid((unsigned)p->size, msxk_cuda_blocks(3 * p->size, THREADS));
    MSXK_RETURN_IF(
        MSXK_LAUNCH(dev, interpolate_kernel, grid, THREADS, 0, a->result, a->a, s, a->reached));
    finish f = {p->low, p->high, p->zero, p->truncate, p->full, p->size};
    dim3 pixels((unsigned)p->size, msxk_cuda_blocks(p->size, THREADS), 3);
    return MSXK_LAUNCH(dev, finish_kernel, pixels, THREADS, 0, input, a->result, a->reached, f);
}

int msxk_cuda_prepare_square(msx_kdev *dev, float *input, const msxk_square *p) {
    if (p->axis[ROWS].in < 1 || p->axis[COLUMNS].in < 1 || p->size < 1) return MSXK_OK;
    if (!p->axis[ROWS].taps || !p->axis[COLUMNS].taps)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "cubic resampling without tables");
    areas a = {};
    void *memory;
    MSXK_RETURN_IF(msxk_cuda_alloc(dev, &memory, lay_out(p, &a, NULL)));
    lay_out(p, &a, memory);
    int code = run(dev, input, p, &a);
    msxk_cuda_release(dev, memory);
    return code;
}
