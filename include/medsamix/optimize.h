/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file optimize.h
 * @brief Conditional search spaces, configurations, and ask/tell optimizers. Costs are minimised.
 *
 * Nothing here knows of SAM: use it for any black-box problem.
 */
#ifndef MEDSAMIX_OPTIMIZE_H
#define MEDSAMIX_OPTIMIZE_H

#include <medsamix/ctx.h>

MSX_BEGIN_DECLS

/* ---- space ----------------------------------------------------------------------------------- */

/** Parameters, some of them active only when a parent has certain values. */
typedef struct msx_space msx_space;

MSX_API msx_status msx_space_create(msx_space **out, msx_ctx *ctx);
MSX_API void msx_space_free(msx_space *s);

/** Add a real parameter in [lower, upper]; its index is msx_space_count() - 1 afterwards.
 *  @param log_scale search in the logarithm (lower > 0). @param initial the default value. */
MSX_API msx_status msx_space_add_float(msx_space *s, const char *name, double lower, double upper,
                                       double initial, bool log_scale);
/** Add an integer parameter in [lower, upper]. */
MSX_API msx_status msx_space_add_int(msx_space *s, const char *name, int64_t lower, int64_t upper,
                                     int64_t initial);
/** Add a categorical parameter of 1 to 128 choices; its values are the indices 0..n-1. */
MSX_API msx_status msx_space_add_categorical(msx_space *s, const char *name,
                                             const char *const *choices, size_t n, size_t initial);
/** `child` is active only while `parent` (categorical, added before it) is active and has one of the
 *  `n` values. At most one condition per child. */
MSX_API msx_status msx_space_condition(msx_space *s, int64_t child, int64_t parent,
                                       const size_t *values, size_t n);

/** Kinds of parameters. */
typedef enum msx_param_kind {
    MSX_PARAM_FLOAT = 1,
    MSX_PARAM_INT = 2,
    MSX_PARAM_CATEGORICAL = 3
} msx_param_kind;

MSX_API int64_t msx_space_count(const msx_space *s);
MSX_API int64_t msx_space_find(const msx_space *s, const char *name); /* -1: none */
MSX_API const char *msx_space_name(const msx_space *s, int64_t i);
MSX_API msx_param_kind msx_space_kind(const msx_space *s, int64_t i);
MSX_API int64_t msx_space_choices(const msx_space *s, int64_t i); /* 0 unless categorical */
MSX_API const char *msx_space_choice(const msx_space *s, int64_t i, int64_t choice);
/** Lower and upper bound, default; for categoricals 0, n-1, default index. */
MSX_API double msx_space_lower(const msx_space *s, int64_t i);
MSX_API double msx_space_upper(const msx_space *s, int64_t i);
MSX_API double msx_space_initial(const msx_space *s, int64_t i);

/* ---- configurations -------------------------------------------------------------------------- */

/* A configuration is an array of msx_space_count() doubles, one per parameter: the value itself,
 * the index of a choice, or NaN where the parameter is inactive. Plain arrays keep it easy to
 * store, hash and pass through other languages. */

/** Fill `x` with the defaults, inactive ones NaN. */
MSX_API void msx_space_default(const msx_space *s, double *x);

/** Draw uniformly, with key `seed` and counter `index`: the same pair gives the same `x`. */
MSX_API void msx_space_sample(const msx_space *s, uint64_t seed, uint64_t index, double *x);

/** Make `x` consistent: clip, round integers, give newly active parameters their defaults, blank
 *  inactive ones. */
MSX_API void msx_space_repair(const msx_space *s, double *x);

/** MSX_OK when `x` is a legal configuration, else MSX_E_ARG naming the parameter. */
MSX_API msx_status msx_space_check(const msx_space *s, const double *x);

/** True when two configurations are the same: NaN equals NaN, and floats are told apart on a grid of
 *  1e-13 of their range. */
