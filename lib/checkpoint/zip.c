/* SPDX-License-Identifier: Apache-2.0 */
/* Zip directories (PKWARE APPNOTE 6.3), only as far as torch.save uses them, and strictly: where two
 * places say the same thing they must agree, since tools that believe the other one are how hostile
 * files hide. */
#include "checkpoint/zip.h"

#include <stdlib.h>
#include <string.h>

enum {
    END = 22,       /* bytes of an end record without its comment */
    END64 = 56,     /* zip64 end record */
    LOCATOR64 = 20, /* zip64 end locator */
    CENTRAL = 46,   /* central header without name, extra field, comment */
    LOCAL = 30,     /* local header without name, extra field */
    FLAG_ENCRYPTED = 1,
    FLAG_DESCRIPTOR = 8,
    FLAGS_KNOWN = 0x0808 | 6, /* descriptor, UTF-8 names, two bits of compression level */
};

static uint32_t u16(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    return b[0] | (uint32_t)b[1] << 8;
}
static uint32_t u32(const char *p) {
    return u16(p) | u16(p + 2) << 16;
}
static uint64_t u64(const char *p) {
    return u32(p) | (uint64_t)u32(p + 4) << 32;
}

typedef struct reader {
    msx_ctx *ctx;
    const msx__file *file;
    int64_t directory, directory_bytes, count; /* central directory */
} reader;

static msx_status broken(const reader *r, int64_t at, const char *what) {
    return msx__fail(r->ctx, MSX_E_FORMAT, "%s: byte %" PRId64 ": %s", r->file->path, at, what);
}

/* ---- the end of the file ------------------------------------------------------------------- */

/* Position of the end record: the last 22 bytes plus a comment that ends with the file. */
static msx_status find_end(const reader *r, char end[END], int64_t *at) {
    enum { TAIL = END + 65535 };
    int64_t size = r->file->size, n = size < TAIL ? size : TAIL;
    char *tail = msx__alloc(r->ctx, (size_t)n, 1);
    if (!tail) return MSX_E_NOMEM;
    msx_status status = msx__file_read(r->file, size - n, tail, (size_t)n);
    *at = -1;
    for (int64_t i = n - END; status == MSX_OK && i >= 0 && *at < 0; i--)
        if (!memcmp(tail + i, "PK\5\6", 4) && i + END + (int64_t)u16(tail + i + 20) == n) {
            memcpy(end, tail + i, END);
            *at = size - n + i;
        }
    msx__free(r->ctx, tail);
    if (status == MSX_OK && *at < 0)
        return msx__fail(r->ctx, MSX_E_FORMAT,
                         "%s: byte %" PRId64 ": the zip directory is missing; the file is "
                         "truncated, fetch it again",
                         r->file->path, size);
    return status;
}

/* A 32-bit field says the same as its zip64 twin, or that the twin is meant. */
static bool agrees(uint64_t narrow, uint64_t wide, uint64_t escape) {
    return narrow == wide || narrow == escape;
}

static msx_status read_end(reader *r) {
    char end[END] = {0}, locator[LOCATOR64] = {0}, end64[END64] = {0};
    int64_t at = 0;
    MSX_TRY(find_end(r, end, &at));
    uint64_t count = u16(end + 10), bytes = u32(end + 12), offset = u32(end + 16);
    if (u16(end + 4) || u16(end + 6) || u16(end + 8) != count)
        return broken(r, at, "the zip file is in several parts");
    int64_t directory_end = at;
    if (at >= LOCATOR64) MSX_TRY(msx__file_read(r->file, at - LOCATOR64, locator, LOCATOR64));
    if (at >= LOCATOR64 && !memcmp(locator, "PK\6\7", 4)) {
        uint64_t at64 = u64(locator + 8);
        if (u32(locator + 4) || at64 > (uint64_t)(at - LOCATOR64) ||
            (uint64_t)(at - LOCATOR64) - at64 != END64)
            return broken(r, at - LOCATOR64, "the zip64 end record is not where it should be");
        directory_end = (int64_t)at64;
        MSX_TRY(msx__file_read(r->file, directory_end, end64, END64));
        if (memcmp(end64, "PK\6\6", 4) != 0 || u64(end64 + 4) != END64 - 12 || u32(end64 + 16) ||
            u32(end64 + 20) || u64(end64 + 24) != u64(end64 + 32))
            return broken(r, directory_end, "the zip64 end record is broken");
        if (!agrees(count, u64(end64 + 32), 0xFFFF) ||
            !agrees(bytes, u64(end64 + 40), 0xFFFFFFFF) ||
            !agrees(offset, u64(end64 + 48), 0xFFFFFFFF))
            return broken(r, at, "the two end records of the zip file contradict each other");
        count = u64(end64 + 32);
        bytes = u64(end64 + 40);
        offset = u64(end64 + 48);
    }
    if (offset > (uint64_t)directory_end || bytes != (uint64_t)directory_end - offset)
        return broken(r, at, "the zip directory does not end where its end record begins");
    if (count > bytes / CENTRAL) return broken(r, at, "more zip records than the directory holds");
    r->directory = (int64_t)offset;
    r->directory_bytes = (int64_t)bytes;
    r->count = (int64_t)count;
    return MSX_OK;
}

