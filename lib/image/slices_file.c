/* SPDX-License-Identifier: Apache-2.0 */
/* NIfTI files to slices and back, a block of k-planes at a time: part of every slice is one piece of
 * a block, whatever axis the slices are cut along. */
#include "image/nifti_file.h"
#include "image/pixels.h"
#include "image/slices.h"
#include "image/window.h"

#include <math.h>
#include <string.h>

enum { BLOCK_VOXELS = 1 << 20 };

/* Planes first .. first+n-1 of the volume, voxels in the order of the file. */
typedef struct block {
    int64_t first, n, most; /* most: planes that there is room for */
    int64_t plane;          /* voxels of one */
    void *voxels;
    void *piece; /* room for what of the block lies on one slice */
} block;

static msx_status block_begin(block *b, const msx_volume *space, size_t bytes) {
    msx_ctx *ctx = space->ctx;
    b->plane = space->dim[0] * space->dim[1];
    b->most = b->plane < BLOCK_VOXELS ? BLOCK_VOXELS / b->plane : 1;
    if (b->most > space->dim[2]) b->most = space->dim[2];
    b->voxels = msx__alloc(ctx, (size_t)(b->plane * b->most), bytes);
    b->piece = msx__alloc(ctx, (size_t)(b->plane * b->most), sizeof(uint16_t));
    return b->voxels && b->piece ? MSX_OK : MSX_E_NOMEM;
}

static void block_end(block *b, msx_ctx *ctx) {
    msx__free(ctx, b->voxels);
    msx__free(ctx, b->piece);
}

/* The next planes; false behind the last. */
static bool block_next(block *b, const msx_volume *space) {
    b->first += b->n;
    b->n = space->dim[2] - b->first < b->most ? space->dim[2] - b->first : b->most;
    return b->n > 0;
}

/* Which slices a block is part of, and where in the block and in the scratch file the part of slice
 * `index` is. */
typedef struct part {
    msx__cut cut;
    int64_t offset, voxels; /* in voxels */
} part;

static int64_t first_slice(const msx_slices *s, const block *b) {
    return s->axis == MSX_AXIS_K ? b->first : 0;
}
static int64_t last_slice(const msx_slices *s, const block *b) {
    return s->axis == MSX_AXIS_K ? b->first + b->n - 1 : s->count - 1;
}

