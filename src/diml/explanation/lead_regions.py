"""Regions of a query that favour one image over another, with their counterparts in both."""

from __future__ import annotations

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
        a, b: the sum of the contributions of all pairs that the parts are in, with a and with b; may be negative.
        a_cells, b_cells: the region of a, and of b, that contributes most with them.
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
    regions = [
        LeadRegion(
            tuple(divmod(i, maps.grid[1]) for i in group),
            around(maps, group),
            sum(a[i] for i in group),
            sum(b[i] for i in group),
            _counterpart(match_a, group),
            _counterpart(match_b, group),
        )
        for group in groups
    ]
    return sorted(regions, key=lambda region: -abs(region.difference))


def _counterpart(match: Match, group: list[int]) -> tuple[Cell, ...]:
    """The cells of the second image that add most together with a group of cells of the first."""
    values = match.contributions[0, group].detach().sum(dim=0).clamp(min=0).tolist()
    (found,) = part_groups(values, match.maps_b.grid, 1) or [[]]
    return tuple(divmod(j, match.maps_b.grid[1]) for j in found)
