"""Known correspondences without annotation: affine maps of an image, and where each of its points goes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageStat
from torch import Tensor

from diml.faithfulness.pairs import KnownPoints

Linear = tuple[tuple[float, float], tuple[float, float]]
Size = tuple[int, int]
STRAIGHT: Linear = ((1.0, 0.0), (0.0, 1.0))
MIRRORED: Linear = ((-1.0, 0.0), (0.0, 1.0))
# Points followed in an image, per side.
SIDE = 12


@dataclass(frozen=True)
class Warp:
    """`x' = L (x - c) + c + shift * size` with c the middle of the image; x to the right, y down, in pixels.

    Attributes:
        name: as reports print it.
        linear: L, ((x by x, x by y), (y by x, y by y)).
        shift: as shares of width and height.
        occluder: `x0, y0, x1, y1` as shares of the warped image: a box in the mean colour laid over it.

    The warped image has the size of the original; what lies outside the original gets its mean colour.

    >>> flip = Warp("flip", MIRRORED)
    >>> flip.moved(torch.tensor([[10.0, 5.0]]), (100, 50)).tolist()
    [[90.0, 5.0]]
    """

    name: str
    linear: Linear = STRAIGHT
    shift: tuple[float, float] = (0.0, 0.0)
    occluder: tuple[float, float, float, float] | None = None

    def moved(self, points: Float[Tensor, "k 2"], size: Size) -> Float[Tensor, "k 2"]:
        """Where points of the original, (k, 2), lie in the warped image, possibly outside it."""
        linear = torch.tensor(self.linear, dtype=torch.float64)
        return (points.double() - _middle(size)) @ linear.mT + _middle(size) + self._offset(size)

    def shows(self, points: Float[Tensor, "k 2"], size: Size) -> Bool[Tensor, " k"]:
        """Whether points of the warped image lie within it and not under the occluder."""
        x, y = points[:, 0] / size[0], points[:, 1] / size[1]
        within = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
        if self.occluder is None:
            return within
        x0, y0, x1, y1 = self.occluder
        return within & ~((x >= x0) & (x < x1) & (y >= y0) & (y < y1))

    def apply(self, image: Image.Image) -> Image.Image:
        """The warped image."""
        fill = tuple(round(value) for value in ImageStat.Stat(image).mean)
        inverse = torch.tensor(self.linear, dtype=torch.float64).inverse()
        middle = _middle(image.size)
        start = middle - inverse @ (middle + self._offset(image.size))
        rows = torch.cat([inverse, start[:, None]], dim=1).flatten().tolist()
        warped = image.transform(image.size, Image.Transform.AFFINE, rows, Image.Resampling.BICUBIC, fillcolor=fill)
        if self.occluder is not None:
            x0, y0, x1, y1 = (share * side for share, side in zip(self.occluder, image.size * 2, strict=True))
            box = (round(x0), round(y0), round(x1) - 1, round(y1) - 1)
            ImageDraw.Draw(warped).rectangle(box, fill=fill)
        return warped

    def points(self, size: Size) -> KnownPoints:
        """`SIDE` x `SIDE` evenly spaced points of the original, those of them that the warped image shows.

        `mirrored` holds the counterparts reflected left to right.
        """
        x, y = ((torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE * side for side in size)
        every = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        there = self.moved(every, size)
        shown = self.shows(there, size)
        there = there[shown]
        mirrored = torch.stack([size[0] - there[:, 0], there[:, 1]], dim=1)
        return KnownPoints(every[shown], there, mirrored)

    def _offset(self, size: Size) -> Float[Tensor, "2"]:
        return torch.tensor([self.shift[0] * size[0], self.shift[1] * size[1]], dtype=torch.float64)


def _middle(size: Size) -> Float[Tensor, "2"]:
    return torch.tensor(size, dtype=torch.float64) / 2


def _scaled(factor: float, mirror: bool = False) -> Linear:
    return ((-factor if mirror else factor, 0.0), (0.0, factor))


def _turned(degrees: float) -> Linear:
    turn = math.radians(degrees)
    return ((math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn)))


WARPS = (
    Warp("same"),
    Warp("flip", MIRRORED),
    Warp("crop", _scaled(1.4)),
    Warp("corner", _scaled(1.5), (0.25, 0.25)),
    Warp("flip+crop", _scaled(1.4, mirror=True), (0.1, 0.0)),
    Warp("smaller", _scaled(0.6), (0.15, -0.1)),
    Warp("turn 30", _turned(30)),
    Warp("shear", ((1.0, 0.3), (0.0, 1.0))),
    Warp("occluder", occluder=(0.1, 0.25, 0.6, 0.75)),
)
