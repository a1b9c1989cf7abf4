"""What regions of two images are made of: cells with their values, and the limits of a region."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# No region covers more of an image's cells; a region of one cell is always allowed.
MOST_CELLS = 1 / 3


@dataclass(frozen=True, eq=False)
class Cells:
    """The r cells of one image.

    Attributes:
        grid: rows and columns.
        value: (r,), what each cell is worth in any region.
        free: (r,) bool, the cells that may lie in a region.
    """

    grid: tuple[int, int]
    value: Floats
    free: NDArray[np.bool_]

    @property
    def most(self) -> int:
        """The largest number of cells of a region."""
        return max(1, int(MOST_CELLS * len(self.value) + 1e-9))

    @cached_property
    def adjacent(self) -> NDArray[np.bool_]:
        return adjacency(self.grid)


@dataclass(frozen=True, eq=False)
class CellValues:
    """The cells of two images, and (r_a, r_b) what each pair of cells is worth if both are in the same region."""

    pairs: Floats
    a: Cells
    b: Cells


def adjacency(grid: tuple[int, int]) -> NDArray[np.bool_]:
    """(r, r): whether two cells of a grid have an edge in common.

    >>> adjacency((1, 3)).astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    distance = abs(row[:, None] - row) + abs(column[:, None] - column)
    return np.asarray(distance == 1)
