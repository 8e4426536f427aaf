/* SPDX-License-Identifier: Apache-2.0 */
/* Making volumes, their voxels as labels, and slices. */
#include "image/volume.h"
#include "image/pixels.h"

#include <math.h>
#include <string.h>

msx_status msx__volume_shell(msx_volume **out, msx_ctx *ctx, const char *name,
                             const int64_t dim[3]) {
    *out = NULL;
    msx_volume *v = msx__calloc(ctx, 1, sizeof *v);
    if (!v) return MSX_E_NOMEM;
    v->ctx = ctx;
    memcpy(v->dim, dim, sizeof v->dim);
    v->name = msx__strdup(ctx, name);
    if (v->name) {
        *out = v;
        return MSX_OK;
    }
    msx_volume_free(v);
    return MSX_E_NOMEM;
}

msx_status msx__volume_new(msx_volume **out, msx_ctx *ctx, const char *name, const int64_t dim[3]) {
    *out = NULL;
    int64_t n, limit = msx_ctx_limit(ctx, MSX_LIMIT_VOLUME_BYTES);
    if (!msx__product(dim, 3, &n) || n > limit / 4)
        return msx__fail(ctx, MSX_E_LIMIT,
                         "%s%s%" PRId64 " x %" PRId64 " x %" PRId64
                         " voxels as float32 are above the limit of %" PRId64
                         " bytes; raise the limit",
                         name, *name ? ": " : "", dim[0], dim[1], dim[2], limit);
    MSX_TRY(msx__volume_shell(out, ctx, name, dim));
    (*out)->data = msx__calloc(ctx, (size_t)n, sizeof *(*out)->data);
    if ((*out)->data) return MSX_OK;
    msx_volume_free(*out);
    *out = NULL;
    return MSX_E_NOMEM;
}

void msx_volume_free(msx_volume *v) {
    if (!v) return;
    msx__free(v->ctx, v->name);
    msx__free(v->ctx, v->data);
    msx__free(v->ctx, v);
}

msx_status msx_volume_create(msx_volume **out, msx_ctx *ctx, const int64_t dims[3],
                             const float *data) {
    if (!out || !ctx || !dims) return msx__fail(ctx, MSX_E_ARG, "msx_volume_create: NULL argument");
    *out = NULL;
    for (int i = 0; i < 3; i++)
        if (dims[i] < 1)
            return msx__fail(ctx, MSX_E_ARG,
                             "extent %d of a volume is %" PRId64 "; give at least 1", i, dims[i]);
    MSX_TRY(msx__volume_new(out, ctx, "", dims));
    msx_volume *v = *out;
    msx__geometry_default(&v->geometry);
    msx__geometry_settle(ctx, v->name, v->dim, &v->geometry, v->affine);
    if (data) memcpy(v->data, data, (size_t)(dims[0] * dims[1] * dims[2]) * sizeof *data);
    return MSX_OK;
}

msx_status msx_volume_create_like(msx_volume **out, const msx_volume *like) {
    if (out) *out = NULL;
    if (!out || !like)
        return msx__fail(like ? like->ctx : NULL, MSX_E_ARG,
                         "msx_volume_create_like: NULL argument");
    MSX_TRY(msx__volume_new(out, like->ctx, "", like->dim));
    (*out)->geometry = like->geometry;
    memcpy((*out)->affine, like->affine, sizeof like->affine);
    return MSX_OK;
}

int64_t msx_volume_dim(const msx_volume *v, int axis) {
    return v && axis >= 0 && axis < 3 ? v->dim[axis] : 0;
}

float *msx_volume_data(const msx_volume *v) {
    return v ? v->data : NULL;
}

void msx__voxel_index(const msx_volume *v, int64_t at, int64_t index[3]) {
    index[0] = at % v->dim[0];
    index[1] = at / v->dim[0] % v->dim[1];
    index[2] = at / v->dim[0] / v->dim[1];
}

