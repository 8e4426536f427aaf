/* SPDX-License-Identifier: Apache-2.0 */
/* Merging by cache lines: all models are read side by side, one line of each at a time, and the result
 * leaves in streaming stores. An ordinary store first fetches the line that it overwrites; without
 * that a merge of three models moves a fifth less. */
#ifndef MSX_KERNELS_CPU_LINES_H
#define MSX_KERNELS_CPU_LINES_H

#include "kernels/cpu/paths.h"

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { MSXK_LINE = 16 }; /* floats of a cache line */

/* Elements from which results are streamed; smaller ones stay in the cache for their reader. */
#define MSXK_STREAM_FROM (1 << 18)

typedef float msxk_line __attribute__((vector_size(MSXK_LINE * sizeof(float))));

MSXK_INLINE void msxk_line_load(msxk_line *v, const float *x) {
    memcpy(v, x, sizeof *v);
}

/* `streamed`: out is at a multiple of 16 bytes, and msxk_lines_done() follows. */
MSXK_INLINE void msxk_line_store(float *out, const msxk_line *v, int streamed) {
#ifdef __SSE2__
    if (streamed) {
        __m128 part[4];
        memcpy(part, v, sizeof part);
        for (int i = 0; i < 4; i++) _mm_stream_ps(out + 4 * i, part[i]);
        return;
    }
#else
    (void)streamed;
#endif
    memcpy(out, v, sizeof *v);
}

static inline int msxk_lines_streamed(const float *out, int64_t n) {
    return n >= MSXK_STREAM_FROM && ((uintptr_t)out & 15) == 0;
}

/* At the end of a thread's part: what it streamed is visible to the others before what follows. */
static inline void msxk_lines_done(int streamed) {
#ifdef __SSE2__
    if (streamed) _mm_sfence();
#else
    (void)streamed;
#endif
}

#endif
