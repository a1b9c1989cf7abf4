"""Occlusion: how much the similarity drops when a part of one image is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from diml.errors import UsageError
from diml.explanation.methods.method import MethodInput, MethodResult
from diml.explanation.methods.pixels import embed_pixels, filling, hidden, input_pixels


@dataclass(frozen=True)
class Occlusion:
    """Similarity-based saliency (SBSM): a window slides over one image, and the drop of the similarity is the heat.

    `heat_i = mean over the windows that cover cell i of (s(a, b) - s(a without the window, b))` (Dong, Collins, Hoogs,
    *Explainability for Content-Based Image Retrieval*, CVPR Workshops 2019). Only one image is covered, so the other
    has no heat. It embeds one image per window, and its heat has no sum of its own.

    Args:
        name: of this variant.
        window: side of the window in cells, >= 1; it moves by one cell.
        fill: what hides a cell, see `FILLS`.
        batch_size: images per pass of the model.
        side: the image that the window slides over, "a" or "b".

    Raises:
        UsageError: `window` < 1, an unknown fill, or another side.
    """

    name: str = "sbsm"
    window: int = 1
    fill: str = "mean"
    batch_size: int = 32
    side: str = "a"
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = False

    def __post_init__(self) -> None:
        filling(self.fill)
        if self.window < 1:
            raise UsageError(f"expected a window of at least 1 cell, got {self.window}")
        if self.side not in ("a", "b"):
            raise UsageError(f"expected a or b as the side to cover, got {self.side!r}")

    @property
    def summary(self) -> str:
        return f"how far the similarity falls when a cell of {self.side.upper()} is painted over with the mean colour"

    @property
    def limitation(self) -> str:
        other = "B" if self.side == "a" else "A"
        return f"it says nothing about {other}, and what the cells take away need not sum to the similarity"

    def explain(self, pair: MethodInput) -> MethodResult:
        covers_a = self.side == "a"
        model, grid = pair.model, (pair.maps_a if covers_a else pair.maps_b).grid
        pixels = input_pixels(model, pair.image_a if covers_a else pair.image_b)
        covered = windows(grid, self.window)
        copies = hidden(pixels, filling(self.fill)(pixels), covered, grid)
        maps = embed_pixels(model, torch.cat([pixels[None], copies]), self.batch_size)
        every = torch.arange(len(maps))
        only = torch.zeros_like(every)
        if covers_a:
            scores = model.matcher.pairs(maps, pair.maps_b.to(maps.device), every, only).similarity
        else:
            scores = model.matcher.pairs(pair.maps_a.to(maps.device), maps, only, every).similarity
        drop = (scores[0] - scores[1:]).double().cpu()
        weight = covered.double()
        heat = (weight.mT @ drop / weight.sum(dim=0)).reshape(grid)
        return MethodResult(heat_a=heat) if covers_a else MethodResult(heat_b=heat)


def windows(grid: tuple[int, int], side: int) -> Bool[Tensor, "n r"]:
    """The cells under each position of a square window, no larger than the grid; every cell is covered at least once.

    >>> windows((1, 3), 2).int()
    tensor([[1, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """
    rows, columns = _positions(grid[0], side), _positions(grid[1], side)
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(len(rows) * len(columns), -1)


def _positions(cells: int, side: int) -> Bool[Tensor, "n cells"]:
    side = min(side, cells)
    first, cell = torch.arange(cells - side + 1)[:, None], torch.arange(cells)
    return (cell >= first) & (cell < first + side)
