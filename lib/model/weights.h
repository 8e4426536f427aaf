/* SPDX-License-Identifier: Apache-2.0 */
/* Making a model: which tensor is which layer, and what is computed from them. */
#ifndef MSX_MODEL_WEIGHTS_H
#define MSX_MODEL_WEIGHTS_H

#include "model/network.h"

/* Point every layer of the graph to its tensors; sizes and places must be known. (bind.c) */
msx_status msx__model_bind(msx_model *m);

/* Address on the device of an official tensor; NULL when there is none of that name. */
const float *msx__model_tensor(const msx_model *m, const char *name);

/* Device and host memory for what is derived, and the pointers into it. (derive.c) */
msx_status msx__model_place_derived(msx_model *m);
/* Compute it from the weights on the device; with `changed`, one byte per official tensor, only what is
 * made from those. */
msx_status msx__model_derive(msx_model *m, const uint8_t *changed);

/* Device memory for the encoder's matrices in the low format, and the pointers into it; matrix `i`, NULL
 * after the last one. (low.c) */
msx_status msx__model_place_low(msx_model *m);
msx__linear *msx__model_low_matrix(msx_model *m, int64_t i);

#endif
