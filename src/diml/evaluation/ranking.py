"""Ranking a gallery for many queries: by the pooled vectors, then a shortlist of the best anew by similarity.

It goes block by block of queries, so that nothing of the size queries x gallery is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, UnitMaps, prepare

# Bytes that a block of queries may take while it is ranked.
BUDGET = 128 * 2**20
# Bytes per score: float64, float32, and value and index of a whole row being sorted where it holds ties.
SCORE_BYTES = 32
# Bytes per candidate of a shortlist and per place of a ranking: indices, scores, and their sorted copies.
PLACE_BYTES = 96
# Images whose maps are made float32 at a time.
PREPARED = 4096


class Reranker(Protocol):
    """What re-ranks shortlists: a `Matcher`, or anything else that scores candidates."""

    def rerank(
        self, query_maps: UnitMaps, gallery_maps: UnitMaps, shortlist: Int[Tensor, "q k"], /
    ) -> Float[Tensor, "q k"]:
        """The score of every query with each of its candidates; a candidate's score must not depend on the others."""


@dataclass(frozen=True)
class Ranked:
    """The rankings of a block of queries.

    Attributes:
        queries: which queries of the whole these are.
        orders: for each shortlist, (q, places) indices into the gallery, best first; places beyond the shortlist keep
            the order of the pooled similarity.
    """

    queries: slice
    orders: Mapping[int, Int[Tensor, "q places"]]


def rank(
    query_maps: FeatureMaps,
    gallery_maps: FeatureMaps | None = None,
    *,
    matcher: Reranker,
    shortlists: Sequence[int] = (0, 100),
    places: int,
    block: int | None = None,
) -> Iterator[Ranked]:
    """Rank the gallery for every query, block by block.

    The coarse ranking is by pooled similarity, computed in float64 and compared as float32, so that it does not
    depend on the size of a block and the same image twice ties with itself. A shortlist of K has the best K of it
    re-ranked by the matcher. Each is re-ranked for itself: the K best of a smaller shortlist never owe their
    place to a larger one. Equal scores are ordered by index, everywhere.

    Args:
        query_maps: of q images.
        gallery_maps: of n images; None ranks the queries among themselves, each one left out of its own ranking.
        matcher: re-ranks the shortlists.
        shortlists: K for each ranking wanted; 0 keeps the coarse one, all candidates or more re-rank everything.
        places: how many places of each ranking are wanted, at least one; all where there are fewer candidates.
        block: queries at a time; by default what `BUDGET` allows.

    Yields:
        Ranked: queries in order.

    Raises:
        UsageError: a negative shortlist or none, maps of different dim or not finite, or nothing to rank.

    >>> maps = FeatureMaps(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[2.0, 1.0]]]), (1, 1))
    >>> [ranked] = rank(maps, matcher=Matcher(), shortlists=[0], places=2)
    >>> ranked.orders[0]
    tensor([[2, 1],
            [2, 0],
            [0, 1]])
    """
    check_shortlists(shortlists)
    leave_one_out = gallery_maps is None
    gallery_maps = query_maps if gallery_maps is None else gallery_maps
    candidates = len(gallery_maps) - leave_one_out
    _check(query_maps, gallery_maps, candidates)
    most, places = min(max(shortlists), candidates), min(places, candidates)
    block = block or block_size(len(gallery_maps), max(most, places))
    gallery = _directions(gallery_maps)
    queries = gallery if leave_one_out else _directions(query_maps)
    fine = _Fine(matcher, query_maps, gallery_maps) if most else None
    buffer = gallery.new_empty(min(block, len(queries)), len(gallery))
    for start in range(0, len(queries), block):
        where = slice(start, min(start + block, len(queries)))
        at = torch.arange(where.start, where.stop, device=gallery.device)
        scores = torch.mm(queries[where], gallery.mT, out=buffer[: len(at)]).float()
        if leave_one_out:
            scores[at - start, at] = -torch.inf
        coarse = best(scores, max(most, places))
        similarity = fine.scores(where, coarse[:, :most]) if fine else scores[:, :0]
        orders = {k: reorder(coarse, similarity[:, :k])[:, :places] for k in dict.fromkeys(shortlists)}
        yield Ranked(where, orders)


