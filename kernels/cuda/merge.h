/* SPDX-License-Identifier: Apache-2.0 */
/* The models of a merge, as a kernel takes them: by value, within the 4 KB that arguments may have. */
#ifndef MSX_KERNELS_CUDA_MERGE_H
#define MSX_KERNELS_CUDA_MERGE_H

#include "kernels/cuda/cuda.h"

enum { MSXK_MAX_MODELS = 128 };

struct msxk_models {
    const float *x[MSXK_MAX_MODELS];
    float weight[MSXK_MAX_MODELS];
    int n;
};

/* `weight`, which may be NULL, is rounded once. */
static inline int msxk_cuda_models(msx_kdev *dev, msxk_models *out, const float *const *x,
                                   const double *weight, size_t n) {
    if (n > MSXK_MAX_MODELS)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "a merge of %zu models; at most %d fit", n,
                              (int)MSXK_MAX_MODELS);
    out->n = (int)n;
    for (size_t i = 0; i < n; i++) {
        out->x[i] = x[i];
        out->weight[i] = weight ? (float)weight[i] : 0.0f;
    }
    return MSXK_OK;
}

#endif
