"""The match of two images as a few pairs of regions that correspond, which sum to the similarity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diml.errors import UsageError
from diml.matching.region_cells import Cells, CellValues, Floats
from diml.matching.region_merging import merged_regions
from diml.matching.region_moves import NO_REGION, RegionSearch

if TYPE_CHECKING:
    from diml.matching.match import Box, Cell, Match

Kind = Literal["region", "background", "unmatched", "remainder"]
Owners = NDArray[np.int64]

# Regions grow while they gain, and are then reduced to the cells that carry this share of the similarity.
CARRIED = 0.7
# A region that carries less than this share is not worth a name.
SCRAP = 0.05
# A cell is background if it weighs less than this share of what it would weigh if all cells weighed the same.
LIGHT = 0.5
# A cell is unmatched if a larger share of its mass found no counterpart.
LEFT = 0.5
BACKGROUND, UNMATCHED = NO_REGION - 1, NO_REGION - 2


@dataclass(frozen=True)
class RegionPair:
    """A region of each image, and what the two contribute to the similarity together.

    Attributes:
        kind: `"region"`: a connected set of cells in either image that correspond; `"background"`: the cells of little
            weight; `"unmatched"`: the other cells more than half of whose mass found no counterpart, and what a dustbin
            adds for all unmatched mass; `"remainder"`: all other cells, and the pairs of cells of
            different groups.
        a_cells, b_cells: (row, column) of the cells, row by row.
        a_box, b_box: `x0, y0, x1, y1` around the cells, in pixels of the originals; None where there are no cells, or
            where the geometry is unknown.
        contribution: what they add to the similarity of the images; may be negative.
        share: contribution / similarity of the images; NaN where that is 0.
    """

    kind: Kind
    a_cells: tuple[Cell, ...]
    b_cells: tuple[Cell, ...]
    a_box: Box | None
    b_box: Box | None
    contribution: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        """The pair as JSON documents state it; `share` is None where it is NaN."""
        return {
            "kind": self.kind,
            "a_cells": [list(cell) for cell in self.a_cells],
            "b_cells": [list(cell) for cell in self.b_cells],
            "a_box": None if self.a_box is None else list(self.a_box),
            "b_box": None if self.b_box is None else list(self.b_box),
            "contribution": self.contribution,
            "share": None if math.isnan(self.share) else self.share,
        }


@dataclass(frozen=True)
class RegionPairs:
    """All of the similarity of two images, split among pairs of regions.

    Attributes:
        pairs: the regions that correspond, largest contribution first, then the background and what is unmatched, where
            there is any, and the remainder. In each image the cells are disjoint and cover it.
        similarity: of the images.
        unmatched: the shares of a and of b, 0..1, whose parts found no counterpart; see `Match.unmatched`.
        residual: `similarity - sum of contributions`, see `Match.residual`.
    """

    pairs: tuple[RegionPair, ...]
    similarity: float
    residual: float
    unmatched: tuple[float, float] = (0.0, 0.0)

    @property
    def named(self) -> tuple[RegionPair, ...]:
        """The regions that correspond, without the other groups."""
        return tuple(pair for pair in self.pairs if pair.kind == "region")

    @property
    def carried(self) -> float:
        """The share of the similarity that `named` contribute; NaN where the similarity is 0."""
        return _share(sum(pair.contribution for pair in self.named), self.similarity)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[RegionPair]:
        return iter(self.pairs)

    def __getitem__(self, at: int) -> RegionPair:
        return self.pairs[at]


def region_pairs(match: Match, n: int = 5) -> RegionPairs:
    """At most n pairs of corresponding regions of one pair of images; see `Match.regions`.

    Raises:
        UsageError: the match holds several pairs of images, or n < 1.
    """
    if len(match) != 1:
        raise UsageError(f"expected a Match of one pair of images, got {len(match)} pairs; use match[0].regions()")
    if n < 1:
        raise UsageError(f"expected n >= 1, got {n}")
    similarity = float(match.similarity.detach()[0])
    values = _values(match)
    search = RegionSearch(values, merged_regions(values, n))
    search.improve()
    if similarity > 0:
        search.drop(SCRAP * similarity)
        search.reduce(CARRIED * similarity)
        search.drop(SCRAP * similarity)
    a, b = _in_order(search)
    light_a, light_b = _backgrounds(match)
    left_a, left_b = _unmatched(match)
    owners = tuple(
        np.where(light, BACKGROUND, np.where(left, UNMATCHED, owner))
        for owner, light, left in ((a, light_a, left_a), (b, light_b, left_b))
    )
    return _account(match, values, (owners[0], owners[1]), similarity)


def _values(match: Match) -> CellValues:
    """The structural contributions as values of pairs; the pooled ones as values of cells.

    Those join every cell with every other: half of its row goes to a cell of a, half of its column to a cell of b.
    """
    pooled = _numbers(match.pooled_contributions)
    (light_a, light_b), (left_a, left_b) = _backgrounds(match), _unmatched(match)
    free = ~light_a & ~left_a
    if match.chosen is not None:
        free &= np.isin(np.arange(len(free)), match.chosen)
    a = Cells(match.maps_a.grid, pooled.sum(axis=1) / 2, free)
    b = Cells(match.maps_b.grid, pooled.sum(axis=0) / 2, ~light_b & ~left_b)
    return CellValues(_numbers(match.structural_contributions), a, b)


def _backgrounds(match: Match) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The cells of a and of b that are background. A part query has none: it says itself which cells count."""
    if match.chosen is not None:
        return np.full(match.maps_a.parts, False), np.full(match.maps_b.parts, False)
    a, b = (_numbers(maps.weights_or_uniform) for maps in (match.maps_a, match.maps_b))
    return a < LIGHT / len(a), b < LIGHT / len(b)


