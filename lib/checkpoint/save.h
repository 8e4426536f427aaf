/* SPDX-License-Identifier: Apache-2.0 */
/* What the writers share: the list of tensors to write under their final names, and their bytes. */
#ifndef MSX_CHECKPOINT_SAVE_H
#define MSX_CHECKPOINT_SAVE_H

#include "checkpoint/internal.h"
#include "checkpoint/stream.h"

/* What an index of shards says of their size, so that they can be compared with a rebuild. */
#define MSX__SHARD_BYTES_KEY "medsamix.shard_bytes"

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
    bool hf;       /* names of transformers */
    int64_t shard_bytes;
    bool draft; /* do not wait for the disk */
    const char *path;
    const msx_checkpoint *against; /* compare with its files instead of writing */
    msx__output out;               /* the file, or the index of shards */
    int64_t differs_in;            /* shard that differs first, from 1; 0: none does */
    int64_t differs;               /* its byte */
} msx__save;

/* Open a file to write. */
msx_status msx__save_open(const msx__save *s, msx__output *out, const char *path);

/* Bytes of item k as written. */
int64_t msx__save_bytes(const msx__save *s, int64_t k);

/* Read item k from element `first` on, rounded to the type of the file, and report progress: *n elements,
 * all of them unless the save has a source. The memory is reused by the next call. */
msx_status msx__save_load(msx__save *s, int64_t k, int64_t first, const void **data, int64_t *n);
/* Write item k; `crc` (NULL: not wanted) becomes the checksum of its bytes. */
msx_status msx__save_item_to(msx__save *s, int64_t k, msx__output *out, uint32_t *crc);

/* After the last item: metadata that was not known before is known now. */
msx_status msx__save_finish(const msx__save *s);

/* The metadata as a JSON object with sorted keys; released with free. */
msx_status msx__save_metadata(const msx__save *s, char **out);

/* Save as msx_checkpoint_save would, but compare with an open checkpoint's files instead of writing:
 * *differs is the first byte that is another one, or -1, *shard the shard it is in, from 1, or 0. */
msx_status msx__save_against(const msx_checkpoint *c, const msx_checkpoint *file,
                             const msx_save_options *options, int64_t *differs, int64_t *shard);

/* Write everything to s->out. */
msx_status msx__write_safetensors(msx__save *s);
msx_status msx__write_torch_zip(msx__save *s);
msx_status msx__write_sharded(msx__save *s);

/* A safetensors file of the items [first, last), with metadata as a JSON object. The header's length is
 * what a later call with metadata of the same length gives again. */
typedef struct msx__save_part {
    int64_t first, last;
    const char *metadata;
} msx__save_part;
msx_status msx__write_part(msx__save *s, const msx__save_part *part, msx__output *out,
                           uint64_t *header_bytes);
/* The header alone, appended. */
msx_status msx__part_header(msx__save *s, const msx__save_part *part, msx__buffer *header);

#endif
