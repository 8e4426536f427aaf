/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIES: exact selection of the k largest changes, and the merge of what is kept; the same elements and
 * the same bits as kernels/cpu/merge_ties.c. Magnitudes are compared as the bits of |x - base|: floats
 * without a sign order like integers, a NaN is largest; all NaNs are equal.
 *
 * Three rounds of counting digits fix a threshold; the block that finishes last draws the conclusion of a
 * round, so that a round is one launch and the host is not asked. A fourth launch counts equal changes
 * by blocks of elements, a fifth merges. Most tensors of a network are small: the rounds of those are one
 * launch, and what fits into one block of elements needs no fourth.
 */
#include "kernels/cuda/merge.h"

#include <string.h>

#define THREADS 256
#define WARPS   (THREADS / 32)
#define BLOCK   2048 /* elements whose equal ones are counted together */

/* What is kept of a model's changes, in device memory: those above `at` (the bits of a magnitude), and of
 * the `equal` ones the first `kept`; negative: nothing at all. */
struct trim {
    long long kept, equal;
    uint32_t at, unused;
};

static __device__ __forceinline__ float change_at(const float *base, const float *x, int64_t i) {
    return __fsub_rn(x[i], base[i]);
}

static __device__ __forceinline__ uint32_t magnitude(float change) {
    return min(__float_as_uint(change) & 0x7fffffffu, 0x7fc00000u);
}

/* ---- the block that comes last --------------------------------------------------------------------- */

/* True in all threads of the last of `blocks` blocks that come here; what the others wrote before is
 * visible to it by loads from L2. `ticket` is zero again afterwards. */
static __device__ __forceinline__ bool is_last_block(unsigned *ticket, unsigned blocks,
                                                     unsigned *shared) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        *shared = atomicAdd(ticket, 1u) == blocks - 1;
        if (*shared) *ticket = 0;
    }
    __syncthreads();
    return *shared;
}

/* Sum of `mine` over the threads in front of this one; `sums`: WARPS shared numbers. */
template <class T> static __device__ __forceinline__ T sum_before(T mine, T *sums) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    T sum = mine;
    for (unsigned offset = 1; offset < 32; offset *= 2) {
        T below = __shfl_up_sync(0xffffffffu, sum, offset);
        if (lane >= (int)offset) sum += below;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    T before = sum - mine;
    for (int w = 0; w < warp; w++) before += sums[w];
    __syncthreads();
    return before;
}

/* ---- selection ----------------------------------------------------------------------------------- */

/* The 31 bits of a magnitude in three digits, highest first. */
struct digit {
    int shift, bits;
};
enum { N_DIGITS = 3, BINS = 1 << 11 };
static const digit digits[N_DIGITS] = {{20, 11}, {9, 11}, {0, 9}};

/* On the device: what is known so far of a model's k-th largest magnitude. Bins and ticket are zero between
 * launches. */
struct selection {
    unsigned long long k; /* how many are still to be found below `prefix` */
    unsigned prefix, ticket;
    unsigned long long bins[BINS];
};

/* Shared memory of the counting blocks. */
struct count_areas {
    unsigned bins[BINS];
    unsigned long long sums[WARPS];
    unsigned last;
};

/* The highest value of a digit at which the counts from above reach k: `found` gets it, what is left of k
 * there, and its count, in one thread; thread 0 has the highest values. */
template <class BIN, class FOUND>
static __device__ __forceinline__ void find_digit(unsigned long long k, unsigned long long *sums,
                                                  BIN bin, FOUND found) {
    enum { EACH = BINS / THREADS };
    int top = (THREADS - 1 - (int)threadIdx.x) * EACH;
    unsigned long long bins[EACH], mine = 0;
    for (int b = 0; b < EACH; b++) mine += bins[b] = bin(top + b);
    unsigned long long above = sum_before(mine, sums);
#pragma unroll
    for (int b = EACH - 1; b >= 0; b--) {
        if (above < k && above + bins[b] >= k) found((unsigned)(top + b), k - above, bins[b]);
        above += bins[b];
    }
}

