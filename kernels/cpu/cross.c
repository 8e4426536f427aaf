/* SPDX-License-Identifier: Apache-2.0 */
/* Decoder attention: few tokens against many keys, many keys against few tokens, tokens against
 * tokens. One job is a block of up to 128 queries of one head of one problem. */
#include "kernels/cpu/ops.h"

#include <limits.h>

#define SERIAL (1 << 19) /* multiplications that are not worth waking threads */

int msxk_cpu_cross(msx_kdev *dev, const msxk_cross *c) {
    if (c->batch <= 0 || c->tq <= 0 || c->heads <= 0 || c->dim <= 0) return MSXK_OK;
    if (c->tk <= 0) return msxk_cpu_fail(dev, MSXK_E_ARG, "attention without keys");
    if (c->tk > INT_MAX || c->heads * c->dim > INT_MAX)
        return msxk_cpu_fail(dev, MSXK_E_ARG, "attention: sizes exceed what BLAS can count");
    int64_t width = c->heads * c->dim, floats = msxk_cpu_block_floats(c->tk, c->dim, 0);
    int threads = c->batch * c->tq * c->tk * width > SERIAL ? dev->threads : 1;
    float *scratch = msxk_cpu_scratch(dev, threads, floats);
    if (!scratch) return MSXK_E_NOMEM;
    int64_t blocks = (c->tq + MSXK_CPU_QUERIES - 1) / MSXK_CPU_QUERIES;
    int64_t jobs = c->batch * c->heads * blocks;
#pragma omp parallel num_threads(threads)
    {
        msxk_cpu_single_blas();
        float *mine = scratch + msxk_cpu_thread() * msxk_cpu_area(floats);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < jobs; i++) {
            int64_t first = i % blocks * MSXK_CPU_QUERIES, p = i / blocks / c->heads;
            int64_t channel = i / blocks % c->heads * c->dim;
            msxk_cpu_block b = {
                .queries = c->tq - first < MSXK_CPU_QUERIES ? c->tq - first : MSXK_CPU_QUERIES,
                .keys = c->tk,
                .dim = c->dim,
                .q = c->q + p * c->stride_q + first * width + channel,
                .k = c->k + p * c->stride_k + channel,
                .v = c->v + p * c->stride_v + channel,
                .ldq = width,
                .ldk = width,
                .ldv = width,
                .scale = c->scale,
                .out = c->out + p * c->stride_out + first * width + channel,
                .ldo = width,
            };
            msxk_cpu_attend(dev, &b, mine);
        }
    }
    return MSXK_OK;
}
