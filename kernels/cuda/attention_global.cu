/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Global attention of the full-size networks (64 x 64 tokens, heads of 64 or 80 channels) with fp16 or
 * bf16 factors: what attention_low.cu does for any grid, arranged for this one.
 *
 * A block has 128 queries and 8 warps, as 4 groups of 32 queries times 2 halves of the keys. A tile is one
 * row of 64 keys with its values, and a warp takes 32 of them: every fragment of k or v that comes from
 * shared memory serves 32 queries, which is what bounds the kernel (16 queries a warp would read it
 * twice as often as the tensor cores can use it), while the relative positions along a row are no more
 * than 16 registers, as pairs of fp16: they are where the products begin. Those across rows are one number
 * a query and tile, added inside of the exponential. The halves have maxima and sums of their own and are
 * joined at the end.
 *
 * With two warps for each of the multiprocessor's schedulers there is not much to hide latencies behind: with
 * 64 channels a warp multiplies the next tile's keys while it turns this tile's scores into weights. Three tiles lie in
 * shared memory, one or two of them on their way, and one barrier a tile orders them. Limit: docs/cuda.md.
 */
#include "kernels/cuda/attention_low.h"

#define SIDE        64
#define KEYS        SIDE /* of a tile */
#define GROUPS      4
#define QUERIES     (32 * GROUPS)
#define THREADS     256
#define STAGES      3
#define BIAS_STRIDE 65 /* floats; odd, so that eight queries lie in different banks */
#define LOG2E       1.44269504f

#if defined __CUDA_ARCH__ && __CUDA_ARCH__ < 900
#define NEW_ENOUGH 0 /* ptxas spills there */
#else
#define NEW_ENOUGH 1
#endif

/* A row of 16 bytes more than its channels: the eight rows of a matrix lie in different banks. A stage is
 * 64 rows of k and 64 of v; the last one holds the queries before, then a table of positions. */
template <int STEPS> struct shape_of {
    enum {
        CHANNELS = 16 * STEPS,
        STRIDE = CHANNELS + 8,
        STAGE = 2 * KEYS * STRIDE,            /* elements */
        PIECES = CHANNELS / 8,                /* 16 bytes, of a row */
        COPIES = 2 * KEYS * PIECES / THREADS, /* of a thread and tile */
        AHEAD = STEPS <= 4                    /* scores of the next tile have room in registers */
    };
    static constexpr size_t bytes =
        STAGES * STAGE * sizeof(msxk_low) + QUERIES * BIAS_STRIDE * sizeof(float);
};
static_assert(QUERIES == 2 * KEYS, "the queries take the place of a stage");

struct global_problem {
    const msxk_low *qkv;
    const float *rel_h, *rel_w;
    msxk_low *out;
    int heads;
    float scale;
};

/* Which 32 queries and which half of the keys are this warp's; where its lane stands in fragments. */
struct warp_place {
    int lane, group, half;
};

/* c (32 x 32) += q (32 x channels) rows (32 x channels)^T */
template <class T, int STEPS>
static __device__ __forceinline__ void times_rows(float c[2][4][4], const uint32_t q[2][STEPS][4],
                                                  const msxk_low *rows, int lane) {
    enum { STRIDE = shape_of<STEPS>::STRIDE };
    /* lanes 0-7 name rows 0-7 at channel 0, 8-15 the same rows at channel 8, 16-31 rows 8-15 */
    const msxk_low *mine = rows + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < 4; n += 2)
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            uint32_t k[4];
            msxk_load_matrices(k, mine + n * 8 * STRIDE + step * 16);
#pragma unroll
            for (int m = 0; m < 2; m++) {
                msxk_mma(c[m][n], q[m][step], k[0], k[1], T());
                msxk_mma(c[m][n + 1], q[m][step], k[2], k[3], T());
            }
        }
}

