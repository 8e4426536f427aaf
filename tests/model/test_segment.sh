#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# medsamix segment and examples/segment_image: images of all kinds, volumes, refusals.
set -u
root=$PWD
run="$root/$B/medsamix segment --threads 2"
models=$root/examples/data/models
shapes=$root/examples/data/Dataset103_Shapes
human=$root/examples/data/Dataset101_HumanMR
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
fail() { echo "FAIL: $*"; exit 1; }

# Expect an exit code and a text on stderr; nothing may have been written.
refuses() { # CODE TEXT ARGUMENTS...
    local code=$1 text=$2
    shift 2
    rm -f refused.png refused.nii.gz
    $run "$@" >out 2>err
    local got=$?
    [ $got = "$code" ] || fail "exit code $got, expected $code: $* -> $(cat err)"
    grep -q -- "$text" err || fail "'$(cat err)' lacks '$text'"
    [ "$(wc -l <err)" = 1 ] || fail "more than one line: $(cat err)"
    [ ! -e refused.png ] && [ ! -e refused.nii.gz ] || fail "something was written: $*"
}

image=$shapes/imagesTr/shape00_0000.png
model=$models/mini-base.pth

# ---- images -----------------------------------------------------------------------------------------
$run --model "$model" --image "$image" --box 20,20,120,130 --box '[5,5,60,60]' -o two.png \
    --overlay seen.png --save-logits two.npy --save-embedding e.npy --json >two.json ||
    fail "two boxes"
$run --model "$model" --image "$image" --box 20,20,120,130 -o one.png --save-logits one.npy \
    >one.txt || fail "one box"
$run --model "$model" --image "$image" --box 20,20,120,130 --point 70,70,1 --point 2,2,0 \
    --mask-input one.npy --multimask --preset medsam -o more.png --json >more.json ||
    fail "box, points and a mask"
$run --model "$model" --image "$image" --mask-input one.npy -q -o m.png >quiet.txt || fail "mask only"
[ ! -s quiet.txt ] || fail "-q prints"
$run --model "$model" --image "$image" --box 20,20,120,130 --image-size 80 --positions bicubic -o half.png >half.txt ||
    fail "half the size"
grep -q "preset 'sam', input of 80 pixels" half.txt || fail "$(cat half.txt)"
for file in two.png seen.png one.png more.png m.png; do
    [ "$(head -c 4 $file | tail -c 3)" = PNG ] || fail "$file is no PNG"
done
grep -q '"prompts": *2' two.json || fail "two.json: $(cat two.json)"
[ "$(head -c 6 two.npy | tail -c 5)" = NUMPY ] || fail "two.npy"
[ "$(wc -c <two.npy)" = $((128 + 2 * 4 * 80 * 80 * 4)) ] || fail "size of two.npy"
[ "$(wc -c <e.npy)" = $((128 + 64 * 20 * 20 * 4)) ] || fail "size of e.npy"

# ---- an embedding made once -------------------------------------------------------------------------
$run --model "$model" --image "$image" --box 20,20,120,130 --preset medsam -o first.png \
    --save-logits first.npy --save-embedding e.safetensors -q || fail "saving an embedding"
$run --model "$model" --image "$image" --box 20,20,120,130 --preset medsam -o again.png \
    --save-logits again.npy --embedding e.safetensors --save-embedding copy.safetensors -q ||
    fail "a saved embedding"
cmp first.png again.png && cmp first.npy again.npy || fail "other bits from a saved embedding"
python3 - <<'PY' || fail "a small picture"
import struct, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
open("small.png", "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(
    b"IHDR", struct.pack(">IIBBBBB", 12, 10, 8, 0, 0, 0, 0)) + chunk(
    b"IDAT", zlib.compress((b"\0" + bytes(range(12))) * 10)) + chunk(b"IEND", b""))
PY
$run --model "$model" --image small.png --box 1,1,9,9 --preset medsam -o small-mask.png \
    --save-embedding small.safetensors -q || fail "a small embedding"
cmp e.safetensors copy.safetensors || fail "the copy of an embedding differs"

# ---- volumes ----------------------------------------------------------------------------------------
volume=$human/imagesTs/colin27_test_0000.nii.gz
labels=$human/labelsTs/colin27_test.nii.gz
$run --model "$models/mini-human.pth" --image "$volume" --boxes-from "$labels" --intensity mr \
    -o v.nii.gz --overlay v.png --json >v.json || fail "boxes from labels"
$run --model "$models/mini-human.pth" --image "$volume" --box3d 20,20,3,90,90,5 --slice-axis k \
    -o b.nii >b.txt || fail "box3d"

