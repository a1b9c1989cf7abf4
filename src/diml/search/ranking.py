"""Ranking: coarse by pooled vectors, then by the similarity of a shortlist, then exactly for the hits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.evaluation.shortlists import Shortlist
from diml.feature_maps import FeatureMaps
from diml.matching import Match, concentration
from diml.model import Query
from diml.search.coarse import nearest
from diml.search.hits import Hit
from diml.search.manifest import Manifest
from diml.search.schema import LARGE, PLAIN, WEIGHTS
from diml.search.stages import stage
from diml.search.store import Store
from diml.search.stored_maps import matrix, stored_local, stored_maps, stored_weights

# Hits whose plans are solved together.
CHUNK = 256
# Rows that are read together when every image of the index is matched.
BATCH = 4096
# Column with a row's rank by the pooled similarity.
POOLED_RANK = "_pooled_rank"


class ShownNumbers(NamedTuple):
    """The numbers of one pair that are shown with a hit."""

    similarity: float
    structural: float
    pooled: float
    concentration: float


class Ranked(NamedTuple):
    """The hits, and the number of images that were re-ranked for them."""

    hits: list[Hit]
    shortlist: int


def rank(store: Store, manifest: Manifest, query: Query, k: int, shortlist: Shortlist, where: str | None) -> Ranked:
    """The k images most similar to a query.

    1. The rows whose pooled vectors have the largest cosine with the query's, `max(k, shortlist)` of them, ties by id.
       Exact up to `exact_limit` candidates.
    2. These rows, ranked by similarity in float32 at the matcher's tolerance. A shortlist of 0 leaves this step out.
       "all" leaves step 1 out and ranks every candidate, read batch by batch; no plan is solved for images that
       provably are not among the best (see `diml.matching.top_k`).
    3. The k best and the one that follows, scored in float64 at 1e-6 and ordered by that number, ties by id.
    """
    check_query(query.maps, manifest)
    counts = Counts.of(store.count(where), k, shortlist)
    if counts.candidates == 0:
        return Ranked([], 0)
    if shortlist == "all":
        with stage("match"):
            rows = _best_of_all(store, query, manifest, k + 1, where)
            gallery = stored_maps(rows, manifest, store.codec)
            return Ranked(_hits(query, rows, gallery, k, by_pooled=False), counts.shortlist)
    exact = counts.candidates <= manifest.exact_limit
    with stage("coarse"):
        rows = nearest(store, coarse_vector(query), counts.coarse, where, exact)
    return rank_rows(store, query, rows, manifest, k, counts.shortlist)


def rank_rows(store: Store, query: Query, rows: pa.Table, manifest: Manifest, k: int, shortlist: int) -> Ranked:
    """Steps 2 and 3 of `rank`, for the rows that `nearest` found."""
    rows = rows.append_column(POOLED_RANK, pa.array(pooled_ranks(rows["_distance"].to_numpy())))
    with stage("fetch"):
        gallery = stored_maps(rows, manifest, store.codec)
    with stage("match"):
        if shortlist:
            best = _best(query.scores(gallery), rows["id"].to_pylist(), k + 1)
            rows, gallery = rows.take(best), gallery[best]
        return Ranked(_hits(query, rows, gallery, k, by_pooled=not shortlist), shortlist)


class Counts(NamedTuple):
    """How many images take part in each step.

    Attributes:
        candidates: of the index, or those that meet the condition.
        coarse: kept by the coarse ranking.
        shortlist: re-ranked by similarity.
    """

    candidates: int
    coarse: int
    shortlist: int

    @classmethod
    def of(cls, candidates: int, k: int, shortlist: Shortlist) -> Counts:
        """For k hits of so many candidates; the coarse ranking alone keeps one more, for the margin of the last.

        >>> [tuple(Counts.of(1000, 10, shortlist)) for shortlist in (100, 0, "all")]
        [(1000, 100, 100), (1000, 11, 0), (1000, 1000, 1000)]
        """
        if shortlist == 0:
            return cls(candidates, min(k + 1, candidates), 0)
        limit = candidates if shortlist == "all" else min(max(k, shortlist), candidates)
        return cls(candidates, limit, limit)


def coarse_vector(query: Query) -> np.ndarray:
    """(dim,) float32: the pooled vector, scaled by a power of two so that its length is of the order of 1."""
    vector: np.ndarray = query.maps.pooled[0].detach().float().cpu().numpy()
    scaled: np.ndarray = np.ldexp(vector, -np.frexp(np.abs(vector).max())[1])
    return scaled


def check_query(query: FeatureMaps, manifest: Manifest) -> None:
    """Check that a query can be compared with the images of an index.

    Raises:
        UsageError: another grid or dim, or values that are not finite.
    """
    if query.grid != manifest.grid or query.dim != manifest.dim:
        (h, w), (rows, columns) = query.grid, manifest.grid
        raise UsageError(
            f"expected a query of grid {rows}x{columns} and dim {manifest.dim}, got grid {h}x{w} and dim {query.dim}; "
            "encode it with the model of the index"
        )
    if not (query.local.isfinite().all() and query.pooled.isfinite().all()):
        raise UsageError("expected a finite feature map of the query, got NaN or infinite values; check its pixels")


def pooled_ranks(distances: np.ndarray) -> np.ndarray:
    """(n,) int64: 1 + how many of n rows are nearer; equal distances share a rank.

    >>> pooled_ranks(np.float32([0.1, 0.3, 0.1])).tolist()
    [1, 3, 1]
    """
    ranks: np.ndarray = 1 + np.searchsorted(np.sort(distances), distances)
    return ranks


def _best(scores: Float[Tensor, " n"], ids: Sequence[str], k: int) -> list[int]:
    """Numbers of the k images of the largest scores, ties by id."""
    values = scores.tolist()
    return sorted(range(len(ids)), key=lambda i: (-values[i], ids[i]))[:k]


def _best_of_all(store: Store, query: Query, manifest: Manifest, k: int, where: str | None) -> pa.Table:
    """The k rows of the largest similarity, ties by id. Memory grows by 4 bytes for each image of the index."""
    ranks = dict(store.read(lambda: _streamed(store, query, manifest, k, where)))
    rows = store.rows(list(ranks))
    return rows.append_column(POOLED_RANK, pa.array([ranks[id] for id in rows["id"].to_pylist()]))


def _streamed(store: Store, query: Query, manifest: Manifest, k: int, where: str | None) -> list[tuple[str, int]]:
    """Ids of the best, and their ranks in the coarse ranking of all."""
    best: list[tuple[float, str, float]] = []
    vector = coarse_vector(query)
    seen = []
    columns = ["id", "pooled", store.map_column, *([WEIGHTS] if manifest.weighted else [])]
    for batch in store.batches(columns, where, BATCH):
        rows = batch.sort_by("id")  # so that equal similarities, which are ordered by index, are ordered by id
        pooled = matrix(rows, "pooled")
        own = torch.from_numpy(pooled.copy()) if manifest.own_pooled else None
        local = stored_local(rows, manifest, store.codec)
        gallery = FeatureMaps(local, manifest.grid, own, weights=stored_weights(rows))
        indices, scores = query.best(gallery, k)
        cosine = _cosine(pooled, vector)
        seen.append(cosine)
        ids = rows["id"].take(indices.cpu().numpy()).to_pylist()
        found = zip(scores.tolist(), ids, cosine[indices.cpu().numpy()].tolist(), strict=True)
        best = sorted([*best, *((-score, id, coarse) for score, id, coarse in found)])[:k]
    every = np.sort(-np.concatenate(seen)) if seen else np.empty(0)
    return [(id, 1 + int(np.searchsorted(every, -coarse))) for _, id, coarse in best]


def _cosine(pooled: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(n,) float32; 0 if one of the vectors is all zero."""
    norms = np.linalg.norm(pooled, axis=1) * np.linalg.norm(vector)
    dots = np.einsum("nd,d->n", pooled, vector, dtype=np.float32)
    cosine: np.ndarray = np.divide(dots, norms, out=np.zeros(len(pooled), np.float32), where=norms > 0)
    return cosine


