"""Ranking for many queries at once: the index is read once for a block of queries, not once for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from diml.model import Query
from diml.search.coarse import coarse_vector, cosine_distances, measured, rounding
from diml.search.limits import EXHAUSTIVE, SearchShortlist
from diml.search.manifest import Manifest
from diml.search.ranking import Counts, Ranked, check_query, rank, rank_all, rank_rows
from diml.search.stages import stage
from diml.search.stored_maps import matrix
from diml.search.stored_rows import StoredRows

# Queries that are ranked together, if the maps of all their shortlists are no more numbers than this.
BLOCK, HELD = 64, 2**26
# Pooled similarities that are held at once, where every query is matched with every image.
COSINES = 2**26
# Rows whose pooled vectors are read together.
BATCH = 8192
# Instead of the distance of a row whose pooled vector, or the query's, is all zero: it follows all others.
BEHIND = np.float32(3)


def block_size(manifest: Manifest, k: int, shortlist: SearchShortlist) -> int:
    """How many queries to rank together; fewer if the maps of their shortlists are large."""
    rows = k if isinstance(shortlist, str) else max(k, shortlist)
    return min(BLOCK, max(1, HELD // (rows * manifest.grid[0] * manifest.grid[1] * manifest.dim)))


def rank_many(
    store: StoredRows,
    manifest: Manifest,
    queries: Sequence[Query],
    k: int,
    shortlist: SearchShortlist,
    where: str | None,
) -> list[Ranked]:
    """As `rank`, for each of several queries: the same hits in the same order, with the same numbers.

    The pooled vectors are read once and compared with all queries by one matrix product. Its rounding decides nothing:
    rows that it cannot tell apart from the last one that is kept are compared as `nearest` compares them. Then the rows
    that were found for any query are read once.

    If every image is matched, the maps are read once for as many queries as `COSINES` allows. Queries are ranked one by
    one where the index is searched by its graph, or by bounds.
    """
    for query in queries:
        check_query(query.maps, manifest)
    candidates = store.counts(where)
    counts = Counts.of(sum(candidates), k, shortlist)
    if shortlist == "all" and counts.candidates:
        size = max(1, COSINES // counts.candidates)
        blocks = (queries[start : start + size] for start in range(0, len(queries), size))
        return [found for some in blocks for found in rank_all(store, manifest, some, k, counts.shortlist, where)]
    if len(queries) < 2 or shortlist in EXHAUSTIVE or not 0 < max(candidates) <= manifest.exact_limit:
        return [rank(store, manifest, query, k, shortlist, where) for query in queries]
    with stage("coarse"):
        vectors = [coarse_vector(query) for query in queries]
        found = nearest_of_each(store, vectors, counts.coarse, where)
    return [
        rank_rows(store, query, rows, manifest, k, counts.shortlist) for query, rows in zip(queries, found, strict=True)
    ]


def nearest_of_each(
    store: StoredRows, vectors: Sequence[np.ndarray], limit: int, where: str | None = None
) -> Iterator[pa.Table]:
    """For each of several vectors the rows that `nearest` finds, by an exact search."""
    nearest = store.read(lambda: _scanned(store, vectors, limit, where))
    rows = store.rows(sorted({id for ids in nearest for id in ids})).combine_chunks()
    places = {id: at for at, id in enumerate(rows["id"].to_pylist())}
    # Without those that another process has removed since.
    at = ([places[id] for id in ids if id in places] for ids in nearest)
    return (measured(rows.take(some), vector) for some, vector in zip(at, vectors, strict=True))


def _scanned(store: StoredRows, vectors: Sequence[np.ndarray], limit: int, where: str | None) -> list[list[str]]:
    units = np.stack([_units(vector[None])[0] for vector in vectors])
    kept = [_Kept(vector, limit) for vector in vectors]
    for batch in store.batches(["id", "pooled"], where, BATCH):
        pooled = matrix(batch, "pooled")
        others = _units(pooled)
        distances = 1 - units @ others.T
        distances[~units.any(axis=1)] = distances[:, ~others.any(axis=1)] = BEHIND
        ids = np.array(batch["id"].to_pylist())
        for each, row in zip(kept, distances, strict=True):
            each.take(ids, pooled, row)
    return [each.ids.tolist() for each in kept]


def _units(vectors: np.ndarray) -> np.ndarray:
    """(n, d) float32, with vectors that are all zero left as they are."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    units: np.ndarray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return units


@dataclass
class _Kept:
    """The nearest rows of one query so far, nearest first, ties by id."""

    vector: np.ndarray
    limit: int
    distances: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, str))

    def take(self, ids: np.ndarray, pooled: np.ndarray, distances: np.ndarray) -> None:
        """Take what is nearer of further rows, whose distances are known within rounding."""
        edge = self.distances[-1] if len(self.ids) == self.limit else np.inf
        if len(ids) > self.limit:
            edge = min(edge, np.partition(distances, self.limit - 1)[self.limit - 1])
        near = np.flatnonzero(distances <= edge + 2 * rounding(len(self.vector)))
        own = cosine_distances(pooled[near], self.vector)
        every = np.concatenate([self.distances, np.where(distances[near] == BEHIND, BEHIND, own)])
        names = np.concatenate([self.ids, ids[near]])
        order = np.lexsort((names, every))[: self.limit]
        self.distances, self.ids = every[order], names[order]
