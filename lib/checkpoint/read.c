/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a checkpoint by its content, and reading the data of one tensor. */
#include "checkpoint/internal.h"
#include "checkpoint/stream.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- opening ------------------------------------------------------------------------------- */

/* A length below 4 GiB and the header's '{': a cut file still looks like one. */
static bool looks_like_safetensors(const unsigned char *head) {
    return !memcmp(head + 4, "\0\0\0\0{", 5);
}

/* Say what it is instead, where that is known. */
static msx_status refuse(const msx_checkpoint *c) {
    char tar[5] = {0};
    if (c->file.size >= 512) MSX_TRY(msx__file_read(&c->file, 257, tar, sizeof tar));
    if (!memcmp(tar, "ustar", 5))
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED,
                         "%s: a tar container (torch 0.1, or an archive); unpack it, or load it "
                         "in an old torch and save it again",
                         c->file.path);
    return msx__fail(c->ctx, MSX_E_UNSUPPORTED,
                     "%s: neither a torch file (.pth, .pt) nor a safetensors file or its index",
                     c->file.path);
}

static msx_status open_container(msx_checkpoint *c) {
    unsigned char head[16] = {0};
    size_t n = c->file.size < (int64_t)sizeof head ? (size_t)c->file.size : sizeof head;
    if (n == 0) return msx__fail(c->ctx, MSX_E_FORMAT, "%s: the file is empty", c->file.path);
    MSX_TRY(msx__file_read(&c->file, 0, head, n));
    if (looks_like_safetensors(head)) return msx__safetensors_open(c);
    if (!memcmp(head, "PK\3\4", 4)) return msx__torch_zip_open(c);
    if (head[0] == '{') return msx__sharded_open(c);
    if (head[0] == 0x80 && head[1] <= 5) return msx__torch_legacy_open(c);
    return refuse(c);
}

msx_status msx_checkpoint_open(msx_checkpoint **out, msx_ctx *ctx, const char *path) {
    if (!out || !ctx || !path)
        return ctx ? msx__fail(ctx, MSX_E_ARG, "out or path is NULL") : MSX_E_ARG;
    msx_checkpoint *c;
    *out = NULL;
    MSX_TRY(msx_checkpoint_create(&c, ctx));
    msx_status status = msx__file_open(&c->file, ctx, path);
    if (status == MSX_OK) {
        c->in_memory = false;
        status = open_container(c);
    }
    if (status == MSX_OK) status = msx__checkpoint_settle_names(c);
    if (status == MSX_OK) status = msx__checkpoint_index(c);
    if (status < 0) {
        msx_checkpoint_free(c);
        return status;
    }
    *out = c;
    return MSX_OK;
}

/* ---- reading ------------------------------------------------------------------------------- */

enum { CHUNK = 1 << 14 }; /* bytes */

static msx_status damaged(const msx_checkpoint *c, const msx__tensor *t) {
    return msx__fail(c->ctx, MSX_E_FORMAT,
                     "%s: byte %" PRId64
                     ": the checksum of tensor '%s' is wrong; the file is damaged, fetch it again",
                     c->file.path, t->offset, t->name);
}

/* Elements from the first one to the last are read in one go, then picked in row-major order. */
static msx_status read_strided(const msx_checkpoint *c, const msx__tensor *t, float *out) {
    size_t size = msx_dtype_size(t->dtype);
    char *raw = msx__alloc(c->ctx, (size_t)t->span, size);
    if (!raw) return MSX_E_NOMEM;
    msx_status status = msx__file_read(&c->file, t->offset, raw, (size_t)t->span * size);
    int64_t index[MSX_MAX_RANK] = {0}, at = 0;
    for (int64_t i = 0; status == MSX_OK && i < t->elements; i++) {
        msx__to_f32(t->dtype, raw + (size_t)at * size, out + i, 1);
        for (int a = t->rank - 1; a >= 0; a--) {
            at += t->strides[a];
            if (++index[a] < t->dims[a]) break;
            at -= t->strides[a] * t->dims[a];
            index[a] = 0;
        }
    }
    msx__free(c->ctx, raw);
    return status;
}

/* `n` elements of a contiguous tensor from number `first` on. `crc`: of the bytes read, where a storage is
 * to be checked; else NULL. */
static msx_status read_contiguous(const msx_checkpoint *c, const msx__tensor *t, int64_t first,
                                  int64_t n, float *out, uLong *crc) {
    char raw[CHUNK];
    int64_t size = (int64_t)msx_dtype_size(t->dtype), step = CHUNK / size;
    int64_t at = t->offset + first * size;
    if (t->dtype == MSX_DTYPE_F32) {
        MSX_TRY(msx__file_read_lasting(&c->file, at, out, (size_t)(n * size)));
        if (crc) *crc = crc32_z(*crc, (const Bytef *)out, (size_t)(n * size));
        return MSX_OK;
    }
    for (int64_t i = 0; i < n; i += step) {
        int64_t m = n - i < step ? n - i : step;
        MSX_TRY(msx__file_read(&c->file, at + i * size, raw, (size_t)(m * size)));
        if (crc) *crc = crc32_z(*crc, (const Bytef *)raw, (size_t)(m * size));
        msx__to_f32(t->dtype, raw, out + i, m);
    }
    return MSX_OK;
}

static msx_status check_storage(const msx_checkpoint *c, const msx__tensor *t,
                                const msx__storage *s) {
    char raw[CHUNK];
    uLong crc = crc32(0, NULL, 0);
    for (int64_t i = 0; i < s->size; i += CHUNK) {
        size_t n = (size_t)(s->size - i < CHUNK ? s->size - i : CHUNK);
        MSX_TRY(msx__file_read(&c->file, s->offset + i, raw, n));
        crc = crc32_z(crc, (const Bytef *)raw, n);
    }
    return crc == s->crc ? MSX_OK : damaged(c, t);
}

