/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIES: exact selection of the k largest changes, and the merge of what is kept; the same elements and
 * the same bits as kernels/cpu/merge_ties.c. Magnitudes are compared as the bits of |x - base|: floats
 * without a sign order like integers, a NaN is largest.
 */
#include "kernels/cuda/merge.h"

#define THREADS 256
#define BLOCK   2048 /* elements whose equal ones are counted together */

static __device__ __forceinline__ float change_at(const float *base, const float *x, int64_t i) {
    return __fsub_rn(x[i], base[i]);
}

static __device__ __forceinline__ uint32_t magnitude(float change) {
    return __float_as_uint(change) & 0x7fffffffu;
}

/* ---- selection ----------------------------------------------------------------------------------- */

/* The 31 bits of a magnitude in three digits, highest first. */
struct digit {
    int shift, bits;
};
enum { N_DIGITS = 3, BINS = 1 << 11 };

/* On the device: what is known so far of the k-th largest magnitude. */
struct selection {
    unsigned long long k; /* how many are still to be found below `prefix` */
    unsigned prefix, unused;
    unsigned long long bins[BINS];
};

/* Count the digit's values among the elements whose higher bits equal the prefix. Counts are integers,
 * so the order of additions does not matter. */
static __global__ void count_kernel(selection *s, const float *base, const float *x, int64_t n,
                                    digit d) {
    MSXK_SHARED(unsigned, bins);
    for (int b = threadIdx.x; b < BINS; b += THREADS) bins[b] = 0;
    __syncthreads();
    unsigned prefix = s->prefix, mask = (1u << d.bits) - 1;
    for (int64_t i = msxk_thread(); i < n; i += (int64_t)gridDim.x * THREADS) {
        uint32_t key = magnitude(change_at(base, x, i));
        if (key >> (d.shift + d.bits) == prefix) atomicAdd(bins + (key >> d.shift & mask), 1u);
    }
    __syncthreads();
    for (int b = threadIdx.x; b < BINS; b += THREADS)
        if (bins[b]) atomicAdd(s->bins + b, (unsigned long long)bins[b]);
}

/* Fix one digit: the highest value at which the counts from above reach k. One warp; each lane sums 64
 * values, then the lane in whose range k falls looks closer. */
static __global__ void pick_kernel(selection *s, digit d) {
    enum { EACH = BINS / 32 };
    int lane = threadIdx.x, top = (31 - lane) * EACH; /* lane 0 has the highest values */
    unsigned long long mine = 0, above = 0, k = s->k;
    for (int b = 0; b < EACH; b++) mine += s->bins[top + b];
    for (int l = 0; l < 32; l++) {
        unsigned long long other = __shfl_sync(0xffffffffu, mine, l);
        if (l < lane) above += other;
    }
    unsigned prefix = s->prefix;
    __syncwarp();
    if (above < k && above + mine >= k) {
        int b = EACH - 1;
        for (; above + s->bins[top + b] < k; b--) above += s->bins[top + b];
        s->k = k - above;
        s->prefix = prefix << d.bits | (unsigned)(top + b);
    }
    __syncwarp();
    for (int b = lane; b < BINS; b += 32) s->bins[b] = 0;
}