/* Fix one digit, and leave the bins zero. */
static __device__ void pick(selection *s, digit d, unsigned prefix, unsigned long long k,
                            trim *result, unsigned long long *sums) {
    find_digit(
        k, sums,
        [=](int b) {
            unsigned long long count = __ldcg(s->bins + b);
            s->bins[b] = 0;
            return count;
        },
        [=](unsigned value, unsigned long long left, unsigned long long count) {
            s->k = left;
            s->prefix = prefix << d.bits | value;
            if (d.shift == 0)
                *result = trim{(long long)left, (long long)count, prefix << d.bits | value, 0};
        });
}

/* Count the digit's values among the elements whose higher bits equal the prefix (of the first digit:
 * among all). Counts are integers, so the order of additions does not matter. blockIdx.y: the model. */
static __global__ void __launch_bounds__(THREADS)
    count_kernel(selection *all, trim *results, const float *base, msxk_models m, int64_t n,
                 unsigned long long k, digit d, int first) {
    MSXK_SHARED(count_areas, shared);
    selection *s = all + blockIdx.y;
    const float *x = m.x[blockIdx.y];
    for (int b = threadIdx.x; b < BINS; b += THREADS) shared->bins[b] = 0;
    __syncthreads();
    unsigned prefix = first ? 0 : s->prefix, mask = (1u << d.bits) - 1;
    if (!first) k = s->k;
    int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = msxk_thread(); i < n; i += 4 * step) {
        uint32_t keys[4]; /* several loads under way; no prefix has the highest bit */
#pragma unroll
        for (int j = 0; j < 4; j++)
            keys[j] = i + j * step < n ? magnitude(change_at(base, x, i + j * step)) : ~0u;
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (keys[j] >> (d.shift + d.bits) == prefix)
                atomicAdd(shared->bins + (keys[j] >> d.shift & mask), 1u);
    }
    __syncthreads();
    for (int b = threadIdx.x; b < BINS; b += THREADS)
        if (shared->bins[b]) atomicAdd(s->bins + b, (unsigned long long)shared->bins[b]);
    if (is_last_block(&s->ticket, gridDim.x, &shared->last))
        pick(s, d, prefix, k, results + blockIdx.y, shared->sums);
}

/* A tensor of at most SMALL elements, whose magnitudes a block keeps in registers: all rounds in one
 * launch. blockIdx.x: the model. */
enum { SMALL_EACH = 16, SMALL = SMALL_EACH * THREADS };

struct digit_set {
    digit d[N_DIGITS];
};

struct small_areas {
    unsigned bins[BINS];
    unsigned long long sums[WARPS], k;
    unsigned prefix;
};

static __global__ void __launch_bounds__(THREADS)
    select_small_kernel(trim *results, const float *base, msxk_models m, int64_t n,
                        unsigned long long k, digit_set set) {
    MSXK_SHARED(small_areas, shared);
    const float *x = m.x[blockIdx.x];
    trim *result = results + blockIdx.x;
    uint32_t keys[SMALL_EACH]; /* no prefix has the highest bit */
#pragma unroll
    for (int j = 0; j < SMALL_EACH; j++) {
        int64_t i = j * THREADS + (int)threadIdx.x;
        keys[j] = i < n ? magnitude(change_at(base, x, i)) : ~0u;
    }
    if (threadIdx.x == 0) shared->k = k, shared->prefix = 0;
    for (int round = 0; round < N_DIGITS; round++) {
        digit d = set.d[round];
        for (int b = threadIdx.x; b < BINS; b += THREADS) shared->bins[b] = 0;
        __syncthreads();
        unsigned prefix = shared->prefix, mask = (1u << d.bits) - 1;
        k = shared->k;
#pragma unroll
        for (int j = 0; j < SMALL_EACH; j++)
            if (keys[j] >> (d.shift + d.bits) == prefix)
                atomicAdd(shared->bins + (keys[j] >> d.shift & mask), 1u);
        __syncthreads();
        find_digit(
            k, shared->sums, [=](int b) { return (unsigned long long)shared->bins[b]; },
            [=](unsigned value, unsigned long long left, unsigned long long count) {
                shared->k = left;
                shared->prefix = prefix << d.bits | value;
                if (d.shift == 0)
                    *result = trim{(long long)left, (long long)count, prefix << d.bits | value, 0};
            });
        __syncthreads();
    }
}

