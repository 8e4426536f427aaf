/* SPDX-License-Identifier: Apache-2.0 */
/* Slices of a volume in a scratch file: one after another, rows and columns as msx_volume_slice(). */
#ifndef MSX_IMAGE_SLICES_H
#define MSX_IMAGE_SLICES_H

#include "image/volume.h"

struct msx_slices {
    msx_ctx *ctx;
    msx_volume *space; /* without voxels */
    msx_axis axis;
    msx_pixel type;
    int64_t width, height, count;
    char *scratch; /* the folder, for messages and for more of the kind */
    int fd;        /* of a file that has no name any more */
};

/* Slices of zeros; takes `space` over, also on failure. */
msx_status msx__slices_new(msx_slices **out, msx_volume *space, msx_axis axis, msx_pixel type,
                           const char *scratch);

/* n bytes at an offset of the scratch file. */
msx_status msx__slices_put(msx_slices *s, int64_t offset, const void *bytes, size_t n);
msx_status msx__slices_get(const msx_slices *s, int64_t offset, void *bytes, size_t n);

#endif
