/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a torch zip: a stored zip file with archive/data.pkl, archive/byteorder,
 * archive/data/0 .. N-1, archive/version and archive/medsamix.json. Payloads begin at multiples of
 * 64 bytes, as torch aligns them; times are fixed, so that equal checkpoints give equal files. */
#include "checkpoint/save.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- the pickle ---------------------------------------------------------------------------- */

static const struct {
    msx_dtype dtype;
    const char *storage;
} types[] = {
    {MSX_DTYPE_F32, "ctorch\nFloatStorage\n"},
    {MSX_DTYPE_F16, "ctorch\nHalfStorage\n"},
    {MSX_DTYPE_BF16, "ctorch\nBFloat16Storage\n"},
    {MSX_DTYPE_F64, "ctorch\nDoubleStorage\n"},
};

/* Memo entries of what every tensor repeats. */
enum { DICT_CLASS, REBUILD, STORAGE, CLASS, CPU };

static void put_little(msx__buffer *b, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)(value >> 8 * i);
        msx__buffer_add(b, &byte, 1);
    }
}

static void put_int(msx__buffer *b, int64_t value) { /* >= 0 */
    if (value < 256) {
        msx__buffer_text(b, "K");
        put_little(b, (uint64_t)value, 1);
    } else if (value < 65536) {
        msx__buffer_text(b, "M");
        put_little(b, (uint64_t)value, 2);
    } else if (value <= INT32_MAX) {
        msx__buffer_text(b, "J");
        put_little(b, (uint64_t)value, 4);
    } else {
        msx__buffer_text(b, "\x8a\x08");
        put_little(b, (uint64_t)value, 8);
    }
}

static void put_text(msx__buffer *b, const char *text) {
    msx__buffer_text(b, "X");
    put_little(b, strlen(text), 4);
    msx__buffer_text(b, text);
}

static void put_tuple(msx__buffer *b, int n, const int64_t *values) {
    static const char *const ends[] = {")", "\x85", "\x86", "\x87", "t"};
    if (n > 3) msx__buffer_text(b, "(");
    for (int i = 0; i < n; i++) put_int(b, values[i]);
    msx__buffer_text(b, ends[n > 3 ? 4 : n]);
}

/* Memo entries: a class or text the first time, a look into the memo afterwards. */
static void put_memo(msx__buffer *b, bool first, int index) {
    msx__buffer_text(b, first ? "q" : "h");
    put_little(b, (uint64_t)index, 1);
}
static void put_shared_class(msx__buffer *b, bool first, int index, const char *code) {
    if (first) msx__buffer_text(b, code);
    put_memo(b, first, index);
}
static void put_shared_text(msx__buffer *b, bool first, int index, const char *text) {
    if (first) put_text(b, text);
    put_memo(b, first, index);
}

/* name: _rebuild_tensor_v2(('storage', FloatStorage, 'k', 'cpu', numel), 0, size, stride, False,
 * OrderedDict()) */
static void put_tensor(msx__buffer *b, const msx__save *s, int64_t k) {
    const msx__tensor *t = s->c->tensors + s->items[k].tensor;
    int64_t strides[MSX_MAX_RANK];
    char key[24];
    size_t type = 0;
    while (types[type].dtype != s->dtype) type++;
    msx__contiguous_strides(t->rank, t->dims, strides);
    snprintf(key, sizeof key, "%" PRId64, k);
    put_text(b, s->items[k].name);
    put_shared_class(b, k == 0, REBUILD, "ctorch._utils\n_rebuild_tensor_v2\n");
    msx__buffer_text(b, "((");
    put_shared_text(b, k == 0, STORAGE, "storage");
    put_shared_class(b, k == 0, CLASS, types[type].storage);
    put_text(b, key);
    put_shared_text(b, k == 0, CPU, "cpu");
    put_int(b, t->elements);
    msx__buffer_text(b, "tQ");
    put_int(b, 0);
    put_tuple(b, t->rank, t->dims);
    put_tuple(b, t->rank, strides);
    msx__buffer_text(b, "\x89");
    put_memo(b, false, DICT_CLASS);
    msx__buffer_text(b, ")RtR");
}

