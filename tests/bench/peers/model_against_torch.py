# SPDX-License-Identifier: Apache-2.0
"""libmedsamix and PyTorch in turns on the same model, inputs and boxes.

    model_against_torch.py [--threads N] [--seconds S] [--cells encode:1,decode:10,...] BENCH_MODEL MODEL...

For every cell (encode N images; decode N boxes on one image) the two are timed alternately for S seconds,
at least twice, after one unmeasured run each. Printed: median times, and the median of the ratios of
neighbouring runs. Embedding, logits and IoU scores of the two are compared first, as relative L2 errors;
1e-4 and more is a failure. --bf16: both encode in bfloat16, PyTorch with all of the encoder's weights and
activations in it.
"""
import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import torch

from sam_model_torch import Sam, read_tensors

BOUND = 1e-4
REST = 0.05  # seconds
# How many times as fast as PyTorch a cell is to be, by the side of the image.
TARGETS = {1024: {"encode 1": 3, "decode 1": 3, "decode 100": 8}, 160: {"encode 1": 3}}


class Ours:
    """bench_model --turns: one line is one measurement."""

    def __init__(self, program, model, threads, bf16):
        self.process = subprocess.Popen(
            [program, "--threads", str(threads)] + ["--bf16"] * bf16 + ["--turns", model],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.load = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("model_against_torch: bench_model ended")
        return float(line)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self, what, n):
        return self.ask(f"{what} {n}")

    def close(self):
        """Ends the process; its peak memory in MB, which getrusage would mix with that of this one."""
        with open(f"/proc/{self.process.pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        self.process.stdin.close()
        self.process.wait()
        return peak / 1024


class Torch:
    def __init__(self, model, threads, bf16):
        torch.set_num_threads(threads)
        start = time.perf_counter()
        tensors = read_tensors(model)
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self.sam = Sam({name: t.to(self.dtype) if name.startswith("image_encoder.") else t
                        for name, t in tensors.items()})
        self.load = (time.perf_counter() - start) * 1e3
        side = self.sam.side
        i = torch.arange(4 * 3 * side * side)
        self.images = ((i % 251).float() / 125 - 1).view(4, 3, side, side)
        i = torch.arange(100)
        x, y = 7 * i % (side // 2), 11 * i % (side // 2)
        self.boxes = torch.stack([x, y, x + side // 3, y + side // 4], 1).float()
        self.embedding = None

    def run(self, what, n):
        start = time.perf_counter()
        with torch.no_grad():
            if what == "encode":
                self.embedding = self.sam.encode(self.images[:n].to(self.dtype)).float()
            else:
                self.logits, self.iou = self.sam.decode(self.embedding[:1], self.boxes[:n])
        return (time.perf_counter() - start) * 1e3


def compare(ours, peer, bound):
    """Relative L2 errors of embedding, logits and IoU scores of image 0 and box 0."""
    for side in ours, peer:
        side.run("encode", 1)
        side.run("decode", 1)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "results.safetensors")
        ours.ask(f"save {path}")
        got = read_tensors(path)
    expected = {"embedding": peer.embedding[0], "logits": peer.logits[0], "iou": peer.iou[0]}
    errors = {name: float((got[name] - x).norm() / x.norm()) for name, x in expected.items()}
    print("relative error against PyTorch: " +
          ", ".join(f"{name} {e:.1e}" for name, e in errors.items()))
    return all(e < bound for e in errors.values())


def after_a_rest(side, what, n):
    """The threads of the other side spin for a while after their work."""
    time.sleep(REST)
    return side.run(what, n)


def time_cell(ours, peer, what, n, seconds, bf16):
    pairs = []
    ours.run(what, n), peer.run(what, n)
    end = time.perf_counter() + seconds
    while len(pairs) < 2 or time.perf_counter() < end:
        pairs.append(tuple(after_a_rest(side, what, n) for side in (ours, peer)))
    a, b = (statistics.median(p[i] for p in pairs) / n for i in (0, 1))
    ratio = statistics.median(p[1] / p[0] for p in pairs)
    target = TARGETS.get(peer.sam.side, {}).get(f"{what} {n}") if not bf16 else None
    verdict = "" if not target else f"{target}, {'met' if ratio >= target else 'missed'}"
    print(f"| {what} {n} | {a:.2f} | {b:.2f} | {ratio:.1f} | {verdict} | {len(pairs)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--cells", default="encode:1,encode:4,decode:1,decode:10,decode:100")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("program")
    parser.add_argument("models", nargs="+")
    o = parser.parse_args()
    good = True
    for model in o.models:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ours = Ours(o.program, model, o.threads, o.bf16)
        peer = Torch(model, o.threads, o.bf16)
        print(f"\n{os.path.basename(model)}, {'bf16' if o.bf16 else 'fp32'}, {o.threads} threads, "
              f"PyTorch {torch.__version__}")
        good = compare(ours, peer, math.inf if o.bf16 else BOUND) and good
        print("\n| | libmedsamix, ms each | PyTorch, ms each | times as fast | target | runs |\n"
              "|---|---|---|---|---|---|")
        for cell in o.cells.split(","):
            what, n = cell.split(":")
            time_cell(ours, peer, what, int(n), o.seconds, o.bf16)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"\nload {ours.load:.0f} ms and {peer.load:.0f} ms; "
              f"peak memory {ours.close():.0f} MB and {peak:.0f} MB "
              f"({before:.0f} MB before the model)"
              f"; targets: load 500 ms, 1024 MB")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
