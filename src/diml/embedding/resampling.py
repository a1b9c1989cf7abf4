"""Resampling from the backbone's grid to the matching grid, keeping the mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError

Resample = Callable[[Float[Tensor, "n c h w"], tuple[int, int]], Float[Tensor, "n c p q"]]


@lru_cache(maxsize=64)
def area_matrix(cells: int, to: int) -> Float[Tensor, "to cells"]:
    """(to, cells) float64: the share that each of `cells` equal intervals has in each of `to` equal intervals.

    Rows sum to 1 and columns to `to / cells`, so that the outputs have the mean of the inputs. For 7 -> 4, neither
    `adaptive_avg_pool2d` nor `interpolate(mode="area")` has this property, because their windows overlap.

    >>> area_matrix(3, 2)
    tensor([[0.6667, 0.3333, 0.0000],
            [0.0000, 0.3333, 0.6667]], dtype=torch.float64)
    """
    edges_in = torch.arange(cells + 1, dtype=torch.float64) / cells
    edges_out = torch.arange(to + 1, dtype=torch.float64) / to
    upper = torch.minimum(edges_out[1:, None], edges_in[None, 1:])
    lower = torch.maximum(edges_out[:-1, None], edges_in[None, :-1])
    return (upper - lower).clamp(min=0) * to


def area(maps: Float[Tensor, "n c h w"], grid: tuple[int, int]) -> Float[Tensor, "n c p q"]:
    """Each output cell is the area-weighted mean of the input cells it covers; the mean of the map does not change.

    >>> import torch
    >>> maps = torch.rand(1, 3, 7, 7, dtype=torch.float64)
    >>> (area(maps, (4, 4)).mean((2, 3)) - maps.mean((2, 3))).abs().max().item() < 1e-15
    True
    """
    height, width = maps.shape[2:]
    if (height, width) == tuple(grid):
        return maps
    rows, columns = area_matrix(height, grid[0]).to(maps), area_matrix(width, grid[1]).to(maps)
    return rows @ maps @ columns.mT


def bilinear16(maps: Float[Tensor, "n c h w"], grid: tuple[int, int]) -> Float[Tensor, "n c p q"]:
    """As in the paper, to reproduce its numbers: bilinear resizing to 16x16, then average pooling to the grid.

    This changes the mean, so that similarities have a residual. The grid's sides must divide 16.
    """
    if 16 % grid[0] or 16 % grid[1]:
        raise UsageError(
            f"expected a grid whose sides divide 16 for bilinear16, got {grid[0]}x{grid[1]}; use 4x4, or area"
        )
    return F.avg_pool2d(
        F.interpolate(maps, size=(16, 16), mode="bilinear", align_corners=False), (16 // grid[0], 16 // grid[1])
    )


RESAMPLINGS: Mapping[str, Resample] = {"area": area, "bilinear16": bilinear16}
