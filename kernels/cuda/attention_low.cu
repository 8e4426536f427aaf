/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder's attention with fp16 or bf16 factors on the tensor cores (mma m16n8k16, sm_80 and later),
 * sums, softmax and relative positions in float32; FlashAttention-2's division of the work (Dao 2023):
 *
 *   a warp has 16 queries, whose q stay in registers; tiles of 64 keys and values come into two
 *   buffers of shared memory by asynchronous copies, one ahead; scores turn into weights inside of the
 *   registers, because the result of one product is laid out as the first factor of the next.
 *
 * Relative positions: before the loop, while the first tile is on its way, q times both tables (the
 * products of the warp's 16 queries with 64 rows at a time, in the place of the second tile) is scattered to
 * bias_h[query][ky] and bias_w[query][kx] in shared memory. Softmax runs in base 2, with log2(e) in scale
 * and biases. This is the kernel of windows and of grids that attention_global.cu is not made for.
 *
 * A head's channels are padded to the next multiple of 16 with a kernel (80 stays 80). Keys of a window
 * beyond the grid are the bias of qkv. Limit: the tensor cores' mma.sync rate at 64 channels, and the
 * exponentials beside it.
 */
#include "kernels/cuda/attention_low.h"

#define KEYS  MSXK_TILE_KEYS
#define LOG2E 1.44269504f

/* Shared memory, in bytes. Rows of q, k and v are 16 bytes longer than their channels, so that the eight
 * rows of a matrix lie in different banks. */
struct low_areas {
    int stride; /* in elements */
    int q, k, v, padding, bias_h, bias_w, total;
};

static __host__ __device__ low_areas low_layout(int channels, int queries, int bias_stride) {
    low_areas a;
    a.stride = channels + 8;
    int row = a.stride * (int)sizeof(msxk_low), bias = queries * bias_stride * (int)sizeof(float);
    a.q = 0;
    a.k = a.q + queries * row;
    a.v = a.k + 2 * KEYS * row;
    a.padding = a.v + 2 * KEYS * row;
    a.bias_h = a.padding + 2 * row;
    a.bias_w = a.bias_h + bias;
    a.total = a.bias_w + bias;
    return a;
}

/* Everything that one block's helpers work with. */
struct low_block {
    msxk_attention_shape s;
    msxk_window w;
    msxk_low *q, *k, *v, *padding;
    float *bias_h, *bias_w;
    int stride, queries, keys;
};

/* Start copying keys and values [first, first + 64) into buffer `buffer`: 16 bytes at a time where heads are
 * aligned, else one element by one. Rows behind the last key keep what they hold, which is finite; their
 * scores are masked. A row's end beyond its channels is zero already. */
template <int STEPS, bool WIDE>
static __device__ __forceinline__ void copy_tile(const low_block &b, const msxk_low *qkv, int first,
                                                 int buffer) {
    enum { EACH = WIDE ? 8 : 1, PIECES = STEPS * 16 / EACH }; /* of a padded row */
    int dim = (int)b.s.dim, width = (int)b.s.width;
    for (int i = threadIdx.x; i < KEYS * PIECES; i += blockDim.x) {
        int row = i / PIECES, c = i % PIECES * EACH, key = first + row;
        if (key >= b.keys) break;
        if (c >= dim) continue;
        int y = msxk_key_row(b.s, key), x = key - y * b.s.side;
        msxk_low *to_k = b.k + (buffer * KEYS + row) * b.stride + c;
        msxk_low *to_v = b.v + (buffer * KEYS + row) * b.stride + c;
        bool inside = y < b.w.rows && x < b.w.cols;
        const msxk_low *from = qkv + msxk_token(b.s, b.w, y, x) * 3 * width + b.w.head * dim + c;
        if (inside && WIDE) {
            msxk_copy_async(to_k, from + width);
            msxk_copy_async(to_v, from + 2 * width);
        } else {
            for (int j = 0; j < EACH; j++) {
                to_k[j] = inside ? from[width + j] : b.padding[c + j];
                to_v[j] = inside ? from[2 * width + j] : b.padding[b.stride + c + j];
            }
        }
    }
}

template <int STEPS>
static __device__ void start_tile(const low_block &b, const msxk_low *qkv, int first, int buffer,
                                  bool wide) {
    if (wide)
        copy_tile<STEPS, true>(b, qkv, first, buffer);
    else
        copy_tile<STEPS, false>(b, qkv, first, buffer);
    msxk_copies_commit();
}

/* The warp's queries times the first `count` of 64 rows of `rows` (stride elements apart): scores[n] are
 * columns 8 n.., and zero where nobody counts on them. */
template <class T, int STEPS>
static __device__ __forceinline__ void times_rows(float scores[8][4], const uint32_t q[STEPS][4],
                                                  const msxk_low *rows, int stride, int count) {
    int lane = threadIdx.x % 32;
    /* lanes 0-7 name rows 0-7 at channel 0, 8-15 the same rows at channel 8, 16-31 rows 8-15 */
    const msxk_low *mine = rows + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] = 0.0f;
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
        if (n * 8 >= count) continue;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            uint32_t k[4];
            msxk_load_matrices(k, mine + n * 8 * stride + step * 16);
            msxk_mma(scores[n], q[step], k[0], k[1], T());
            msxk_mma(scores[n + 1], q[step], k[2], k[3], T());
        }
    }
}

