# SPDX-License-Identifier: Apache-2.0
"""SAM's image encoder in PyTorch, for comparison: milliseconds of fp32, of bf16 and fp16 with scaled-dot-product attention,
of the same under torch.compile, and of transformers' SamModel where it is installed. Weights are random: they do not change the time.

    sam_torch.py [small] [--ours TABLE] [NETWORK:BATCH,BATCH ...]
        small: one tiny network on whatever device there is, to try the script; TABLE: what our benchmark printed
        on the same machine, to say how many times as fast it is; NETWORK:BATCH: only these, as vit_b:1,8"""
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

NETWORKS = {"vit_b": (768, 12, 12, (2, 5, 8, 11)), "vit_l": (1024, 16, 24, (5, 11, 17, 23)),
            "vit_h": (1280, 16, 32, (7, 15, 23, 31))}
WINDOW, PATCH, CHANNELS = 14, 16, 256


class Norm2d(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return y.permute(0, 3, 1, 2)


class Attention(nn.Module):
    def __init__(self, width, heads, side, fused):
        super().__init__()
        self.heads, self.side, self.fused = heads, side, fused
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rel_h = nn.Parameter(0.02 * torch.randn(2 * side - 1, width // heads))
        self.rel_w = nn.Parameter(0.02 * torch.randn(2 * side - 1, width // heads))
        index = torch.arange(side)
        self.register_buffer("index", index[:, None] - index[None, :] + side - 1)

    def forward(self, x):  # (B, s, s, D)
        b, s, _, width = x.shape
        q, k, v = self.qkv(x).reshape(b, s * s, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        grid = q.reshape(b, self.heads, s, s, -1)
        h = torch.einsum("bnyxc,ykc->bnyxk", grid, self.rel_h[self.index])
        w = torch.einsum("bnyxc,xkc->bnyxk", grid, self.rel_w[self.index])
        bias = (h[..., :, None] + w[..., None, :]).reshape(b, self.heads, s * s, s * s)
        scale = q.shape[-1] ** -0.5
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            y = (q * scale @ k.transpose(-2, -1) + bias).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, s, s, width))


class Block(nn.Module):
    def __init__(self, width, heads, side, window, fused):
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attention = Attention(width, heads, window or side, fused)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        y, (b, g, _, d), w = self.norm1(x), x.shape, self.window
        if w:
            n = -(-g // w)
            y = F.pad(y, (0, 0, 0, n * w - g, 0, n * w - g)).reshape(b, n, w, n, w, d)
            y = self.attention(y.transpose(2, 3).reshape(-1, w, w, d)).reshape(b, n, n, w, w, d)
            y = y.transpose(2, 3).reshape(b, n * w, n * w, d)[:, :g, :g]
        else:
            y = self.attention(y)
        x = x + y
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    def __init__(self, width, heads, depth, global_blocks, grid, fused):
        super().__init__()
        self.patch = nn.Conv2d(3, width, PATCH, PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(1, grid, grid, width))
        self.blocks = nn.Sequential(*[Block(width, heads, grid, 0 if i in global_blocks else WINDOW, fused)
                                      for i in range(depth)])
        self.neck = nn.Sequential(nn.Conv2d(width, CHANNELS, 1, bias=False), Norm2d(CHANNELS),
                                  nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False), Norm2d(CHANNELS))

    def forward(self, x):
        x = self.blocks(self.patch(x).permute(0, 2, 3, 1) + self.position)
        return self.neck(x.permute(0, 3, 1, 2))


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(forward, x, device, repeats):
    with torch.inference_mode():
        for _ in range(3):
            forward(x)
        times = []
        for _ in range(repeats):
            wait(device)
            start = time.perf_counter()
            forward(x)
            wait(device)
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def forms(shape, grid, device):
    """Name, forward pass and element type of every form that this PyTorch has."""
    yield "fp32", Encoder(*shape, grid, False).to(device).eval(), torch.float32
    if not hasattr(F, "scaled_dot_product_attention"):
        return
    for name, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        if device == "cpu" and name == "fp16":
            continue
        fused = Encoder(*shape, grid, True).to(device, kind).eval()
        yield name + " sdpa", fused, kind
        yield name + " sdpa compiled", torch.compile(fused, mode="reduce-overhead"), kind


def transformers_form(shape, grid, device):
    try:
        from transformers import SamVisionConfig
        from transformers.models.sam.modeling_sam import SamVisionEncoder
    except ImportError:
        return
    width, heads, depth, global_blocks = shape
    config = SamVisionConfig(hidden_size=width, num_attention_heads=heads, num_hidden_layers=depth,
                             global_attn_indexes=list(global_blocks), mlp_dim=4 * width, image_size=grid * PATCH)
    yield "transformers bf16", SamVisionEncoder(config).to(device, torch.bfloat16).eval(), torch.bfloat16


def read_ours(path):
    """{(network, batch): ms per image in fp16} of our table."""
    rows = [line.split() for line in open(path)]
    return {(r[0], int(r[2])): float(r[3]) for r in rows if len(r) == 8 and r[1] == "fp16" and r[2].isdigit()}


def compare(ours, theirs):
    """How many times as fast our fp16 is as the best of their forms, and as the plain one."""
    print("net    batch   ours ms  best form  times   fp32  times")
    for (name, batch), ms in ours.items():
        forms = {form: t for (n, form, b), t in theirs.items() if (n, b) == (name, batch)}
        if not forms:
            continue
        best, plain = min(forms.values()), forms.get("fp32", float("nan"))
        print(f"{name:6} {batch:5} {ms:9.2f} {best:10.2f} {best / ms:6.2f} {plain:6.1f} {plain / ms:6.1f}")


def main():
    arguments = sys.argv[1:]
    ours = read_ours(arguments[arguments.index("--ours") + 1]) if "--ours" in arguments else {}
    small = "small" in arguments
    theirs = {}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = {"small": (32, 2, 2, (1,))} if small else NETWORKS
    grid, repeats = (7, 3) if small else (64, 20)
    batches = {name: (1,) if small else (1, 4, 8, 16) for name in networks}
    chosen = dict(a.split(":") for a in arguments if a.split(":")[0] in NETWORKS)
    if chosen and not small:
        batches = {name: [int(b) for b in sizes.split(",")] for name, sizes in chosen.items()}
    print("PyTorch", torch.__version__, "on", torch.cuda.get_device_name() if device == "cuda" else "the CPU")
    print("net    form                batch   ms/image  MiB most")
    for name in batches:
        shape = networks[name]
        for source in (forms, transformers_form):
            for form, model, kind in source(shape, grid, device):
                for batch in batches[name]:
                    x = torch.randn(batch, 3, grid * PATCH, grid * PATCH, device=device, dtype=kind)
                    if device == "cuda":
                        torch.cuda.reset_peak_memory_stats()
                    try:
                        ms = measure(model, x, device, repeats)
                    except RuntimeError as error:  # out of memory, mostly
                        print(f"{name:6} {form:19} {batch:5}  {str(error).splitlines()[0][:60]}")
                        continue
                    theirs[name, form, batch] = ms / batch
                    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0
                    print(f"{name:6} {form:19} {batch:5} {ms / batch:10.2f} {peak:9.0f}", flush=True)
    if ours:
        compare(ours, theirs)


if __name__ == "__main__":
    main()
