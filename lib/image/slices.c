/* SPDX-License-Identifier: Apache-2.0 */
/* Slices in a scratch file: making, asking, reading and writing them one by one. */
#include "image/slices.h"
#include "image/pixels.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static msx_status scratch_fails(const msx_slices *s, const char *what) {
    return msx__fail(s->ctx, MSX_E_IO, "%s: a scratch file cannot be %s: %s", s->scratch, what,
                     strerror(errno));
}

/* Zeros that take no room on the disk before they are overwritten. */
static msx_status make_scratch(msx_slices *s) {
    int64_t bytes;
    const int64_t extents[4] = {s->width, s->height, s->count, (int64_t)msx__pixel_bytes(s->type)};
    if (!msx__product(extents, 4, &bytes))
        return msx__fail(s->ctx, MSX_E_LIMIT, "%s: the slices are too large", s->scratch);
    size_t room = strlen(s->scratch) + 32;
    char *path = msx__alloc(s->ctx, room, 1);
    if (!path) return MSX_E_NOMEM;
    snprintf(path, room, "%s/.medsamix.XXXXXX", s->scratch);
    s->fd = mkostemp(path, O_CLOEXEC);
    if (s->fd >= 0) unlink(path);
    msx__free(s->ctx, path);
    if (s->fd < 0) return scratch_fails(s, "made");
    return ftruncate(s->fd, bytes) == 0 ? MSX_OK : scratch_fails(s, "made");
}

msx_status msx__slices_new(msx_slices **out, msx_volume *space, msx_axis axis, msx_pixel type,
                           const char *scratch) {
    msx_ctx *ctx = space->ctx;
    msx_slices *s = msx__calloc(ctx, 1, sizeof *s);
    if (!s) {
        msx_volume_free(space);
        return MSX_E_NOMEM;
    }
    msx__cut cut = msx__slice_cut(space->dim, axis, 0);
    *s = (msx_slices){.ctx = ctx,
                      .space = space,
                      .axis = axis,
                      .type = type,
                      .width = cut.width,
                      .height = cut.height,
                      .count = space->dim[axis],
                      .scratch = msx__strdup(ctx, scratch),
                      .fd = -1};
    msx_status status = s->scratch ? make_scratch(s) : MSX_E_NOMEM;
    if (status < 0)
        msx_slices_free(s);
    else
        *out = s;
    return status;
}

msx_status msx_slices_create_like(msx_slices **out, const msx_slices *like, msx_pixel type) {
    if (out) *out = NULL;
    if (!out || !like || !msx__pixel_bytes(type))
        return msx__fail(like ? like->ctx : NULL, MSX_E_ARG,
                         "msx_slices_create_like: NULL argument or unknown pixel type");
    msx_volume *space;
    MSX_TRY(msx__volume_shell(&space, like->ctx, "", like->space->dim));
    space->geometry = like->space->geometry;
    memcpy(space->affine, like->space->affine, sizeof space->affine);
    return msx__slices_new(out, space, like->axis, type, like->scratch);
}

void msx_slices_free(msx_slices *s) {
    if (!s) return;
    if (s->fd >= 0) close(s->fd);
    msx_volume_free(s->space);
    msx__free(s->ctx, s->scratch);
    msx__free(s->ctx, s);
}

const msx_volume *msx_slices_space(const msx_slices *s) {
    return s ? s->space : NULL;
}

msx_axis msx_slices_axis(const msx_slices *s) {
    return s ? s->axis : MSX_AXIS_K;
}

int64_t msx_slices_count(const msx_slices *s) {
    return s ? s->count : 0;
}

int64_t msx_slices_width(const msx_slices *s) {
    return s ? s->width : 0;
}

int64_t msx_slices_height(const msx_slices *s) {
    return s ? s->height : 0;
}

/* ---- one slice -------------------------------------------------------------------------------------- */

msx_status msx__slices_put(msx_slices *s, int64_t offset, const void *bytes, size_t n) {
    for (const char *from = bytes; n > 0;) {
        ssize_t done = pwrite(s->fd, from, n, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return scratch_fails(s, "written");
        from += done;
        offset += done;
        n -= (size_t)done;
    }
    return MSX_OK;
}

msx_status msx__slices_get(const msx_slices *s, int64_t offset, void *bytes, size_t n) {
    for (char *to = bytes; n > 0;) {
        ssize_t done = pread(s->fd, to, n, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = EIO;
        if (done <= 0) return scratch_fails(s, "read");
        to += done;
        offset += done;
        n -= (size_t)done;
    }
    return MSX_OK;
}

static size_t slice_bytes(const msx_slices *s) {
    return (size_t)(s->width * s->height) * msx__pixel_bytes(s->type);
}

static msx_status check_index(const msx_slices *s, int64_t index) {
    if (index >= 0 && index < s->count) return MSX_OK;
    return msx__fail(s->ctx, MSX_E_ARG, "slice %" PRId64 " is outside 0 to %" PRId64, index,
                     s->count - 1);
}

msx_status msx_slices_read(msx_image **out, const msx_slices *s, int64_t index) {
    if (out) *out = NULL;
    if (!out || !s)
        return msx__fail(s ? s->ctx : NULL, MSX_E_ARG, "msx_slices_read: NULL argument");
    MSX_TRY(check_index(s, index));
    msx_image *image;
    MSX_TRY(msx__image_new(&image, s->ctx, s->space->name, s->width, s->height, 1, s->type));
    msx_status status =
        msx__slices_get(s, index * (int64_t)slice_bytes(s), image->data, slice_bytes(s));
    if (status < 0)
        msx_image_free(image);
    else
        *out = image;
    return status;
}

msx_status msx_slices_write(msx_slices *s, int64_t index, const msx_image *image) {
    if (!s || !image)
        return msx__fail(s ? s->ctx : NULL, MSX_E_ARG, "msx_slices_write: NULL argument");
    MSX_TRY(check_index(s, index));
    if (image->channels != 1 || image->type != s->type)
        return msx__fail(s->ctx, MSX_E_ARG,
                         "a slice has one channel and the type of its volume, the image has %d "
                         "channels%s",
                         image->channels, image->type == s->type ? "" : " of another type");
    if (image->width != s->width || image->height != s->height)
        return msx__fail(s->ctx, MSX_E_SHAPE,
                         "the slice has %" PRId64 " x %" PRId64 " pixels, the image %" PRId64
                         " x %" PRId64,
                         s->width, s->height, image->width, image->height);
    return msx__slices_put(s, index * (int64_t)slice_bytes(s), image->data, slice_bytes(s));
}
