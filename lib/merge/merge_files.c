/* SPDX-License-Identifier: Apache-2.0 */
/* From files to a file, in bounded memory; and into memory, to verify such a file. */
#include "checkpoint/stream.h"
#include "merge/pipeline.h"

#include <stdio.h>
#include <string.h>

typedef struct job {
    msx_ctx *ctx;
    const msx_plan *plan;
    size_t n;
    const char *const *names;
    bool draft; /* the inputs are not hashed */
    msx_checkpoint *inputs[MSX__MAX_MODELS];
    msx_arch *arch;
    int64_t *order; /* of the architecture's tensors in the base's file, and so in the target's */
    msx__schedule schedule;
    msx__pipeline *pipeline;
    msx_checkpoint *target;
    int64_t loaded;      /* the tensor that the pipeline gave last, -1 before the first ... */
    int64_t first, many; /* ... from which element on, and how many */
    const float *values;
} job;

static msx_status set_provenance(msx_ctx *ctx, msx_checkpoint *target, const char *plan_text,
                                 const char *const *names, const char *const *sha256, size_t n) {
    MSX_TRY(msx_checkpoint_set_meta(target, "medsamix.version", MSX_VERSION_STRING));
    MSX_TRY(msx_checkpoint_set_meta(target, "medsamix.plan", plan_text));
    for (size_t i = 0; i < n; i++) {
        char key[MSX__MAX_NAME + 32];
        if (!sha256[i] || !msx__legal_name(names[i], "_-"))
            return msx__fail(ctx, MSX_E_ARG, "model %zu: illegal name or no SHA-256", i);
        snprintf(key, sizeof key, "medsamix.input.%s", names[i]);
        MSX_TRY(msx_checkpoint_set_meta(target, key, sha256[i]));
    }
    return MSX_OK;
}

/* With `known`, the SHA-256 of the inputs; before, zeros that keep their place. A draft has none. */
static msx_status add_provenance(job *j, bool known) {
    char digests[MSX__MAX_MODELS][MSX__SHA256_HEX];
    const char *sha256[MSX__MAX_MODELS];
    for (size_t i = 0; i < j->n && !j->draft; i++) {
        memset(digests[i], '0', sizeof digests[i] - 1);
        digests[i][sizeof digests[i] - 1] = 0;
        if (known) MSX_TRY(msx_checkpoint_sha256(j->inputs[i], digests[i]));
        sha256[i] = digests[i];
    }
    msx__buffer text;
    msx__buffer_init(&text, j->ctx);
    msx__plan_print(j->plan, &text);
    msx_status status = text.failed ? MSX_E_NOMEM
                                    : set_provenance(j->ctx, j->target, text.data, j->names, sha256,
                                                     j->draft ? 0 : j->n);
    msx__buffer_free(&text);
    if (status == MSX_OK && j->draft)
        status = msx_checkpoint_set_meta(j->target, MSX__DRAFT_KEY, MSX__DRAFT);
    return status;
}

static msx_status open_inputs(job *j, const char *const *paths) {
    MSX_TRY(msx__check_names(j->ctx, j->names, j->n));
    for (size_t i = 0; i < j->n; i++)
        if (!paths[i]) return msx__fail(j->ctx, MSX_E_ARG, "model '%s' has no file", j->names[i]);
    for (size_t i = 0; i < j->n; i++) MSX_TRY(msx_checkpoint_open(&j->inputs[i], j->ctx, paths[i]));
    return MSX_OK;
}

/* The order in which the base's file holds the tensors. */
static msx_status find_order(job *j) {
    int64_t n = msx_arch_tensor_count(j->arch);
    const msx_checkpoint *base = j->inputs[0];
    int64_t *there = msx__alloc(j->ctx, (size_t)msx_checkpoint_count(base), sizeof *there);
    int64_t *sorted = msx__alloc(j->ctx, (size_t)n, sizeof *sorted);
    j->order = msx__alloc(j->ctx, (size_t)n, sizeof *j->order);
    bool room = there && sorted && j->order;
    for (int64_t i = 0; i < n && room; i++) {
        sorted[i] = msx_checkpoint_find(base, msx_arch_tensor_name(j->arch, i));
        there[sorted[i]] = i;
    }
    if (room) msx__checkpoint_sort_by_place(base, sorted, n);
    for (int64_t i = 0; i < n && room; i++) j->order[i] = there[sorted[i]];
    msx__free(j->ctx, there);
    msx__free(j->ctx, sorted);
    return room ? MSX_OK : MSX_E_NOMEM;
}

