# SPDX-License-Identifier: Apache-2.0
"""Automatic mask generation in PyTorch and NumPy, from the description of SamAutomaticMaskGenerator: whole pictures, one
list of candidates, no run lengths."""
import math

from sam_reference import np, torch

EDGE = 20


class Candidate:
    """One mask of one point, in the whole image."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


def crops_of(h, w, layers, ratio):
    yield 0, (0, 0, w, h)
    for layer in range(1, layers + 1):
        n = 2**layer
        overlap = int(ratio * min(h, w) * (2 / n))
        cw, ch = (math.ceil((overlap * (n - 1) + length) / n) for length in (w, h))
        for i in range(n):
            for k in range(n):
                x, y = (cw - overlap) * i, (ch - overlap) * k
                yield layer, (x, y, min(x + cw, w), min(y + ch, h))


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (columns[0], rows[0], columns[-1], rows[-1]) if len(rows) else (0, 0, 0, 0)


def candidates(model, image, side, layers=0, factor=1, ratio=512 / 1500, offset=1.0):
    """All masks of all points of all crops that are not cut off by the edge of their crop."""
    h, w = image.shape[:2]
    for layer, crop in crops_of(h, w, layers, ratio):
        x0, y0, x1, y1 = crop
        prepared, resized = model.preprocess(np.ascontiguousarray(image[y0:y1, x0:x1]))
        embedding = model.encode(prepared)
        n = side // factor**layer
        at = (np.arange(n) + 0.5) / n
        points = [(u * (x1 - x0), v * (y1 - y0)) for v in at for u in at]
        sx, sy = resized[1] / (x1 - x0), resized[0] / (y1 - y0)
        sparse = torch.cat([model.sparse(points=[(u * sx, v * sy, 1)]) for u, v in points])
        logits, ious = model.decode_tokens(embedding, sparse, model.dense())
        maps = model.full_size(logits[:, 1:], resized, (y1 - y0, x1 - x0)).numpy()
        for i, (u, v) in enumerate(points):
            for k in range(maps.shape[1]):
                mask = np.zeros((h, w), bool)
                mask[y0:y1, x0:x1] = maps[i, k] > 0
                stability = (maps[i, k] > offset).sum() / max((maps[i, k] > -offset).sum(), 1)
                box = box_of(mask) if mask.any() else (x0, y0, x0, y0)
                cut = any(abs(b - c) <= EDGE and abs(b - e) > EDGE for b, c, e in zip(box, crop, (0, 0, w, h)))
                if not cut:
                    yield Candidate(iou=float(ious[i, 1 + k]), stability=float(stability), mask=mask, box=box,
                                    crop=crop, point=(u + x0, v + y0))


def overlap(a, b):
    w, h = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    area = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - w * h
    return w * h / area if area else 0


def suppress(found, score, threshold):
    kept = []
    for c in sorted(found, key=score, reverse=True):  # stable
        if all(overlap(c.box, other.box) <= threshold for other in kept):
            kept.append(c)
    return kept


def without_small_regions(mask, least):
    """-> mask, changed"""
    from scipy import ndimage

    changed = False
    for holes in True, False:
        number, n = ndimage.label(mask != holes, np.ones((3, 3)))
        sizes = np.bincount(number.ravel(), minlength=n + 1)[1:]
        small = 1 + np.flatnonzero(sizes < least)
        if not len(small):
            continue
        changed = True
        if holes:
            mask = mask | np.isin(number, small)
        else:
            kept = [i for i in range(1, n + 1) if i not in small] or [1 + int(np.argmax(sizes))]
            mask = np.isin(number, kept)
    return mask, changed


def choose(found, iou, stability, nms, crop_nms=0.7, least=0):
    """What of the candidates stays, in the official order."""
    found = [c for c in found if c.iou > iou and c.stability >= stability]
    crops = list(dict.fromkeys(c.crop for c in found))
    kept = [c for crop in crops for c in suppress([d for d in found if d.crop == crop], lambda d: d.iou, nms)]
    if any(c.crop != crops[0] for c in kept):
        kept = suppress(kept, lambda c: -(c.crop[2] - c.crop[0]) * (c.crop[3] - c.crop[1]), crop_nms)
    if least:
        for c in kept:
            c.mask, c.changed = without_small_regions(c.mask, least)
            c.box = box_of(c.mask) if c.changed else c.box
        kept = suppress(kept, lambda c: not c.changed, max(nms, crop_nms))
    return kept


def clear_of(values, near, width):
    """A threshold within `width` of `near` that is as far from all values as possible."""
    inside = sorted(v for v in values if abs(v - near) < width)
    edges = [near - width, *inside, near + width]
    gap, i = max((b - a, i) for i, (a, b) in enumerate(zip(edges, edges[1:])))
    return edges[i] + gap / 2
