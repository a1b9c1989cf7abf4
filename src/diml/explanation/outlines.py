"""The outline of a set of cells of an image, as closed polygons in pixels of the original."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.explanation.marks import Box, Size, cell_of

if TYPE_CHECKING:
    from diml.feature_maps import FeatureMaps

Cell = tuple[int, int]
Point = tuple[float, float]
# A closed polygon: the last point is joined to the first. The cells lie to the right of its edges as y points down.
Loop = list[Point]


@dataclass(frozen=True)
class CellGrid:
    """The cells of an image: rows and columns, and the box of each cell, row by row, in pixels of the original."""

    grid: tuple[int, int]
    boxes: Sequence[Box]

    @classmethod
    def of(cls, maps: FeatureMaps, size: Size) -> CellGrid:
        """The cells of an image's maps (n = 1), of `size` where the geometry is unknown."""
        return cls(maps.grid, [cell_of(maps, i, size) for i in range(maps.parts)])

    def box(self, cell: Cell) -> Box:
        return self.boxes[cell[0] * self.grid[1] + cell[1]]

    def around(self, cells: Sequence[Cell]) -> Box:
        """The box around some cells, at least one."""
        x0, y0, x1, y1 = zip(*(self.box(cell) for cell in cells), strict=True)
        return min(x0), min(y0), max(x1), max(y1)


def outline(cells: Iterable[Cell], of: CellGrid, inset: Point = (0.0, 0.0)) -> list[Loop]:
    """The polygons around cells of an image; a hole is a polygon of its own.

    Args:
        cells: (row, column) of each.
        of: where the cells of the image lie.
        inset: how far (x, y) to shift the edges towards the cells, in pixels.
    """
    rows, columns = of.grid
    across, down = [of.box((0, column)) for column in range(columns)], [of.box((row, 0)) for row in range(rows)]
    x = [across[0][0], *(box[2] for box in across)]
    y = [down[0][1], *(box[3] for box in down)]
    return [_shifted(loop, x, y, inset) for loop in grid_loops(cells)]


def grid_loops(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The corners (row, column of grid lines) of the polygons around cells, clockwise; those of holes run backwards.

    >>> grid_loops([(0, 0), (0, 1)])
    [[(0, 0), (0, 2), (1, 2), (1, 0)]]
    """
    inside = set(cells)
    edges: dict[Cell, list[Cell]] = defaultdict(list)
    for row, column in sorted(inside):
        corners = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)]
        beyond = [(row - 1, column), (row, column + 1), (row + 1, column), (row, column - 1)]
        for k, neighbour in enumerate(beyond):
            if neighbour not in inside:
                edges[corners[k]].append(corners[(k + 1) % 4])
    loops = []
    while edges:
        start = min(edges)
        loops.append(_without_straight(_traced(start, edges)))
    return loops


def _traced(start: Cell, edges: dict[Cell, list[Cell]]) -> list[Cell]:
    loop, at, towards = [start], start, (0, 0)
    while True:
        # Where two cells touch at a corner, turning right stays with the same cell.
        ends = edges[at]
        end = next((each for each in ends if _step(at, each) == (towards[1], -towards[0])), ends[0])
        ends.remove(end)
        if not ends:
            del edges[at]
        towards = _step(at, end)
        if end == start:
            return loop
        loop.append(end)
        at = end


def _without_straight(loop: list[Cell]) -> list[Cell]:
    """Only the points where the outline turns."""
    beside = zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True)
    return [point for before, point, after in beside if _step(before, point) != _step(point, after)]


def _shifted(loop: list[Cell], x: Sequence[float], y: Sequence[float], inset: Point) -> Loop:
    """The corners in pixels, each shifted to the right of both its edges."""
    points = []
    for before, point, after in zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True):
        steps = _step(before, point), _step(point, after)
        # To the right of a step (down, across) lies (across, -down).
        right, below = sum(-down for down, _ in steps), sum(across for _, across in steps)
        points.append((x[point[1]] + right * inset[0], y[point[0]] + below * inset[1]))
    return points


def _step(start: Cell, end: Cell) -> Cell:
    """The direction (down, across) of an edge, each -1, 0 or 1."""
    down, across = end[0] - start[0], end[1] - start[1]
    return (down > 0) - (down < 0), (across > 0) - (across < 0)
