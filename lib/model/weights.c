/* SPDX-License-Identifier: Apache-2.0 */
/* A model's weights: reading them from a checkpoint onto the device, and updating some of them. */
#include "model/weights.h"

#include "checkpoint/positions.h"

#include <stdatomic.h>
#include <string.h>

/* New weights: embeddings of the old ones must not be saved as theirs. */
static void renew(msx_model *m) {
    static atomic_uint_fast64_t last;
    m->stamp = atomic_fetch_add(&last, 1) + 1;
    m->encoder_hash[0] = 0;
}

/* Rows whose distance is a multiple of 2 KB meet in few sets of a CPU's first-level cache and evict each
 * other; with some elements between them they do not. */
static int64_t hidden_distance(const msx_model *m) {
    return m->device->k->host_memory && m->mlp % 512 == 0 ? m->mlp + 32 : m->mlp;
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
    m->hidden = hidden_distance(m);
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

/* Work on a model's weights, during which nobody else uses it and it has a seat itself. `c` and
 * `changed` are passed on. */
typedef msx_status (*weights_fn)(msx_model *m, const msx_checkpoint *c, const uint8_t *changed);

static msx_status at_seat(msx_model *m, weights_fn work, const msx_checkpoint *c,
                          const uint8_t *changed) {
    msx_device *device = m->device;
    msx__seat *seat;
    MSX_TRY(msx__seat_take(device, msx_ctx_threads(m->ctx), &seat));
    m->device = &seat->device;
    m->seat = seat;
    msx_status status = work(m, c, changed);
    m->device = device;
    m->seat = NULL;
    msx__seat_leave(device, seat);
    return status;
}

static msx_status derive(msx_model *m, const msx_checkpoint *c, const uint8_t *changed) {
    (void)c;
    return msx__model_derive(m, changed);
}

msx_status msx__model_renewed(msx_model *m, const uint8_t *changed) {
    renew(m);
    return at_seat(m, derive, NULL, changed);
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

static bool has_shape(const msx_checkpoint *c, int64_t t, const msx_arch *a, int64_t i) {
    int64_t dims[MSX_MAX_RANK];
    int rank = msx_arch_tensor_shape(a, i, dims);
    bool same = t >= 0 && msx_checkpoint_rank(c, t) == rank;
    for (int axis = 0; same && axis < rank; axis++)
        same = msx_checkpoint_dim(c, t, axis) == dims[axis];
    return same;
}

/* The tensor of `c` that is number `i` of the architecture, and the architecture whose shape it has:
 * the model's, or that of the other input size it was loaded from. */
static msx_status find_tensor(const msx_model *m, const msx_checkpoint *c, int64_t i,
                              int64_t *found, const msx_arch **shape) {
    const char *name = msx_arch_tensor_name(m->arch, i), *path = msx_checkpoint_path(c);
    int64_t t = *found = msx_checkpoint_find(c, name);
    *shape = m->arch;
    if (has_shape(c, t, m->arch, i)) return MSX_OK;
    *shape = m->source;
    if (m->source && has_shape(c, t, m->source, i)) return MSX_OK;
    return msx__fail(m->ctx, MSX_E_SHAPE, "%s: %s %s the model on the device",
                     *path ? path : "checkpoint", name,
                     t < 0 ? "is missing, but belongs to" : "has another shape than in");
}

/* Tensor `i` to memory of the host. */
static msx_status read_tensor(const msx_model *m, const msx_checkpoint *c, int64_t i, float *to) {
    int64_t found;
    const msx_arch *shape;
    MSX_TRY(find_tensor(m, c, i, &found, &shape));
    int64_t floats = msx_checkpoint_elements(c, found);
    if (shape == m->arch) return msx_checkpoint_read(c, found, to, floats);
    float *table = msx__alloc(m->ctx, (size_t)floats, sizeof *table);
    if (!table) return MSX_E_NOMEM;
    msx_status status = msx_checkpoint_read(c, found, table, floats);
    if (status == MSX_OK)
        status = msx__positions_resample(m->ctx, to, m->arch, table, shape, i, m->positions);
    msx__free(m->ctx, table);
    return status;
}

/* Tensors whose byte in `changed` is set (all for NULL), straight into device memory where the host
 * may write there, else through one staging buffer. */
static msx_status read_weights(msx_model *m, const msx_checkpoint *c, const uint8_t *changed) {
    int64_t n = msx_arch_tensor_count(m->arch), largest = 0, found;
    const msx_arch *shape;
    for (int64_t i = 0; i < n; i++) {
        if (changed && !changed[i]) continue;
        MSX_TRY(find_tensor(m, c, i, &found, &shape));
        if (msx__tensor_floats(m, i) > largest) largest = msx__tensor_floats(m, i);
    }
    bool host = m->device->k->host_memory;
    float *staging = NULL;
    if (!host && !(staging = msx__alloc(m->ctx, (size_t)largest, sizeof *staging)))
        return MSX_E_NOMEM;
    msx_status status = MSX_OK;
    for (int64_t i = 0; i < n && status == MSX_OK; i++) {
        if (changed && !changed[i]) continue;
        float *to = m->weights + m->offsets[i];
        status = read_tensor(m, c, i, host ? to : staging);
        if (status == MSX_OK && !host)
            status = msx__device_status(
                m->device, m->device->k->upload(m->device->dev, to, staging,
                                                (size_t)msx__tensor_floats(m, i) * sizeof(float)));
    }
    msx__free(m->ctx, staging);
    return status;
}

/* The architecture, of the input size that `m->image_size` asks for. */
static msx_status find_arch(msx_model *m, const msx_checkpoint *c) {
    MSX_TRY(msx_arch_infer(&m->arch, m->ctx, c));
    if (!m->image_size || m->image_size == msx_arch_get(m->arch, MSX_ARCH_IMAGE_SIZE))
        return MSX_OK;
    m->source = m->arch;
    return msx__arch_resize(&m->arch, m->source, m->image_size);
}

static msx_status reread(msx_model *m, const msx_checkpoint *c, const uint8_t *changed) {
    MSX_TRY(read_weights(m, c, changed));
    return msx__model_derive(m, changed);
}

static msx_status build(msx_model *m, const msx_checkpoint *c, const uint8_t *changed) {
    MSX_TRY(find_arch(m, c));
    read_sizes(m);
    MSX_TRY(place_weights(m));
    MSX_TRY(msx__model_bind(m));
    MSX_TRY(msx__model_place_derived(m));
    if (msx__device_is_low(m->device)) MSX_TRY(msx__model_place_low(m));
    return reread(m, c, changed);
}

msx_status msx_model_load(msx_model **out, msx_device *device, const msx_checkpoint *c,
                          msx_preset preset) {
    msx_model_options o = MSX_MODEL_OPTIONS;
    o.preset = preset;
    return msx_model_load_with(out, device, c, &o);
}

static msx_status check_options(msx_ctx *ctx, const msx_model_options *o) {
    if (o->struct_size != sizeof *o)
        return msx__fail(ctx, MSX_E_ARG, "model options: begin with MSX_MODEL_OPTIONS");
    if (!msx_preset_name(o->preset))
        return msx__fail(ctx, MSX_E_ARG, "preset %d is unknown", (int)o->preset);
    if (!msx__positions_known(o->positions))
        return msx__fail(ctx, MSX_E_ARG, "positions %d are unknown", (int)o->positions);
    if (o->image_size < 0)
        return msx__fail(ctx, MSX_E_ARG, "an input of %" PRId64 " pixels", o->image_size);
    return MSX_OK;
}

msx_status msx_model_load_with(msx_model **out, msx_device *device, const msx_checkpoint *c,
                               const msx_model_options *o) {
    static const msx_model_options defaults = MSX_MODEL_OPTIONS;
    if (!device) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || !c) return msx__fail(device->ctx, MSX_E_ARG, "msx_model_load: NULL argument");
    if (!o) o = &defaults;
    MSX_TRY(check_options(device->ctx, o));
    msx_model *m = msx__calloc(device->ctx, 1, sizeof *m);
    if (!m) return MSX_E_NOMEM;
    m->ctx = device->ctx;
    m->device = device;
    msx__seats_count(device, 1);
    m->preset = o->preset;
    m->positions = o->positions;
    m->image_size = o->image_size;
    renew(m);
    m->serial = m->stamp;
    msx_status status = at_seat(m, build, c, NULL);
    if (status < 0) {
        msx_model_free(m);
        return status;
    }
    *out = m;
    return MSX_OK;
}

void msx_model_free(msx_model *m) {
    if (!m) return;
    msx__seats_count(m->device, -1);
    msx__seats_release(m->device, m->weights);
    msx__seats_release(m->device, m->derived);
    msx__seats_release(m->device, m->low);
    msx__free(m->ctx, m->offsets);
    msx__free(m->ctx, m->blocks);
    msx__free(m->ctx, m->two_way);
    msx__free(m->ctx, m->hyper);
    msx__free(m->ctx, m->host);
    msx_arch_free(m->arch);
    msx_arch_free(m->source);
    msx__free(m->ctx, m);
}

msx_status msx_model_update(msx_model *m, const msx_checkpoint *c, const uint8_t *changed) {
    if (!m) return MSX_E_ARG;
    if (!c) return msx__fail(m->ctx, MSX_E_ARG, "msx_model_update: NULL checkpoint");
    renew(m);
    return at_seat(m, reread, c, changed);
}

const msx_arch *msx_model_arch(const msx_model *m) {
    return m ? m->arch : NULL;
}

msx_preset msx_model_preset(const msx_model *m) {
    return m ? m->preset : (msx_preset)0;
}
