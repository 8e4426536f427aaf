/* SPDX-License-Identifier: Apache-2.0 */
/* Decoder attention: few tokens against many keys, many keys against few tokens, tokens against
 * tokens. One job is one head of one problem, and of its queries a share where there are many. */
#include "kernels/cpu/attend.h"
#include "kernels/cpu/ops.h"

#define SERIAL (1 << 19) /* multiplications that are not worth waking threads */
#define SHARE  (8 * MSXK_CPU_QUERIES)

int msxk_cpu_cross(msx_kdev *dev, const msxk_cross *c) {
    if (c->batch <= 0 || c->tq <= 0 || c->heads <= 0 || c->dim <= 0) return MSXK_OK;
    if (c->tk <= 0) return msxk_cpu_fail(dev, MSXK_E_ARG, "attention without keys");
    msxk_cpu_head head = {.t = msxk_cpu_tiles(dev->path), .keys = c->tk, .dim = c->dim};
    int64_t width = c->heads * c->dim, panels = msxk_cpu_area(msxk_cpu_head_floats(&head));
    int64_t floats = panels + msxk_cpu_attend_floats(&head);
    int threads = c->batch * c->tq * c->tk * width > SERIAL ? dev->threads : 1;
    float *scratch = msxk_cpu_scratch(dev, threads, floats);
    if (!scratch) return MSXK_E_NOMEM;
    int64_t shares = (c->tq + SHARE - 1) / SHARE, jobs = c->batch * c->heads * shares;
#pragma omp parallel for num_threads(threads) schedule(dynamic) firstprivate(head)
    for (int64_t i = 0; i < jobs; i++) {
        float *mine = scratch + msxk_cpu_thread() * msxk_cpu_area(floats);
        int64_t p = i / shares / c->heads, channel = i / shares % c->heads * c->dim;
        int64_t first = i % shares * SHARE, last = msxk_cpu_min(first + SHARE, c->tq);
        msxk_cpu_head_pack(&head, mine, c->k + p * c->stride_k + channel, width,
                           c->v + p * c->stride_v + channel, width);
        for (; first < last; first += MSXK_CPU_QUERIES) {
            msxk_cpu_queries q = {
                .n = msxk_cpu_min(MSXK_CPU_QUERIES, last - first),
                .q = c->q + p * c->stride_q + first * width + channel,
                .ldq = width,
                .scale = c->scale,
                .out = c->out + p * c->stride_out + first * width + channel,
                .ldo = width,
            };
            msxk_cpu_attend(dev, &head, &q, mine + panels);
        }
    }
    return MSXK_OK;
}
