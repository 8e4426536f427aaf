#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The merges of bench_merge in NumPy and in PyTorch, on the same models.

    merge_peers.py FOLDER THREADS PROGRAM OURS

FOLDER holds model0..2.safetensors as bench_merge_files makes them, PROGRAM is medsamix, OURS the output
of bench_merge. The same formulas, written as one would: tensor by tensor, on whole arrays. TIES is
mergekit's form, which sorts every change to find its largest elements; NumPy partitions instead. Every
result is compared with the file that the program merges.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

DENSITY = SCALING = 0.5  # the defaults of the program
COLINEAR = 0.9995
FIXED = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"  # always the base's


def load(path):
    """A safetensors file of float32: name to array."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = np.fromfile(file, dtype=np.uint8)
    return {
        name: data[slice(*entry["data_offsets"])].view("<f4").reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


# x is a module that has sum, stack and so on: numpy or torch; b the base, models the others.


def linear(x, b, models):
    weight = 1 / (len(models) + 1)
    return sum((weight * m for m in models), weight * b)


def task_arithmetic(x, b, models):
    return b + SCALING * sum(m - b for m in models)


def keep_largest_sorted(d):
    """mergekit's magnitude sparsifier: all are sorted, the first k are set in a mask."""
    mask = torch.zeros_like(d)
    order = torch.argsort(d.abs().view(-1), descending=True)
    mask.view(-1)[order[: int(DENSITY * d.numel())]] = 1
    return d * mask


def keep_largest_partitioned(d):
    flat = np.abs(d).reshape(-1)
    k = int(DENSITY * flat.size)
    kept = np.zeros_like(d)
    if k:
        places = np.argpartition(flat, flat.size - k)[flat.size - k :]
        kept.reshape(-1)[places] = d.reshape(-1)[places]
    return kept


def ties(x, b, models):
    keep = keep_largest_sorted if x is torch else keep_largest_partitioned
    d = x.stack([keep(m - b) for m in models])
    elected = x.where(d.sum(0) >= 0, x.ones_like(b), -x.ones_like(b))
    agrees = x.sign(d) == elected
    count = agrees.sum(0)
    return b + SCALING * (d * agrees).sum(0) / x.where(count == 0, x.ones_like(count), count)


def slerp(x, b, models):
    a, t = models[0], 0.5
    norms = float(x.sqrt((b * b).sum())) * float(x.sqrt((a * a).sum()))
    cosine = float((a * b).sum()) / norms if norms else 1.0
    if abs(cosine) > COLINEAR:
        return (1 - t) * b + t * a
    angle = np.arccos(cosine)
    return float(np.sin((1 - t) * angle) / np.sin(angle)) * b + float(np.sin(t * angle) / np.sin(angle)) * a


# and how far from the program's a result may be: which of several equal changes TIES keeps is not
# settled by a sort that is not stable
METHODS = [(linear, 1e-6), (task_arithmetic, 1e-6), (ties, 1e-4), (slerp, 1e-6)]


def run(x, method, models):
    """Median seconds of merging all tensors, and the result of the last time."""
    seconds = []
    while not seconds or (len(seconds) < 5 and sum(seconds) < 10):
        start = time.perf_counter()
        merged = {
            name: base if name == FIXED else method(x, base, [m[name] for m in models[1:]])
            for name, base in models[0].items()
        }
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), merged


def merge_by_program(program, folder, method):
    out = os.path.join(folder, "peer.safetensors")
    paths = [os.path.join(folder, f"model{k}.safetensors") for k in range(3)]
    command = [program, "merge", "-q", "--method", method, "-o", out, "--base", paths[0]]
    for k in (1, 2):
        command += ["--model", f"m{k}={paths[k]}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    merged = load(out)
    os.unlink(out)
    return merged


def difference(got, expected):
    """Relative L2 distance over all tensors."""
    total = squares = 0.0
    for name, e in expected.items():
        g = np.asarray(got[name])
        total += float(np.square(g - e, dtype=np.float64).sum())
        squares += float(np.square(e, dtype=np.float64).sum())
    return (total / squares) ** 0.5


def main():
    folder, threads, program, ours = sys.argv[1:]
    torch.set_num_threads(int(threads))
    times = dict(re.findall(r"^(\w+) +([\d.]+) +[\d.]+ +\d+ %$", open(ours).read(), re.M))
    arrays = [load(os.path.join(folder, f"model{k}.safetensors")) for k in range(3)]
    tensors = [{name: torch.from_numpy(a) for name, a in m.items()} for m in arrays]
    print(f"NumPy {np.__version__}, PyTorch {torch.__version__}, {threads} threads\n")
    print(f"{'method':18} {'ours ms':>9} {'NumPy ms':>9} {'PyTorch ms':>10} {'factors':>15} {'difference':>11}")
    for method, bound in METHODS:
        name = method.__name__
        expected = merge_by_program(program, folder, name)
        here, worst, shown = float(times[name]), 0.0, []
        for x, models in ((np, arrays), (torch, tensors)):
            seconds, merged = run(x, method, models)
            worst = max(worst, difference(merged, expected))
            shown.append(1e3 * seconds)
        factors = " / ".join(f"{ms / here:.1f}" for ms in shown)
        print(f"{name:18} {here:9.1f} {shown[0]:9.1f} {shown[1]:10.1f} {factors:>15} {worst:11.1e}")
        if worst > bound:
            sys.exit(f"{name}: the results differ by {worst:.1e}")


main()
