"""A start for regions that correspond: pairs of cells, merged with their neighbours."""

from __future__ import annotations

import numpy as np

from diml.matching.region_cells import Cells, CellValues, Floats

CellLists = tuple[list[int], list[int]]


def merged_regions(values: CellValues, n: int) -> list[CellLists]:
    """At most n regions, the most valuable first: for each its cells of a and its cells of b.

    Every cell of a is paired with at most one of b, the most valuable pairs first. Then those two regions are merged,
    again and again, that lie beside each other in both images and whose cells match each other best on average, as long
    as the limits of a region allow it. The n most valuable regions are kept.

    >>> def cells():
    ...     return Cells((1, 6), np.zeros(6), np.full(6, True))
    >>> values = CellValues(np.eye(6), cells(), cells())
    >>> values.pairs[0, 1] = values.pairs[2, 3] = 0.5
    >>> merged_regions(values, 2)
    [([0, 1], [0, 1]), ([2, 3], [2, 3])]
    """
    merging = _Merging(_strongest_pairs(values), values)
    while merging.step():
        pass
    return merging.strongest(n)


def _strongest_pairs(values: CellValues) -> list[tuple[int, int]]:
    """Pairs of free cells, each cell in one of them, chosen by their value together with a share of their cells'."""
    r_a, r_b = values.pairs.shape
    value = values.pairs + values.a.value[:, None] / r_b + values.b.value / r_a
    value = np.where(values.a.free[:, None] & values.b.free, value, -np.inf)
    pairs: list[tuple[int, int]] = []
    for _ in range(min(r_a, r_b)):
        i, j = divmod(int(value.argmax()), r_b)
        if value[i, j] <= 0:
            break
        pairs.append((i, j))
        value[i] = value[:, j] = -np.inf
    return pairs


class _Extent:
    """The cells that m regions have in one image: how many, and which regions lie beside each other."""

    def __init__(self, cells: Cells, first: list[int]) -> None:
        self.size, self.most = np.ones(len(first)), cells.most
        self.beside = cells.adjacent[np.ix_(first, first)].copy()

    def allowed(self) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """(m, m): whether two regions may be merged."""
        return np.asarray(self.beside & (self.size[:, None] + self.size <= self.most))

    def merge(self, p: int, q: int) -> None:
        """Region q becomes a part of region p."""
        self.size[p] += self.size[q]
        self.beside[p] |= self.beside[q]
        self.beside[:, p] |= self.beside[:, q]
        self.beside[q] = self.beside[:, q] = False


class _Merging:
    def __init__(self, pairs: list[tuple[int, int]], values: CellValues) -> None:
        first = [i for i, _ in pairs], [j for _, j in pairs]
        self.regions: list[CellLists] = [([i], [j]) for i, j in pairs]
        self.alive = np.full(len(pairs), True)
        self.a, self.b = _Extent(values.a, first[0]), _Extent(values.b, first[1])
        # What the cells of a of one region are worth with the cells of b of another.
        self.cross: Floats = values.pairs[np.ix_(*first)].copy()
        self.own: Floats = values.a.value[first[0]] + values.b.value[first[1]]

    def step(self) -> bool:
        """Merge the two regions that match each other best, if there are any."""
        if not self.regions:
            return False
        between = self.a.size[:, None] * self.b.size
        mean = (self.cross + self.cross.T) / (between + between.T)
        gain = np.where(np.triu(self.a.allowed() & self.b.allowed(), 1), mean, 0.0)
        p, q = divmod(int(gain.argmax()), len(gain))
        if gain[p, q] <= 0:
            return False
        self.regions[p] = self.regions[p][0] + self.regions[q][0], self.regions[p][1] + self.regions[q][1]
        self.alive[q] = False
        self.own[p] += self.own[q]
        self.cross[p] += self.cross[q]
        self.cross[:, p] += self.cross[:, q]
        self.a.merge(p, q)
        self.b.merge(p, q)
        return True

    def strongest(self, n: int) -> list[CellLists]:
        worth = np.where(self.alive, self.cross.diagonal() + self.own, 0.0)
        return [self.regions[k] for k in np.argsort(-worth, kind="stable")[:n] if worth[k] > 0]
