"""Correct keypoints: does a part correspond to the cell in which its known counterpart lies?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.faithfulness.pairs import KnownPoints

Grid = tuple[int, int]
Size = tuple[int, int]


@dataclass(frozen=True)
class CorrectKeypoints:
    """How well a correspondence finds the known points of one pair: means over the points, 0..1; NaN without points.

    Attributes:
        points: their number.
        right: share of the points whose strongest counterpart is the right cell; equally strong ones count in part.
        near: the same for the right cell or one of the eight around it.
        mass: share of the row's mass that lies on the right cell.
        confused: share of the points whose strongest counterpart is the cell of the mirrored point; only points whose
            mirrored point lies in another cell are counted.
        chance: `right` of a random cell: one over the number of cells.
        best: the largest possible `right`: all points of a cell share one answer, but may lie in several cells of b.
    """

    points: int
    right: float
    near: float
    mass: float
    confused: float
    chance: float
    best: float


def correct_keypoints(
    correspondence: Float[Tensor, "r_a r_b"], points: KnownPoints, size: Size, grid_a: Grid, grid_b: Grid
) -> CorrectKeypoints:
    """Score a correspondence against known points.

    Args:
        correspondence: strengths >= 0; a row of zeros counts as a guess among all cells.
        points: in pixels of images of size `size`.
        size: width and height of both images.
        grid_a, grid_b: (rows, columns) of the two images.

    >>> middle = torch.tensor([[5.0, 5.0]])
    >>> points = KnownPoints(middle, middle, torch.full((1, 2), torch.nan))
    >>> correct_keypoints(torch.eye(4), points, (20, 20), (2, 2), (2, 2)).right
    1.0
    """
    if not len(points):
        nan = float("nan")
        return CorrectKeypoints(0, nan, nan, nan, nan, 1 / (grid_b[0] * grid_b[1]), nan)
    here, there = cells_at(points.a, size, grid_a), cells_at(points.b, size, grid_b)
    rows = correspondence.double()[here]
    strongest = (rows == rows.amax(dim=1, keepdim=True)).double()
    strongest = strongest / strongest.sum(dim=1, keepdim=True)
    total = rows.sum(dim=1, keepdim=True)
    shares = torch.where(total > 0, rows / total.clamp(min=1e-300), 1 / rows.shape[1])
    known = ~points.mirrored.isnan().any(dim=1)
    mirrored = there.clone()
    mirrored[known] = cells_at(points.mirrored[known], size, grid_b)
    differ = mirrored != there
    return CorrectKeypoints(
        len(points),
        right=float(_at(strongest, there).mean()),
        near=float((strongest * neighbours(grid_b)[there]).sum(dim=1).mean()),
        mass=float(_at(shares, there).mean()),
        confused=float(_at(strongest, mirrored)[differ].mean()),
        chance=1 / rows.shape[1],
        best=_best(here, there, rows.shape[1]),
    )


def _best(here: Int[Tensor, " k"], there: Int[Tensor, " k"], cells_b: int) -> float:
    """The share of the points that lie in the cell of b in which most points of their cell of a lie."""
    together = torch.bincount(here * cells_b + there, minlength=(int(here.max()) + 1) * cells_b)
    return float(together.reshape(-1, cells_b).amax(dim=1).sum()) / len(here)


def cells_at(points: Float[Tensor, "k 2"], size: Size, grid: Grid) -> Int[Tensor, " k"]:
    """The cell that each point (x, y) lies in; a point on or beyond the border belongs to the nearest cell."""
    column = (points[:, 0] * grid[1] / size[0]).floor().clamp(0, grid[1] - 1)
    row = (points[:, 1] * grid[0] / size[1]).floor().clamp(0, grid[0] - 1)
    return (row * grid[1] + column).long()


def neighbours(grid: Grid) -> Float[Tensor, "r r"]:
    """1 where two cells are the same or touch, also at a corner; else 0."""
    rows, columns = (((torch.arange(n)[:, None] - torch.arange(n)).abs() <= 1).double() for n in grid)
    return torch.kron(rows, columns)


def _at(rows: Tensor, cells: Tensor) -> Tensor:
    return rows.gather(1, cells[:, None])[:, 0]
