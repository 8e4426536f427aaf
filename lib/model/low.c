/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder's matrices and their biases a second time, in the device's low format: half the size, and what its
 * products read when the precision is fp16 or bf16. The float32 ones stay, for updates. */
#include "model/weights.h"

enum { PER_BLOCK = 4, OTHERS = 3 };

msx__linear *msx__model_low_matrix(msx_model *m, int64_t i) {
    if (i < PER_BLOCK * m->depth) {
        msx__block *b = m->blocks + i / PER_BLOCK;
        return (msx__linear *[PER_BLOCK]){&b->qkv, &b->proj, &b->lin1, &b->lin2}[i % PER_BLOCK];
    }
    i -= PER_BLOCK * m->depth;
    return i < OTHERS ? (msx__linear *[OTHERS]){&m->patch_embed, &m->neck1, &m->neck2}[i] : NULL;
}

/* Elements of a tensor, with what aligns the next one. */
static int64_t extent(int64_t n) {
    return 2 * msx__carved((n + 1) / 2);
}

msx_status msx__model_place_low(msx_model *m) {
    int64_t total = 0;
    msx__linear *l;
    for (int64_t i = 0; (l = msx__model_low_matrix(m, i)); i++)
        total += extent(l->out * l->in) + (l->b ? extent(l->out) : 0);
    float *memory;
    MSX_TRY(msx__device_alloc(m->device, &memory, total / 2));
    m->low = (msxk_low *)(void *)memory;
    msxk_low *at = m->low;
    for (int64_t i = 0; (l = msx__model_low_matrix(m, i)); i++) {
        l->low = at;
        at += extent(l->out * l->in);
        if (!l->b) continue;
        l->low_b = at;
        at += extent(l->out);
    }
    return MSX_OK;
}
