/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an 8-bit image to the network's input, longest side: Pillow's bilinear resampling in integers,
 * first across, then down, each rounded to 8 bit; the second pass also normalises. One thread writes one
 * sample. Limit: the transfer of the image, which is a twelfth of the input's size at most.
 */
#include "kernels/cuda/prepare.h"

#define THREADS     256
#define WEIGHT_BITS 22

/* An axis with its tables on the device; `count` NULL: left as it is. */
struct triangle {
    int64_t in, out, most;
    const int64_t *first, *count;
    const int32_t *weight;
};

/* Sample `i` of an axis whose samples lie `step` apart. */
static __device__ __forceinline__ uint8_t resample(const triangle &t, const uint8_t *x, int64_t i,
                                                   int64_t step) {
    if (!t.count) return x[i * step];
    const int32_t *weight = t.weight + i * t.most;
    int32_t sum = 1 << (WEIGHT_BITS - 1);
    x += t.first[i] * step;
    for (int64_t k = 0; k < t.count[i]; k++) sum += x[k * step] * weight[k];
    sum >>= WEIGHT_BITS;
    return (uint8_t)min(max(sum, 0), 255);
}

/* x (rows, in, channels) -> y (rows, out, channels); blockIdx.x is a row, of which there may be many */
static __global__ void across_kernel(uint8_t *y, const uint8_t *x, triangle t, unsigned channels) {
    unsigned i = blockIdx.y * THREADS + threadIdx.x, c = i % channels, column = i / channels;
    if (column >= t.out) return;
    x += blockIdx.x * t.in * channels + c;
    y[(blockIdx.x * t.out + column) * channels + c] = resample(t, x, column, channels);
}

struct colours {
    float mean[3], std[3];
};

/* x (in, width, channels) -> input (3, size, size); blockIdx.x is a row, z a colour */
static __global__ void input_kernel(float *input, const uint8_t *x, triangle t, colours s,
                                    int64_t width, int64_t channels, int64_t size) {
    int64_t column = (int64_t)blockIdx.y * THREADS + threadIdx.x, row = blockIdx.x;
    if (column >= size) return;
    int colour = blockIdx.z;
    float value = 0.0f;
    if (row < t.out && column < width) {
        const uint8_t *from = x + column * channels + (channels == 1 ? 0 : colour);
        float level = resample(t, from, row, width * channels);
        value = __fdiv_rn(__fsub_rn(level, s.mean[colour]), s.std[colour]);
    }
    input[(colour * size + row) * size + column] = value;
}

/* Memory of one image and its tables. */
struct areas {
    uint8_t *image, *wide;
    int64_t *first[2], *count[2];
    int32_t *weight[2];
};

static size_t lay_out(const msxk_longest *p, areas *a, void *memory) {
    const msxk_triangle *axes[2] = {&p->across, &p->down};
    msxk_carver c = {static_cast<unsigned char *>(memory), 0};
    c.cut(&a->image, p->down.in * p->across.in * p->channels);
    c.cut(&a->wide, p->down.in * p->across.out * p->channels);
    for (int i = 0; i < 2; i++) {
        if (axes[i]->in == axes[i]->out) continue;
        c.cut(&a->first[i], axes[i]->out);
        c.cut(&a->count[i], axes[i]->out);
        c.cut(&a->weight[i], axes[i]->out * axes[i]->most);
    }
    return c.bytes;
}

static int send_axis(msx_kdev *dev, triangle *out, const msxk_triangle *t, const areas *a, int i) {
    *out = triangle{t->in, t->out, t->most, a->first[i], a->count[i], a->weight[i]};
    if (t->in == t->out) return MSXK_OK;
    size_t n = (size_t)t->out;
    MSXK_RETURN_IF(msxk_send(dev, a->first[i], t->first, n * sizeof *t->first));
    MSXK_RETURN_IF(msxk_send(dev, a->count[i], t->count, n * sizeof *t->count));
    return msxk_send(dev, a->weight[i], t->weight, n * (size_t)t->most * sizeof *t->weight);
}

static int run(msx_kdev *dev, float *input, const msxk_longest *p, const areas *a) {
    triangle across, down;
    MSXK_RETURN_IF(
        msxk_send(dev, a->image, p->image, (size_t)(p->down.in * p->across.in * p->channels)));
    MSXK_RETURN_IF(send_axis(dev, &across, &p->across, a, 0));
    MSXK_RETURN_IF(send_axis(dev, &down, &p->down, a, 1));
    const uint8_t *from = a->image;
    if (across.count) {
        dim3 grid((unsigned)p->down.in, msxk_cuda_blocks(across.out * p->channels, THREADS));
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, across_kernel, grid, THREADS, 0, a->wide, from, across,
                                   (unsigned)p->channels));
        from = a->wide;
    }
    colours s;
    for (int c = 0; c < 3; c++) s.mean[c] = p->mean[c], s.std[c] = p->std[c];
    dim3 grid((unsigned)p->size, msxk_cuda_blocks(p->size, THREADS), 3);
    return MSXK_LAUNCH(dev, input_kernel, grid, THREADS, 0, input, from, down, s, p->across.out,
                       p->channels, p->size);
}

int msxk_cuda_prepare_longest(msx_kdev *dev, float *input, const msxk_longest *p) {
    if (p->across.in < 1 || p->down.in < 1 || p->size < 1) return MSXK_OK;
    areas a = {};
    void *memory;
    MSXK_RETURN_IF(msxk_cuda_alloc(dev, &memory, lay_out(p, &a, NULL)));
    lay_out(p, &a, memory);
    int code = run(dev, input, p, &a);
    msxk_cuda_release(dev, memory);
    return code;
}
