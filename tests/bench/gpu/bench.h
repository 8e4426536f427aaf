/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the GPU benchmark share: ending on errors, noise, timing, and the networks. */
#ifndef MSX_TESTS_BENCH_GPU_H
#define MSX_TESTS_BENCH_GPU_H

#include "model/results.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRECISIONS = 4 };

/* What this GPU can do, measured in this run. */
typedef struct ceilings {
    double tflops[PRECISIONS]; /* of a large product */
    double gbytes;             /* read and written by a large copy */
} ceilings;

typedef struct network {
    const char *name;
    int64_t width, head, depth, global_every;
    double tflop;     /* of an encoding, without the windows' padding */
    const char *file; /* NULL: weights are computed */
} network;

/* End the program with the error's text; 77 where there is no device. */
void need(const msx_ctx *ctx, msx_status status);
void need_op(const msx_device *d, int code);

/* Exact, cheap and without a pattern that a GPU could gain from; free. */
float *noise(int64_t n);
msx_device *open_device(msx_ctx *ctx, msx_precision precision);

/* Calls that are timed at the most; 0: each is made once, cold, for a profiler to look at. */
extern int rounds;

typedef void (*work_fn)(msx_device *d, void *payload);
/* Median milliseconds of `work` by the host's clock around calls that end in waiting for the GPU; three
 * rounds before warm up, and let calls that repeat be recorded. */
double time_of(msx_device *d, work_fn work, void *payload);

void measure_encoders(msx_ctx *ctx, const network *n, const msx_checkpoint *c,
                      const ceilings *most);
void encode_once(msx_ctx *ctx, const msx_checkpoint *c, int64_t batch);
void measure_decoder(msx_ctx *ctx, const network *n, const msx_checkpoint *c);
void measure_merges(msx_ctx *ctx, const network *n, const msx_checkpoint *c, const ceilings *most);
void measure_trials(msx_ctx *ctx, const network *n, const msx_checkpoint *c, bool small);

/* Fine-tuned forms of a model: every tensor but the positional encoding moved a little. */
msx_checkpoint *move_weights(msx_ctx *ctx, const msx_checkpoint *c, uint32_t seed);

#endif
