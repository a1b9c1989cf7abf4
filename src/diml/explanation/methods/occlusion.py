"""Occlusion: how much the similarity drops when a piece of one image is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from diml.errors import UsageError
from diml.explanation.methods.method import MethodResult, one_each
from diml.explanation.methods.pixels import embed_pixels, filling, hidden, input_pixels
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True)
class Occlusion:
    """Similarity-based saliency (SBSM): a window slides over image a, and the similarity's drop is laid on its cells.

    `heat_i = mean over the windows that cover cell i of (s(a, b) - s(a without the window, b))` (Dong, Collins, Hoogs,
    *Explainability for Content-Based Image Retrieval*, CVPR Workshops 2019). One image is hidden, so there is no
    `heat_b`. It costs one pass of the model per window, and its heat sums to nothing in particular.

    Args:
        name: of this variant.
        window: side of the window in cells; it moves by one cell.
        fill: what hides a cell, see `FILLS`.
        batch_size: hidden copies per pass of the model.

    Raises:
        UsageError: a window below 1, or an unknown fill.
    """

    name: str = "sbsm"
    window: int = 1
    fill: str = "mean"
    batch_size: int = 32
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = False

    def __post_init__(self) -> None:
        filling(self.fill)
        if self.window < 1:
            raise UsageError(f"a window of {self.window} cells came; expected at least 1")

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        one_each(maps_a, maps_b)
        pixels = input_pixels(model, image_a)
        covered = windows(maps_a.grid, self.window)
        copies = hidden(pixels, filling(self.fill)(pixels), covered, maps_a.grid)
        maps = embed_pixels(model, torch.cat([pixels[None], copies]), self.batch_size)
        every = torch.arange(len(maps))
        scores = model.matcher.pairs(maps, maps_b.to(maps.device), every, torch.zeros_like(every)).similarity
        drop = (scores[0] - scores[1:]).double().cpu()
        weight = covered.double()
        return MethodResult(heat_a=(weight.mT @ drop / weight.sum(dim=0)).reshape(maps_a.grid))


def windows(grid: tuple[int, int], side: int) -> Bool[Tensor, "n r"]:
    """The cells under every place of a square window, cut to the grid where it is larger; every cell is under one.

    >>> windows((1, 3), 2).int()
    tensor([[1, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """
    rows, columns = _places(grid[0], side), _places(grid[1], side)
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(len(rows) * len(columns), -1)


def _places(cells: int, side: int) -> Bool[Tensor, "n cells"]:
    side = min(side, cells)
    first, cell = torch.arange(cells - side + 1)[:, None], torch.arange(cells)
    return (cell >= first) & (cell < first + side)
