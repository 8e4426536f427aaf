/* SPDX-License-Identifier: Apache-2.0 */
/* The data sets of --dataset and the tasks of --task, shared by the verbs search and score. */
#ifndef MEDSAMIX_DATASETS_H
#define MEDSAMIX_DATASETS_H

#include "program.h"

typedef struct chosen {
    msx_dataset *dataset;
    const char **tasks; /* labels; owned by the data set */
    size_t n;           /* 0: this data set has none of the tasks asked for */
} chosen;

typedef struct datasets {
    chosen *items;
    size_t n;
} datasets;

/* Open all data sets. A --task is LABEL, of every data set that has it, or DATASET/LABEL; without
 *  any all labels are taken. @return an exit code (message printed). */
int datasets_open(program *p, datasets *out);
void datasets_free(datasets *d);

/* Fill the options that both verbs share: --box-preset, --slice-axis, --intensity, --min-object,
 *  --unit, --empty, --seed. */
int datasets_options(program *p, msx_eval_options *out);

/* Their entries for the tables of the verbs. */
#define DATASETS_OPTIONS                                                                           \
    {.name = "dataset",                                                                            \
     .kind = OPTION_TEXT,                                                                          \
     .many = true,                                                                                 \
     .required = true,                                                                             \
     .argument = "DIR",                                                                            \
     .help = "nnU-Net raw folder"},                                                                \
        {.name = "task",                                                                           \
         .kind = OPTION_TEXT,                                                                      \
         .many = true,                                                                             \
         .argument = "LABEL",                                                                      \
         .help = "label to segment, or DATASET/LABEL (all)"},                                      \
        EVALUATION_OPTIONS

/* How slices are cut, prompted and scored. */
#define EVALUATION_OPTIONS                                                                         \
    {.name = "preset",                                                                             \
     .kind = OPTION_TEXT,                                                                          \
     .argument = "NAME",                                                                           \
     .choices = PROGRAM_PRESETS,                                                                   \
     .help = "preprocessing: " PROGRAM_PRESETS " (sam)"},                                          \
        {.name = "box-preset",                                                                     \
         .kind = OPTION_TEXT,                                                                      \
         .argument = "NAME",                                                                       \
         .choices = "tight|medsam|medicosam",                                                      \
         .help = "boxes from labels: tight, medsam or medicosam (tight)"},                         \
        {.name = "slice-axis",                                                                     \
         .kind = OPTION_TEXT,                                                                      \
         .argument = "AXIS",                                                                       \
         .choices = "max-spacing|i|j|k",                                                           \
         .help = "how volumes are cut: max-spacing, i, j or k (max-spacing)"},                     \
        {.name = "intensity",                                                                      \
         .kind = OPTION_TEXT,                                                                      \
         .argument = "RULE",                                                                       \
         .help = "ct[:W,L], mr, minmax or none (by the name of channel 0)"},                       \
        {.name = "min-object",                                                                     \
         .kind = OPTION_INT,                                                                       \
         .lower = 1,                                                                               \
         .upper = 1e9,                                                                             \
         .argument = "N",                                                                          \
         .help = "leave out smaller objects of a slice, in pixels (40)"},                          \
        {.name = "unit",                                                                           \
         .kind = OPTION_TEXT,                                                                      \
         .argument = "UNIT",                                                                       \
         .choices = "slice|volume",                                                                \
         .help = "average Dice over slices or volumes (slice)"},                                   \
        {.name = "empty",                                                                          \
         .kind = OPTION_TEXT,                                                                      \
         .argument = "RULE",                                                                       \
         .choices = "nnunet|monai|medpy",                                                          \
         .help = "Dice of empty masks: nnunet, monai or medpy (nnunet)"},                          \
    {                                                                                              \
        .name = "seed", .kind = OPTION_INT, .lower = 0, .upper = 9e15, .argument = "S",            \
        .help = "of everything random (0)"                                                         \
    }

#endif
