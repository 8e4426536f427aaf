/* SPDX-License-Identifier: Apache-2.0 */
/* Error texts, one slot per thread, so that threads sharing a context do not see each other's. */
#include "core/ctx_internal.h"

#include <stdio.h>
#include <string.h>

static const struct {
    msx_status status;
    const char *name;
} status_names[] = {
    {MSX_OK, "ok"},
    {MSX_DONE_TRIALS, "done: number of trials reached"},
    {MSX_DONE_EXHAUSTED, "done: search space exhausted"},
    {MSX_DONE_WAIT, "wait: a running trial must be told first"},
    {MSX_E_ARG, "bad argument"},
    {MSX_E_NOTFOUND, "not found"},
    {MSX_E_EXISTS, "exists already"},
    {MSX_E_IO, "input or output failed"},
    {MSX_E_FORMAT, "bad format"},
    {MSX_E_UNSUPPORTED, "not supported"},
    {MSX_E_SHAPE, "shapes disagree"},
    {MSX_E_STORE, "trial store"},
    {MSX_E_NOMEM, "out of memory"},
    {MSX_E_LIMIT, "limit reached"},
    {MSX_E_DEVICE, "device"},
    {MSX_E_CANCELLED, "cancelled"},
    {MSX_E_CALLBACK, "callback failed"},
    {MSX_E_INTERNAL, "internal error"},
};

const char *msx_status_name(msx_status status) {
    for (size_t i = 0; i < sizeof status_names / sizeof *status_names; i++)
        if (status_names[i].status == status) return status_names[i].name;
    return "unknown status";
}

/* What a thread without a slot is told after slots ran out. */
static const char lost_text[] = "out of memory";

/* The calling thread's slot, or NULL. With `create`, one is made when missing, without memory from a
 * small reserve, so that reporting an error needs none. */
static msx__error_slot *slot_of_thread(msx_ctx *ctx, bool create) {
    pthread_t self = pthread_self();
    pthread_mutex_lock(&ctx->lock);
    msx__error_slot *s = ctx->errors;
    while (s && !pthread_equal(s->thread, self)) s = s->next;
    if (!s && create) {
        s = ctx->allocator.alloc(sizeof *s, ctx->allocator.payload);
        if (!s && ctx->reserved < MSX__RESERVED) s = &ctx->reserve[ctx->reserved++];
        if (s) {
            s->thread = self;
            s->status = MSX_OK;
            s->text[0] = 0;
            s->next = ctx->errors;
            ctx->errors = s;
        } else {
            atomic_store(&ctx->lost, true);
        }
    }
    pthread_mutex_unlock(&ctx->lock);
    return s;
}

void msx__error_slots_free(msx_ctx *ctx) {
    const msx__error_slot *reserve = ctx->reserve;
    for (msx__error_slot *s = ctx->errors, *next; s; s = next) {
        next = s->next;
        if (s < reserve || s >= reserve + MSX__RESERVED) msx__free(ctx, s);
    }
}

msx_status msx__vfail(msx_ctx *ctx, msx_status status, const char *format, va_list args) {
    if (!ctx) return status;
    /* Formatted aside first: an argument may be the previous text itself. */
    char text[MSX__ERROR_TEXT];
    vsnprintf(text, sizeof text, format, args);
    /* One line, whatever a hostile file put into the names we quote. */
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';
    msx__error_slot *s = slot_of_thread(ctx, true);
    if (!s) return status;
    s->status = status;
    memcpy(s->text, text, sizeof text);
    return status;
}

msx_status msx__fail(msx_ctx *ctx, msx_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    msx__vfail(ctx, status, format, args);
    va_end(args);
    return status;
}

msx_status msx__nomem(msx_ctx *ctx, size_t bytes) {
    return msx__fail(ctx, MSX_E_NOMEM, "out of memory: %zu bytes could not be allocated", bytes);
}

msx_status msx__unknown(msx_ctx *ctx, const char *what, const char *word, const char *const *names,
                        size_t n) {
    const char *closest = msx_closest_name(word, names, n);
    if (closest)
        return msx__fail(ctx, MSX_E_NOTFOUND, "unknown %s '%.100s'; did you mean '%s'?", what, word,
                         closest);
    msx__buffer list;
    msx__buffer_init(&list, ctx);
    for (size_t i = 0; i < n; i++)
        if (names[i]) msx__buffer_printf(&list, "%s%s", list.length ? ", " : "", names[i]);
    msx_status status =
        list.failed ? MSX_E_NOMEM
        : list.length
            ? msx__fail(ctx, MSX_E_NOTFOUND, "unknown %s '%.100s'; known are: %.1500s", what, word,
                        list.data)
            : msx__fail(ctx, MSX_E_NOTFOUND, "unknown %s '%.100s'; there are none", what, word);
    msx__buffer_free(&list);
    return status;
}

const char *msx_ctx_error(const msx_ctx *ctx) {
    if (!ctx) return "";
    const msx__error_slot *s = slot_of_thread((msx_ctx *)ctx, false);
    return s ? s->text : atomic_load(&((msx_ctx *)ctx)->lost) ? lost_text : "";
}

msx_status msx_ctx_error_status(const msx_ctx *ctx) {
    if (!ctx) return MSX_OK;
    const msx__error_slot *s = slot_of_thread((msx_ctx *)ctx, false);
    return s ? s->status : atomic_load(&((msx_ctx *)ctx)->lost) ? MSX_E_NOMEM : MSX_OK;
}

void msx_ctx_clear_error(msx_ctx *ctx) {
    if (!ctx) return;
    msx__error_slot *s = slot_of_thread(ctx, false);
    if (!s) return;
    s->status = MSX_OK;
    s->text[0] = 0;
}
