/* SPDX-License-Identifier: Apache-2.0 */
/* The checkpoint handle and what its readers share. Only lib/checkpoint includes this.
 *
 * A reader (safetensors.c, torch.c) describes every tensor it accepts with msx__checkpoint_push();
 * names.c then turns the names of the file into official ones; msx__checkpoint_index() makes them
 * findable and refuses duplicates. */
#ifndef MSX_CHECKPOINT_INTERNAL_H
#define MSX_CHECKPOINT_INTERNAL_H

#include "core/core.h"
#include "core/file.h"

#include <medsamix/arch.h>
#include <medsamix/checkpoint.h>

#include <stdatomic.h>

typedef struct msx__tensor {
    char *name; /* owned */
    msx_dtype dtype;
    int rank;
    int64_t dims[MSX_MAX_RANK];
    int64_t strides[MSX_MAX_RANK]; /* in elements, >= 0 */
    int64_t elements;
    int64_t span;    /* elements from the first to the last one touched; 0 when empty */
    int64_t offset;  /* of the first element in the file, in bytes */
    int64_t storage; /* torch zip: number of the storage it lies in; else -1 */
    int64_t shard;   /* in c->shards, from 1; 0: in the file itself */
    float *data;     /* in memory: owned, row-major; NULL when only declared (stream.h) */
} msx__tensor;

typedef struct msx__meta {
    char *key, *value; /* owned */
} msx__meta;

/* A run of elements in a torch file, which one tensor or several views share. */
typedef struct msx__storage {
    const char *key;      /* while the file is being opened */
    int64_t offset, size; /* in the file, in bytes */
    int64_t numel;        /* -1 until an id of it was met */
    msx_dtype dtype;      /* 0: bytes without a type, or a type that is not read */
    size_t item;          /* bytes of an element */
    uint32_t crc;         /* 0: not recorded */
    atomic_bool checked;  /* the data was read once and its CRC is right */
} msx__storage;

struct msx_checkpoint {
    msx_ctx *ctx;
    msx__file file; /* zero in memory */
    bool in_memory;
    const char *container, *scheme; /* literals */
    char nesting[48];
    char *prefix; /* owned, or NULL for "" */
    msx__tensor *tensors;
    int64_t n, capacity;
    int64_t *by_name;       /* n positions in the order of names */
    msx__storage *storages; /* in the order of keys */
    int64_t n_storages;
    msx_checkpoint **shards; /* the files that an index names, in the order of their names */
    int64_t n_shards;
    msx__meta *metas;
    int64_t n_metas, metas_capacity;
    msx__file_tap *taps;          /* of the file and of the shards; NULL: reads are not hashed */
    char sha256[MSX__SHA256_HEX]; /* of the file; "" until asked for */
};

/* Path of the file, or "checkpoint in memory": the start of messages. */
const char *msx__checkpoint_label(const msx_checkpoint *c);

/* True for names that can be printed on one line and kept in every container: UTF-8 without control
 * characters, 1 to 511 bytes. */
bool msx__name_is_sane(const char *name);

/* Append a tensor; `t->name`, which must be sane, is copied, the rest is taken as it is. Checks the
 * limit on the number of tensors; does not look for duplicates. */
msx_status msx__checkpoint_push(msx_checkpoint *c, const msx__tensor *t);

/* MSX_E_LIMIT for a tensor that is too large as float32. After everything that shows a file to be
 * broken, so that a damaged size is called damaged. */
msx_status msx__check_tensor_bytes(const msx_checkpoint *c, const char *where,
                                   const msx__tensor *t);

/* Sort the names; two tensors of one name are MSX_E_FORMAT. */
msx_status msx__checkpoint_index(msx_checkpoint *c);

/* Append metadata without looking for the key. */
msx_status msx__checkpoint_push_meta(msx_checkpoint *c, const char *key, const char *value);

/* Row-major strides of a shape whose product fits. */
void msx__contiguous_strides(int rank, const int64_t *dims, int64_t *strides);
bool msx__is_contiguous(const msx__tensor *t);

/* "(3, 16, 16)" for messages. */
const char *msx__shape_text(int rank, const int64_t *dims, char *out, size_t bytes);

/* ---- element types (dtype.c) --------------------------------------------------------------- */

bool msx__dtype_is_float(msx_dtype dtype);
/* `n` elements of a floating type to float32, and back with rounding to nearest even. `in` and `out`
 * of the raw side need no alignment. */
void msx__to_f32(msx_dtype dtype, const void *in, float *out, int64_t n);
void msx__from_f32(msx_dtype dtype, const float *in, void *out, int64_t n);

/* ---- containers ---------------------------------------------------------------------------- */

/* Each fills a handle whose file is open. */
msx_status msx__safetensors_open(msx_checkpoint *c);
msx_status msx__torch_zip_open(msx_checkpoint *c);
msx_status msx__torch_legacy_open(msx_checkpoint *c);
msx_status msx__sharded_open(msx_checkpoint *c);

/* MSX_E_LIMIT for the header of more tensors than the limit allows, before memory is spent on it. */
msx_status msx__checkpoint_check_json(const msx_checkpoint *c, const char *text, size_t n);
/* JSON that lies at byte `at` of the file; `what` is for messages. Released with json_decref. */
struct json_t;
msx_status msx__checkpoint_parse_json(const msx_checkpoint *c, const char *what, int64_t at,
                                      const char *text, size_t n, struct json_t **out);
/* Metadata from a JSON object of strings. */
msx_status msx__checkpoint_parse_meta(msx_checkpoint *c, const char *what, struct json_t *object);

/* ---- names --------------------------------------------------------------------------------- */

/* Strip the wrapper prefix and translate HF names; sets prefix and scheme. */
msx_status msx__checkpoint_settle_names(msx_checkpoint *c);

/* HF SamModel name to official one and back, into a buffer; false when the name has no counterpart
 * in the other scheme or does not fit. */
#define MSX__NAME_BYTES 512
bool msx__name_from_hf(const char *hf, char out[MSX__NAME_BYTES]);
bool msx__name_to_hf(const char *official, char out[MSX__NAME_BYTES]);

#endif
