"""Ranking a gallery for many queries: by the pooled vectors, then a shortlist of the best by similarity.

Queries are ranked in blocks, so that no array of size queries x gallery is ever held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.evaluation.exhaustive import Counter, best_of_all
from diml.evaluation.order import best, reorder
from diml.evaluation.shortlists import Shortlist, check_shortlists
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, UnitMaps, prepare

# Bytes of memory for ranking a block of queries.
BUDGET = 128 * 2**20
# Bytes per score: float64, float32, and the value and index while a row with ties is sorted.
SCORE_BYTES = 32
# Bytes per candidate of a shortlist and per place of a ranking: indices, scores, and their sorted copies.
PLACE_BYTES = 96


class Reranker(Protocol):
    """What re-ranks shortlists: a `Matcher`, or any other object that scores candidates."""

    def rerank(
        self, query_maps: UnitMaps, gallery_maps: UnitMaps, shortlist: Int[Tensor, "q k"], /
    ) -> Float[Tensor, "q k"]:
        """The score of each query with its candidates; the score of a candidate must not depend on the others."""


@dataclass(frozen=True)
class Rankings:
    """The rankings of a block of queries.

    Attributes:
        queries: the positions of these queries among all.
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
    shortlists: Shortlist | Iterable[Shortlist] = (0, 100),
    places: int,
    block: int | None = None,
    counter: Counter | None = None,
) -> Iterator[Rankings]:
    """Rank the gallery for every query, block by block.

    The coarse ranking is by pooled similarity, computed in float64 and compared as float32, so that it does not depend
    on the size of a block and copies of an image have equal scores. For a shortlist of K, the matcher re-ranks the best
    K of the coarse ranking. Shortlists are independent: the places of a smaller one do not depend on a larger one.
    Equal scores are ordered by index.

    Args:
        query_maps: of q images.
        gallery_maps: of n images; None ranks the queries among themselves, each left out of its own ranking.
        matcher: what re-ranks the shortlists.
        shortlists: K for each ranking; 0 keeps the coarse ranking, "all" re-ranks every image, as does a K of at least
            the number of candidates. With "all", only the requested places are kept, and without a gallery each
            unordered pair is solved once, with the lower index first.
        places: number of places of each ranking, at least one; all candidates if there are fewer.
        block: queries at a time; by default as many as `BUDGET` allows.
        counter: called with the progress of "all", before the first block is returned.

    Yields:
        Rankings: queries in order.

    Raises:
        UsageError: no shortlist or a negative one, maps that differ in dim or are not finite, or nothing to rank.

    >>> maps = FeatureMaps(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[2.0, 1.0]]]), (1, 1))
    >>> [ranked] = rank(maps, matcher=Matcher(), shortlists=[0], places=2)
    >>> ranked.orders[0]
    tensor([[2, 1],
            [2, 0],
            [0, 1]])
    """
    shortlists = check_shortlists(shortlists)
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


def block_size(gallery: int, places: int) -> int:
    """How many queries fit into `BUDGET`, at least one."""
    return max(1, BUDGET // (gallery * SCORE_BYTES + places * PLACE_BYTES))


def _check(query_maps: FeatureMaps, gallery_maps: FeatureMaps, candidates: int) -> None:
    if query_maps.dim != gallery_maps.dim:
        raise UsageError(
            f"expected queries and gallery of the same dim, got {query_maps} and {gallery_maps}; use one model"
        )
    if candidates < 1 or not len(query_maps):
        raise UsageError(
            f"expected images to rank, got {len(query_maps)} queries and {len(gallery_maps)} images in the gallery"
        )
    for maps in (query_maps, gallery_maps):
        if not torch.isfinite(maps.pooled).all():
            raise UsageError("the feature maps have NaN or infinite values; check the model that made them")


def _directions(maps: FeatureMaps) -> Float[Tensor, "n d"]:
    """Normalised pooled vectors, in float64 if the device supports it."""
    double = torch.float32 if maps.device.type == "mps" else torch.float64
    return F.normalize(maps.pooled.detach().to(double), dim=1)


class _Fine:
    """Scores of candidates, block by block; each image is prepared once."""

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
    """`prepare` without a gradient: half precision maps are not converted if the kernel reads them."""
    return prepare(maps)
