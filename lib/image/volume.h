/* SPDX-License-Identifier: Apache-2.0 */
/* The volume itself and its place in space. */
#ifndef MSX_IMAGE_VOLUME_H
#define MSX_IMAGE_VOLUME_H

#include "core/core.h"

#include <medsamix/image.h>

/* Geometry as a NIfTI file states it, kept so that it can be written back. */
typedef struct msx__geometry {
    double pixdim[4]; /* qfac (1 or -1), spacing i, j, k in file units; finite and > 0 */
    int qform_code, sform_code;
    double quatern[3], qoffset[3];
    double srow[12]; /* 3x4 */
    int units;       /* xyzt_units */
} msx__geometry;

struct msx_volume {
    msx_ctx *ctx;
    char *name; /* the file, for messages; "" when made in memory */
    int64_t dim[3];
    msx__geometry geometry;
    double affine[12]; /* 3x4 in mm, from the geometry */
    float *data;       /* i + nx * (j + ny * k); NULL when only the geometry is wanted */
};

/* A volume of zeros; extents are checked against MSX_LIMIT_VOLUME_BYTES as float32. */
msx_status msx__volume_new(msx_volume **out, msx_ctx *ctx, const char *name, const int64_t dim[3]);

/* A volume without voxels, for its geometry. */
msx_status msx__volume_shell(msx_volume **out, msx_ctx *ctx, const char *name,
                             const int64_t dim[3]);

/* Unit spacing, identity. */
void msx__geometry_default(msx__geometry *g);

/* Clean a geometry as read (numbers may be anything), choose the affine in use (sform, else qform,
 * else spacing) and log what is odd about it. Replaces what cannot be used. */
void msx__geometry_settle(msx_ctx *ctx, const char *name, const int64_t dim[3], msx__geometry *g,
                          double affine[12]);

/* Voxel at flat index -> (i, j, k). */
void msx__voxel_index(const msx_volume *v, int64_t at, int64_t index[3]);

/* Where a slice's pixels are: first voxel, steps along a row and from row to row. */
typedef struct msx__cut {
    int64_t start, width, height, step_x, step_y;
} msx__cut;
msx__cut msx__slice_cut(const int64_t dim[3], msx_axis axis, int64_t index);

/* Round the value of voxel `at` when it is a label, MSX_E_FORMAT when it is none. */
msx_status msx__round_label(const msx_volume *v, int64_t at, float *value);

#endif
