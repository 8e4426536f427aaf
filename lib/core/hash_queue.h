/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing on threads of its own: what is read through taps (core/file.h) is hashed beside the reading, several
 * files together, which is faster than one after the other. */
#ifndef MSX_CORE_HASH_QUEUE_H
#define MSX_CORE_HASH_QUEUE_H

#include "core/file.h"

typedef struct msx__hash_queue msx__hash_queue;

/* For n taps, at most `threads` threads (at least one, at most one a tap). Then lasting reads of their files
 * stay as they are until the queue has been waited for, and all of them are on one thread. */
msx_status msx__hash_queue_start(msx__hash_queue **out, msx_ctx *ctx, msx__file_tap *const *taps,
                                 size_t n, int threads);

/* Hash what was read since the last call. */
void msx__hash_queue_go(msx__hash_queue *q);

/* How much of every tap has been handed over, and waiting until that is hashed, which helps to hash.
 * marks (n) */
void msx__hash_queue_mark(const msx__hash_queue *q, uint64_t *marks);
void msx__hash_queue_wait(msx__hash_queue *q, const uint64_t *marks);

/* Hash the rest, stop the threads; the taps are as without a queue. Accepts NULL. */
void msx__hash_queue_stop(msx__hash_queue *q);

/* ---- for core/file.c ----------------------------------------------------------------------------- */

/* Hand over bytes that follow what the tap has seen, and stay. */
void msx__hash_queue_add(msx__hash_queue *q, size_t tap, const void *bytes, size_t n);
/* Room for bytes that no one else keeps, of MSX__HASH_GAP; NULL without memory (the error is set). */
#define MSX__HASH_GAP ((size_t)1 << 15)
void *msx__hash_queue_gap(msx__hash_queue *q, size_t tap);

#endif