/* ---- records ------------------------------------------------------------------------------- */

/* Fields of the zip64 extra field, each there only when its 32-bit field is all ones. False when a
 * needed one is missing. */
static bool read_extra64(const char *extra, uint32_t length, uint64_t *const *fields, int n) {
    while (length >= 4) {
        uint32_t id = u16(extra), size = u16(extra + 2);
        if (size > length - 4) return false;
        const char *p = extra + 4, *end = p + size;
        for (int i = 0; id == 1 && i < n; i++)
            if (*fields[i] == 0xFFFFFFFF) {
                if (end - p < 8) return false;
                *fields[i] = u64(p);
                p += 8;
            }
        extra += 4 + size;
        length -= 4 + size;
        if (id == 1) return true;
    }
    for (int i = 0; i < n; i++)
        if (*fields[i] == 0xFFFFFFFF) return false;
    return true;
}

static bool name_is_sane(const char *name, uint32_t length) {
    if (length == 0 || name[0] == '/') return false;
    for (uint32_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == '\\' || name[i] == 0x7f) return false;
    for (uint32_t i = 0; i + 1 < length; i++)
        if (name[i] == '.' && name[i + 1] == '.') return false;
    return true;
}

/* Fields of the central header that the local one repeats. */
typedef struct central {
    uint32_t flags, method, crc, name_length;
    uint64_t packed, size;
} central;

/* The local header repeats the central one; only it says where the payload begins. */
static msx_status check_local(const reader *r, msx__zip_entry *e, const central *c) {
    char header[LOCAL] = {0};
    MSX_TRY(msx__file_read(r->file, e->header, header, LOCAL));
    if (memcmp(header, "PK\3\4", 4) != 0)
        return broken(r, e->header, "a zip record has no local header");
    uint32_t length = u16(header + 26), extra = u16(header + 28);
    char *rest = msx__alloc(r->ctx, (size_t)length + extra, 1);
    if (!rest) return MSX_E_NOMEM;
    msx_status status = msx__file_read(r->file, e->header + LOCAL, rest, (size_t)length + extra);
    uint64_t packed = u32(header + 18), size = u32(header + 22);
    uint64_t *const fields[] = {&size, &packed};
    uint32_t crc = u32(header + 14);
    if (status == MSX_OK && (length != c->name_length || memcmp(rest, e->name, length) != 0))
        status = broken(r, e->header, "a zip record has another name than the directory says");
    /* With a data descriptor the sizes here are zero, or stand for "see the descriptor". */
    bool later = c->flags & FLAG_DESCRIPTOR && packed == 0 && size == 0 && crc == 0;
    if (status == MSX_OK && !later &&
        (!read_extra64(rest + length, extra, fields, 2) || size != c->size || packed != c->packed ||
         crc != c->crc))
        status = broken(r, e->header,
                        "a zip record has another size or checksum than the directory says");
    if (status == MSX_OK && (u16(header + 6) != c->flags || u16(header + 8) != c->method))
        status = broken(r, e->header, "a zip record has other flags than the directory says");
    e->offset = e->header + LOCAL + length + extra;
    msx__free(r->ctx, rest);
    return status;
}

