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

/* Hash what is read of n checkpoints on `threads` threads of their own from now on; all reading is on one
 * thread. *out stays NULL where no checkpoint hashes reads. */
struct msx__hash_queue;
msx_status msx__checkpoint_hash_beside(struct msx__hash_queue **out, msx_checkpoint *const *c,
                                       size_t n, int threads);
/* Number of taps that the queue of these has. */
size_t msx__checkpoint_taps(msx_checkpoint *const *c, size_t n);

/* Sort numbers of tensors by where their data lies, so that reading them goes through the file once. */
void msx__checkpoint_sort_by_place(const msx_checkpoint *c, int64_t *tensors, int64_t n);

/* A tensor that is read in pieces, in order from its first element to its last: each is in the cache when
 * it is used. False for views and for tensors that share a storage whose checksum is yet to be verified. */
bool msx__checkpoint_has_pieces(const msx_checkpoint *c, int64_t i);
/* `n` elements from number `first` on; `crc` is carried from the first piece to the last, which verifies
 * it. Reads as msx_checkpoint_read does, and lasts as long. */
msx_status msx__checkpoint_read_piece(const msx_checkpoint *c, int64_t i, int64_t first, int64_t n,
                                      float *out, uint32_t *crc);
/* Every tensor is float32 and read in pieces, so that what is hashed is what was read. */
bool msx__checkpoint_is_plain(const msx_checkpoint *c);
/* The first n elements of such a tensor, without hashing and without verifying. */
msx_status msx__checkpoint_peek(const msx_checkpoint *c, int64_t i, int64_t n, float *out);

/* Add a tensor without data to a checkpoint in memory that is then saved from a source. */
msx_status msx__checkpoint_declare(msx_checkpoint *c, const char *name, int rank,
                                   const int64_t *dims);

/* Where the data of declared tensors comes from. */
typedef struct msx__tensor_source {
    /* Data of a tensor from element `first` on, as much as there is at once: *n elements, not none
     * unless the tensor has none. Asked for in order, a tensor that fits into one piece perhaps twice in
     * a row. Valid until the next call. Reports progress. */
    msx_status (*load)(void *payload, int64_t tensor, int64_t first, const float **values,
                       int64_t *n);
    /* All tensors have been written: set the metadata that was not known before. Values must keep
     * their length. */
    msx_status (*finish)(void *payload);
    void *payload;
} msx__tensor_source;

/* The caller's options, which may be those of an earlier version, in a struct of this one. */
msx_status msx__save_options_take(msx_save_options *o, msx_ctx *ctx,
                                  const msx_save_options *options);

/* As msx_checkpoint_save. */
msx_status msx__checkpoint_save_from(const msx_checkpoint *c, const msx__tensor_source *source,
                                     const char *path, const msx_save_options *options);

#endif