/* Rows [first, first + 64) of a table of positions to `rows`; zero behind its end and its channels. */
template <class T, int STEPS>
static __device__ __forceinline__ void load_table(const low_block &b, msxk_low *rows,
                                                  const float *table, int first, bool wide) {
    enum { QUADS = STEPS * 4 };
    int entries = 2 * b.s.side - 1, dim = (int)b.s.dim;
    for (int i = threadIdx.x; i < KEYS * QUADS; i += blockDim.x) {
        int row = i / QUADS, c = i % QUADS * 4, entry = first + row;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (entry < entries && c < dim) {
            const float *from = table + (int64_t)entry * dim + c;
            if (wide) {
                x = *reinterpret_cast<const float4 *>(from);
            } else {
                x.x = from[0];
                if (c + 1 < dim) x.y = from[1];
                if (c + 2 < dim) x.z = from[2];
                if (c + 3 < dim) x.w = from[3];
            }
        }
        *reinterpret_cast<uint2 *>(rows + row * b.stride + c) =
            make_uint2(msxk_pack(x.x, x.y, T()), msxk_pack(x.z, x.w, T()));
    }
}

/* bias[query][key] = log2(e) * q . table[position - key + side - 1] of the table's rows from `first` on. */
template <class T, int STEPS>
static __device__ __forceinline__ void
scatter_bias(const low_block &b, float *bias, const uint32_t q[STEPS][4], const msxk_low *rows,
             int first, const int position[2]) {
    int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
    int entries = 2 * b.s.side - 1;
    float products[8][4];
    times_rows<T, STEPS>(products, q, rows, b.stride, entries - first);
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int entry = first + n * 8 + lane % 4 * 2 + i % 2;
            int key = position[i / 2] - entry + b.s.side - 1;
            if (entry < entries && key >= 0 && key < b.s.side)
                bias[(row + i / 2 * 8) * b.s.bias_stride + key] = products[n][i] * LOG2E;
        }
}

/* Scores in base 2 with their biases; keys behind the last one get no weight. Where a row of keys has an even
 * number of them, two neighbours of a lane are of one row. */
template <bool EVEN>
static __device__ __forceinline__ void add_bias(const low_block &b, float scores[8][4], int first) {
    int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
    float scale = b.s.scale * LOG2E;
    const float *h = b.bias_h + row * b.s.bias_stride, *h8 = h + 8 * b.s.bias_stride;
    const float *w = b.bias_w + row * b.s.bias_stride, *w8 = w + 8 * b.s.bias_stride;
#pragma unroll
    for (int n = 0; n < 8; n++) {
        int key = first + n * 8 + lane % 4 * 2;
        [[maybe_unused]] int y = msxk_key_row(b.s, key), x = key - y * b.s.side;
        if constexpr (EVEN) {
            if (key >= b.keys) {
#pragma unroll
                for (int i = 0; i < 4; i++) scores[n][i] = -INFINITY;
            } else {
                float2 along = *reinterpret_cast<const float2 *>(w + x);
                float2 along8 = *reinterpret_cast<const float2 *>(w8 + x);
                scores[n][0] = scores[n][0] * scale + (h[y] + along.x);
                scores[n][1] = scores[n][1] * scale + (h[y] + along.y);
                scores[n][2] = scores[n][2] * scale + (h8[y] + along8.x);
                scores[n][3] = scores[n][3] * scale + (h8[y] + along8.y);
            }
        } else {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int next = key + i, ny = msxk_key_row(b.s, next), nx = next - ny * b.s.side;
                bool exists = next < b.keys;
                scores[n][i] = exists ? scores[n][i] * scale + (h[ny] + w[nx]) : -INFINITY;
                scores[n][i + 2] =
                    exists ? scores[n][i + 2] * scale + (h8[ny] + w8[nx]) : -INFINITY;
            }
        }
    }
}

