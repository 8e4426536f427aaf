/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a search: one table serves setting, checking, defaults and the store. */
#ifndef MSX_SEARCH_OPTIONS_H
#define MSX_SEARCH_OPTIONS_H

#include "core/core.h"

#include <medsamix/search.h>

/* "smac.trees" = 20 */
typedef struct msx__driver_option {
    char *driver, *key;
    double value;
} msx__driver_option;

typedef struct msx__search_options {
    msx_ctx *ctx;
    int64_t trials, seed, min_object;
    int64_t batch; /* 0: the store's, else one per worker */
    int64_t workers, lease;
    int64_t keep_dead_groups, racing, racing_min, racing_batch, cache_mb;
    char *granularity, *prompt_granularity, *decoder_granularity; /* "1" to "4", "auto" */
    char *groups;    /* a plan that defines groups; "": none */
    char *proposals; /* "staged", "whole" */
    char *optimizer; /* "": by the number of tasks */
    char *methods, *preset, *store, *box_preset, *slice_axis;
    char *intensity; /* "": by channel */
    char *unit, *empty;
    char *order;    /* "batch", "free" */
    char *worker;   /* "": the host's name */
    char *devices;  /* with commas; "": the search's */
    char *racing_p; /* a number */
    msx__driver_option *driver;
    size_t n_driver;
} msx__search_options;

msx_status msx__options_init(msx__search_options *o, msx_ctx *ctx);
void msx__options_free(msx__search_options *o); /* accepts a zeroed struct */

/* Keys in the order of the table, without those of drivers; NULL behind the last. */
const char *msx__options_key(size_t i);

msx_status msx__options_set(msx__search_options *o, const char *key, const char *value);

/* 1 to 4, 0 for "auto", -1 for what is none. */
int msx__granularity_of(const char *value);

/* The evaluator's part. */
msx_status msx__options_eval(const msx__search_options *o, msx_eval_options *out);

#endif
