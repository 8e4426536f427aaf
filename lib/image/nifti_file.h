/* SPDX-License-Identifier: Apache-2.0 */
/* NIfTI files voxel by voxel, in the order of the file: what reading and writing whole volumes and
 * reading and writing slice by slice share. */
#ifndef MSX_IMAGE_NIFTI_FILE_H
#define MSX_IMAGE_NIFTI_FILE_H

#include "core/file.h"
#include "image/nifti.h"
#include "image/source.h"
#include "image/volume.h"

/* ---- reading (nifti_read.c) ------------------------------------------------------------------------ */

/* An open file whose header has been checked, and where in its voxels reading is. */
typedef struct msx__nifti_reader {
    msx__source source;
    msx__nifti_header header;
    int64_t dim[3], voxels, offset; /* offset: of the first voxel, uncompressed */
    const msx__nifti_type *type;
    double slope, inter;
    unsigned char *raw; /* MSX__SOURCE_CHUNK bytes */
} msx__nifti_reader;

/* Ready to read the first voxel. */
msx_status msx__nifti_open(msx__nifti_reader *r, msx_ctx *ctx, const char *path);
void msx__nifti_close(msx__nifti_reader *r); /* accepts a zeroed struct */
/* The geometry into a volume that has its name and extents. */
void msx__nifti_space(const msx__nifti_reader *r, msx_volume *v);
/* The next n voxels, scaled. */
msx_status msx__nifti_voxels(msx__nifti_reader *r, float *out, int64_t n);
/* Behind the last voxel: check the checksum, and warn of what else is there. */
msx_status msx__nifti_finish(msx__nifti_reader *r);
/* Back to the first voxel. */
msx_status msx__nifti_rewind(msx__nifti_reader *r);

/* ---- writing labels (nifti_write.c) ---------------------------------------------------------------- */

enum { MSX__SINK_CHUNK = 1 << 15 };

/* A label file in the making: bytes go straight into the file, or through deflate. */
typedef struct msx__nifti_writer {
    msx__output file;
    bool gzip;
    int bytes; /* a voxel, 1 or 2 */
    z_stream stream;
    unsigned char *packed; /* MSX__SINK_CHUNK bytes */
} msx__nifti_writer;

/* Begin with the geometry of `space`; `largest` label decides the type. */
msx_status msx__nifti_create(msx__nifti_writer *w, const msx_volume *space, uint16_t largest,
                             const char *path);
/* The next n voxels. */
msx_status msx__nifti_labels(msx__nifti_writer *w, const uint16_t *labels, int64_t n);
/* The file appears when `status` is success and the rest can be written. */
msx_status msx__nifti_commit(msx__nifti_writer *w, msx_status status);

#endif
