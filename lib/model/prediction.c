/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the decoder said, and masks at the size of the image.
 * logits:  bilinear to the input's size, crop to what the image covers, bilinear to the image, > 0.
 *          Two steps, because one step gives other pixels.
 * sigmoid: sigmoid, then one bilinear step, > 0.5. Not the same as logits > 0 either.
 * Which one is the preset's.
 */
#include "image/preset.h"
#include "model/results.h"

/* Floats of one prompt. */
static int64_t prompt_floats(const msx_prediction *p) {
    return p->masks * p->side * p->side;
}

static msx_status host_room(msx_prediction *p) {
    p->logits = msx__alloc(p->ctx, (size_t)p->n, (size_t)prompt_floats(p) * sizeof *p->logits);
    return p->logits ? MSX_OK : MSX_E_NOMEM;
}

msx_status msx__prediction_room(msx_prediction *p) {
    if (p->device->k->host_memory) return host_room(p);
    msx_status status = msx__seats_alloc(p->device, &p->there, p->n * prompt_floats(p));
    return status == MSX_E_NOMEM ? host_room(p) : status;
}

void msx_prediction_free(msx_prediction *p) {
    if (!p) return;
    if (p->there) msx__seats_release(p->device, p->there);
    msx__free(p->ctx, p->logits);
    msx__free(p->ctx, p->iou);
    msx__free(p->ctx, p->extents);
    msx__free(p->ctx, p);
}

int64_t msx_prediction_count(const msx_prediction *p) {
    return p ? p->n : -1;
}
int64_t msx_prediction_masks(const msx_prediction *p) {
    return p ? p->masks : -1;
}
int64_t msx_prediction_side(const msx_prediction *p) {
    return p ? p->side : -1;
}

/* Brought home all at once when the first of them is asked for: a cache, so that it may be filled; at the
 * device's only seat, so that one thread does it. */
static msx_status bring_logits(msx_prediction *p, msx_device *d) {
    size_t bytes = (size_t)(p->n * prompt_floats(p)) * sizeof *p->logits;
    if (p->logits) return MSX_OK;
    MSX_TRY(host_room(p));
    msx_status status = msx__device_status(d, d->k->download(d->dev, p->logits, p->there, bytes));
    if (status == MSX_OK) return MSX_OK;
    msx__free(p->ctx, p->logits);
    p->logits = NULL;
    return status;
}

msx_status msx__prediction_logits(const float **out, const msx_prediction *p, int64_t prompt) {
    if (p->there) {
        msx__seat *seat;
        MSX_TRY(msx__seat_take(p->device, 1, &seat));
        msx_status status = bring_logits((msx_prediction *)p, &seat->device);
        msx__seat_leave(p->device, seat);
        MSX_TRY(status);
    }
    *out = p->logits + prompt * prompt_floats(p);
    return MSX_OK;
}

const float *msx_prediction_logits(const msx_prediction *p, int64_t prompt) {
    const float *logits = NULL;
    if (!p || prompt < 0 || prompt >= p->n) return NULL;
    return msx__prediction_logits(&logits, p, prompt) == MSX_OK ? logits : NULL;
}

const float *msx_prediction_iou(const msx_prediction *p, int64_t prompt) {
    if (!p || prompt < 0 || prompt >= p->n) return NULL;
    return p->iou + prompt * p->masks;
}

/* Device memory of one post-processing. */
typedef struct areas {
    float *low;    /* (4g, 4g) */
    float *middle; /* (S, S), of two steps only */
    float *map;    /* (H, W) */
    uint8_t *mask; /* (H, W) */
} areas;

static bool is_sigmoid(const msx_prediction *p) {
    return msx__preset_get(p->preset)->post == MSX__POST_SIGMOID;
}

/* At a seat of the device. `at`: of the map among all logits. */
static msx_status resample(const msx_prediction *p, msx_device *d, const msx__extent *x, int64_t at,
                           const areas *a) {
    int64_t side = p->side, size = p->image_size;
    const float *logits = p->there ? p->there + at : a->low;
    if (!p->there)
        MSX_RUN(d, upload, a->low, p->logits + at, (size_t)(side * side) * sizeof(float));
    if (is_sigmoid(p)) {
        MSX_RUN(d, sigmoid, a->low, logits, side * side);
        MSX_RUN(d, bilinear, a->map, a->low, 1, side, side, 0, 0, x->height, x->width);
        return MSX_OK;
    }
    MSX_RUN(d, bilinear, a->middle, logits, 1, side, side, 0, 0, size, size);
    MSX_RUN(d, bilinear, a->map, a->middle, 1, size, size, x->resized_height, x->resized_width,
            x->height, x->width);
    return MSX_OK;
}