/* One central header at `p`, of which `left` bytes are there. Its name is moved to `*name`. */
static msx_status read_central(const reader *r, msx__zip *zip, const char *p, int64_t left,
                               char **names, int64_t *used) {
    int64_t at = r->directory + r->directory_bytes - left;
    *used = 0;
    if (left < CENTRAL || memcmp(p, "PK\1\2", 4) != 0)
        return broken(r, at, "the zip directory is broken");
    central c = {u16(p + 8), u16(p + 10), u32(p + 16), u16(p + 28), u32(p + 20), u32(p + 24)};
    uint32_t extra = u16(p + 30), comment = u16(p + 32), disk = u16(p + 34);
    *used = CENTRAL + (int64_t)c.name_length + extra + comment;
    if (*used > left) return broken(r, at, "the zip directory is broken");
    uint64_t header = u32(p + 42);
    uint64_t *const fields[] = {&c.size, &c.packed, &header};
    if (!read_extra64(p + CENTRAL + c.name_length, extra, fields, 3))
        return broken(r, at, "a zip64 size is missing");
    if (!name_is_sane(p + CENTRAL, c.name_length))
        return broken(r, at, "a zip record has an unsafe name (empty, absolute, or with '..')");
    msx__zip_entry *e = &zip->entries[zip->n++];
    *e = (msx__zip_entry){.name = *names, .crc = c.crc};
    memmove(*names, p + CENTRAL, c.name_length); /* may overwrite this header */
    (*names)[c.name_length] = 0;
    *names += c.name_length + 1;
    if (c.flags & FLAG_ENCRYPTED)
        return msx__fail(r->ctx, MSX_E_UNSUPPORTED, "%s: zip record %s is encrypted", r->file->path,
                         e->name);
    if (c.method != 0)
        zip->compressed = e->name;
    else if (c.packed != c.size)
        return broken(r, at, "a zip record has contradicting sizes");
    if (c.flags & ~(uint32_t)FLAGS_KNOWN || disk != 0)
        return broken(r, at, "a zip record has unknown flags");
    if (header > (uint64_t)r->directory || c.packed > (uint64_t)r->directory - header)
        return broken(r, at, "a zip record lies outside the file");
    e->header = (int64_t)header;
    e->size = (int64_t)c.packed;
    return check_local(r, e, &c);
}

static int by_position(const void *a, const void *b) {
    const msx__zip_entry *x = a, *y = b;
    return x->header < y->header ? -1 : x->header > y->header;
}
static int by_name(const void *a, const void *b) {
    return strcmp(((const msx__zip_entry *)a)->name, ((const msx__zip_entry *)b)->name);
}

static msx_status check_layout(const reader *r, msx__zip *zip) {
    qsort(zip->entries, (size_t)zip->n, sizeof *zip->entries, by_position);
    for (int64_t i = 0; i < zip->n; i++) {
        const msx__zip_entry *e = zip->entries + i;
        int64_t next = i + 1 < zip->n ? e[1].header : r->directory;
        if (e->offset > next || e->size > next - e->offset)
            return broken(r, e->header, "zip records overlap");
    }
    zip->first = zip->n ? zip->entries[0].name : "";
    qsort(zip->entries, (size_t)zip->n, sizeof *zip->entries, by_name);
    for (int64_t i = 1; i < zip->n; i++)
        if (!strcmp(zip->entries[i].name, zip->entries[i - 1].name))
            return msx__fail(r->ctx, MSX_E_FORMAT, "%s: zip record %s occurs twice", r->file->path,
                             zip->entries[i].name);
    return MSX_OK;
}

msx_status msx__zip_open(msx__zip *zip, const msx__file *file) {
    *zip = (msx__zip){.ctx = file->ctx};
    reader r = {.ctx = file->ctx, .file = file};
    MSX_TRY(read_end(&r));
    int64_t limit = msx_ctx_limit(r.ctx, MSX_LIMIT_HEADER_BYTES);
    if (r.directory_bytes > limit)
        return msx__fail(r.ctx, MSX_E_LIMIT,
                         "%s: the zip directory has %" PRId64 " bytes, more than the limit of "
                         "%" PRId64,
                         file->path, r.directory_bytes, limit);
    /* Names are moved to the front of the directory while it is read: a header is longer than a
     * NUL, so the end of the names never passes what is still to be read. */
    zip->names = msx__alloc(r.ctx, (size_t)r.directory_bytes, 1);
    zip->entries = msx__alloc(r.ctx, (size_t)r.count, sizeof *zip->entries);
    msx_status status = zip->names && zip->entries ? msx__file_read(file, r.directory, zip->names,
                                                                    (size_t)r.directory_bytes)
                                                   : MSX_E_NOMEM;
    int64_t left = r.directory_bytes, used = 0;
    char *names = zip->names;
    for (const char *p = zip->names; status == MSX_OK && zip->n < r.count; p += used, left -= used)
        status = read_central(&r, zip, p, left, &names, &used);
    if (status == MSX_OK && left != 0)
        status = broken(&r, r.directory + r.directory_bytes - left,
                        "the zip directory is longer than its records");
    if (status == MSX_OK) status = check_layout(&r, zip);
    if (status < 0) msx__zip_close(zip);
    return status;
}

void msx__zip_close(msx__zip *zip) {
    if (!zip->ctx) return;
    msx__free(zip->ctx, zip->entries);
    msx__free(zip->ctx, zip->names);
    *zip = (msx__zip){0};
}

const msx__zip_entry *msx__zip_find(const msx__zip *zip, const char *name) {
    msx__zip_entry key = {.name = name};
    return zip->n ? bsearch(&key, zip->entries, (size_t)zip->n, sizeof key, by_name) : NULL;
}
