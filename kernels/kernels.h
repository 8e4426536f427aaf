/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The op table: every hot loop of the library behind one struct of function pointers.
 *
 * lib/model and lib/merge are written against this table; kernels/cpu and kernels/cuda each fill
 * one. Kernels know nothing of lib/. All pointers named by an op are memory of the backend
 * (alloc), float32, row-major and contiguous unless a leading dimension is given. Calls of one
 * msx_kdev run in order; results are visible to the host after download or sync.
 * Every op accepts empty extents (it then does nothing) and returns MSXK_OK or a negative code; the
 * text of a failure is in msx_kdev_error.
 * Letters: B images, P prompts, g grid side, T tokens, C channels, H heads, d channels of a head.
 */
#ifndef MSX_KERNELS_H
#define MSX_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { MSXK_OK = 0, MSXK_E_NOMEM = -1, MSXK_E_DEVICE = -2, MSXK_E_ARG = -3 };

enum { MSXK_ACT_NONE = 0, MSXK_ACT_GELU = 1 /* exact erf form */, MSXK_ACT_RELU = 2 };

/* How products are computed. Low precision (fp16, bf16) is one of operands: sums, norms, softmax and
 * everything that an op does not say otherwise of stay float32. */
enum {
    MSXK_FP32 = 0, /* the default */
    MSXK_TF32 = 1, /* float32 in memory, multiplied with 10 bits of mantissa */
    MSXK_FP16 = 2,
    MSXK_BF16 = 3
};
typedef uint16_t msxk_low; /* an element of the device's low format: fp16 or bf16, as set */

/* Operands of a product that hold msxk_low; their leading dimensions and strides count elements. */
enum { MSXK_LOW_A = 1, MSXK_LOW_W = 2, MSXK_LOW_C = 4 };

typedef struct msx_kdev msx_kdev; /* one device with its stream and scratch memory */

/* Where the backend takes host memory from; all three or none (NULL: malloc). */
typedef struct msxk_memory {
    void *(*alloc)(size_t bytes, void *payload);
    void (*free)(void *memory, void *payload);
    void *payload;
} msxk_memory;

/* C (M,N) = act(alpha * A (M,K) * op(W) + bias) + residual, `batch` times.
 * w_transposed 1: W is (N,K), as linear layers store it; 0: W is (K,N).
 * bias (N) or NULL; residual (M,N) with leading dimension ldr and a stride of its own (0: shared by
 * the batch), or NULL; without an activation it may be C itself. The problems of a batch do not
 * influence each other's bits. `low` names the operands that are of the device's low format (their
 * pointers are cast): A and W both or none, C with or without them; bias and residual are float32, and
 * a low C takes no residual. */
typedef struct msxk_gemm {
    int64_t m, n, k;
    const float *a;
    int64_t lda;
    const float *w;
    int64_t ldw;
    int w_transposed;
    const float *bias;
    const float *residual;
    int64_t ldr;
    float *c;
    int64_t ldc;
    float alpha; /* 1 for plain layers */
    int act;
    int64_t batch, stride_a, stride_w, stride_c, stride_r; /* batch 0 means 1 */
    int low;                                               /* MSXK_LOW_*, combined */
    /* `bias` in the low format, where the caller has it: it saves a device that needs it so from making
     * it for every product. Only beside `bias` and a low C; may be NULL. */
    const msxk_low *low_bias;
} msxk_gemm;

/* Encoder self attention with decomposed relative position. qkv (B*g*g, 3*H*d), channel
 * part*H*d + head*d + c. The grid is cut into windows of `side` (side == g: global); a window that
 * reaches over the edge holds padded keys whose k and v are the bias slices of `qkv_bias` (3*H*d)
 * and which are attended to like any other. scores = scale*(q.k) + q.rel_h[qy-ky+side-1] +
 * q.rel_w[qx-kx+side-1] with the unscaled q; rel_h, rel_w (2*side-1, d). out (B*g*g, H*d).
 * The score matrix is never held in memory. With `low`, qkv and out are of the device's low format
 * (their pointers are cast) and the k and v of the padding are rounded to it. */
typedef struct msxk_attention {
    int64_t batch, grid, side, heads, dim;
    const float *qkv, *qkv_bias, *rel_h, *rel_w;
    float *out;
    int low;
} msxk_attention;

/* Decoder attention, `batch` problems: q (tq, H*d), k and v (tk, H*d), out (tq, H*d).
 * scale, which is positive, multiplies q.k. Problem p uses q + p*stride_q, ... ; a stride of 0 shares an operand. */
