"""Search: coarse by the pooled vectors, fine by the similarity of a shortlist, exact for the hits that are shown."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Match, concentration
from diml.model import Query
from diml.search.coarse import nearest
from diml.search.hits import Hit, SearchResult
from diml.search.manifest import Manifest
from diml.search.schema import LARGE, PLAIN
from diml.search.store import Store

# Hits whose plans are held at once.
CHUNK = 256
# Rows that are read at once where every image of the index is matched.
BATCH = 4096
# The column of a row's place in the coarse ranking.
POOLED_RANK = "_pooled_rank"

# How many images are re-ranked; "all" matches every image in question by its parts.
Shortlist = int | Literal["all"]


class Scores(NamedTuple):
    """Similarity and its two halves, of one pair, as they are shown, and how sure the plan is."""

    similarity: float
    structural: float
    pooled: float
    concentration: float


def search(
    store: Store,
    manifest: Manifest,
    query: Query,
    k: int,
    shortlist: Shortlist,
    where: str | None,
) -> SearchResult:
    """The k images most similar to a query.

    1. The rows of the largest cosine of pooled vectors, `max(k, shortlist)` of them, ties by id. Exact, unless more
       than `exact_limit` images are in question.
    2. Those, ranked by similarity in float32 at the matcher's tolerance. With a shortlist of 0 this step is left out.
       With "all" every image in question takes part, read batch by batch, and 1 is left out; so are the plans of images
       that provably are not among the best (see `diml.matching.top_k`).
    3. The k best and the one after them, scored in float64 at 1e-6 and ordered by that number, ties by id.
    """
    check_numbers(k, shortlist)
    _check_query(query.maps, manifest)
    candidates = store.count(where)
    limit = candidates if shortlist == "all" else min(max(k, shortlist), candidates)
    effective = limit if shortlist else 0
    if limit == 0:
        return SearchResult([], k, effective)
    if shortlist == "all":
        rows = _best_of_all(store, query, manifest.own_pooled, k + 1, where)
        return SearchResult(_hits(query, rows, stored_maps(rows, manifest), k, by_pooled=False), k, effective)
    limit = limit if shortlist else min(k + 1, candidates)
    rows = _ranked(nearest(store, coarse_vector(query), limit, where, exact=candidates <= manifest.exact_limit))
    gallery = stored_maps(rows, manifest)
    if shortlist:
        rows, gallery = _best(query, rows, gallery, k + 1)
    return SearchResult(_hits(query, rows, gallery, k, by_pooled=not shortlist), k, effective)


def check_numbers(k: int, shortlist: Shortlist) -> None:
    if k < 1:
        raise UsageError(f"k={k} came; expected at least 1 hit to be asked for")
    if shortlist != "all" and (isinstance(shortlist, str) or shortlist < 0):
        raise UsageError(f"shortlist={shortlist} came; expected 0 (keep the pooled ranking) or more, or all")


def coarse_vector(query: Query) -> np.ndarray:
    """(dim,) float32."""
    vector: np.ndarray = query.maps.pooled[0].detach().float().cpu().numpy()
    return vector


def stored_maps(rows: pa.Table, manifest: Manifest) -> FeatureMaps:
    """(n, r, d) float32 maps of rows, with geometry, on the CPU."""
    parts = manifest.grid[0] * manifest.grid[1]
    local = _matrix(rows, "map").reshape(len(rows), parts, manifest.dim)
    pooled = torch.from_numpy(_matrix(rows, "pooled").copy()) if manifest.own_pooled else None
    size = np.stack([rows["width"].to_numpy(), rows["height"].to_numpy()], axis=1).astype(np.int64)
    geometry = Geometry(torch.from_numpy(size), torch.from_numpy(_matrix(rows, "visible").copy()))
    return FeatureMaps(torch.from_numpy(local.astype(np.float32)), manifest.grid, pooled, geometry)


def _check_query(query: FeatureMaps, manifest: Manifest) -> None:
    if query.grid != manifest.grid or query.dim != manifest.dim:
        (h, w), (rows, columns) = query.grid, manifest.grid
        raise UsageError(
            f"a query of grid {h}x{w} and dim {query.dim} came to an index of grid {rows}x{columns} and dim "
            f"{manifest.dim}; encode it with the index's own model"
        )
    if not (query.local.isfinite().all() and query.pooled.isfinite().all()):
        raise UsageError("the feature map of the query is not finite; give an image without NaN pixels")


def _matrix(rows: pa.Table, name: str) -> np.ndarray:
    """(n, length) values of a column of lists of one length."""
    column = rows[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    values: np.ndarray = column.flatten().to_numpy()
    return values.reshape(len(rows), -1)


def _ranked(rows: pa.Table) -> pa.Table:
    """With each row's place among them; equal distances share one."""
    distance = rows["_distance"].to_numpy()
    return rows.append_column(POOLED_RANK, pa.array(1 + np.searchsorted(np.sort(distance), distance)))


