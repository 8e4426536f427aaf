/* SPDX-License-Identifier: Apache-2.0 */
/* Exact selection of the k-th largest change. Magnitudes are compared as the bits of |x - base|: floats
 * without a sign order like integers, a NaN is largest. */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>
#if MSXK_HAVE_X86
#include <immintrin.h>
#endif

/* The 31 bits of a magnitude in three digits, highest first. */
typedef struct digit {
    int shift, bits;
} digit;
static const digit digits[] = {{20, 11}, {9, 11}, {0, 9}};
enum { N_DIGITS = 3, BINS = 1 << 11, BLOCK = 2048 };

/* All NaNs are equal: which bits a difference has that is none depends on the processor. */
static inline uint32_t magnitude(float d) {
    uint32_t bits;
    memcpy(&bits, &d, sizeof bits);
    bits &= 0x7fffffffu;
    return bits < 0x7fc00000u ? bits : 0x7fc00000u;
}

/* The bin of the k-th largest; *k becomes its rank among the elements of that bin. */
static uint32_t find_bin(const int64_t *bins, digit d, int64_t *k) {
    int b = (1 << d.bits) - 1;
    for (; bins[b] < *k; b--) *k -= bins[b];
    return (uint32_t)b;
}

/* The k-th largest of n keys, of which it keeps only those equal to it; *k becomes how many of them
 * are among the k largest. */
static uint32_t kth_largest(uint32_t *keys, int64_t n, int64_t *k) {
    int64_t bins[BINS];
    for (int r = 0; r < N_DIGITS; r++) {
        digit d = digits[r];
        uint32_t mask = (1u << d.bits) - 1;
        memset(bins, 0, sizeof bins);
        for (int64_t i = 0; i < n; i++) bins[keys[i] >> d.shift & mask]++;
        uint32_t b = find_bin(bins, d, k);
        int64_t same = 0;
        for (int64_t i = 0; i < n; i++) {
            keys[same] = keys[i];
            same += (keys[i] >> d.shift & mask) == b;
        }
        n = same;
    }
    return keys[0];
}

/* ---- one pass, when a sample narrows it down ------------------------------------------------------ */

/* SAMPLE elements tell in which window the k-th largest lies: four standard deviations of their rank to
 * either side hold a few per cent of all. One pass collects these and counts what lies above. A tensor
 * that the sample misjudged, or with too many equal changes, is left to the radix selection. */
enum { SAMPLE = 1 << 14, SAMPLED_FROM = 4 * SAMPLE };

typedef struct window {
    uint32_t low, high; /* inclusive */
} window;

static void take_sample(uint32_t *sample, const float *base, const float *x, int64_t n) {
    int64_t step = n / SAMPLE;
    for (int64_t i = 0; i < SAMPLE; i++) { /* anywhere in its step: tensors have columns */
        int64_t at = i * step + (int64_t)((uint64_t)i * 0x9E3779B97F4A7C15u >> 33) % step;
        sample[i] = magnitude(x[at] - base[at]);
    }
}

/* sample: (2, SAMPLE), its second half room to work in. */
static window find_window(uint32_t *sample, int64_t n, int64_t k) {
    double share = (double)k / (double)n, deviation = sqrt(SAMPLE * share * (1 - share));
    int64_t middle = (int64_t)(share * SAMPLE), margin = (int64_t)(4 * deviation) + 4;
    int64_t first = middle - margin, last = middle + margin;
    window w = {0, UINT32_MAX};
    memcpy(sample + SAMPLE, sample, SAMPLE * sizeof *sample);
    if (first >= 1) w.high = kth_largest(sample + SAMPLE, SAMPLE, &first);
    if (last <= SAMPLE) w.low = kth_largest(sample, SAMPLE, &last);
    return w;
}

/* Collect the block's keys inside the window in `found` (n); their number. `above` grows. */
MSXK_INLINE int64_t collect(uint32_t *found, int64_t *above, const float *base, const float *x,
                            int64_t n, window w) {
    uint32_t keys[BLOCK];
    int32_t higher = 0;
    int64_t inside = 0;
    for (int64_t i = 0; i < n; i++) {
        keys[i] = magnitude(x[i] - base[i]);
        higher += keys[i] > w.high;
    }
    for (int64_t i = 0; i < n; i++) {
        found[inside] = keys[i];
        inside += keys[i] - w.low <= w.high - w.low;
    }
    *above += higher;
    return inside;
}

static int64_t collect_plain(uint32_t *found, int64_t *above, const float *base, const float *x,
                             int64_t n, window w) {
    return collect(found, above, base, x, n, w);
}

MSXK_FOR_AVX2 static int64_t collect_avx2(uint32_t *found, int64_t *above, const float *base,
                                          const float *x, int64_t n, window w) {
    return collect(found, above, base, x, n, w);
}

#if MSXK_HAVE_X86
/* What compilers do not find: the keys inside a window move together in a register. A whole register is stored,
 * which `found` has room for, as no more was found than looked at. */
