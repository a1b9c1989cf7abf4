"""Ranking a gallery for many queries: by the pooled vectors, then a shortlist of the best anew by similarity.

It goes block by block of queries, so that nothing of the size queries x gallery is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.evaluation.exhaustive import Counter, best_of_all
from diml.evaluation.order import best, reorder
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, UnitMaps, prepare

# How many of the coarse ranking are re-ranked; "all" matches every pair by its parts.
Shortlist = int | Literal["all"]

# Bytes that a block of queries may take while it is ranked.
BUDGET = 128 * 2**20
# Bytes per score: float64, float32, and value and index of a whole row being sorted where it holds ties.
SCORE_BYTES = 32
# Bytes per candidate of a shortlist and per place of a ranking: indices, scores, and their sorted copies.
PLACE_BYTES = 96


class Reranker(Protocol):
    """What re-ranks shortlists: a `Matcher`, or anything else that scores candidates."""

    def rerank(
        self, query_maps: UnitMaps, gallery_maps: UnitMaps, shortlist: Int[Tensor, "q k"], /
    ) -> Float[Tensor, "q k"]:
        """The score of every query with each of its candidates; a candidate's score must not depend on the others."""


@dataclass(frozen=True)
class Rankings:
    """The rankings of a block of queries.

    Attributes:
        queries: which queries of the whole these are.
        orders: for each shortlist, (q, places) indices into the gallery, best first; places beyond the shortlist keep
            the order of the pooled similarity.
    """

    queries: slice
    orders: Mapping[Shortlist, Int[Tensor, "q places"]]


def rank(
    query_maps: FeatureMaps,
    gallery_maps: FeatureMaps | None = None,
    *,
    matcher: Reranker,
    shortlists: Sequence[Shortlist] = (0, 100),
    places: int,
    block: int | None = None,
    counter: Counter | None = None,
) -> Iterator[Rankings]:
    """Rank the gallery for every query, block by block.

    The coarse ranking is by pooled similarity, computed in float64 and compared as float32, so that it does not
    depend on the size of a block and the same image twice ties with itself. A shortlist of K has the best K of it
    re-ranked by the matcher. Each is re-ranked for itself: the K best of a smaller shortlist never owe their
    place to a larger one. Equal scores are ordered by index, everywhere.

    Args:
        query_maps: of q images.
        gallery_maps: of n images; None ranks the queries among themselves, each one left out of its own ranking.
        matcher: re-ranks the shortlists.
        shortlists: K for each ranking wanted; 0 keeps the coarse one, "all" re-ranks everything, and so does a K of as
            many as there are candidates. With "all" only the wanted places are kept, and among themselves each
            unordered pair is solved once, with the lower index first.
        places: how many places of each ranking are wanted, at least one; all where there are fewer candidates.
        block: queries at a time; by default what `BUDGET` allows.
        counter: told how far "all" is, before the first block comes.

    Yields:
        Rankings: queries in order.

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
    places = min(places, candidates)
    streams = "all" in shortlists and isinstance(matcher, Matcher) and not isinstance(matcher.marginals, tuple)
    limits = {k: candidates if k == "all" else min(k, candidates) for k in shortlists}
    most = max((limit for k, limit in limits.items() if not (streams and k == "all")), default=0)
    block = block or block_size(len(gallery_maps), max(most, places))
    gallery = _directions(gallery_maps)
    queries = gallery if leave_one_out else _directions(query_maps)
    fine = _Fine(matcher, query_maps, gallery_maps) if most or streams else None
    everything = fine.best_of_all(leave_one_out, places, counter) if fine and streams else None
    buffer = gallery.new_empty(min(block, len(queries)), len(gallery))
    for start in range(0, len(queries), block):
        where = slice(start, min(start + block, len(queries)))
        at = torch.arange(where.start, where.stop, device=gallery.device)
        scores = torch.mm(queries[where], gallery.mT, out=buffer[: len(at)]).float()
        if leave_one_out:
            scores[at - start, at] = -torch.inf
        coarse = best(scores, max(most, places))
        similarity = fine.scores(where, coarse[:, :most]) if fine and most else scores[:, :0]
        orders: dict[Shortlist, Tensor] = {}
        for k, limit in limits.items():
            if k == "all" and everything is not None:
                orders[k] = everything[where]
            else:
                orders[k] = reorder(coarse, similarity[:, :limit])[:, :places]
        yield Rankings(where, orders)


def check_shortlists(shortlists: Sequence[Shortlist]) -> None:
    if not shortlists or any(k != "all" and (isinstance(k, str) or k < 0) for k in shortlists):
        came = ", ".join(map(str, shortlists)) or "none"
        raise UsageError(
            f"shortlists {came} came; expected 0 (keep the pooled ranking) or more, or all, at least one of them"
        )


def block_size(gallery: int, places: int) -> int:
    """How many queries fit into `BUDGET` at once, at least one."""
    return max(1, BUDGET // (gallery * SCORE_BYTES + places * PLACE_BYTES))


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
        if isinstance(matcher, Matcher):
            matcher = matcher.of_images(where, slice(None))
        with torch.no_grad():
            return matcher.rerank(self.queries[where], self.gallery, candidates)

    def best_of_all(self, leave_one_out: bool, places: int, counter: Counter | None) -> Int[Tensor, "q places"]:
        assert isinstance(self.matcher, Matcher)
        with torch.no_grad():
            return best_of_all(self.matcher, self.queries, None if leave_one_out else self.gallery, places, counter)


@torch.no_grad()
def _prepared(maps: FeatureMaps) -> UnitMaps:
    """As `prepare`, without a gradient: half precision maps stay as they are where the kernel reads them so."""
    return prepare(maps)
