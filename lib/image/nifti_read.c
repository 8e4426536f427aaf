/* SPDX-License-Identifier: Apache-2.0 */
/* Reading NIfTI. Everything is checked against the file's size before memory is asked for. */
#include "image/nifti_file.h"

#include <math.h>
#include <string.h>

static msx_status bad(const msx__source *s, msx_status status, int64_t byte, const char *text) {
    return msx__fail(s->file.ctx, status, "%s: byte %" PRId64 ": %s", s->file.path, byte, text);
}

/* Version and byte order from the header's size, which is its first number. */
static bool recognise(msx__nifti_header *h) {
    int32_t size;
    memcpy(&size, h->bytes, 4);
    for (int swapped = 0; swapped < 2; swapped++) {
        h->swapped = swapped;
        h->version = size == MSX__NIFTI1_BYTES ? 1 : size == MSX__NIFTI2_BYTES ? 2 : 0;
        if (h->version) return true;
        msx__swap_bytes((unsigned char *)&size, 1, 4);
    }
    return false;
}

static msx_status check_magic(const msx__source *s, const msx__nifti_header *h) {
    static const char magic2[8] = {'n', '+', '2', 0, '\r', '\n', 26, '\n'};
    int64_t at = h->version == 1 ? 344 : 4;
    const unsigned char *magic = h->bytes + at;
    if (!memcmp(magic, "ni1", 4) || !memcmp(magic, "ni2", 4))
        return bad(s, MSX_E_UNSUPPORTED, at,
                   "the header of a .hdr/.img pair; convert the pair into one .nii file");
    if (h->version == 2 && !memcmp(magic, magic2, 4) && memcmp(magic, magic2, 8))
        return bad(s, MSX_E_FORMAT, at,
                   "the NIfTI-2 magic is altered, as a transfer in text mode does; fetch the file "
                   "again");
    if (memcmp(magic, h->version == 1 ? "n+1" : magic2, h->version == 1 ? 4 : 8))
        return bad(s, MSX_E_FORMAT, at, "no NIfTI magic (an Analyze file?); convert it to .nii");
    return MSX_OK;
}

static msx_status read_header(msx__source *s, msx__nifti_header *h) {
    MSX_TRY(msx__source_read(s, h->bytes, MSX__NIFTI1_BYTES));
    if (!recognise(h)) return bad(s, MSX_E_FORMAT, 0, "not a NIfTI file");
    if (h->version == 2)
        MSX_TRY(msx__source_read(s, h->bytes + MSX__NIFTI1_BYTES,
                                 MSX__NIFTI2_BYTES - MSX__NIFTI1_BYTES));
    return check_magic(s, h);
}

static msx_status plan_extents(const msx__source *s, const msx__nifti_header *h,
                               msx__nifti_reader *p) {
    msx_ctx *ctx = s->file.ctx;
    int64_t rank = msx__nifti_integer(h, NIFTI_DIM, 0);
    if (rank < 1 || rank > 7)
        return msx__fail(ctx, MSX_E_FORMAT,
                         "%s: byte %" PRId64 ": %" PRId64 " dimensions; NIfTI has 1 to 7",
                         s->file.path, msx__nifti_offset(h, NIFTI_DIM, 0), rank);
    for (int i = 0; i < 3; i++) p->dim[i] = 1;
    for (int i = 1; i <= rank; i++) {
        int64_t extent = msx__nifti_integer(h, NIFTI_DIM, i),
                at = msx__nifti_offset(h, NIFTI_DIM, i);
        if (extent < 1)
            return msx__fail(ctx, MSX_E_FORMAT,
                             "%s: byte %" PRId64 ": dimension %d has extent %" PRId64, s->file.path,
                             at, i, extent);
        if (i > 3 && extent > 1)
            return msx__fail(ctx, MSX_E_UNSUPPORTED,
                             "%s: byte %" PRId64 ": dimension %d has extent %" PRId64
                             "; only 3-D volumes are read, split it into one file each",
                             s->file.path, at, i, extent);
        if (i <= 3) p->dim[i - 1] = extent;
    }
    return MSX_OK;
}

