/* SPDX-License-Identifier: Apache-2.0 */
/* What the mask of a box depends on: a merge that changes nothing else changes no result of MedSAM's way
 * to work, one box for each object and mask 0. */
#include "merge/merge.h"

#include <string.h>

/* Tensors that mask 0 does not depend on when every prompt is a box. The IoU *token* is not among
 * them: it takes part in the decoder's attention, only its head is a dead end. Nor are the other masks'
 * tokens, nor no_mask_embed, which is added to the image embedding. */
static const char *const dead[] = {
    "prompt_encoder.point_embeddings.0.*", /* background point */
    "prompt_encoder.point_embeddings.1.*", /* foreground point */
    "prompt_encoder.not_a_point_embed.*",  /* padding point, only without a box */
    "prompt_encoder.mask_downscaling.*",   /* mask prompts */
    "mask_decoder.iou_prediction_head.*",
    "mask_decoder.output_hypernetworks_mlps.*", /* but the first mask's */
};
static const char first_mask[] = "mask_decoder.output_hypernetworks_mlps.0.";

bool msx__boxes_reach(const char *tensor) {
    if (!strncmp(tensor, first_mask, sizeof first_mask - 1)) return true;
    for (size_t i = 0; i < sizeof dead / sizeof *dead; i++)
        if (msx__glob(dead[i], tensor)) return false;
    return true;
}
