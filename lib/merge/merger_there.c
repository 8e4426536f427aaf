/* SPDX-License-Identifier: Apache-2.0 */
/* Merging on a device: the models lie in its memory, and a merged tensor goes straight to its place in
 * the network, so that a plan costs the device's bandwidth and nothing is sent. */
#include "merge/merger.h"

static msx_status there_status(const msx_merger *m, int code) {
    if (code == MSXK_OK) return MSX_OK;
    return msx__fail(m->ctx, msx__kernel_status(code), "merging on the device: %s",
                     m->there.ops->error(m->there.dev));
}

void msx__merger_leave(msx_merger *m) {
    for (size_t k = 0; m->there.ops && k < m->n; k++) {
        m->there.ops->release(m->there.dev, m->there_weights[k]);
        m->there_weights[k] = NULL;
    }
    m->there = (msx__merge_kernels){0};
}

msx_status msx__merger_reside(msx_merger *m, const msx_kernels *ops, msx_kdev *dev) {
    msx__merger_leave(m);
    m->there = (msx__merge_kernels){.ops = ops, .dev = dev, .threads = 1};
    size_t bytes = (size_t)m->offset[m->n_tensors] * sizeof(float);
    msx_status status = MSX_OK;
    for (size_t k = 0; k < m->n && status == MSX_OK; k++) {
        void *memory = NULL;
        status = there_status(m, ops->alloc(dev, &memory, bytes));
        m->there_weights[k] = memory;
        if (status == MSX_OK)
            status = there_status(m, ops->upload(dev, memory, m->weights[k], bytes));
    }
    if (status < 0) msx__merger_leave(m);
    return status;
}

/* On the host, then sent. */
static msx_status merge_and_send(const msx_merger *m, const msx__schedule *s, int64_t i,
                                 const float *const *host, float *out) {
    int64_t n = m->offset[i + 1] - m->offset[i];
    float *merged = msx__alloc(m->ctx, (size_t)n, sizeof *merged);
    if (!merged) return MSX_E_NOMEM;
    msx_status status = msx__merge_tensor(s, m->arch, i, host, merged, &m->kernels);
    if (status >= 0)
        status = there_status(
            m, m->there.ops->upload(m->there.dev, out, merged, (size_t)n * sizeof *merged));
    msx__free(m->ctx, merged);
    return status;
}

static msx_status merge_one(const msx_merger *m, const msx__schedule *s, int64_t i, float *out) {
    const float *host[MSX__MAX_MODELS], *there[MSX__MAX_MODELS];
    for (size_t k = 0; k < s->n_models; k++) {
        host[k] = m->weights[s->models[k]] + m->offset[i];
        there[k] = m->there_weights[s->models[k]] + m->offset[i];
    }
    const msx__recipe *r = msx__schedule_recipe(s, i);
    if (r && !msx__method_is_resident(r->method, r->values, s->n_models))
        return merge_and_send(m, s, i, host, out);
    msx__merge_kernels kernels = m->there;
    kernels.host = host;
    return msx__merge_tensor(s, m->arch, i, there, out, &kernels);
}

msx_status msx__merger_run_there(msx_merger *m, const msx_plan *plan, const msx_plan *previous,
                                 msx__place_fn out, void *payload, uint8_t *changed) {
    const char *const *names = (const char *const *)m->names;
    msx__schedule now, before = {0};
    MSX_TRY(msx__schedule_create(&now, plan, m->arch, names, m->n));
    msx_status status = MSX_OK;
    if (previous) status = msx__schedule_create(&before, previous, m->arch, names, m->n);
    msx__merge_kernels_set_threads(&m->kernels, msx_ctx_threads(m->ctx));
    for (int64_t i = 0; i < m->n_tensors && status >= 0; i++) {
        changed[i] = !previous || !msx__schedule_same(&now, &before, i);
        if (!changed[i]) continue;
        status = msx__check_cancel(m->ctx);
        if (status >= 0) status = merge_one(m, &now, i, out(i, payload));
    }
    msx__schedule_free(&before);
    msx__schedule_free(&now);
    return status;
}
