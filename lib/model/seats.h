/* SPDX-License-Identifier: Apache-2.0 */
/* Seats: what one running call computes with, so that several threads may use one device and its models
 * at the same time. A seat is the device opened once more (ops keep scratch memory and the text of a
 * failure there) and working memory. A device of its own has one seat, which calls wait for. */
#ifndef MSX_MODEL_SEATS_H
#define MSX_MODEL_SEATS_H

#include "model/device.h"

#include <pthread.h>

typedef struct msx__seat {
    struct msx__seat *next;
    msx_device device; /* the device seen from here: all the same but `dev` */
    float *work;       /* kept from call to call */
    int64_t work_floats;
    float *shared; /* what the prompts of an image have in common (decoder_sweeps.c) */
    int64_t shared_floats;
} msx__seat;

struct msx__seats {
    pthread_mutex_t
        lock; /* of everything here; on a device of its own held as long as its seat is */
    msx__seat *idle;
    int models; /* loaded on the device and not freed */
};

/* A seat whose ops may use so many threads; given back with msx__seat_leave. A thread that holds one takes
 * no other one of the same device. */
msx_status msx__seat_take(msx_device *d, int threads, msx__seat **out);
void msx__seat_leave(msx_device *d, msx__seat *seat);

/* Between calls: memory of the device, and releasing it (accepts NULL). */
msx_status msx__seats_alloc(msx_device *d, float **out, int64_t floats);
void msx__seats_release(msx_device *d, void *memory);

/* A model more or less (1, -1). The last one leaves no working memory behind. */
void msx__seats_count(msx_device *d, int change);
int msx__seats_models(msx_device *d);

/* Between calls: the lock that seats are taken and left under, for what models keep of their own. */
void msx__seats_lock(msx_device *d);
void msx__seats_unlock(msx_device *d);

/* The precision of seats to come; idle ones are given up. */
void msx__seats_renew(msx_device *d);

msx_status msx__seats_create(msx_device *d);
void msx__seats_free(msx_device *d); /* accepts a device without */

#endif
