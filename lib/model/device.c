/* SPDX-License-Identifier: Apache-2.0 */
/* Devices by name. */
#include "model/seats.h"

#include <stdio.h>
#include <string.h>

static const char *const device_names[] = {"cpu", "cuda:0"};

static void *context_alloc(size_t bytes, void *payload) {
    return msx__alloc(payload, bytes, 1);
}
static void context_free(void *memory, void *payload) {
    msx__free(payload, memory);
}

msxk_memory msx__device_memory(msx_ctx *ctx) {
    return (msxk_memory){context_alloc, context_free, ctx};
}

/* The number behind "cuda:" (0 for "cuda" alone), -1 when `name` is something else. */
static int cuda_index(const char *name) {
    if (strcmp(name, "cuda") == 0) return 0;
    int index, length = 0;
    if (sscanf(name, "cuda:%4d%n", &index, &length) != 1 || name[length] || index < 0) return -1;
    return index;
}

/* The op table behind a name, and which device of its kind is meant. */
static msx_status find_kernels(msx_device *d, int *index) {
    *index = 0;
    if (strcmp(d->name, "cpu") == 0) {
        d->k = &msxk_cpu;
        return MSX_OK;
    }
    *index = cuda_index(d->name);
    if (*index >= 0) return msx__plugin_open(d->ctx, d->name, &d->k, &d->library);
    return msx__unknown(d->ctx, "device", d->name, device_names,
                        sizeof device_names / sizeof *device_names);
}

static msx_status start(msx_device *d) {
    int index;
    MSX_TRY(msx__seats_create(d));
    MSX_TRY(find_kernels(d, &index));
    msxk_memory memory = msx__device_memory(d->ctx);
    int code = d->k->open(&d->dev, index, msx_ctx_threads(d->ctx), &memory);
    if (!d->dev) return msx__fail(d->ctx, MSX_E_NOMEM, "device %s: out of memory", d->name);
    return msx__device_status(d, code);
}

msx_status msx_device_open(msx_device **out, msx_ctx *ctx, const char *name) {
    if (!ctx) return MSX_E_ARG;
    if (out) *out = NULL;
    if (!out || !name) return msx__fail(ctx, MSX_E_ARG, "msx_device_open: NULL argument");
    msx_device *d = msx__calloc(ctx, 1, sizeof *d);
    if (!d) return MSX_E_NOMEM;
    d->ctx = ctx;
    snprintf(d->name, sizeof d->name, "%s", name);
    msx_status status = start(d);
    if (status < 0) {
        msx_device_free(d);
        return status;
    }
    *out = d;
    return MSX_OK;
}

void msx_device_free(msx_device *d) {
    if (!d) return;
    msx__seats_free(d);
    if (d->k) d->k->close(d->dev);
    msx__plugin_close(d->library);
    msx__free(d->ctx, d);
}

const char *msx_device_name(const msx_device *d) {
    return d ? d->name : NULL;
}

/* In the order of both enums. */
static const char *const precision_names[] = {"fp32", "tf32", "fp16", "bf16"};
enum { N_PRECISIONS = sizeof precision_names / sizeof *precision_names };
_Static_assert((int)MSX_PRECISION_FP32 == MSXK_FP32 && (int)MSX_PRECISION_TF32 == MSXK_TF32 &&
                   (int)MSX_PRECISION_FP16 == MSXK_FP16 && (int)MSX_PRECISION_BF16 == MSXK_BF16,
               "precisions are passed on as they are");

const char *msx_precision_name(msx_precision precision) {
    unsigned i = (unsigned)precision;
    return i < N_PRECISIONS ? precision_names[i] : NULL;
}

msx_precision msx_device_precision(const msx_device *d) {
    return d ? d->precision : MSX_PRECISION_FP32;
}

msx_status msx_device_set_precision(msx_device *d, msx_precision precision) {
    if (!d) return MSX_E_ARG;
    if (!msx_precision_name(precision))
        return msx__fail(d->ctx, MSX_E_ARG, "precision %d is unknown", (int)precision);
    if (msx__seats_models(d))
        return msx__fail(d->ctx, MSX_E_ARG,
                         "device %s: the precision is chosen before models are loaded", d->name);
    if (d->k->set_precision(d->dev, (int)precision) != MSXK_OK)
        return msx__fail(d->ctx, MSX_E_UNSUPPORTED, "device %s does not offer %s: %s", d->name,
                         msx_precision_name(precision), d->k->error(d->dev));
    d->precision = precision;
    msx__seats_renew(d);
    return MSX_OK;
}

msx_status msx_device_set_budget(msx_device *d, int64_t bytes) {
    if (!d) return MSX_E_ARG;
    if (bytes < 0) return msx__fail(d->ctx, MSX_E_ARG, "a budget of %" PRId64 " bytes", bytes);
    if (!d->k->set_budget)
        return msx__fail(d->ctx, MSX_E_UNSUPPORTED, "device %s has no memory of its own", d->name);
    return msx__device_status(d, d->k->set_budget(d->dev, (size_t)bytes));
}

msx_status msx_device_usage(const msx_device *d, int64_t *now, int64_t *most) {
    if (!d) return MSX_E_ARG;
    if (!now || !most) return msx__fail(d->ctx, MSX_E_ARG, "msx_device_usage: NULL argument");
    if (!d->k->usage)
        return msx__fail(d->ctx, MSX_E_UNSUPPORTED, "device %s has no memory of its own", d->name);
    size_t bytes[2];
    d->k->usage(d->dev, bytes);
    *now = (int64_t)bytes[0];
    *most = (int64_t)bytes[1];
    return MSX_OK;
}

msx_status msx__device_status(const msx_device *d, int code) {
    static const msx_status statuses[] = {
        [-MSXK_OK] = MSX_OK,
        [-MSXK_E_NOMEM] = MSX_E_NOMEM,
        [-MSXK_E_DEVICE] = MSX_E_DEVICE,
        [-MSXK_E_ARG] = MSX_E_INTERNAL, /* sizes are checked before ops see them */
    };
    if (code == MSXK_OK) return MSX_OK;
    msx_status status = code >= MSXK_E_ARG && code < 0 ? statuses[-code] : MSX_E_INTERNAL;
    return msx__fail(d->ctx, status, "device %s: %s", d->name, d->k->error(d->dev));
}

msx_status msx__device_alloc(msx_device *d, float **out, int64_t floats) {
    void *memory = NULL;
    *out = NULL;
    int64_t bytes;
    if (floats < 0 || !msx__mul(floats, sizeof(float), &bytes)) return msx__nomem(d->ctx, SIZE_MAX);
    MSX_RUN(d, alloc, &memory, (size_t)bytes);
    *out = memory;
    return MSX_OK;
}

void msx__device_release(msx_device *d, void *memory) {
    if (d) d->k->release(d->dev, memory);
}
