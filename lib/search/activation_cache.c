/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table of chains, whose entries also form one list in the order of their last use. */
#include "search/activation_cache.h"

#include <string.h>

typedef struct entry {
    msx__cache_key key;
    void *value, *payload;
    int64_t bytes;
    msx__cache_release_fn release;
    struct entry *chained;       /* next of its chain */
    struct entry *newer, *older; /* by last use */
} entry;

struct msx__activation_cache {
    msx_ctx *ctx;
    int64_t budget;
    entry **chains;
    uint64_t n_chains; /* a power of two */
    entry *newest, *oldest;
    msx__cache_totals totals;
};

enum { FIRST_CHAINS = 256 };

msx_status msx__activation_cache_create(msx__activation_cache **out, msx_ctx *ctx, int64_t budget) {
    *out = NULL;
    msx__activation_cache *c = msx__calloc(ctx, 1, sizeof *c);
    if (!c) return MSX_E_NOMEM;
    *c = (msx__activation_cache){.ctx = ctx, .budget = budget, .n_chains = FIRST_CHAINS};
    c->chains = msx__calloc(ctx, FIRST_CHAINS, sizeof *c->chains);
    if (!c->chains) {
        msx__free(ctx, c);
        return MSX_E_NOMEM;
    }
    *out = c;
    return MSX_OK;
}

/* ---- the list ---------------------------------------------------------------------------------- */

static void take_out(msx__activation_cache *c, entry *e) {
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
    e->newer = e->older = NULL;
}

static void put_first(msx__activation_cache *c, entry *e) {
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

/* ---- the table --------------------------------------------------------------------------------- */

/* Where the pointer to a key's entry stands, or would stand. */
static entry **find(const msx__activation_cache *c, const msx__cache_key *key) {
    entry **at = &c->chains[key->word[0] & (c->n_chains - 1)];
    while (*at && memcmp(&(*at)->key, key, sizeof *key) != 0) at = &(*at)->chained;
    return at;
}

static void drop(msx__activation_cache *c, entry **at) {
    entry *e = *at;
    *at = e->chained;
    take_out(c, e);
    c->totals.entries--;
    c->totals.bytes -= e->bytes;
    e->release(e->value, e->payload);
    msx__free(c->ctx, e);
}

/* Twice the chains. */
static msx_status widen(msx__activation_cache *c) {
    entry **chains = msx__calloc(c->ctx, 2 * (size_t)c->n_chains, sizeof *chains);
    if (!chains) return MSX_E_NOMEM;
    msx__free(c->ctx, c->chains);
    c->chains = chains;
    c->n_chains *= 2;
    for (entry *e = c->newest; e; e = e->older) {
        entry **head = &chains[e->key.word[0] & (c->n_chains - 1)];
        e->chained = *head;
        *head = e;
    }
    return MSX_OK;
}

/* ---- use --------------------------------------------------------------------------------------- */

void *msx__activation_cache_get(msx__activation_cache *c, const msx__cache_key *key) {
    entry *e = *find(c, key);
    if (!e) {
        c->totals.misses++;
        return NULL;
    }
    c->totals.hits++;
    take_out(c, e);
    put_first(c, e);
    return e->value;
}

static msx_status insert(msx__activation_cache *c, const entry *like) {
    if ((uint64_t)c->totals.entries >= c->n_chains) MSX_TRY(widen(c));
    entry *e = msx__alloc(c->ctx, 1, sizeof *e);
    if (!e) return MSX_E_NOMEM;
    entry **at = find(c, &like->key);
    *e = *like;
    *at = e;
    put_first(c, e);
    c->totals.entries++;
    c->totals.bytes += e->bytes;
    return MSX_OK;
}

msx_status msx__activation_cache_put(msx__activation_cache *c, const msx__cache_key *key,
                                     void *value, int64_t bytes, msx__cache_release_fn release,
                                     void *payload) {
    entry **old = find(c, key);
    if (*old) drop(c, old);
    entry added = {
        .key = *key, .value = value, .payload = payload, .bytes = bytes, .release = release};
    while (c->oldest && bytes <= c->budget && c->totals.bytes > c->budget - bytes) {
        c->totals.evicted++;
        drop(c, find(c, &c->oldest->key));
    }
    msx_status status = bytes <= c->budget ? insert(c, &added) : MSX_OK;
    if (status < 0 || bytes > c->budget) release(value, payload);
    return status;
}

void msx__activation_cache_clear(msx__activation_cache *c) {
    while (c->oldest) drop(c, find(c, &c->oldest->key));
}

void msx__activation_cache_free(msx__activation_cache *c) {
    if (!c) return;
    msx__activation_cache_clear(c);
    msx__free(c->ctx, c->chains);
    msx__free(c->ctx, c);
}

void msx__activation_cache_totals(const msx__activation_cache *c, msx__cache_totals *out) {
    *out = c->totals;
}

int64_t msx__activation_cache_budget(const msx__activation_cache *c) {
    return c->budget;
}