/* The storage whose checksum the first read of a tensor verifies; NULL: none, or that is done. */
static msx__storage *unchecked(const msx_checkpoint *c, const msx__tensor *t) {
    msx__storage *s = t->storage >= 0 ? c->storages + t->storage : NULL;
    return s && s->crc && !atomic_load_explicit(&s->checked, memory_order_relaxed) ? s : NULL;
}

static bool is_whole(const msx__tensor *t, const msx__storage *s) {
    return t->elements * (int64_t)msx_dtype_size(t->dtype) == s->size;
}

/* Read from the file. The first read of a storage also verifies its checksum, on the way when the
 * tensor is the whole storage. */
static msx_status read_tensor(const msx_checkpoint *c, const msx__tensor *t, float *out) {
    msx__storage *s = unchecked(c, t);
    if (msx__is_contiguous(t)) {
        bool whole = s && is_whole(t, s);
        uLong crc = crc32(0, NULL, 0);
        if (s && !whole) MSX_TRY(check_storage(c, t, s));
        MSX_TRY(read_contiguous(c, t, 0, t->elements, out, whole ? &crc : NULL));
        if (whole && crc != s->crc) return damaged(c, t);
    } else {
        if (s) MSX_TRY(check_storage(c, t, s));
        MSX_TRY(read_strided(c, t, out));
    }
    if (s) atomic_store_explicit(&s->checked, true, memory_order_relaxed);
    return MSX_OK;
}

/* ---- places ----------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b, void *tensors) {
    const msx__tensor *all = tensors;
    int64_t i = *(const int64_t *)a, k = *(const int64_t *)b;
    if (all[i].shard != all[k].shard) return all[i].shard < all[k].shard ? -1 : 1;
    if (all[i].offset != all[k].offset) return all[i].offset < all[k].offset ? -1 : 1;
    return i < k ? -1 : i > k;
}

void msx__checkpoint_sort_by_place(const msx_checkpoint *c, int64_t *tensors, int64_t n) {
    if (n > 1) qsort_r(tensors, (size_t)n, sizeof *tensors, by_place, c->tensors);
}

/* ---- in pieces -------------------------------------------------------------------------------- */

bool msx__checkpoint_has_pieces(const msx_checkpoint *c, int64_t i) {
    const msx__tensor *t = c->tensors + i;
    const msx_checkpoint *file = t->shard ? c->shards[t->shard - 1] : c;
    const msx__storage *s = c->in_memory ? NULL : unchecked(file, t);
    return msx__dtype_is_float(t->dtype) && msx__is_contiguous(t) && (!s || is_whole(t, s));
}

bool msx__checkpoint_is_plain(const msx_checkpoint *c) {
    for (int64_t i = 0; i < c->n; i++)
        if (c->tensors[i].dtype != MSX_DTYPE_F32 || !msx__checkpoint_has_pieces(c, i)) return false;
    return true;
}

msx_status msx__checkpoint_read_piece(const msx_checkpoint *c, int64_t i, int64_t first, int64_t n,
                                      float *out, uint32_t *crc) {
    const msx__tensor *t = c->tensors + i;
    const msx_checkpoint *file = t->shard ? c->shards[t->shard - 1] : c;
    if (c->in_memory) {
        if (n) memcpy(out, t->data + first, (size_t)n * sizeof *out);
        return MSX_OK;
    }
    msx__storage *s = unchecked(file, t);
    uLong sum = first ? *crc : crc32(0, NULL, 0);
    MSX_TRY(read_contiguous(file, t, first, n, out, s ? &sum : NULL));
    *crc = (uint32_t)sum;
    if (!s || first + n < t->elements) return MSX_OK;
    if (sum != s->crc) return damaged(file, t);
    atomic_store_explicit(&s->checked, true, memory_order_relaxed);
    return MSX_OK;
}

msx_status msx__checkpoint_peek(const msx_checkpoint *c, int64_t i, int64_t n, float *out) {
    const msx__tensor *t = c->tensors + i;
    msx_checkpoint unseen = *(t->shard ? c->shards[t->shard - 1] : c);
    unseen.file.tap = NULL;
    if (!c->in_memory) return read_contiguous(&unseen, t, 0, n, out, NULL);
    memcpy(out, t->data, (size_t)n * sizeof *out);
    return MSX_OK;
}

/* ---- whole tensors ---------------------------------------------------------------------------- */

msx_status msx_checkpoint_read(const msx_checkpoint *c, int64_t i, float *out, int64_t n) {
    if (!c) return MSX_E_ARG;
    if (i < 0 || i >= c->n)
        return msx__fail(c->ctx, MSX_E_ARG, "%s: there is no tensor number %" PRId64,
                         msx__checkpoint_label(c), i);
    const msx__tensor *t = c->tensors + i;
    if (n != t->elements || (!out && n > 0))
        return msx__fail(c->ctx, MSX_E_ARG,
                         "%s: tensor '%s' has %" PRId64 " elements, room given for %" PRId64,
                         msx__checkpoint_label(c), t->name, t->elements, out ? n : 0);
    if (!msx__dtype_is_float(t->dtype))
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED, "%s: tensor '%s' is %s, not a floating type",
                         msx__checkpoint_label(c), t->name, msx_dtype_name(t->dtype));
    if (n == 0) return MSX_OK;
    if (c->in_memory) {
        memcpy(out, t->data, (size_t)n * sizeof *out);
        return MSX_OK;
    }
    return read_tensor(t->shard ? c->shards[t->shard - 1] : c, t, out);
}
