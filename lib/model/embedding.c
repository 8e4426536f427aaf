/* SPDX-License-Identifier: Apache-2.0 */
/* Image embeddings: encoding images or ready inputs, and reading embeddings back. */
#include "model/lanes.h"
#include "model/results.h"

#include <string.h>

msx_status msx__embedding_create(msx_embedding **out, msx_model *m, size_t n) {
    *out = NULL;
    if (n == 0) return msx__fail(m->ctx, MSX_E_ARG, "there are no images to encode");
    int64_t per_image = m->tokens * m->channels, floats;
    if (n > INT32_MAX || !msx__mul((int64_t)n, per_image, &floats))
        return msx__fail(m->ctx, MSX_E_ARG, "%zu images are too many for one embedding", n);
    msx_embedding *e = msx__calloc(m->ctx, 1, sizeof *e);
    if (!e) return MSX_E_NOMEM;
    *e = (msx_embedding){.ctx = m->ctx,
                         .device = m->device,
                         .n = (int64_t)n,
                         .channels = m->channels,
                         .tokens = m->tokens,
                         .image_size = m->image_size,
                         .stamp = m->stamp};
    e->extents = msx__calloc(m->ctx, n, sizeof *e->extents);
    msx_status status = e->extents ? msx__seats_alloc(m->device, &e->data, floats) : MSX_E_NOMEM;
    if (status < 0) {
        msx_embedding_free(e);
        return status;
    }
    *out = e;
    return MSX_OK;
}

void msx_embedding_free(msx_embedding *e) {
    if (!e) return;
    if (e->data) msx__seats_release(e->device, e->data);
    msx__free(e->ctx, e->extents);
    msx__free(e->ctx, e);
}

/* One call. */
typedef struct call {
    msx_embedding *e;
    const msx__sources *from;
    const msx__passage *passage;
    int64_t batch; /* images of a piece */
} call;

static float *place(const msx_model *m, const call *c, int64_t first) {
    return c->e->data + first * m->tokens * m->channels;
}

/* Images first .. first + n - 1. */
static msx_status encode_part(msx_model *m, const call *c, const msx__input *in, int64_t first,
                              int64_t n) {
    const msx__passage *whole = c->passage;
    int64_t floats = first * m->tokens * m->width;
    if (!whole) return msx__encode(m, in, NULL, n, place(m, c, first));
    float **keep = NULL;
    if (whole->keep && !(keep = msx__calloc(m->ctx, (size_t)m->depth + 1, sizeof *keep)))
        return MSX_E_NOMEM;
    for (int64_t k = 0; keep && k <= m->depth; k++)
        keep[k] = whole->keep[k] ? whole->keep[k] + floats : NULL;
    msx__passage part = {whole->x ? whole->x + floats : NULL, whole->first, keep};
    msx_status status = msx__encode(m, in, &part, n, place(m, c, first));
    msx__free(m->ctx, keep);
    return status;
}

/* Inputs made on the host. */
static msx_status encode_images(msx_model *m, const call *c, int64_t first, int64_t n) {
    int64_t size = m->image_size, pixels = 3 * size * size;
    float *input = msx__alloc(m->ctx, (size_t)n, (size_t)pixels * sizeof *input);
    if (!input) return MSX_E_NOMEM;
    msx_status status = MSX_OK;
    for (int64_t i = 0; i < n && status == MSX_OK; i++) {
        const msx_image *image = c->from->images[first + i];
        msx__extent *x = c->e->extents + first + i;
        x->width = msx_image_width(image);
        x->height = msx_image_height(image);
        status = msx_preprocess(m->ctx, m->preset, image, size, input + i * pixels,
                                &x->resized_width, &x->resized_height, NULL);
    }
    if (status == MSX_OK) status = encode_part(m, c, &(msx__input){.host = input}, first, n);
    msx__free(m->ctx, input);
    return status;
}

/* Inputs made on the device. */
typedef struct piece {
    const call *c;
    int64_t first;
} piece;

static msx_status fill_images(msx_model *m, float *input, int64_t batch, void *payload) {
    const piece *p = payload;
    for (int64_t i = 0; i < batch; i++)
        MSX_TRY(msx__prepare_there(m, p->c->from->images[p->first + i],
                                   input + i * 3 * m->image_size * m->image_size,
                                   p->c->e->extents + p->first + i));
    return MSX_OK;
}

static msx_status copy_inputs(msx_model *m, float *input, int64_t batch, void *payload) {
    const piece *p = payload;
    int64_t pixels = 3 * m->image_size * m->image_size;
    MSX_RUN(m->device, copy, input, p->c->from->input + p->first * pixels,
            (size_t)(batch * pixels) * sizeof *input);
    return MSX_OK;
}

/* Only the images' sizes are needed where the network begins behind the input. */
static msx_status place_images(msx_model *m, const call *c, int64_t first, int64_t n) {
    for (int64_t i = first; i < first + n; i++)
        MSX_TRY(msx__image_extent(m, c->from->images[i], c->e->extents + i));
    return encode_part(m, c, NULL, first, n);
}

