"""The best of all images by their parts: of every map that is stored, or of those that a bound does not exclude."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from diml.errors import UsageError
from diml.matching import CodedMaps
from diml.model import Query
from diml.search.coarse import POOLED_RANK, coarse_vector
from diml.search.manifest import Manifest
from diml.search.schema import SKETCH, WEIGHTS
from diml.search.stored_maps import matrix, stored_weights, unread_maps
from diml.search.stored_rows import StoredRows

# Rows that are read together.
BATCH = 4096
# Sketches that are decoded together: few enough to stay in the processor's cache.
DECODED = 256
# Maps that are read first, to compare bounds with the best of them.
FIRST = 128


class Best(NamedTuple):
    """The rows that were found, with their ranks by the pooled similarity, and how many maps were read for them."""

    rows: pa.Table
    maps_read: int


class _Found(NamedTuple):
    """An image; sorted, the best come first, equal ones by id."""

    below: float
    id: str
    cosine: float


class _Rows(NamedTuple):
    """Some rows, ordered by id, so that equal similarities, which are ordered by index, are ordered by id."""

    ids: pa.ChunkedArray
    pooled: np.ndarray
    maps: CodedMaps

    @classmethod
    def read(cls, rows: pa.Table, store: StoredRows, manifest: Manifest) -> _Rows:
        rows = rows.sort_by("id")
        return cls(rows["id"], matrix(rows, "pooled"), unread_maps(rows, manifest, store.codec))


def best_of_all(
    store: StoredRows, queries: Sequence[Query], manifest: Manifest, k: int, where: str | None
) -> list[Best]:
    """For each of several queries the k rows of the largest similarity, ties by id; maps are read once for all of them.

    Memory grows by 4 bytes for each query and image of the index.
    """
    found = store.read(lambda: _streamed(store, queries, manifest, k, where))
    return [_rows(store, best, cosines, len(cosines)) for best, cosines in found]


def best_proven(store: StoredRows, query: Query, manifest: Manifest, k: int, where: str | None) -> Best:
    """The same rows, from the maps alone whose upper bound reaches the k-th best similarity.

    Bounds come from the pooled vectors and the sketches, which are read of every image; maps are read by their bound,
    the largest first. Memory grows by some 100 bytes for each image of the index.

    Raises:
        UsageError: the index has no sketches.
    """
    if store.sketches is None:
        raise UsageError(
            f"expected an index with sketches for the shortlist proven, {store.name} has none; use all, or make a "
            "copy with sketches: diml index INDEX --into COPY --recode float16 --sketches"
        )
    return _rows(store, *store.read(lambda: _bounded(store, query, manifest, k, where)))


def _rows(store: StoredRows, best: Sequence[_Found], cosines: np.ndarray, maps_read: int) -> Best:
    every = np.sort(-cosines)
    ranks = {found.id: 1 + int(np.searchsorted(every, -np.float32(found.cosine))) for found in best}
    rows = store.rows(list(ranks))
    return Best(rows.append_column(POOLED_RANK, pa.array([ranks[id] for id in rows["id"].to_pylist()])), maps_read)


def _streamed(
    store: StoredRows, queries: Sequence[Query], manifest: Manifest, k: int, where: str | None
) -> list[tuple[list[_Found], np.ndarray]]:
    best: list[list[_Found]] = [[] for _ in queries]
    seen = [[np.empty(0, np.float32)] for _ in queries]
    for batch in store.batches(_columns(store, manifest), where, BATCH):
        rows = _Rows.read(batch, store, manifest)
        for at, query in enumerate(queries):
            best[at], cosines = _joined(best[at], query, rows, k)
            seen[at].append(cosines)
    return [(found, np.concatenate(cosines)) for found, cosines in zip(best, seen, strict=True)]


def _bounded(
    store: StoredRows, query: Query, manifest: Manifest, k: int, where: str | None
) -> tuple[list[_Found], np.ndarray, int]:
    ids, upper, cosines = _bounds(store, query, manifest, where)
    order = np.argsort(-upper, kind="stable")
    best: list[_Found] = []
    maps_read, size = 0, FIRST
    while len(order):
        piece, order, size = order[:size], order[size:], min(2 * size, BATCH)
        wanted = [ids[at] for at in piece]
        rows = _Rows.read(store.scan_ids(_columns(store, manifest), wanted), store, manifest)
        best, _ = _joined(best, query, rows, k)
        maps_read += len(rows.ids)
        if len(best) == k:
            # Not below: an equal one comes first if its id does.
            order = order[upper[order] >= -best[-1].below]
    return best, cosines, maps_read


def _bounds(
    store: StoredRows, query: Query, manifest: Manifest, where: str | None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The id, the upper bound and the pooled similarity of each image."""
    sketches, vector, units = store.sketches, coarse_vector(query), query.units
    assert sketches is not None
    ids: list[str] = []
    upper, cosines = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    columns = ["id", "pooled", SKETCH, *([WEIGHTS] if manifest.weighted else [])]
    for rows in store.batches(columns, where, BATCH):
        cosine = _cosine(matrix(rows, "pooled"), vector)
        stored, weights = torch.from_numpy(matrix(rows, SKETCH).copy()), stored_weights(rows)
        if weights is None:
            weights = torch.full((len(rows), sketches.parts), 1 / sketches.parts)
        ids += rows["id"].to_pylist()
        cosines.append(cosine)
        for at in range(0, len(rows), DECODED):
            sketch, piece = sketches.decode(stored[at : at + DECODED]), slice(at, at + DECODED)
            pooled = torch.from_numpy(cosine[piece]) + sketch.slack
            upper.append(query.upper_bounds(pooled, sketch.likeness(units), weights[piece]).numpy())
    return ids, np.concatenate(upper), np.concatenate(cosines)


def _columns(store: StoredRows, manifest: Manifest) -> list[str]:
    return ["id", "pooled", store.map_column, *([WEIGHTS] if manifest.weighted else [])]


def _joined(best: list[_Found], query: Query, rows: _Rows, k: int) -> tuple[list[_Found], np.ndarray]:
    """The k best of those that were found before and of some more rows, and the pooled similarity of all of these."""
    indices, scores = query.best(rows.maps, k, -best[-1].below if len(best) == k else None)
    at = indices.cpu().numpy()
    cosines = _cosine(rows.pooled, coarse_vector(query))
    found = zip(scores.tolist(), rows.ids.take(at).to_pylist(), cosines[at].tolist(), strict=True)
    return sorted([*best, *(_Found(-score, id, cosine) for score, id, cosine in found)])[:k], cosines


def _cosine(pooled: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(n,) float32; 0 if one of the vectors is all zero."""
    norms = np.linalg.norm(pooled, axis=1) * np.linalg.norm(vector)
    dots = np.einsum("nd,d->n", pooled, vector, dtype=np.float32)
    cosine: np.ndarray = np.divide(dots, norms, out=np.zeros(len(pooled), np.float32), where=norms > 0)
    return cosine
