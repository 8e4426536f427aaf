/* SPDX-License-Identifier: Apache-2.0 */
#include "model/seats.h"

msx_status msx__seats_create(msx_device *d) {
    d->seats = msx__calloc(d->ctx, 1, sizeof *d->seats);
    if (!d->seats) return MSX_E_NOMEM;
    pthread_mutex_init(&d->seats->lock, NULL);
    return MSX_OK;
}

/* A device of its own cannot be opened twice for the same memory: its seat is itself. */
static void close_seat(msx_device *d, msx__seat *seat) {
    msx__device_release(&seat->device, seat->work);
    msx__device_release(&seat->device, seat->shared);
    if (d->k->host_memory) d->k->close(seat->device.dev);
    msx__free(d->ctx, seat);
}

static void close_idle(msx_device *d) {
    for (msx__seat *s = d->seats->idle, *next; s; s = next) {
        next = s->next;
        close_seat(d, s);
    }
    d->seats->idle = NULL;
}

void msx__seats_free(msx_device *d) {
    if (!d->seats) return;
    close_idle(d);
    pthread_mutex_destroy(&d->seats->lock);
    msx__free(d->ctx, d->seats);
    d->seats = NULL;
}

static msx_status open_seat(msx_device *d, msx__seat **out) {
    msx__seat *seat = msx__calloc(d->ctx, 1, sizeof *seat);
    *out = NULL;
    if (!seat) return MSX_E_NOMEM;
    seat->device = *d;
    msx_status status = MSX_OK;
    if (d->k->host_memory) {
        msxk_memory memory = msx__device_memory(d->ctx);
        if (d->k->open(&seat->device.dev, 0, 1, &memory) != MSXK_OK)
            status = msx__fail(d->ctx, MSX_E_NOMEM, "device %s: out of memory", d->name);
        else
            status = msx__device_status(&seat->device,
                                        d->k->set_precision(seat->device.dev, (int)d->precision));
        if (status < 0) d->k->close(seat->device.dev);
    }
    if (status < 0) {
        msx__free(d->ctx, seat);
        return status;
    }
    *out = seat;
    return MSX_OK;
}

msx_status msx__seat_take(msx_device *d, int threads, msx__seat **out) {
    msx__seats *s = d->seats;
    bool host = d->k->host_memory;
    pthread_mutex_lock(&s->lock);
    msx_status status = MSX_OK;
    *out = s->idle;
    if (s->idle)
        s->idle = s->idle->next;
    else
        status = open_seat(d, out);
    if (host || status < 0) pthread_mutex_unlock(&s->lock);
    if (status == MSX_OK) d->k->set_threads((*out)->device.dev, threads);
    return status;
}

void msx__seat_leave(msx_device *d, msx__seat *seat) {
    msx__seats *s = d->seats;
    if (!seat) return;
    if (d->k->host_memory) pthread_mutex_lock(&s->lock);
    seat->next = s->idle;
    s->idle = seat;
    pthread_mutex_unlock(&s->lock);
}

void msx__seats_lock(msx_device *d) {
    pthread_mutex_lock(&d->seats->lock);
}

void msx__seats_unlock(msx_device *d) {
    pthread_mutex_unlock(&d->seats->lock);
}

msx_status msx__seats_alloc(msx_device *d, float **out, int64_t floats) {
    msx__seat *seat;
    *out = NULL;
    MSX_TRY(msx__seat_take(d, 1, &seat));
    msx_status status = msx__device_alloc(&seat->device, out, floats);
    msx__seat_leave(d, seat);
    return status;
}

void msx__seats_release(msx_device *d, void *memory) {
    if (!d || !memory) return;
    pthread_mutex_lock(&d->seats->lock);
    msx__device_release(d, memory);
    pthread_mutex_unlock(&d->seats->lock);
}

void msx__seats_count(msx_device *d, int change) {
    pthread_mutex_lock(&d->seats->lock);
    d->seats->models += change;
    if (!d->seats->models) close_idle(d);
    pthread_mutex_unlock(&d->seats->lock);
}

int msx__seats_models(msx_device *d) {
    pthread_mutex_lock(&d->seats->lock);
    int n = d->seats->models;
    pthread_mutex_unlock(&d->seats->lock);
    return n;
}

void msx__seats_renew(msx_device *d) {
    pthread_mutex_lock(&d->seats->lock);
    close_idle(d);
    pthread_mutex_unlock(&d->seats->lock);
}
