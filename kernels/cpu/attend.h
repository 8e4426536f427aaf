/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of one head, which the encoder's and the decoder's attention are made of: keys and values
 * are packed into panels once, then blocks of queries go over them. The score matrix is never whole.
 */
#ifndef MSX_KERNELS_CPU_ATTEND_H
#define MSX_KERNELS_CPU_ATTEND_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"

/* Keys and values of a head. `low`: they and the queries are bfloat16, two elements a word. */
typedef struct msxk_cpu_head {
    const msxk_tiles *t; /* of their products */
    int low;
    int64_t keys, dim;
    const msxk_word *k, *v; /* panels; set by msxk_cpu_head_pack */
} msxk_cpu_head;

/* Words that n elements take. */
static inline int64_t msxk_cpu_words(const msxk_cpu_head *h, int64_t n) {
    return h->low ? (n + 1) / 2 : n;
}

/* Floats of the panels. */
int64_t msxk_cpu_head_floats(const msxk_cpu_head *h);
/* Pack k and v (keys, dim), with leading dimensions in elements, into `panels`. */
void msxk_cpu_head_pack(msxk_cpu_head *h, float *panels, const void *k, int64_t ldk, const void *v,
                        int64_t ldv);

#define MSXK_CPU_QUERIES 112 /* of a block, at most: whole tiles of 14, 8 and 4 rows */

/* A block of queries: out = softmax(scale * (q k^T + bias)) v */
typedef struct msxk_cpu_queries {
    int64_t n;
    const msxk_word *q; /* (n, dim) */
    int64_t ldq;        /* words */
    float scale;        /* positive */
    /* Keys on a grid of this width get bias_h[query, ky] + bias_w[query, kx], rows of
     * msxk_cpu_area(side) floats and MSXK_ALIGN more bytes to read behind the last; 0: no bias. */
    int64_t side;
    const float *bias_h, *bias_w;
    float *out; /* (n, dim); msxk_low where the head is low */
    int64_t ldo;
} msxk_cpu_queries;

/* Floats of scratch that a block needs. */
int64_t msxk_cpu_attend_floats(const msxk_cpu_head *h);
/* One thread. */
void msxk_cpu_attend(const msx_kdev *dev, const msxk_cpu_head *h, const msxk_cpu_queries *q,
                     float *scratch);

#endif
