/* SPDX-License-Identifier: Apache-2.0 */
/* Lines as the names of a checkpoint's tensors: prefixes are stripped, names of transformers translated,
 * duplicates found; and each name through the table of names, both ways. */
#include "checkpoint/internal.h"
#include "checkpoint/stream.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 400 };

typedef bool translate(const char *name, char out[MSX__NAME_BYTES]);

/* There, back, and there again is there: a name is the other scheme's, or becomes it. Where a longer name
 * does not fit the way ends. */
static void check_name(const char *name, translate *there, translate *back) {
    char first[MSX__NAME_BYTES], returned[MSX__NAME_BYTES], again[MSX__NAME_BYTES];
    if (!there(name, first)) return;
    if (!msx__name_is_sane(first)) abort();
    if (!back(first, returned) || !there(returned, again)) return;
    if (strcmp(first, again) != 0) abort();
}

static void settle(msx_ctx *ctx, msx_checkpoint *c) {
    if (msx__checkpoint_settle_names(c) != MSX_OK || msx__checkpoint_index(c) != MSX_OK) {
        if (!*msx_ctx_error(ctx)) abort();
        return;
    }
    for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
        const char *name = msx_checkpoint_name(c, i);
        if (!msx__name_is_sane(name) || msx_checkpoint_find(c, name) != i) abort();
    }
    msx_arch *arch;
    if (msx_arch_infer(&arch, ctx, c) == MSX_OK) msx_arch_free(arch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    msx_ctx *ctx;
    msx_checkpoint *c;
    char *text = malloc(size + 1), *rest = text;
    if (!text || msx_ctx_create(&ctx, NULL) != MSX_OK) abort();
    if (msx_checkpoint_create(&c, ctx) != MSX_OK) abort();
    if (size) memcpy(text, data, size);
    text[size] = 0;
    for (char *name; (name = strsep(&rest, "\n")) && c->n < MOST;) {
        msx__tensor t = {.name = name, .dtype = MSX_DTYPE_F32, .storage = -1};
        t.elements = t.span = 1;
        if (!msx__name_is_sane(name)) continue;
        check_name(name, msx__name_from_hf, msx__name_to_hf);
        check_name(name, msx__name_to_hf, msx__name_from_hf);
        if (msx__checkpoint_push(c, &t) != MSX_OK) abort();
    }
    settle(ctx, c);
    msx_checkpoint_free(c);
    msx_ctx_free(ctx);
    free(text);
    return 0;
}
