#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# medsamix generate: what it writes, what it refuses, and its masks against the same done in PyTorch and NumPy.
set -u
root=$PWD
run="$root/$B/medsamix generate --threads 2"
model=$root/examples/data/models/mini-base.pth
image=$root/examples/data/Dataset103_Shapes/imagesTr/shape00_0000.png
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
fail() { echo "FAIL: $*"; exit 1; }

# Expect an exit code and a text on stderr; nothing may have been written.
refuses() { # CODE TEXT ARGUMENTS...
    local code=$1 text=$2
    shift 2
    $run "$@" -o refused.png --masks refused.json >out 2>err
    local got=$?
    [ $got = "$code" ] || fail "exit code $got, expected $code: $* -> $(cat err)"
    grep -q -- "$text" err || fail "'$(cat err)' lacks '$text'"
    [ "$(wc -l <err)" = 1 ] || fail "more than one line: $(cat err)"
    [ ! -e refused.png ] && [ ! -e refused.json ] || fail "something was written: $*"
}

loose=(--points-per-side 8 --pred-iou-thresh 0.2 --stability-score-thresh 0.5)
$run --model "$model" --image "$image" "${loose[@]}" -o labels.png --masks masks.json --overlay seen.png >table.txt ||
    fail "masks"
grep -q "preset 'sam'" table.txt || fail "no preset: $(cat table.txt)"
"$root/$B/medsamix" generate --threads 3 --model "$model" --image "$image" "${loose[@]}" --points-per-batch 5 -q -o other.png \
    --masks other.json || fail "three threads"
cmp labels.png other.png || fail "three threads give other masks"
$run --model "$model" --image "$image" "${loose[@]}" --image-size 80 --preset microsam -o half.png --json >half.json ||
    fail "half the size"
grep -q '"preset": "microsam"' half.json && grep -q '"image_size": 80' half.json || fail "$(head -c 300 half.json)"
$run --model "$model" --image "$image" --pred-iou-thresh 99 -o none.png >none.txt || fail "no masks"
grep -q "no mask passed" none.txt || fail "$(cat none.txt)"
ls -A | grep -q 'part$' && fail "temporary files are left"

refuses 2 "needs --model" --image "$image"
refuses 2 "takes 2-D images" --model "$model" --image x.nii.gz
refuses 2 "0 is out of range" --model "$model" --image "$image" --points-per-side 0
refuses 2 "1.5 is out of range" --model "$model" --image "$image" --box-nms-thresh 1.5
refuses 2 "crop_overlap_ratio is 1" --model "$model" --image "$image" --crop-overlap-ratio 1
refuses 2 "mean '--points-per-side'" --model "$model" --image "$image" --points-per-sides 3
refuses 2 "no point is left" --model "$model" --image "$image" --crop-n-layers 2 --crop-n-points-downscale-factor 9
refuses 2 "multiple of the patch" --model "$model" --image "$image" --image-size 99
refuses 3 "nowhere.png" --model "$model" --image nowhere.png
refuses 3 "nowhere.pth" --model nowhere.pth --image "$image"
$run --model "$model" --image "$image" -o labels.txt 2>err && fail "an ending"
grep -q "has to end in .png" err || fail "$(cat err)"
$run --model "$model" --image "$image" -o a.png --masks masks.png 2>err && fail "an ending"
grep -q "has to end in .json" err || fail "$(cat err)"

"$root/$B/examples/generate_masks" "$model" "$image" example.png 0.2 0.5 >example.txt || fail "the example"
grep -q "^mask 5: .* pixels around" example.txt && [ -s example.png ] || fail "$(cat example.txt)"
"$root/$B/examples/generate_masks" "$image" "$image" none.png 2>err && fail "not a model"
grep -q generate_masks: err || fail "the example says nothing: $(cat err)"

# ---- what is in the files, by other readers -----------------------------------------------------------
/usr/bin/python3 -c 'import torch, numpy, PIL, scipy' 2>/dev/null || {
    echo "the rest needs python3-torch, python3-numpy, python3-pil and python3-scipy"
    exit 77
}
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$root/$B/medsamix" "$model" "$root/tests/model" <<'PY' || fail "masks"
import json, subprocess, sys
program, model_path, here = sys.argv[1:]
sys.path.insert(0, here)
from amg_reference import candidates, choose, clear_of, overlap
from sam_reference import Image, np, open_model, torch

