/* SPDX-License-Identifier: Apache-2.0 */
/* Plain and gzip byte sources. Output is produced only as asked for, so a decompression bomb costs no
 * more than the caller's buffer. */
#include "image/source.h"

#include <string.h>

enum { MOST_BEHIND = 1 << 26 }; /* uncompressed bytes behind the data that are read */

static void *allocate(void *ctx, unsigned count, unsigned size) {
    return msx__alloc(ctx, count, size);
}
static void release(void *ctx, void *memory) {
    msx__free(ctx, memory);
}

static msx_status damaged(const msx__source *s, const char *what) {
    return msx__fail(s->file.ctx, MSX_E_FORMAT,
                     "%s: byte %" PRId64 " (uncompressed byte %" PRId64
                     "): %s; fetch the file again",
                     s->file.path, s->consumed - s->stream.avail_in, s->at, what);
}

msx_status msx__source_open(msx__source *s, msx_ctx *ctx, const char *path) {
    *s = (msx__source){.open = false};
    MSX_TRY(msx__file_open(&s->file, ctx, path));
    unsigned char magic[2] = {0, 0};
    msx_status status = s->file.size < 2 ? MSX_OK : msx__file_read(&s->file, 0, magic, 2);
    s->gzip = magic[0] == 0x1f && magic[1] == 0x8b;
    if (status == MSX_OK && s->gzip) {
        s->stream = (z_stream){.zalloc = allocate, .zfree = release, .opaque = ctx};
        s->input = msx__alloc(ctx, MSX__SOURCE_CHUNK, 1);
        s->open = s->input && inflateInit2(&s->stream, 15 + 16) == Z_OK;
        if (!s->open) status = MSX_E_NOMEM;
    }
    if (status < 0) msx__source_close(s);
    return status;
}

void msx__source_close(msx__source *s) {
    if (s->open) inflateEnd(&s->stream);
    if (s->file.ctx) msx__free(s->file.ctx, s->input);
    msx__file_close(&s->file);
    *s = (msx__source){.open = false};
}

void msx__source_rewind(msx__source *s) {
    s->at = s->consumed = 0;
    s->ended = false;
    s->stream.avail_in = 0;
    if (s->open) inflateReset(&s->stream);
}

static msx_status refill(msx__source *s) {
    int64_t left = s->file.size - s->consumed;
    size_t n = left < MSX__SOURCE_CHUNK ? (size_t)left : MSX__SOURCE_CHUNK;
    MSX_TRY(msx__file_read(&s->file, s->consumed, s->input, n));
    s->consumed += (int64_t)n;
    s->stream.next_in = s->input;
    s->stream.avail_in = (uInt)n;
    return MSX_OK;
}

/* A gzip file may have several members (bgzip writes them); anything else behind one is left alone. */
static msx_status next_member(msx__source *s) {
    if (s->stream.avail_in == 0) MSX_TRY(refill(s));
    s->ended = s->stream.avail_in == 0 || *s->stream.next_in != 0x1f;
    if (!s->ended) inflateReset(&s->stream);
    return MSX_OK;
}

/* Inflate into `out` until it is full or the data ends; `got` receives the bytes. */
static msx_status inflate_some(msx__source *s, unsigned char *out, size_t n, size_t *got) {
    *got = 0;
    while (*got < n && !s->ended) {
        if (s->stream.avail_in == 0) MSX_TRY(refill(s));
        if (s->stream.avail_in == 0) return damaged(s, "the gzip data is truncated");
        size_t room = n - *got < 1u << 30 ? n - *got : 1u << 30;
        s->stream.next_out = out + *got;
        s->stream.avail_out = (uInt)room;
        int code = inflate(&s->stream, Z_NO_FLUSH);
        *got += room - s->stream.avail_out;
        s->at += (int64_t)(room - s->stream.avail_out);
        if (code == Z_STREAM_END)
            MSX_TRY(next_member(s));
        else if (code == Z_MEM_ERROR)
            return MSX_E_NOMEM;
        else if (code != Z_OK && code != Z_BUF_ERROR)
            return damaged(s, s->stream.msg ? s->stream.msg : "the gzip data is damaged");
    }
    return MSX_OK;
}

msx_status msx__source_read(msx__source *s, void *out, size_t n) {
    if (!s->gzip) {
        MSX_TRY(msx__file_read(&s->file, s->at, out, n));
        s->at += (int64_t)n;
        return MSX_OK;
    }
    size_t got;
    MSX_TRY(inflate_some(s, out, n, &got));
    return got == n ? MSX_OK : damaged(s, "the data ends early, it is truncated");
}

msx_status msx__source_skip(msx__source *s, int64_t n) {
    if (!s->gzip) {
        s->at += n; /* reading will find out whether that is still inside the file */
        return MSX_OK;
    }
    unsigned char ignored[4096];
    while (n > 0) {
        size_t part = n < (int64_t)sizeof ignored ? (size_t)n : sizeof ignored;
        MSX_TRY(msx__source_read(s, ignored, part));
        n -= (int64_t)part;
    }
    return MSX_OK;
}

int64_t msx__source_capacity(const msx__source *s) {
    int64_t capacity;
    if (!s->gzip) return s->file.size;
    return msx__mul(s->file.size, 1032, &capacity) ? capacity : INT64_MAX;
}

msx_status msx__source_finish(msx__source *s, bool *rest) {
    unsigned char more[4096];
    int64_t behind = 0;
    /* To the end also when bytes follow: damage can make data longer, and only the checksum tells. */
    while (s->gzip && !s->ended) {
        size_t got;
        MSX_TRY(inflate_some(s, more, sizeof more, &got));
        behind += (int64_t)got;
        if (behind > MOST_BEHIND) return damaged(s, "too many bytes follow the data");
    }
    *rest = s->gzip ? behind > 0 || s->stream.avail_in > 0 || s->consumed < s->file.size
                    : s->at < s->file.size;
    return MSX_OK;
}