int msxk_cuda_select_threshold(msx_kdev *dev, const float *base, const float *x, int64_t n,
                               int64_t k, float *threshold, int64_t *ties_kept) {
    static const digit digits[N_DIGITS] = {{20, 11}, {9, 11}, {0, 9}};
    if (k < 1 || k > n)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "select: k is %lld of %lld", (long long)k,
                              (long long)n);
    void *memory;
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_OP, sizeof(selection), &memory));
    selection *s = static_cast<selection *>(memory);
    MSXK_RETURN_IF(
        msxk_cuda_check(dev, cudaMemsetAsync(s, 0, sizeof *s, dev->stream), "cudaMemsetAsync"));
    unsigned long long wanted = (unsigned long long)k;
    MSXK_RETURN_IF(msxk_cuda_check(
        dev, cudaMemcpyAsync(&s->k, &wanted, sizeof wanted, cudaMemcpyHostToDevice, dev->stream),
        "upload"));
    int64_t blocks = (n + 4 * THREADS - 1) / (4 * THREADS), most = 4 * (int64_t)dev->processors;
    for (const digit &d : digits) {
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, count_kernel, (unsigned)(blocks < most ? blocks : most),
                                   THREADS, BINS * sizeof(unsigned), s, base, x, n, d));
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, pick_kernel, 1, 32, 0, s, d));
    }
    struct {
        unsigned long long k;
        float threshold;
    } found; /* the prefix is the magnitude's bits by now */
    MSXK_RETURN_IF(msxk_cuda_download(dev, &found, s, sizeof found));
    *threshold = found.threshold;
    *ties_kept = (int64_t)found.k;
    return MSXK_OK;
}

/* ---- merge ---------------------------------------------------------------------------------------- */

/* What is kept of every model's changes, by value. */
struct trims {
    uint32_t at[MSXK_MAX_MODELS];    /* the threshold's bits */
    long long kept[MSXK_MAX_MODELS]; /* ties kept; negative: nothing is kept at all */
};

/* equal (models, blocks): how many elements of the block equal the model's threshold */
static __global__ void equal_kernel(unsigned *equal, const float *base, msxk_models m, trims t,
                                    int64_t n) {
    MSXK_SHARED(unsigned, count);
    int model = blockIdx.y;
    if (threadIdx.x == 0) *count = 0;
    __syncthreads();
    int64_t first = (int64_t)blockIdx.x * BLOCK, last = first + BLOCK < n ? first + BLOCK : n;
    unsigned mine = 0;
    for (int64_t i = first + threadIdx.x; i < last; i += THREADS)
        mine += magnitude(change_at(base, m.x[model], i)) == t.at[model];
    if (mine) atomicAdd(count, mine);
    __syncthreads();
    if (threadIdx.x == 0) equal[(int64_t)model * gridDim.x + blockIdx.x] = *count;
}

/* before (models, blocks): equal elements in front of a block. One warp a model, 32 blocks a round. */
static __global__ void before_kernel(unsigned *before, const unsigned *equal, int64_t blocks) {
    int64_t row = (int64_t)blockIdx.x * blocks;
    unsigned carried = 0;
    int lane = threadIdx.x;
    for (int64_t first = 0; first < blocks; first += 32) {
        unsigned own = first + lane < blocks ? equal[row + first + lane] : 0, sum = own;
        for (unsigned offset = 1; offset < 32; offset *= 2) {
            unsigned below = __shfl_up_sync(0xffffffffu, sum, offset);
            if (lane >= (int)offset) sum += below;
        }
        if (first + lane < blocks) before[row + first + lane] = carried + sum - own;
        carried += __shfl_sync(0xffffffffu, sum, 31);
    }
}

/* The change of model k at i, 0 when it is trimmed. Where ties are to be broken inside of this round of
 * THREADS elements, an element's rank among the equal ones decides; `seen` counts those of the rounds
 * before. All threads of the block come here together. */
static __device__ __forceinline__ float trimmed(const float *base, const float *x, int64_t i,
                                                bool inside, uint32_t at, long long kept,
                                                unsigned in_block, unsigned *votes,
                                                unsigned *seen) {
    float change = inside ? change_at(base, x, i) : 0.0f;
    uint32_t key = magnitude(change);
    if (kept < 0) return 0.0f;
    bool equal = inside && key == at;
    if (kept == 0 || kept >= (long long)in_block || in_block == 0)
        return key > at || (equal && kept > 0) ? change : 0.0f;
    unsigned vote = __ballot_sync(0xffffffffu, equal);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (lane == 0) votes[warp] = (unsigned)__popc(vote);
    __syncthreads();
    unsigned rank = *seen + (unsigned)__popc(vote & ((1u << lane) - 1));
    unsigned total = 0;
    for (int w = 0; w < THREADS / 32; w++) {
        if (w < warp) rank += votes[w];
        total += votes[w];
    }
    __syncthreads();
    if (threadIdx.x == 0) *seen += total; /* read again behind the next round's barrier */
    return key > at || (equal && (long long)rank < kept) ? change : 0.0f;
}