msx_status msx__round_label(const msx_volume *v, int64_t at, float *value) {
    float rounded = rintf(*value);
    if (rounded >= 0 && rounded <= 65535 && fabsf(*value - rounded) <= 1e-3f) {
        *value = rounded + 0.0f; /* no negative zero */
        return MSX_OK;
    }
    int64_t index[3];
    msx__voxel_index(v, at, index);
    return msx__fail(v->ctx, MSX_E_FORMAT,
                     "%s%svoxel (%" PRId64 ", %" PRId64 ", %" PRId64
                     ") is %g; labels are whole numbers from 0 to 65535",
                     v->name, *v->name ? ": " : "", index[0], index[1], index[2], (double)*value);
}

msx_status msx_volume_check_labels(msx_volume *v) {
    if (!v || !v->data)
        return msx__fail(v ? v->ctx : NULL, MSX_E_ARG,
                         "msx_volume_check_labels: NULL argument, or a volume without voxels");
    int64_t n = v->dim[0] * v->dim[1] * v->dim[2];
    for (int64_t i = 0; i < n; i++) MSX_TRY(msx__round_label(v, i, v->data + i));
    return MSX_OK;
}

/* ---- slices ---------------------------------------------------------------------------------------- */

msx__cut msx__slice_cut(const int64_t dim[3], msx_axis axis, int64_t index) {
    const int64_t steps[3] = {1, dim[0], dim[0] * dim[1]};
    int fast = axis == MSX_AXIS_I ? 1 : 0, slow = axis == MSX_AXIS_K ? 1 : 2;
    return (msx__cut){index * steps[axis], dim[fast], dim[slow], steps[fast], steps[slow]};
}

static msx_status make_cut(msx__cut *c, const msx_volume *v, msx_axis axis, int64_t index) {
    if ((int)axis < 0 || (int)axis > 2)
        return msx__fail(v->ctx, MSX_E_ARG, "slice axis %d is unknown", (int)axis);
    if (index < 0 || index >= v->dim[axis])
        return msx__fail(v->ctx, MSX_E_ARG, "slice %" PRId64 " is outside 0 to %" PRId64, index,
                         v->dim[axis] - 1);
    *c = msx__slice_cut(v->dim, axis, index);
    return MSX_OK;
}

msx_status msx_volume_slice(msx_image **out, const msx_volume *v, msx_axis axis, int64_t index) {
    if (out) *out = NULL;
    if (!out || !v || !v->data)
        return msx__fail(v ? v->ctx : NULL, MSX_E_ARG,
                         "msx_volume_slice: NULL argument, or a volume without voxels");
    msx__cut c;
    MSX_TRY(make_cut(&c, v, axis, index));
    MSX_TRY(msx__image_new(out, v->ctx, v->name, c.width, c.height, 1, MSX_PIXEL_F32));
    float *to = (*out)->data;
    for (int64_t y = 0; y < c.height; y++)
        for (int64_t x = 0; x < c.width; x++)
            to[y * c.width + x] = v->data[c.start + y * c.step_y + x * c.step_x];
    return MSX_OK;
}

msx_status msx_volume_set_slice(msx_volume *v, msx_axis axis, int64_t index,
                                const msx_image *image) {
    if (!v || !v->data || !image)
        return msx__fail(v ? v->ctx : NULL, MSX_E_ARG,
                         "msx_volume_set_slice: NULL argument, or a volume without voxels");
    msx__cut c;
    MSX_TRY(make_cut(&c, v, axis, index));
    if (image->channels != 1)
        return msx__fail(v->ctx, MSX_E_ARG, "a slice has one channel, the image has %d",
                         image->channels);
    if (image->width != c.width || image->height != c.height)
        return msx__fail(v->ctx, MSX_E_SHAPE,
                         "the slice has %" PRId64 " x %" PRId64 " pixels, the image %" PRId64
                         " x %" PRId64,
                         c.width, c.height, image->width, image->height);
    for (int64_t y = 0; y < c.height; y++)
        for (int64_t x = 0; x < c.width; x++)
            v->data[c.start + y * c.step_y + x * c.step_x] =
                (float)msx__sample(image, y * c.width + x);
    return MSX_OK;
}
