/* SPDX-License-Identifier: Apache-2.0 */
/* Files: reading at offsets, reading whole small files, and writing that appears when complete. */
#ifndef MSX_CORE_FILE_H
#define MSX_CORE_FILE_H

#include "core/core.h"

/* ---- reading --------------------------------------------------------------------------------- */

/* SHA-256 of a file made of the reads that pass by: what a read skips is read for it, what lies before
 * an earlier read is in it already. So reads in any order hash every byte once. */
typedef struct msx__file_tap {
    msx__sha256 hash;
    int64_t next;        /* all bytes before this one are in the hash, or wait to be */
    const void *waiting; /* bytes of the last lasting read that are not in the hash yet */
    size_t n_waiting;
    struct msx__hash_queue
        *queue;    /* hashes beside the reading (core/hash_queue.h); NULL: none does */
    size_t number; /* of the tap there */
} msx__file_tap;

typedef struct msx__file {
    msx_ctx *ctx;
    char *path; /* for messages */
    int fd;
    int64_t size;
    msx__file_tap *tap; /* NULL: reads are not hashed. Otherwise one thread at a time reads */
} msx__file;

/* Open a regular file; directories, devices and pipes are MSX_E_IO. */
msx_status msx__file_open(msx__file *f, msx_ctx *ctx, const char *path);
void msx__file_close(msx__file *f); /* accepts a zeroed struct */

/* Read exactly n bytes at an offset; a range outside the file is MSX_E_FORMAT ("truncated"). Several
 * threads may read at the same time. */
msx_status msx__file_read(const msx__file *f, int64_t offset, void *out, size_t n);

/* As above into memory that stays as it is until the tap is settled or used again: several files are hashed
 * faster together. */
msx_status msx__file_read_lasting(const msx__file *f, int64_t offset, void *out, size_t n);

/* The whole file with a NUL behind it, at most `limit` bytes. Released with msx__free. */
msx_status msx__read_whole(msx_ctx *ctx, const char *path, int64_t limit, char **out,
                           size_t *bytes);

void msx__file_tap_begin(msx__file_tap *tap);
/* For n <= MSX__TAPS files at once: hash what waits; read on and hash up to a byte of each. */
#define MSX__TAPS 3
void msx__file_tap_settle(msx__file_tap *const *taps, size_t n);
msx_status msx__file_hash_up_to(const msx__file *const *files, const int64_t *ends, size_t n);

/* SHA-256 of an open file, and of one by its path. With a tap only what it has not seen is read. */
msx_status msx__file_hash(const msx__file *f, char out[MSX__SHA256_HEX]);
msx_status msx__file_sha256(msx_ctx *ctx, const char *path, char out[MSX__SHA256_HEX]);

/* ---- writing --------------------------------------------------------------------------------- */

/* Writes to a hidden file beside `path`, which replaces it on commit. */
typedef struct msx__output {
    msx_ctx *ctx;
    char *path, *temporary;
    int fd;
    int64_t offset; /* bytes written so far */
    int64_t begun;  /* of these, given to the disk already */
    bool draft;     /* set behind msx__output_open: do not wait for the disk */
    char *pending;
    size_t n_pending;
    const msx__file *against; /* compare instead of writing */
    int64_t differs;          /* first byte that is not the one there; -1: none so far */
} msx__output;

msx_status msx__output_open(msx__output *o, msx_ctx *ctx, const char *path);
msx_status msx__output_write(msx__output *o, const void *bytes, size_t n);
/* Replace bytes that were written before. Not while comparing. */
msx_status msx__output_patch(msx__output *o, int64_t offset, const void *bytes, size_t n);
/* Flush, fsync unless a draft, rename. The struct is finished whatever is returned. */
msx_status msx__output_commit(msx__output *o);
/* The same up to the rename, which a later commit does: of several files none appears before all are
 * complete, and no more than one is open at a time. */
msx_status msx__output_complete(msx__output *o);
/* Write nothing, but compare what is written with an open file, which must outlive the struct. After
 * the commit o->differs is the first byte that is another one or that only one of them has, or -1. */
void msx__output_compare(msx__output *o, msx_ctx *ctx, const msx__file *against);
/* Remove the unfinished file. Accepts a zeroed or finished struct. */
void msx__output_discard(msx__output *o);

/* Write a whole file at once. */
msx_status msx__write_whole(msx_ctx *ctx, const char *path, const void *bytes, size_t n);

#endif
