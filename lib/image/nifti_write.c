/* SPDX-License-Identifier: Apache-2.0 */
/* Writing label volumes as NIfTI: little-endian, geometry kept, no free text and no times, so that
 * equal labels give equal bytes and no patient's data leaks from the input's header. */
#include "image/nifti_file.h"

#include <math.h>
#include <string.h>

static void *allocate(void *ctx, unsigned count, unsigned size) {
    return msx__alloc(ctx, count, size);
}
static void release(void *ctx, void *memory) {
    msx__free(ctx, memory);
}

static msx_status sink_open(msx__nifti_writer *s, msx_ctx *ctx, const char *path) {
    size_t length = strlen(path);
    *s = (msx__nifti_writer){.gzip = length > 3 && !strcmp(path + length - 3, ".gz")};
    MSX_TRY(msx__output_open(&s->file, ctx, path));
    if (!s->gzip) return MSX_OK;
    s->stream = (z_stream){.zalloc = allocate, .zfree = release, .opaque = ctx};
    s->packed = msx__alloc(ctx, MSX__SINK_CHUNK, 1);
    /* 15 + 16: a gzip wrapper; zlib leaves its time and name empty. */
    if (s->packed &&
        deflateInit2(&s->stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK)
        return MSX_OK;
    msx__free(ctx, s->packed);
    msx__output_discard(&s->file);
    return MSX_E_NOMEM;
}

static msx_status sink_write(msx__nifti_writer *s, const void *bytes, size_t n, int flush) {
    if (!s->gzip) return msx__output_write(&s->file, bytes, n);
    s->stream.next_in = (Bytef *)bytes;
    s->stream.avail_in = (uInt)n;
    do {
        s->stream.next_out = s->packed;
        s->stream.avail_out = MSX__SINK_CHUNK;
        deflate(&s->stream, flush);
        MSX_TRY(msx__output_write(&s->file, s->packed, MSX__SINK_CHUNK - s->stream.avail_out));
    } while (s->stream.avail_out == 0);
    return MSX_OK;
}

static void fill_header(msx__nifti_header *h, const msx_volume *v, int bytes) {
    const msx__geometry *g = &v->geometry;
    const uint16_t one = 1;
    *h = (msx__nifti_header){.version = 1, .swapped = !*(const uint8_t *)&one};
    for (int i = 0; i < 3; i++)
        if (v->dim[i] > INT16_MAX) h->version = 2;
    int32_t size = h->version == 1 ? MSX__NIFTI1_BYTES : MSX__NIFTI2_BYTES;
    memcpy(h->bytes, &size, 4);
    if (h->swapped) msx__swap_bytes(h->bytes, 1, 4);
    if (h->version == 1)
        memcpy(h->bytes + 344, "n+1", 4);
    else
        memcpy(h->bytes + 4, "n+2\0\r\n\032\n", 8);
    msx__nifti_set(h, NIFTI_DIM, 0, 3);
    for (int i = 1; i < 8; i++) msx__nifti_set(h, NIFTI_DIM, i, i <= 3 ? (double)v->dim[i - 1] : 1);
    msx__nifti_set(h, NIFTI_DATATYPE, 0, bytes == 1 ? 2 : 512);
    msx__nifti_set(h, NIFTI_BITPIX, 0, bytes * 8);
    msx__nifti_set(h, NIFTI_VOX_OFFSET, 0, size + 4);
    msx__nifti_set(h, NIFTI_SLOPE, 0, 1);
    msx__nifti_set(h, NIFTI_UNITS, 0, g->units);
    msx__nifti_set(h, NIFTI_QFORM_CODE, 0, g->qform_code);
    msx__nifti_set(h, NIFTI_SFORM_CODE, 0, g->sform_code);
    for (int i = 0; i < 8; i++) msx__nifti_set(h, NIFTI_PIXDIM, i, i < 4 ? g->pixdim[i] : 1);
    for (int i = 0; i < 3; i++) {
        msx__nifti_set(h, NIFTI_QUATERN, i, g->quatern[i]);
        msx__nifti_set(h, NIFTI_QOFFSET, i, g->qoffset[i]);
    }
    for (int i = 0; i < 12; i++) msx__nifti_set(h, NIFTI_SROW, i, g->srow[i]);
}

msx_status msx__nifti_create(msx__nifti_writer *w, const msx_volume *space, uint16_t largest,
                             const char *path) {
    static const unsigned char no_extensions[4] = {0};
    msx__nifti_header h;
    int bytes = largest > 255 ? 2 : 1;
    fill_header(&h, space, bytes);
    size_t header = h.version == 1 ? MSX__NIFTI1_BYTES : MSX__NIFTI2_BYTES;
    MSX_TRY(sink_open(w, space->ctx, path));
    w->bytes = bytes;
    msx_status status = sink_write(w, h.bytes, header, Z_NO_FLUSH);
    if (status == MSX_OK) status = sink_write(w, no_extensions, 4, Z_NO_FLUSH);
    return status < 0 ? msx__nifti_commit(w, status) : MSX_OK;
}

msx_status msx__nifti_labels(msx__nifti_writer *w, const uint16_t *labels, int64_t n) {
    unsigned char chunk[MSX__SINK_CHUNK];
    int64_t per_chunk = MSX__SINK_CHUNK / w->bytes;
    for (int64_t at = 0; at < n; at += per_chunk) {
        int64_t part = n - at < per_chunk ? n - at : per_chunk;
        for (int64_t i = 0; i < part; i++) {
            chunk[i * w->bytes] = (unsigned char)(labels[at + i] & 0xff);
            if (w->bytes == 2) chunk[i * 2 + 1] = (unsigned char)(labels[at + i] >> 8);
        }
        MSX_TRY(sink_write(w, chunk, (size_t)(part * w->bytes), Z_NO_FLUSH));
    }
    return MSX_OK;
}

msx_status msx__nifti_commit(msx__nifti_writer *w, msx_status status) {
    msx_ctx *ctx = w->file.ctx;
    if (w->gzip) {
        if (status == MSX_OK) status = sink_write(w, NULL, 0, Z_FINISH);
        deflateEnd(&w->stream);
        msx__free(ctx, w->packed);
    }
    if (status == MSX_OK) return msx__output_commit(&w->file);
    msx__output_discard(&w->file);
    return status;
}

/* The largest label; refuses what is no label. */
static msx_status largest_label(uint16_t *out, const msx_volume *v) {
    *out = 0;
    int64_t n = v->dim[0] * v->dim[1] * v->dim[2];
    for (int64_t i = 0; i < n; i++) {
        float x = v->data[i];
        if (!(x >= 0 && x <= 65535 && x == rintf(x))) {
            int64_t at[3];
            msx__voxel_index(v, i, at);
            return msx__fail(v->ctx, MSX_E_ARG,
                             "voxel (%" PRId64 ", %" PRId64 ", %" PRId64
                             ") is %g; labels are whole numbers from 0 to 65535",
                             at[0], at[1], at[2], (double)x);
        }
        if (x > *out) *out = (uint16_t)x;
    }
    return MSX_OK;
}

msx_status msx_volume_save_labels(const msx_volume *v, const char *path) {
    if (!v || !v->data || !path)
        return msx__fail(v ? v->ctx : NULL, MSX_E_ARG,
                         "msx_volume_save_labels: NULL argument, or a volume without voxels");
    uint16_t largest, chunk[4096];
    MSX_TRY(largest_label(&largest, v));
    msx__nifti_writer w;
    MSX_TRY(msx__nifti_create(&w, v, largest, path));
    msx_status status = MSX_OK;
    int64_t n = v->dim[0] * v->dim[1] * v->dim[2], per_chunk = sizeof chunk / sizeof *chunk;
    for (int64_t at = 0; status == MSX_OK && at < n; at += per_chunk) {
        int64_t part = n - at < per_chunk ? n - at : per_chunk;
        for (int64_t i = 0; i < part; i++) chunk[i] = (uint16_t)v->data[at + i];
        status = msx__nifti_labels(&w, chunk, part);
    }
    return msx__nifti_commit(&w, status);
}
