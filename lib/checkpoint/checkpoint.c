/* SPDX-License-Identifier: Apache-2.0 */
/* The checkpoint handle: its list of tensors, finding by name, metadata, and where it came from. */
#include "checkpoint/internal.h"
#include "checkpoint/stream.h"
#include "core/hash_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *msx__checkpoint_label(const msx_checkpoint *c) {
    return c->in_memory ? "checkpoint in memory" : c->file.path;
}

msx_status msx_checkpoint_create(msx_checkpoint **out, msx_ctx *ctx) {
    if (!out || !ctx) return ctx ? msx__fail(ctx, MSX_E_ARG, "out is NULL") : MSX_E_ARG;
    *out = NULL;
    msx_checkpoint *c = msx__calloc(ctx, 1, sizeof *c);
    if (!c) return MSX_E_NOMEM;
    c->ctx = ctx;
    c->file.fd = -1;
    c->in_memory = true;
    c->container = "memory";
    c->scheme = "other";
    *out = c;
    return MSX_OK;
}

void msx_checkpoint_free(msx_checkpoint *c) {
    if (!c) return;
    msx_ctx *ctx = c->ctx;
    for (int64_t i = 0; i < c->n; i++) {
        msx__free(ctx, c->tensors[i].name);
        msx__free(ctx, c->tensors[i].data);
    }
    for (int64_t i = 0; i < c->n_metas; i++) {
        msx__free(ctx, c->metas[i].key);
        msx__free(ctx, c->metas[i].value);
    }
    msx__free(ctx, c->tensors);
    msx__free(ctx, c->by_name);
    msx__free(ctx, c->storages);
    for (int64_t i = 0; i < c->n_shards; i++) msx_checkpoint_free(c->shards[i]);
    msx__free(ctx, c->shards);
    msx__free(ctx, c->metas);
    msx__free(ctx, c->prefix);
    msx__free(ctx, c->taps);
    msx__file_close(&c->file);
    msx__free(ctx, c);
}

/* ---- the list ------------------------------------------------------------------------------ */

void msx__contiguous_strides(int rank, const int64_t *dims, int64_t *strides) {
    int64_t stride = 1;
    for (int a = rank - 1; a >= 0; a--) {
        strides[a] = stride;
        if (dims[a] > 1) stride *= dims[a];
    }
}

bool msx__is_contiguous(const msx__tensor *t) {
    int64_t strides[MSX_MAX_RANK];
    msx__contiguous_strides(t->rank, t->dims, strides);
    for (int a = 0; a < t->rank; a++)
        if (t->dims[a] > 1 && t->strides[a] != strides[a]) return false;
    return true;
}

