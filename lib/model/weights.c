/* SPDX-License-Identifier: Apache-2.0 */
/* A model's weights: reading them from a checkpoint onto the device, and updating some of them. */
#include "model/weights.h"

#include "model/lanes.h"

#include <stdatomic.h>
#include <string.h>

/* New weights: embeddings of the old ones must not be saved as theirs. */
static void renew(msx_model *m) {
    static atomic_uint_fast64_t last;
    m->stamp = atomic_fetch_add(&last, 1) + 1;
    m->encoder_hash[0] = 0;
}

/* Rows whose distance is a multiple of 2 KB meet in few sets of a first-level cache and evict each other;
 * with some elements between them they do not. */
static int64_t hidden_distance(int64_t width) {
    return width % 512 ? width : width + 32;
}

/* Sizes that the graph works with. */
static void read_sizes(msx_model *m) {
    const struct {
        int64_t *to;
        msx_arch_key key;
    } sizes[] = {
        {&m->image_size, MSX_ARCH_IMAGE_SIZE},
        {&m->patch, MSX_ARCH_PATCH},
        {&m->grid, MSX_ARCH_GRID},
        {&m->width, MSX_ARCH_WIDTH},
        {&m->depth, MSX_ARCH_DEPTH},
        {&m->heads, MSX_ARCH_HEADS},
        {&m->mlp, MSX_ARCH_MLP},
        {&m->channels, MSX_ARCH_DECODER_WIDTH},
        {&m->layers, MSX_ARCH_DECODER_LAYERS},
        {&m->masks, MSX_ARCH_MASK_TOKENS},
        {&m->decoder_mlp, MSX_ARCH_DECODER_MLP},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        *sizes[i].to = msx_arch_get(m->arch, sizes[i].key);
    m->tokens = m->grid * m->grid;
    m->hidden = hidden_distance(m->mlp);
    m->inner = m->channels / msx_arch_get(m->arch, MSX_ARCH_ATTENTION_DOWNSAMPLE);
}

int64_t msx__tensor_floats(const msx_model *m, int64_t i) {
    int64_t dims[MSX_MAX_RANK], floats;
    int rank = msx_arch_tensor_shape(m->arch, i, dims);
    return msx__product(dims, rank, &floats) ? floats : -1;
}

float *msx__tensor_place(const msx_model *m, int64_t i) {
    return m->weights + m->offsets[i];
}

msx_status msx__model_renewed(msx_model *m) {
    renew(m);
    return msx__model_derive(m);
}

static msx_status place_weights(msx_model *m) {
    int64_t n = msx_arch_tensor_count(m->arch), total = 0;
    m->offsets = msx__alloc(m->ctx, (size_t)n, sizeof *m->offsets);
    if (!m->offsets) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        m->offsets[i] = total;
        total += msx__carved(msx__tensor_floats(m, i));
    }
    return msx__device_alloc(m->device, &m->weights, total);
}

/* The tensor of `c` that is number `i` of the architecture, with its shape checked. */
static msx_status find_tensor(const msx_model *m, const msx_checkpoint *c, int64_t i,
                              int64_t *found) {
    const char *name = msx_arch_tensor_name(m->arch, i), *path = msx_checkpoint_path(c);
    int64_t dims[MSX_MAX_RANK], t = msx_checkpoint_find(c, name);
    int rank = msx_arch_tensor_shape(m->arch, i, dims);
    bool same = t >= 0 && msx_checkpoint_rank(c, t) == rank;
    for (int a = 0; same && a < rank; a++) same = msx_checkpoint_dim(c, t, a) == dims[a];
    *found = t;
    if (same) return MSX_OK;
    return msx__fail(m->ctx, MSX_E_SHAPE, "%s: %s %s the model on the device",
                     *path ? path : "checkpoint", name,
                     t < 0 ? "is missing, but belongs to" : "has another shape than in");
}

/* Tensors whose byte in `changed` is set (all for NULL), straight into device memory where the host
 * may write there, else through one staging buffer. */