static msx_status encode_piece(msx_model *m, int64_t i, void *payload) {
    const call *c = payload;
    const msx__sources *from = c->from;
    int64_t first = i * c->batch, n = c->e->n - first < c->batch ? c->e->n - first : c->batch;
    int64_t pixels = 3 * m->image_size * m->image_size;
    if (!from->input && c->passage && c->passage->x) return place_images(m, c, first, n);
    if (!from->input && !msx__prepares_there(m)) return encode_images(m, c, first, n);
    msx__input in = {.fill = fill_images, .payload = &(piece){c, first}};
    if (from->there)
        in.fill = copy_inputs;
    else if (from->input)
        in.host = from->input + first * pixels;
    return encode_part(m, c, &in, first, n);
}

static msx_status encode_all(msx_model *m, call *c) {
    c->batch = msx__encode_batch(m);
    return msx__run_pieces(m, (c->e->n + c->batch - 1) / c->batch, msx__encode_bytes(m),
                           encode_piece, c);
}

msx_status msx__embedding_place(msx_embedding *e, int64_t i, const int64_t s[4], const char *path) {
    if (s[0] < 1 || s[1] < 1 || s[2] < 1 || s[3] < 1 || s[2] > e->image_size ||
        s[3] > e->image_size)
        return msx__fail(e->ctx, path ? MSX_E_FORMAT : MSX_E_ARG,
                         "%s%simage %" PRId64 ": %" PRId64 " x %" PRId64 " pixels shown as %" PRId64
                         " x %" PRId64 " do not fit an input of %" PRId64 " x %" PRId64,
                         path ? path : "", path ? ": " : "", i, s[0], s[1], s[2], s[3],
                         e->image_size, e->image_size);
    e->extents[i] = (msx__extent){s[0], s[1], s[2], s[3]};
    return MSX_OK;
}

msx_status msx__model_encode_part(msx_embedding **out, msx_model *m, const msx__sources *from,
                                  const msx__passage *passage, size_t n) {
    *out = NULL;
    msx_embedding *e;
    MSX_TRY(msx__embedding_create(&e, m, n));
    call c = {.e = e, .from = from, .passage = passage};
    msx_status status = MSX_OK;
    for (int64_t i = 0; from->input && i < e->n && status == MSX_OK; i++)
        status = msx__embedding_place(e, i, from->sizes + 4 * i, NULL);
    if (status == MSX_OK) status = encode_all(m, &c);
    if (status < 0) {
        msx_embedding_free(e);
        return status;
    }
    *out = e;
    return MSX_OK;
}

msx_status msx_model_encode(msx_embedding **out, msx_model *m, const msx_image *const *images,
                            size_t n) {
    if (!m) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || (n && !images))
        return msx__fail(m->ctx, MSX_E_ARG, "msx_model_encode: NULL argument");
    for (size_t i = 0; i < n; i++)
        if (!images[i]) return msx__fail(m->ctx, MSX_E_ARG, "image %zu is NULL", i);
    return msx__model_encode_part(out, m, &(msx__sources){.images = images}, NULL, n);
}

msx_status msx_model_encode_input(msx_embedding **out, msx_model *m, const float *input,
                                  const int64_t *sizes, size_t n) {
    if (!m) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || !input || !sizes)
        return msx__fail(m->ctx, MSX_E_ARG, "msx_model_encode_input: NULL argument");
    const msx__sources from = {.input = input, .sizes = sizes};
    return msx__model_encode_part(out, m, &from, NULL, n);
}

int64_t msx_embedding_count(const msx_embedding *e) {
    return e ? e->n : -1;
}

msx_status msx_embedding_sizes(const msx_embedding *e, int64_t i, int64_t out[4]) {
    if (!e) return MSX_E_ARG;
    if (!out || i < 0 || i >= e->n)
        return msx__fail(e->ctx, MSX_E_ARG, "sizes of image %" PRId64 " of %" PRId64, i, e->n);
    const msx__extent *x = e->extents + i;
    memcpy(out, (int64_t[]){x->width, x->height, x->resized_width, x->resized_height},
           4 * sizeof *out);
    return MSX_OK;
}

/* Maps are channels last on the device; the caller gets (C, g, g). */
static msx_status download_turned(const msx_embedding *e, msx_device *d, int64_t i, float *out) {
    int64_t floats = e->channels * e->tokens;
    float *turned;
    MSX_TRY(msx__device_alloc(d, &turned, floats));
    int code = d->k->transpose(d->dev, turned, e->data + i * floats, 1, e->tokens, e->channels);
    if (code == MSXK_OK) code = d->k->download(d->dev, out, turned, (size_t)floats * sizeof *out);
    msx__device_release(d, turned);
    return msx__device_status(d, code);
}

msx_status msx_embedding_read(const msx_embedding *e, int64_t i, float *out, int64_t n) {
    if (!e) return MSX_E_ARG;
    int64_t floats = e->channels * e->tokens;
    if (!out || i < 0 || i >= e->n || n != floats)
        return msx__fail(e->ctx, MSX_E_ARG,
                         "embedding %" PRId64 " of %" PRId64 " into %" PRId64
                         " floats; an embedding has %" PRId64,
                         i, e->n, n, floats);
    msx__seat *seat;
    MSX_TRY(msx__seat_take(e->device, msx_ctx_threads(e->ctx), &seat));
    msx_status status = download_turned(e, &seat->device, i, out);
    msx__seat_leave(e->device, seat);
    return status;
}
