/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file optimizer_driver.h
 * @brief For people who add an optimizer.
 *
 * A driver only proposes: numbering, the queue, duplicates, failed trials and the history are the
 * library's. It must be deterministic in what it is given; the generator below is keyed by the seed
 * and the trial number, so a driver that draws from nothing else is resumable for free.
 */
#ifndef MEDSAMIX_SYS_OPTIMIZER_DRIVER_H
#define MEDSAMIX_SYS_OPTIMIZER_DRIVER_H

#include <medsamix/optimize.h>

MSX_BEGIN_DECLS

/** Random numbers of one proposal. */
typedef struct msx_rng msx_rng;

MSX_API uint64_t msx_rng_u64(msx_rng *r);
/** Uniform in [0, 1) with 53 bits. */
MSX_API double msx_rng_uniform(msx_rng *r);
/** Uniform in 0..n-1, n >= 1, without bias. */
MSX_API uint64_t msx_rng_below(msx_rng *r, uint64_t n);
/** Standard normal. */
MSX_API double msx_rng_normal(msx_rng *r);

/** What a driver sees of the run. Arrays are borrowed for the call. */
typedef struct msx_history {
    size_t struct_size;
    msx_ctx *ctx;
    const msx_space *space;
    int n_objectives;
    int64_t n_trials;           /**< budget, 0 unknown */
    int64_t asked;              /**< configurations proposed so far = number of this one */
    int64_t enqueued;           /**< of them from the caller's queue */
    const double *const *x;     /**< asked configurations, in order */
    const double *const *costs; /**< their costs; NULL: running; failed ones hold the worst seen */
    const uint8_t *failed;      /**< 1 where `costs` is that of a failed trial */
    const double *preference;   /**< how much each objective matters, adding up to 1; NULL: alike */
    /** Parameters that this proposal keeps as in `like`; NULL: none. They are put in place after the driver's
     *  proposal in every case; a driver that looks only there proposes better. */
    const uint8_t *fixed;
    const double *like;
} msx_history;

/** An option of a driver. */
typedef struct msx_option {
    const char *name;
    double initial, minimum, maximum;
    const char *about;
} msx_option;

/** Other defaults, under a name: while option number `option` of the driver has `value`, the options
 *  that the caller did not set hold `values` (one for each option) instead of their initial ones. */
typedef struct msx_option_preset {
    size_t option;
    double value;
    const double *values;
} msx_option_preset;

/** A driver. Zero-initialise what is not needed. */
typedef struct msx_optimizer_driver {
    size_t struct_size;
    const char *name;          /**< lower-case letters, digits and '_' */
    const char *about;         /**< one line of help */
    const char *source;        /**< paper */
    int max_objectives;        /**< 0: any number */
    const msx_option *options; /**< n_options entries */
    size_t n_options;
    /** Make the driver's own state; `options` are values in table order. Optional. */
    msx_status (*create)(void **state, const msx_history *history, const double *options,
                         void *payload);
    void (*destroy)(void *state, void *payload); /**< optional */
    /** Propose into `x` (repaired by the library afterwards) and set `origin` to a static string.
     *  `attempt` counts repeats for this trial after duplicates, from 0.
     *  @return MSX_OK, MSX_DONE_EXHAUSTED, or a failure. */
    msx_status (*propose)(void *state, const msx_history *history, const double *options,
                          msx_rng *rng, int attempt, double *x, const char **origin, void *payload);
    void *payload;
    /* Members from here on are looked at when `struct_size` says that they are there. */
    const msx_option_preset *presets; /**< n_presets entries */
    size_t n_presets;
} msx_optimizer_driver;

/** Register a driver with a context. The table must outlive the context.
 *  @return MSX_E_EXISTS, MSX_E_ARG (text says which field). */
MSX_API msx_status msx_optimizer_driver_register(msx_ctx *ctx, const msx_optimizer_driver *driver);

MSX_API int64_t msx_optimizer_driver_count(const msx_ctx *ctx);
MSX_API const msx_optimizer_driver *msx_optimizer_driver_at(const msx_ctx *ctx, int64_t i);
MSX_API const msx_optimizer_driver *msx_optimizer_driver_find(const msx_ctx *ctx, const char *name);

MSX_END_DECLS

#endif
