/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a file in order, whether it is gzip-compressed or not. */
#ifndef MSX_IMAGE_SOURCE_H
#define MSX_IMAGE_SOURCE_H

#include "core/file.h"

#include <zlib.h>

enum { MSX__SOURCE_CHUNK = 1 << 16 };

typedef struct msx__source {
    msx__file file;
    bool gzip, open, ended; /* ended: the last gzip member is complete */
    int64_t at;             /* bytes handed out, uncompressed */
    int64_t consumed;       /* bytes of the file read */
    z_stream stream;
    unsigned char *input; /* MSX__SOURCE_CHUNK bytes */
} msx__source;

msx_status msx__source_open(msx__source *s, msx_ctx *ctx, const char *path);
void msx__source_close(msx__source *s); /* accepts a zeroed struct */

/* Back to the first byte. */
void msx__source_rewind(msx__source *s);

/* The next n bytes exactly; fewer are MSX_E_FORMAT ("truncated"). */
msx_status msx__source_read(msx__source *s, void *out, size_t n);
msx_status msx__source_skip(msx__source *s, int64_t n);

/* Upper bound of the bytes that the file can hold uncompressed: DEFLATE expands at most 1032-fold. */
int64_t msx__source_capacity(const msx__source *s);

/* After the last wanted byte: check the checksum that follows. Set `rest` when there is more data. */
msx_status msx__source_finish(msx__source *s, bool *rest);

#endif