/* Scores become weights; running maxima and sums of the lane's two queries are brought up to date.
 * shrink: what the sums so far are to be multiplied with. */
static __device__ __forceinline__ void soften(float scores[8][4], float most[2], float sum[2],
                                              float shrink[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float now = most[half], total = 0.0f;
#pragma unroll
        for (int n = 0; n < 8; n++)
            now = fmaxf(now, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
        now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 1)); /* four lanes share a query */
        now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 2));
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; i++) {
                scores[n][i] = msxk_exp2(scores[n][i] - now);
                total += scores[n][i];
            }
        shrink[half] = msxk_exp2(most[half] - now);
        most[half] = now;
        sum[half] = sum[half] * shrink[half] + total; /* of this lane's keys; added up at the end */
    }
}

/* o += weights (16 x 64) values (64 x channels), of which the first `count` have a weight */
template <class T, int STEPS>
static __device__ __forceinline__ void times_values(float o[2 * STEPS][4], const float p[8][4],
                                                    const msxk_low *v, int stride, int count) {
    int lane = threadIdx.x % 32;
    const msxk_low *mine = v + lane % 16 * stride + lane / 16 * 8;
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++) {
        if (step * 16 >= count) continue;
        const uint32_t weights[4] = {
            msxk_pack(p[2 * step][0], p[2 * step][1], T()),
            msxk_pack(p[2 * step][2], p[2 * step][3], T()),
            msxk_pack(p[2 * step + 1][0], p[2 * step + 1][1], T()),
            msxk_pack(p[2 * step + 1][2], p[2 * step + 1][3], T()),
        };
#pragma unroll
        for (int c = 0; c < STEPS; c++) {
            uint32_t values[4];
            msxk_load_transposed(values, mine + step * 16 * stride + c * 16);
            msxk_mma(o[2 * c], weights, values[0], values[1], T());
            msxk_mma(o[2 * c + 1], weights, values[2], values[3], T());
        }
    }
}

/* The warp's results to the place of its q, and from there in whole rows to `out`. */
template <class T, int STEPS>
static __device__ void write_out(const low_block &b, const float o[2 * STEPS][4],
                                 const float sum[2], msxk_low *out, bool wide) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    msxk_low *mine = b.q + warp * 16 * b.stride;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float total = sum[half];
        total += __shfl_xor_sync(0xffffffffu, total, 1);
        total += __shfl_xor_sync(0xffffffffu, total, 2);
        float inverse = 1.0f / total;
        uint32_t *row = reinterpret_cast<uint32_t *>(mine + (lane / 4 + 8 * half) * b.stride);
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++)
            row[4 * n + lane % 4] =
                msxk_pack(o[n][2 * half] * inverse, o[n][2 * half + 1] * inverse, T());
    }
    __syncwarp();
    int pieces = (int)(wide ? b.s.dim / 8 : b.s.dim);
    for (int i = lane; i < 16 * pieces; i += 32) {
        int row = i / pieces, piece = i % pieces, index = b.w.first + warp * 16 + row;
        if (index >= b.queries) break;
        msxk_low *to = out + msxk_token(b.s, b.w, index / b.w.cols, index % b.w.cols) * b.s.width +
                       b.w.head * b.s.dim;
        if (wide)
            *reinterpret_cast<uint4 *>(to + 8 * piece) =
                *reinterpret_cast<const uint4 *>(mine + row * b.stride + 8 * piece);
        else
            to[piece] = mine[row * b.stride + piece];
    }
}

/* Everything that the block works with zero, as what no copy writes must be finite; the key and the value of
 * tokens beyond the grid. */