/* o (32 x channels) += weights (32 x 32) values (32 x channels) */
template <class T, int STEPS>
static __device__ __forceinline__ void
times_values(float o[2][2 * STEPS][4], const float p[2][4][4], const msxk_low *values, int lane) {
    enum { STRIDE = shape_of<STEPS>::STRIDE };
    const msxk_low *mine = values + lane % 16 * STRIDE + lane / 16 * 8;
#pragma unroll
    for (int step = 0; step < 2; step++) {
        uint32_t weights[2][4];
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float *pair = p[m][2 * step + i / 2] + i % 2 * 2;
                weights[m][i] = msxk_pack(pair[0], pair[1], T());
            }
#pragma unroll
        for (int c = 0; c < STEPS; c++) {
            uint32_t v[4];
            msxk_load_transposed(v, mine + step * 16 * STRIDE + c * 16);
#pragma unroll
            for (int m = 0; m < 2; m++) {
                msxk_mma(o[m][2 * c], weights[m], v[0], v[1], T());
                msxk_mma(o[m][2 * c + 1], weights[m], v[2], v[3], T());
            }
        }
    }
}

/* c (32 x 32) = what the scores of a row begin with + q keys^T */
template <class T, int STEPS>
static __device__ __forceinline__ void score(float c[2][4][4], const uint32_t start[2][4][2],
                                             const uint32_t q[2][STEPS][4], const msxk_low *keys,
                                             int lane) {
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                c[m][n][i] =
                    msxk_to_float((msxk_low)(start[m][n][i / 2] >> 16 * (i % 2)), msxk_fp16());
    times_rows<T, STEPS>(c, q, keys, lane);
}

/* Two numbers that may be beyond fp16's range, as its largest ones then. */
static __device__ __forceinline__ uint32_t pack_within(float a, float b) {
    const float most = 65504.0f;
    return msxk_pack(fminf(fmaxf(a, -most), most), fminf(fmaxf(b, -most), most), msxk_fp16());
}

/* A table of positions (127, channels) in the low format to `rows`; its 128th row is zero. */
template <class T, int STEPS>
static __device__ void load_table(msxk_low *rows, const float *table) {
    enum { QUADS = shape_of<STEPS>::CHANNELS / 4, N = 2 * SIDE * QUADS };
#pragma unroll 4
    for (int i = threadIdx.x; i < N; i += THREADS) {
        int row = i / QUADS, quad = i % QUADS;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (row < 2 * SIDE - 1) x = reinterpret_cast<const float4 *>(table)[i];
        *reinterpret_cast<uint2 *>(rows + row * shape_of<STEPS>::STRIDE + 4 * quad) =
            make_uint2(msxk_pack(x.x, x.y, T()), msxk_pack(x.z, x.w, T()));
    }
}

/* bias[query][key] = factor * q . table[position - key + 63] for the warp's queries; the halves share out
 * the table's rows. */
template <class T, int STEPS>
static __device__ void relative_bias(float *bias, const uint32_t q[2][STEPS][4],
                                     const msxk_low *table, const warp_place &w, int first,
                                     bool by_row, float factor) {
#pragma unroll 1
    for (int chunk = 0; chunk < SIDE; chunk += 32) {
        int start = w.half * SIDE + chunk;
        float products[2][4][4] = {};
        times_rows<T, STEPS>(products, q, table + start * shape_of<STEPS>::STRIDE, w.lane);
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int query = w.group * 32 + m * 16 + w.lane / 4 + i / 2 * 8;
                    int entry = start + n * 8 + w.lane % 4 * 2 + i % 2;
                    int position = by_row ? (first + query) / SIDE : query % SIDE;
                    int key = position - entry + SIDE - 1;
                    if (key >= 0 && key < SIDE)
                        bias[query * BIAS_STRIDE + key] = products[m][n][i] * factor;
                }
    }
}

