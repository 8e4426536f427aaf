/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings in files: safetensors with one tensor and what is needed to refuse the wrong model. The
 * format is described in docs/formats/embedding.md. */
#include "model/results.h"

#include <medsamix/checkpoint.h>

#include <stdlib.h>
#include <string.h>

static const char TENSOR[] = "embedding", VERSION[] = "1";
static const char KEY_VERSION[] = "medsamix.embedding", KEY_PRESET[] = "medsamix.embedding.preset",
                  KEY_ENCODER[] = "medsamix.embedding.encoder",
                  KEY_SIZES[] = "medsamix.embedding.sizes";

/* ---- the encoder's hash --------------------------------------------------------------------------- */

static msx_status hash_tensor(msx__sha256 *h, const msx_model *m, int64_t i, float *staging) {
    const char *name = msx_arch_tensor_name(m->arch, i);
    const float *weights = m->weights + m->offsets[i];
    size_t bytes = (size_t)msx__tensor_floats(m, i) * sizeof(float);
    if (staging) MSX_RUN(m->device, download, staging, weights, bytes);
    msx__sha256_add(h, name, strlen(name) + 1);
    msx__sha256_add(h, staging ? staging : weights, bytes);
    return MSX_OK;
}

/* `m` is seen from a seat. */
static msx_status hash_tensors(const msx_model *m, char out[MSX__SHA256_HEX]) {
    static const char prefix[] = "image_encoder.";
    int64_t n = msx_arch_tensor_count(m->arch), largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (msx__tensor_floats(m, i) > largest) largest = msx__tensor_floats(m, i);
    float *staging = NULL;
    if (!m->device->k->host_memory &&
        !(staging = msx__alloc(m->ctx, (size_t)largest, sizeof *staging)))
        return MSX_E_NOMEM;
    msx__sha256 h;
    msx__sha256_begin(&h);
    msx_status status = MSX_OK;
    for (int64_t i = 0; i < n && status == MSX_OK; i++)
        if (!strncmp(msx_arch_tensor_name(m->arch, i), prefix, sizeof prefix - 1))
            status = hash_tensor(&h, m, i, staging);
    msx__free(m->ctx, staging);
    if (status == MSX_OK) msx__sha256_hex(&h, out);
    return status;
}

/* Of names and float32 values of the image encoder: the same for all containers and element types
 * that hold the same values. Kept until weights are replaced. Threads that ask at the same time may
 * both compute it. */
static msx_status hash_encoder(msx_model *m, char out[MSX__SHA256_HEX]) {
    msx__seats_lock(m->device);
    memcpy(out, m->encoder_hash, MSX__SHA256_HEX);
    msx__seats_unlock(m->device);
    if (out[0]) return MSX_OK;
    msx__seat *seat;
    MSX_TRY(msx__seat_take(m->device, 1, &seat));
    msx_model view = msx__model_at(m, seat);
    msx_status status = hash_tensors(&view, out);
    msx__seat_leave(m->device, seat);
    MSX_TRY(status);
    msx__seats_lock(m->device);
    memcpy(m->encoder_hash, out, MSX__SHA256_HEX);
    msx__seats_unlock(m->device);
    return MSX_OK;
}

/* ---- saving --------------------------------------------------------------------------------------- */

/* "640 480 1024 768;..." */
static msx_status set_sizes(msx_checkpoint *c, const msx_embedding *e) {
    msx__buffer text;
    msx__buffer_init(&text, e->ctx);
    for (int64_t i = 0; i < e->n; i++) {
        const msx__extent *x = e->extents + i;
        msx__buffer_printf(&text, "%s%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, i ? ";" : "",
                           x->width, x->height, x->resized_width, x->resized_height);
    }
    msx_status status =
        text.failed ? MSX_E_NOMEM : msx_checkpoint_set_meta(c, KEY_SIZES, text.data);
    msx__buffer_free(&text);
    return status;
}