/* ---- memory --------------------------------------------------------------------------------------- */

/* In this order, for `models` models and `blocks` blocks of elements. */
struct ties_areas {
    selection *selections;
    trim *trims;
    unsigned *tickets, *equal, *before; /* (models), (models, blocks), (models, blocks) */
};

/* The part before `equal` is zero between ops: it is made so when it grows. */
static int find_areas(msx_kdev *dev, size_t models, size_t blocks, ties_areas *a) {
    size_t state = models * (sizeof *a->selections + sizeof *a->trims + sizeof *a->tickets);
    void *memory, *counts;
    if (state > dev->scratch_bytes[MSXK_SCRATCH_SELECT]) {
        MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_SELECT, state, &memory));
        MSXK_RETURN_IF(msxk_cuda_check(
            dev, cudaMemsetAsync(memory, 0, dev->scratch_bytes[MSXK_SCRATCH_SELECT], dev->stream),
            "cudaMemsetAsync"));
    }
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_SELECT, state, &memory));
    /* laid out for as many models as fit, so that the parts stay where they are */
    size_t fit = dev->scratch_bytes[MSXK_SCRATCH_SELECT] /
                 (sizeof *a->selections + sizeof *a->trims + sizeof *a->tickets);
    a->selections = static_cast<selection *>(memory);
    a->trims = reinterpret_cast<trim *>(a->selections + fit);
    a->tickets = reinterpret_cast<unsigned *>(a->trims + fit);
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_OP,
                                     (models * blocks + 1) * 2 * sizeof(unsigned), &counts));
    a->equal = static_cast<unsigned *>(counts);
    a->before = a->equal + models * blocks;
    return MSXK_OK;
}

static int select_all(msx_kdev *dev, const ties_areas *a, const float *base, const msxk_models &m,
                      int64_t n, int64_t k) {
    if (n <= SMALL) {
        digit_set set;
        memcpy(set.d, digits, sizeof digits);
        return MSXK_LAUNCH(dev, select_small_kernel, (unsigned)m.n, THREADS, sizeof(small_areas),
                           a->trims, base, m, n, (unsigned long long)k, set);
    }
    int64_t blocks = (n + 4 * THREADS - 1) / (4 * THREADS), most = 4 * (int64_t)dev->processors;
    dim3 grid((unsigned)(blocks < most ? blocks : most), (unsigned)m.n);
    for (int i = 0; i < N_DIGITS; i++)
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, count_kernel, grid, THREADS, sizeof(count_areas),
                                   a->selections, a->trims, base, m, n, (unsigned long long)k,
                                   digits[i], (int)(i == 0)));
    return MSXK_OK;
}

int msxk_cuda_select_threshold(msx_kdev *dev, const float *base, const float *x, int64_t n,
                               int64_t k, float *threshold, int64_t *ties_kept) {
    if (k < 1 || k > n)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "select: k is %lld of %lld", (long long)k,
                              (long long)n);
    msxk_models m;
    ties_areas a;
    trim found;
    MSXK_RETURN_IF(msxk_cuda_models(dev, &m, &x, NULL, 1));
    MSXK_RETURN_IF(find_areas(dev, 1, 0, &a));
    MSXK_RETURN_IF(select_all(dev, &a, base, m, n, k));
    MSXK_RETURN_IF(msxk_cuda_download(dev, &found, a.trims, sizeof found));
    __builtin_memcpy(threshold, &found.at, sizeof *threshold);
    *ties_kept = found.kept;
    return MSXK_OK;
}

