/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory with a budget. A released block is kept for the next request of about its size,
 * because giving it back makes the GPU wait; kept blocks go back when memory runs out. Running out is
 * an ordinary error that says what was asked for: nothing else changes.
 */
#include "kernels/cuda/cuda.h"

#include <string.h>

#define ALIGN_BYTES ((size_t)256) /* of cudaMalloc, and what blocks are rounded to */

static int more_blocks(msx_kdev *dev) {
    if (dev->n_blocks < dev->block_capacity) return MSXK_OK;
    size_t capacity = dev->block_capacity ? 2 * dev->block_capacity : 32;
    msxk_block *blocks =
        static_cast<msxk_block *>(msxk_cuda_host_alloc(dev, capacity * sizeof *blocks));
    if (!blocks) return MSXK_E_NOMEM;
    if (dev->blocks) {
        memcpy(blocks, dev->blocks, dev->n_blocks * sizeof *blocks);
        dev->host.free(dev->blocks, dev->host.payload);
    }
    dev->blocks = blocks;
    dev->block_capacity = capacity;
    return MSXK_OK;
}

/* The smallest kept block that holds `bytes` and wastes less than a quarter; NULL when none does. */
static msxk_block *find_kept(msx_kdev *dev, size_t bytes) {
    msxk_block *best = NULL;
    for (size_t i = 0; i < dev->n_blocks; i++) {
        msxk_block *b = dev->blocks + i;
        if (b->used || b->bytes < bytes || b->bytes - bytes > bytes / 4) continue;
        if (!best || b->bytes < best->bytes) best = b;
    }
    return best;
}

void msxk_cuda_trim(msx_kdev *dev, bool used) {
    size_t left = 0;
    for (size_t i = 0; i < dev->n_blocks; i++) {
        msxk_block b = dev->blocks[i];
        if (b.used && !used) {
            dev->blocks[left++] = b;
            continue;
        }
        cudaFree(b.memory);
        *(b.used ? &dev->used : &dev->kept) -= b.bytes;
    }
    dev->n_blocks = left;
}

static int out_of_memory(msx_kdev *dev, size_t bytes) {
    size_t available = 0, total = 0;
    if (dev->budget)
        return msxk_cuda_fail(
            dev, MSXK_E_NOMEM,
            "out of device memory: %zu bytes asked for, %zu of a budget of %zu in "
            "use",
            bytes, dev->used, dev->budget);
    cudaMemGetInfo(&available, &total);
    return msxk_cuda_fail(dev, MSXK_E_NOMEM,
                          "out of device memory: %zu bytes asked for, %zu in use here, %zu of %zu "
                          "free on the GPU",
                          bytes, dev->used, available, total);
}

int msxk_cuda_alloc(msx_kdev *dev, void **out, size_t bytes) {
    *out = NULL;
    if (bytes > SIZE_MAX - ALIGN_BYTES) return out_of_memory(dev, bytes);
    size_t rounded = (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    if (!rounded) rounded = ALIGN_BYTES;
    if (dev->budget && (rounded > dev->budget || dev->used > dev->budget - rounded))
        return out_of_memory(dev, bytes);
    msxk_block *kept = find_kept(dev, rounded);
    if (kept) {
        dev->kept -= kept->bytes;
        kept->used = true;
    } else {
        MSXK_RETURN_IF(more_blocks(dev));
        if (dev->budget && dev->used + dev->kept > dev->budget - rounded)
            msxk_cuda_trim(dev, false);
        void *memory = NULL;
        cudaError_t error = cudaMalloc(&memory, rounded);
        if (error == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            msxk_cuda_trim(dev, false);
            error = cudaMalloc(&memory, rounded);
        }
        if (error == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            return out_of_memory(dev, bytes);
        }
        MSXK_RETURN_IF(msxk_cuda_check(dev, error, "cudaMalloc"));
        kept = dev->blocks + dev->n_blocks++;
        *kept = msxk_block{memory, rounded, true};
    }
    dev->used += kept->bytes;
    if (dev->used > dev->peak) dev->peak = dev->used;
    *out = kept->memory;
    return MSXK_OK;
}

/* Calls of a device run in order on its stream, so a block may be handed out again at once. */
void msxk_cuda_release(msx_kdev *dev, void *memory) {
    for (size_t i = 0; memory && i < dev->n_blocks; i++) {
        msxk_block *b = dev->blocks + i;
        if (b->memory != memory || !b->used) continue;
        b->used = false;
        dev->used -= b->bytes;
        dev->kept += b->bytes;
        return;
    }
}