/* Elect the sign of the sum (zero counts as plus) and average the agreeing changes. shared: votes of the
 * warps, then per model the equal elements met so far. */
static __global__ void ties_kernel(float *out, const float *base, msxk_models m, trims t,
                                   const unsigned *equal, const unsigned *before, float scale,
                                   int64_t n) {
    MSXK_SHARED(unsigned, votes);
    unsigned *seen = votes + THREADS / 32;
    float *changes = reinterpret_cast<float *>(seen + m.n);
    int64_t first = (int64_t)blockIdx.x * BLOCK, blocks = gridDim.x;
    for (int k = threadIdx.x; k < m.n; k += THREADS) seen[k] = 0;
    __syncthreads();
    for (int64_t round = first; round < first + BLOCK && round < n; round += THREADS) {
        int64_t i = round + threadIdx.x;
        bool inside = i < n;
        float elected = 0.0f, sum = 0.0f, count = 0.0f;
        for (int k = 0; k < m.n; k++) {
            int64_t cell = k * blocks + blockIdx.x;
            long long kept = t.kept[k];
            if (kept >= 0) { /* what the blocks in front of this one leave */
                kept -= before[cell];
                if (kept < 0) kept = 0;
            }
            float change =
                trimmed(base, m.x[k], i, inside, t.at[k], kept, equal[cell], votes, seen + k);
            changes[k * THREADS + threadIdx.x] = change;
            elected = __fadd_rn(elected, change);
        }
        for (int k = 0; k < m.n; k++) {
            float change = changes[k * THREADS + threadIdx.x];
            if (elected >= 0.0f ? change > 0.0f : change < 0.0f) {
                sum = __fadd_rn(sum, change);
                count += 1.0f;
            }
        }
        if (inside)
            out[i] = count > 0.0f ? __fadd_rn(base[i], __fmul_rn(scale, __fdiv_rn(sum, count)))
                                  : base[i];
    }
}

int msxk_cuda_merge_ties(msx_kdev *dev, float *out, const float *base, const float *const *x,
                         const float *threshold, const int64_t *ties_kept, size_t n_models,
                         double scale, int64_t n) {
    msxk_models m;
    trims t;
    MSXK_RETURN_IF(msxk_cuda_models(dev, &m, x, NULL, n_models));
    if (n <= 0) return MSXK_OK;
    for (int k = 0; k < m.n; k++) {
        uint32_t bits;
        static_assert(sizeof bits == sizeof *threshold, "bits of a float");
        __builtin_memcpy(&bits, threshold + k, sizeof bits);
        t.at[k] = bits & 0x7fffffffu;
        t.kept[k] = ties_kept[k];
    }
    unsigned blocks = msxk_cuda_blocks(n, BLOCK);
    void *memory;
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_OP,
                                     ((size_t)m.n * blocks + 1) * 2 * sizeof(unsigned), &memory));
    unsigned *equal = static_cast<unsigned *>(memory), *before = equal + (size_t)m.n * blocks;
    if (m.n > 0) {
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, equal_kernel, dim3(blocks, (unsigned)m.n), THREADS,
                                   sizeof(unsigned), equal, base, m, t, n));
        MSXK_RETURN_IF(
            MSXK_LAUNCH(dev, before_kernel, (unsigned)m.n, 32, 0, before, equal, (int64_t)blocks));
    }
    size_t shared = (size_t)(THREADS / 32 + m.n + m.n * THREADS) * sizeof(float);
    MSXK_RETURN_IF(
        msxk_cuda_allow_shared(dev, reinterpret_cast<const void *>(&ties_kernel), shared));
    return MSXK_LAUNCH(dev, ties_kernel, blocks, THREADS, shared, out, base, m, t, equal, before,
                       (float)scale, n);
}