static msx_status fill(msx_checkpoint *c, const msx_embedding *e, const msx_model *m,
                       const char *encoder) {
    int64_t dims[4] = {e->n, e->channels, m->grid, m->grid}, floats = e->channels * e->tokens;
    MSX_TRY(msx_checkpoint_add(c, TENSOR, 4, dims, NULL));
    float *data = msx_checkpoint_data(c, 0);
    for (int64_t i = 0; i < e->n; i++) MSX_TRY(msx_embedding_read(e, i, data + i * floats, floats));
    MSX_TRY(msx_checkpoint_set_meta(c, KEY_VERSION, VERSION));
    MSX_TRY(msx_checkpoint_set_meta(c, KEY_PRESET, msx_preset_name(m->preset)));
    MSX_TRY(msx_checkpoint_set_meta(c, KEY_ENCODER, encoder));
    return set_sizes(c, e);
}

msx_status msx_embedding_save(const msx_embedding *e, msx_model *m, const char *path) {
    if (!e) return MSX_E_ARG;
    if (!m || !path) return msx__fail(e->ctx, MSX_E_ARG, "msx_embedding_save: NULL argument");
    if (e->stamp != m->stamp)
        return msx__fail(e->ctx, MSX_E_ARG,
                         "%s: the embedding was made by another model, or before this one's "
                         "weights were replaced; encode the images again",
                         path);
    char hash[MSX__SHA256_HEX];
    MSX_TRY(hash_encoder(m, hash));
    msx_checkpoint *c;
    MSX_TRY(msx_checkpoint_create(&c, e->ctx));
    msx_status status = fill(c, e, m, hash);
    const msx_save_options options = {.struct_size = sizeof options, .container = "safetensors"};
    if (status == MSX_OK) status = msx_checkpoint_save(c, path, &options);
    msx_checkpoint_free(c);
    return status;
}

/* ---- loading -------------------------------------------------------------------------------------- */

static msx_status check_version(const msx_model *m, const msx_checkpoint *c, const char *path) {
    const char *version = msx_checkpoint_meta(c, KEY_VERSION);
    if (strcmp(msx_checkpoint_container(c), "safetensors") != 0 || !version)
        return msx__fail(m->ctx, MSX_E_FORMAT,
                         "%s: is no embedding file (safetensors with the metadata '%s'); make one "
                         "with msx_embedding_save()",
                         path, KEY_VERSION);
    if (strcmp(version, VERSION) != 0)
        return msx__fail(m->ctx, MSX_E_UNSUPPORTED,
                         "%s: version '%.32s' of the embedding format; this library reads %s", path,
                         version, VERSION);
    return MSX_OK;
}

static msx_status check_tensor(const msx_model *m, const msx_checkpoint *c, const char *path) {
    bool one = msx_checkpoint_count(c) == 1 && msx_checkpoint_find(c, TENSOR) == 0;
    if (!one || msx_checkpoint_dtype(c, 0) != MSX_DTYPE_F32 || msx_checkpoint_rank(c, 0) != 4)
        return msx__fail(m->ctx, MSX_E_FORMAT,
                         "%s: must hold exactly one tensor '%s' of float32 and rank 4", path,
                         TENSOR);
    int64_t d[4];
    for (int a = 0; a < 4; a++) d[a] = msx_checkpoint_dim(c, 0, a);
    if (d[0] < 1) return msx__fail(m->ctx, MSX_E_FORMAT, "%s: holds no images", path);
    if (d[1] != m->channels || d[2] != m->grid || d[3] != m->grid)
        return msx__fail(m->ctx, MSX_E_SHAPE,
                         "%s: embeddings of (%" PRId64 ", %" PRId64 ", %" PRId64
                         "), this model's are (%" PRId64 ", %" PRId64 ", %" PRId64
                         "); encode the images again with this model",
                         path, d[1], d[2], d[3], m->channels, m->grid, m->grid);
    return MSX_OK;
}