def _best(query: Query, rows: pa.Table, gallery: FeatureMaps, k: int) -> tuple[pa.Table, FeatureMaps]:
    scores = query.scores(gallery).tolist()
    ids = rows["id"].to_pylist()
    best = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
    return rows.take(best), gallery[best]


def _best_of_all(store: Store, query: Query, own_pooled: bool, k: int, where: str | None) -> pa.Table:
    """The k rows of the largest similarity, ties by id; memory grows with the index by 4 bytes an image."""
    ranks = dict(store.read(lambda: _streamed(store, query, own_pooled, k, where)))
    rows = store.rows(list(ranks))
    return rows.append_column(POOLED_RANK, pa.array([ranks[id] for id in rows["id"].to_pylist()]))


def _streamed(store: Store, query: Query, own_pooled: bool, k: int, where: str | None) -> list[tuple[str, int]]:
    """Ids of the best, and their places in the coarse ranking of all."""
    best: list[tuple[float, str, float]] = []
    vector = coarse_vector(query)
    seen = []
    for batch in store.batches(["id", "map", "pooled"], where, BATCH):
        rows = batch.sort_by("id")  # equal similarities are ordered by index, which then is by id
        pooled = _matrix(rows, "pooled")
        local = torch.from_numpy(_matrix(rows, "map").copy()).reshape(len(rows), -1, query.maps.dim)
        gallery = FeatureMaps(local, query.maps.grid, torch.from_numpy(pooled.copy()) if own_pooled else None)
        indices, scores = query.best(gallery, k)
        cosine = _cosine(pooled, vector)
        seen.append(cosine)
        ids = rows["id"].take(indices.cpu().numpy()).to_pylist()
        found = zip(scores.tolist(), ids, cosine[indices.cpu().numpy()].tolist(), strict=True)
        best = sorted([*best, *((-score, id, coarse) for score, id, coarse in found)])[:k]
    every = np.sort(-np.concatenate(seen)) if seen else np.empty(0)
    return [(id, 1 + int(np.searchsorted(every, -coarse))) for _, id, coarse in best]


def _cosine(pooled: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(n,) float32; 0 where a vector is all zero."""
    norms = np.linalg.norm(pooled, axis=1) * np.linalg.norm(vector)
    dots = np.einsum("nd,d->n", pooled, vector, dtype=np.float32)
    cosine: np.ndarray = np.divide(dots, norms, out=np.zeros(len(pooled), np.float32), where=norms > 0)
    return cosine


def _hits(query: Query, rows: pa.Table, gallery: FeatureMaps, k: int, by_pooled: bool) -> list[Hit]:
    """The k best of the rows; what comes after the last of them, if anything, tells its margin."""
    chunks = (gallery[at : at + CHUNK] for at in range(0, len(gallery), CHUNK))
    scores = [score for chunk in chunks for score in scores_shown(query, chunk)]
    records = rows.drop_columns(["map", "pooled", "visible"]).to_pylist()
    shown = [score.pooled if by_pooled else score.similarity for score in scores]
    order = sorted(range(len(records)), key=lambda i: (-shown[i], records[i]["id"]))
    margins = [shown[i] - shown[after] for i, after in itertools.pairwise(order)] + [None]
    names = [name for name in rows.column_names if name not in (*PLAIN, *LARGE, "_distance", POOLED_RANK)]
    return [
        _hit(rank, records[i], scores[i], margin, names, functools.partial(query.match, gallery[i]))
        for rank, (i, margin) in enumerate(zip(order[:k], margins, strict=False), start=1)
    ]


def scores_shown(query: Query, gallery: FeatureMaps) -> list[Scores]:
    """In float64, solved to 1e-6."""
    match = query.match(gallery)
    columns = (match.similarity, match.structural, match.pooled, concentration(match.plan))
    return [Scores(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def _hit(
    rank: int,
    record: dict[str, Any],
    scores: Scores,
    margin: float | None,
    names: Sequence[str],
    explain: Callable[[], Match],
) -> Hit:
    return Hit(
        rank=rank,
        id=record["id"],
        path=record["path"],
        label=record["label"],
        **scores._asdict(),
        pooled_rank=record[POOLED_RANK],
        margin=margin,
        columns={name: record[name] for name in names},
        size=(record["width"], record["height"]),
        thumbnail=record["thumbnail"],
        _explain=explain,
    )
