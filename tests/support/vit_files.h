/* SPDX-License-Identifier: Apache-2.0 */
/* Files of models of the size of ViT-B, for what only shows at full size: memory and speed. */
#ifndef MSX_TESTS_VIT_FILES_H
#define MSX_TESTS_VIT_FILES_H

#include <medsamix/medsamix.h>

#define TEST_VIT_B_LARGEST ((int64_t)4 * 64 * 64 * 768) /* bytes of pos_embed, its largest tensor */

/* Model k in memory: 0 is the computed ViT-B, each further one the model before it with small changes to
 * every weight. */
msx_status test_make_vit_b(msx_checkpoint **out, msx_ctx *ctx, uint64_t k);

/* Save the models 0 to n-1. */
msx_status test_save_vit_b(msx_ctx *ctx, const char *const *paths, size_t n);

#endif