torch.set_grad_enabled(False)
torch.set_num_threads(1)


def decode(runs):
    h, w = runs["size"]
    values = np.arange(len(runs["counts"])) % 2
    return np.repeat(values, runs["counts"]).reshape(w, h).T.astype(bool)


# ---- the files of one run say the same ----
said = json.load(open("masks.json"))
labels = np.asarray(Image.open("labels.png"))
assert said["image"]["width"] == 160 and said["preset"] == "sam" and said["image_size"] == 160
assert Image.open("seen.png").size == (160, 160) and Image.open("seen.png").mode == "RGB"
assert len(said["annotations"]) > 5
want = np.zeros(labels.shape, int)
for a in sorted(said["annotations"], key=lambda a: (-a["area"], -a["id"])):
    mask = decode(a["segmentation"])
    ys, xs = np.nonzero(mask)
    assert a["area"] == mask.sum()
    assert a["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()]
    assert a["crop_box"] == [0, 0, 160, 160] and len(a["point_coords"]) == 1
    want[mask] = a["id"]
assert np.array_equal(labels, want)
assert [a["id"] for a in said["annotations"]] == list(range(1, 1 + len(said["annotations"])))

# ---- and what PyTorch says; thresholds are moved to where no value is near ----
rng = np.random.default_rng(11)
y, x = np.mgrid[:200, :250]
picture = 60 + x // 8 + rng.integers(0, 12, x.shape)
for cx, cy, r, v in (50, 48, 26, 150), (150, 60, 34, 210), (80, 150, 20, 90), (190, 150, 24, 20), (120, 110, 9, 250):
    picture[np.hypot(x - cx, y - cy) < r] = v
Image.fromarray(np.stack([picture, picture - 10, picture // 2], -1).astype(np.uint8)).save("picture.png")
image = np.asarray(Image.open("picture.png"))
compared = 0
for side, layers, factor, least in (8, 0, 1, 0), (6, 1, 2, 0), (6, 0, 1, 25):
    model = open_model(model_path)
    found = list(candidates(model, image, side, layers, factor))
    iou = clear_of([c.iou for c in found], 0.3, 0.1)
    stability = clear_of([c.stability for c in found if c.iou > iou], 0.5, 0.1)
    pool = [c for c in found if c.iou > iou and c.stability >= stability]
    near = [overlap(a.box, b.box) for i, a in enumerate(pool) for b in pool[:i]]
    nms = clear_of(near, 0.6, 0.1)
    kept = choose(found, iou, stability, nms, nms, least)
    done = subprocess.run([program, "generate", "--threads", "1", "-q", "--model", model_path, "--image", "picture.png", "-o", "l.png",
                           "--masks", "m.json", "--points-per-side", str(side), "--crop-n-layers", str(layers),
                           "--crop-n-points-downscale-factor", str(factor), "--pred-iou-thresh", repr(iou),
                           "--stability-score-thresh", repr(stability), "--box-nms-thresh", repr(nms), "--crop-nms-thresh",
                           repr(nms), "--min-mask-region-area", str(least)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAIL: {done.stderr}")
    got = json.load(open("m.json"))["annotations"]
    if len(got) != len(kept):
        sys.exit(f"FAIL: {len(got)} masks, {len(kept)} in PyTorch (side {side}, layers {layers}, regions {least})")
    for a, c in zip(got, kept):
        differ = int((decode(a["segmentation"]) != c.mask).sum())
        box = [c.box[0], c.box[1], c.box[2] - c.box[0], c.box[3] - c.box[1]]
        crop = [c.crop[0], c.crop[1], c.crop[2] - c.crop[0], c.crop[3] - c.crop[1]]
        if (differ > 2 or abs(a["predicted_iou"] - c.iou) > 1e-4 or abs(a["stability_score"] - c.stability) > 0.01
                or max(abs(u - v) for u, v in zip(a["bbox"], box)) > 1 or a["crop_box"] != crop
                or max(abs(u - v) for u, v in zip(a["point_coords"][0], c.point)) > 1e-6):
            sys.exit(f"FAIL: mask {a['id']} differs in {differ} pixels: {dict(a, segmentation=0)}, {c.iou}, {c.stability}, {box}, {crop}, {c.point}")
    assert len(kept) >= 4 and (not layers or len({c.crop for c in kept}) > 2), "too few masks to say anything"
    compared += len(kept)
print(f"{compared} masks are those of PyTorch")
PY
