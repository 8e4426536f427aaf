/* SPDX-License-Identifier: Apache-2.0 */
#include "support/vit_files.h"
#include "support/computed_vit.h"

/* Add noise of about a bell's shape, as fine-tuning leaves it: most changes small, few large. */
static void change(msx_checkpoint *c, uint64_t state) {
    for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
        float *x = msx_checkpoint_data(c, i);
        for (int64_t k = 0; k < msx_checkpoint_elements(c, i); k++) {
            uint64_t z = state += 0x9E3779B97F4A7C15u;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
            z ^= z >> 27;
            int32_t sum = 0; /* of four bytes that are symmetric around zero */
            for (int b = 0; b < 4; b++) sum += 2 * (int32_t)(z >> 16 * b & 0xffff) - 0xffff;
            x[k] += 1e-8f * (float)sum;
        }
    }
}

msx_status test_make_vit_b(msx_checkpoint **out, msx_ctx *ctx, uint64_t k) {
    msx_status status = test_compute_vit(out, ctx, 768, 64, 12, 3);
    for (uint64_t i = 1; i <= k && status >= 0; i++) change(*out, i);
    return status;
}

msx_status test_save_vit_b(msx_ctx *ctx, const char *const *paths, size_t n) {
    msx_checkpoint *c;
    msx_status status = test_make_vit_b(&c, ctx, 0);
    for (size_t k = 0; k < n && status >= 0; k++) {
        if (k > 0) change(c, k);
        status = msx_checkpoint_save(c, paths[k], NULL);
    }
    msx_checkpoint_free(c);
    return status;
}
