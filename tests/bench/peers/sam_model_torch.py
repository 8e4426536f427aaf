# SPDX-License-Identifier: Apache-2.0
"""SAM in PyTorch, the plain way: the peer that the benchmarks compare with.

The network of Kirillov et al. 2023 as modules and tensor expressions, with the official tensor names,
the score matrices of attention held in memory, and prompts of one image as a batch: what a user of
PyTorch runs. Only what box prompts need. Weights come from a safetensors or torch file.
"""
import json
import math
import struct

import numpy as np
import torch
import torch.nn.functional as F

DTYPES = {"F32": np.float32, "F64": np.float64, "F16": np.float16}


def read_tensors(path):
    """Tensors of a safetensors or torch file by name."""
    with open(path, "rb") as f:
        if f.read(4) == b"PK\3\4":
            return torch.load(path, map_location="cpu")
        f.seek(0)
        (n,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
        data = f.read()
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        array = np.frombuffer(data[begin:end], DTYPES[t["dtype"]]).reshape(t["shape"])
        out[name] = torch.from_numpy(array.copy())
    return out


class Sam:
    HEADS = 8  # of the decoder

    def __init__(self, tensors):
        self.t = tensors
        _, self.grid, _, self.width = tensors["image_encoder.pos_embed"].shape
        self.patch = tensors["image_encoder.patch_embed.proj.weight"].shape[-1]
        self.side = self.grid * self.patch
        self.depth = sum(n.endswith("attn.qkv.weight") for n in tensors)
        self.layers = sum(n.endswith("self_attn.q_proj.weight") for n in tensors)
        self.masks = tensors["mask_decoder.mask_tokens.weight"].shape[0]

    # -- steps ----------------------------------------------------------------

    def linear(self, name, x):
        return F.linear(x, self.t[name + ".weight"], self.t.get(name + ".bias"))

    def norm(self, name, x, eps):
        w, b = self.t[name + ".weight"], self.t[name + ".bias"]
        return F.layer_norm(x, w.shape, w, b, eps)

    def norm_map(self, name, x):
        """Layer norm over the channels of (B, C, h, w)."""
        return self.norm(name, x.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)

    # -- image encoder --------------------------------------------------------

    @staticmethod
    def relative(q, table):
        """q (B, s, s, d) along its second axis, table (2s-1, d) -> rows (s, s, d) to multiply with."""
        side = q.shape[1]
        at = torch.arange(side)
        return table[at[:, None] - at[None, :] + side - 1]

    def attention(self, name, x):
        """x (B, s, s, D): multi-head attention with decomposed relative position."""
        b, side, _, width = x.shape
        rel_h, rel_w = self.t[name + ".rel_pos_h"], self.t[name + ".rel_pos_w"]
        dim = rel_h.shape[1]
        heads = width // dim
        qkv = self.linear(name + ".qkv", x).reshape(b, side * side, 3, heads, dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, b * heads, side * side, dim)
        scores = (q * dim**-0.5) @ k.transpose(-2, -1)
        q_map = q.reshape(b * heads, side, side, dim)
        bias_h = torch.einsum("bhwc,hkc->bhwk", q_map, self.relative(q_map, rel_h))
        bias_w = torch.einsum("bhwc,wkc->bhwk", q_map, self.relative(q_map, rel_w))
        scores = scores.view(b * heads, side, side, side, side)
        scores = scores + bias_h[:, :, :, :, None] + bias_w[:, :, :, None, :]
        scores = scores.view(b * heads, side * side, side * side).softmax(-1)
        out = (scores @ v).view(b, heads, side, side, dim).permute(0, 2, 3, 1, 4)
        return self.linear(name + ".proj", out.reshape(b, side, side, width))

    def windowed(self, name, x):
        """Attention in the windows that the block's tables are made for; the map is padded with zeros."""
        b, g, _, width = x.shape
        side = (self.t[name + ".rel_pos_h"].shape[0] + 1) // 2
        if side == g:
            return self.attention(name, x)
        padded = -(-g // side) * side
        n = padded // side
        x = F.pad(x, (0, 0, 0, padded - g, 0, padded - g))
        x = x.view(b, n, side, n, side, width).permute(0, 1, 3, 2, 4, 5)
        x = self.attention(name, x.reshape(b * n * n, side, side, width))
        x = x.view(b, n, n, side, side, width).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(b, padded, padded, width)[:, :g, :g]

    def encode(self, image):
        """image (B, 3, S, S) -> embedding (B, C, g, g)"""
        t, e = self.t, "image_encoder."
        x = F.conv2d(image, t[e + "patch_embed.proj.weight"], t[e + "patch_embed.proj.bias"],
                     stride=self.patch)
        x = x.permute(0, 2, 3, 1) + t[e + "pos_embed"]
        for i in range(self.depth):
            block = f"{e}blocks.{i}."
            x = x + self.windowed(block + "attn", self.norm(block + "norm1", x, 1e-6))
            h = F.gelu(self.linear(block + "mlp.lin1", self.norm(block + "norm2", x, 1e-6)))
            x = x + self.linear(block + "mlp.lin2", h)
        x = F.conv2d(x.permute(0, 3, 1, 2), t[e + "neck.0.weight"])
        x = F.conv2d(self.norm_map(e + "neck.1", x), t[e + "neck.2.weight"], padding=1)
        return self.norm_map(e + "neck.3", x)

    # -- prompts and masks ----------------------------------------------------

    def position(self, points):
        """points (..., 2) in the unit square -> (..., C)"""
        gaussian = self.t["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
        phase = 2 * math.pi * ((2 * points - 1) @ gaussian)
        return torch.cat([phase.sin(), phase.cos()], -1)

    def dense_position(self):
        at = (torch.arange(self.grid) + 0.5) / self.grid
        y, x = torch.meshgrid(at, at, indexing="ij")
        return self.position(torch.stack([x, y], -1)).permute(2, 0, 1)[None]

    def attend(self, name, q, k, v):
        def heads(x):
            b, n, c = x.shape
            return x.view(b, n, self.HEADS, c // self.HEADS).transpose(1, 2)

        q = heads(self.linear(name + ".q_proj", q))
        k = heads(self.linear(name + ".k_proj", k))
        v = heads(self.linear(name + ".v_proj", v))
        scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
        out = (scores @ v).transpose(1, 2)
        return self.linear(name + ".out_proj", out.reshape(out.shape[0], out.shape[1], -1))

    def two_way(self, tokens, keys, position):
        """tokens (P, T, C), which are their own position, keys and position (P, N, C)"""
        queries = tokens
        for i in range(self.layers):
            layer = f"mask_decoder.transformer.layers.{i}."
            if i == 0:
                queries = self.attend(layer + "self_attn", queries, queries, queries)
            else:
                q = queries + tokens
                queries = queries + self.attend(layer + "self_attn", q, q, queries)
            queries = self.norm(layer + "norm1", queries, 1e-5)
            queries = queries + self.attend(layer + "cross_attn_token_to_image", queries + tokens,
                                            keys + position, keys)
            queries = self.norm(layer + "norm2", queries, 1e-5)
            h = F.relu(self.linear(layer + "mlp.lin1", queries))
            queries = self.norm(layer + "norm3", queries + self.linear(layer + "mlp.lin2", h), 1e-5)
            keys = keys + self.attend(layer + "cross_attn_image_to_token", keys + position,
                                      queries + tokens, queries)
            keys = self.norm(layer + "norm4", keys, 1e-5)
        name = "mask_decoder.transformer."
        queries = queries + self.attend(name + "final_attn_token_to_image", queries + tokens,
                                        keys + position, keys)
        return self.norm(name + "norm_final_attn", queries, 1e-5), keys

    def head(self, name, x):
        for i in range(3):
            x = self.linear(f"mask_decoder.{name}.layers.{i}", x)
            x = F.relu(x) if i < 2 else x
        return x

    def decode(self, embedding, boxes):
        """embedding (1, C, g, g), boxes (P, 4) in pixels of the input -> logits (P, M, 4g, 4g), iou"""
        t, p = self.t, boxes.shape[0]
        corners = self.position((boxes.view(p, 2, 2) + 0.5) / self.side)
        corners = corners + torch.stack([t[f"prompt_encoder.point_embeddings.{i}.weight"][0]
                                         for i in (2, 3)])
        dense = t["prompt_encoder.no_mask_embed.weight"].view(1, -1, 1, 1)
        return self.decode_tokens(embedding, corners, dense)

    def decode_tokens(self, embedding, sparse, dense):
        """sparse (P, T, C), dense (1 or P, C, 1 or g, 1 or g)"""
        t, p = self.t, sparse.shape[0]
        first = torch.cat([t["mask_decoder.iou_token.weight"], t["mask_decoder.mask_tokens.weight"]])
        tokens = torch.cat([first.expand(p, -1, -1), sparse], 1)
        keys = embedding + dense
        keys = torch.repeat_interleave(keys, p // keys.shape[0], 0).flatten(2).transpose(1, 2)
        position = torch.repeat_interleave(self.dense_position(), p, 0).flatten(2).transpose(1, 2)
        queries, keys = self.two_way(tokens, keys, position)
        up = "mask_decoder.output_upscaling."
        x = keys.transpose(1, 2).reshape(p, -1, self.grid, self.grid)
        x = F.conv_transpose2d(x, t[up + "0.weight"], t[up + "0.bias"], stride=2)
        x = F.gelu(self.norm_map(up + "1", x))
        x = F.gelu(F.conv_transpose2d(x, t[up + "3.weight"], t[up + "3.bias"], stride=2))
        vectors = torch.stack([self.head(f"output_hypernetworks_mlps.{i}", queries[:, 1 + i])
                               for i in range(self.masks)], 1)
        logits = (vectors @ x.flatten(2)).view(p, self.masks, 4 * self.grid, 4 * self.grid)
        return logits, self.head("iou_prediction_head", queries[:, 0])
