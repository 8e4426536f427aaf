/* SPDX-License-Identifier: Apache-2.0 */
/* What the checkpoint fuzz targets share: use bytes as a checkpoint file. */
#ifndef MSX_FUZZ_CHECKPOINT_H
#define MSX_FUZZ_CHECKPOINT_H

#include <medsamix/medsamix.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read a tensor of the checkpoint; at most 2^20 elements by the limit that is set. */
static void fuzz_read(const msx_checkpoint *c, int64_t i) {
    int64_t n = msx_checkpoint_elements(c, i);
    float *out = malloc((size_t)n * sizeof *out + 1);
    if (!out) abort();
    (void)msx_checkpoint_read(c, i, out, n);
    free(out);
}

static void fuzz_look(msx_ctx *ctx, msx_checkpoint *c) {
    char hash[65];
    msx_arch *a;
    /* Many tensors may share one storage: a few are enough to read. */
    for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
        if (msx_checkpoint_find(c, msx_checkpoint_name(c, i)) != i) abort();
        if (i < 50) fuzz_read(c, i);
    }
    for (int64_t i = 0; i < msx_checkpoint_meta_count(c); i++)
        if (!msx_checkpoint_meta(c, msx_checkpoint_meta_key(c, i))) abort();
    if (msx_checkpoint_sha256(c, hash) == MSX_OK && strlen(hash) != 64) abort();
    if (msx_arch_infer(&a, ctx, c) == MSX_OK) msx_arch_free(a);
}

/* A failure must come with a text. */
static msx_status fuzz_path_by_rule(const char *path, msx_pickle_rule rule) {
    msx_ctx *ctx;
    msx_checkpoint *c;
    if (msx_ctx_create(&ctx, NULL) != MSX_OK) abort();
    msx_ctx_set_pickle_rule(ctx, rule);
    msx_ctx_set_limit(ctx, MSX_LIMIT_HEADER_BYTES, 1 << 20);
    msx_ctx_set_limit(ctx, MSX_LIMIT_TENSOR_BYTES, 1 << 22);
    msx_ctx_set_limit(ctx, MSX_LIMIT_TENSORS, 2000);
    msx_status status = msx_checkpoint_open(&c, ctx, path);
    if (status == MSX_OK)
        fuzz_look(ctx, c);
    else if (!*msx_ctx_error(ctx))
        abort();
    msx_checkpoint_free(c);
    msx_ctx_free(ctx);
    return status;
}

/* Each rule takes at least the files of the one before. */
static inline void fuzz_path(const char *path) {
    msx_status strict = fuzz_path_by_rule(path, MSX_PICKLE_STRICT), known = strict, tolerant;
    if (strict == MSX_E_UNSUPPORTED) known = fuzz_path_by_rule(path, MSX_PICKLE_KNOWN);
    if (strict == MSX_OK || known == MSX_OK || known == MSX_E_UNSUPPORTED) {
        tolerant = fuzz_path_by_rule(path, MSX_PICKLE_TOLERANT);
        if (known == MSX_OK && tolerant != MSX_OK) abort();
    }
}

static inline void fuzz_checkpoint(const uint8_t *data, size_t size) {
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    fuzz_path(path);
    close(fd);
}

#endif