const char *msx__shape_text(int rank, const int64_t *dims, char *out, size_t bytes) {
    size_t at = (size_t)snprintf(out, bytes, "(");
    for (int a = 0; a < rank && at < bytes; a++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%" PRId64, a ? ", " : "", dims[a]);
    if (at < bytes) snprintf(out + at, bytes - at, ")");
    return out;
}

bool msx__name_is_sane(const char *name) {
    return msx__is_line(name, MSX__NAME_BYTES - 1);
}

msx_status msx__checkpoint_push(msx_checkpoint *c, const msx__tensor *t) {
    int64_t limit = msx_ctx_limit(c->ctx, MSX_LIMIT_TENSORS);
    if (c->n >= limit)
        return msx__fail(c->ctx, MSX_E_LIMIT,
                         "%s: more than %" PRId64 " tensors; raise the limit if that is meant",
                         msx__checkpoint_label(c), limit);
    if (c->n == c->capacity) {
        int64_t capacity = c->capacity ? 2 * c->capacity : 64;
        msx__tensor *tensors =
            msx__realloc(c->ctx, c->tensors, (size_t)capacity, sizeof *c->tensors);
        if (!tensors) return MSX_E_NOMEM;
        c->tensors = tensors;
        int64_t *by_name = msx__realloc(c->ctx, c->by_name, (size_t)capacity, sizeof *c->by_name);
        if (!by_name) return MSX_E_NOMEM;
        c->by_name = by_name;
        c->capacity = capacity;
    }
    char *name = msx__strdup(c->ctx, t->name);
    if (!name) return MSX_E_NOMEM;
    c->tensors[c->n] = *t;
    c->tensors[c->n].name = name;
    c->n++;
    return MSX_OK;
}

msx_status msx__check_tensor_bytes(const msx_checkpoint *c, const char *where,
                                   const msx__tensor *t) {
    int64_t bytes, limit = msx_ctx_limit(c->ctx, MSX_LIMIT_TENSOR_BYTES);
    if (msx__mul(t->elements, sizeof(float), &bytes) && bytes <= limit) return MSX_OK;
    return msx__fail(c->ctx, MSX_E_LIMIT,
                     "%s: tensor '%s': larger than the limit of %" PRId64 " bytes", where, t->name,
                     limit);
}

static int compare_names(const void *a, const void *b, void *tensors) {
    const msx__tensor *t = tensors;
    return strcmp(t[*(const int64_t *)a].name, t[*(const int64_t *)b].name);
}

msx_status msx__checkpoint_index(msx_checkpoint *c) {
    for (int64_t i = 0; i < c->n; i++) c->by_name[i] = i;
    if (c->n > 1) qsort_r(c->by_name, (size_t)c->n, sizeof *c->by_name, compare_names, c->tensors);
    for (int64_t i = 1; i < c->n; i++) {
        const char *name = c->tensors[c->by_name[i]].name;
        if (!strcmp(name, c->tensors[c->by_name[i - 1]].name))
            return msx__fail(c->ctx, MSX_E_FORMAT,
                             "%s: tensor '%s' occurs twice; save it again with one of each",
                             msx__checkpoint_label(c), name);
    }
    return MSX_OK;
}

/* Position in by_name of the first name that is not smaller. */
static int64_t lower_bound(const msx_checkpoint *c, const char *name) {
    int64_t low = 0, high = c->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (strcmp(c->tensors[c->by_name[middle]].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t msx_checkpoint_find(const msx_checkpoint *c, const char *name) {
    if (!c || !name) return -1;
    int64_t at = lower_bound(c, name);
    if (at == c->n || strcmp(c->tensors[c->by_name[at]].name, name)) return -1;
    return c->by_name[at];
}

/* With `values`, the tensor holds a copy of `data`, or zeros; without, it is only declared. */
static msx_status add_tensor(msx_checkpoint *c, const char *name, int rank, const int64_t *dims,
                             const float *data, bool values) {
    if (!c) return MSX_E_ARG;
    msx_ctx *ctx = c->ctx;
    if (!c->in_memory)
        return msx__fail(ctx, MSX_E_ARG, "%s: tensors are added to checkpoints in memory only",
                         msx__checkpoint_label(c));
    if (!name || !msx__name_is_sane(name))
        return msx__fail(ctx, MSX_E_ARG,
                         "a tensor needs a name of 1 to %d bytes of printable UTF-8",
                         MSX__NAME_BYTES - 1);
    if (rank < 0 || rank > MSX_MAX_RANK || (rank > 0 && !dims))
        return msx__fail(ctx, MSX_E_ARG, "tensor '%s': rank %d is outside 0..%d, or no extents",
                         name, rank, MSX_MAX_RANK);
    int64_t elements, bytes, limit = msx_ctx_limit(ctx, MSX_LIMIT_TENSOR_BYTES);
    for (int a = 0; a < rank; a++)
        if (dims[a] < 0)
            return msx__fail(ctx, MSX_E_ARG, "tensor '%s': extent %" PRId64 " of axis %d", name,
                             dims[a], a);
    if (!msx__product(dims, rank, &elements) || !msx__mul(elements, sizeof *data, &bytes) ||
        bytes > limit)
        return msx__fail(ctx, MSX_E_LIMIT,
                         "tensor '%s': larger than the limit of %" PRId64 " bytes", name, limit);
    int64_t at = lower_bound(c, name);
    if (at < c->n && !strcmp(c->tensors[c->by_name[at]].name, name))
        return msx__fail(ctx, MSX_E_EXISTS, "tensor '%s' exists already", name);
    msx__tensor t = {.name = (char *)name, .dtype = MSX_DTYPE_F32, .rank = rank, .storage = -1};
    if (rank) memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    msx__contiguous_strides(rank, t.dims, t.strides);
    t.elements = t.span = elements;
    if (values) {
        t.data = data ? msx__alloc(ctx, (size_t)elements, sizeof *data)
                      : msx__calloc(ctx, (size_t)elements, sizeof *data);
        if (!t.data) return MSX_E_NOMEM;
        if (data && elements) memcpy(t.data, data, (size_t)bytes);
    }
    msx_status status = msx__checkpoint_push(c, &t);
    if (status < 0) {
        msx__free(ctx, t.data);
        return status;
    }
    memmove(c->by_name + at + 1, c->by_name + at, (size_t)(c->n - 1 - at) * sizeof *c->by_name);
    c->by_name[at] = c->n - 1;
    if (!strncmp(name, "image_encoder.", 14) || !strncmp(name, "mask_decoder.", 13))
        c->scheme = "official";
    return MSX_OK;
}

msx_status msx_checkpoint_add(msx_checkpoint *c, const char *name, int rank, const int64_t *dims,
                              const float *data) {
    return add_tensor(c, name, rank, dims, data, true);
}

msx_status msx__checkpoint_declare(msx_checkpoint *c, const char *name, int rank,
                                   const int64_t *dims) {
    return add_tensor(c, name, rank, dims, NULL, false);
}

static const msx__tensor *tensor_at(const msx_checkpoint *c, int64_t i) {
    return c && i >= 0 && i < c->n ? c->tensors + i : NULL;
}

int64_t msx_checkpoint_count(const msx_checkpoint *c) {
    return c ? c->n : 0;
}
const char *msx_checkpoint_name(const msx_checkpoint *c, int64_t i) {
    const msx__tensor *t = tensor_at(c, i);
    return t ? t->name : NULL;
}
msx_dtype msx_checkpoint_dtype(const msx_checkpoint *c, int64_t i) {
    const msx__tensor *t = tensor_at(c, i);
    return t ? t->dtype : (msx_dtype)0;
}
int msx_checkpoint_rank(const msx_checkpoint *c, int64_t i) {
    const msx__tensor *t = tensor_at(c, i);
    return t ? t->rank : -1;
}
int64_t msx_checkpoint_dim(const msx_checkpoint *c, int64_t i, int axis) {
    const msx__tensor *t = tensor_at(c, i);
    return t && axis >= 0 && axis < t->rank ? t->dims[axis] : -1;
}
int64_t msx_checkpoint_elements(const msx_checkpoint *c, int64_t i) {
    const msx__tensor *t = tensor_at(c, i);
    return t ? t->elements : -1;
}
float *msx_checkpoint_data(msx_checkpoint *c, int64_t i) {
    const msx__tensor *t = tensor_at(c, i);
    return t ? t->data : NULL;
}

/* ---- provenance ---------------------------------------------------------------------------- */

const char *msx_checkpoint_path(const msx_checkpoint *c) {
    return c && !c->in_memory ? c->file.path : "";
}
const char *msx_checkpoint_container(const msx_checkpoint *c) {
    return c ? c->container : "";
}
const char *msx_checkpoint_nesting(const msx_checkpoint *c) {
    return c ? c->nesting : "";
}
const char *msx_checkpoint_prefix(const msx_checkpoint *c) {
    return c && c->prefix ? c->prefix : "";
}
const char *msx_checkpoint_scheme(const msx_checkpoint *c) {
    return c ? c->scheme : "";
}

/* Names, shapes and data, each preceded by its size so that no two lists give the same bytes. */
static void hash_memory(const msx_checkpoint *c, char out[MSX__SHA256_HEX]) {
    msx__sha256 h;
    msx__sha256_begin(&h);
    for (int64_t i = 0; i < c->n; i++) {
        const msx__tensor *t = c->tensors + i;
        int64_t sizes[2] = {(int64_t)strlen(t->name), t->rank};
        msx__sha256_add(&h, sizes, sizeof sizes);
        msx__sha256_add(&h, t->name, (size_t)sizes[0]);
        msx__sha256_add(&h, t->dims, (size_t)t->rank * sizeof *t->dims);
        msx__sha256_add(&h, t->data, (size_t)t->elements * sizeof *t->data);
    }
    msx__sha256_hex(&h, out);
}

/* Of an index and its shards: the SHA-256 of their hex digests, the index first. */
static msx_status hash_shards(msx_checkpoint *c, char out[MSX__SHA256_HEX]) {
    msx__sha256 h;
    msx__sha256_begin(&h);
    MSX_TRY(msx__file_hash(&c->file, out));
    msx__sha256_add(&h, out, MSX__SHA256_HEX - 1);
    for (int64_t i = 0; i < c->n_shards; i++) {
        MSX_TRY(msx__file_hash(&c->shards[i]->file, out));
        msx__sha256_add(&h, out, MSX__SHA256_HEX - 1);
    }
    msx__sha256_hex(&h, out);
    return MSX_OK;
}

msx_status msx__checkpoint_hash_reads(msx_checkpoint *c) {
    if (c->in_memory || c->taps) return MSX_OK;
    c->taps = msx__alloc(c->ctx, (size_t)c->n_shards + 1, sizeof *c->taps);
    if (!c->taps) return MSX_E_NOMEM;
    for (int64_t i = 0; i <= c->n_shards; i++) {
        msx__file_tap_begin(&c->taps[i]);
        (i < c->n_shards ? &c->shards[i]->file : &c->file)->tap = &c->taps[i];
    }
    return MSX_OK;
}

void msx__checkpoint_settle_hashes(msx_checkpoint *const *c, size_t n) {
    msx__file_tap *waiting[MSX__TAPS];
    size_t many = 0;
    for (size_t k = 0; k < n; k++)
        for (int64_t i = 0; c[k]->taps && i <= c[k]->n_shards; i++) {
            if (!c[k]->taps[i].n_waiting) continue;
            waiting[many++] = &c[k]->taps[i];
            if (many < MSX__TAPS) continue;
            msx__file_tap_settle(waiting, many);
            many = 0;
        }
    msx__file_tap_settle(waiting, many);
}

size_t msx__checkpoint_taps(msx_checkpoint *const *c, size_t n) {
    size_t taps = 0;
    for (size_t k = 0; k < n; k++)
        if (c[k]->taps) taps += (size_t)c[k]->n_shards + 1;
    return taps;
}

msx_status msx__checkpoint_hash_beside(msx__hash_queue **out, msx_checkpoint *const *c, size_t n,
                                       int threads) {
    size_t many = msx__checkpoint_taps(c, n), at = 0;
    *out = NULL;
    if (!many) return MSX_OK;
    msx__file_tap **taps = msx__alloc(c[0]->ctx, many, sizeof(msx__file_tap *));
    if (!taps) return MSX_E_NOMEM;
    for (size_t k = 0; k < n; k++)
        for (int64_t i = 0; c[k]->taps && i <= c[k]->n_shards; i++) taps[at++] = &c[k]->taps[i];
    msx_status status = msx__hash_queue_start(out, c[0]->ctx, taps, many, threads);
    msx__free(c[0]->ctx, taps);
    return status;
}

/* Where a file's hash is to be brought to; negative: nowhere. `shard` from 0, the file itself last. */
static int64_t hash_target(const msx_checkpoint *c, int64_t shard, const char *tensor) {
    const msx__file *f = shard < c->n_shards ? &c->shards[shard]->file : &c->file;
    if (!tensor) return f->size;
    int64_t i = msx_checkpoint_find(c, tensor);
    if (i < 0) return -1;
    int64_t in = c->tensors[i].shard ? c->tensors[i].shard - 1 : c->n_shards;
    return in == shard ? c->tensors[i].offset : -1;
}

void msx__checkpoint_hash_ahead(msx_checkpoint *const *c, size_t n, const char *tensor) {
    const msx__file *files[MSX__TAPS];
    int64_t ends[MSX__TAPS];
    size_t many = 0;
    for (size_t k = 0; k < n; k++)
        for (int64_t i = 0; c[k]->taps && i <= c[k]->n_shards; i++) {
            int64_t end = hash_target(c[k], i, tensor);
            if (end <= c[k]->taps[i].next) continue;
            files[many] = i < c[k]->n_shards ? &c[k]->shards[i]->file : &c[k]->file;
            ends[many++] = end;
            if (many < MSX__TAPS) continue;
            (void)msx__file_hash_up_to(files, ends, many);
            many = 0;
        }
    (void)msx__file_hash_up_to(files, ends, many);
}

msx_status msx_checkpoint_sha256(msx_checkpoint *c, char out[65]) {
    if (!c || !out) return c ? msx__fail(c->ctx, MSX_E_ARG, "out is NULL") : MSX_E_ARG;
    out[0] = 0;
    if (c->in_memory) {
        hash_memory(c, out); /* not kept: the data is writable */
        return MSX_OK;
    }
    if (!c->sha256[0]) {
        MSX_TRY(c->n_shards ? hash_shards(c, out) : msx__file_hash(&c->file, out));
        memcpy(c->sha256, out, sizeof c->sha256);
    }
    memcpy(out, c->sha256, sizeof c->sha256);
    return MSX_OK;
}

/* ---- metadata ------------------------------------------------------------------------------ */

msx_status msx__checkpoint_push_meta(msx_checkpoint *c, const char *key, const char *value) {
    int64_t limit = msx_ctx_limit(c->ctx, MSX_LIMIT_TENSORS);
    if (c->n_metas >= limit)
        return msx__fail(c->ctx, MSX_E_LIMIT, "%s: more than %" PRId64 " metadata entries",
                         msx__checkpoint_label(c), limit);
    if (c->n_metas == c->metas_capacity) {
        int64_t capacity = c->metas_capacity ? 2 * c->metas_capacity : 8;
        msx__meta *metas = msx__realloc(c->ctx, c->metas, (size_t)capacity, sizeof *metas);
        if (!metas) return MSX_E_NOMEM;
        c->metas = metas;
        c->metas_capacity = capacity;
    }
    msx__meta m = {msx__strdup(c->ctx, key), msx__strdup(c->ctx, value)};
    if (!m.key || !m.value) {
        msx__free(c->ctx, m.key);
        msx__free(c->ctx, m.value);
        return MSX_E_NOMEM;
    }
    c->metas[c->n_metas++] = m;
    return MSX_OK;
}

static msx__meta *find_meta(const msx_checkpoint *c, const char *key) {
    for (int64_t i = 0; i < c->n_metas; i++)
        if (!strcmp(c->metas[i].key, key)) return c->metas + i;
    return NULL;
}

int64_t msx_checkpoint_meta_count(const msx_checkpoint *c) {
    return c ? c->n_metas : 0;
}
const char *msx_checkpoint_meta_key(const msx_checkpoint *c, int64_t i) {
    return c && i >= 0 && i < c->n_metas ? c->metas[i].key : NULL;
}
const char *msx_checkpoint_meta(const msx_checkpoint *c, const char *key) {
    const msx__meta *m = c && key ? find_meta(c, key) : NULL;
    return m ? m->value : NULL;
}

msx_status msx_checkpoint_set_meta(msx_checkpoint *c, const char *key, const char *value) {
    if (!c) return MSX_E_ARG;
    if (!key || !*key || !value)
        return msx__fail(c->ctx, MSX_E_ARG, "metadata needs a key and a value");
    msx__meta *m = find_meta(c, key);
    if (!m) return msx__checkpoint_push_meta(c, key, value);
    char *copy = msx__strdup(c->ctx, value);
    if (!copy) return MSX_E_NOMEM;
    msx__free(c->ctx, m->value);
    m->value = copy;
    return MSX_OK;
}
