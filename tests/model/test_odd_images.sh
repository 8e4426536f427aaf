#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# medsamix segment on images of odd forms: the result that Pillow or skimage and PyTorch give, or one clear error.
set -u
/usr/bin/python3 -c "import torch, numpy, PIL, skimage" 2>/dev/null || {
    echo "python3-torch, python3-numpy, python3-pil or python3-skimage is not installed"
    exit 77
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$PWD/$B/medsamix" "$PWD/examples/data/models/mini-base.pth" "$PWD/tests/model" "$folder" <<'PY'
import os, subprocess, sys
program, path, here, folder = sys.argv[1:]
sys.path.insert(0, here)
from sam_reference import F, Image, error, np, open_model, torch
from skimage import transform

os.chdir(folder)
torch.set_grad_enabled(False)
torch.set_num_threads(1)
rng = np.random.default_rng(8)
model = open_model(path)


def scene(h, w, channels=3, most=255):
    """Something bright in the middle."""
    y, x = np.mgrid[:h, :w]
    inside = np.hypot((x + 0.5) / w - 0.5, (y + 0.5) / h - 0.5) < 0.3
    image = rng.integers(0, most // 3 + 1, (h, w, channels)) + (most // 2) * inside[..., None]
    return image.squeeze(-1) if channels == 1 else image


def colours(image):
    """What the network is shown: 8 bit, RGB, without alpha."""
    if image.dtype == np.uint16:  # the rule "minmax"
        low, high = int(image.min()), int(image.max())
        image = ((image.astype(np.float64) - low) / max(high - low, 1) * 255).astype(np.uint8)
    image = image[..., None] if image.ndim == 2 else image
    return np.ascontiguousarray(np.repeat(image[..., :1], 3, -1) if image.shape[-1] < 3 else image[..., :3])


def stretched(image):
    x = image.astype(np.float32)
    x = x - x.min((0, 1))
    return (x / (x.max((0, 1)) + np.float32(1e-7)) * 255).astype(np.uint8)


def sam(image, box):
    h, w = image.shape[:2]
    prepared, resized = model.preprocess(image)
    scale = (resized[1] / w, resized[0] / h) * 2
    logits, _ = model.predict(model.encode(prepared), [v * s for v, s in zip(box, scale)])
    return logits, model.full_size(logits[None, :1], resized, (h, w))[0, 0].numpy()


def medsam(image, box):
    (h, w), s = image.shape[:2], model.side
    x = transform.resize(image, (s, s), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)
    x = (x - x.min()) / np.clip(x.max() - x.min(), 1e-8, None)
    prepared = torch.from_numpy(x).float().permute(2, 0, 1)[None]
    logits, _ = model.predict(model.encode(prepared), [v * k for v, k in zip(box, (s / w, s / h) * 2)])
    probability = F.interpolate(logits[None, :1].sigmoid(), (h, w), mode="bilinear", align_corners=False)
    return logits, probability[0, 0].numpy() - 0.5


def run(name, preset):
    for left in "m.png", "l.npy":
        if os.path.exists(left):
            os.remove(left)
    words = ["--model", path, "--image", name, "--box", ",".join(map(str, box)), "--preset", preset]
    return subprocess.run([program, "segment", *words, "-o", "m.png", "--save-logits", "l.npy", "--threads", "1"], capture_output=True,
                          text=True)


images = {
    "portrait": scene(131, 57).astype(np.uint8), "landscape": scene(40, 333).astype(np.uint8),
    "single": np.full((1, 1), 77, np.uint8), "pair": np.array([[3, 250]], np.uint8),
    "deep": scene(60, 83, 1, 60000).astype(np.uint16), "alpha": scene(50, 33, 4).astype(np.uint8),
    "grey_alpha": scene(33, 50, 2).astype(np.uint8), "zeros": np.zeros((70, 90), np.uint8),
    "deep_zeros": np.zeros((70, 90), np.uint16), "long": scene(70, 20000, 1).astype(np.uint8),
    "row": scene(1, 300, 1).astype(np.uint8), "thin": scene(10, 20000, 1).astype(np.uint8),
    "very_thin": scene(20000, 10, 1).astype(np.uint8),
}
worst, refused = 0, 0
for name, image in images.items():
    mode = {2: "LA", 4: "RGBA"}.get(image.shape[-1] if image.ndim == 3 else 0)
    Image.fromarray(image, mode).save(name + ".png") if mode else Image.fromarray(image).save(name + ".png")
    shown = colours(image)
    h, w = shown.shape[:2]
    box = (w // 8, h // 8, max(w - 1 - w // 8, w // 8), max(h - 1 - h // 8, h // 8))
    for preset, reference in ("sam", sam), ("microsam", lambda x, b: sam(stretched(x), b)), ("medsam", medsam):
        done = run(name + ".png", preset)
        if preset != "medsam" and min(h, w) * model.side / max(h, w) + 0.5 < 1:
            said = done.stderr.strip().splitlines()
            if done.returncode != 3 or len(said) != 1 or "less than one row or column left" not in said[0] or os.path.exists("m.png"):
                sys.exit(f"FAIL: {name}, {preset}: exit code {done.returncode}: {done.stderr}")
            refused += 1
            continue
        if done.returncode or f"preset '{preset}'" not in done.stdout:
            sys.exit(f"FAIL: {name}, {preset}: exit code {done.returncode}: {done.stderr}{done.stdout}")
        logits, full = reference(shown, box)
        e = error(np.load("l.npy")[0], logits)
        worst = max(worst, e)
        got = np.asarray(Image.open("m.png")) > 0
        if not e <= 2e-5 or got.shape != (h, w) or ((full > 0) != got)[np.abs(full) > 1e-4].any():
            sys.exit(f"FAIL: {name}, {preset}: relative error {e}, {((full > 0) != got).sum()} pixels of the mask differ")
assert refused == 4
print(f"{len(images)} odd images under three presets: relative error {worst:.1e}, {refused} refused")
PY
