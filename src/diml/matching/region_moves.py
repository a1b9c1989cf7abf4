"""Regions of two images that correspond, improved cell by cell, and reduced to the cells that are needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diml.matching.region_cells import Cells, CellValues, Floats

# A move must gain more than rounding does, so that the search ends.
LEAST_GAIN = 1e-12
NO_REGION = -1


class RegionSearch:
    """An assignment of cells to n regions: from a start to a local optimum of what the regions are worth together.

    A region is worth the sum of the pairs between its cells of a and its cells of b, and of the values of its cells.

    Args:
        values: of the cells and their pairs.
        start: for each region its cells of a and its cells of b; connected, disjoint and within the limits.
    """

    def __init__(self, values: CellValues, start: Sequence[tuple[list[int], list[int]]]) -> None:
        self.pairs = values.pairs, values.pairs.T
        self.sides = _Side(values.a, len(start)), _Side(values.b, len(start))
        for region, cells in enumerate(start):
            for side in (0, 1):
                for cell in cells[side]:
                    self._place(side, cell, region, 1)

    @property
    def owners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each cell of a and of b the number of its region, or `NO_REGION`."""
        return self.sides[0].owner, self.sides[1].owner

    def worth(self) -> Floats:
        """(n,): what each region is worth."""
        a, b = self.sides
        regions = range(len(a.size))
        return np.array([a.now[a.owner == k].sum() + b.cells.value[b.owner == k].sum() for k in regions])

    def improve(self) -> None:
        """Add, remove and hand over single cells at the borders of regions, the best move first, while it gains."""
        while self._move():
            pass

    def reduce(self, least: float) -> None:
        """Remove cells, and regions of one pair of cells, that are worth least, while `least` is left in all."""
        left = float(self.worth().sum())
        while True:
            removed = self._remove(left - least)
            if removed is None:
                return
            left -= removed

    def drop(self, least: float) -> None:
        """Give up regions that are worth less than this altogether."""
        for region in np.flatnonzero(self.worth() < least).tolist():
            for side, at in enumerate(self.sides):
                for cell in np.flatnonzero(at.owner == region).tolist():
                    self._place(side, cell, region, -1)

    def _place(self, side: int, cell: int, region: int, sign: int) -> None:
        self.sides[side].place(cell, region, sign)
        self.sides[1 - side].worth[:, region] += sign * self.pairs[side][cell]

    def _move(self) -> bool:
        """Make the best move of all, if there is one that gains."""
        gains = [at.gains() for at in self.sides]
        while True:
            best = [int(gain.argmax()) for gain in gains]
            side = int(gains[1].flat[best[1]] > gains[0].flat[best[0]])
            if gains[side].flat[best[side]] <= LEAST_GAIN:
                return False
            at = self.sides[side]
            cell, region = divmod(best[side], gains[side].shape[1])
            before = int(at.owner[cell])
            if before == NO_REGION or at.can_leave(cell):
                break
            gains[side][cell] = 0.0
        if before != NO_REGION:
            self._place(side, cell, before, -1)
        if region < len(at.size):
            self._place(side, cell, region, 1)
        return True

    def _remove(self, spare: float) -> float | None:
        """Remove what is worth least for each cell, if it is worth no more than `spare`; returns its worth."""
        worth = [at.removals(spare) for at in self.sides]
        small, small_worth = self._smallest_region(spare)
        while True:
            side = int(worth[1].min() < worth[0].min())
            cell = int(worth[side].argmin())
            least = float(worth[side][cell])
            if small_worth / 2 < least:
                break
            if least == np.inf:
                return None
            if self.sides[side].can_leave(cell):
                self._place(side, cell, int(self.sides[side].owner[cell]), -1)
                return least
            worth[side][cell] = np.inf
        for side, at in enumerate(self.sides):
            self._place(side, int((at.owner == small).argmax()), small, -1)
        return small_worth

    def _smallest_region(self, spare: float) -> tuple[int, float]:
        """Of the regions of one cell in each image the one that is worth least, and its worth; infinite for none."""
        a, b = self.sides
        single = (a.size == 1) & (b.size == 1)
        if not single.any():
            return NO_REGION, np.inf
        worth = np.where(single, self.worth(), np.inf)
        region = int(worth.argmin())
        return region, float(worth[region]) if worth[region] <= spare else np.inf


class _Side:
    """The cells of one image: which region each of them lies in, and what it is worth in every region."""

    def __init__(self, cells: Cells, n: int) -> None:
        self.cells = cells
        self.owner = np.full(len(cells.value), NO_REGION)
        self.worth = np.repeat(cells.value[:, None], n, axis=1)
        self.touching = np.zeros((len(cells.value), n), dtype=np.int64)
        self.size = np.zeros(n, dtype=np.int64)
        self.neighbours = [np.flatnonzero(row).tolist() for row in cells.adjacent]

    def place(self, cell: int, region: int, sign: int) -> None:
        """Put a cell into a region, or take it out of it for a sign of -1."""
        self.owner[cell] = region if sign > 0 else NO_REGION
        self.size[region] += sign
        self.touching[:, region] += sign * self.cells.adjacent[cell]

    @property
    def now(self) -> Floats:
        """(r,): what each cell is worth where it is; 0 outside of regions."""
        if not len(self.size):
            return np.zeros(len(self.owner))
        return np.where(self.owner >= 0, self.worth[np.arange(len(self.owner)), self.owner], 0.0)

    def gains(self) -> Floats:
        """(r, n + 1): what is gained by moving a cell to each region, or (in the last column) out of regions."""
        now, placed = self.now, self.owner >= 0
        possible = (self.touching > 0) & (self.size < self.cells.most) & self.cells.free[:, None]
        gains = np.zeros((len(now), len(self.size) + 1))
        gains[:, :-1] = np.where(possible, self.worth - now[:, None], 0.0)
        gains[:, -1] = np.where(placed, -now, 0.0)
        return gains

    def removals(self, spare: float) -> Floats:
        """(r,): what the cells are worth that can be spared and are not alone in their region; infinite for others."""
        now = self.now
        if not len(self.size):
            return np.full(len(now), np.inf)
        return np.where((self.owner >= 0) & (self.size[self.owner] > 1) & (now <= spare), now, np.inf)

    def can_leave(self, cell: int) -> bool:
        """Whether its region stays connected, and keeps a cell, without it."""
        rest = set(np.flatnonzero(self.owner == self.owner[cell]).tolist()) - {cell}
        reached = {next(iter(rest))} if rest else set()
        border = list(reached)
        while border:
            new = [each for each in self.neighbours[border.pop()] if each in rest and each not in reached]
            reached.update(new)
            border += new
        return bool(rest) and len(reached) == len(rest)
