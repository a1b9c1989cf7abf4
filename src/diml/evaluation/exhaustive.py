"""Matching every pair by its parts: the best of each query are kept while tiles of similarities are computed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.evaluation.order import best
from diml.matching import Matcher, UnitMaps, top_k

# If each query needs fewer than one in so many images, bounds save more plans than they cost.
SPARSE = 20
# Queries that are ranked at a time.
BLOCK = 256

# Called with the number of queries done, counted by their pairs, and the number of queries.
Counter = Callable[[int, int], None]


def best_of_all(
    matcher: Matcher, queries: UnitMaps, gallery: UnitMaps | None, places: int, counter: Counter | None = None
) -> Int[Tensor, "q places"]:
    """Indices of the images most similar to each query, best first, equal ones by index.

    Args:
        queries: of q images.
        gallery: of n images; None for the queries themselves, each left out of its own ranking. Each unordered pair is
            then solved once, with the lower index first, unless the transport is one-sided.
        places: number of images for each query.
        counter: called with the progress.

    >>> rows = torch.nn.functional.normalize(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[2.0, 1.0]]]), dim=-1)
    >>> best_of_all(Matcher(), UnitMaps(rows.repeat(1, 2, 1)), None, 1)[:, 0]
    tensor([2, 2, 0])
    """
    if gallery is None:
        return _among_themselves(matcher, queries, places, counter)
    found = []
    for start in range(0, len(queries), BLOCK):
        rows = queries[start : start + BLOCK]
        cut = matcher.of_images(slice(start, start + BLOCK), slice(None))
        if places * SPARSE <= len(gallery):
            found.append(top_k(cut, rows, gallery, places).indices)
        else:
            kept = _Best(rows, places)
            for tile in cut.tiles(rows, gallery):
                kept.take(tile.rows, tile.columns, tile.similarity)
            found.append(kept.indices)
        if counter is not None:
            counter(min(start + BLOCK, len(queries)), len(queries))
    return torch.cat(found)


def _among_themselves(
    matcher: Matcher, images: UnitMaps, places: int, counter: Counter | None
) -> Int[Tensor, "n places"]:
    n = len(images)
    kept = _Best(images, places)
    done = 0
    for tile in matcher.tiles(images, images):
        similarity = tile.similarity
        # Of symmetric scores there are no tiles below the diagonal.
        mirrored = matcher.symmetric and tile.rows != tile.columns
        if tile.rows == tile.columns:
            similarity = similarity.clone().fill_diagonal_(-torch.inf)
        if mirrored:
            kept.take(tile.columns, tile.rows, similarity.mT)
        kept.take(tile.rows, tile.columns, similarity)
        done += similarity.numel() * (2 if mirrored else 1)
        if counter is not None:
            counter(done // n, n)
    return kept.indices


class _Best:
    """The best of each query so far. Tiles come in the order of their columns, so that equal scores keep it."""

    def __init__(self, queries: UnitMaps, places: int) -> None:
        shape, device = (len(queries), places), queries.device
        self.scores: Float[Tensor, "q places"] = torch.full(shape, -torch.inf, dtype=queries.dtype, device=device)
        self.indices: Int[Tensor, "q places"] = torch.zeros(shape, dtype=torch.int64, device=device)

    def take(self, rows: slice, columns: slice, similarity: Float[Tensor, "rows columns"]) -> None:
        scores = torch.cat([self.scores[rows], similarity], dim=1)
        index = torch.arange(columns.start, columns.stop, device=scores.device).expand(len(similarity), -1)
        order = best(scores, self.scores.shape[1])
        self.scores[rows] = scores.gather(1, order)
        self.indices[rows] = torch.cat([self.indices[rows], index], dim=1).gather(1, order)
