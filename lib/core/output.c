/* SPDX-License-Identifier: Apache-2.0 */
/* Output files that appear under their name only when complete: write beside, fsync, rename; drafts without the
 * fsync. */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PENDING = 1 << 16, ATTEMPTS = 100, WRITEBACK = 8 << 20 };

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

msx_status msx__output_open(msx__output *o, msx_ctx *ctx, const char *path) {
    *o = (msx__output){.ctx = ctx, .fd = -1};
    const char *name = base_name(path);
    if (!*name) return msx__fail(ctx, MSX_E_IO, "%s: names a folder; give a file name", path);
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return msx__fail(ctx, MSX_E_IO, "%s: is %s; give a file name", path,
                         S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    size_t room = strlen(path) + 48;
    o->path = msx__strdup(ctx, path);
    o->temporary = msx__alloc(ctx, room, 1);
    o->pending = msx__alloc(ctx, PENDING, 1);
    if (!o->path || !o->temporary || !o->pending) {
        msx__output_discard(o);
        return MSX_E_NOMEM;
    }
    for (int i = 0; i < ATTEMPTS && o->fd < 0; i++) {
        snprintf(o->temporary, room, "%.*s.%s.%ld-%d.part", (int)(name - path), path, name,
                 (long)getpid(), i);
        o->fd = open(o->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd < 0 && errno != EEXIST) break;
    }
    if (o->fd >= 0) return MSX_OK;
    msx_status status =
        msx__fail(ctx, MSX_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    o->temporary[0] = 0; /* never ours */
    msx__output_discard(o);
    return status;
}

static msx_status cannot_write(const msx__output *o) {
    return msx__fail(o->ctx, MSX_E_IO, "%s: cannot be written: %s", o->path, strerror(errno));
}

static msx_status write_all(msx__output *o, const char *p, size_t n) {
    while (n > 0) {
        ssize_t put = write(o->fd, p, n);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return cannot_write(o);
        p += put;
        n -= (size_t)put;
    }
    return MSX_OK;
}

static msx_status flush(msx__output *o) {
    size_t n = o->n_pending;
    o->n_pending = 0;
    return write_all(o, o->pending, n);
}

/* Have the disk begin with what is written while the caller makes the rest: the fsync of the commit
 * then finds little left to wait for. Advice only, so that its failure means nothing. */
static void begin_writeback(msx__output *o) {
#ifdef SYNC_FILE_RANGE_WRITE
    int64_t written = o->offset - (int64_t)o->n_pending;
    if (o->draft || written - o->begun < WRITEBACK) return;
    (void)sync_file_range(o->fd, o->begun, written - o->begun, SYNC_FILE_RANGE_WRITE);
    o->begun = written;
#else
    (void)o;
#endif
}

void msx__output_compare(msx__output *o, msx_ctx *ctx, const msx__file *against) {
    *o = (msx__output){.ctx = ctx, .fd = -1, .against = against, .differs = -1};
}

/* Bytes behind the first difference do not matter. */
static msx_status compare(msx__output *o, const char *bytes, size_t n) {
    char there[1 << 14];
    int64_t at = o->offset;
    while (n > 0 && o->differs < 0) {
        size_t step = n < sizeof there ? n : sizeof there;
        int64_t left = o->against->size - at;
        if ((int64_t)step > left) step = (size_t)left;
        MSX_TRY(msx__file_read(o->against, at, there, step));
        size_t i = 0;
        if (step && memcmp(there, bytes, step))
            while (there[i] == bytes[i]) i++;
        else
            i = step;
        if (i < step || step == 0) o->differs = at + (int64_t)i;
        at += (int64_t)step;
        bytes += step;
        n -= step;
    }
    return MSX_OK;
}

msx_status msx__output_write(msx__output *o, const void *bytes, size_t n) {
    if (o->against) MSX_TRY(compare(o, bytes, n));
    o->offset += (int64_t)n;
    if (o->against) return MSX_OK;
    if (n > PENDING - o->n_pending) MSX_TRY(flush(o));
    if (n >= PENDING) {
        MSX_TRY(write_all(o, bytes, n));
    } else {
        if (n) memcpy(o->pending + o->n_pending, bytes, n);
        o->n_pending += n;
    }
    begin_writeback(o);
    return MSX_OK;
}

msx_status msx__output_patch(msx__output *o, int64_t offset, const void *bytes, size_t n) {
    MSX_TRY(flush(o));
    const char *p = bytes;
    while (n > 0) {
        ssize_t put = pwrite(o->fd, p, n, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return cannot_write(o);
        p += put;
        offset += put;
        n -= (size_t)put;
    }
    return MSX_OK;
}

msx_status msx__output_complete(msx__output *o) {
    if (o->against) {
        if (o->differs < 0 && o->offset < o->against->size) o->differs = o->offset;
        return MSX_OK;
    }
    if (o->fd < 0) return MSX_OK;
    msx_status status = flush(o);
    if (status == MSX_OK && !o->draft && fsync(o->fd) != 0 && errno != EINVAL && errno != ENOSYS)
        status = cannot_write(o);
    if (close(o->fd) != 0 && status == MSX_OK) status = cannot_write(o);
    o->fd = -1;
    msx__free(o->ctx, o->pending);
    o->pending = NULL;
    return status;
}

msx_status msx__output_commit(msx__output *o) {
    msx_status status = msx__output_complete(o);
    if (o->against) return status;
    if (status == MSX_OK && rename(o->temporary, o->path) != 0) status = cannot_write(o);
    if (status == MSX_OK) o->temporary[0] = 0; /* nothing left to remove */
    msx__output_discard(o);
    return status;
}

void msx__output_discard(msx__output *o) {
    if (!o->ctx) return;
    if (o->fd >= 0) close(o->fd);
    if (o->temporary && o->temporary[0]) unlink(o->temporary);
    msx__free(o->ctx, o->path);
    msx__free(o->ctx, o->temporary);
    msx__free(o->ctx, o->pending);
    *o = (msx__output){.fd = -1};
}

msx_status msx__write_whole(msx_ctx *ctx, const char *path, const void *bytes, size_t n) {
    msx__output o;
    MSX_TRY(msx__output_open(&o, ctx, path));
    msx_status status = msx__output_write(&o, bytes, n);
    if (status == MSX_OK) return msx__output_commit(&o);
    msx__output_discard(&o);
    return status;
}