/* ---- merge ---------------------------------------------------------------------------------------- */

/* True where some, but not all of the equal changes are kept: which, their order decides. */
static __device__ __forceinline__ bool is_cut(const trim &t) {
    return t.kept > 0 && t.kept < t.equal;
}

/* equal, before (models, blocks): how many elements of the block equal the model's threshold, and how many
 * of the blocks in front of it. Only where a model is cut. */
static __global__ void __launch_bounds__(THREADS)
    equal_kernel(unsigned *equal, unsigned *before, unsigned *tickets, const float *base,
                 msxk_models m, const trim *trims, int64_t n) {
    MSXK_SHARED(unsigned, shared); /* a count, a flag, and sums of the warps */
    int model = blockIdx.y;
    const trim t = trims[model];
    if (!is_cut(t)) return;
    if (threadIdx.x == 0) *shared = 0;
    __syncthreads();
    int64_t first = (int64_t)blockIdx.x * BLOCK, last = first + BLOCK < n ? first + BLOCK : n;
    unsigned mine = 0, blocks = gridDim.x;
    for (int64_t i = first + threadIdx.x; i < last; i += THREADS)
        mine += magnitude(change_at(base, m.x[model], i)) == t.at;
    if (mine) atomicAdd(shared, mine);
    __syncthreads();
    equal += (int64_t)model * blocks;
    before += (int64_t)model * blocks;
    if (threadIdx.x == 0) equal[blockIdx.x] = *shared;
    if (!is_last_block(tickets + model, blocks, shared + 1)) return;
    /* a run of blocks a thread */
    unsigned each = (blocks + THREADS - 1) / THREADS, begin = threadIdx.x * each, sum = 0;
    unsigned end = begin + each < blocks ? begin + each : blocks;
    for (unsigned b = begin; b < end; b++) sum += __ldcg(equal + b);
    sum = sum_before(sum, shared + 2);
    for (unsigned b = begin; b < end; b++) {
        before[b] = sum;
        sum += __ldcg(equal + b);
    }
}

/* The change of a model at i, 0 when it is trimmed. Where ties are to be broken inside of this round of
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
    if (kept == 0 || kept >= (long long)in_block)
        return key > at || (equal && kept > 0) ? change : 0.0f;
    unsigned vote = __ballot_sync(0xffffffffu, equal);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (lane == 0) votes[warp] = (unsigned)__popc(vote);
    __syncthreads();
    unsigned rank = *seen + (unsigned)__popc(vote & ((1u << lane) - 1));
    unsigned total = 0;
    for (int w = 0; w < WARPS; w++) {
        if (w < warp) rank += votes[w];
        total += votes[w];
    }
    __syncthreads();
    if (threadIdx.x == 0) *seen += total; /* read again behind the next round's barrier */
    return key > at || (equal && (long long)rank < kept) ? change : 0.0f;
}

/* Elect the sign of the sum (zero counts as plus) and average the agreeing changes. shared: votes of the
 * warps, then per model the equal elements met so far. */