MSX_API bool msx_space_equal(const msx_space *s, const double *a, const double *b);

/* ---- optimizers ------------------------------------------------------------------------------ */

/** An ask/tell optimizer. Everything it proposes is a function of the space, the seed, its options
 *  and what it was asked and told, in that order: replaying the same calls gives the same answers. */
typedef struct msx_optimizer msx_optimizer;

/** Make an optimizer by driver name ("random", "sobol", "smac", "parego", "nsga2", "tpe", "cmaes").
 *  @param space must outlive it. @param n_objectives 1 to 64. @param n_trials the budget the initial
 *  design is sized by; 0 when unknown. @return MSX_E_NOTFOUND with a suggestion. */
MSX_API msx_status msx_optimizer_create(msx_optimizer **out, msx_ctx *ctx, const char *driver,
                                        const msx_space *space, int n_objectives, int64_t n_trials,
                                        uint64_t seed);
MSX_API void msx_optimizer_free(msx_optimizer *o);

/** Options of the driver by key; all are listed in docs/search.md. Set before the first ask.
 *  @return MSX_E_NOTFOUND, MSX_E_ARG (out of range). */
MSX_API msx_status msx_optimizer_set(msx_optimizer *o, const char *key, double value);
MSX_API msx_status msx_optimizer_get(const msx_optimizer *o, const char *key, double *out);
/** Options in order: number; name, bounds and help of one. */
MSX_API int64_t msx_optimizer_option_count(const msx_optimizer *o);
MSX_API const char *msx_optimizer_option(const msx_optimizer *o, int64_t i, double *lower,
                                         double *upper, const char **about);

/** Running several trials at once without losing reproducibility. With a lag of L >= 1, what the driver
 *  proposes for trial t depends on the outcomes of trials 0 .. t - L alone; those of later ones count as
 *  running even when they have been told. Whoever asks as soon as that is allowed keeps L trials in
 *  flight, and any number of workers up to L, in whatever order they finish, evaluate the same trials as
 *  a single one does with the same lag. With a lag of 1 every proposal waits for all outcomes. 0, the
 *  default: everything told so far counts, and what is proposed depends on the order of finishing.
 *  Set before the first ask. @return MSX_E_ARG (negative, or too late). */
MSX_API msx_status msx_optimizer_set_lag(msx_optimizer *o, int64_t lag);

/** How much each objective matters to a driver that weighs them ("parego"): n_objectives numbers >= 0,
 *  not all 0, of which only the ratios count. An objective of weight 0 is left out. NULL, the default:
 *  all alike. Set before the first ask; copied. @return MSX_E_ARG. */
MSX_API msx_status msx_optimizer_set_preference(msx_optimizer *o, const double *weights);

/** Put a configuration before everything the driver would propose; one that was asked already by the
 *  time its turn comes is left out. @return MSX_E_ARG (not a legal configuration). */
MSX_API msx_status msx_optimizer_enqueue(msx_optimizer *o, const double *x);

/** Next configuration to evaluate; `trial` receives its number, from 0. Several may be asked before
 *  any is told; the driver then believes of the running ones what it predicts for them, so that it
 *  proposes something else. Models of the built-in drivers are learnt and searched on the context's
 *  threads (msx_ctx_set_threads()), with the same proposal for any number of them.
 *  @return MSX_OK, MSX_DONE_EXHAUSTED (nothing new can be proposed), MSX_DONE_WAIT (with a lag: ask again after the next tell). */
MSX_API msx_status msx_optimizer_ask(msx_optimizer *o, double *x, int64_t *trial);

/** As msx_optimizer_ask(), for a configuration that keeps the parameters marked in `fixed` (one byte each,
 *  non-zero: kept) as they are in `like`, where an evaluation costs less when only the others change. What
 *  is enqueued comes first all the same. A kept parameter's parent must be kept too.
 *  @return also MSX_DONE_EXHAUSTED when nothing new is left beside `like`, MSX_E_ARG (`like` is not a legal
 *  configuration, or a parent is not kept). */
