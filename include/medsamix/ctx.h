/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file ctx.h
 * @brief The context: error text, limits, memory, threads, log, progress, cancel.
 *
 * Every handle is made from a context and must be freed before it. A context may be shared by
 * several threads: each thread has its own error text, registries are locked, and
 * msx_ctx_cancel() may be called from anywhere. The setters are for the time before the threads
 * start.
 */
#ifndef MEDSAMIX_CTX_H
#define MEDSAMIX_CTX_H

#include <medsamix/base.h>

MSX_BEGIN_DECLS

typedef struct msx_ctx msx_ctx;

/** Memory functions of the caller. All three or none. `alloc` and `realloc` return memory aligned
 *  as malloc does, or NULL; `free` accepts NULL. They are called from any thread. */
typedef struct msx_allocator {
    size_t struct_size; /**< sizeof(msx_allocator) */
    void *(*alloc)(size_t bytes, void *payload);
    void *(*realloc)(void *memory, size_t bytes, void *payload);
    void (*free)(void *memory, void *payload);
    void *payload;
} msx_allocator;

/** Make a context. @param allocator NULL for malloc and friends; copied.
 *  @return MSX_OK, MSX_E_ARG, MSX_E_NOMEM (there is no text then: there is no context). */
MSX_API msx_status msx_ctx_create(msx_ctx **out, const msx_allocator *allocator);

/** Release a context. Accepts NULL. Every handle made from it must have been freed. */
MSX_API void msx_ctx_free(msx_ctx *ctx);

/** Release memory that the library handed out as plain bytes. Accepts NULL. */
MSX_API void msx_free(msx_ctx *ctx, void *memory);

/** Text of the last failure on the calling thread: one line "FILE: where: what is wrong; what to
 *  do", or "" when nothing failed yet. Borrowed until the thread's next failure. */
MSX_API const char *msx_ctx_error(const msx_ctx *ctx);

/** Status of the last failure on the calling thread, MSX_OK when nothing failed yet. */
MSX_API msx_status msx_ctx_error_status(const msx_ctx *ctx);

/** Forget the calling thread's last failure. */
MSX_API void msx_ctx_clear_error(msx_ctx *ctx);

/** Number of threads a call may use, 1 to 1024; 0 (default) means one per available processor.
 *  Results do not depend on it. */
MSX_API msx_status msx_ctx_set_threads(msx_ctx *ctx, int threads);

/** Number of threads in effect, at least 1. */
MSX_API int msx_ctx_threads(const msx_ctx *ctx);

/** What is limited, against hostile or mistaken input. */
typedef enum msx_limit {
    MSX_LIMIT_HEADER_BYTES = 1, /**< safetensors header, pickle, JSON, YAML text; default 16 MiB */
    MSX_LIMIT_TENSORS = 2,      /**< tensors in one checkpoint; default 65536 */
    MSX_LIMIT_TENSOR_BYTES = 3, /**< one tensor as float32; default 16 GiB */
    MSX_LIMIT_IMAGE_PIXELS = 4, /**< pixels of one 2-D image; default 400 million */
    MSX_LIMIT_VOLUME_BYTES = 5, /**< one volume, uncompressed; default 8 GiB */
    MSX_LIMIT_CASES = 6         /**< cases of one data set; default 100000 */
} msx_limit;

/** Set a limit, 1 to 2^62. @return MSX_E_ARG for an unknown limit or a value out of range. */
MSX_API msx_status msx_ctx_set_limit(msx_ctx *ctx, msx_limit limit, int64_t value);

/** Value of a limit, -1 for an unknown one. */
MSX_API int64_t msx_ctx_limit(const msx_ctx *ctx, msx_limit limit);

/** What the pickle inside a torch file may hold beside tensors. Nothing in it is ever executed; the rule
 *  says which files are taken for model files. docs/formats/checkpoint.md has the lists. */
typedef enum msx_pickle_rule {
    MSX_PICKLE_KNOWN = 0,   /**< default: names and instances of any class, which are not looked at;
                                 calls only of what rebuilds tensors and of harmless constructors */
    MSX_PICKLE_STRICT = 1,  /**< no name that torch.load(weights_only=True) would not take */
    MSX_PICKLE_TOLERANT = 2 /**< calls of unknown functions too: the result is not looked at */
} msx_pickle_rule;

/** Choose the rule for all files that are opened from now on. @return MSX_E_ARG for an unknown one. */
MSX_API msx_status msx_ctx_set_pickle_rule(msx_ctx *ctx, msx_pickle_rule rule);

/** The rule in effect. */
MSX_API msx_pickle_rule msx_ctx_pickle_rule(const msx_ctx *ctx);

/** How much a log line matters. */
typedef enum msx_log_level {
    MSX_LOG_WARNING = 1,
    MSX_LOG_INFO = 2,
    MSX_LOG_DEBUG = 3
} msx_log_level;

/** Receives one line without a line break. Called on the thread that works; a context never calls its
 *  log and progress receivers on two threads at once. */
typedef void (*msx_log_fn)(msx_log_level level, const char *line, void *payload);

/** Set the log receiver; NULL (default) drops all lines. */
MSX_API void msx_ctx_set_log(msx_ctx *ctx, msx_log_fn log, void *payload);

/** State of a long call. */
typedef struct msx_progress {
    size_t struct_size;
    const char *stage; /**< what is being done: "merge", "search", "segment", ... */
    int64_t done;      /**< units finished */
    int64_t total;     /**< units in all; 0 when unknown */
    double best;       /**< best value so far (Dice in 0..1); NaN where there is none */
} msx_progress;

/** Receives progress, on the thread that works. Return 0 to go on, anything else to stop: the call
 *  then returns MSX_E_CANCELLED. */
typedef int (*msx_progress_fn)(const msx_progress *progress, void *payload);

/** Set the progress receiver; NULL (default) for none. */
MSX_API void msx_ctx_set_progress(msx_ctx *ctx, msx_progress_fn progress, void *payload);

/** Ask every running call of this context to stop with MSX_E_CANCELLED at its next safe point.
 *  Any thread; safe inside a signal handler. Stays set until msx_ctx_reset_cancel(). */
MSX_API void msx_ctx_cancel(msx_ctx *ctx);

/** True after msx_ctx_cancel(). Any thread. */
MSX_API bool msx_ctx_cancelled(const msx_ctx *ctx);

/** Take a cancel request back. */
MSX_API void msx_ctx_reset_cancel(msx_ctx *ctx);

/** The entry of `names` (NULL entries are skipped) that `word` most likely meant, or NULL when none
 *  is close. For "did you mean" messages. Any thread. */
MSX_API const char *msx_closest_name(const char *word, const char *const *names, size_t n);

MSX_END_DECLS

#endif
