"""The same model on other matching grids, with a larger input where the backbone's map is too coarse."""

from __future__ import annotations

import dataclasses
import math

import torch

from diml.errors import UsageError, first_line
from diml.model import StructuralModel

Grid = tuple[int, int]


@torch.no_grad()
def at_grid(model: StructuralModel, grid: Grid) -> StructuralModel:
    """The model, sharing its weights, with another matching grid; its input grows by a whole factor if it has to.

    A backbone that gives 7 x 7 cells for 224 pixels gives 14 x 14 for 448, each covering as many pixels as before.

    Raises:
        UsageError: the backbone does not take a larger input, or gives no more cells for it.
    """
    rows, columns = _map_size(model, model.encoder.preprocessing.size)
    factor = math.ceil(max(grid[0] / rows, grid[1] / columns))
    if factor <= 1:
        return model.with_grid(grid)
    old = model.encoder
    height, width = (side * factor for side in old.preprocessing.size)
    needs = f"a grid of {grid[0]}x{grid[1]} needs an input of {height}x{width} pixels, "
    try:
        rows, columns = _map_size(model, (height, width))
    except Exception as error:  # the backbone may raise anything for a size that it does not support
        raise UsageError(
            f"{needs}which the backbone of {model.name} refuses ({first_line(error)}); use at most {rows}x{columns}"
        ) from error
    if rows < grid[0] or columns < grid[1]:
        raise UsageError(
            f"{needs}for which the backbone of {model.name} gives {rows}x{columns} cells; use at most these"
        )
    pixels = dataclasses.replace(old.preprocessing, size=(height, width))
    return model.replace(encoder=old.replace(preprocessing=pixels, grid=grid).eval())


def _map_size(model: StructuralModel, size: tuple[int, int]) -> Grid:
    encoder = model.encoder.eval()
    output = encoder.backbone(torch.zeros(1, 3, *size, device=encoder.device))
    features = output[0] if isinstance(output, tuple) else output
    return features.shape[2], features.shape[3]