/* Start copying tile `tile` of keys and values into `stage`. */
template <int STEPS>
static __device__ __forceinline__ void start_tile(msxk_low *stage, const msxk_low *keys,
                                                  const msxk_low *values, int tile, int ld) {
    typedef shape_of<STEPS> shape;
#pragma unroll
    for (int j = 0; j < shape::COPIES; j++) {
        int i = threadIdx.x + j * THREADS, row = i / shape::PIECES, piece = i % shape::PIECES;
        const msxk_low *from = row < KEYS ? keys : values;
        msxk_copy_async(stage + row * shape::STRIDE + 8 * piece,
                        from + (unsigned)((tile * KEYS + row % KEYS) * ld + 8 * piece));
    }
    msxk_copies_commit();
}

/* Running state of the lane's four queries: 0 and 1 are rows lane / 4 and 8 more of the first 16, 2 and 3
 * of the second. */
struct softmax_state {
    float most[4], sum[4];
};

/* Scores become weights; o is shrunk where a maximum grew. row_bias: of the four queries in this tile. */
template <int STEPS>
static __device__ __forceinline__ void soften(float s[2][4][4], float o[2][2 * STEPS][4],
                                              softmax_state &state, const float row_bias[4],
                                              float scale) {
    float shrink[4];
    bool grown = false;
#pragma unroll
    for (int r = 0; r < 4; r++) {
        int m = r / 2, at = r % 2 * 2;
        float now = fmaxf(s[m][0][at], s[m][0][at + 1]), total = 0.0f;
#pragma unroll
        for (int n = 1; n < 4; n++) now = fmaxf(now, fmaxf(s[m][n][at], s[m][n][at + 1]));
        now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 1)); /* four lanes share a query */
        now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 2));
        now = fmaxf(state.most[r], now * scale + row_bias[r]);
        float add = row_bias[r] - now;
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int i = at; i < at + 2; i++) {
                s[m][n][i] = msxk_exp2(s[m][n][i] * scale + add);
                total += s[m][n][i];
            }
        shrink[r] = msxk_exp2(state.most[r] - now);
        grown = grown || state.most[r] != now;
        state.most[r] = now;
        state.sum[r] =
            state.sum[r] * shrink[r] + total; /* of this lane's keys; joined at the end */
    }
    if (!__ballot_sync(0xffffffffu, grown)) return;
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) o[m][n][i] *= shrink[2 * m + i / 2];
}

/* The two halves of a group's keys meet in shared memory, and the first one writes rows to `out`. partial:
 * (queries, channels + 8); numbers: (queries, 2); rows: (queries, stride). All threads come here. */
template <class T, int STEPS>
static __device__ void join_and_write(float o[2][2 * STEPS][4], softmax_state &state,
                                      float *partial, float *numbers, msxk_low *rows,
                                      const warp_place &w, msxk_low *out, int ld) {
    typedef shape_of<STEPS> shape;
    enum { PARTIAL = shape::CHANNELS + 8 };
#pragma unroll
    for (int r = 0; r < 4; r++) {
        state.sum[r] += __shfl_xor_sync(0xffffffffu, state.sum[r], 1);
        state.sum[r] += __shfl_xor_sync(0xffffffffu, state.sum[r], 2);
    }
#pragma unroll
    for (int r = 0; r < 4 && w.half; r++) {
        int query = w.group * 32 + r / 2 * 16 + w.lane / 4 + r % 2 * 8;
        if (w.lane % 4 == 0)
            numbers[2 * query] = state.most[r], numbers[2 * query + 1] = state.sum[r];
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++)
            *reinterpret_cast<float2 *>(partial + query * PARTIAL + 8 * n + w.lane % 4 * 2) =
                make_float2(o[r / 2][n][r % 2 * 2], o[r / 2][n][r % 2 * 2 + 1]);
    }
    __syncthreads();
    if (w.half) return;