MSX_API msx_status msx_optimizer_ask_like(msx_optimizer *o, const double *like,
                                          const uint8_t *fixed, double *x, int64_t *trial);

/** Report the costs of trial `trial` (n_objectives values, finite), or a failure with costs NULL:
 *  it then counts as the worst seen. @return MSX_E_ARG (not asked, told already, not finite). */
MSX_API msx_status msx_optimizer_tell(msx_optimizer *o, int64_t trial, const double *costs);

/** Take in a trial of an earlier run as if it had been asked and told now: trial numbers continue,
 *  and the head of the queue is taken off when it is that configuration. `costs` NULL: failed. */
MSX_API msx_status msx_optimizer_replay(msx_optimizer *o, const double *x, const double *costs);

/** Take in a trial that another optimizer of the same search asked for and that still runs: as
 *  msx_optimizer_replay(), but its outcome is told later. `trial` receives its number. */
MSX_API msx_status msx_optimizer_adopt(msx_optimizer *o, const double *x, int64_t *trial);

/** State of the random generator, for stores: seed, number of the next trial, and digests of the
 *  configurations and of the outcomes. Two optimizers with equal histories have equal states. */
MSX_API void msx_optimizer_rng_state(const msx_optimizer *o, uint64_t out[4]);

/** How the last asked configuration came about: "enqueued", "sobol", "random", "model", ... */
MSX_API const char *msx_optimizer_origin(const msx_optimizer *o);

/** Trials asked; configuration and costs of one (costs NULL: failed or still running). Borrowed
 *  until the next ask or replay. */
MSX_API int64_t msx_optimizer_trials(const msx_optimizer *o);
MSX_API const double *msx_optimizer_trial_x(const msx_optimizer *o, int64_t trial);
MSX_API const double *msx_optimizer_trial_costs(const msx_optimizer *o, int64_t trial);

/** Trial of the lowest (first) cost; the earliest on ties; -1 before any. */
MSX_API int64_t msx_optimizer_best(const msx_optimizer *o);

/* ---- importance ------------------------------------------------------------------------------ */

/** What matters, by a random forest that is fitted to some trials of any optimizer: for each group of
 *  parameters the share of the variance of predicted costs, over uniform configurations, that is lost when
 *  the group is held (total Sobol index). An interaction counts for every group in it, so shares may add up
 *  to more than 1. Alike for the same arguments.
 *  @param[out] out n_groups shares. @param[out] fit how well the forest predicts trials it has not seen: 1 -
 *  squared error / variance by cross-validation; near 0 or below, the shares say nothing. NULL: not wanted.
 *  @param x n legal configurations. @param costs n finite costs. @param n at least 5.
 *  @param group the group of each parameter, 0 to n_groups - 1, or -1 for none; NULL: each for itself, and
 *  n_groups is their number. @return MSX_E_ARG, MSX_E_NOMEM. */
MSX_API msx_status msx_importance(double *out, double *fit, msx_ctx *ctx, const msx_space *space,
                                  const double *x, const double *costs, int64_t n,
                                  const int64_t *group, int64_t n_groups, uint64_t seed);

/* ---- Pareto ---------------------------------------------------------------------------------- */

/** Mark non-dominated rows of `costs` (n x m, minimised; rows with NaN are dominated): out[i] is 1
 *  or 0. Equal rows are all kept. @return their number. */
MSX_API int64_t msx_pareto_front(const double *costs, int64_t n, int64_t m, uint8_t *out);

/** Hypervolume dominated by the rows with respect to `reference` (m values), exact.
 *  @return MSX_E_NOMEM; result in `out`. */
MSX_API msx_status msx_hypervolume(msx_ctx *ctx, const double *costs, int64_t n, int64_t m,
                                   const double *reference, double *out);

MSX_END_DECLS

#endif
