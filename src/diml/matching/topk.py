"""The k most similar images, without solving the plans of images that provably are not among them.

The bound. Sinkhorn's last half-step sets v, so the columns of every plan it returns, converged or not, sum to the
weights of b: `sum_i T_ij = mu_j`. With `T_ij >= 0`,

    s = sum_ij T_ij S_ij  <=  sum_j (sum_i T_ij) max_i S_ij  =  sum_j mu_j max_i S_ij  <=  1,

and `similarity = (1 - w) p + w s` is at most `(1 - w) p + w sum_j mu_j max_i S_ij`. The right-hand side needs the local
similarities but no plan; with 1 in place of s it needs only the pooled similarity. A candidate whose bound is below the
k-th best similarity found so far cannot be among the best k, now or later, as that number only grows.

The other transports have bounds of their own. One-sided, the rows sum to the weights of a exactly, so that `s <= sum_i
mu_i max_j S_ij`. With a dustbin of price c, the columns sum to at most `mu_j`, and `s = sum_ij T_ij (S_ij - c) + c` is
at most `sum_j mu_j max(c, max_i S_ij)`.

The bound needs no slack for an unfinished plan, as a bound by the rows would: rows are met within the tolerance only.
In floating point the columns are met to about 1e-6; `MARGIN` allows for this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.dispatch import Dispatch
from diml.matching.kernels import checked_indices
from diml.matching.kernels.coded_maps import CodedMaps
from diml.matching.matcher import Matcher, check_shortlist
from diml.matching.score import combine
from diml.matching.unit_maps import UnitMaps, both

# How far rounding may lift a similarity above its bound; 2e-6 has been measured.
MARGIN = 2e-5
# Candidates of each query that are solved first, as a multiple of k, to compare the others with.
FIRST = 2
# Scores of queries and candidates that are held at once.
HELD = 2**20


@dataclass(frozen=True, eq=False)
class TopK:
    """The best candidates of each query, best first, equal ones by index.

    Attributes:
        indices: (q, k) into the gallery.
        similarity: (q, k).
        solved: how many plans were solved to find them.
    """

    indices: Int[Tensor, "q k"]
    similarity: Float[Tensor, "q k"]
    solved: int


@torch.no_grad()
def top_k(
    matcher: Matcher,
    query_maps: FeatureMaps | UnitMaps,
    gallery_maps: FeatureMaps | CodedMaps | UnitMaps,
    k: int,
    shortlist: Int[Tensor, "q K"] | None = None,
    *,
    least: float | None = None,
) -> TopK:
    """The k most similar images of the gallery for every query, the same as if all plans were solved.

    Args:
        query_maps: of q images.
        gallery_maps: of n images; codes of maps are read as they are, where a kernel can.
        k: how many; if there are fewer candidates, all of them.
        shortlist: (q, K) candidates of each query; by default the whole gallery.
        least: images of a smaller similarity are not wanted. Where fewer than k reach it, the last places have this
            similarity, and the size of the gallery as their index.

    Raises:
        UsageError: k < 1, a shortlist of another shape or type, maps of different dims or not finite.
        IndexError: a candidate out of range.

    >>> maps = FeatureMaps(torch.eye(8).reshape(4, 2, 8), grid=(1, 2))
    >>> top_k(Matcher(), maps, maps, 1).indices[:, 0]
    tensor([0, 1, 2, 3])
    """
    if not isinstance(k, int) or k < 1:
        raise UsageError(f"expected k to be a whole number >= 1, got {k}")
    queries, gallery = both(query_maps, gallery_maps)
    if shortlist is not None:
        check_shortlist(shortlist, len(queries))
        shortlist = checked_indices(shortlist.to(gallery.device), len(gallery))
    dispatch = Dispatch.of(matcher, queries, gallery)
    width = len(gallery) if shortlist is None else shortlist.shape[1]
    block = max(1, HELD // max(width, 1))
    results = []
    for start in range(0, len(queries), block):
        where = slice(start, start + block)
        given = None if shortlist is None else shortlist[where]
        solver = dispatch.of_images(where, slice(None))
        results.append(_Search(solver, queries[where], gallery, min(k, width), given, least).run())
    if not results:
        empty = torch.zeros(0, min(k, width), dtype=gallery.dtype, device=gallery.device)
        return TopK(empty.long(), empty, 0)
    return TopK(
        torch.cat([result.indices for result in results]),
        torch.cat([result.similarity for result in results]),
        sum(result.solved for result in results),
    )


class _Search:
    """A block of queries, whose candidates are tried by pooled similarity, largest first."""

    def __init__(
        self,
        dispatch: Dispatch,
        queries: UnitMaps,
        gallery: UnitMaps,
        k: int,
        shortlist: Tensor | None,
        least: float | None,
    ) -> None:
        self.dispatch, self.queries, self.gallery, self.least = dispatch, queries, gallery, least
        pooled = queries.pooled @ gallery.pooled.mT
        if shortlist is None:
            self.pooled, self.candidates = pooled.sort(dim=1, descending=True)
        else:
            self.pooled, order = pooled.gather(1, shortlist).sort(dim=1, descending=True)
            self.candidates = shortlist.gather(1, order)
        # NaN sorts first and minus infinity last.
        if self.pooled.numel() and not torch.isfinite(self.pooled[:, [0, -1]]).all():
            raise UsageError("expected finite feature maps, got NaN or infinity; check the model that made them")
        self.best = self.pooled.new_full((len(queries), k), -torch.inf if least is None else least)
        self.indices = self.candidates.new_full((len(queries), k), len(gallery))
        self.solved = 0

    def run(self) -> TopK:
        k = self.best.shape[1]
        active = torch.arange(len(self.queries), device=self.best.device)
        # All at once where there is something to compare with: each piece takes a while to start.
        for piece in self._pieces(max(1, FIRST * k if self.least is None else self.candidates.shape[1])):
            # "Not below" rather than "above": a NaN is passed on to the solver, which reports it.
            possible = ~(self._upper_bound(self.pooled[active, piece], 1.0) < self.best[active, -1:])
            is_compared = piece.start or self.least is not None
            self._take(active, piece, self._promising(active, piece, possible) if is_compared else possible)
            # Pooled similarities only fall from here on, so all candidates after an impossible one are impossible.
            active = active[possible[:, -1]]
            if not len(active):
                break
        return TopK(self.indices, self.best, self.solved)

    def _pieces(self, size: int) -> Iterator[slice]:
        start, width = 0, self.candidates.shape[1]
        while start < width:
            yield slice(start, min(start + size, width))
            start, size = start + size, 2 * size

    def _upper_bound(self, pooled: Tensor, structural: Tensor | float) -> Tensor:
        weight = self.dispatch.settings.weight
        return combine(pooled, structural, weight) + MARGIN

    def _promising(self, active: Tensor, piece: slice, possible: Tensor) -> Tensor:
        """Which of the possible candidates their bound does not rule out."""
        row, column = possible.nonzero(as_tuple=True)
        found = self.candidates[active, piece][row, column]
        bounds = self.dispatch.bounds(self.queries, self.gallery, active[row], found)
        if bounds is None:
            return possible
        structural, pooled = bounds
        left = possible.clone()
        left[row, column] = ~(self._upper_bound(pooled, structural) < self.best[active[row], -1])
        return left

    def _take(self, active: Tensor, piece: slice, wanted: Tensor) -> None:
        """Solve the wanted candidates, and keep the best, equal ones by index."""
        row, column = wanted.nonzero(as_tuple=True)
        if not len(row):
            return
        found = self.candidates[active, piece][row, column]
        similarity = self.dispatch.pairs(self.queries, self.gallery, active[row], found).similarity
        self.solved += len(row)
        # Few of many candidates are wanted: they go to the left of a narrow table, one row for a query that has some.
        counts = wanted.sum(dim=1)
        some = counts > 0
        line = some.cumsum(0)[row] - 1
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        queries, k = active[some], self.best.shape[1]
        shape = (len(queries), k + int(counts.max()))
        indices, scores = found.new_full(shape, len(self.gallery)), similarity.new_full(shape, -torch.inf)
        indices[:, :k], scores[:, :k] = self.indices[queries], self.best[queries]
        indices[line, k + place], scores[line, k + place] = found, similarity
        indices, by_index = indices.sort(dim=1)
        scores, order = scores.gather(1, by_index).sort(dim=1, descending=True, stable=True)
        self.best[queries], self.indices[queries] = scores[:, :k], indices.gather(1, order)[:, :k]