def best(scores: Float[Tensor, "q n"], places: int) -> Int[Tensor, "q places"]:
    """Indices of the largest scores of each row, largest first, equal ones by index, smallest first.

    >>> best(torch.tensor([[0.5, 0.9, 0.5, 0.5]]), 3)
    tensor([[1, 0, 2]])
    """
    if places >= scores.shape[1]:
        return _sorted(scores)
    top = scores.topk(places + 1, dim=1)
    index = top.indices[:, :places]
    index = reorder(index, scores.gather(1, index))
    # Which of several equal scores `topk` keeps at the boundary is open; those rows are sorted whole.
    tied = top.values[:, -1] == top.values[:, -2]
    if tied.any():
        index[tied] = _sorted(scores[tied])[:, :places]
    return index


def reorder(order: Int[Tensor, "q L"], scores: Float[Tensor, "q k"]) -> Int[Tensor, "q L"]:
    """Put the first k of every ranking in the order of their scores, largest first, equal ones by index; keep the rest.

    >>> reorder(torch.tensor([[7, 3, 5, 1]]), torch.tensor([[0.1, 0.8, 0.8]]))
    tensor([[3, 5, 7, 1]])
    """
    k = scores.shape[1]
    by_index = order[:, :k].sort(dim=1)
    anew = by_index.values.gather(1, _sorted(scores.gather(1, by_index.indices)))
    return torch.cat([anew, order[:, k:]], dim=1)


def check_shortlists(shortlists: Sequence[int]) -> None:
    if not shortlists or min(shortlists) < 0:
        came = ", ".join(map(str, shortlists)) or "none"
        raise UsageError(f"shortlists {came} came; expected 0 (keep the pooled ranking) or more, at least one of them")


def block_size(gallery: int, places: int) -> int:
    """How many queries fit into `BUDGET` at once, at least one."""
    return max(1, BUDGET // (gallery * SCORE_BYTES + places * PLACE_BYTES))


def _sorted(scores: Tensor) -> Tensor:
    return scores.sort(dim=1, descending=True, stable=True).indices


def _check(query_maps: FeatureMaps, gallery_maps: FeatureMaps, candidates: int) -> None:
    if query_maps.dim != gallery_maps.dim:
        raise UsageError(f"{query_maps} came with a gallery of {gallery_maps}; embed both alike")
    if candidates < 1 or not len(query_maps):
        raise UsageError(
            f"{len(query_maps)} query images and {len(gallery_maps)} gallery images came; expected something to rank"
        )
    for maps in (query_maps, gallery_maps):
        if not torch.isfinite(maps.pooled).all():
            raise UsageError("the feature maps hold NaN or infinity; check the model they came from")


def _directions(maps: FeatureMaps) -> Float[Tensor, "n d"]:
    """Unit pooled vectors, in float64 where the device has it."""
    double = torch.float32 if maps.device.type == "mps" else torch.float64
    return F.normalize(maps.pooled.detach().to(double), dim=1)


class _Fine:
    """Scores of candidates, block by block, the work per image done once."""

    def __init__(self, matcher: Reranker, query_maps: FeatureMaps, gallery_maps: FeatureMaps) -> None:
        self.matcher = matcher
        self.gallery = _prepared(gallery_maps)
        self.queries = self.gallery if query_maps is gallery_maps else _prepared(query_maps)

    def scores(self, where: slice, candidates: Int[Tensor, "q k"]) -> Float[Tensor, "q k"]:
        matcher = self.matcher
        if isinstance(matcher, Matcher) and isinstance(matcher.marginals, tuple):
            # Weights that are given per image have to be cut to the block as its maps are.
            matcher = matcher.replace(marginals=(matcher.marginals[0][where], matcher.marginals[1]))
        with torch.no_grad():
            return matcher.rerank(UnitMaps(self.queries.rows[where]), self.gallery, candidates)


def _prepared(maps: FeatureMaps) -> UnitMaps:
    """As `prepare`, piece by piece, so that half precision maps are never held in float32 beside the result."""
    dtype = torch.promote_types(maps.dtype, torch.float32)
    rows = torch.empty(len(maps), maps.parts + 1, maps.dim, dtype=dtype, device=maps.device)
    for start in range(0, len(maps), PREPARED):
        piece = slice(start, start + PREPARED)
        rows[piece] = prepare(FeatureMaps(maps.local[piece].detach(), maps.grid, maps.pooled[piece].detach())).rows
    return UnitMaps(rows)