/* Also makes the target, its tensors added by `add`. */
static msx_status begin(job *j, bool allow_nonfinite,
                        msx_status (*add)(msx_checkpoint *c, const char *name, int rank,
                                          const int64_t *dims)) {
    MSX_TRY(msx__shared_arch(&j->arch, j->ctx, j->inputs, j->names, j->n));
    MSX_TRY(msx__schedule_create(&j->schedule, j->plan, j->arch, j->names, j->n));
    MSX_TRY(msx_checkpoint_create(&j->target, j->ctx));
    MSX_TRY(find_order(j));
    for (int64_t i = 0; i < msx_arch_tensor_count(j->arch); i++) {
        int64_t dims[MSX_MAX_RANK];
        int rank = msx_arch_tensor_shape(j->arch, j->order[i], dims);
        MSX_TRY(add(j->target, msx_arch_tensor_name(j->arch, j->order[i]), rank, dims));
    }
    j->loaded = -1;
    return msx__pipeline_start(&j->pipeline,
                               &(msx__pipeline_job){.ctx = j->ctx,
                                                    .n = j->n,
                                                    .inputs = j->inputs,
                                                    .arch = j->arch,
                                                    .schedule = &j->schedule,
                                                    .order = j->order,
                                                    .allow_nonfinite = allow_nonfinite,
                                                    .draft = j->draft,
                                                    .piece = MSX__PIPELINE_PIECE,
                                                    .ahead = MSX__PIPELINE_AHEAD});
}

static void end(job *j) {
    msx__pipeline_free(j->pipeline);
    for (size_t k = 0; k < MSX__MAX_MODELS; k++) msx_checkpoint_free(j->inputs[k]);
    msx__schedule_free(&j->schedule);
    msx__free(j->ctx, j->order);
    msx_arch_free(j->arch);
    msx_checkpoint_free(j->target);
}

/* ---- files that the plan names -------------------------------------------------------------------- */

void msx__plan_inputs_free(msx__plan_inputs *in) {
    for (size_t i = 0; i < in->n; i++) msx__free(in->ctx, in->files[i]);
    *in = (msx__plan_inputs){0};
}

msx_status msx__plan_inputs_of(msx__plan_inputs *in, const msx_plan *plan) {
    *in = (msx__plan_inputs){.ctx = plan->ctx};
    msx_status status = MSX_OK;
    for (size_t i = 0; i <= plan->n_models && status == MSX_OK; i++) {
        const msx__plan_model *m = i ? &plan->models[i - 1] : &plan->base;
        in->names[i] = i ? m->name : "base";
        status = m->path ? msx__plan_resolve(&in->files[i], plan, m)
                         : msx__fail(plan->ctx, MSX_E_NOTFOUND,
                                     "the plan names no file for '%s'; give one", in->names[i]);
        in->n = i + 1;
    }
    if (status < 0) msx__plan_inputs_free(in);
    return status;
}

/* ---- into a file ------------------------------------------------------------------------------- */

/* HF models hold one tensor, a small one, twice, one after the other. */
static msx_status load(void *payload, int64_t tensor, int64_t first, const float **values,
                       int64_t *n) {
    job *j = payload;
    if (tensor != j->loaded || first != j->first)
        MSX_TRY(msx__pipeline_next(j->pipeline, j->order[tensor], first, &j->values, &j->many));
    j->loaded = tensor;
    j->first = first;
    *values = j->values;
    *n = j->many;
    return MSX_OK;
}

static msx_status finish(void *payload) {
    job *j = payload;
    MSX_TRY(msx__pipeline_finish(j->pipeline));
    return add_provenance(j, true);
}

