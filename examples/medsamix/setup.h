/* SPDX-License-Identifier: Apache-2.0 */
/* The models and options of a search, from the options of a verb. */
#ifndef MEDSAMIX_SETUP_H
#define MEDSAMIX_SETUP_H

#include "program.h"

/* --device may name several, for the workers in turn: open the first one. */
int setup_device(program *p, msx_device **out);
/* --set, the devices, and every option of the verb that is one of the search. */
int setup_options(program *p, msx_search *search);
/* These, --base and --model. */
int setup_search(program *p, msx_search *search);

/* Entries for the tables of verbs that search. */
#define SETUP_OPTIONS                                                                                  \
    {.name = "workers",                                                                                \
     .kind = OPTION_INT,                                                                               \
     .lower = 1,                                                                                       \
     .upper = 256,                                                                                     \
     .argument = "N",                                                                                  \
     .help =                                                                                           \
         "trials to run at once in this process; --device NAME,NAME gives them devices in turn "       \
         "(1)"},                                                                                       \
        {.name = "batch",                                                                              \
         .kind = OPTION_INT,                                                                           \
         .lower = 1,                                                                                   \
         .upper = 1024,                                                                                \
         .argument = "B",                                                                              \
         .help = "trials that are proposed from the same results, so that B can run at once (the "     \
                 "store's, or --workers)"},                                                            \
        {.name = "order",                                                                              \
         .kind = OPTION_TEXT,                                                                          \
         .argument = "ORDER",                                                                          \
         .choices = "batch|free",                                                                      \
         .help = "batch: the same trials for any number of workers; free: nobody waits (batch)"},      \
        {.name = "trials",                                                                             \
         .kind = OPTION_INT,                                                                           \
         .lower = 1,                                                                                   \
         .upper = 1e6,                                                                                 \
         .argument = "N",                                                                              \
         .help = "merges to try (120)"},                                                               \
        {.name = "methods",                                                                            \
         .kind = OPTION_TEXT,                                                                          \
         .argument = "LIST",                                                                           \
         .help =                                                                                       \
             "merge methods of docs/methods.md, with commas (linear,task_arithmetic,ties,slerp)"},     \
        {.name = "optimizer",                                                                          \
         .kind = OPTION_TEXT,                                                                          \
         .argument = "NAME",                                                                           \
         .help =                                                                                       \
             "smac, parego, tpe, nsga2, cmaes, sobol or random (smac for one task, parego for more)"}, \
        {.name = "set",                                                                                \
         .kind = OPTION_TEXT,                                                                          \
         .many = true,                                                                                 \
         .argument = "KEY=VALUE",                                                                      \
         .help = "option of the optimizer, as in smac.trees=20"},                                      \
        {.name = "granularity",                                                                        \
         .kind = OPTION_TEXT,                                                                          \
         .argument = "G",                                                                              \
         .choices = "1|2|3|4|auto",                                                                    \
         .help = "encoder blocks that share one group; auto: searched, too (2)"},                      \
        {.name = "prompt-granularity",                                                                 \
         .kind = OPTION_TEXT,                                                                          \
         .argument = "G",                                                                              \
         .choices = "1|2|3|4|auto",                                                                    \
         .help = "the same for the rows of the prompt encoder (1)"},                                   \
        {.name = "decoder-granularity",                                                                \
         .kind = OPTION_TEXT,                                                                          \
         .argument = "G",                                                                              \
         .choices = "1|2|3|4|auto",                                                                    \
         .help = "the same for the rows of the mask decoder (1)"},                                     \
        {.name = "groups",                                                                             \
         .kind = OPTION_TEXT,                                                                          \
         .argument = "FILE",                                                                           \
         .help = "a YAML file whose 'define' names groups of your own by tensor patterns"},            \
        {.name = "proposals",                                                                          \
         .kind = OPTION_TEXT,                                                                          \
         .argument = "KIND",                                                                           \
         .choices = "staged|whole",                                                                    \
         .help = "staged: most trials change only the last groups of the best one, which costs "       \
                 "less; whole: all may change everything (staged)"},                                   \
        {.name = "no-racing",                                                                          \
         .kind = OPTION_FLAG,                                                                          \
         .help =                                                                                       \
             "evaluate every trial on all images, also one that is clearly worse than the best"},      \
        {.name = "cache-mb",                                                                           \
         .kind = OPTION_INT,                                                                           \
         .lower = 0,                                                                                   \
         .upper = 16777216,                                                                            \
         .argument = "N",                                                                              \
         .help = "memory for intermediate results that later trials begin with; 0: none (2048)"},      \
    {                                                                                                  \
        .name = "keep-dead-groups", .kind = OPTION_FLAG,                                               \
        .help = "search groups that cannot change a mask, too"                                         \
    }

#endif
