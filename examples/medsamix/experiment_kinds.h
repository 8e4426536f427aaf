/* SPDX-License-Identifier: Apache-2.0 */
/* The experiments by name; experiment_architecture.c lists them. */
#ifndef MEDSAMIX_EXPERIMENT_KINDS_H
#define MEDSAMIX_EXPERIMENT_KINDS_H

#include "experiment.h"

extern const experiment experiment_tasks_table, experiment_uniform,
    experiment_front; /* compare.c */
extern const experiment experiment_architecture;
extern const experiment experiment_granularity, experiment_tasks, experiment_models;

#endif