static msx_status merge_into_file(job *j, const char *const *paths, const char *out_path,
                                  const msx_save_options *options, bool allow_nonfinite) {
    MSX_TRY(open_inputs(j, paths));
    for (size_t i = 0; i < j->n && !j->draft; i++)
        MSX_TRY(msx__checkpoint_hash_reads(j->inputs[i]));
    MSX_TRY(begin(j, allow_nonfinite, msx__checkpoint_declare));
    MSX_TRY(add_provenance(j, false));
    const msx__tensor_source source = {load, finish, j};
    return msx__checkpoint_save_from(j->target, &source, out_path, options);
}

msx_status msx_merge_files(msx_ctx *ctx, const msx_plan *plan, const char *const *paths,
                           const char *const *names, size_t n, const char *out_path,
                           const msx_save_options *options, bool allow_nonfinite) {
    if (!ctx) return MSX_E_ARG;
    bool by_plan = !paths && !names && n == 0;
    if (!plan || (!by_plan && (!paths || !names)) || !out_path)
        return msx__fail(ctx, MSX_E_ARG, "msx_merge_files: NULL argument");
    msx_save_options save;
    MSX_TRY(msx__save_options_take(&save, ctx, options));
    if (!save.dtype) save.dtype = plan->dtype;
    msx__plan_inputs own = {0};
    if (by_plan) {
        MSX_TRY(msx__plan_inputs_of(&own, plan));
        paths = (const char *const *)own.files;
        names = own.names;
        n = own.n;
    }
    job j = {.ctx = ctx, .plan = plan, .n = n, .names = names, .draft = save.draft};
    msx_status status = merge_into_file(&j, paths, out_path, &save, allow_nonfinite);
    end(&j);
    msx__plan_inputs_free(&own);
    return status;
}

/* ---- into memory ------------------------------------------------------------------------------- */

static msx_status add_zeros(msx_checkpoint *c, const char *name, int rank, const int64_t *dims) {
    return msx_checkpoint_add(c, name, rank, dims, NULL);
}

static msx_status merge_into_memory(job *j, const char *const *paths,
                                    const msx_checkpoint *merged) {
    MSX_TRY(open_inputs(j, paths));
    j->draft = msx__is_draft(merged);
    if (!j->draft) MSX_TRY(msx__check_inputs(merged, j->ctx, j->inputs, j->names, j->n));
    MSX_TRY(begin(j, true, add_zeros));
    for (int64_t i = 0; i < msx_arch_tensor_count(j->arch); i++) {
        int64_t elements = msx_checkpoint_elements(j->target, i), first = 0, n;
        do {
            const float *values;
            MSX_TRY(msx__pipeline_next(j->pipeline, j->order[i], first, &values, &n));
            if (n)
                memcpy(msx_checkpoint_data(j->target, i) + first, values,
                       (size_t)n * sizeof *values);
            first += n;
        } while (first < elements);
    }
    MSX_TRY(msx__pipeline_finish(j->pipeline));
    return add_provenance(j, true);
}

msx_status msx__merge_rebuild(msx_checkpoint **out, msx_ctx *ctx, const msx_plan *plan,
                              const char *const *paths, const char *const *names, size_t n,
                              const msx_checkpoint *merged) {
    *out = NULL;
    job j = {.ctx = ctx, .plan = plan, .n = n, .names = names};
    msx_status status = merge_into_memory(&j, paths, merged);
    if (status >= 0) {
        *out = j.target;
        j.target = NULL;
    }
    end(&j);
    return status;
}

/* ---- provenance of other merges -------------------------------------------------------------------- */

msx_status msx_merge_set_provenance(msx_checkpoint *target, msx_plan *plan,
                                    const char *const *names, const char *const *sha256, size_t n) {
    if (!plan) return MSX_E_ARG;
    if (!target || !names || !sha256)
        return msx__fail(plan->ctx, MSX_E_ARG, "msx_merge_set_provenance: NULL argument");
    const char *text = msx_plan_text(plan);
    return text ? set_provenance(plan->ctx, target, text, names, sha256, n) : MSX_E_NOMEM;
}
