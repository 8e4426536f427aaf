/* SPDX-License-Identifier: Apache-2.0 */
/* The two kernels of the encoder's attention with fp16 or bf16 factors. */
#ifndef MSX_KERNELS_CUDA_ATTENTION_LOW_H
#define MSX_KERNELS_CUDA_ATTENTION_LOW_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/instructions.h"

/* True for what attention_global.cu has a kernel for. */
bool msxk_attention_is_global(const msxk_attention *a);
int msxk_cuda_attention_global(msx_kdev *dev, const msxk_attention *a);

#endif
