/* SPDX-License-Identifier: Apache-2.0 */
/* A complete SAM in memory with few channels, any depth and any number of decoder layers. */
#ifndef MSX_TESTS_SMALL_SAM_H
#define MSX_TESTS_SMALL_SAM_H

#include "checkpoint/arch_internal.h"
#include "support/support.h"

#include <stdlib.h>

/* Add the tensors to an empty checkpoint; those of one `seed` have the same values. */
static inline msx_status sam_of_width(msx_checkpoint *c, msx_ctx *ctx, int64_t width, int depth,
                                      int layers, uint32_t seed) {
    int64_t rel[64];
    for (int i = 0; i < depth; i++)
        rel[i] = i % 3 == 2 ? 7 : 3; /* global on a grid of 4, window 2 */
    msx__sizes s = {.rel = rel};
    const struct {
        msx__size size;
        int64_t value;
    } values[] = {{MSX__1, 1},         {MSX__2, 2},           {MSX__3, 3},
                  {MSX__D, width},     {MSX__3D, 3 * width},  {MSX__MLP, 4 * width},
                  {MSX__HEAD, 4},      {MSX__S, 4},           {MSX__P, 4},
                  {MSX__C, 16},        {MSX__C2, 8},          {MSX__C4, 4},
                  {MSX__C8, 2},        {MSX__INNER, 8},       {MSX__DEC_MLP, 16},
                  {MSX__TOKENS, 4},    {MSX__K, 16},          {MSX__K4, 4},
                  {MSX__DEPTH, depth}, {MSX__LAYERS, layers}, {MSX__POINTS, 4}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        s.value[values[i].size] = values[i].value;
    msx__arch_tensor *list;
    int64_t n;
    msx_status status = msx__arch_list(ctx, &s, &list, &n);
    if (status < 0) return status;
    for (int64_t i = 0; i < n && status >= 0; i++) {
        status = msx_checkpoint_add(c, list[i].name, list[i].rank, list[i].dims, NULL);
        if (status < 0) break;
        float *data = msx_checkpoint_data(c, i);
        for (int64_t k = 0; k < msx_checkpoint_elements(c, i); k++) {
            seed = seed * 1664525u + 1013904223u;
            data[k] = (float)(int32_t)seed / 4294967296.0f;
        }
    }
    msx__arch_list_free(ctx, list, n);
    return status;
}

static inline msx_status small_sam_fill(msx_checkpoint *c, msx_ctx *ctx, int depth, int layers,
                                        uint32_t seed) {
    return sam_of_width(c, ctx, 8, depth, layers, seed);
}

static inline msx_checkpoint *small_sam(msx_ctx *ctx, int depth, int layers, uint32_t seed) {
    msx_checkpoint *c;
    test_ok(ctx, msx_checkpoint_create(&c, ctx));
    test_ok(ctx, small_sam_fill(c, ctx, depth, layers, seed));
    return c;
}

#endif
