"""Which regions a picture or a page shows, and in which colours; decided before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.explanation.marks import Tag, tags

if TYPE_CHECKING:
    from diml.matching import RegionPair, RegionPairs

Cell = tuple[int, int]


@dataclass(frozen=True)
class RegionMark:
    """Cells of one image that are outlined together.

    Attributes:
        tag: their number and colour; dashed where they count against what is explained.
        cells: (row, column) of each; may be empty.
    """

    tag: Tag
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class RegionPairMark:
    """A pair of regions as it is drawn: both with the same tag."""

    tag: Tag
    pair: RegionPair

    @property
    def a(self) -> RegionMark:
        return RegionMark(self.tag, self.pair.a_cells)

    @property
    def b(self) -> RegionMark:
        return RegionMark(self.tag, self.pair.b_cells)


def region_pair_marks(regions: RegionPairs) -> list[RegionPairMark]:
    """The regions that correspond as they are drawn, numbered by contribution."""
    named = regions.named
    return [
        RegionPairMark(tag, pair) for tag, pair in zip(tags([pair.contribution for pair in named]), named, strict=True)
    ]


def region_marks(cells: Sequence[tuple[Cell, ...]], values: Sequence[float]) -> list[RegionMark]:
    """Regions of one image as they are drawn, numbered in the given order."""
    return [RegionMark(tag, each) for tag, each in zip(tags(values), cells, strict=True)]


def unmatched_cells(regions: RegionPairs) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """The cells of a and of b that are listed as unmatched: pictures and pages hatch them."""
    found = [pair for pair in regions if pair.kind == "unmatched"]
    return (found[0].a_cells, found[0].b_cells) if found else ((), ())