/* The map, or (binary) the mask, of one mask of one prompt into `image`, at a seat of the device. */
static msx_status post_process_at(msx_image *image, const msx_prediction *p, msx_device *d,
                                  int64_t prompt, int64_t mask, bool binary) {
    const msx__extent *x = p->extents + prompt;
    int64_t low = p->side * p->side, pixels = x->width * x->height;
    int64_t middle = is_sigmoid(p) ? 0 : p->image_size * p->image_size;
    float *memory;
    areas a;
    MSX_TRY(msx__device_alloc(d, &memory,
                              msx__carved(low) + msx__carved(middle) + msx__carved(pixels) +
                                  msx__carved(pixels / 4 + 1)));
    float *at = memory;
    a.low = msx__carve(&at, low);
    a.middle = msx__carve(&at, middle);
    a.map = msx__carve(&at, pixels);
    a.mask = (uint8_t *)at;
    msx_status status = resample(p, d, x, prompt * prompt_floats(p) + mask * low, &a);
    if (status == MSX_OK && binary)
        status = msx__device_status(
            d, d->k->threshold(d->dev, a.mask, a.map, pixels, is_sigmoid(p) ? 0.5f : 0.0f));
    if (status == MSX_OK)
        status = msx__device_status(
            d, d->k->download(d->dev, msx_image_data(image), binary ? (void *)a.mask : a.map,
                              (size_t)pixels * (binary ? 1 : sizeof(float))));
    msx__device_release(d, memory);
    return status;
}

/* A new image for it. */
static msx_status new_image_at(msx_image **out, const msx_prediction *p, msx_device *d,
                               int64_t prompt, int64_t mask, bool binary) {
    const msx__extent *x = p->extents + prompt;
    MSX_TRY(msx_image_create(out, p->ctx, x->width, x->height, 1,
                             binary ? MSX_PIXEL_U8 : MSX_PIXEL_F32, NULL));
    msx_status status = post_process_at(*out, p, d, prompt, mask, binary);
    if (status < 0) {
        msx_image_free(*out);
        *out = NULL;
    }
    return status;
}

msx_status msx__prediction_map_at(msx_image **out, const msx_prediction *p, msx_device *seat,
                                  int64_t prompt, int64_t mask) {
    return new_image_at(out, p, seat, prompt, mask, false);
}

static msx_status post_process(msx_image **out, const msx_prediction *p, int64_t prompt,
                               int64_t mask, bool binary) {
    if (!p) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || prompt < 0 || prompt >= p->n || mask < 0 || mask >= p->masks)
        return msx__fail(p->ctx, MSX_E_ARG,
                         "mask %" PRId64 " of prompt %" PRId64 ": there are %" PRId64
                         " masks of %" PRId64 " prompts",
                         mask, prompt, p->masks, p->n);
    msx__seat *seat;
    MSX_TRY(msx__seat_take(p->device, msx_ctx_threads(p->ctx), &seat));
    msx_status status = new_image_at(out, p, &seat->device, prompt, mask, binary);
    msx__seat_leave(p->device, seat);
    return status;
}

msx_status msx_prediction_mask(msx_image **out, const msx_prediction *p, int64_t prompt,
                               int64_t mask) {
    return post_process(out, p, prompt, mask, true);
}

msx_status msx_prediction_map(msx_image **out, const msx_prediction *p, int64_t prompt,
                              int64_t mask) {
    return post_process(out, p, prompt, mask, false);
}

/* ---- counting --------------------------------------------------------------------------------------- */

bool msx__prediction_counts(const msx_prediction *p) {
    return p->there && p->device->k->count_objects;
}

msx_status msx__prediction_count(int64_t (*counts)[5], const msx_prediction *p,
                                 const msx__counted *objects, int64_t n) {
    msxk_object *list = msx__alloc(p->ctx, (size_t)n, sizeof *list);
    if (!list) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        const msx__counted *o = objects + i;
        const msx__extent *x = p->extents + o->prompt;
        list[i] = (msxk_object){.logits = p->there + o->prompt * prompt_floats(p),
                                .maps = o->n_prompts,
                                .stride = prompt_floats(p),
                                .labels = o->labels,
                                .label = o->label,
                                .ignore = o->ignore,
                                .height = x->height,
                                .width = x->width,
                                .crop_h = x->resized_height,
                                .crop_w = x->resized_width};
    }
    msx__seat *seat;
    msx_status status = msx__seat_take(p->device, 1, &seat);
    if (status == MSX_OK) {
        msx_device *d = &seat->device;
        int64_t size = is_sigmoid(p) ? 0 : p->image_size;
        status = msx__device_status(d, d->k->count_objects(d->dev, counts, list, n, p->side, size));
        msx__seat_leave(p->device, seat);
    }
    msx__free(p->ctx, list);
    return status;
}
