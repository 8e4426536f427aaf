/* SPDX-License-Identifier: Apache-2.0 */
/* What was computed, kept within a budget of memory: the least recently used goes first. */
#ifndef MSX_SEARCH_ACTIVATION_CACHE_H
#define MSX_SEARCH_ACTIVATION_CACHE_H

#include "core/core.h"

/* Half of a SHA-256 over everything that a value depends on: no two of them are ever equal by chance. */
typedef struct msx__cache_key {
    uint64_t word[2];
} msx__cache_key;

typedef void (*msx__cache_release_fn)(void *value, void *payload);

typedef struct msx__activation_cache msx__activation_cache;

/* What it did so far, and what it holds. */
typedef struct msx__cache_totals {
    int64_t hits, misses, entries, bytes, evicted;
} msx__cache_totals;

/* `budget` in bytes; 0 keeps nothing. */
msx_status msx__activation_cache_create(msx__activation_cache **out, msx_ctx *ctx, int64_t budget);
void msx__activation_cache_free(msx__activation_cache *c); /* accepts NULL */

/* The value of a key, which becomes the most recently used one, or NULL. It is the cache's and valid until
 * the next put or clear. */
void *msx__activation_cache_get(msx__activation_cache *c, const msx__cache_key *key);

/* Keep a value of `bytes` bytes under a key, in place of an earlier one. It is taken over in every case: one
 * that does not fit is released at once, as is any on failure. */
msx_status msx__activation_cache_put(msx__activation_cache *c, const msx__cache_key *key,
                                     void *value, int64_t bytes, msx__cache_release_fn release,
                                     void *payload);

/* Release everything. */
void msx__activation_cache_clear(msx__activation_cache *c);

void msx__activation_cache_totals(const msx__activation_cache *c, msx__cache_totals *out);
int64_t msx__activation_cache_budget(const msx__activation_cache *c);

#endif