static part part_of(const msx_slices *s, const block *b, int64_t index) {
    const int64_t dim[3] = {s->space->dim[0], s->space->dim[1], b->n};
    bool planes = s->axis == MSX_AXIS_K;
    part p = {.cut = msx__slice_cut(dim, s->axis, planes ? index - b->first : index)};
    p.voxels = p.cut.width * p.cut.height;
    p.offset = index * s->width * s->height + (planes ? 0 : b->first * s->width);
    return p;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static void gather_u8(uint8_t *to, const float *from, const msx__cut *c) {
    for (int64_t y = 0; y < c->height; y++)
        for (int64_t x = 0; x < c->width; x++)
            *to++ = (uint8_t)from[c->start + y * c->step_y + x * c->step_x];
}

static void gather_u16(uint16_t *to, const float *from, const msx__cut *c) {
    for (int64_t y = 0; y < c->height; y++)
        for (int64_t x = 0; x < c->width; x++)
            *to++ = (uint16_t)from[c->start + y * c->step_y + x * c->step_x];
}

/* A block of whole numbers into the slices. */
static msx_status store(msx_slices *s, block *b) {
    int64_t bytes = (int64_t)msx__pixel_bytes(s->type);
    for (int64_t i = first_slice(s, b); i <= last_slice(s, b); i++) {
        part p = part_of(s, b, i);
        MSX_TRY(msx__check_cancel(s->ctx));
        if (s->type == MSX_PIXEL_U8)
            gather_u8(b->piece, b->voxels, &p.cut);
        else
            gather_u16(b->piece, b->voxels, &p.cut);
        MSX_TRY(msx__slices_put(s, p.offset * bytes, b->piece, (size_t)(p.voxels * bytes)));
    }
    return MSX_OK;
}

static msx_status round_labels(const msx_volume *space, block *b) {
    float *voxel = b->voxels;
    for (int64_t i = 0; i < b->n * b->plane; i++)
        MSX_TRY(msx__round_label(space, b->first * b->plane + i, voxel + i));
    return MSX_OK;
}

/* The last pass: convert and store. `w` is NULL for labels. */
static msx_status fill(msx_slices *s, msx__nifti_reader *r, block *b, const msx__window *w) {
    b->first = b->n = 0;
    while (block_next(b, s->space)) {
        MSX_TRY(msx__nifti_voxels(r, b->voxels, b->n * b->plane));
        if (w)
            msx__window_apply(w, b->voxels, b->n * b->plane);
        else
            MSX_TRY(round_labels(s->space, b));
        MSX_TRY(store(s, b));
    }
    return msx__nifti_finish(r);
}

/* The passes before: what the rule wants to know of all voxels. */
static msx_status look(const msx_volume *space, msx__nifti_reader *r, block *b, msx__window *w) {
    for (int pass = 0; pass < msx__window_passes(w); pass++) {
        b->first = b->n = 0;
        while (block_next(b, space)) {
            MSX_TRY(msx__nifti_voxels(r, b->voxels, b->n * b->plane));
            msx__window_look(w, pass, b->voxels, b->n * b->plane);
        }
        MSX_TRY(msx__window_settle(w, pass));
        MSX_TRY(msx__nifti_rewind(r));
    }
    return MSX_OK;
}

static msx_status open_space(msx_slices **out, msx__nifti_reader *r, const char *axis_name,
                             msx_pixel type, const char *scratch) {
    msx_volume *space;
    MSX_TRY(msx__volume_shell(&space, r->source.file.ctx, r->source.file.path, r->dim));
    msx__nifti_space(r, space);
    msx_axis axis;
    msx_status status = msx_volume_axis(&axis, space, axis_name);
    if (status < 0) {
        msx_volume_free(space);
        return status;
    }
    return msx__slices_new(out, space, axis, type, scratch);
}

static msx_status load(msx_slices **out, msx_ctx *ctx, const char *path, const char *axis,
                       msx__window *w, const char *scratch) {
    msx__nifti_reader r;
    MSX_TRY(msx__nifti_open(&r, ctx, path));
    msx_slices *s = NULL;
    block b = {0};
    msx_status status = open_space(&s, &r, axis, w ? MSX_PIXEL_U8 : MSX_PIXEL_U16, scratch);
    if (status == MSX_OK) status = block_begin(&b, s->space, sizeof(float));
    if (status == MSX_OK && w) {
        w->name = s->space->name;
        status = look(s->space, &r, &b, w);
    }
    if (status == MSX_OK) status = fill(s, &r, &b, w);
    block_end(&b, ctx);
    msx__nifti_close(&r);
    if (status < 0)
        msx_slices_free(s);
    else
        *out = s;
    return status;
}

msx_status msx_slices_load(msx_slices **out, msx_ctx *ctx, const char *path, const char *axis,
                           const char *rule, const char *scratch) {
    if (out) *out = NULL;
    if (!out || !ctx || !path || !axis || !rule || !scratch)
        return msx__fail(ctx, MSX_E_ARG, "msx_slices_load: NULL argument");
    msx__window w;
    msx_status status = msx__window_begin(&w, ctx, path, rule);
    if (status == MSX_OK) status = load(out, ctx, path, axis, &w, scratch);
    msx__window_end(&w);
    return status;
}

msx_status msx_slices_load_labels(msx_slices **out, msx_ctx *ctx, const char *path,
                                  const char *axis, const char *scratch) {
    if (out) *out = NULL;
    if (!out || !ctx || !path || !axis || !scratch)
        return msx__fail(ctx, MSX_E_ARG, "msx_slices_load_labels: NULL argument");
    return load(out, ctx, path, axis, NULL, scratch);
}

/* ---- writing ---------------------------------------------------------------------------------------- */

/* The part of slice `index` as 16-bit labels. */
static msx_status fetch(const msx_slices *s, const part *p, uint16_t *out) {
    int64_t bytes = (int64_t)msx__pixel_bytes(s->type);
    MSX_TRY(msx__slices_get(s, p->offset * bytes, out, (size_t)(p->voxels * bytes)));
    if (s->type == MSX_PIXEL_U16) return MSX_OK;
    const uint8_t *narrow = (const uint8_t *)out;
    for (int64_t i = p->voxels - 1; i >= 0; i--) out[i] = narrow[i]; /* in place, from behind */
    return MSX_OK;
}

static msx_status collect(const msx_slices *s, block *b) {
    uint16_t *voxels = b->voxels;
    for (int64_t i = first_slice(s, b); i <= last_slice(s, b); i++) {
        part p = part_of(s, b, i);
        const uint16_t *from = b->piece;
        MSX_TRY(fetch(s, &p, b->piece));
        for (int64_t y = 0; y < p.cut.height; y++)
            for (int64_t x = 0; x < p.cut.width; x++)
                voxels[p.cut.start + y * p.cut.step_y + x * p.cut.step_x] = *from++;
    }
    return msx__check_cancel(s->ctx);
}

static msx_status largest_label(const msx_slices *s, block *b, uint16_t *out) {
    *out = 0;
    b->first = b->n = 0;
    while (block_next(b, s->space)) {
        MSX_TRY(collect(s, b));
        const uint16_t *voxel = b->voxels;
        for (int64_t i = 0; i < b->n * b->plane; i++)
            if (voxel[i] > *out) *out = voxel[i];
    }
    return MSX_OK;
}

static msx_status save(const msx_slices *s, block *b, const char *path) {
    uint16_t largest;
    MSX_TRY(largest_label(s, b, &largest));
    msx__nifti_writer w;
    MSX_TRY(msx__nifti_create(&w, s->space, largest, path));
    msx_status status = MSX_OK;
    b->first = b->n = 0;
    while (status == MSX_OK && block_next(b, s->space)) {
        status = collect(s, b);
        if (status == MSX_OK) status = msx__nifti_labels(&w, b->voxels, b->n * b->plane);
    }
    return msx__nifti_commit(&w, status);
}

msx_status msx_slices_save_labels(const msx_slices *s, const char *path) {
    if (!s || !path)
        return msx__fail(s ? s->ctx : NULL, MSX_E_ARG, "msx_slices_save_labels: NULL argument");
    if (s->type == MSX_PIXEL_F32)
        return msx__fail(s->ctx, MSX_E_ARG, "labels are 8 or 16 bit slices, these are float32");
    block b = {0};
    msx_status status = block_begin(&b, s->space, sizeof(uint16_t));
    if (status == MSX_OK) status = save(s, &b, path);
    block_end(&b, s->ctx);
    return status;
}
