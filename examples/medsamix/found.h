/* SPDX-License-Identifier: Apache-2.0 */
/* What a search has found: its Pareto front, told and written by several verbs. */
#ifndef MEDSAMIX_FOUND_H
#define MEDSAMIX_FOUND_H

#include "program.h"

typedef struct found {
    program *p;
    msx_search *search;
    int64_t *front; /* trials, best first */
    int64_t n_front;
} found;

enum { FOUND_COLUMNS = 3 /* members of the front that a table shows */ };

/* Open the search in the store of --store, without its models and images. */
int found_open(found *f, program *p, msx_device **device);

/* Look for the front; an error when no trial is finished. */
int found_read(found *f);
void found_free(found *f); /* the search stays */

/* Dice per task of the first `columns` members. */
int found_table(const found *f, int64_t columns);
/* {"trial", "origin", "mean", "dice"}, and a list of them. */
json_t *found_trial_json(const found *f, int64_t trial);
json_t *found_front_json(const found *f);
double found_mean_dice(const found *f, int64_t trial);

/* Plans of all members, checkpoints of the first few: they are large. */
int found_write_front(const found *f, const char *folder, int64_t checkpoints);

#endif
