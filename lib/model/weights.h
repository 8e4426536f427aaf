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
/* Compute it from the weights on the device. */
msx_status msx__model_derive(msx_model *m);

/* Device memory for the encoder's matrices in the low format, and the pointers into it; narrowing
 * them. (low.c) */
msx_status msx__model_place_low(msx_model *m);
msx_status msx__model_narrow(msx_model *m);

#endif