static msx_status plan_type(const msx__source *s, const msx__nifti_header *h,
                            msx__nifti_reader *p) {
    msx_ctx *ctx = s->file.ctx;
    int64_t code = msx__nifti_integer(h, NIFTI_DATATYPE, 0);
    int64_t at = msx__nifti_offset(h, NIFTI_DATATYPE, 0);
    p->type = msx__nifti_type_find(code);
    if (!p->type)
        return msx__fail(ctx, MSX_E_FORMAT, "%s: byte %" PRId64 ": datatype %" PRId64 " is unknown",
                         s->file.path, at, code);
    if (!p->type->convert)
        return msx__fail(ctx, MSX_E_UNSUPPORTED,
                         "%s: byte %" PRId64
                         ": voxels of type %s are not read; convert the file to "
                         "an integer or float type",
                         s->file.path, at, p->type->name);
    int64_t bits = msx__nifti_integer(h, NIFTI_BITPIX, 0);
    if (bits != p->type->bytes * 8)
        msx__log(ctx, MSX_LOG_WARNING,
                 "%s: byte %" PRId64 ": bitpix is %" PRId64 ", but %s voxels have %d; read as %s",
                 s->file.path, msx__nifti_offset(h, NIFTI_BITPIX, 0), bits, p->type->name,
                 p->type->bytes * 8, p->type->name);
    return MSX_OK;
}

/* The voxels must lie behind the header and inside the file, and fit the limit as float32. */
static msx_status plan_range(const msx__source *s, const msx__nifti_header *h,
                             msx__nifti_reader *p) {
    msx_ctx *ctx = s->file.ctx;
    int64_t header = h->version == 1 ? MSX__NIFTI1_BYTES : MSX__NIFTI2_BYTES, bytes, end;
    int64_t at = msx__nifti_offset(h, NIFTI_VOX_OFFSET, 0);
    p->offset = msx__nifti_integer(h, NIFTI_VOX_OFFSET, 0);
    if (p->offset == 0) p->offset = header + 4; /* unset by its writer; 4 bytes of extension flag */
    if (p->offset < header)
        return bad(s, MSX_E_FORMAT, at, "vox_offset is not a whole number behind the header");
    int64_t limit = msx_ctx_limit(ctx, MSX_LIMIT_VOLUME_BYTES);
    bool fits = msx__product(p->dim, 3, &p->voxels) && p->voxels <= limit / 4;
    if (!fits)
        return msx__fail(ctx, MSX_E_LIMIT,
                         "%s: byte %" PRId64 ": %" PRId64 " x %" PRId64 " x %" PRId64
                         " voxels as float32 are above the limit of %" PRId64
                         " bytes; raise the limit",
                         s->file.path, msx__nifti_offset(h, NIFTI_DIM, 1), p->dim[0], p->dim[1],
                         p->dim[2], limit);
    if (!msx__mul(p->voxels, p->type->bytes, &bytes) || !msx__add(bytes, p->offset, &end) ||
        end > msx__source_capacity(s))
        return msx__fail(ctx, MSX_E_FORMAT,
                         "%s: byte %" PRId64 ": %" PRId64 " x %" PRId64 " x %" PRId64
                         " voxels of %s from byte %" PRId64 " on cannot be in a file of %" PRId64
                         " bytes; it is truncated",
                         s->file.path, s->file.size, p->dim[0], p->dim[1], p->dim[2], p->type->name,
                         p->offset, s->file.size);
    return MSX_OK;
}

static void read_geometry(const msx__nifti_header *h, msx__geometry *g) {
    for (int i = 0; i < 4; i++) g->pixdim[i] = msx__nifti_real(h, NIFTI_PIXDIM, i);
    for (int i = 0; i < 3; i++) {
        g->quatern[i] = msx__nifti_real(h, NIFTI_QUATERN, i);
        g->qoffset[i] = msx__nifti_real(h, NIFTI_QOFFSET, i);
    }
    for (int i = 0; i < 12; i++) g->srow[i] = msx__nifti_real(h, NIFTI_SROW, i);
    g->qform_code = (int)msx__nifti_integer(h, NIFTI_QFORM_CODE, 0);
    g->sform_code = (int)msx__nifti_integer(h, NIFTI_SFORM_CODE, 0);
    g->units = (int)msx__nifti_integer(h, NIFTI_UNITS, 0) & 0xff;
}

