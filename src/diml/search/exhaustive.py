"""The best of all images by their parts: of every map that is stored, or of those that a bound does not exclude."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from diml.errors import UsageError
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
        for at, cosines in enumerate(_matched(batch, store, queries, manifest, best, k)):
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
        rows = store.scan_ids(_columns(store, manifest), wanted)
        list(_matched(rows, store, [query], manifest, [best], k))
        maps_read += len(rows)
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


def _matched(
    batch: pa.Table,
    store: StoredRows,
    queries: Sequence[Query],
    manifest: Manifest,
    best: Sequence[list[_Found]],
    k: int,
) -> Iterator[np.ndarray]:
    """Put the k best of some rows among the best of each query so far; gives the pooled similarities of all rows."""
    rows = batch.sort_by("id")  # so that equal similarities, which are ordered by index, are ordered by id
    pooled, maps = matrix(rows, "pooled"), unread_maps(rows, manifest, store.codec)
    for query, so_far in zip(queries, best, strict=True):
        indices, scores = query.best(maps, k, -so_far[-1].below if len(so_far) == k else None)
        cosines = _cosine(pooled, coarse_vector(query))
        ids = rows["id"].take(indices.cpu().numpy()).to_pylist()
        near = cosines[indices.cpu().numpy()].tolist()
        found = (_Found(-score, id, cosine) for score, id, cosine in zip(scores.tolist(), ids, near, strict=True))
        so_far[:] = sorted([*so_far, *found])[:k]
        yield cosines


def _cosine(pooled: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(n,) float32; 0 if one of the vectors is all zero."""
    norms = np.linalg.norm(pooled, axis=1) * np.linalg.norm(vector)
    dots = np.einsum("nd,d->n", pooled, vector, dtype=np.float32)
    cosine: np.ndarray = np.divide(dots, norms, out=np.zeros(len(pooled), np.float32), where=norms > 0)
    return cosine
