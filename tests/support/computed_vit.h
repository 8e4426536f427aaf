/* SPDX-License-Identifier: Apache-2.0 */
/* Full-size SAMs with computed weights, as the reference vectors vit_*.safetensors use them: nothing to
 * download. Every tensor is a splitmix64 stream seeded by the FNV-1a hash of its official name. */
#ifndef MSX_TESTS_COMPUTED_VIT_H
#define MSX_TESTS_COMPUTED_VIT_H

#include <medsamix/medsamix.h>

/* A SAM of 1024 pixels in memory: width, head size, depth, and every how many blocks one is global
 * (ViT-B: 768, 64, 12, 3). */
msx_status test_compute_vit(msx_checkpoint **out, msx_ctx *ctx, int64_t width, int64_t head,
                            int64_t depth, int64_t global_every);

#endif