template <class T> static __device__ void clear_block(const low_block &b, const float *qkv_bias) {
    int rows = b.s.queries + 4 * KEYS;
    for (int i = threadIdx.x; i < rows * b.stride / 8; i += blockDim.x)
        reinterpret_cast<uint4 *>(b.q)[i] = make_uint4(0, 0, 0, 0);
    for (int c = threadIdx.x; c < b.s.dim; c += blockDim.x) {
        const float *from = qkv_bias + b.w.head * b.s.dim + c;
        b.padding[c] = msxk_to_low(from[b.s.width], T());
        b.padding[b.stride + c] = msxk_to_low(from[2 * b.s.width], T());
    }
}

template <int STEPS>
static __device__ void start_queries(const low_block &b, const msxk_low *qkv, bool wide) {
    int each = wide ? 8 : 1, pieces = STEPS * 16 / each;
    for (int i = threadIdx.x; i < b.s.queries * pieces; i += blockDim.x) {
        int row = i / pieces, c = i % pieces * each, index = b.w.first + row;
        if (index >= b.queries) break;
        if (c >= b.s.dim) continue;
        const msxk_low *from =
            qkv + msxk_token(b.s, b.w, index / b.w.cols, index % b.w.cols) * 3 * b.s.width +
            b.w.head * b.s.dim + c;
        if (wide)
            msxk_copy_async(b.q + row * b.stride + c, from);
        else
            b.q[row * b.stride + c] = *from;
    }
}

/* STEPS: channels / 16. EVEN: the side of a window is. */
template <class T, int STEPS, bool EVEN>
static __global__ void __launch_bounds__(256, STEPS <= 5 ? 2 : 1)
    attention_low_kernel(const msxk_low *qkv, const float *qkv_bias, const float *rel_h,
                         const float *rel_w, msxk_low *out, msxk_attention_shape s, int wide) {
    MSXK_SHARED(unsigned char, memory);
    low_areas at = low_layout(STEPS * 16, s.queries, s.bias_stride);
    low_block b;
    b.s = s;
    b.w = msxk_window_of(s);
    b.q = reinterpret_cast<msxk_low *>(memory + at.q);
    b.k = reinterpret_cast<msxk_low *>(memory + at.k);
    b.v = reinterpret_cast<msxk_low *>(memory + at.v);
    b.padding = reinterpret_cast<msxk_low *>(memory + at.padding);
    b.bias_h = reinterpret_cast<float *>(memory + at.bias_h);
    b.bias_w = reinterpret_cast<float *>(memory + at.bias_w);
    b.stride = at.stride;
    b.queries = b.w.rows * b.w.cols;
    b.keys = s.side * s.side;
    if (b.w.first >= b.queries) return;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    clear_block<T>(b, qkv_bias);
    __syncthreads();
    start_queries<STEPS>(b, qkv, wide);
    start_tile<STEPS>(b, qkv, 0, 0, wide);

    uint32_t q[STEPS][4];
    const msxk_low *mine = b.q + (warp * 16 + lane % 16) * b.stride + lane / 16 * 8;
    msxk_low *tables[] = {b.k + KEYS * b.stride, b.v + KEYS * b.stride};
    int positions[2][2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int index = min(b.w.first + warp * 16 + lane / 4 + 8 * half, b.queries - 1);
        positions[0][half] = index / b.w.cols;
        positions[1][half] = index - positions[0][half] * b.w.cols;
    }
    for (int first = 0; first < 2 * s.side - 1; first += KEYS) {
        load_table<T, STEPS>(b, tables[0], rel_h, first, wide);
        load_table<T, STEPS>(b, tables[1], rel_w, first, wide);
        msxk_copies_wait<0>();
        __syncthreads();
        if (first == 0)
#pragma unroll
            for (int step = 0; step < STEPS; step++) msxk_load_matrices(q[step], mine + step * 16);
        scatter_bias<T, STEPS>(b, b.bias_h, q, tables[0], first, positions[0]);
        scatter_bias<T, STEPS>(b, b.bias_w, q, tables[1], first, positions[1]);
        __syncthreads(); /* the second tile, or more of the tables, takes their place */
    }
    float o[2 * STEPS][4], most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int n = 0; n < 2 * STEPS; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) o[n][i] = 0.0f;
    bool idle = b.w.first + warp * 16 >= b.queries; /* of the window's last block */
    for (int first = 0, buffer = 0; first < b.keys; first += KEYS, buffer ^= 1) {
        if (first + KEYS < b.keys) {
            start_tile<STEPS>(b, qkv, first + KEYS, buffer ^ 1, wide);
            msxk_copies_wait<1>();
        } else {
            msxk_copies_wait<0>();
        }
        __syncthreads();
        if (!idle) {
            float scores[8][4], shrink[2];
            times_rows<T, STEPS>(scores, q, b.k + buffer * KEYS * b.stride, b.stride,
                                 b.keys - first);
            add_bias<EVEN>(b, scores, first);
            soften(scores, most, sum, shrink);
#pragma unroll
            for (int n = 0; n < 2 * STEPS; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) o[n][i] *= shrink[i / 2];
            times_values<T, STEPS>(o, scores, b.v + buffer * KEYS * b.stride, b.stride,
                                   b.keys - first);
        }
        __syncthreads(); /* before the next copies write this buffer */
    }
    if (!idle) write_out<T, STEPS>(b, o, sum, out, wide);
}