def _hits(query: Query, rows: pa.Table, gallery: FeatureMaps, k: int, by_pooled: bool) -> list[Hit]:
    """The k best of the rows; the one that follows them, if there is one, gives the margin of the last."""
    solved: list[tuple[ShownNumbers, Match]] = []
    for at in range(0, len(gallery), CHUNK):
        match = query.match(gallery[at : at + CHUNK])
        maps_a = match.maps_a[[0]]  # the same for all; a slice would keep a copy for each hit
        matches = (dataclasses.replace(match[i], maps_a=maps_a) for i in range(len(match)))
        solved += zip(shown_numbers(match), matches, strict=True)
    large = [name for name in LARGE if name in rows.column_names and name != "thumbnail"]
    records = rows.drop_columns(large).to_pylist()
    shown = [numbers.pooled if by_pooled else numbers.similarity for numbers, _ in solved]
    order = sorted(range(len(records)), key=lambda i: (-shown[i], records[i]["id"]))
    margins = [shown[i] - shown[after] for i, after in itertools.pairwise(order)] + [None]
    names = [name for name in rows.column_names if name not in (*PLAIN, *LARGE, "_distance", POOLED_RANK)]
    return [
        _hit(rank, records[i], *solved[i], margin, names)
        for rank, (i, margin) in enumerate(zip(order[:k], margins, strict=False), start=1)
    ]


def shown_numbers(match: Match) -> list[ShownNumbers]:
    """The numbers of each pair of a match."""
    columns = (match.similarity, match.structural, match.pooled, concentration(match.plan))
    return [ShownNumbers(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def _hit(
    rank: int,
    record: dict[str, Any],
    numbers: ShownNumbers,
    match: Match,
    margin: float | None,
    names: Sequence[str],
) -> Hit:
    return Hit(
        rank=rank,
        id=record["id"],
        path=record["path"],
        label=record["label"],
        **numbers._asdict(),
        pooled_rank=record[POOLED_RANK],
        margin=margin,
        columns={name: record[name] for name in names},
        size=(record["width"], record["height"]),
        thumbnail=record["thumbnail"],
        match=match,
    )