#pragma unroll
    for (int r = 0; r < 4; r++) {
        int query = w.group * 32 + r / 2 * 16 + w.lane / 4 + r % 2 * 8;
        float other = numbers[2 * query], most = fmaxf(state.most[r], other);
        float a = msxk_exp2(state.most[r] - most), b = msxk_exp2(other - most);
        float inverse = 1.0f / (state.sum[r] * a + numbers[2 * query + 1] * b);
        a *= inverse, b *= inverse;
        uint32_t *row = reinterpret_cast<uint32_t *>(rows + query * shape::STRIDE);
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++) {
            float2 there = *reinterpret_cast<const float2 *>(partial + query * PARTIAL + 8 * n +
                                                             w.lane % 4 * 2);
            row[4 * n + w.lane % 4] = msxk_pack(o[r / 2][n][r % 2 * 2] * a + there.x * b,
                                                o[r / 2][n][r % 2 * 2 + 1] * a + there.y * b, T());
        }
    }
    __syncwarp();
    for (int i = w.lane; i < 32 * shape::PIECES; i += 32) {
        int query = w.group * 32 + i / shape::PIECES, piece = i % shape::PIECES;
        *reinterpret_cast<uint4 *>(out + (int64_t)query * ld + 8 * piece) =
            *reinterpret_cast<const uint4 *>(rows + query * shape::STRIDE + 8 * piece);
    }
}

template <class T, int STEPS>
static __global__ void __launch_bounds__(THREADS, 1) attention_global_kernel(global_problem a) {
    typedef shape_of<STEPS> shape;
    MSXK_SHARED(msxk_low, memory);
    msxk_low *queries = memory + 2 * shape::STAGE;
    float *bias_h = reinterpret_cast<float *>(memory + STAGES * shape::STAGE);
    float *bias_w = reinterpret_cast<float *>(memory); /* until the tiles come */
    int warp = threadIdx.x / 32;
    const warp_place w = {(int)threadIdx.x % 32, warp % GROUPS, warp / GROUPS};
    enum { BLOCKS = SIDE * SIDE / QUERIES };
    int block = blockIdx.x % BLOCKS, head = blockIdx.x / BLOCKS % a.heads;
    int64_t image = blockIdx.x / BLOCKS / a.heads;
    int first = block * QUERIES, width = a.heads * shape::CHANNELS, ld = 3 * width;
    const msxk_low *base = a.qkv + image * SIDE * SIDE * ld + head * shape::CHANNELS;

#pragma unroll
    for (int j = 0; j < shape::COPIES; j++) {
        int i = threadIdx.x + j * THREADS, row = i / shape::PIECES, piece = i % shape::PIECES;
        msxk_copy_async(queries + row * shape::STRIDE + 8 * piece,
                        base + (int64_t)(first + row) * ld + 8 * piece);
    }
    msxk_copies_commit();
    load_table<T, STEPS>(memory, a.rel_h);
    msxk_copies_wait<0>();
    __syncthreads();
    uint32_t q[2][STEPS][4];
    const msxk_low *mine = queries + (w.group * 32 + w.lane % 16) * shape::STRIDE + w.lane / 16 * 8;
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int step = 0; step < STEPS; step++)
            msxk_load_matrices(q[m][step], mine + m * 16 * shape::STRIDE + step * 16);
    relative_bias<T, STEPS>(bias_h, q, memory, w, first, true, LOG2E);
    __syncthreads(); /* the queries are in registers, the first table is done with */
    load_table<T, STEPS>(queries, a.rel_w);
    __syncthreads();
    relative_bias<T, STEPS>(bias_w, q, queries, w, first, false, 1.0f / a.scale);
    __syncthreads();
    uint32_t start[2][4][2]; /* positions along the row, before the scale */
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float *from = bias_w +
                                    (w.group * 32 + m * 16 + w.lane / 4 + i * 8) * BIAS_STRIDE +
                                    w.half * 32 + n * 8 + w.lane % 4 * 2;
                start[m][n][i] = pack_within(from[0], from[1]);
            }
    __syncthreads(); /* before tiles overwrite them */

    enum { AHEAD = shape::AHEAD };
    float o[2][2 * STEPS][4] = {}, scores[1 + AHEAD][2][4][4];
    softmax_state state = {{-INFINITY, -INFINITY, -INFINITY, -INFINITY}, {}};
    const float *row_bias = bias_h + (w.group * 32 + w.lane / 4) * BIAS_STRIDE;
    const msxk_low *mine_of_tile = memory + w.half * 32 * shape::STRIDE;
    for (int tile = 0; tile < STAGES - 1; tile++)
        start_tile<STEPS>(memory + tile * shape::STAGE, base + width, base + 2 * width, tile, ld);
    if (AHEAD) {
        msxk_copies_wait<STAGES - 2>();
        __syncthreads();
        score<T, STEPS>(scores[0], start, q, mine_of_tile, w.lane);
    }
