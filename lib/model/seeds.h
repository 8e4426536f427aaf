/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts on slices, as msx_segment_volume() uses them. */
#ifndef MSX_MODEL_SEEDS_H
#define MSX_MODEL_SEEDS_H

#include "core/core.h"

#include <medsamix/volume.h>

enum { MSX__MAX_LABEL = 65535 };

typedef struct msx__seed {
    int label;
    bool point, inside;  /* a point; of the object */
    int64_t first, last; /* slices */
    double at[4];        /* box, or x and y */
    const char *file;    /* where it was read; NULL when given by a call */
    int64_t line;
} msx__seed;

struct msx_seeds {
    msx_ctx *ctx;
    msx__seed *seeds; /* in the order given */
    int64_t n, capacity;
    char **files;
    int64_t n_files, file_capacity;
};

msx_status msx__seeds_add(msx_seeds *s, const msx__seed *seed);

#endif