typedef struct msxk_cross {
    int64_t batch, tq, tk, heads, dim;
    float scale;
    const float *q;
    int64_t stride_q;
    const float *k;
    int64_t stride_k;
    const float *v;
    int64_t stride_v;
    float *out;
    int64_t stride_out;
} msxk_cross;

/* One axis of Pillow's bilinear resampling of 8-bit samples: output i is the sum of count[i] samples
 * from first[i] on times weight[i * most ..], which have 22 fractional bits, rounded to 8 bit. All of
 * it is host memory; with in == out the axis is left as it is, and the tables may be NULL. */
typedef struct msxk_triangle {
    int64_t in, out, most;
    const int64_t *first, *count;
    const int32_t *weight;
} msxk_triangle;

/* An 8-bit image (height, width, channels) of 1 or 3 channels in host memory, resampled across and then
 * down, as (x - mean) / std of each colour at the top left of the input, zeros elsewhere. */
typedef struct msxk_longest {
    const uint8_t *image;
    int64_t channels, size;
    msxk_triangle across, down;
    float mean[3], std[3];
} msxk_longest;

/* An object and what was predicted for it: `maps` maps of side x side logits, `stride` floats apart, all
 * resampled to (height, width); the union of their masks against labels == label. Pixels of `ignore`
 * belong to neither. */
typedef struct msxk_object {
    const float *logits;
    int64_t maps, stride;
    const uint16_t *labels; /* (height, width) */
    int32_t label, ignore;
    int64_t height, width;
    int64_t crop_h, crop_w; /* of the middle step: what of it the image covers */
} msxk_object;

/* Four coefficients of a cubic spline: offsets into the data, and weights. */
typedef struct msxk_spline_tap {
    int64_t offset[4];
    double weight[4];
} msxk_spline_tap;

/* One axis of skimage's cubic resampling: smoothed by a Gaussian (weights of one side, NULL: not), made
 * coefficients of the spline (of more than one sample), and interpolated by `taps` (out; NULL: the
 * axis is left as it is). Host memory. */
typedef struct msxk_spline {
    int64_t in, out, radius;
    const double *gaussian;
    const msxk_spline_tap *taps;
} msxk_spline;

/* An 8-bit image (rows, columns, 3) in host memory, resampled to `size` x `size`, clipped to low..high
 * and, with `zero` (outside are zeros, `pad` of them around the smoothed image, and not its mirror
 * image), to 0 when the result reaches it; with `truncate` to 8 bit. Then its range, or with `full`
 * 0..255, becomes 0..1. All in float64, one operation after the other as lib/image does them. */
typedef struct msxk_square {
    const uint8_t *image;
    int64_t size, pad;
    msxk_spline axis[3]; /* rows, columns, channels */
    double low, high;
    int zero, truncate, full;
} msxk_square;

/* The image's side of the two-way decoder in one sweep over its n tokens, for `batch` prompts of T tokens,
 * with the projections of every head absorbed into the prompt's side (a token and head has a vector as wide
 * as the image's tokens). Index (t,h) is t*heads + h. For every image token i:
 *   weights  w[t,h] = softmax over t of ((key[i] + position[i]) . a[t,h] + c[t,h])
 *   updated[i] = norm(key[i] + bias + sum over (t,h) of w[t,h] u[t,h])
 * and then, over all of them,
 *   s[i,t,h] = softmax over i of (updated[i] + position[i]) . q[t,h]
 *   out[t,h] = sum over i of s[i,t,h] updated[i]
 * a, u, q and out (batch, T*heads, dim), c (batch, T*heads), position (n, dim) and the norm's vectors
 * shared. Problem p reads key + p*stride_key (0: shared), which may be `updated` (batch, n, dim). */
typedef struct msxk_two_way {
    int64_t batch, n, tokens, heads, dim;
    const float *key;
    int64_t stride_key;
    const float *position;
    const float *a, *c, *u, *bias;
    const float *norm_w, *norm_b;
    float eps;
    float *updated;
    const float *q;
    float *out;
} msxk_two_way;

/* Masks from the image's tokens: two transposed 2x2 convolutions of stride 2 with a norm and GELU between
 * them and GELU behind, then the product with one vector per mask. key (batch, g*g, dim); rows of w1
 * (4*half, dim) and w2 (4*quarter, half) are (ky, kx, c), b1 and b2 one per c, the norm's vectors (half);
 * vectors (batch, masks, quarter) -> logits (batch, masks, 4g, 4g). */
typedef struct msxk_masks {
    int64_t batch, grid, dim, half, quarter, masks;
    const float *key, *w1, *b1, *norm_w, *norm_b;
    float eps;
    const float *w2, *b2, *vectors;
    float *logits;
} msxk_masks;