#pragma unroll 1
    for (int first_tile = 0, stage = 0; first_tile < SIDE; first_tile += 1 + AHEAD) {
#pragma unroll
        for (int i = 0; i < 1 + AHEAD; i++) {
            int tile = first_tile + i, next = stage == STAGES - 1 ? 0 : stage + 1;
            if (tile + STAGES - 2 < SIDE)
                msxk_copies_wait<STAGES - 2 - AHEAD>();
            else
                msxk_copies_wait<0>();
            __syncthreads(); /* what is needed is there, and the tile before is done with */
            if (tile + STAGES - 1 < SIDE)
                start_tile<STEPS>(memory + (stage == 0 ? STAGES - 1 : stage - 1) * shape::STAGE,
                                  base + width, base + 2 * width, tile + STAGES - 1, ld);
            float h[4];
#pragma unroll
            for (int r = 0; r < 4; r++) h[r] = row_bias[8 * r * BIAS_STRIDE + tile];
            /* behind the last tile: scores that nobody asks for, of a tile that was there */
            score<T, STEPS>(scores[AHEAD * (1 - i)], start, q,
                            mine_of_tile + (AHEAD ? next : stage) * shape::STAGE, w.lane);
            soften<STEPS>(scores[AHEAD * i], o, state, h, a.scale * LOG2E);
            times_values<T, STEPS>(o, scores[AHEAD * i],
                                   mine_of_tile + stage * shape::STAGE + KEYS * shape::STRIDE,
                                   w.lane);
            stage = next;
        }
    }
    __syncthreads();
    float *partial = reinterpret_cast<float *>(memory);
    join_and_write<T, STEPS>(o, state, partial, partial + QUERIES * (shape::CHANNELS + 8),
                             reinterpret_cast<msxk_low *>(bias_h), w,
                             a.out + (image * SIDE * SIDE + first) * width + head * shape::CHANNELS,
                             width);
}

template <class T> static int run(msx_kdev *dev, const msxk_attention *a) {
    static const struct {
        int64_t dim;
        void (*kernel)(global_problem);
        size_t bytes;
    } all[] = {{64, attention_global_kernel<T, 4>, shape_of<4>::bytes},
               {80, attention_global_kernel<T, 5>, shape_of<5>::bytes}};
    const auto &k = all[a->dim == 80];
    global_problem p = {
        reinterpret_cast<const msxk_low *>(a->qkv), a->rel_h,      a->rel_w,
        reinterpret_cast<msxk_low *>(a->out),       (int)a->heads, 1.0f / sqrtf((float)a->dim)};
    MSXK_RETURN_IF(msxk_cuda_allow_shared(dev, reinterpret_cast<const void *>(k.kernel), k.bytes));
    int64_t blocks = a->batch * a->heads * (SIDE * SIDE / QUERIES);
    return MSXK_LAUNCH(dev, k.kernel, (unsigned)blocks, THREADS, k.bytes, p);
}

bool msxk_attention_is_global(const msxk_attention *a) {
    uintptr_t addresses =
        (uintptr_t)a->qkv | (uintptr_t)a->out | (uintptr_t)a->rel_h | (uintptr_t)a->rel_w;
    return a->side == SIDE && a->grid == SIDE && (a->dim == 64 || a->dim == 80) &&
           addresses % 16 == 0;
}

int msxk_cuda_attention_global(msx_kdev *dev, const msxk_attention *a) {
    return dev->precision == MSXK_FP16 ? run<msxk_fp16>(dev, a) : run<msxk_bf16>(dev, a);
}