# ---- objects followed through a volume --------------------------------------------------------------
python3 - "$labels" <<'PY' >boxes.csv || exit 1
import gzip, struct, sys
raw = gzip.open(sys.argv[1]).read()
nx, ny, nz = struct.unpack_from("<3h", raw, 42)
offset = int(struct.unpack_from("<f", raw, 108)[0])
print("slice,x0,y0,x1,y1,label")
for label in (1, 6):
    seen = [(i % nx, i // nx % ny, i // nx // ny) for i in range(nx * ny * nz) if raw[offset + i] == label]
    k = sorted(z for _, _, z in seen)[len(seen) // 2]
    xs, ys = [x for x, _, z in seen if z == k], [y for _, y, z in seen if z == k]
    print(k, min(xs), min(ys), max(xs), max(ys), label, sep=",")
PY
for how in box mask; do
    $run --model "$models/mini-human.pth" --image "$volume" --boxes boxes.csv --intensity mr \
        --propagate $how --margin 2 --min-overlap 0.2 -o p_$how.nii.gz --json >p_$how.json ||
        fail "--propagate $how"
done
"$root/$B/medsamix" segment --threads 3 --model "$models/mini-human.pth" --image "$volume" \
    --boxes boxes.csv --intensity mr --propagate box --margin 2 --min-overlap 0.2 -q -o t.nii.gz ||
    fail "three threads"
cmp t.nii.gz p_box.nii.gz || fail "three threads give other voxels"
$run --model "$models/mini-human.pth" --image "$volume" --point 60,60,7,1 --point 5,5,7,0 --intensity mr \
    --propagate box --reach 2 -o points.nii.gz >points.txt || fail "points in a volume"
grep -q "preset 'sam'" points.txt || fail "no preset: $(cat points.txt)"
$run --model "$models/mini-human.pth" --image "$volume" --box3d 20,20,3,90,90,9 --point 55,55,6,1 \
    --propagate box -q -o both.nii.gz || fail "a box in space with a point"
ls -A | grep -q '^\.' && fail "scratch files are left: $(ls -A)"

# ---- memory does not grow with the number of slices -------------------------------------------------
python3 - <<'PY' || fail "large volumes"
import gzip, struct
for slices in (64, 512):
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 128, 128, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 2, 0, 0, 0, 0)
    struct.pack_into("<f", header, 108, 352)
    header[344:347] = b"n+1"
    plane = struct.pack("<16384h", *((x * 7 ^ x >> 7) & 1023 for x in range(16384)))
    for name, opened in ((f"{slices}.nii", open), (f"{slices}.nii.gz", lambda n, m: gzip.open(n, m, 1))):
        with opened(name, "wb") as f:
            f.write(header)
            for _ in range(slices):
                f.write(plane)
PY
printf '10,45,45,70,75\n' >seed.csv
[ -n "${MSX_SANITIZED:-}" ] || python3 - "$root/$B/medsamix" "$model" <<'PY' || fail "memory of volumes"
import os, subprocess, sys
program, model = sys.argv[1:]
def peak(slices, ending, axis, boxes):
    child = subprocess.Popen([program, "segment", "--threads", "1", "--model", model, "--image",
                              f"{slices}.{ending}", "--intensity", "mr", "--slice-axis", axis, "--propagate",
                              "box", "--reach", "1", "-q", "-o", "large." + ending] + boxes)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    return usage.ru_maxrss / 1024
for ending, axis, boxes in (("nii.gz", "k", ["--boxes", "seed.csv"]),
                            ("nii", "i", ["--box3d", "50,30,10,51,45,60"])):
    few, many = peak(64, ending, axis, boxes), peak(512, ending, axis, boxes)
    print(f"{ending}, along {axis}: {few:.1f} MiB for 64 slices, {many:.1f} MiB for 512")
    assert many < few + 8, "memory grows with the number of slices"
PY

# ---- what is refused, in one line, with nothing written ---------------------------------------------
refuses 2 "nothing says what to segment" --model "$model" --image "$image" -o refused.png
refuses 2 "a volume needs one of" --model "$model" --image "$volume" -o refused.nii.gz
refuses 2 "is for 2-D images" --model "$model" --image "$volume" --box 1,1,2,2 -o refused.nii.gz
refuses 2 "is for volumes" --model "$model" --image "$image" --box3d 1,1,1,2,2,2 -o refused.png
refuses 2 "is not 4 numbers" --model "$model" --image "$image" --box 1,2,3 -o refused.png
refuses 2 "lies outside the image" --model "$model" --image "$image" --box 900,9,999,9 -o refused.png
refuses 2 "lies outside the image" --model "$model" --image "$image" --point 900,9,1 -o refused.png
refuses 2 "x0 <= x1" --model "$model" --image "$image" --box 50,50,40,60 -o refused.png
refuses 2 "the label is 1" --model "$model" --image "$image" --point 5,5,2 -o refused.png
refuses 2 "is written as .nii" --model "$model" --image "$volume" --box3d 1,1,1,2,2,2 -o refused.png
refuses 2 "does not lie in" --model "$model" --image "$volume" --box3d 1,1,1,2,2,999 \
    -o refused.nii.gz
refuses 2 "goes with one prompt" --model "$model" --image "$image" --box 1,1,9,9 --box 2,2,8,8 \
    --mask-input one.npy -o refused.png
refuses 3 "is not a .npy file" --model "$model" --image "$image" --mask-input one.png -o refused.png
refuses 3 "elements are too many" --model "$model" --image "$image" --mask-input two.npy -o refused.png
refuses 3 "not 80 x 80" --model "$model" --image "$image" --mask-input e.npy -o refused.png
refuses 3 "preset 'medsam'" --model "$model" --image "$image" --box 1,1,9,9 -o refused.png \
    --embedding e.safetensors
refuses 3 "another image encoder" --model $models/mini-human.pth --image "$image" --box 1,1,9,9 \
    --preset medsam --embedding e.safetensors -o refused.png
refuses 3 "of an image of" --model "$model" --image first.png --intensity none --box 1,1,9,9 \
    --preset medsam --embedding small.safetensors -o refused.png
refuses 3 "is no embedding file" --model "$model" --image "$image" --box 1,1,9,9 -o refused.png \
    --embedding "$model"
refuses 2 "is for 2-D images" --model "$model" --image "$volume" --box3d 1,1,1,2,2,2 \
    --embedding e.safetensors -o refused.nii.gz
refuses 3 "none.pth" --model none.pth --image "$image" --box 1,1,9,9 -o refused.png
refuses 3 "none.png" --model "$model" --image none.png --box 1,1,9,9 -o refused.png
refuses 3 "" --model "$model" --image "$model" --box 1,1,9,9 -o refused.png
refuses 3 "" --model "$model" --image "$volume" --boxes-from \
    "$root/examples/data/Dataset102_MacaqueMR/labelsTs/inia19_test.nii.gz" -o refused.nii.gz
printf '3,1,1,9,9\n99,1,1,9,9\n' >outside.csv
refuses 2 "outside.csv:2: slice 99 of object 1 is outside 0 to" --model "$model" --image "$volume" \
    --boxes outside.csv -o refused.nii.gz
printf '3,1,1,9\n' >short.csv
refuses 3 "short.csv:1:1: give slice,x0,y0,x1,y1" --model "$model" --image "$volume" --boxes short.csv \
    -o refused.nii.gz
refuses 2 "is for volumes" --model "$model" --image "$image" --box 1,1,9,9 --propagate box -o refused.png
refuses 2 "goes with --propagate" --model "$model" --image "$volume" --boxes boxes.csv --reach 2 \
    -o refused.nii.gz
refuses 2 "a volume needs one of" --model "$model" --image "$volume" --boxes boxes.csv \
    --box3d 1,1,1,2,2,2 -o refused.nii.gz
refuses 2 "--point goes with" --model "$model" --image "$volume" --boxes boxes.csv --point 1,1,1,1 \
    -o refused.nii.gz
refuses 2 "along axis k does not lie in" --model "$model" --image "$volume" --point 1,1,99,1 \
    -o refused.nii.gz
refuses 2 "is not 4 numbers" --model "$model" --image "$volume" --point 1,1,1 -o refused.nii.gz
refuses 2 "mean 'box'" --model "$model" --image "$volume" --boxes boxes.csv --propagate bx \
    -o refused.nii.gz
refuses 2 "multiple of the patch of 8" --model "$model" --image "$image" --box 1,1,9,9 --image-size 100 -o refused.png
refuses 2 "goes with --image-size" --model "$model" --image "$image" --box 1,1,9,9 --positions bicubic -o refused.png
refuses 2 "mean 'bicubic'" --model "$model" --image "$image" --box 1,1,9,9 --image-size 80 --positions cubic -o refused.png
refuses 3 "this model's are (64, 10, 10)" --model "$model" --image "$image" --box 1,1,9,9 --preset medsam --image-size 80 \
    --embedding e.safetensors -o refused.png
refuses 5 "device cuda:9999: " --model "$model" --image "$image" --box 1,1,9,9 --device cuda:9999 \
    -o refused.png

# ---- the example ------------------------------------------------------------------------------------
"$root/$B/examples/segment_image" "$model" "$image" 70 70 20 30 >example.txt || fail "the example"
[ "$(grep -c 'predicted IoU' example.txt)" = 2 ] && [ -s mask-2.png ] || fail "$(cat example.txt)"
"$root/$B/examples/segment_image" "$image" "$image" 70 70 >/dev/null 2>err && fail "not a model"
grep -q segment_image: err || fail "the example says nothing: $(cat err)"

# ---- odd images, and what is in the files, by other readers -----------------------------------------
/usr/bin/python3 -c 'import numpy, PIL, nibabel' 2>/dev/null || {
    echo "the rest needs python3-numpy, python3-pil and python3-nibabel"
    exit 77
}
/usr/bin/python3 - "$volume" "$labels" "$model" <<'PY' || fail "files"
import json, subprocess, sys, os
import numpy as np, nibabel as nib
from PIL import Image
volume, labels, model = sys.argv[1:]
two, one = np.array(Image.open("two.png")), np.array(Image.open("one.png"))
assert set(np.unique(two)) == {0, 1, 2}, np.unique(two)
assert set(np.unique(one)) == {0, 1}
logits, embedding = np.load("two.npy"), np.load("e.npy")
assert logits.shape == (2, 4, 80, 80) and logits.dtype == np.float32
assert embedding.shape == (64, 20, 20)
assert np.array_equal(np.load("one.npy")[0], logits[0]), "a prompt's result depends on its company"
report = json.load(open("two.json"))
assert np.array(report["iou"]).shape == (2, 4) and report["mask"] == [0, 0]
assert report["pixels"] == [int((two == 1).sum()), int((two == 2).sum())]
assert json.load(open("more.json"))["mask"][0] in (1, 2, 3)
mask, truth, image = nib.load("v.nii.gz"), nib.load(labels), nib.load(volume)
assert np.array_equal(mask.affine, image.affine) and mask.shape == image.shape
m, t = np.asarray(mask.dataobj), np.asarray(truth.dataobj)
assert set(np.unique(m)) <= set(np.unique(t)) and len(np.unique(m)) == 8
dice = [2 * ((m == l) & (t == l)).sum() / ((m == l).sum() + (t == l).sum()) for l in range(1, 8)]
assert np.mean(dice) > 0.6, dice
box = np.asarray(nib.load("b.nii").dataobj)
assert box[:, :, 3:6].any(axis=(0, 1)).all() and not box[:, :, :3].any() and not box[:, :, 6:].any()

def same_place(a, b):
    assert np.array_equal(a.affine, b.affine) and a.shape == b.shape
    fields = ["pixdim", "qform_code", "sform_code", "xyzt_units"]
    fields += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x"] if a.header["qform_code"] else []
    fields += ["srow_x", "srow_y", "srow_z"] if a.header["sform_code"] else []
    for field in fields:
        assert np.array_equal(a.header[field].ravel()[:4], b.header[field].ravel()[:4]), field
    assert nib.aff2axcodes(a.affine) == nib.aff2axcodes(b.affine)

# Followed from one box each: the geometry, what the report says, and better than the one slice alone.
for how in ("box", "mask"):
    followed, said = nib.load(f"p_{how}.nii.gz"), json.load(open(f"p_{how}.json"))
    same_place(followed, image)
    f = np.asarray(followed.dataobj)
    assert said["propagate"] == how and said["preset"] == "sam", said
    for row in said["labels"]:
        slices = np.flatnonzero((f == row["label"]).any(axis=(0, 1)))
        assert row["voxels"] == (f == row["label"]).sum()
        assert (row["first"], row["last"]) == (slices[0], slices[-1]), (row, slices)
        # The demo models never saw a mask as a prompt: carried on, theirs soon fade.
        assert len(slices) > 1 or how == "mask", "nothing was followed"
        assert len(slices) == slices[-1] - slices[0] + 1, "a gap"
points = np.asarray(nib.load("points.nii.gz").dataobj)
assert points[:, :, 7].any() and not points[:, :, :5].any() and not points[:, :, 10:].any()
both = np.asarray(nib.load("both.nii.gz").dataobj)
assert both[:, :, 6].any() and not both[:, :, :3].any() and not both[:, :, 10:].any()
rng = np.random.default_rng(0)
for name, array in {
    "portrait": rng.integers(0, 256, (97, 31, 3), dtype=np.uint8),
    "single": np.full((1, 1), 77, np.uint8),
    "deep": rng.integers(0, 65536, (40, 60)).astype(np.uint16),
    "alpha": rng.integers(0, 256, (50, 33, 4), dtype=np.uint8),
    "row": rng.integers(0, 256, (1, 300), dtype=np.uint8),
    "column": rng.integers(0, 256, (300, 1), dtype=np.uint8),
}.items():
    Image.fromarray(array).save(name + ".png")
Image.fromarray(rng.integers(0, 256, (61, 47, 3), dtype=np.uint8)).save("photo.jpg")
PY
for name in portrait.png single.png deep.png alpha.png row.png column.png photo.jpg; do
    for preset in sam medsam medsam_ct_mr medsam_rgb medsam_cv2 microsam; do
        $run --model "$model" --image $name --box 0,0,5,5 --preset $preset -o odd.png \
            >out 2>err || fail "$name: $(cat err)"
        grep -q "preset '$preset'" out || fail "$name: the preset is not in the result"
    done
done
exit 0
