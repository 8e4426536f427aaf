/* SPDX-License-Identifier: Apache-2.0 */
/* Several SHA-256 at the same time on one core. The processor's SHA instructions wait for each other
 * within one hash; two or three hashes side by side fill the waits: 1.8 GB/s for one, 3.1 for two, 4.1
 * for three (Zen 4). The state is nettle's, which also does everything else.
 * Instructions: Gulley et al., Intel SHA Extensions, 2013; FIPS 180-4. */
#include "core/core.h"

#include <nettle/sha2.h>

#if defined(__GNUC__) && defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>
#define HAVE_LANES 1
#else
#define HAVE_LANES 0
#endif

enum { LANES = 3, BLOCK = 64, AHEAD = 16 * BLOCK };

#if HAVE_LANES

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define FOR_SHA __attribute__((target("sha,avx")))

FOR_SHA static inline __attribute__((always_inline)) __m128i load(const void *p) {
    return _mm_loadu_si128(p);
}

/* `blocks` blocks of each of `lanes` messages, `lanes` a constant where it is inlined. The instructions
 * keep the state as (A B E F) and (C D G H). */
FOR_SHA static inline __attribute__((always_inline)) void
compress(struct sha256_ctx *const *h, const uint8_t *const *bytes, size_t blocks, const int lanes) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[LANES], cdgh[LANES];
    for (int l = 0; l < lanes; l++) {
        __m128i cdab = _mm_shuffle_epi32(load(h[l]->state), 0xB1);
        __m128i efgh = _mm_shuffle_epi32(load(h[l]->state + 4), 0x1B);
        abef[l] = _mm_alignr_epi8(cdab, efgh, 8);
        cdgh[l] = _mm_blend_epi16(efgh, cdab, 0xF0);
    }
    for (size_t b = 0; b < blocks; b++) {
        __m128i w[LANES][4], abef_before[LANES], cdgh_before[LANES];
        for (int l = 0; l < lanes; l++) {
            for (int i = 0; i < 4; i++)
                w[l][i] = _mm_shuffle_epi8(load(bytes[l] + b * BLOCK + 16 * i), big_endian);
            _mm_prefetch((const char *)bytes[l] + b * BLOCK + AHEAD, _MM_HINT_T0);
            abef_before[l] = abef[l];
            cdgh_before[l] = cdgh[l];
        }
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) { /* four rounds each, then the schedule of those 16 later */
            __m128i k = load(round_constants + 4 * r);
#pragma GCC unroll 3
            for (int l = 0; l < lanes; l++) {
                __m128i *old = &w[l][r & 3], last = w[l][(r + 3) & 3];
                __m128i wk = _mm_add_epi32(*old, k);
                cdgh[l] = _mm_sha256rnds2_epu32(cdgh[l], abef[l], wk);
                abef[l] = _mm_sha256rnds2_epu32(abef[l], cdgh[l], _mm_shuffle_epi32(wk, 0x0E));
                if (r >= 12) continue;
                __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(*old, w[l][(r + 1) & 3]),
                                            _mm_alignr_epi8(last, w[l][(r + 2) & 3], 4));
                *old = _mm_sha256msg2_epu32(sum, last);
            }
        }
        for (int l = 0; l < lanes; l++) {
            abef[l] = _mm_add_epi32(abef[l], abef_before[l]);
            cdgh[l] = _mm_add_epi32(cdgh[l], cdgh_before[l]);
        }
    }
    for (int l = 0; l < lanes; l++) {
        __m128i feba = _mm_shuffle_epi32(abef[l], 0x1B), dchg = _mm_shuffle_epi32(cdgh[l], 0xB1);
        __m128i state[2] = {_mm_blend_epi16(feba, dchg, 0xF0), _mm_alignr_epi8(dchg, feba, 8)};
        memcpy(h[l]->state, state, sizeof state);
        h[l]->count += blocks;
    }
}

FOR_SHA static void compress_2(struct sha256_ctx *const *h, const uint8_t *const *bytes,
                               size_t blocks) {
    compress(h, bytes, blocks, 2);
}
FOR_SHA static void compress_3(struct sha256_ctx *const *h, const uint8_t *const *bytes,
                               size_t blocks) {
    compress(h, bytes, blocks, 3);
}

/* AVX and the SHA instructions. Asking the processor is slow in a virtual machine. */
static bool have_instructions(void) {
    static atomic_int known; /* 0: not asked yet, 1: no, 2: yes */
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (!answer) {
        unsigned a, b, c, d;
        bool sha = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
        answer = sha && __builtin_cpu_supports("avx") ? 2 : 1;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 2;
}

/* Whole blocks of all messages as far as the shortest goes; their bytes. n: 2 or 3 */
static size_t add_blocks(struct sha256_ctx *const *h, const uint8_t *const *bytes,
                         const size_t *left, int n) {
    size_t shortest = left[0];
    for (int l = 1; l < n; l++) shortest = left[l] < shortest ? left[l] : shortest;
    size_t blocks = shortest / BLOCK;
    if (blocks) (n == 3 ? compress_3 : compress_2)(h, bytes, blocks);
    return blocks * BLOCK;
}

#else

static bool have_instructions(void) {
    return false;
}
static size_t add_blocks(struct sha256_ctx *const *h, const uint8_t *const *bytes,
                         const size_t *left, int n) {
    (void)h, (void)bytes, (void)left, (void)n;
    return 0;
}

#endif

/* n <= LANES */
static void add_lanes(struct sha256_ctx *const *h, const uint8_t *const *bytes, const size_t *size,
                      int n) {
    const uint8_t *p[LANES];
    size_t left[LANES];
    for (int l = 0; l < n; l++) { /* to the end of a block that is begun */
        size_t begun = h[l]->index ? BLOCK - h[l]->index : 0;
        if (begun > size[l]) begun = size[l];
        sha256_update(h[l], begun, bytes[l]);
        p[l] = bytes[l] + begun;
        left[l] = size[l] - begun;
    }
    size_t done = n > 1 && have_instructions() ? add_blocks(h, p, left, n) : 0;
    for (int l = 0; l < n; l++) sha256_update(h[l], left[l] - done, p[l] + done);
}

void msx__sha256_add_all(msx__sha256 *const *h, const void *const *bytes, const size_t *size,
                         size_t n) {
    for (size_t i = 0; i < n; i += LANES) {
        struct sha256_ctx *states[LANES];
        const uint8_t *p[LANES];
        int lanes = n - i < LANES ? (int)(n - i) : LANES;
        for (int l = 0; l < lanes; l++) {
            states[l] = (struct sha256_ctx *)h[i + (size_t)l];
            p[l] = bytes[i + (size_t)l];
        }
        add_lanes(states, p, size + i, lanes);
    }
}
