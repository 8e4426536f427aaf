/* SPDX-License-Identifier: Apache-2.0 */
/* Is a merged file what its plan makes of its inputs? It is rebuilt and compared byte for byte. */
#include "checkpoint/compare.h"
#include "merge/merge.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char input_key[] = "medsamix.input.";
enum { INPUT_KEY = sizeof input_key - 1 };

/* Every model that the file names was given, and no other. */
static msx_status check_list(const msx_checkpoint *merged, msx_ctx *ctx, const char *const *names,
                             size_t n) {
    const char *file = msx_checkpoint_path(merged);
    int64_t recorded = 0;
    for (int64_t i = 0; i < msx_checkpoint_meta_count(merged); i++) {
        const char *key = msx_checkpoint_meta_key(merged, i);
        if (strncmp(key, input_key, INPUT_KEY) != 0) continue;
        size_t k = 0;
        while (k < n && strcmp(names[k], key + INPUT_KEY) != 0) k++;
        if (k == n)
            return msx__fail(ctx, MSX_E_NOTFOUND,
                             "%s: was merged from a model '%.64s', which is not given", file,
                             key + INPUT_KEY);
        recorded++;
    }
    for (size_t k = 0; k < n && recorded < (int64_t)n; k++) {
        char key[INPUT_KEY + MSX__MAX_NAME + 1];
        snprintf(key, sizeof key, "%s%s", input_key, names[k]);
        if (!msx_checkpoint_meta(merged, key))
            return msx__fail(ctx, MSX_E_NOTFOUND, "%s: was not merged from a model '%s'", file,
                             names[k]);
    }
    return MSX_OK;
}

bool msx__is_draft(const msx_checkpoint *merged) {
    return msx_checkpoint_meta(merged, MSX__DRAFT_KEY) != NULL;
}

msx_status msx__check_inputs(const msx_checkpoint *merged, msx_ctx *ctx,
                             msx_checkpoint *const *inputs, const char *const *names, size_t n) {
    MSX_TRY(check_list(merged, ctx, names, n));
    msx__buffer wrong;
    msx__buffer_init(&wrong, ctx);
    msx_status status = MSX_OK;
    for (size_t k = 0; k < n && status == MSX_OK; k++) {
        char key[INPUT_KEY + MSX__MAX_NAME + 1], digest[MSX__SHA256_HEX];
        snprintf(key, sizeof key, "%s%s", input_key, names[k]);
        status = msx_checkpoint_sha256(inputs[k], digest);
        if (status == MSX_OK && strcmp(digest, msx_checkpoint_meta(merged, key)) != 0)
            msx__buffer_printf(&wrong, "%s%s (%s)", wrong.length ? ", " : "", names[k],
                               msx_checkpoint_path(inputs[k]));
    }
    if (status == MSX_OK && wrong.failed) status = MSX_E_NOMEM;
    if (status == MSX_OK && wrong.length)
        status = msx__fail(ctx, MSX_E_FORMAT,
                           "%s: was merged from other files: the SHA-256 differs of %s",
                           msx_checkpoint_path(merged), wrong.data);
    msx__buffer_free(&wrong);
    return status;
}

/* What else the file carries belongs to it: the version that wrote it, keys of other programs. */
static msx_status adopt_metadata(msx_checkpoint *rebuilt, const msx_checkpoint *merged) {
    for (int64_t i = 0; i < msx_checkpoint_meta_count(merged); i++) {
        const char *key = msx_checkpoint_meta_key(merged, i);
        if (strncmp(key, input_key, INPUT_KEY) != 0 && strcmp(key, "medsamix.plan") != 0)
            MSX_TRY(msx_checkpoint_set_meta(rebuilt, key, msx_checkpoint_meta(merged, key)));
    }
    return MSX_OK;
}

static msx_status rebuild(msx_merge_check *out, msx_ctx *ctx, const msx_checkpoint *merged,
                          const char *const *paths, const char *const *names, size_t n) {
    const char *text = msx_checkpoint_meta(merged, "medsamix.plan");
    if (!text)
        return msx__fail(ctx, MSX_E_UNSUPPORTED,
                         "%s: carries no plan (medsamix.plan); only files written by a merge can "
                         "be rebuilt",
                         msx_checkpoint_path(merged));
    msx_plan *plan = NULL;
    msx_checkpoint *rebuilt = NULL;
    msx__file_difference difference = {-1, NULL};
    msx__buffer source;
    msx__buffer_init(&source, ctx);
    msx__buffer_printf(&source, "%s: medsamix.plan", msx_checkpoint_path(merged));
    msx__plan_inputs own = {0};
    msx_status status = source.failed ? MSX_E_NOMEM : MSX_OK;
    if (status == MSX_OK) status = msx_plan_parse(&plan, ctx, text, strlen(text), source.data);
    if (status == MSX_OK && !paths) {
        status = msx__plan_begin_beside(plan, msx_checkpoint_path(merged));
        if (status == MSX_OK) status = msx__plan_inputs_of(&own, plan);
        paths = (const char *const *)own.files;
        names = own.names;
        n = own.n;
    }
    if (status == MSX_OK) status = msx__merge_rebuild(&rebuilt, ctx, plan, paths, names, n, merged);
    if (status == MSX_OK) status = adopt_metadata(rebuilt, merged);
    if (status == MSX_OK) status = msx__checkpoint_compare(rebuilt, merged, &difference);
    if (status == MSX_OK) {
        out->equal = difference.byte < 0;
        out->first_byte = difference.byte;
        if (out->struct_size >= sizeof *out) out->draft = msx__is_draft(merged);
        snprintf(out->tensor, sizeof out->tensor, "%s", difference.tensor ? difference.tensor : "");
    }
    msx_checkpoint_free(rebuilt);
    msx__plan_inputs_free(&own);
    msx_plan_free(plan);
    msx__buffer_free(&source);
    return status;
}

msx_status msx_merge_verify(msx_merge_check *out, msx_ctx *ctx, const char *path,
                            const char *const *paths, const char *const *names, size_t n) {
    if (!ctx) return MSX_E_ARG;
    bool by_plan = !paths && !names && n == 0;
    if (!out || !path || (!by_plan && (!paths || !names)))
        return msx__fail(ctx, MSX_E_ARG, "msx_merge_verify: NULL argument");
    if (out->struct_size < offsetof(msx_merge_check, draft))
        return msx__fail(ctx, MSX_E_ARG, "msx_merge_check: struct_size is not set");
    if (!by_plan) MSX_TRY(msx__check_names(ctx, names, n));
    for (size_t i = 0; i < n; i++)
        if (!paths[i]) return msx__fail(ctx, MSX_E_ARG, "model '%s' has no file", names[i]);
    msx_checkpoint *merged;
    MSX_TRY(msx_checkpoint_open(&merged, ctx, path));
    msx_status status = rebuild(out, ctx, merged, paths, names, n);
    msx_checkpoint_free(merged);
    return status;
}