static msx_status read_weights(msx_model *m, const msx_checkpoint *c, const uint8_t *changed) {
    int64_t n = msx_arch_tensor_count(m->arch), largest = 0, found;
    for (int64_t i = 0; i < n; i++) {
        if (changed && !changed[i]) continue;
        MSX_TRY(find_tensor(m, c, i, &found));
        if (msx__tensor_floats(m, i) > largest) largest = msx__tensor_floats(m, i);
    }
    bool host = m->device->k->host_memory;
    float *staging = NULL;
    if (!host && !(staging = msx__alloc(m->ctx, (size_t)largest, sizeof *staging)))
        return MSX_E_NOMEM;
    msx_status status = MSX_OK;
    for (int64_t i = 0; i < n && status == MSX_OK; i++) {
        if (changed && !changed[i]) continue;
        int64_t floats = msx__tensor_floats(m, i);
        float *to = m->weights + m->offsets[i];
        status = find_tensor(m, c, i, &found);
        if (status == MSX_OK) status = msx_checkpoint_read(c, found, host ? to : staging, floats);
        if (status == MSX_OK && !host)
            status =
                msx__device_status(m->device, m->device->k->upload(m->device->dev, to, staging,
                                                                   (size_t)floats * sizeof(float)));
    }
    msx__free(m->ctx, staging);
    return status;
}

static msx_status build(msx_model *m, const msx_checkpoint *c) {
    MSX_TRY(msx_arch_infer(&m->arch, m->ctx, c));
    read_sizes(m);
    MSX_TRY(place_weights(m));
    MSX_TRY(msx__model_bind(m));
    MSX_TRY(msx__model_place_derived(m));
    if (msx__device_is_low(m->device)) MSX_TRY(msx__model_place_low(m));
    MSX_TRY(read_weights(m, c, NULL));
    return msx__model_derive(m);
}

msx_status msx_model_load(msx_model **out, msx_device *device, const msx_checkpoint *c,
                          msx_preset preset) {
    if (!device) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || !c) return msx__fail(device->ctx, MSX_E_ARG, "msx_model_load: NULL argument");
    if (!msx_preset_name(preset))
        return msx__fail(device->ctx, MSX_E_ARG, "preset %d is unknown", (int)preset);
    msx_model *m = msx__calloc(device->ctx, 1, sizeof *m);
    if (!m) return MSX_E_NOMEM;
    m->ctx = device->ctx;
    m->device = device;
    device->models++;
    m->preset = preset;
    renew(m);
    m->serial = m->stamp;
    msx__device_threads(device);
    msx_status status = build(m, c);
    if (status < 0) {
        msx_model_free(m);
        return status;
    }
    *out = m;
    return MSX_OK;
}

void msx_model_free(msx_model *m) {
    if (!m) return;
    msx__lanes_free(m);
    m->device->models--;
    msx__device_release(m->device, m->weights);
    msx__device_release(m->device, m->derived);
    msx__device_release(m->device, m->low);
    msx__device_release(m->device, m->work);
    msx__device_release(m->device, m->shared);
    msx__free(m->ctx, m->offsets);
    msx__free(m->ctx, m->blocks);
    msx__free(m->ctx, m->two_way);
    msx__free(m->ctx, m->hyper);
    msx__free(m->ctx, m->host);
    msx_arch_free(m->arch);
    msx__free(m->ctx, m);
}

msx_status msx_model_update(msx_model *m, const msx_checkpoint *c, const uint8_t *changed) {
    if (!m) return MSX_E_ARG;
    if (!c) return msx__fail(m->ctx, MSX_E_ARG, "msx_model_update: NULL checkpoint");
    msx__device_threads(m->device);
    renew(m);
    MSX_TRY(read_weights(m, c, changed));
    return msx__model_derive(m);
}

const msx_arch *msx_model_arch(const msx_model *m) {
    return m ? m->arch : NULL;
}

msx_preset msx_model_preset(const msx_model *m) {
    return m ? m->preset : (msx_preset)0;
}
