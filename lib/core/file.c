/* SPDX-License-Identifier: Apache-2.0 */
/* Reading files at offsets and as a whole. */
#include "core/hash_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

msx_status msx__file_open(msx__file *f, msx_ctx *ctx, const char *path) {
    *f = (msx__file){.ctx = ctx, .fd = -1};
    /* O_NONBLOCK: opening a pipe must not wait for its writer before we can refuse it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return msx__fail(ctx, MSX_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat st;
    msx_status status = MSX_OK;
    if (fstat(fd, &st) != 0)
        status = msx__fail(ctx, MSX_E_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = msx__fail(ctx, MSX_E_IO, "%s: is %s, not a file", path,
                           S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    else if (!(f->path = msx__strdup(ctx, path)))
        status = MSX_E_NOMEM;
    if (status < 0) {
        close(fd);
        return status;
    }
    f->fd = fd;
    f->size = st.st_size;
    return MSX_OK;
}

void msx__file_close(msx__file *f) {
    if (!f->ctx) return;
    if (f->fd >= 0) close(f->fd);
    msx__free(f->ctx, f->path);
    *f = (msx__file){.fd = -1};
}

static msx_status read_all(const msx__file *f, int64_t offset, char *p, size_t n) {
    while (n > 0) {
        ssize_t got = pread(f->fd, p, n, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return msx__fail(f->ctx, MSX_E_IO, "%s: byte %" PRId64 ": %s", f->path, offset,
                             strerror(errno));
        if (got == 0)
            return msx__fail(f->ctx, MSX_E_FORMAT,
                             "%s: byte %" PRId64 ": the file became shorter while it was read",
                             f->path, offset);
        p += got;
        offset += got;
        n -= (size_t)got;
    }
    return MSX_OK;
}

void msx__file_tap_settle(msx__file_tap *const *taps, size_t n) {
    msx__sha256 *hashes[MSX__TAPS];
    const void *bytes[MSX__TAPS];
    size_t sizes[MSX__TAPS];
    for (size_t i = 0; i < n; i++) {
        hashes[i] = &taps[i]->hash;
        bytes[i] = taps[i]->waiting;
        sizes[i] = taps[i]->n_waiting;
        taps[i]->n_waiting = 0;
    }
    msx__sha256_add_all(hashes, bytes, sizes, n);
}

/* Read what the tap has not seen up to a byte and hand it to the queue. */
static msx_status queue_up_to(const msx__file *f, int64_t end) {
    msx__file_tap *tap = f->tap;
    while (tap->next < end) {
        int64_t left = end - tap->next;
        size_t n = left < (int64_t)MSX__HASH_GAP ? (size_t)left : MSX__HASH_GAP;
        void *gap = msx__hash_queue_gap(tap->queue, tap->number);
        if (!gap) return MSX_E_NOMEM;
        MSX_TRY(msx__check_cancel(f->ctx));
        MSX_TRY(read_all(f, tap->next, gap, n));
        msx__hash_queue_add(tap->queue, tap->number, gap, n);
        tap->next += (int64_t)n;
    }
    return MSX_OK;
}

/* One piece of every file that is not there yet; `more` when there was one. */
static msx_status hash_pieces(const msx__file *const *files, const int64_t *ends, size_t n,
                              bool *more) {
    char pieces[MSX__TAPS][1 << 15];
    msx__sha256 *hashes[MSX__TAPS] = {NULL};
    const void *bytes[MSX__TAPS] = {NULL};
    size_t sizes[MSX__TAPS] = {0}, many = 0;
    for (size_t i = 0; i < n; i++) {
        msx__file_tap *tap = files[i]->tap;
        int64_t left = ends[i] - tap->next;
        if (left <= 0) continue;
        sizes[many] = left < (int64_t)sizeof *pieces ? (size_t)left : sizeof *pieces;
        MSX_TRY(read_all(files[i], tap->next, pieces[many], sizes[many]));
        hashes[many] = &tap->hash;
        bytes[many] = pieces[many];
        many++;
    }
    msx__sha256_add_all(hashes, bytes, sizes, many);
    *more = many > 0;
    for (size_t i = 0, k = 0; i < n; i++)
        if (files[i]->tap->next < ends[i]) files[i]->tap->next += (int64_t)sizes[k++];
    return MSX_OK;
}

msx_status msx__file_hash_up_to(const msx__file *const *files, const int64_t *ends, size_t n) {
    msx__file_tap *taps[MSX__TAPS];
    size_t waiting = 0;
    if (n && files[0]->tap->queue) { /* all or none of them have one */
        for (size_t i = 0; i < n; i++) MSX_TRY(queue_up_to(files[i], ends[i]));
        return MSX_OK;
    }
    for (size_t i = 0; i < n; i++)
        if (files[i]->tap->n_waiting) taps[waiting++] = files[i]->tap;
    msx__file_tap_settle(taps, waiting);
    for (bool more = n > 0; more;) {
        MSX_TRY(msx__check_cancel(files[0]->ctx));
        MSX_TRY(hash_pieces(files, ends, n, &more));
    }
    return MSX_OK;
}

static msx_status hash_up_to(const msx__file *f, int64_t end) {
    return msx__file_hash_up_to(&f, &end, 1);
}

/* Each piece is hashed while it is in the cache. */
static msx_status read_and_hash(const msx__file *f, int64_t offset, char *p, size_t n) {
    enum { PIECE = 1 << 18 };
    MSX_TRY(hash_up_to(f, f->tap->queue ? offset + (int64_t)n : offset));
    while (n > 0) {
        size_t step = n < PIECE ? n : PIECE;
        MSX_TRY(read_all(f, offset, p, step));
        int64_t end = offset + (int64_t)step;
        if (end > f->tap->next) {
            size_t fresh = (size_t)(end - f->tap->next);
            msx__sha256_add(&f->tap->hash, p + (step - fresh), fresh);
            f->tap->next = end;
        }
        p += step;
        offset = end;
        n -= step;
    }
    return MSX_OK;
}

static msx_status check_range(const msx__file *f, int64_t offset, size_t n) {
    if (offset >= 0 && offset <= f->size && n <= (uint64_t)(f->size - offset)) return MSX_OK;
    return msx__fail(f->ctx, MSX_E_FORMAT,
                     "%s: byte %" PRId64 ": %zu bytes expected but the file has %" PRId64
                     "; it is truncated, fetch it again",
                     f->path, offset, n, f->size);
}

msx_status msx__file_read(const msx__file *f, int64_t offset, void *out, size_t n) {
    MSX_TRY(check_range(f, offset, n));
    return f->tap ? read_and_hash(f, offset, out, n) : read_all(f, offset, out, n);
}

msx_status msx__file_read_lasting(const msx__file *f, int64_t offset, void *out, size_t n) {
    MSX_TRY(check_range(f, offset, n));
    if (f->tap && (f->tap->n_waiting || f->tap->next < offset)) MSX_TRY(hash_up_to(f, offset));
    MSX_TRY(read_all(f, offset, out, n));
    int64_t end = offset + (int64_t)n;
    if (!f->tap || end <= f->tap->next) return MSX_OK;
    size_t fresh = (size_t)(end - f->tap->next);
    const char *bytes = (const char *)out + (n - fresh);
    f->tap->next = end;
    if (f->tap->queue) {
        msx__hash_queue_add(f->tap->queue, f->tap->number, bytes, fresh);
    } else {
        f->tap->n_waiting = fresh;
        f->tap->waiting = bytes;
    }
    return MSX_OK;
}

msx_status msx__read_whole(msx_ctx *ctx, const char *path, int64_t limit, char **out,
                           size_t *bytes) {
    *out = NULL;
    *bytes = 0;
    msx__file f;
    MSX_TRY(msx__file_open(&f, ctx, path));
    msx_status status = MSX_OK;
    char *data = NULL;
    if (f.size > limit)
        status =
            msx__fail(ctx, MSX_E_LIMIT, "%s: %" PRId64 " bytes, more than the limit of %" PRId64,
                      path, f.size, limit);
    else if (!(data = msx__alloc(ctx, (size_t)f.size + 1, 1)))
        status = MSX_E_NOMEM;
    else
        status = msx__file_read(&f, 0, data, (size_t)f.size);
    if (status == MSX_OK) {
        data[f.size] = 0;
        *out = data;
        *bytes = (size_t)f.size;
    } else {
        msx__free(ctx, data);
    }
    msx__file_close(&f);
    return status;
}

void msx__file_tap_begin(msx__file_tap *tap) {
    *tap = (msx__file_tap){.next = 0};
    msx__sha256_begin(&tap->hash);
}

msx_status msx__file_hash(const msx__file *f, char out[MSX__SHA256_HEX]) {
    msx__file_tap own;
    msx__file tapped = *f;
    if (!tapped.tap) {
        msx__file_tap_begin(&own);
        tapped.tap = &own;
    }
    MSX_TRY(hash_up_to(&tapped, f->size));
    msx__sha256 h = tapped.tap->hash; /* a copy: ending a hash empties it */
    msx__sha256_hex(&h, out);
    return MSX_OK;
}

msx_status msx__file_sha256(msx_ctx *ctx, const char *path, char out[MSX__SHA256_HEX]) {
    msx__file f;
    MSX_TRY(msx__file_open(&f, ctx, path));
    msx_status status = msx__file_hash(&f, out);
    msx__file_close(&f);
    return status;
}
