/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation through the context's allocator, with overflow checks and errors set. */
#include "core/ctx_internal.h"

#include <string.h>

/* Bytes of an array, at least 1 so that NULL always means failure; 0 on overflow. */
static size_t array_bytes(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX) return 0;
    return bytes ? bytes : 1;
}

void *msx__alloc(msx_ctx *ctx, size_t count, size_t size) {
    size_t bytes = array_bytes(count, size);
    void *p = bytes ? ctx->allocator.alloc(bytes, ctx->allocator.payload) : NULL;
    if (!p) msx__nomem(ctx, bytes ? bytes : SIZE_MAX);
    return p;
}

void *msx__calloc(msx_ctx *ctx, size_t count, size_t size) {
    void *p = msx__alloc(ctx, count, size);
    if (p) memset(p, 0, array_bytes(count, size));
    return p;
}

void *msx__realloc(msx_ctx *ctx, void *memory, size_t count, size_t size) {
    size_t bytes = array_bytes(count, size);
    void *p = bytes ? ctx->allocator.realloc(memory, bytes, ctx->allocator.payload) : NULL;
    if (!p) msx__nomem(ctx, bytes ? bytes : SIZE_MAX);
    return p;
}

char *msx__strndup(msx_ctx *ctx, const char *text, size_t length) {
    char *copy = msx__alloc(ctx, length + 1, 1);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

char *msx__strdup(msx_ctx *ctx, const char *text) {
    return msx__strndup(ctx, text, strlen(text));
}

void msx__free(msx_ctx *ctx, void *memory) {
    if (memory) ctx->allocator.free(memory, ctx->allocator.payload);
}

void msx_free(msx_ctx *ctx, void *memory) {
    msx__free(ctx, memory);
}

bool msx__product(const int64_t *dims, int n, int64_t *out) {
    int64_t p = 1;
    for (int i = 0; i < n; i++)
        if (dims[i] < 0 || !msx__mul(p, dims[i], &p)) return false;
    *out = p;
    return true;
}

msx_status msx__grow(msx_ctx *ctx, void **array, int64_t n, int64_t *capacity, size_t size) {
    if (n < *capacity) return MSX_OK;
    int64_t larger = *capacity ? 2 * *capacity : 16;
    void *grown = msx__realloc(ctx, *array, (size_t)larger, size);
    if (!grown) return MSX_E_NOMEM;
    *array = grown;
    *capacity = larger;
    return MSX_OK;
}
