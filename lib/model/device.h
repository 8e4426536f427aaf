/* SPDX-License-Identifier: Apache-2.0 */
/* A device: an op table and one opened instance of it. Everything that the model computes, and every
 * access to memory that it computes with, goes through the table. */
#ifndef MSX_MODEL_DEVICE_H
#define MSX_MODEL_DEVICE_H

#include "core/core.h"
#include "kernels/kernels.h"

#include <medsamix/model.h>

typedef struct msx__seats msx__seats;

/* Calls of the public API compute at a seat (seats.h), which is a device of its own on a CPU. */
struct msx_device {
    msx_ctx *ctx;
    const msx_kernels *k;
    void *library; /* of a plug-in's table, else NULL */
    msx_kdev *dev;
    char name[32];
    msx_precision precision;
    msx__seats *seats;
};

/* 1 when encoders on this device work with elements of its low format. */
static inline int msx__device_is_low(const msx_device *d) {
    return d->precision == MSX_PRECISION_FP16 || d->precision == MSX_PRECISION_BF16;
}

/* The table of the CUDA plug-in and the library that holds it, to be given to msx__plugin_close.
 * (plugin.c) */
msx_status msx__plugin_open(msx_ctx *ctx, const char *device, const msx_kernels **k,
                            void **library);
void msx__plugin_close(void *library); /* accepts NULL */

/* Status of what an op returned, with the device's text. */
msx_status msx__device_status(const msx_device *d, int code);

/* Run an op and return from the calling function when it fails. */
#define MSX_RUN(d, op, ...) MSX_TRY(msx__device_status(d, (d)->k->op((d)->dev, __VA_ARGS__)))

/* `floats` floats of the device; the error is set on failure. Released with msx__device_release. */
msx_status msx__device_alloc(msx_device *d, float **out, int64_t floats);
void msx__device_release(msx_device *d, void *memory); /* accepts NULL */

/* Host memory of the context, as devices take it. */
msxk_memory msx__device_memory(msx_ctx *ctx);

#endif