typedef struct msx_kernels {
    size_t struct_size;
    uint32_t version; /* MSXK_VERSION */
    const char *name; /* "cpu", "cuda" */

    /* -- device and memory -- */
    /* *out is NULL only when host memory runs out; after another failure it is good for error and
     * close alone. */
    int (*open)(msx_kdev **out, int index, int threads, const msxk_memory *memory);
    void (*close)(msx_kdev *dev);
    const char *(*error)(const msx_kdev *dev);
    void (*set_threads)(msx_kdev *dev, int threads);
    int (*alloc)(msx_kdev *dev, void **out, size_t bytes); /* 64-byte aligned at least */
    void (*release)(msx_kdev *dev, void *memory);          /* accepts NULL */
    int (*upload)(msx_kdev *dev, void *dst, const void *host, size_t bytes);
    int (*download)(msx_kdev *dev, void *host, const void *src, size_t bytes);
    int (*copy)(msx_kdev *dev, void *dst, const void *src, size_t bytes);
    int (*sync)(msx_kdev *dev);
    /* 1 when memory of the backend may be read and written by the host directly */
    int host_memory;
    /* Most bytes that alloc may have handed out at a time (0: no bound), and what is and was in use:
     * {now, most so far}. NULL where host_memory is 1. */
    int (*set_budget)(msx_kdev *dev, size_t bytes);
    void (*usage)(const msx_kdev *dev, size_t bytes[2]);
    /* MSXK_E_ARG, and nothing changed, where the device does not offer it. What is low in memory
     * already keeps its old meaning. */
    int (*set_precision)(msx_kdev *dev, int precision);

    /* -- repeated work -- */
    /* Calls that are made again and again with the same arguments may be recorded and started as one.
     * begin returns 1 when the calls that `key` (of `bytes`, compared as bytes) stands for have been
     * started from a recording, and 0 when the caller is to make them and then call end: with 1, or
     * with 0 when one of them failed. end returns 1 when nothing came of it all and the calls are to be
     * made once more, without begin. In between no upload, download, alloc or release. `key` must
     * change when any argument does. */
    int (*begin)(msx_kdev *dev, const void *key, size_t bytes);
    int (*end)(msx_kdev *dev, int complete);

    /* -- preprocessing: input (3, size, size) with the bits of lib/image; NULL where host_memory is 1 -- */
    int (*prepare_longest)(msx_kdev *dev, float *input, const msxk_longest *p);
    int (*prepare_square)(msx_kdev *dev, float *input, const msxk_square *p);

    /* -- forward pass -- */
    int (*gemm)(msx_kdev *dev, const msxk_gemm *g);
    /* y = (x - mean) / sqrt(var + eps) * w + b per row, biased variance in two passes; act after.
     * x, y (rows, cols), may be the same. */
    int (*layer_norm)(msx_kdev *dev, float *y, const float *x, const float *w, const float *b,
                      int64_t rows, int64_t cols, float eps, int act);
    /* image (B,3,g*p,g*p) -> rows (B*g*g, 3*p*p), column order (c, ky, kx) */
    int (*patchify)(msx_kdev *dev, float *rows, const float *image, int64_t batch, int64_t grid,
                    int64_t patch);
    /* y (batch, n) = x (batch, n) + add (n); y may be x */
    int (*add_rows)(msx_kdev *dev, float *y, const float *x, const float *add, int64_t batch,
                    int64_t n);
    int (*attention)(msx_kdev *dev, const msxk_attention *a);
    /* y = x, rounded to the device's low format, nearest even */
    int (*narrow)(msx_kdev *dev, msxk_low *y, const float *x, int64_t n);
    /* layer_norm, patchify and im2col3 whose result is low (of im2col3 the input, too) */
    int (*layer_norm_low)(msx_kdev *dev, msxk_low *y, const float *x, const float *w,
                          const float *b, int64_t rows, int64_t cols, float eps, int act);
    int (*patchify_low)(msx_kdev *dev, msxk_low *rows, const float *image, int64_t batch,
                        int64_t grid, int64_t patch);
    int (*im2col3_low)(msx_kdev *dev, msxk_low *rows, const msxk_low *x, int64_t batch,
                       int64_t grid, int64_t channels);
    /* x (B,g,g,C) channels last -> rows (B*g*g, 9*C), column order (ky, kx, c), zero padded */
    int (*im2col3)(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t grid,
                   int64_t channels);
    /* (B, rows, cols) -> (B, cols, rows) */
    int (*transpose)(msx_kdev *dev, float *y, const float *x, int64_t batch, int64_t rows,
                     int64_t cols);
    int (*cross)(msx_kdev *dev, const msxk_cross *c);
    /* Both or none; a backend without them (NULL) is given the steps that they fuse, one by one. */
    int (*two_way)(msx_kdev *dev, const msxk_two_way *t);
    int (*masks)(msx_kdev *dev, const msxk_masks *m);
    /* y (P,n) = x[index[p]] (n) + add, add (n) shared or (P,n) when add_per_prompt; index is host
     * memory */
    int (*gather_add)(msx_kdev *dev, float *y, const float *x, const int64_t *index,
                      const float *add, int add_per_prompt, int64_t prompts, int64_t n);
    /* transposed 2x2 convolution's second half: in (B*h*w, 4*C), column (ky, kx, c), plus bias (C)
     * -> out (B, 2h, 2w, C), act applied */
    int (*shuffle2)(msx_kdev *dev, float *out, const float *in, const float *bias, int64_t batch,
                    int64_t h, int64_t w, int64_t channels, int act);
    /* 2x2 stride 2 patches: x (B,2h,2w,C) -> rows (B*h*w, C*4), column order (c, ky, kx) */
    int (*unshuffle2)(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t h,
                      int64_t w, int64_t channels);

    /* -- post-processing -- */
    /* Bilinear, align_corners = false: in (n, in_h, in_w) -> out (n, out_h, out_w); only the part
     * [0,crop_h) x [0,crop_w) of the input takes part (0: all). */
    int (*bilinear)(msx_kdev *dev, float *out, const float *in, int64_t n, int64_t in_h,
                    int64_t in_w, int64_t crop_h, int64_t crop_w, int64_t out_h, int64_t out_w);
    int (*sigmoid)(msx_kdev *dev, float *y, const float *x, int64_t n);
    /* mask[i] = x[i] > threshold */
    int (*threshold)(msx_kdev *dev, uint8_t *mask, const float *x, int64_t n, float threshold);
    /* counts (tp, fp, fn, tn) in host memory */
    int (*overlap)(msx_kdev *dev, int64_t counts[4], const uint8_t *reference,
                   const uint8_t *prediction, int64_t n);

    /* Objects' counts (tp, fp, fn, tn, logits that are not finite), in host memory, without their masks
     * ever being written: as bilinear to middle x middle, its crop bilinear to the image, > 0; for
     * middle 0 as sigmoid, bilinear, > 0.5. `objects` is host memory, what it points to the device's.
     * NULL where host_memory is 1. */
    int (*count_objects)(msx_kdev *dev, int64_t (*counts)[5], const msxk_object *objects, int64_t n,
                         int64_t side, int64_t middle);

    /* -- merging; n elements each, results independent of the number of threads -- */
    /* out = sum_i weight[i] * x[i]; accumulated in float32 in the order of i, weights rounded to
     * float32 once */
    int (*merge_linear)(msx_kdev *dev, float *out, const float *const *x, const double *weight,
                        size_t n_models, int64_t n);
    /* out = base + scale * sum_i weight[i] * (x[i] - base) */
    int (*merge_task)(msx_kdev *dev, float *out, const float *base, const float *const *x,
                      const double *weight, size_t n_models, double scale, int64_t n);
    /* The k-th largest of |x - base| (1 <= k <= n) and how many elements equal to it are kept, so
     * that exactly k are kept when ties go to the lower index. */
    int (*select_threshold)(msx_kdev *dev, const float *base, const float *x, int64_t n, int64_t k,
                            float *threshold, int64_t *ties_kept);
    /* TIES: trim each task vector by its threshold (negative ties_kept: nothing is kept), elect the
     * sign of the sum (zero counts as plus), average the agreeing ones, out = base + scale * mean */
    int (*merge_ties)(msx_kdev *dev, float *out, const float *base, const float *const *x,
                      const float *threshold, const int64_t *ties_kept, size_t n_models,
                      double scale, int64_t n);
    /* select_threshold of every model with the same k, then merge_ties, without the host in between; NULL
     * where host_memory is 1. */
    int (*merge_ties_top)(msx_kdev *dev, float *out, const float *base, const float *const *x,
                          size_t n_models, int64_t k, double scale, int64_t n);
    /* aa, ab, bb in float64, summed in fixed blocks */
    int (*dots)(msx_kdev *dev, double out[3], const float *a, const float *b, int64_t n);
} msx_kernels;

/* Grows when the meaning of the table changes; its size says what it holds. */
#define MSXK_VERSION 1

/* The CPU backend, linked in. */
extern const msx_kernels msxk_cpu;

/* The CUDA backend: a shared library of this name exports its table under this one. */
#define MSXK_CUDA_FILE   "libmedsamix-cuda.so"
#define MSXK_CUDA_SYMBOL "msxk_cuda"

#endif
