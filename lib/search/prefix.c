/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of what the encoder's intermediate results depend on. */
#include "search/prefix.h"

#include "merge/merger.h"

#include <string.h>

/* The groups of one block each stand in the network's order: patch embedding, position, blocks, neck, then
 * what is not the encoder's. */
msx_status msx__encoder_uses(int64_t **out, msx_ctx *ctx, const msx_arch *arch) {
    int64_t n = msx_arch_tensor_count(arch), depth = msx_arch_get(arch, MSX_ARCH_DEPTH);
    msx_groups *blocks;
    *out = NULL;
    MSX_TRY(msx_groups_create(&blocks, ctx, arch, NULL));
    int64_t *use = msx__alloc(ctx, (size_t)n, sizeof *use);
    for (int64_t t = 0; use && t < n; t++) {
        int64_t unit = msx__groups_of(blocks, t);
        use[t] = unit < 0 || unit > depth + 2 ? -1 : unit < 2 ? 0 : unit - 1;
    }
    msx_groups_free(blocks);
    *out = use;
    return use ? MSX_OK : MSX_E_NOMEM;
}

/* How a tensor is made. */
static void add_recipe(msx__sha256 *h, const msx__schedule *s, const msx_merger *m,
                       int64_t tensor) {
    const msx__recipe *r = msx__schedule_recipe(s, tensor);
    const char *method = r ? r->method->name : "";
    msx__sha256_add(h, method, strlen(method) + 1);
    if (!r) return;
    for (size_t k = 0; k < s->n_models; k++) {
        const char *name = m->names[s->models[k]];
        msx__sha256_add(h, name, strlen(name) + 1);
    }
    msx__sha256_add(h, r->values, r->n_values * sizeof *r->values);
}

static void digest_all(msx__prefix *p, const msx__schedule *s, const msx_merger *m,
                       const int64_t *use) {
    for (int64_t k = 0; k < p->depth + 2; k++) {
        msx__sha256 h;
        msx__sha256_begin(&h);
        if (k) msx__sha256_add(&h, p->digest[k - 1], sizeof *p->digest);
        for (int64_t t = 0; t < m->n_tensors; t++)
            if (use[t] == k) add_recipe(&h, s, m, t);
        msx__sha256_end(&h, p->digest[k]);
    }
}

/* Boundaries before the first use of every group that is merged. */
static msx_status find_parts(msx__prefix *p, const msx__schedule *s, const msx_merger *m,
                             const int64_t *use) {
    int64_t groups = msx_groups_count(s->groups);
    int64_t *first = msx__alloc(p->ctx, (size_t)groups, sizeof *first);
    if (!first) return MSX_E_NOMEM;
    for (int64_t g = 0; g < groups; g++) first[g] = INT64_MAX;
    for (int64_t t = 0; t < m->n_tensors; t++) {
        int64_t g = msx__groups_of(s->groups, t);
        bool merged = g >= 0 && msx__schedule_recipe(s, t);
        if (merged && use[t] >= 0 && use[t] < first[g]) first[g] = use[t];
    }
    for (int64_t g = 0; g < groups; g++)
        if (first[g] > 0 && first[g] < INT64_MAX) p->parts[first[g] - 1] = true;
    msx__free(p->ctx, first);
    return MSX_OK;
}

static msx_status fill(msx__prefix *p, const msx_merger *m, const msx_plan *plan) {
    size_t n = (size_t)p->depth + 2;
    msx__schedule s = {0};
    int64_t *use;
    MSX_TRY(msx__encoder_uses(&use, p->ctx, m->arch));
    p->digest = msx__alloc(p->ctx, n, sizeof *p->digest);
    p->parts = msx__calloc(p->ctx, n, sizeof *p->parts);
    msx_status status = p->digest && p->parts ? MSX_OK : MSX_E_NOMEM;
    if (status >= 0)
        status = msx__schedule_create(&s, plan, m->arch, (const char *const *)m->names, m->n);
    if (status >= 0) {
        digest_all(p, &s, m, use);
        status = find_parts(p, &s, m, use);
    }
    msx__schedule_free(&s);
    msx__free(p->ctx, use);
    return status;
}

msx_status msx__prefix_create(msx__prefix *out, const msx_merger *merger, const msx_plan *plan) {
    *out = (msx__prefix){.ctx = merger->ctx, .depth = msx_arch_get(merger->arch, MSX_ARCH_DEPTH)};
    msx_status status = fill(out, merger, plan);
    if (status < 0) msx__prefix_free(out);
    return status;
}

void msx__prefix_free(msx__prefix *p) {
    if (!p->ctx) return;
    msx__free(p->ctx, p->digest);
    msx__free(p->ctx, p->parts);
    *p = (msx__prefix){0};
}

msx__cache_key msx__prefix_key(const msx__prefix *p, int64_t boundary, int64_t first, int64_t n) {
    const int64_t numbers[] = {boundary, first, n};
    uint8_t digest[MSX__SHA256_BYTES];
    msx__sha256 h;
    msx__sha256_begin(&h);
    msx__sha256_add(&h, p->digest[boundary], sizeof *p->digest);
    msx__sha256_add(&h, numbers, sizeof numbers);
    msx__sha256_end(&h, digest);
    msx__cache_key key;
    memcpy(&key, digest, sizeof key);
    return key;
}
