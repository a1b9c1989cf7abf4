"""Pasting an object on a picture: cut out, scaled, turned, moved, laid over.

Points are x, y in pixels; pixel 0 covers 0 to 1. An affine is ((a, b, c), (d, e, f)): x' = a x + b y + c,
y' = d x + e y + f.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Affine = tuple[tuple[float, float, float], tuple[float, float, float]]
Floats = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]

_MARGIN = 2  # transparent pixels around a layer, so that its edges are smooth after turning
_VISIBLE = 0.5  # opacity from which a pixel counts as object


@dataclass(frozen=True)
class Cutout:
    """An object on a plain ground.

    Attributes:
        image: the object on the ground, RGB.
        mask: its opacity, grey, of the same size.
        ground: the colour behind it.
    """

    image: Image.Image
    mask: Image.Image
    ground: tuple[int, int, int] = (255, 255, 255)

    @property
    def box(self) -> Box:
        """Left, top, right and bottom of what is visible of the object; the whole image if nothing is."""
        seen = Image.fromarray((opacity(self.mask) >= _VISIBLE).astype(np.uint8))
        return seen.getbbox() or (0, 0, *self.image.size)


@dataclass(frozen=True)
class Layer:
    """A cutout where it lies in a picture of height h and width w.

    Attributes:
        added: (h, w, 3) what the object adds to a picture, 0 to 255: its colour times its opacity.
        opacity: (h, w) 0 to 1.
    """

    added: Floats
    opacity: Floats

    def over(self, picture: Floats) -> Floats:
        """The layer laid over a picture (h, w, 3)."""
        return np.clip(self.added + (1 - self.opacity[..., None]) * picture, 0, 255)


def opacity(mask: Image.Image) -> Floats:
    """(h, w) a grey mask as numbers from 0 to 1."""
    grey: Floats = np.asarray(mask, np.float32)
    return grey / np.float32(255)


def ground_of(image: Image.Image, mask: Image.Image) -> tuple[int, int, int]:
    """The most frequent colour where the mask is 0; white if it is 0 nowhere."""
    behind = np.asarray(image)[np.asarray(mask) == 0]
    if not len(behind):
        return (255, 255, 255)
    codes, counts = np.unique(behind.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1]), return_counts=True)
    code = int(codes[counts.argmax()])
    return (code >> 16, code >> 8 & 255, code & 255)


def affine(box: Box, length: float, degrees: float, centre: tuple[float, float]) -> Affine:
    """The map that gives a box's longer side a length, turns it (clockwise on the screen), and moves its centre.

    >>> affine((0, 0, 10, 20), 40, 90, (100, 50))
    ((0.0, -2.0, 120.0), (2.0, 0.0, 40.0))
    """
    left, top, right, bottom = box
    scale, angle = length / max(right - left, bottom - top), math.radians(degrees)
    a, d = round(scale * math.cos(angle), 12), round(scale * math.sin(angle), 12)
    x, y = (left + right) / 2, (top + bottom) / 2
    return ((a, -d, centre[0] - a * x + d * y), (d, a, centre[1] - d * x - a * y))


def moved(points: npt.ArrayLike, by: Affine) -> npt.NDArray[np.float64]:
    """(n, 2) points after an affine.

    >>> moved([[1, 2]], ((2, 0, 10), (0, 2, 20))).tolist()
    [[12.0, 24.0]]
    """
    matrix = np.asarray(by, np.float64)
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def inverse(of: Affine) -> Affine:
    """The affine that undoes another.

    >>> inverse(((2, 0, 10), (0, 4, 20)))
    ((0.5, 0.0, -5.0), (0.0, 0.25, -5.0))
    """
    matrix = np.linalg.inv(np.vstack([np.asarray(of, np.float64), [0, 0, 1]])) + 0.0
    (a, b, c), (d, e, f) = matrix[:2].tolist()
    return ((a, b, c), (d, e, f))


def place(cutout: Cutout, by: Affine, size: tuple[int, int]) -> Layer:
    """A cutout after an affine that scales, turns and moves, in a picture of width and height `size`."""
    # Reduced before it is turned: turning alone would sample single pixels and alias. Neither step may overshoot, as
    # bicubic sampling does: the mask would clip that and the colours would not, which shows as a halo.
    reduction = min(1.0, math.hypot(by[0][0], by[1][0]))
    width, height = (max(1, round(side * reduction)) for side in cutout.image.size)
    across, down = width / cutout.image.width, height / cutout.image.height
    back = inverse(by)
    matrix = [
        *(value * across for value in back[0]),
        *(value * down for value in back[1]),
    ]
    matrix[2] += _MARGIN
    matrix[5] += _MARGIN
    turned = []
    for picture, outside in ((cutout.image, cutout.ground), (cutout.mask, 0)):
        reduced = picture.resize((width, height), Image.Resampling.BOX if reduction < 1 else Image.Resampling.NEAREST)
        padded = Image.new(picture.mode, (width + 2 * _MARGIN, height + 2 * _MARGIN), outside)
        padded.paste(reduced, (_MARGIN, _MARGIN))
        turned.append(
            padded.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=outside)
        )
    seen = opacity(turned[1])
    ground = np.asarray(cutout.ground, np.float32)
    return Layer(np.asarray(turned[0], np.float32) - (1 - seen[..., None]) * ground, seen)


def share_covered(below: Floats, above: Floats) -> float:
    """The share of an object's opacity that another one lies over."""
    return float((below * above).sum() / max(float(below.sum()), 1e-9))
