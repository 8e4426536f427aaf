#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/hf_names: lists of tensor names, one a line, as checkpoints hold them:
official ones, those of transformers' SamModel, with prefixes, and some that contradict each other."""
from torch_bytes import Corpus

corpus = Corpus("hf_names")

OFFICIAL = """image_encoder.pos_embed
image_encoder.patch_embed.proj.weight
image_encoder.blocks.0.norm1.weight
image_encoder.blocks.11.attn.qkv.bias
image_encoder.neck.0.weight
image_encoder.neck.3.bias
prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
prompt_encoder.point_embeddings.3.weight
prompt_encoder.not_a_point_embed.weight
prompt_encoder.mask_downscaling.6.bias
prompt_encoder.no_mask_embed.weight
mask_decoder.iou_token.weight
mask_decoder.transformer.layers.1.norm4.weight
mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight
mask_decoder.transformer.final_attn_token_to_image.out_proj.bias
mask_decoder.transformer.norm_final_attn.weight
mask_decoder.output_upscaling.1.weight
mask_decoder.output_hypernetworks_mlps.2.layers.1.weight
mask_decoder.iou_prediction_head.layers.2.bias""".split("\n")

HF = """shared_image_embedding.positional_embedding
vision_encoder.pos_embed
vision_encoder.patch_embed.projection.weight
vision_encoder.layers.0.layer_norm1.weight
vision_encoder.layers.11.attn.qkv.bias
vision_encoder.neck.conv1.weight
vision_encoder.neck.layer_norm2.bias
prompt_encoder.shared_embedding.positional_embedding
prompt_encoder.point_embed.3.weight
prompt_encoder.not_a_point_embed.weight
prompt_encoder.mask_embed.conv3.bias
prompt_encoder.no_mask_embed.weight
mask_decoder.iou_token.weight
mask_decoder.transformer.layers.1.layer_norm4.weight
mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight
mask_decoder.transformer.layer_norm_final_attn.weight
mask_decoder.upscale_layer_norm.weight
mask_decoder.output_hypernetworks_mlps.2.proj_in.weight
mask_decoder.output_hypernetworks_mlps.2.layers.0.weight
mask_decoder.output_hypernetworks_mlps.2.proj_out.weight
mask_decoder.iou_prediction_head.layers.0.bias""".split("\n")


def write(name, names):
    corpus.write(name, "\n".join(names).encode())


write("official", OFFICIAL)
write("hf", HF)
write("hf_without_first_matrix", HF[1:])
write("hf_without_second_matrix", [n for n in HF if "shared_embedding" not in n])
for prefix in ("module.", "_orig_mod.module.sam.", "model.", "sam_model."):
    write("prefix_" + prefix.replace(".", ""), [prefix + n for n in OFFICIAL])
    write("hf_prefix_" + prefix.replace(".", ""), [prefix + n for n in HF])
write("two_prefixes", ["module." + n for n in OFFICIAL[:9]] + ["sam." + n for n in OFFICIAL[9:]])
write("clash_of_schemes", HF + OFFICIAL[:3])
write("clash_of_layers", ["vision_encoder.pos_embed", "mask_decoder.iou_prediction_head.layers.0.weight",
                          "mask_decoder.iou_prediction_head.layers.1.weight",
                          "mask_decoder.iou_prediction_head.proj_in.weight"])
write("clash_of_prefix", ["module.mask_decoder.w", "module.mask_decoder.v", "mask_decoder.w"])
write("long_number", ["vision_encoder.layers.%s.layer_norm%s.weight" % ("9" * 90, "1" * 90)])
write("long_name", ["vision_encoder.layers.0." + "n" * 487, "image_encoder.blocks.0." + "n" * 487])
write("bare_patterns", ["vision_encoder.layers.", "vision_encoder.layers.3", "module.", "module.module.",
                        "mask_decoder.upscale_conv1", "mask_decoder.upscale_conv1."])
write("nothing", [])
print(corpus.summary())