static msx_status check_maker(msx_model *m, const msx_checkpoint *c, const char *path) {
    const char *preset = msx_checkpoint_meta(c, KEY_PRESET);
    const char *encoder = msx_checkpoint_meta(c, KEY_ENCODER);
    if (!preset || !encoder)
        return msx__fail(m->ctx, MSX_E_FORMAT, "%s: the metadata '%s' is missing", path,
                         preset ? KEY_ENCODER : KEY_PRESET);
    if (strcmp(preset, msx_preset_name(m->preset)) != 0)
        return msx__fail(m->ctx, MSX_E_SHAPE,
                         "%s: made with the preset '%.32s', but the model was loaded with '%s'; "
                         "load the model with the file's preset",
                         path, preset, msx_preset_name(m->preset));
    char hash[MSX__SHA256_HEX];
    MSX_TRY(hash_encoder(m, hash));
    if (strcmp(encoder, hash) != 0)
        return msx__fail(m->ctx, MSX_E_SHAPE,
                         "%s: made by another image encoder (SHA-256 %.12s..., this model's is "
                         "%.12s...); encode the images again with this model",
                         path, encoder, hash);
    return MSX_OK;
}

/* One number of digits only, followed by `end`; NULL when it is not there. */
static const char *parse_number(const char *text, char end, int64_t *out) {
    *out = 0;
    const char *first = text;
    for (; *text >= '0' && *text <= '9'; text++)
        if (!msx__mul(*out, 10, out) || !msx__add(*out, *text - '0', out)) return NULL;
    return text > first && *text == end ? text + (end != 0) : NULL;
}

static msx_status read_sizes(msx_embedding *e, const msx_checkpoint *c, const char *path) {
    const char *at = msx_checkpoint_meta(c, KEY_SIZES);
    for (int64_t i = 0; i < e->n && at; i++) {
        int64_t s[4];
        for (int k = 0; k < 4 && at; k++)
            at = parse_number(at, k < 3 ? ' ' : i + 1 < e->n ? ';' : 0, &s[k]);
        if (at) MSX_TRY(msx__embedding_place(e, i, s, path));
    }
    if (at) return MSX_OK;
    return msx__fail(e->ctx, MSX_E_FORMAT,
                     "%s: the metadata '%s' is not four numbers for each of %" PRId64
                     " images, as in '640 480 1024 768;...'",
                     path, KEY_SIZES, e->n);
}

/* (B, C, g, g) of the host to (B, N, C) on the device. */
static msx_status upload_turned(const msx_embedding *e, msx_device *d, const float *host,
                                int64_t floats) {
    float *turned;
    MSX_TRY(msx__device_alloc(d, &turned, floats));
    int code = d->k->upload(d->dev, turned, host, (size_t)floats * sizeof *host);
    if (code == MSXK_OK)
        code = d->k->transpose(d->dev, e->data, turned, e->n, e->channels, e->tokens);
    msx__device_release(d, turned);
    return msx__device_status(d, code);
}

static msx_status read_data(msx_embedding *e, const msx_checkpoint *c) {
    int64_t floats = e->n * e->channels * e->tokens;
    float *host = msx__alloc(e->ctx, (size_t)floats, sizeof *host);
    if (!host) return MSX_E_NOMEM;
    msx__seat *seat;
    msx_status status = msx_checkpoint_read(c, 0, host, floats);
    if (status == MSX_OK) status = msx__seat_take(e->device, msx_ctx_threads(e->ctx), &seat);
    if (status == MSX_OK) {
        status = upload_turned(e, &seat->device, host, floats);
        msx__seat_leave(e->device, seat);
    }
    msx__free(e->ctx, host);
    return status;
}

msx_status msx_embedding_load(msx_embedding **out, msx_model *m, const char *path) {
    if (!m) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || !path) return msx__fail(m->ctx, MSX_E_ARG, "msx_embedding_load: NULL argument");
    msx_checkpoint *c;
    msx_embedding *e = NULL;
    MSX_TRY(msx_checkpoint_open(&c, m->ctx, path));
    msx_status status = check_version(m, c, path);
    if (status == MSX_OK) status = check_tensor(m, c, path);
    if (status == MSX_OK) status = check_maker(m, c, path);
    if (status == MSX_OK)
        status = msx__embedding_create(&e, m, (size_t)msx_checkpoint_dim(c, 0, 0));
    if (status == MSX_OK) status = read_sizes(e, c, path);
    if (status == MSX_OK) status = read_data(e, c);
    msx_checkpoint_free(c);
    if (status < 0) {
        msx_embedding_free(e);
        return status;
    }
    *out = e;
    return MSX_OK;
}
