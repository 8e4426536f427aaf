/* SPDX-License-Identifier: Apache-2.0 */
/* What every folder of lib/ builds on: failing with a text, memory, checked sizes, growing text. */
#ifndef MSX_CORE_H
#define MSX_CORE_H

#include <medsamix/ctx.h>
#include <medsamix/version.h>

#include <inttypes.h>
#include <stdarg.h>

/* ---- failing (error.c) ------------------------------------------------------------------------ */

/* Keep the text for the calling thread and return `status`: `return msx__fail(ctx, ...)`. Set the
 * text where the cause is discovered and pass the status up unchanged. */
msx_status msx__fail(msx_ctx *ctx, msx_status status, const char *format, ...) MSX_PRINTF(3, 4);
msx_status msx__vfail(msx_ctx *ctx, msx_status status, const char *format, va_list args);

/* MSX_E_NOMEM with a text that needs no memory. */
msx_status msx__nomem(msx_ctx *ctx, size_t bytes);

/* Unknown name: "unknown WHAT 'word'; did you mean 'x'?" or the list of the known ones. */
msx_status msx__unknown(msx_ctx *ctx, const char *what, const char *word, const char *const *names,
                        size_t n);

/* Return from the calling function when an expression fails. */
#define MSX_TRY(expression)                                                                        \
    do {                                                                                           \
        msx_status msx_try_status = (expression);                                                  \
        if (msx_try_status < 0) return msx_try_status;                                             \
    } while (0)

/* ---- log and progress (ctx.c) ------------------------------------------------------------------ */

void msx__log(msx_ctx *ctx, msx_log_level level, const char *format, ...) MSX_PRINTF(3, 4);

/* Report progress; MSX_E_CANCELLED (with a text) when the caller wants to stop. */
msx_status msx__progress(msx_ctx *ctx, const char *stage, int64_t done, int64_t total, double best);

/* MSX_E_CANCELLED (with a text) after msx_ctx_cancel(). */
msx_status msx__check_cancel(msx_ctx *ctx);

/* What msx_ctx_threads() says on the calling thread, for threads of the library that share the
 * processors; 0 undoes it. */
void msx__set_thread_share(int threads);

/* ---- memory (memory.c) ------------------------------------------------------------------------ */

/* All set the error themselves and return NULL when memory runs out or a size overflows. Zero bytes
 * give a valid pointer. */
void *msx__alloc(msx_ctx *ctx, size_t count, size_t size);
void *msx__calloc(msx_ctx *ctx, size_t count, size_t size);
void *msx__realloc(msx_ctx *ctx, void *memory, size_t count, size_t size);
char *msx__strdup(msx_ctx *ctx, const char *text);
char *msx__strndup(msx_ctx *ctx, const char *text, size_t length);
void msx__free(msx_ctx *ctx, void *memory); /* accepts NULL */
/* Room for one more element of `size` bytes behind the n of a growing array. */
msx_status msx__grow(msx_ctx *ctx, void **array, int64_t n, int64_t *capacity, size_t size);

/* ---- checked sizes ------------------------------------------------------------------------------ */

static inline bool msx__mul(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool msx__add(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
/* Product of n extents, each >= 0; false on overflow or a negative one. */
bool msx__product(const int64_t *dims, int n, int64_t *out);

/* ---- growing bytes (buffer.c) --------------------------------------------------------------------- */

/* Append freely and test `failed` once at the end. Text is always NUL-terminated. */
typedef struct msx__buffer {
    msx_ctx *ctx;
    char *data;
    size_t length, capacity;
    bool failed; /* memory ran out; the error is set */
} msx__buffer;

void msx__buffer_init(msx__buffer *b, msx_ctx *ctx);
void msx__buffer_add(msx__buffer *b, const void *bytes, size_t n);
void msx__buffer_text(msx__buffer *b, const char *text);
void msx__buffer_printf(msx__buffer *b, const char *format, ...) MSX_PRINTF(2, 3);
void msx__buffer_free(msx__buffer *b);
/* Shortest decimal text that reads back as the same double, with '.' in every locale. */
void msx__format_double(double value, char out[32]);
/* Parse a whole string as a double, with '.' in every locale; false when anything is left over. */
bool msx__parse_double(const char *text, double *out);

/* 1 to `most` bytes of UTF-8 without control characters: can be printed on one line. */
bool msx__is_line(const char *text, size_t most);

/* ---- hashes (hash.c, hash_lanes.c) --------------------------------------------------------------- */

#define MSX__SHA256_BYTES 32
#define MSX__SHA256_HEX   65 /* 64 digits and a NUL */

typedef struct msx__sha256 {
    uint64_t opaque[32];
} msx__sha256;
void msx__sha256_begin(msx__sha256 *h);
void msx__sha256_add(msx__sha256 *h, const void *bytes, size_t n);
/* n different hashes at once, which is faster than one after the other (hash_lanes.c). */
void msx__sha256_add_all(msx__sha256 *const *h, const void *const *bytes, const size_t *size,
                         size_t n);
void msx__sha256_end(msx__sha256 *h, uint8_t out[MSX__SHA256_BYTES]);
void msx__sha256_hex(msx__sha256 *h, char out[MSX__SHA256_HEX]);

/* FNV-1a, for keys of generators and tables; not against adversaries. */
uint64_t msx__hash64(const void *bytes, size_t n);

/* ---- registries (registry.c) ------------------------------------------------------------------- */

/* Tables registered with a context by name. */
typedef enum msx__registry_kind {
    MSX__METHODS = 0,
    MSX__DRIVERS = 1,
    MSX__REGISTRIES = 2
} msx__registry_kind;

/* Built-in tables are registered when a registry is first asked: lib/merge and lib/optimize define
 * these, so that core needs to know nothing of them. */
typedef msx_status (*msx__builtin_fn)(msx_ctx *ctx);

msx_status msx__registry_add(msx_ctx *ctx, msx__registry_kind kind, const char *name,
                             const void *table);
int64_t msx__registry_count(const msx_ctx *ctx, msx__registry_kind kind);
const void *msx__registry_at(const msx_ctx *ctx, msx__registry_kind kind, int64_t i);
const char *msx__registry_name(const msx_ctx *ctx, msx__registry_kind kind, int64_t i);
const void *msx__registry_find(const msx_ctx *ctx, msx__registry_kind kind, const char *name);
/* Run `builtins` once per context and kind, before anything else is done with it. */
msx_status msx__registry_once(msx_ctx *ctx, msx__registry_kind kind, msx__builtin_fn builtins);

#endif