typedef void low_kernel(const msxk_low *, const float *, const float *, const float *, msxk_low *,
                        msxk_attention_shape, int);

/* Rows: channels / 16; columns: whether windows have an even side. Heads of 16 channels and less take the
 * form of 32: of their own one with an odd side, ptxas 13.0 made code at -O3 that gave half of the queries
 * wrong biases, and at -O1 right ones. */
template <class T> static low_kernel *find_kernel(int64_t dim, bool even, int *channels) {
    static const struct {
        int channels;
        low_kernel *kernels[2];
    } all[] = {
        {32, {attention_low_kernel<T, 2, false>, attention_low_kernel<T, 2, true>}},
        {48, {attention_low_kernel<T, 3, false>, attention_low_kernel<T, 3, true>}},
        {64, {attention_low_kernel<T, 4, false>, attention_low_kernel<T, 4, true>}},
        {80, {attention_low_kernel<T, 5, false>, attention_low_kernel<T, 5, true>}},
        {128, {attention_low_kernel<T, 8, false>, attention_low_kernel<T, 8, true>}},
    };
    int i = 0;
    while (all[i].channels < dim) i++;
    *channels = all[i].channels;
    return all[i].kernels[even];
}

int msxk_cuda_attention_low(msx_kdev *dev, const msxk_attention *a) {
    if (dev->precision != MSXK_FP16 && dev->precision != MSXK_BF16)
        return msxk_cuda_fail(dev, MSXK_E_ARG,
                              "attention: low operands, but no low precision is set");
    if (msxk_attention_is_global(a)) return msxk_cuda_attention_global(dev, a);
    /* queries in as few and as equal blocks as 8 warps allow */
    int64_t most = a->side < a->grid ? a->side : a->grid;
    int64_t needed = (most * most + 15) / 16, blocks = (needed + 7) / 8;
    int64_t warps = (needed + blocks - 1) / blocks;
    msxk_attention_shape s = msxk_shape_of(a, (int)warps * 16);
    int channels;
    bool even = a->side % 2 == 0;
    low_kernel *kernel = dev->precision == MSXK_FP16
                             ? find_kernel<msxk_fp16>(a->dim, even, &channels)
                             : find_kernel<msxk_bf16>(a->dim, even, &channels);
    size_t bytes = (size_t)low_layout(channels, s.queries, s.bias_stride).total;
    MSXK_RETURN_IF(msxk_cuda_allow_shared(dev, reinterpret_cast<const void *>(kernel), bytes));
    const msxk_low *qkv = reinterpret_cast<const msxk_low *>(a->qkv);
    msxk_low *out = reinterpret_cast<msxk_low *>(a->out);
    uintptr_t addresses =
        (uintptr_t)qkv | (uintptr_t)out | (uintptr_t)a->rel_h | (uintptr_t)a->rel_w;
    int wide = a->dim % 8 == 0 && addresses % 16 == 0;
    return MSXK_LAUNCH(dev, kernel, (unsigned)msxk_shape_grid(a, s), (unsigned)warps * 32, bytes,
                       qkv, a->qkv_bias, a->rel_h, a->rel_w, out, s, wide);
}