static __global__ void __launch_bounds__(THREADS)
    ties_kernel(float *out, const float *base, msxk_models m, const trim *trims,
                const unsigned *equal, const unsigned *before, float scale, int64_t n) {
    MSXK_SHARED(unsigned, votes);
    unsigned *seen = votes + WARPS;
    float *changes = reinterpret_cast<float *>(seen + m.n);
    int64_t first = (int64_t)blockIdx.x * BLOCK, blocks = gridDim.x;
    for (int k = threadIdx.x; k < m.n; k += THREADS) seen[k] = 0;
    __syncthreads();
    for (int64_t round = first; round < first + BLOCK && round < n; round += THREADS) {
        int64_t i = round + threadIdx.x;
        bool inside = i < n;
        float elected = 0.0f, sum = 0.0f, count = 0.0f;
        for (int k = 0; k < m.n; k++) {
            const trim t = trims[k];
            long long kept = t.kept;
            unsigned in_block = 0; /* read as: all of the block's are kept, or none */
            if (is_cut(t) && blocks == 1) {
                in_block = (unsigned)t.equal;
            } else if (is_cut(t)) { /* what the blocks in front of this one leave */
                in_block = equal[k * blocks + blockIdx.x];
                kept -= before[k * blocks + blockIdx.x];
                if (kept < 0) kept = 0;
            }
            float change = trimmed(base, m.x[k], i, inside, t.at, kept, in_block, votes, seen + k);
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

static int merge(msx_kdev *dev, const ties_areas *a, float *out, const float *base,
                 const msxk_models &m, double scale, int64_t n) {
    unsigned blocks = msxk_cuda_blocks(n, BLOCK);
    if (m.n > 0 && blocks > 1)
        MSXK_RETURN_IF(MSXK_LAUNCH(dev, equal_kernel, dim3(blocks, (unsigned)m.n), THREADS,
                                   (2 + WARPS) * sizeof(unsigned), a->equal, a->before, a->tickets,
                                   base, m, a->trims, n));
    size_t shared = (size_t)(WARPS + m.n + m.n * THREADS) * sizeof(float);
    MSXK_RETURN_IF(
        msxk_cuda_allow_shared(dev, reinterpret_cast<const void *>(&ties_kernel), shared));
    return MSXK_LAUNCH(dev, ties_kernel, blocks, THREADS, shared, out, base, m, a->trims, a->equal,
                       a->before, (float)scale, n);
}

int msxk_cuda_merge_ties(msx_kdev *dev, float *out, const float *base, const float *const *x,
                         const float *threshold, const int64_t *ties_kept, size_t n_models,
                         double scale, int64_t n) {
    msxk_models m;
    ties_areas a;
    trim trims[MSXK_MAX_MODELS];
    MSXK_RETURN_IF(msxk_cuda_models(dev, &m, x, NULL, n_models));
    if (n <= 0) return MSXK_OK;
    for (int k = 0; k < m.n; k++) {
        uint32_t bits;
        static_assert(sizeof bits == sizeof *threshold, "bits of a float");
        __builtin_memcpy(&bits, threshold + k, sizeof bits);
        /* how many are equal is not known: as if never all of them were kept */
        trims[k] = trim{ties_kept[k], n + 1, bits & 0x7fffffffu, 0};
    }
    MSXK_RETURN_IF(find_areas(dev, n_models, msxk_cuda_blocks(n, BLOCK), &a));
    if (m.n > 0)
        MSXK_RETURN_IF(msxk_cuda_check(dev,
                                       cudaMemcpyAsync(a.trims, trims, n_models * sizeof *trims,
                                                       cudaMemcpyHostToDevice, dev->stream),
                                       "upload"));
    return merge(dev, &a, out, base, m, scale, n);
}

int msxk_cuda_merge_ties_top(msx_kdev *dev, float *out, const float *base, const float *const *x,
                             size_t n_models, int64_t k, double scale, int64_t n) {
    msxk_models m;
    ties_areas a;
    if (n <= 0) return MSXK_OK;
    if (k < 1 || k > n)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "ties: k is %lld of %lld", (long long)k,
                              (long long)n);
    MSXK_RETURN_IF(msxk_cuda_models(dev, &m, x, NULL, n_models));
    MSXK_RETURN_IF(find_areas(dev, n_models, msxk_cuda_blocks(n, BLOCK), &a));
    if (m.n > 0) MSXK_RETURN_IF(select_all(dev, &a, base, m, n, k));
    return merge(dev, &a, out, base, m, scale, n);
}
