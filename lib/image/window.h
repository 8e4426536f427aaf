/* SPDX-License-Identifier: Apache-2.0 */
/* Intensity rules over values that come in pieces: look at all of them, once or twice, then map them. */
#ifndef MSX_IMAGE_WINDOW_H
#define MSX_IMAGE_WINDOW_H

#include "core/core.h"

typedef struct msx__window_ranks msx__window_ranks;

typedef struct msx__window {
    msx_ctx *ctx;
    const char *name;              /* of the file, for messages; borrowed */
    const struct msx__rule *rule;  /* see window.c */
    double width, level;           /* of ct */
    int64_t n, bad, positives;     /* values seen; NaN or infinite ones; those above 0 */
    double least, most, outside;   /* of all; the first one outside 0 to 255, NaN without one */
    msx__window_ranks *ranks;      /* counts behind the percentiles of mr */
    double low, high, from, range; /* the map: clip to low..high, from..from+range to 0..255 */
} msx__window;

/* Parse a rule, see msx_volume_window(). */
msx_status msx__window_begin(msx__window *w, msx_ctx *ctx, const char *name, const char *rule);
/* How often all values are looked at. */
int msx__window_passes(const msx__window *w);
/* Pass `pass` (from 0) over n values; after the last piece of each pass settle it. */
void msx__window_look(msx__window *w, int pass, const float *values, int64_t n);
msx_status msx__window_settle(msx__window *w, int pass);
/* Map n values in place. */
void msx__window_apply(const msx__window *w, float *values, int64_t n);
void msx__window_end(msx__window *w); /* accepts a zeroed struct */

/* All of that for values in memory. */
msx_status msx__window_whole(msx_ctx *ctx, const char *name, float *values, int64_t n,
                             const char *rule);

#endif
