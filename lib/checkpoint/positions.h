/* SPDX-License-Identifier: Apache-2.0 */
/* A SAM for another input size: its architecture, and its tables of positions resampled. */
#ifndef MSX_CHECKPOINT_POSITIONS_H
#define MSX_CHECKPOINT_POSITIONS_H

#include "core/core.h"

#include <medsamix/arch.h>

/* `a` with another side of the input, in pixels: only image_encoder.pos_embed and the tables of relative
 * position of global blocks have other shapes. MSX_E_ARG for a size that is no multiple of the patch.
 * (arch.c) */
msx_status msx__arch_resize(msx_arch **out, const msx_arch *a, int64_t image_size);

bool msx__positions_known(msx_positions how);

/* Tensor `i` of both architectures from the shape it has in one to that in the other. */
msx_status msx__positions_resample(msx_ctx *ctx, float *to, const msx_arch *other,
                                   const float *from, const msx_arch *a, int64_t i,
                                   msx_positions how);

#endif
