"""Regions of an image that many others share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.explanation.numbers import around, plain_box
from diml.explanation.part_groups import part_groups

if TYPE_CHECKING:
    from diml.explanation.marks import Box
    from diml.explanation.part_sums import PartSums


@dataclass(frozen=True)
class SharedRegion:
    """Neighbouring parts of the image, and what they contribute to the similarity with the others.

    Attributes:
        cells: (row, column) of the parts, row by row.
        box: `x0, y0, x1, y1` around them in pixels of the image; None where the geometry is unknown.
        contribution: the mean over the others of what the region contributes; may be negative.
        deviation: the standard deviation of the same over the others (divided by n); 0 where all of them agree.
        share: contribution / mean similarity; NaN where that is 0.
    """

    cells: tuple[tuple[int, int], ...]
    box: Box | None
    contribution: float
    deviation: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "cells": [list(cell) for cell in self.cells],
            "box": plain_box(self.box),
            "contribution": self.contribution,
            "deviation": self.deviation,
        }


def shared_regions(sums: PartSums, n: int) -> list[SharedRegion]:
    """At most n regions of the image, the largest mean contribution first."""
    total = float(sums.similarities.mean())
    columns = sums.maps.grid[1]
    regions = []
    for group in part_groups(sums.contributions.mean(dim=0).tolist(), sums.maps.grid, n, sums.chosen):
        each = sums.contributions[:, group].sum(dim=1)
        mean = float(each.mean())
        share = mean / total if total else float("nan")
        cells = tuple(divmod(i, columns) for i in group)
        regions.append(SharedRegion(cells, around(sums.maps, group), mean, float(each.std(correction=0)), share))
    return sorted(regions, key=lambda region: -region.contribution)


def counterparts(sums: PartSums, other: int, regions: Sequence[SharedRegion]) -> list[tuple[tuple[int, int], ...]]:
    """For each region neighbouring cells of another image that form the strongest pairs with its parts, disjoint.

    Empty where all of them are counterparts of a region before it.
    """
    columns, (rows_b, columns_b) = sums.maps.grid[1], sums.grid
    free = set(range(rows_b * columns_b))
    found = []
    for region in regions:
        counts = Counter(int(sums.counterparts[other, row * columns + column]) for row, column in region.cells)
        (cells,) = part_groups([counts[j] for j in range(rows_b * columns_b)], sums.grid, 1, free) or [[]]
        cells = [j for j in cells if counts[j]]
        free -= set(cells)
        found.append(tuple(divmod(j, columns_b) for j in cells))
    return found