MSXK_FOR_AVX512 static int64_t collect_avx512(uint32_t *found, int64_t *above, const float *base,
                                              const float *x, int64_t n, window w) {
    enum { LANES = 16 };
    const __m512i magnitudes = _mm512_set1_epi32(0x7fffffff), nan = _mm512_set1_epi32(0x7fc00000);
    const __m512i low = _mm512_set1_epi32((int)w.low), high = _mm512_set1_epi32((int)w.high);
    const __m512i width = _mm512_sub_epi32(high, low);
    int64_t inside = 0, i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m512 change = _mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(base + i));
        __m512i key = _mm512_and_si512(_mm512_castps_si512(change), magnitudes);
        key = _mm512_min_epu32(key, nan);
        *above += __builtin_popcount(_mm512_cmpgt_epu32_mask(key, high));
        __mmask16 in = _mm512_cmple_epu32_mask(_mm512_sub_epi32(key, low), width);
        _mm512_storeu_si512(found + inside, _mm512_maskz_compress_epi32(in, key));
        inside += __builtin_popcount(in);
    }
    return inside + collect(found + inside, above, base + i, x + i, n - i, w);
}
#else
#define collect_avx512 collect_plain
#endif
MSXK_PATH_TABLE(int64_t, collect,
                (uint32_t * found, int64_t *above, const float *base, const float *x, int64_t n,
                 window w));

/* 1 when the threshold was found, 0 when not. The candidates have no order, and need none. */
static int select_by_sample(msx_kdev *dev, const float *base, const float *x, int64_t n, int64_t k,
                            uint32_t *threshold, int64_t *ties_kept) {
    int64_t room = n / 8, total = 0, above = 0;
    uint32_t *sample = (void *)msxk_cpu_scratch(dev, 1, 2 * SAMPLE + room);
    if (!sample) return MSXK_E_NOMEM;
    uint32_t *candidates = sample + 2 * SAMPLE;
    take_sample(sample, base, x, n);
    window w = find_window(sample, n, k);
#pragma omp parallel for schedule(static) num_threads(dev->threads) reduction(+ : above)
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        uint32_t found[BLOCK];
        int64_t place, inside = collect_on[dev->path](found, &above, base + begin, x + begin,
                                                      msxk_cpu_min(BLOCK, n - begin), w);
#pragma omp atomic capture
        {
            place = total;
            total += inside;
        }
        if (inside && place + inside <= room)
            memcpy(candidates + place, found, (size_t)inside * sizeof *found);
    }
    if (total > room || above >= k || above + total < k) return 0;
    *ties_kept = k - above;
    *threshold = kth_largest(candidates, total, ties_kept);
    return 1;
}

/* ---- three passes, always --------------------------------------------------------------------------- */

/* Count the digit's values among the elements whose higher bits equal `prefix`. */
MSXK_INLINE void count_block(int64_t *bins, const float *base, const float *x, int64_t n, digit d,
                             uint32_t prefix) {
    uint32_t mask = (1u << d.bits) - 1;
    for (int64_t i = 0; i < n; i++) {
        uint32_t key = magnitude(x[i] - base[i]);
        if (key >> (d.shift + d.bits) == prefix) bins[key >> d.shift & mask]++;
    }
}
MSXK_VARIANTS(void, count_block,
              (int64_t * bins, const float *base, const float *x, int64_t n, digit d,
               uint32_t prefix),
              (bins, base, x, n, d, prefix));

/* Radix selection: each round fixes one digit of the k-th largest magnitude. Counts are integers, so
 * the order in which threads add them does not matter. */
static int select_by_radix(msx_kdev *dev, const float *base, const float *x, int64_t n, int64_t k,
                           uint32_t *threshold, int64_t *ties_kept) {
    int64_t area = BINS * (int64_t)(sizeof(int64_t) / sizeof(float));
    int64_t *counts = (void *)msxk_cpu_scratch(dev, dev->threads, area);
    if (!counts) return MSXK_E_NOMEM;
    uint32_t prefix = 0;
    for (int r = 0; r < N_DIGITS; r++) {
        memset(counts, 0, sizeof *counts * BINS * (size_t)dev->threads);
#pragma omp parallel for schedule(static) num_threads(dev->threads) if (n > BLOCK)
        for (int64_t begin = 0; begin < n; begin += BLOCK)
            count_block_on[dev->path](counts + (int64_t)msxk_cpu_thread() * BINS, base + begin,
                                      x + begin, msxk_cpu_min(BLOCK, n - begin), digits[r], prefix);
        for (int t = 1; t < dev->threads; t++)
            for (int b = 0; b < BINS; b++) counts[b] += counts[(int64_t)t * BINS + b];
        prefix = prefix << digits[r].bits | find_bin(counts, digits[r], &k);
    }
    *threshold = prefix;
    *ties_kept = k;
    return MSXK_OK;
}

int msxk_cpu_select_threshold(msx_kdev *dev, const float *base, const float *x, int64_t n,
                              int64_t k, float *threshold, int64_t *ties_kept) {
    if (k < 1 || k > n)
        return msxk_cpu_fail(dev, MSXK_E_ARG, "select: k is %lld of %lld", (long long)k,
                             (long long)n);
    uint32_t bits = 0;
    int code = n < SAMPLED_FROM ? 0 : select_by_sample(dev, base, x, n, k, &bits, ties_kept);
    if (code == 0) code = select_by_radix(dev, base, x, n, k, &bits, ties_kept);
    if (code < 0) return code;
    memcpy(threshold, &bits, sizeof *threshold);
    return MSXK_OK;
}
