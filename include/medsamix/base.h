/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base.h
 * @brief What every other header needs: the export macro, the status codes.
 *
 * Conventions that hold for the whole library:
 * - Functions that can fail return ::msx_status: 0 is success, a negative value a failure, a
 *   positive value success that also says why something stopped. The text of the last failure
 *   is kept by the context, see msx_ctx_error().
 * - Results come first, in a parameter named `out`. It is set to NULL when the call fails.
 * - A handle returned through `out` is owned by the caller and released by its `_free` function,
 *   which accepts NULL. A pointer *returned* by a function is borrowed from the handle it was
 *   asked of and lives as long as that handle is neither changed nor freed.
 * - Sizes are int64_t and in elements unless a name says bytes. Arrays are row-major.
 * - Different handles may be used by different threads at the same time. One handle is used by
 *   one thread at a time unless its documentation says more.
 * - The library never prints, exits, aborts, reads environment variables or seeds from time.
 */
#ifndef MEDSAMIX_BASE_H
#define MEDSAMIX_BASE_H

#include <stdbool.h> /* bool */
#include <stddef.h>  /* size_t */
#include <stdint.h>  /* int64_t, uint8_t */

#if defined(__GNUC__)
#define MSX_API                          __attribute__((visibility("default")))
#define MSX_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#else
#define MSX_API
#define MSX_PRINTF(fmt_index, first_arg)
#endif

#ifdef __cplusplus
#define MSX_BEGIN_DECLS extern "C" {
#define MSX_END_DECLS   }
#else
#define MSX_BEGIN_DECLS
#define MSX_END_DECLS
#endif

MSX_BEGIN_DECLS

/** Result of a call. Values never change their meaning; new ones may be added. */
typedef enum msx_status {
    MSX_OK = 0,

    /* success, and why it stopped */
    MSX_DONE_TRIALS = 1,    /**< the number of trials asked for has been reached */
    MSX_DONE_EXHAUSTED = 2, /**< the search space has no configuration left to try */
    MSX_DONE_WAIT = 3,      /**< a running trial must be finished before another can be proposed */

    /* the caller */
    MSX_E_ARG = -1,      /**< an argument is outside its documented range */
    MSX_E_NOTFOUND = -2, /**< no tensor, task, method, option, ... of that name */
    MSX_E_EXISTS = -3,   /**< the name is taken already */

    /* the input */
    MSX_E_IO = -10,          /**< a file could not be opened, read or written */
    MSX_E_FORMAT = -11,      /**< a file's content breaks its format's rules */
    MSX_E_UNSUPPORTED = -12, /**< valid, but something this library does not handle */
    MSX_E_SHAPE = -13,       /**< sizes that must agree do not */
    MSX_E_STORE = -14,       /**< the trial store belongs to another search, or is locked */

    /* resources */
    MSX_E_NOMEM = -20,  /**< memory could not be allocated */
    MSX_E_LIMIT = -21,  /**< a limit of the context was reached, see msx_ctx_set_limit() */
    MSX_E_DEVICE = -22, /**< a compute device is missing or failed */

    /* control */
    MSX_E_CANCELLED = -30, /**< msx_ctx_cancel() or the progress callback asked to stop */
    MSX_E_CALLBACK = -31,  /**< a callback of the caller returned a failure */
    MSX_E_INTERNAL = -40   /**< a defect of the library; please report it */
} msx_status;

/** Short lower-case name of a status ("not found"), never NULL. Any thread. */
MSX_API const char *msx_status_name(msx_status status);

MSX_END_DECLS

#endif
