/* SPDX-License-Identifier: Apache-2.0 */
/* Models resident in memory as float32, merged again and again into one target. */
#include "merge/merger.h"

#include <string.h>

static msx_status measure(msx_merger *m) {
    m->n_tensors = msx_arch_tensor_count(m->arch);
    m->offset = msx__calloc(m->ctx, (size_t)m->n_tensors + 1, sizeof *m->offset);
    if (!m->offset) return MSX_E_NOMEM;
    for (int64_t i = 0; i < m->n_tensors; i++)
        if (!msx__add(m->offset[i], msx__tensor_elements(m->arch, i), &m->offset[i + 1]))
            return msx__fail(m->ctx, MSX_E_LIMIT, "the model has too many weights");
    return MSX_OK;
}

static msx_status load(msx_merger *m, msx_checkpoint *const *checkpoints, const char *const *names,
                       size_t n, bool allow_nonfinite) {
    MSX_TRY(msx__shared_arch(&m->arch, m->ctx, checkpoints, names, n));
    MSX_TRY(measure(m));
    MSX_TRY(msx__merge_kernels_open(&m->kernels, m->ctx));
    for (; m->n < n; m->n++) {
        size_t k = m->n;
        m->names[k] = msx__strdup(m->ctx, names[k]);
        m->weights[k] = msx__alloc(m->ctx, (size_t)m->offset[m->n_tensors], sizeof(float));
        if (!m->names[k] || !m->weights[k]) return MSX_E_NOMEM;
        for (int64_t i = 0; i < m->n_tensors; i++) {
            MSX_TRY(msx__check_cancel(m->ctx));
            MSX_TRY(msx__read_weights(m->ctx, checkpoints[k], msx_arch_tensor_name(m->arch, i),
                                      m->weights[k] + m->offset[i], m->offset[i + 1] - m->offset[i],
                                      allow_nonfinite));
        }
    }
    return MSX_OK;
}

msx_status msx_merger_create(msx_merger **out, msx_ctx *ctx, msx_checkpoint *const *checkpoints,
                             const char *const *names, size_t n, bool allow_nonfinite) {
    if (out) *out = NULL;
    if (!out || !ctx || !checkpoints || !names)
        return msx__fail(ctx, MSX_E_ARG, "msx_merger_create: NULL argument");
    MSX_TRY(msx__check_names(ctx, names, n));
    for (size_t i = 0; i < n; i++)
        if (!checkpoints[i]) return msx__fail(ctx, MSX_E_ARG, "model '%s' is NULL", names[i]);
    msx_merger *m = msx__calloc(ctx, 1, sizeof *m);
    if (!m) return MSX_E_NOMEM;
    m->ctx = ctx;
    msx_status status = load(m, checkpoints, names, n, allow_nonfinite);
    if (status < 0) {
        msx_merger_free(m);
        return status;
    }
    *out = m;
    return MSX_OK;
}

msx_status msx__merger_share(msx_merger **out, const msx_merger *lender) {
    msx_merger *m = msx__calloc(lender->ctx, 1, sizeof *m);
    if (!(*out = m)) return MSX_E_NOMEM;
    *m = *lender;
    m->borrows = true;
    m->kernels = m->there = (msx__merge_kernels){0};
    memset(m->there_weights, 0, sizeof m->there_weights);
    msx_status status = msx__merge_kernels_open(&m->kernels, m->ctx);
    if (status < 0) {
        msx_merger_free(m);
        *out = NULL;
    }
    return status;
}

void msx_merger_free(msx_merger *m) {
    if (!m) return;
    msx_ctx *ctx = m->ctx;
    msx__merger_leave(m);
    msx__merge_kernels_close(&m->kernels);
    if (!m->borrows) {
        for (size_t i = 0; i < MSX__MAX_MODELS; i++) {
            msx__free(ctx, m->names[i]);
            msx__free(ctx, m->weights[i]);
        }
        msx__free(ctx, m->offset);
        msx_arch_free(m->arch);
    }
    msx__free(ctx, m);
}

const msx_arch *msx_merger_arch(const msx_merger *m) {
    return m ? m->arch : NULL;
}

