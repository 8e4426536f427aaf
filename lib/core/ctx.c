/* SPDX-License-Identifier: Apache-2.0 */
/* The context: creation, settings, log, progress, cancel. */
#include "core/ctx_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const int64_t default_limits[MSX__N_LIMITS] = {
    [MSX_LIMIT_HEADER_BYTES] = 16 << 20,          [MSX_LIMIT_TENSORS] = 65536,
    [MSX_LIMIT_TENSOR_BYTES] = (int64_t)16 << 30, [MSX_LIMIT_IMAGE_PIXELS] = 400000000,
    [MSX_LIMIT_VOLUME_BYTES] = (int64_t)8 << 30,  [MSX_LIMIT_CASES] = 100000,
};

static void *default_alloc(size_t bytes, void *payload) {
    (void)payload;
    return malloc(bytes);
}
static void *default_realloc(void *memory, size_t bytes, void *payload) {
    (void)payload;
    return realloc(memory, bytes);
}
static void default_free(void *memory, void *payload) {
    (void)payload;
    free(memory);
}

msx_status msx_ctx_create(msx_ctx **out, const msx_allocator *allocator) {
    if (!out) return MSX_E_ARG;
    *out = NULL;
    msx_allocator a = {sizeof a, default_alloc, default_realloc, default_free, NULL};
    if (allocator) {
        if (allocator->struct_size < sizeof a || !allocator->alloc || !allocator->realloc ||
            !allocator->free)
            return MSX_E_ARG;
        a = *allocator;
    }
    msx_ctx *ctx = a.alloc(sizeof *ctx, a.payload);
    if (!ctx) return MSX_E_NOMEM;
    memset(ctx, 0, sizeof *ctx);
    ctx->allocator = a;
    memcpy(ctx->limits, default_limits, sizeof ctx->limits);
    atomic_init(&ctx->cancelled, 0);
    atomic_init(&ctx->lost, false);
    pthread_mutex_init(&ctx->lock, NULL);
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&ctx->registry_lock, &recursive);
    pthread_mutex_init(&ctx->voice, &recursive);
    pthread_mutexattr_destroy(&recursive);
    *out = ctx;
    return MSX_OK;
}

void msx_ctx_free(msx_ctx *ctx) {
    if (!ctx) return;
    msx__error_slots_free(ctx);
    for (int i = 0; i < MSX__REGISTRIES; i++) msx__free(ctx, ctx->registries[i].entries);
    pthread_mutex_destroy(&ctx->lock);
    pthread_mutex_destroy(&ctx->registry_lock);
    pthread_mutex_destroy(&ctx->voice);
    msx_allocator a = ctx->allocator;
    a.free(ctx, a.payload);
}

msx_status msx_ctx_set_threads(msx_ctx *ctx, int threads) {
    if (!ctx) return MSX_E_ARG;
    if (threads < 0 || threads > 1024)
        return msx__fail(ctx, MSX_E_ARG, "number of threads is %d; use 0 (all) to 1024", threads);
    ctx->threads = threads;
    return MSX_OK;
}

static _Thread_local int thread_share;

void msx__set_thread_share(int threads) {
    thread_share = threads;
}

int msx_ctx_threads(const msx_ctx *ctx) {
    if (thread_share) return thread_share;
    if (ctx && ctx->threads) return ctx->threads;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 1024 ? 1024 : (int)n;
}

msx_status msx_ctx_set_limit(msx_ctx *ctx, msx_limit limit, int64_t value) {
    if (!ctx) return MSX_E_ARG;
    if ((int)limit < 1 || (int)limit >= MSX__N_LIMITS)
        return msx__fail(ctx, MSX_E_ARG, "there is no limit number %d", (int)limit);
    if (value < 1 || value > (int64_t)1 << 62)
        return msx__fail(ctx, MSX_E_ARG, "limit value %" PRId64 " is outside 1..2^62", value);
    ctx->limits[limit] = value;
    return MSX_OK;
}

int64_t msx_ctx_limit(const msx_ctx *ctx, msx_limit limit) {
    return ctx && (int)limit >= 1 && (int)limit < MSX__N_LIMITS ? ctx->limits[limit] : -1;
}

msx_status msx_ctx_set_pickle_rule(msx_ctx *ctx, msx_pickle_rule rule) {
    if (!ctx) return MSX_E_ARG;
    if ((int)rule < MSX_PICKLE_KNOWN || (int)rule > MSX_PICKLE_TOLERANT)
        return msx__fail(ctx, MSX_E_ARG, "there is no pickle rule number %d", (int)rule);
    ctx->pickle_rule = rule;
    return MSX_OK;
}

msx_pickle_rule msx_ctx_pickle_rule(const msx_ctx *ctx) {
    return ctx ? ctx->pickle_rule : MSX_PICKLE_KNOWN;
}

void msx_ctx_set_log(msx_ctx *ctx, msx_log_fn log, void *payload) {
    if (!ctx) return;
    ctx->log = log;
    ctx->log_payload = payload;
}

void msx__log(msx_ctx *ctx, msx_log_level level, const char *format, ...) {
    if (!ctx->log) return;
    char line[MSX__ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pthread_mutex_lock(&ctx->voice);
    ctx->log(level, line, ctx->log_payload);
    pthread_mutex_unlock(&ctx->voice);
}

void msx_ctx_set_progress(msx_ctx *ctx, msx_progress_fn progress, void *payload) {
    if (!ctx) return;
    ctx->progress = progress;
    ctx->progress_payload = payload;
}

msx_status msx__check_cancel(msx_ctx *ctx) {
    if (atomic_load_explicit(&ctx->cancelled, memory_order_relaxed))
        return msx__fail(ctx, MSX_E_CANCELLED, "cancelled");
    return MSX_OK;
}

msx_status msx__progress(msx_ctx *ctx, const char *stage, int64_t done, int64_t total,
                         double best) {
    MSX_TRY(msx__check_cancel(ctx));
    if (!ctx->progress) return MSX_OK;
    msx_progress p = {sizeof p, stage, done, total, best};
    pthread_mutex_lock(&ctx->voice);
    int stop = ctx->progress(&p, ctx->progress_payload);
    pthread_mutex_unlock(&ctx->voice);
    if (stop) return msx__fail(ctx, MSX_E_CANCELLED, "%s: stopped by the progress callback", stage);
    return MSX_OK;
}

void msx_ctx_cancel(msx_ctx *ctx) {
    if (ctx) atomic_store(&ctx->cancelled, 1);
}

bool msx_ctx_cancelled(const msx_ctx *ctx) {
    return ctx && atomic_load(&((msx_ctx *)ctx)->cancelled);
}

void msx_ctx_reset_cancel(msx_ctx *ctx) {
    if (ctx) atomic_store(&ctx->cancelled, 0);
}
