#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# medsamix segment on volumes as they come: types, scalings, geometries, broken voxels, wrong labels;
# what is written is read by nibabel.
set -u
/usr/bin/python3 -c "import nibabel, numpy, PIL" 2>/dev/null || {
    echo "python3-nibabel, python3-numpy or python3-pil is not installed"
    exit 77
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
/usr/bin/python3 - "$PWD/$B/medsamix" "$PWD/examples/data/models/mini-base.pth" "$folder" <<'PY'
import json, os, subprocess, sys
import nibabel as nib
import numpy as np
from PIL import Image
program, model, folder = sys.argv[1:]
os.chdir(folder)
rng = np.random.default_rng(3)


def fail(text):
    sys.exit("FAIL: " + text)


def segment(image, *options, code=0, text=""):
    """Run the program; its JSON, or what it said on stderr."""
    if os.path.exists("mask.nii.gz"):
        os.remove("mask.nii.gz")
    done = subprocess.run([program, "segment", "--threads", "1", "--model", model, "--image", image, "--json",
                           "-o", "mask.nii.gz", *options], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "warning" not in line and "/s" not in line]
    if done.returncode != code:
        fail(f"{image} {options}: exit code {done.returncode}: {done.stderr}")
    if text not in done.stderr:
        fail(f"{image} {options}: '{done.stderr}' lacks '{text}'")
    left = [name for name in os.listdir(".") if name.startswith(".")]
    if left:
        fail(f"{image} {options}: left behind {left}")
    if code:
        if len(said) != 1 or os.path.exists("mask.nii.gz"):
            fail(f"{image} {options}: more than one line, or a result: {done.stderr}")
        return done.stderr
    return json.loads(done.stdout)


def write(name, data, affine, slope=1, inter=0, qform=True, sform=True):
    """By hand: nibabel would choose the scaling anew."""
    header = nib.Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_qform(affine, 1 if qform else 0, strip_shears=True)
    header.set_sform(affine, 2 if sform else 0)
    header["scl_slope"], header["scl_inter"] = slope, inter
    header["vox_offset"] = header.single_vox_offset
    with nib.openers.Opener(name, "wb") as f:
        header.write_to(f)
        f.write(b"\0" * (int(header["vox_offset"]) - f.tell()))
        f.write(data.tobytes(order="F"))


def turned(degrees, flips):
    """An oblique affine: spacing 1, 1.5, 4, turned around x, with mirrored axes."""
    a = np.radians(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.array([1, 1.5, 4]) * flips)
    affine[:3, 3] = -30, 12.5, 7
    return affine


SHAPE = (40, 36, 6)
x, y, z = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
ball = ((x - 20) / 9) ** 2 + ((y - 17) / 8) ** 2 + ((z - 3) / 3.5) ** 2 < 1
values = (300 * ball + rng.integers(0, 60, SHAPE)).astype(np.float64)
straight = turned(0, (1, 1, 1))
with open("seed.csv", "w") as f:
    f.write("slice,x0,y0,x1,y1\n3,11,9,29,25\n")
FOLLOW = ("--boxes", "seed.csv", "--propagate", "box", "--margin", "2")

# ---- types, scalings and geometries: the same voxels and the same mask, where the image is -----------
want = None
cases = {f"{np.dtype(t).name}": dict(data=values.astype(t), affine=straight)
         for t in ("<u2", "<i2", "<f4", "<f8", "<i4", "<u8")}
cases["slope_0"] = dict(data=values.astype("<i2"), affine=straight, slope=0, inter=99)
cases["slope_nan"] = dict(data=values.astype("<i2"), affine=straight, slope=np.nan)
cases["slope_and_inter"] = dict(data=(values * 2 + 50).astype("<i2"), affine=straight, slope=0.5, inter=-25)
cases["oblique"] = dict(data=values.astype("<u2"), affine=turned(25, (1, 1, 1)))
cases["mirrored"] = dict(data=values.astype("<u2"), affine=turned(0, (-1, -1, 1)))
cases["oblique_mirrored_qform"] = dict(data=values.astype("<u2"), affine=turned(-40, (-1, 1, 1)), sform=False)
cases["sform_only"] = dict(data=values.astype("<u2"), affine=turned(10, (1, -1, 1)), qform=False)
for name, case in cases.items():
    for ending in (".nii", ".nii.gz") if name == "oblique" else (".nii.gz",):
        path = name + ending
        write(path, **case)
        said = segment(path, *FOLLOW)
        image, mask = nib.load(path), nib.load("mask.nii.gz")
        if not np.array_equal(mask.affine, image.affine) or mask.shape != image.shape:
            fail(f"{path}: the mask lies elsewhere")
        if nib.aff2axcodes(mask.affine) != nib.aff2axcodes(image.affine):
            fail(f"{path}: axes {nib.aff2axcodes(mask.affine)}")
        for field in ("pixdim", "qform_code", "sform_code"):
            if not np.array_equal(mask.header[field], image.header[field]):
                fail(f"{path}: {field} {mask.header[field]}")
        if mask.get_data_dtype() != np.uint8 or said["axis"] != "k" or said["preset"] != "sam":
            fail(f"{path}: {mask.get_data_dtype()}, {said}")
        voxels = np.asarray(mask.dataobj)
        want = voxels if want is None else want
        if not np.array_equal(voxels, want):
            fail(f"{path}: {np.sum(voxels != want)} voxels differ from those of the first type")
if not want[:, :, 3].any() or not want[:, :, 4].any():
    fail("nothing was segmented")

# ---- every slice is what it is as an image of its own, along every axis ---------------------------------
low, high = values.min(), values.max()
bytes_ = ((values - low) / (high - low) * 255).astype("<u1")
write("bytes.nii", bytes_, straight)
marked = np.zeros(SHAPE, "<u1")
marked[ball] = 1
write("marked.nii", marked, straight)
first, last = np.argwhere(ball).min(0), np.argwhere(ball).max(0)


def alone(picture, *words):
    Image.fromarray(picture).save("slice.png")
    done = subprocess.run([program, "segment", "--threads", "1", "-q", "--model", model, "--image", "slice.png", "-o", "slice_mask.png",
                           *words], capture_output=True, text=True)
    if done.returncode:
        fail(f"slice {words}: {done.stderr}")
    return np.asarray(Image.open("slice_mask.png"))


def numbers(*values_):
    return ",".join(str(int(v)) for v in values_)


for axis, name in enumerate("ijk"):
    column, row = [a for a in range(3) if a != axis]
    lines, looked_at = ["slice,x0,y0,x1,y1"], np.zeros(SHAPE, bool)
    expected = {kind: np.zeros(SHAPE, "<u1") for kind in ("--boxes-from", "--box3d", "--boxes", "--point")}
    middle = (first + last) // 2
    for s in range(SHAPE[axis]):
        at = [slice(None)] * 3
        at[axis] = s
        if s % 3 == 1:
            lines.append(f"{s},2,1,{SHAPE[column] - 2},{SHAPE[row] - 1}")
        if s % 6 != 1 and axis < 2 and s != middle[axis]:
            continue  # enough of these
        looked_at[tuple(at)] = True
        picture, mark = np.ascontiguousarray(bytes_[tuple(at)].T), marked[tuple(at)].T
        if mark.any():
            ys, xs = np.nonzero(mark)
            tight = numbers(xs.min(), ys.min(), xs.max(), ys.max())
            expected["--boxes-from"][tuple(at)] = alone(picture, "--box", tight).T
        if first[axis] <= s <= last[axis]:
            around = numbers(first[column], first[row], last[column], last[row])
            expected["--box3d"][tuple(at)] = alone(picture, "--box", around).T
        if s % 3 == 1:
            expected["--boxes"][tuple(at)] = alone(picture, "--box", f"2,1,{SHAPE[column] - 2},{SHAPE[row] - 1}").T
        if s == middle[axis]:
            expected["--point"][tuple(at)] = alone(picture, "--point", numbers(middle[column], middle[row], 1)).T
    open("lines.csv", "w").write("\n".join(lines) + "\n")
    asked = {"--boxes-from": "marked.nii", "--box3d": numbers(*first, *last), "--boxes": "lines.csv",
             "--point": numbers(*middle, 1)}
    for kind, value in asked.items():
        segment("bytes.nii", kind, value, "--slice-axis", name, "--intensity", "none")
        got = np.asarray(nib.load("mask.nii.gz").dataobj)
        differ = np.sum((got != expected[kind]) & looked_at)
        if differ or not (got & looked_at).any():
            fail(f"{kind} along {name}: {differ} voxels are not those of the slices alone")

# ---- one slice; slices of zeros; voxels that are no numbers -------------------------------------------
write("single.nii", values[:, :, 3:4].astype("<f4"), straight)
segment("single.nii", "--box3d", "11,9,0,29,25,0", "--propagate", "box")
if nib.load("mask.nii.gz").shape != (40, 36, 1) or not np.asarray(nib.load("mask.nii.gz").dataobj).any():
    fail("single slice")
zeros = values.copy()
zeros[:, :, 4:] = 0
write("zeros.nii", zeros.astype("<i2"), straight)
for preset in "sam medsam medsam_ct_mr medsam_rgb medsam_cv2 microsam".split():
    said = segment("zeros.nii", "--box3d", "11,9,2,29,25,5", "--preset", preset)
    if said["preset"] != preset or said["labels"][0]["prompts"] != 4 or said["labels"][0]["iou"] is None:
        fail(f"slices of zeros, {preset}: {said}")
write("all_zero.nii", np.zeros(SHAPE, "<i2"), straight)
for rule in "mr", "minmax", "ct", "none":
    segment("all_zero.nii", "--intensity", rule, *FOLLOW)
broken = values.copy()
broken[5, 5, :], broken[6, 6, 2], broken[7, 7, 3] = np.nan, np.inf, -np.inf
mended = np.where(np.isfinite(broken), broken, 0)
masks = []
for name, data in ("broken.nii", broken), ("mended.nii", mended):
    write(name, data.astype("<f4"), straight)
    segment(name, *FOLLOW, text="8 of 8640 values are NaN or infinite" if name == "broken.nii" else "")
    masks.append(np.asarray(nib.load("mask.nii.gz").dataobj))
if not np.array_equal(*masks):
    fail("NaN and infinity are not taken as 0")

# ---- refused, in one line, with nothing written --------------------------------------------------------
write("four.nii", np.zeros(SHAPE + (3,), "<i2"), straight)
segment("four.nii", *FOLLOW, code=3, text="only 3-D volumes are read")
write("one_of_four.nii", values.astype("<i2").reshape(SHAPE + (1,)), straight)
segment("one_of_four.nii", *FOLLOW)
write("image.nii", values.astype("<i2"), straight)
write("small.nii", np.ones((40, 36, 5), "<u1"), straight)
segment("image.nii", "--boxes-from", "small.nii", code=3, text="small.nii is 40 x 36 x 5 voxels, image.nii is")
write("moved.nii", np.ones(SHAPE, "<u1"), turned(0, (-1, 1, 1)))
segment("image.nii", "--boxes-from", "moved.nii", code=3, text="flipped")
write("empty.nii", np.zeros(SHAPE, "<u1"), straight)
segment("image.nii", "--boxes-from", "empty.nii", code=3, text="empty.nii: there is no label at all")
write("real.nii", values.astype("<f4") / 7, straight)
segment("image.nii", "--boxes-from", "real.nii", code=3, text="labels are whole numbers from 0 to 65535")
segment("image.nii", "--boxes-from", "nowhere.nii", code=3, text="nowhere.nii")
segment("image.nii", *FOLLOW, "--intensity", "none", code=2, text="choose an intensity rule")
with open("image.nii", "rb") as f, open("cut.nii", "wb") as g:
    g.write(f.read()[:9000])
segment("cut.nii", *FOLLOW, code=3, text="it is truncated")

# ---- labels beyond 255 stay what they are ---------------------------------------------------------------
labels = np.zeros(SHAPE, "<u2")
labels[ball] = 300
labels[2:9, 3:8, 2] = 7
write("labels.nii", labels, straight)
said = segment("image.nii", "--boxes-from", "labels.nii")
mask = nib.load("mask.nii.gz")
found = set(np.unique(np.asarray(mask.dataobj)))
if mask.get_data_dtype() != np.uint16 or not found <= {0, 7, 300} or 300 not in found:
    fail(f"labels: {mask.get_data_dtype()}, {found}")
if [row["label"] for row in said["labels"]] != [7, 300]:
    fail(f"labels: {said}")
print(f"{len(cases)} kinds of volume, and odd ones")
PY