bool msx__merger_equal_where(const msx_merger *m, const msx_groups *g, int64_t group,
                             bool (*wanted)(const char *tensor)) {
    if (!m || !g || msx__groups_tensors(g) != m->n_tensors || group < 0) return false;
    for (int64_t i = 0; i < m->n_tensors; i++) {
        if (msx__groups_of(g, i) != group) continue;
        if (wanted && !wanted(msx_arch_tensor_name(m->arch, i))) continue;
        size_t bytes = (size_t)(m->offset[i + 1] - m->offset[i]) * sizeof(float);
        for (size_t k = 1; k < m->n; k++)
            if (bytes && memcmp(m->weights[0] + m->offset[i], m->weights[k] + m->offset[i], bytes))
                return false;
    }
    return true;
}

bool msx_merger_group_equal(const msx_merger *m, const msx_groups *g, int64_t group) {
    return msx__merger_equal_where(m, g, group, NULL);
}

/* Add the official tensors that a target lacks; `fresh` says that it lacked some. */
static msx_status prepare_target(const msx_merger *m, msx_checkpoint *target, bool *fresh) {
    *fresh = false;
    for (int64_t i = 0; i < m->n_tensors; i++) {
        const char *name = msx_arch_tensor_name(m->arch, i);
        int64_t at = msx_checkpoint_find(target, name);
        if (at < 0) {
            int64_t dims[MSX_MAX_RANK];
            int rank = msx_arch_tensor_shape(m->arch, i, dims);
            MSX_TRY(msx_checkpoint_add(target, name, rank, dims, NULL));
            *fresh = true;
        } else if (!msx_checkpoint_data(target, at) ||
                   msx_checkpoint_elements(target, at) != m->offset[i + 1] - m->offset[i]) {
            return msx__fail(m->ctx, MSX_E_SHAPE,
                             "merge target: tensor %s has another shape or lies in a file; use an "
                             "empty checkpoint made in memory, or one from an earlier merge",
                             name);
        }
    }
    return MSX_OK;
}

static msx_status rebuild(msx_merger *m, const msx__schedule *s, int64_t i, float *out) {
    const float *models[MSX__MAX_MODELS];
    for (size_t k = 0; k < s->n_models; k++) models[k] = m->weights[s->models[k]] + m->offset[i];
    return msx__merge_tensor(s, m->arch, i, models, out, &m->kernels);
}

/* Methods see one tensor at a time, so a tensor whose recipe is the same has the same result, also
 * when the plans cut the network into different groups. */
static msx_status run(msx_merger *m, const msx__schedule *now, const msx__schedule *before,
                      msx_checkpoint *target, uint8_t *changed) {
    bool fresh;
    MSX_TRY(prepare_target(m, target, &fresh));
    for (int64_t i = 0; i < m->n_tensors; i++) {
        if (changed) changed[i] = 0;
        if (!fresh && before && msx__schedule_same(now, before, i)) continue;
        MSX_TRY(msx__check_cancel(m->ctx));
        int64_t at = msx_checkpoint_find(target, msx_arch_tensor_name(m->arch, i));
        MSX_TRY(rebuild(m, now, i, msx_checkpoint_data(target, at)));
        if (changed) changed[i] = 1;
    }
    return MSX_OK;
}

msx_status msx_merger_run(msx_merger *m, const msx_plan *plan, const msx_plan *previous,
                          msx_checkpoint *target, uint8_t *changed) {
    if (!m) return MSX_E_ARG;
    if (!plan || !target) return msx__fail(m->ctx, MSX_E_ARG, "msx_merger_run: NULL argument");
    const char *const *names = (const char *const *)m->names;
    msx__schedule now, before = {0};
    MSX_TRY(msx__schedule_create(&now, plan, m->arch, names, m->n));
    msx_status status = MSX_OK;
    if (previous) status = msx__schedule_create(&before, previous, m->arch, names, m->n);
    msx__merge_kernels_set_threads(&m->kernels, msx_ctx_threads(m->ctx));
    if (status >= 0) status = run(m, &now, previous ? &before : NULL, target, changed);
    msx__schedule_free(&before);
    msx__schedule_free(&now);
    return status;
}