def _unmatched(match: Match) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The cells of a and of b more than half of whose mass found no counterpart."""
    if match.marginals is None:
        return np.full(match.maps_a.parts, False), np.full(match.maps_b.parts, False)
    pairs = zip(match.unmatched, match.marginals, strict=True)
    a, b = (_numbers(left) > LEFT * np.maximum(_numbers(mu), 1e-12) for left, mu in pairs)
    return a, b


def _numbers(values: Tensor) -> Floats:
    """Of the one pair of images, in float64."""
    return values.detach()[0].double().cpu().numpy()


def _in_order(search: RegionSearch) -> tuple[Owners, Owners]:
    """For each cell of a and of b the rank of its region from 0, or `NO_REGION`, also where it counts against."""
    worth = search.worth()
    rank = np.full(len(worth) + 1, NO_REGION)
    kept = [k for k in np.argsort(-worth, kind="stable") if worth[k] > 0 and (search.owners[0] == k).any()]
    rank[kept] = np.arange(len(kept))
    # The last entry stands for cells in no region, whose number is -1.
    a, b = (rank[owner] for owner in search.owners)
    return a, b


def _account(match: Match, values: CellValues, owners: tuple[Owners, Owners], similarity: float) -> RegionPairs:
    """What all groups of cells contribute: every cell is in one group, and pairs across groups go to the remainder."""
    a, b = owners
    groups: list[tuple[Kind, int]] = [("region", k) for k in range(int(a.max()) + 1)]
    bins = sum(float(_numbers(each).sum()) for each in match.unmatched_contributions)
    others: tuple[tuple[Kind, int, bool], ...] = (
        ("background", BACKGROUND, False),
        ("unmatched", UNMATCHED, bins != 0),
    )
    groups += [(kind, k) for kind, k, told in others if told or (a == k).any() or (b == k).any()]
    across = float(values.pairs[a[:, None] != b].sum())
    boxes_a, boxes_b = match.maps_a.boxes(0), match.maps_b.boxes(0)
    pairs = []
    for kind, k in [*groups, ("remainder", NO_REGION)]:
        of_a, of_b = a == k, b == k
        inside = values.pairs[of_a][:, of_b].sum() + values.a.value[of_a].sum() + values.b.value[of_b].sum()
        contribution = float(inside) + {"remainder": across, "unmatched": bins}.get(kind, 0.0)
        share = _share(contribution, similarity)
        cells = _places(of_a, match.maps_a.grid), _places(of_b, match.maps_b.grid)
        pairs.append(RegionPair(kind, *cells, _around(of_a, boxes_a), _around(of_b, boxes_b), contribution, share))
    left_a, left_b = (float(_numbers(each).sum()) for each in match.unmatched)
    return RegionPairs(tuple(pairs), similarity, float(match.residual.detach()[0]), (left_a, left_b))


def _places(chosen: NDArray[np.bool_], grid: tuple[int, int]) -> tuple[Cell, ...]:
    return tuple(divmod(int(i), grid[1]) for i in np.flatnonzero(chosen))


def _around(chosen: NDArray[np.bool_], boxes: Tensor | None) -> Box | None:
    """The box around these cells of an image."""
    if boxes is None or not chosen.any():
        return None
    of = boxes[np.flatnonzero(chosen)].cpu().numpy()
    (x0, y0), (x1, y1) = of[:, :2].min(axis=0).tolist(), of[:, 2:].max(axis=0).tolist()
    return x0, y0, x1, y1


def _share(contribution: float, similarity: float) -> float:
    return contribution / similarity if similarity else float("nan")