static msx_status make_pickle(const msx__save *s, msx__buffer *b) {
    msx__buffer_text(b, "\x80\x02");
    put_shared_class(b, true, DICT_CLASS, "ccollections\nOrderedDict\n");
    msx__buffer_text(b, ")R(");
    for (int64_t k = 0; k < s->n; k++) put_tensor(b, s, k);
    msx__buffer_text(b, "u.");
    return b->failed ? MSX_E_NOMEM : MSX_OK;
}

/* ---- the zip file -------------------------------------------------------------------------- */

enum { ALIGNMENT = 64, DATE = 0x21 }; /* 1980-01-01 */

typedef struct writer {
    msx__save *s;
    msx__buffer directory; /* central headers so far */
    int64_t n;
} writer;

/* What local and central header have in common, from "version needed" to the extra length. */
static void put_common(msx__buffer *b, bool wide, uint32_t crc, int64_t size, size_t name,
                       size_t extra) {
    put_little(b, wide ? 45 : 20, 2);
    put_little(b, 0, 2); /* flags */
    put_little(b, 0, 2); /* stored */
    put_little(b, 0, 2); /* midnight */
    put_little(b, DATE, 2);
    put_little(b, crc, 4);
    put_little(b, wide ? 0xFFFFFFFF : (uint64_t)size, 4);
    put_little(b, wide ? 0xFFFFFFFF : (uint64_t)size, 4);
    put_little(b, name, 2);
    put_little(b, extra, 2);
}

/* The fields of both headers; zip64 where 32 bits do not do. */
typedef struct record {
    const char *name;
    int64_t at, size;
    uint32_t crc;
} record;

static bool is_wide(const record *r) {
    return r->size >= 0xFFFFFFFF;
}

static msx_status put_local(writer *w, record *r) {
    msx__output *out = &w->s->out;
    bool wide = is_wide(r);
    size_t length = strlen(r->name), wide_bytes = wide ? 20 : 0;
    r->at = out->offset;
    /* Extra field "FB" of padding, as torch writes it, up to the alignment. */
    size_t padding = ALIGNMENT - ((size_t)r->at + 30 + length + wide_bytes + 4) % ALIGNMENT;
    padding %= ALIGNMENT;
    msx__buffer b;
    msx__buffer_init(&b, w->s->ctx);
    msx__buffer_add(&b, "PK\3\4", 4);
    put_common(&b, wide, r->crc, r->size, length, wide_bytes + 4 + padding);
    msx__buffer_text(&b, r->name);
    if (wide) {
        put_little(&b, 1, 2);
        put_little(&b, 16, 2);
        put_little(&b, (uint64_t)r->size, 8);
        put_little(&b, (uint64_t)r->size, 8);
    }
    msx__buffer_text(&b, "FB");
    put_little(&b, padding, 2);
    while (padding-- > 0) msx__buffer_text(&b, "Z");
    msx_status status = b.failed ? MSX_E_NOMEM : msx__output_write(out, b.data, b.length);
    msx__buffer_free(&b);
    return status;
}

static msx_status put_central(writer *w, const record *r) {
    bool wide = is_wide(r), far = r->at >= 0xFFFFFFFF;
    size_t extra = (wide ? 16 : 0) + (far ? 8 : 0);
    msx__buffer *d = &w->directory;
    msx__buffer_add(d, "PK\1\2", 4);
    put_little(d, wide || far ? 45 : 20, 2); /* made by */
    put_common(d, wide, r->crc, r->size, strlen(r->name), extra ? extra + 4 : 0);
    put_little(d, 0, 2); /* comment */
    put_little(d, 0, 2); /* disk */
    put_little(d, 0, 2); /* internal attributes */
    put_little(d, 0, 4); /* external attributes */
    put_little(d, far ? 0xFFFFFFFF : (uint64_t)r->at, 4);
    msx__buffer_text(d, r->name);
    if (extra) {
        put_little(d, 1, 2);
        put_little(d, extra, 2);
        for (int i = 0; wide && i < 2; i++) put_little(d, (uint64_t)r->size, 8);
        if (far) put_little(d, (uint64_t)r->at, 8);
    }
    w->n++;
    return d->failed ? MSX_E_NOMEM : MSX_OK;
}

