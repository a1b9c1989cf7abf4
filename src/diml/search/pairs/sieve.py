"""What is excluded before a pair is solved exactly: three upper bounds of its similarity, each dearer than the last.

1. `s <= 1`, so that `similarity = (1 - w) p + w s >= above` needs `p >= (above - w) / (1 - w)`: a product of two unit
   vectors. With w = 1 it excludes nothing.
2. The bound of the structural similarity by the best counterpart of each part, see `diml.matching.top_k`: the local
   similarities, but no plan.
3. The similarity in float32 at the matcher's tolerance, and what the exact one may be above it.

The plan of step 3 is exact for marginals that are off by at most the tolerance, in the L1 distance. Its structural
similarity then differs from the exact one in proportion: over random, smooth and near-duplicate maps, grids of 4x4 and
7x7, all transports and eps from 0.02 to 0.2, by up to 0.85 times the tolerance. `SLACK` times is allowed for. A pair
that has not converged is not excluded by step 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diml.matching import Matcher, UnitMaps
from diml.matching.score import combine
from diml.matching.topk import MARGIN

# How far the exact structural similarity may be above that of a converged ranking, in units of the tolerance.
SLACK = 10.0

Upper = Callable[[UnitMaps, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sieve:
    """Tells which pairs may reach a similarity.

    Attributes:
        matcher: how images are compared.
        above: the similarity.
        dim: of the maps; a longer product is rounded more.
    """

    matcher: Matcher
    above: float
    dim: int

    @property
    def margin(self) -> float:
        """How far rounding may lift the exact similarity above a bound in float32."""
        return MARGIN + self.dim * 2.0**-24

    @property
    def slack(self) -> float:
        """How far the exact similarity may be above that of a converged ranking."""
        return self.margin + self.matcher.weight * SLACK * self.matcher.tolerance

    @property
    def least_pooled(self) -> float:
        """Pairs of a smaller pooled similarity are excluded; -inf if none are."""
        weight = self.matcher.weight
        if weight == 1:
            return -torch.inf
        least = (self.above - weight) / (1 - weight) - self.margin
        return least if least > -1 else -torch.inf

    def not_bounded(self, maps: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]) -> Bool[Tensor, " p"]:
        """Which of the pairs of images i and j of some maps their bound does not exclude."""
        return self._possible(self._bound, maps, i, j)

    def undecided(self, maps: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]) -> Bool[Tensor, " p"]:
        """Which of them their similarity in float32 does not exclude."""
        return self._possible(self._score, maps, i, j)

    def _possible(self, upper: Upper, maps: UnitMaps, i: Tensor, j: Tensor) -> Bool[Tensor, " p"]:
        if not self.matcher.weight:  # the pooled similarity is all
            return torch.ones(len(i), dtype=torch.bool)
        # "Not below" rather than "above", so that nothing is lost to a NaN.
        possible = ~(upper(maps, i, j) < self.above)
        if not self.matcher.symmetric:
            possible |= ~(upper(maps, j, i) < self.above)
        return possible

    def _bound(self, maps: UnitMaps, i: Tensor, j: Tensor) -> Float[Tensor, " p"]:
        found = self.matcher.bounds(maps, maps, i, j)
        if found is None:
            return torch.full((len(i),), torch.inf)
        structural, pooled = found
        # Marginals that follow from the maps are rounded like the maps, and more so where they hang on little.
        margin = self.margin if self.matcher.marginals == "uniform" else self.slack
        return combine(pooled, structural, self.matcher.weight) + margin

    def _score(self, maps: UnitMaps, i: Tensor, j: Tensor) -> Float[Tensor, " p"]:
        found = self.matcher.pairs(maps, maps, i, j)
        return torch.where(found.converged, found.similarity + self.slack, torch.inf)
