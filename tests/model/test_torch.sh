#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# medsamix segment and convert against a PyTorch model of the same network: prompts of every mix, and inputs of
# other sizes, whose tables of positions PyTorch interpolates.
set -u
/usr/bin/python3 -c "import torch, numpy, PIL" 2>/dev/null || {
    echo "python3-torch, python3-numpy or python3-pil is not installed"
    exit 77
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$PWD/$B/medsamix" "$PWD/examples/data/models/mini-base.pth" \
    "$PWD/tests/golden/c/model.pth" "$PWD/tests/model" "$folder" <<'PY'
import itertools, os, subprocess, sys
program, demo, golden, here, folder = sys.argv[1:]
sys.path.insert(0, here)
from sam_reference import Image, Sam, error, np, open_model, read_tensors, resized_tensors, torch

os.chdir(folder)
torch.set_grad_enabled(False)
torch.set_num_threads(1)
rng = np.random.default_rng(5)
worst = {}


def run(*words):
    done = subprocess.run([program, *map(str, words), "--threads", "1", "-q"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAIL: {words}: {done.stderr}")


def check(what, got, want, bound=1e-5):
    e = error(got, want)
    worst[what] = max(worst.get(what, 0), e)
    if not e <= bound:
        sys.exit(f"FAIL: {what}: relative error {e}")


# A landscape image with something on it.
h, w = 87, 131
y, x = np.mgrid[:h, :w]
image = (rng.integers(0, 60, (h, w, 3)) + 120 * (np.hypot(x - 60, y - 40) < 25)[..., None]).astype(np.uint8)
Image.fromarray(image).save("image.png")

# ---- every mix of box, points and mask ------------------------------------------------------------------
box, points = (30, 12, 92, 71.5), ((58, 41, 1), (5, 80, 0), (64, 30, 1))
for path in demo, golden:
    model = open_model(path)
    prepared, resized = model.preprocess(image)
    embedding = model.encode(prepared)
    sx, sy = resized[1] / w, resized[0] / h
    side = 4 * model.grid
    mask = rng.normal(0, 4, (side, side)).astype(np.float32)
    np.save("mask.npy", mask)
    for with_box, n, with_mask in itertools.product((False, True), (0, 1, 3), (False, True)):
        if not (with_box or n or with_mask):
            continue
        words = ["--box", ",".join(map(str, box))] if with_box else []
        for p in points[:n]:
            words += ["--point", ",".join(map(str, p))]
        words += ["--mask-input", "mask.npy"] if with_mask else []
        run("segment", "--model", path, "--image", "image.png", *words, "-o", "m.png", "--save-logits", "l.npy",
            "--save-embedding", "e.npy")
        logits, _ = model.predict(embedding, [v * s for v, s in zip(box, (sx, sy, sx, sy))] if with_box else None,
                                  [(u * sx, v * sy, label) for u, v, label in points[:n]],
                                  torch.from_numpy(mask) if with_mask else None)
        check("embedding", np.load("e.npy"), embedding[0])
        check("logits of mixed prompts", np.load("l.npy")[0], logits)
        full = model.full_size(logits[None], resized, (h, w))[0, 0].numpy()
        got = np.asarray(Image.open("m.png")) > 0
        if ((full > 0) != got)[np.abs(full) > 1e-3].any():
            sys.exit(f"FAIL: mask of {words}")

# ---- inputs of other sizes -------------------------------------------------------------------------------
for path, size, mode in (demo, 80, "bilinear"), (demo, 240, "bicubic"), (golden, 128, "bicubic"), (golden, 352, "bilinear"):
    model = open_model(path, size, mode)
    run("convert", path, "resized.safetensors", "--image-size", size, "--positions", mode)
    tables = read_tensors("resized.safetensors")
    for name, want in resized_tensors(read_tensors(path), size, mode).items():
        if tables[name].shape != want.shape:
            sys.exit(f"FAIL: {name}: shape {tables[name].shape}")
        check("resampled tables", tables[name], want, 2e-6)
    prepared, resized = model.preprocess(image)
    embedding = model.encode(prepared)
    scaled = [v * s for v, s in zip(box, (resized[1] / w, resized[0] / h) * 2)]
    logits, _ = model.predict(embedding, scaled)
    for words in ["--model", path, "--image-size", size, "--positions", mode], ["--model", "resized.safetensors"]:
        run("segment", *words, "--image", "image.png", "--box", ",".join(map(str, box)), "-o", "m.png", "--save-logits", "l.npy",
            "--save-embedding", "e.npy")
        check("embedding of another size", np.load("e.npy"), embedding[0])
        check("logits of another size", np.load("l.npy")[0], logits)
print("relative errors: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))
PY
