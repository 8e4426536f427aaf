/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing a checkpoint with a file: the bytes that saving would give, and which tensor is another. */
#include "checkpoint/compare.h"
#include "checkpoint/save.h"

#include <string.h>

/* All floating tensors of a file that was written by this library have one element type. */
static msx_dtype written_type(const msx_checkpoint *file) {
    for (int64_t i = 0; i < file->n; i++)
        if (msx__dtype_is_float(file->tensors[i].dtype)) return file->tensors[i].dtype;
    return MSX_DTYPE_F32;
}

/* The tensor whose data a byte of the file, or of a shard, belongs to; -1 for none. */
static int64_t tensor_at(const msx_checkpoint *file, int64_t shard, int64_t byte) {
    for (int64_t i = 0; i < file->n; i++) {
        const msx__tensor *t = file->tensors + i;
        int64_t bytes = t->span * (int64_t)msx_dtype_size(t->dtype);
        if (t->shard == shard && byte >= t->offset && byte - t->offset < bytes) return i;
    }
    return -1;
}

static bool same_shape(const msx__tensor *a, const msx__tensor *b) {
    return a->rank == b->rank && !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims);
}

/* Does tensor i hold what tensor k of the file holds, once rounded to the file's type? */
static msx_status same_values(const msx_checkpoint *c, int64_t i, const msx_checkpoint *file,
                              int64_t k, bool *same) {
    const msx__tensor *t = c->tensors + i;
    msx_dtype dtype = file->tensors[k].dtype;
    float *ours = msx__alloc(c->ctx, (size_t)t->elements, sizeof *ours);
    float *theirs = msx__alloc(c->ctx, (size_t)t->elements, sizeof *theirs);
    char *rounded = msx__alloc(c->ctx, (size_t)t->elements, msx_dtype_size(dtype));
    msx_status status = ours && theirs && rounded ? MSX_OK : MSX_E_NOMEM;
    if (status == MSX_OK) status = msx_checkpoint_read(c, i, ours, t->elements);
    if (status == MSX_OK) status = msx_checkpoint_read(file, k, theirs, t->elements);
    if (status == MSX_OK) {
        msx__from_f32(dtype, ours, rounded, t->elements);
        msx__to_f32(dtype, rounded, ours, t->elements);
        *same = !t->elements || !memcmp(ours, theirs, (size_t)t->elements * sizeof *ours);
    }
    msx__free(c->ctx, rounded);
    msx__free(c->ctx, theirs);
    msx__free(c->ctx, ours);
    return status;
}

/* Bytes that differ outside of the data (a header, a checksum) say nothing of the tensors. */
static msx_status first_tensor(const msx_checkpoint *c, const msx_checkpoint *file,
                               const char **name) {
    for (int64_t i = 0; i < c->n; i++) {
        const msx__tensor *t = c->tensors + i;
        int64_t k = msx_checkpoint_find(file, t->name);
        bool same = k >= 0 && msx__dtype_is_float(file->tensors[k].dtype) &&
                    same_shape(t, file->tensors + k);
        if (same) MSX_TRY(same_values(c, i, file, k, &same));
        if (same) continue;
        *name = t->name;
        return MSX_OK;
    }
    for (int64_t k = 0; k < file->n && !*name; k++)
        if (msx_checkpoint_find(c, file->tensors[k].name) < 0) *name = file->tensors[k].name;
    return MSX_OK;
}

/* How large its shards were allowed to be. */
static int64_t shard_bytes_of(const msx_checkpoint *file) {
    const char *text = msx_checkpoint_meta(file, MSX__SHARD_BYTES_KEY);
    double bytes;
    return text && msx__parse_double(text, &bytes) && bytes >= 1 && bytes < 1e18 ? (int64_t)bytes
                                                                                 : 0;
}

msx_status msx__checkpoint_compare(const msx_checkpoint *c, const msx_checkpoint *file,
                                   msx__file_difference *out) {
    const msx_save_options o = {.struct_size = sizeof o,
                                .dtype = written_type(file),
                                .scheme = file->scheme,
                                .container = file->container,
                                .shard_bytes = shard_bytes_of(file)};
    int64_t shard = 0;
    *out = (msx__file_difference){-1, NULL};
    MSX_TRY(msx__save_against(c, file, &o, &out->byte, &shard));
    if (out->byte < 0) return MSX_OK;
    int64_t k = tensor_at(file, shard, out->byte);
    if (k < 0) return first_tensor(c, file, &out->tensor);
    out->tensor = file->tensors[k].name;
    return MSX_OK;
}
