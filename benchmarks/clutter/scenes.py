"""Gallery images: an object on a photograph, alone, occluded, or beside another object; all choices are random."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.clutter.layers import Affine, Cutout, Floats, Layer, affine, moved, opacity, place, share_covered

KINDS = {"alone": 0.4, "behind-photograph": 0.2, "behind-object": 0.2, "beside-object": 0.2}
"""What there is besides the object, and how often."""

LENGTHS = (0.35, 0.7)
"""The longer side of the object, as a share of the picture's side."""

TURN = 25.0
"""An object is turned by at most so many degrees either way."""

COVERED = (0.2, 0.5)
"""The share of an occluded object that is covered."""

_TRIES = 40


@dataclass(frozen=True)
class Scene:
    """A gallery image, and what is known of it.

    Attributes:
        picture: (h, w, 3) the pixels, 0 to 255.
        visible: (h, w) opacity of the object, without what is covered.
        other: (h, w) opacity of the occluder or of the other object; None without one.
        facts: kind, affine, covered (share), and other_affine, for the metadata.
    """

    picture: Floats
    visible: Floats
    other: Floats | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def random_for(path: str, seed: int) -> np.random.Generator:
    """A generator that depends on the path and the seed alone, not on what was built before."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:8], "big"))


def kind_of(random: np.random.Generator) -> str:
    return str(random.choice(list(KINDS), p=list(KINDS.values())))


def crop(photograph: Image.Image, side: int, random: np.random.Generator) -> tuple[Image.Image, list[int]]:
    """A random square of half to all of a photograph's shorter side, mirrored or not; and left, top, side, mirrored."""
    length = int(min(photograph.size) * random.uniform(0.5, 1))
    left, top = (int(random.integers(0, extent - length + 1)) for extent in photograph.size)
    square = photograph.resize((side, side), Image.Resampling.LANCZOS, (left, top, left + length, top + length))
    mirrored = bool(random.integers(2))
    square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else square
    return square, [left, top, length, int(mirrored)]


def compose(cutout: Cutout, ground: Image.Image, kind: str, other: Cutout | None, random: np.random.Generator) -> Scene:
    """Paste a cutout at a random place, size and turn on a square photograph; `other` lies over it or beside it.

    A kind for which no place is found after many tries becomes "alone".
    """
    side = ground.width
    picture = np.asarray(ground, np.float32)
    lengths = (LENGTHS[0], 0.5) if kind == "beside-object" else LENGTHS
    by = _somewhere(cutout, side, lengths, random)
    layer = place(cutout, by, (side, side))
    found = None
    if other is not None and kind == "beside-object":
        found = _beside(layer.opacity, other, side, random)
    elif other is not None and kind != "alone":
        found = occlude(layer.opacity, other, side, random)
    facts: dict[str, Any] = {"kind": kind if found else "alone", "affine": by, "covered": 0.0}
    picture = layer.over(picture)
    if found is None:
        return Scene(picture, layer.opacity, None, facts)
    other_by, above = found
    facts |= {"covered": round(share_covered(layer.opacity, above.opacity), 4), "other_affine": other_by}
    return Scene(above.over(picture), layer.opacity * (1 - above.opacity), above.opacity, facts)


def whole(ground: Image.Image) -> Cutout:
    """A piece of photograph as something to paste."""
    return Cutout(ground, Image.new("L", ground.size, 255))


def _somewhere(cutout: Cutout, side: int, lengths: tuple[float, float], random: np.random.Generator) -> Affine:
    """A random affine that leaves the whole of the object in the picture."""
    length, degrees = side * random.uniform(*lengths), random.uniform(-TURN, TURN)
    centred = affine(cutout.box, length, degrees, (0, 0))
    left, top, right, bottom = cutout.box
    corners = moved([(left, top), (right, top), (right, bottom), (left, bottom)], centred)
    x, y = (random.uniform(extent, side - extent) for extent in corners.max(axis=0))
    return affine(cutout.box, length, degrees, (float(x), float(y)))


def _beside(taken: Floats, other: Cutout, side: int, random: np.random.Generator) -> tuple[Affine, Layer] | None:
    for _ in range(_TRIES):
        by = _somewhere(other, side, (0.3, 0.5), random)
        layer = place(other, by, (side, side))
        if share_covered(taken, layer.opacity) == 0:
            return by, layer
    return None


def occlude(below: Floats, other: Cutout, side: int, random: np.random.Generator) -> tuple[Affine, Layer] | None:
    """Slide an occluder in from a random side until it covers about as much of an object as drawn (see COVERED).

    Args:
        below: (h, w) opacity of the object.
        other: the occluder.
        side: width and height of the picture.
        random: of all choices.

    Returns:
        The occluder's affine and layer; None if it does not cover the right share after many tries.
    """
    ys, xs = np.nonzero(below > 0.5)
    if not len(xs):
        return None
    middle = np.array([xs.mean(), ys.mean()]) + 0.5
    size = float(max(np.ptp(xs), np.ptp(ys)) + 1)
    for _ in range(_TRIES):
        wanted, degrees = random.uniform(*COVERED), random.uniform(-TURN, TURN)
        length, direction = size * random.uniform(0.7, 1.2), random.uniform(0, 2 * math.pi)
        towards = np.array([math.cos(direction), math.sin(direction)])
        centres: npt.NDArray[np.float64] = middle + np.linspace(size + length, 0, 25)[:, None] * towards
        ways = [affine(other.box, length, degrees, (float(x), float(y))) for x, y in centres]
        # Each pixel of the object looks up the occluder's mask: cheaper than placing the occluder 25 times.
        covered = [_covered_by_lookup(below, xs, ys, other, by) for by in ways]
        by = ways[int(np.argmin([abs(share - wanted) for share in covered]))]
        layer = place(other, by, (side, side))
        if COVERED[0] <= share_covered(below, layer.opacity) <= COVERED[1]:
            return by, layer
    return None


def _covered_by_lookup(
    below: Floats, xs: npt.NDArray[np.int64], ys: npt.NDArray[np.int64], other: Cutout, by: Affine
) -> float:
    (a, b, _), (d, e, _) = by
    determinant = a * e - b * d
    x, y = xs + 0.5 - by[0][2], ys + 0.5 - by[1][2]
    source_x = np.floor((e * x - b * y) / determinant).astype(np.int64)
    source_y = np.floor((a * y - d * x) / determinant).astype(np.int64)
    mask = opacity(other.mask)
    inside = (source_x >= 0) & (source_x < mask.shape[1]) & (source_y >= 0) & (source_y < mask.shape[0])
    weight = below[ys, xs]
    return float((weight[inside] * mask[source_y[inside], source_x[inside]]).sum() / weight.sum())
