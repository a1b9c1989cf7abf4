"""The same model on other matching grids, its input enlarged where the backbone's map is too coarse."""

from __future__ import annotations

import dataclasses
import math

import torch

from diml.embedding import Encoder
from diml.errors import UsageError, first_line
from diml.model import StructuralModel

Grid = tuple[int, int]


@torch.no_grad()
def at_grid(model: StructuralModel, grid: Grid) -> StructuralModel:
    """The model, sharing its weights, with that matching grid; its input grows by a whole factor where it has to.

    A backbone that gives 7 x 7 cells of 224 pixels gives 14 x 14 of 448, its cells seeing as many pixels as before.

    Raises:
        UsageError: the backbone does not take pixels of another size, or does not give more cells for them.
    """
    rows, columns = _map_size(model, model.encoder.preprocessing.size)
    factor = math.ceil(max(grid[0] / rows, grid[1] / columns))
    if factor <= 1:
        return model.with_grid(grid)
    old = model.encoder
    height, width = (side * factor for side in old.preprocessing.size)
    words = f"a grid of {grid[0]}x{grid[1]} takes pixels {height}x{width}, which the backbone of {model.name}"
    try:
        rows, columns = _map_size(model, (height, width))
    except Exception as error:  # whatever a foreign module raises for a size that it was not made for
        raise UsageError(f"{words} refuses ({first_line(error)}); ask for at most {rows}x{columns}") from error
    if rows < grid[0] or columns < grid[1]:
        raise UsageError(f"{words} makes {rows}x{columns} cells of; ask for at most that")
    pixels = dataclasses.replace(old.preprocessing, size=(height, width))
    encoder = Encoder(old.backbone, pixels, old.head, grid, old.resampling)
    return StructuralModel(encoder.eval(), model.matcher, model.name, model.head_fitted_on)


def _map_size(model: StructuralModel, size: tuple[int, int]) -> Grid:
    encoder = model.encoder.eval()
    output = encoder.backbone(torch.zeros(1, 3, *size, device=encoder.device))
    features = output[0] if isinstance(output, tuple) else output
    return features.shape[2], features.shape[3]
