/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and tables of both ways of preparing an input. */
#ifndef MSX_KERNELS_CUDA_PREPARE_H
#define MSX_KERNELS_CUDA_PREPARE_H

#include "kernels/cuda/cuda.h"

/* Cuts areas off one block of memory, aligned; without the memory it only adds up. */
struct msxk_carver {
    unsigned char *memory;
    size_t bytes;

    template <class T> void cut(T **to, int64_t n) {
        if (memory) *to = reinterpret_cast<T *>(memory + bytes);
        bytes += ((size_t)n * sizeof(T) + 15) / 16 * 16;
    }
};

static inline int msxk_send(msx_kdev *dev, void *to, const void *host, size_t bytes) {
    return msxk_cuda_check(
        dev, cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, dev->stream), "upload");
}

#endif
