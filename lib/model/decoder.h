/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ways to run the mask decoder share: the prompt's side of it. Shapes: network.h. */
#ifndef MSX_MODEL_DECODER_H
#define MSX_MODEL_DECODER_H

#include "model/network.h"

enum { MSX__HEADS = 8 }; /* of all attentions of the decoder */

/* Token-sized intermediates: areas (P,T,width) as wide as the widest of them. */
enum { MSX__QUERIES, MSX__WITH_POSITION, MSX__Q, MSX__K, MSX__V, MSX__ATTENDED, MSX__SMALL_AREAS };
float *msx__small(const msx_model *m, const msx__chunk *c, int area);

/* ---- decoder.c ------------------------------------------------------------------------------------ */

/* queries + position, into its area */
msx_status msx__add_position(msx_model *m, msx__chunk *c);
/* out (P,tq,width) = attention of q (P,tq,width) to k and v, whose problems are `stride` floats apart (0:
 * shared) */
msx_status msx__attend(msx_model *m, const msx__chunk *c, float *out, const float *q, int64_t tq,
                       const float *k, const float *v, int64_t stride, int64_t tk, int64_t width);
/* queries = norm1(queries + self attention); in the first layer without position and residual */
msx_status msx__self_attention(msx_model *m, const msx__layer *l, bool first, msx__chunk *c);
/* queries = norm(queries + out projection of the area ATTENDED (P,T,I)); `bias` instead of its own, or
 * NULL */
msx_status msx__attended(msx_model *m, const msx__attention *a, const float *bias,
                         const msx__norm *norm, msx__chunk *c);
/* queries = norm3(queries + mlp(queries)) */
msx_status msx__token_mlp(msx_model *m, const msx__layer *l, msx__chunk *c);
/* The masks' vectors (P,M,C/8), in the area ATTENDED. */
msx_status msx__mask_vectors(msx_model *m, msx__chunk *c, float **out);

/* From tokens and keys to c->logits and the queries of the end. */
msx_status msx__decode_steps(msx_model *m, msx__chunk *c);
msx_status msx__decode_sweeps(msx_model *m, msx__chunk *c);

/* c->first_key, _k and _v for sweeps; c->key is there where masked. */
msx_status msx__first_keys(msx_model *m, msx__chunk *c, const float *embedding);

/* Floats of c->absorbed. */
int64_t msx__absorbed_floats(const msx_model *m, const msx__chunk *c);

#endif
