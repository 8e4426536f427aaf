# SPDX-License-Identifier: Apache-2.0
"""What the scripts of this folder compare with: the PyTorch model of tests/bench/peers with every kind of prompt,
input sizes other than the checkpoint's, and SAM's way from an image to a mask."""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench", "peers"))
from sam_model_torch import Sam, read_tensors  # noqa: E402

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def resized_tensors(tensors, image_size, mode):
    """Tables of positions for another input size, by PyTorch's interpolate."""
    grid, patch = tensors["image_encoder.pos_embed"].shape[1], tensors["image_encoder.patch_embed.proj.weight"].shape[-1]
    side, out = image_size // patch, dict(tensors)
    at = tensors["image_encoder.pos_embed"].permute(0, 3, 1, 2)
    out["image_encoder.pos_embed"] = F.interpolate(at, (side, side), mode=mode, align_corners=False).permute(0, 2, 3, 1)
    for name, table in tensors.items():
        if "rel_pos" in name and table.shape[0] == 2 * grid - 1:
            rows = F.interpolate(table.t()[None], 2 * side - 1, mode="linear", align_corners=False)
            out[name] = rows[0].t().contiguous()
    return out


class Reference(Sam):
    """Coordinates in pixels of the input."""

    def preprocess(self, image):
        """uint8 (H, W, 3) -> input (1, 3, S, S), resized (height, width)"""
        h, w = image.shape[:2]
        scale = self.side / max(h, w)
        new = int(h * scale + 0.5), int(w * scale + 0.5)
        small = np.asarray(Image.fromarray(image).resize((new[1], new[0]), Image.BILINEAR))
        x = (small.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
        out = torch.zeros(1, 3, self.side, self.side)
        out[0, :, : new[0], : new[1]] = torch.from_numpy(x).permute(2, 0, 1)
        return out, new

    def kind(self, i):
        return self.t[f"prompt_encoder.point_embeddings.{i}.weight"][0]

    def sparse(self, box=None, points=()):
        """One prompt: box (4), points (x, y, label) -> (1, T, C)"""
        tokens = [self.position(((torch.tensor([x, y], dtype=torch.float64) + 0.5) / self.side).float()) + self.kind(int(label))
                  for x, y, label in points]
        if box is not None:
            corners = ((torch.tensor(box, dtype=torch.float64).view(2, 2) + 0.5) / self.side).float()
            tokens += [self.position(corners[i]) + self.kind(2 + i) for i in range(2)]
        elif tokens:
            tokens.append(self.t["prompt_encoder.not_a_point_embed.weight"][0])
        width = self.t["prompt_encoder.no_mask_embed.weight"].shape[1]
        return torch.stack(tokens)[None].float() if tokens else torch.zeros(1, 0, width)

    def dense(self, mask=None):
        """Logits (4g, 4g) of an earlier prediction, or none."""
        t, p = self.t, "prompt_encoder.mask_downscaling."
        if mask is None:
            return t["prompt_encoder.no_mask_embed.weight"].view(1, -1, 1, 1)
        x = F.conv2d(mask[None, None], t[p + "0.weight"], t[p + "0.bias"], stride=2)
        x = F.gelu(self.norm_map(p + "1", x))
        x = F.gelu(self.norm_map(p + "4", F.conv2d(x, t[p + "3.weight"], t[p + "3.bias"], stride=2)))
        return F.conv2d(x, t[p + "6.weight"], t[p + "6.bias"])

    def predict(self, embedding, box=None, points=(), mask=None):
        """-> logits (M, 4g, 4g), iou (M)"""
        logits, iou = self.decode_tokens(embedding, self.sparse(box, points), self.dense(mask))
        return logits[0], iou[0]

    def full_size(self, logits, resized, size):
        """(P, M, 4g, 4g) -> (P, M, H, W), by way of the input's size"""
        x = F.interpolate(logits, (self.side, self.side), mode="bilinear", align_corners=False)
        x = x[..., : resized[0], : resized[1]]
        return F.interpolate(x, size, mode="bilinear", align_corners=False)


def open_model(path, image_size=None, mode="bilinear"):
    tensors = read_tensors(path)
    return Reference(resized_tensors(tensors, image_size, mode) if image_size else tensors)


def error(got, want):
    """Relative L2 error."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30)
