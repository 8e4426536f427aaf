/* SPDX-License-Identifier: Apache-2.0 */
/* For checkpoints that are too large to be in memory at once: hashing inputs while they are read, and
 * saving tensors that are made while they are written. */
#ifndef MSX_CHECKPOINT_STREAM_H
#define MSX_CHECKPOINT_STREAM_H

#include <medsamix/checkpoint.h>

/* From now on reading tensors of a file also computes its SHA-256, and msx_checkpoint_sha256 reads
 * only the bytes that no tensor needed. One thread at a time may use the checkpoint. What a tensor was
 * read into must stay as it is until the hashes are settled. */
msx_status msx__checkpoint_hash_reads(msx_checkpoint *c);
/* Of n checkpoints together, which is faster than one after the other: hash what was read; hash up to
 * where a tensor begins, or to the end (NULL). A file that cannot be read stays behind and fails when it
 * is read itself. */
void msx__checkpoint_settle_hashes(msx_checkpoint *const *c, size_t n);
void msx__checkpoint_hash_ahead(msx_checkpoint *const *c, size_t n, const char *tensor);

/* Add a tensor without data to a checkpoint in memory that is then saved from a source. */
msx_status msx__checkpoint_declare(msx_checkpoint *c, const char *name, int rank,
                                   const int64_t *dims);

/* Where the data of declared tensors comes from. */
typedef struct msx__tensor_source {
    /* Data of a tensor, asked for in the order of the tensors, perhaps twice in a row. Valid until
     * the next call. Reports progress. */
    msx_status (*load)(void *payload, int64_t tensor, const float **values);
    /* All tensors have been written: set the metadata that was not known before. Values must keep
     * their length. */
    msx_status (*finish)(void *payload);
    void *payload;
} msx__tensor_source;

/* As msx_checkpoint_save. */
msx_status msx__checkpoint_save_from(const msx_checkpoint *c, const msx__tensor_source *source,
                                     const char *path, const msx_save_options *options);

#endif
