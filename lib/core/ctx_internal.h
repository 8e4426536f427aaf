/* SPDX-License-Identifier: Apache-2.0 */
/* The context itself; only lib/core includes this. */
#ifndef MSX_CORE_CTX_INTERNAL_H
#define MSX_CORE_CTX_INTERNAL_H

#include "core/core.h"

#include <pthread.h>
#include <stdatomic.h>

#define MSX__ERROR_TEXT 2048
#define MSX__RESERVED   4 /* error slots that need no memory */
#define MSX__N_LIMITS   7 /* index 0 unused */

typedef struct msx__error_slot {
    struct msx__error_slot *next;
    pthread_t thread;
    msx_status status;
    char text[MSX__ERROR_TEXT];
} msx__error_slot;

typedef struct msx__registry_entry {
    const char *name;
    const void *table;
} msx__registry_entry;

typedef struct msx__registry {
    msx__registry_entry *entries;
    size_t n, capacity;
    bool ready; /* the built-in tables are in */
} msx__registry;

struct msx_ctx {
    msx_allocator allocator;
    int threads;
    int64_t limits[MSX__N_LIMITS];
    msx_pickle_rule pickle_rule;
    msx_log_fn log;
    void *log_payload;
    msx_progress_fn progress;
    void *progress_payload;
    atomic_int cancelled;          /* lock-free, so that signal handlers may set it */
    pthread_mutex_t lock;          /* of the members below */
    pthread_mutex_t registry_lock; /* recursive: registering built-ins registers */
    pthread_mutex_t voice;   /* recursive; one call of the log or progress receiver at a time */
    msx__error_slot *errors; /* newest first, one per thread that ever failed */
    msx__error_slot reserve[MSX__RESERVED]; /* for threads whose slot cannot be allocated */
    int reserved;                           /* taken of them */
    atomic_bool lost;                       /* more threads failed so; all are told the same */
    msx__registry registries[MSX__REGISTRIES];
};

/* Release the slots of all threads (error.c). */
void msx__error_slots_free(msx_ctx *ctx);

#endif