static msx_status prepare(msx__nifti_reader *r) {
    msx__source *s = &r->source;
    msx__nifti_header *h = &r->header;
    MSX_TRY(read_header(s, h));
    MSX_TRY(plan_extents(s, h, r));
    MSX_TRY(plan_type(s, h, r));
    MSX_TRY(plan_range(s, h, r));
    double slope = msx__nifti_real(h, NIFTI_SLOPE, 0), inter = msx__nifti_real(h, NIFTI_INTER, 0);
    r->slope = 1;
    if (isfinite(slope) && slope != 0) {
        r->slope = slope;
        r->inter = isfinite(inter) ? inter : 0;
    }
    r->raw = msx__alloc(s->file.ctx, MSX__SOURCE_CHUNK, 1);
    if (!r->raw) return MSX_E_NOMEM;
    return msx__source_skip(s, r->offset - s->at);
}

msx_status msx__nifti_open(msx__nifti_reader *r, msx_ctx *ctx, const char *path) {
    *r = (msx__nifti_reader){.voxels = 0};
    MSX_TRY(msx__source_open(&r->source, ctx, path));
    msx_status status = prepare(r);
    if (status < 0) msx__nifti_close(r);
    return status;
}

void msx__nifti_close(msx__nifti_reader *r) {
    if (r->source.file.ctx) msx__free(r->source.file.ctx, r->raw);
    msx__source_close(&r->source);
    *r = (msx__nifti_reader){.voxels = 0};
}

msx_status msx__nifti_rewind(msx__nifti_reader *r) {
    msx__source_rewind(&r->source);
    return msx__source_skip(&r->source, r->offset);
}

void msx__nifti_space(const msx__nifti_reader *r, msx_volume *v) {
    read_geometry(&r->header, &v->geometry);
    msx__geometry_settle(v->ctx, v->name, v->dim, &v->geometry, v->affine);
}

msx_status msx__nifti_voxels(msx__nifti_reader *r, float *out, int64_t n) {
    msx_ctx *ctx = r->source.file.ctx;
    int64_t per_chunk = MSX__SOURCE_CHUNK / r->type->bytes;
    for (int64_t at = 0; at < n; at += per_chunk) {
        int64_t part = n - at < per_chunk ? n - at : per_chunk;
        MSX_TRY(msx__check_cancel(ctx));
        MSX_TRY(msx__source_read(&r->source, r->raw, (size_t)(part * r->type->bytes)));
        if (r->header.swapped) msx__swap_bytes(r->raw, part, r->type->bytes);
        r->type->convert(r->raw, out + at, part, r->slope, r->inter);
    }
    return MSX_OK;
}

msx_status msx__nifti_finish(msx__nifti_reader *r) {
    bool rest;
    MSX_TRY(msx__source_finish(&r->source, &rest));
    if (rest)
        msx__log(r->source.file.ctx, MSX_LOG_WARNING, "%s: bytes behind the last voxel are ignored",
                 r->source.file.path);
    return MSX_OK;
}

static msx_status load(msx_volume **out, msx__nifti_reader *r) {
    MSX_TRY(msx__volume_new(out, r->source.file.ctx, r->source.file.path, r->dim));
    msx__nifti_space(r, *out);
    MSX_TRY(msx__nifti_voxels(r, (*out)->data, r->voxels));
    return msx__nifti_finish(r);
}

msx_status msx_volume_load(msx_volume **out, msx_ctx *ctx, const char *path) {
    if (!out || !ctx || !path) return msx__fail(ctx, MSX_E_ARG, "msx_volume_load: NULL argument");
    *out = NULL;
    msx__nifti_reader r;
    MSX_TRY(msx__nifti_open(&r, ctx, path));
    msx_volume *v = NULL;
    msx_status status = load(&v, &r);
    msx__nifti_close(&r);
    if (status < 0)
        msx_volume_free(v);
    else
        *out = v;
    return status;
}