static msx_status put_record(writer *w, const char *name, const void *data, int64_t size) {
    record r = {.name = name, .size = size};
    r.crc = (uint32_t)crc32_z(crc32(0, NULL, 0), data, size ? (size_t)size : 0);
    MSX_TRY(put_local(w, &r));
    if (size) MSX_TRY(msx__output_write(&w->s->out, data, (size_t)size));
    return put_central(w, &r);
}

/* A tensor that comes in pieces has no checksum before it was written: it is put in afterwards. */
static msx_status put_pieces(writer *w, const char *name, int64_t k) {
    enum { CRC_FIELD = 14 };
    record r = {.name = name, .size = msx__save_bytes(w->s, k)};
    MSX_TRY(put_local(w, &r));
    MSX_TRY(msx__save_item_to(w->s, k, &w->s->out, &r.crc));
    unsigned char crc[4];
    for (int i = 0; i < 4; i++) crc[i] = (unsigned char)(r.crc >> 8 * i);
    MSX_TRY(msx__output_patch(&w->s->out, r.at + CRC_FIELD, crc, sizeof crc));
    return put_central(w, &r);
}

/* Central directory, the zip64 end records where 32 bits do not do, the end record. */
static msx_status put_end(writer *w) {
    msx__buffer *d = &w->directory;
    uint64_t at = (uint64_t)w->s->out.offset, size = d->length, n = (uint64_t)w->n;
    bool wide = n >= 0xFFFF || at >= 0xFFFFFFFF || size >= 0xFFFFFFFF;
    if (wide) {
        msx__buffer_add(d, "PK\6\6", 4);
        put_little(d, 44, 8); /* bytes that follow */
        put_little(d, 45, 2);
        put_little(d, 45, 2);
        put_little(d, 0, 8); /* disks */
        put_little(d, n, 8);
        put_little(d, n, 8);
        put_little(d, size, 8);
        put_little(d, at, 8);
        msx__buffer_add(d, "PK\6\7", 4);
        put_little(d, 0, 4);
        put_little(d, at + size, 8);
        put_little(d, 1, 4);
    }
    msx__buffer_add(d, "PK\5\6", 4);
    put_little(d, 0, 4); /* disks */
    put_little(d, wide ? 0xFFFF : n, 2);
    put_little(d, wide ? 0xFFFF : n, 2);
    put_little(d, wide ? 0xFFFFFFFF : size, 4);
    put_little(d, wide ? 0xFFFFFFFF : at, 4);
    put_little(d, 0, 2); /* comment */
    return d->failed ? MSX_E_NOMEM : msx__output_write(&w->s->out, d->data, d->length);
}

static msx_status put_tensors(writer *w) {
    for (int64_t k = 0; k < w->s->n; k++) {
        char name[48];
        const void *data;
        int64_t n;
        snprintf(name, sizeof name, "archive/data/%" PRId64, k);
        if (w->s->source) {
            MSX_TRY(put_pieces(w, name, k));
            continue;
        }
        MSX_TRY(msx__save_load(w->s, k, 0, &data, &n));
        MSX_TRY(put_record(w, name, data, msx__save_bytes(w->s, k)));
    }
    return MSX_OK;
}

static msx_status put_metadata(writer *w) {
    char *metadata;
    MSX_TRY(msx__save_finish(w->s));
    if (!w->s->c->n_metas) return MSX_OK;
    MSX_TRY(msx__save_metadata(w->s, &metadata));
    msx_status status = put_record(w, "archive/medsamix.json", metadata, (int64_t)strlen(metadata));
    free(metadata);
    return status;
}

static msx_status put_all(writer *w, const msx__buffer *pickle) {
    MSX_TRY(put_record(w, "archive/data.pkl", pickle->data, (int64_t)pickle->length));
    MSX_TRY(put_record(w, "archive/byteorder", "little", 6));
    MSX_TRY(put_tensors(w));
    MSX_TRY(put_record(w, "archive/version", "3\n", 2));
    MSX_TRY(put_metadata(w));
    return put_end(w);
}

msx_status msx__write_torch_zip(msx__save *s) {
    writer w = {.s = s};
    msx__buffer pickle;
    msx__buffer_init(&pickle, s->ctx);
    msx__buffer_init(&w.directory, s->ctx);
    msx_status status = make_pickle(s, &pickle);
    if (status == MSX_OK) status = put_all(&w, &pickle);
    msx__buffer_free(&pickle);
    msx__buffer_free(&w.directory);
    return status;
}
