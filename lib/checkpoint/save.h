/* SPDX-License-Identifier: Apache-2.0 */
/* What the writers share: the list of tensors to write under their final names, and their bytes. */
#ifndef MSX_CHECKPOINT_SAVE_H
#define MSX_CHECKPOINT_SAVE_H

#include "checkpoint/internal.h"
#include "checkpoint/stream.h"

typedef struct msx__save_item {
    int64_t tensor; /* number in the checkpoint */
    char *name;     /* owned */
} msx__save_item;

typedef struct msx__save {
    msx_ctx *ctx;
    const msx_checkpoint *c;
    const msx__tensor_source *source; /* of declared tensors, or NULL */
    msx_dtype dtype;
    msx__save_item *items;
    int64_t n;
    float *values; /* one tensor as it is read ... */
    void *raw;     /* ... and as it is written; NULL when both are float32 */
    msx__output out;
} msx__save;

/* Bytes of item k as written. */
int64_t msx__save_bytes(const msx__save *s, int64_t k);

/* Read item k, rounded to the type of the file, and report progress. The memory is reused by the
 * next call. */
msx_status msx__save_load(msx__save *s, int64_t k, const void **data);

/* After the last item: metadata that was not known before is known now. */
msx_status msx__save_finish(const msx__save *s);

/* The metadata as a JSON object with sorted keys; released with free. */
msx_status msx__save_metadata(const msx__save *s, char **out);

/* Save as msx_checkpoint_save would, but compare with an open file instead of writing: *differs is the
 * first byte that is another one, or -1. */
msx_status msx__save_against(const msx_checkpoint *c, const msx__file *file,
                             const msx_save_options *options, int64_t *differs);

/* Write everything to s->out. */
msx_status msx__write_safetensors(msx__save *s);
msx_status msx__write_torch_zip(msx__save *s);

#endif
