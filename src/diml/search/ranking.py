"""Ranking: coarse by pooled vectors, then by the similarity of a shortlist, then exactly for the hits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Match, concentration
from diml.model import Query
from diml.search.coarse import POOLED_RANK, coarse_vector, nearest, pooled_ranks
from diml.search.exhaustive import best_of_all, best_proven
from diml.search.hits import Hit
from diml.search.limits import SearchShortlist
from diml.search.manifest import Manifest
from diml.search.schema import LARGE, PLAIN, SHARD
from diml.search.stages import stage
from diml.search.stored_maps import stored_maps, unread_maps
from diml.search.stored_rows import StoredRows

# Hits whose plans are solved together.
CHUNK = 256


class ShownNumbers(NamedTuple):
    """The numbers of one pair that are shown with a hit."""

    similarity: float
    structural: float
    pooled: float
    concentration: float


class Ranked(NamedTuple):
    """The hits, the number of images that were re-ranked for them, and, if that was less, of maps that were read."""

    hits: list[Hit]
    shortlist: int
    maps_read: int | None = None


def rank(
    store: StoredRows, manifest: Manifest, query: Query, k: int, shortlist: SearchShortlist, where: str | None
) -> Ranked:
    """The k images most similar to a query.

    1. The rows whose pooled vectors have the largest cosine with the query's, `max(k, shortlist)` of them, ties by id.
       Exact up to `exact_limit` candidates in each table.
    2. These rows, ranked by similarity in float32 at the matcher's tolerance. A shortlist of 0 leaves this step out.
       "all" leaves step 1 out and ranks every candidate, read batch by batch; no plan is solved for images that
       provably are not among the best (see `diml.matching.top_k`). "proven" gives the same, and does not read the maps
       of images that are excluded by a bound from their sketches.
    3. The k best and the one that follows, scored in float64 at 1e-6 and ordered by that number, ties by id.
    """
    check_query(query.maps, manifest)
    candidates = store.counts(where)
    counts = Counts.of(sum(candidates), k, shortlist)
    if counts.candidates == 0:
        return Ranked([], 0)
    if shortlist == "all":
        return rank_all(store, manifest, [query], k, counts.shortlist, where)[0]
    if shortlist == "proven":
        with stage("match"):
            rows, maps_read = best_proven(store, query, manifest, k + 1, where)
            hits = _hits(query, rows, stored_maps(rows, manifest, store.codec), k, by_pooled=False)
            return Ranked(hits, counts.shortlist, maps_read)
    exact = max(candidates) <= manifest.exact_limit
    with stage("coarse"):
        rows = nearest(store, coarse_vector(query), counts.coarse, where, exact)
    return rank_rows(store, query, rows, manifest, k, counts.shortlist)


def rank_all(
    store: StoredRows, manifest: Manifest, queries: Sequence[Query], k: int, candidates: int, where: str | None
) -> list[Ranked]:
    """Steps 2 and 3 of `rank`, for all of so many candidates, which are read once for all queries."""
    with stage("match"):
        found = best_of_all(store, queries, manifest, k + 1, where)
        maps = (stored_maps(best.rows, manifest, store.codec) for best in found)
        return [
            Ranked(_hits(query, best.rows, some, k, by_pooled=False), candidates)
            for query, best, some in zip(queries, found, maps, strict=True)
        ]


def rank_rows(store: StoredRows, query: Query, rows: pa.Table, manifest: Manifest, k: int, shortlist: int) -> Ranked:
    """Steps 2 and 3 of `rank`, for the rows that `nearest` found."""
    rows = rows.append_column(POOLED_RANK, pa.array(pooled_ranks(rows["_distance"].to_numpy())))
    with stage("fetch"):
        gallery = unread_maps(rows, manifest, store.codec)
    with stage("match"):
        if shortlist:
            rows = rows.take(_best(query.scores(gallery), rows["id"].to_pylist(), k + 1))
        maps = stored_maps(rows, manifest, store.codec)
        return Ranked(_hits(query, rows, maps, k, by_pooled=not shortlist), shortlist)


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
    def of(cls, candidates: int, k: int, shortlist: SearchShortlist) -> Counts:
        """For k hits of so many candidates; the coarse ranking alone keeps one more, for the margin of the last.

        >>> [tuple(Counts.of(1000, 10, shortlist)) for shortlist in (100, 0, "all")]
        [(1000, 100, 100), (1000, 11, 0), (1000, 1000, 1000)]
        """
        if shortlist == 0:
            return cls(candidates, min(k + 1, candidates), 0)
        limit = candidates if isinstance(shortlist, str) else min(max(k, shortlist), candidates)
        return cls(candidates, limit, limit)


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


def _best(scores: Float[Tensor, " n"], ids: Sequence[str], k: int) -> list[int]:
    """Numbers of the k images of the largest scores, ties by id."""
    values = scores.tolist()
    return sorted(range(len(ids)), key=lambda i: (-values[i], ids[i]))[:k]


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
    names = [name for name in rows.column_names if name not in (*PLAIN, *LARGE, "_distance", POOLED_RANK, SHARD)]
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
        shard=record.get(SHARD),
    )
