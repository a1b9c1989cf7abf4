"""Regions of a query that favour one image over another, with their counterparts in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.explanation.numbers import around, heat, plain_box
from diml.explanation.part_groups import part_groups

if TYPE_CHECKING:
    from diml.explanation.marks import Box
    from diml.matching import Match

Cell = tuple[int, int]


@dataclass(frozen=True)
class LeadRegion:
    """Neighbouring parts of the query that favour the same image.

    Attributes:
        cells: (row, column) of the parts in the query's grid, row by row.
        box: `x0, y0, x1, y1` around them in pixels of the query; None where the geometry is unknown.
        a, b: what the parts contribute to the similarity with a and with b, see `part_contributions`; may be negative.
        a_cells, b_cells: the region of a, and of b, that contributes most with them; disjoint from those of other
            regions, so it may be empty.
    """

    cells: tuple[Cell, ...]
    box: Box | None
    a: float
    b: float
    a_cells: tuple[Cell, ...]
    b_cells: tuple[Cell, ...]

    @property
    def difference(self) -> float:
        """`a - b`: what the region adds to the lead of a over b; negative where it favours b."""
        return self.a - self.b

    def to_dict(self) -> dict[str, Any]:
        return {
            "cells": [list(cell) for cell in self.cells],
            "box": plain_box(self.box),
            "a": self.a,
            "b": self.b,
            "difference": self.difference,
            "a_cells": [list(cell) for cell in self.a_cells],
            "b_cells": [list(cell) for cell in self.b_cells],
        }


def lead_regions(match_a: Match, match_b: Match, n: int) -> list[LeadRegion]:
    """At most n regions of the query, the largest absolute difference first.

    Args:
        match_a, match_b: of the query with a and with b.
        n: from 1.
    """
    maps = match_a.maps_a
    a, b = (heat(match)[0].flatten().tolist() for match in (match_a, match_b))
    groups = part_groups([x - y for x, y in zip(a, b, strict=True)], maps.grid, n, match_a.chosen)
    groups.sort(key=lambda group: -abs(sum(a[i] - b[i] for i in group)))
    found_a, found_b = _counterparts(match_a, groups), _counterparts(match_b, groups)
    return [
        LeadRegion(
            tuple(divmod(i, maps.grid[1]) for i in group),
            around(maps, group),
            sum(a[i] for i in group),
            sum(b[i] for i in group),
            found_a[k],
            found_b[k],
        )
        for k, group in enumerate(groups)
    ]


def _counterparts(match: Match, groups: Sequence[Sequence[int]]) -> list[tuple[Cell, ...]]:
    """For each group of cells of the first image the cells of the second that add most together with it; disjoint."""
    free, grid = set(range(match.maps_b.parts)), match.maps_b.grid
    found = []
    for group in groups:
        values = match.contributions[0, list(group)].detach().sum(dim=0).clamp(min=0).tolist()
        (cells,) = part_groups(values, grid, 1, free) or [[]]
        free -= set(cells)
        found.append(tuple(divmod(j, grid[1]) for j in cells))
    return found
