"""Search: coarse by the pooled vectors, fine by the similarity of a shortlist, exact for the hits that are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Match, top_k
from diml.model import StructuralModel
from diml.search.coarse import nearest
from diml.search.hits import Hit, SearchResult
from diml.search.manifest import Manifest
from diml.search.schema import LARGE, PLAIN
from diml.search.store import Store

# Hits whose plans are held at once.
CHUNK = 256
# Rows that are read at once where every image of the index is matched.
BATCH = 4096


# How many images are re-ranked; "all" matches every image in question by its parts.
Shortlist = int | Literal["all"]


class Scores(NamedTuple):
    """Similarity and its two halves, of one pair, as they are shown."""

    similarity: float
    structural: float
    pooled: float


def search(
    store: Store,
    manifest: Manifest,
    model: StructuralModel,
    query: FeatureMaps,
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
    3. The k best, scored in float64 at 1e-6 and ordered by that number, ties by id.

    Args:
        query: maps of one image.
    """
    check_numbers(k, shortlist)
    _check_query(query, manifest)
    candidates = store.count(where)
    limit = candidates if shortlist == "all" else min(max(k, shortlist), candidates)
    effective = limit if shortlist else 0
    if limit == 0:
        return SearchResult([], k, effective)
    if shortlist == "all":
        rows = _best_of_all(store, model, query, k, where)
        return SearchResult(_hits(model, query, rows, stored_maps(rows, manifest), by_pooled=False), k, effective)
    vector = query.pooled[0].detach().float().cpu().numpy()
    rows = nearest(store, vector, limit, where, exact=candidates <= manifest.exact_limit)
    gallery = stored_maps(rows, manifest)
    if shortlist:
        rows, gallery = _best(model, query, rows, gallery, k)
    return SearchResult(_hits(model, query, rows, gallery, by_pooled=not shortlist), k, effective)


def check_numbers(k: int, shortlist: Shortlist) -> None:
    if k < 1:
        raise UsageError(f"k={k} came; expected at least 1 hit to be asked for")
    if shortlist != "all" and (isinstance(shortlist, str) or shortlist < 0):
        raise UsageError(f"shortlist={shortlist} came; expected 0 (keep the pooled ranking) or more, or all")


def stored_maps(rows: pa.Table, manifest: Manifest) -> FeatureMaps:
    """(n, r, d) float32 maps of rows, with geometry, on the CPU."""
    parts = manifest.grid[0] * manifest.grid[1]
    local = _matrix(rows, "map").reshape(len(rows), parts, manifest.dim)
    pooled = torch.from_numpy(_matrix(rows, "pooled").copy()) if manifest.own_pooled else None
    size = np.stack([rows["width"].to_numpy(), rows["height"].to_numpy()], axis=1).astype(np.int64)
    geometry = Geometry(torch.from_numpy(size), torch.from_numpy(_matrix(rows, "visible").copy()))
    return FeatureMaps(torch.from_numpy(local.astype(np.float32)), manifest.grid, pooled, geometry)


def _check_query(query: FeatureMaps, manifest: Manifest) -> None:
    if len(query) != 1:
        raise UsageError(f"maps of {len(query)} images came as a query; search with one at a time")
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


def _best(
    model: StructuralModel, query: FeatureMaps, rows: pa.Table, gallery: FeatureMaps, k: int
) -> tuple[pa.Table, FeatureMaps]:
    every = torch.arange(len(gallery))[None]
    scores = model.matcher.rerank(query.detach(), gallery.to(query.device), every)[0].tolist()
    ids = rows["id"].to_pylist()
    best = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
    return rows.take(best), gallery[best]


def _best_of_all(store: Store, model: StructuralModel, query: FeatureMaps, k: int, where: str | None) -> pa.Table:
    """The k rows of the largest similarity, ties by id; memory does not grow with the index."""
    ids = store.read(lambda: _streamed(store, model, query.detach(), k, where))
    rows = store.rows(ids)
    place = {id: at for at, id in enumerate(rows["id"].to_pylist())}
    return rows.take([place[id] for id in ids if id in place])


def _streamed(store: Store, model: StructuralModel, query: FeatureMaps, k: int, where: str | None) -> list[str]:
    best: list[tuple[float, str]] = []
    names = ["id", "map", *(["pooled"] if query.own_pooled is not None else [])]
    for batch in store.batches(names, where, BATCH):
        rows = batch.sort_by("id")  # equal similarities are ordered by index, which then is by id
        local = torch.from_numpy(_matrix(rows, "map").copy()).reshape(len(rows), query.parts, query.dim)
        pooled = torch.from_numpy(_matrix(rows, "pooled").copy()) if query.own_pooled is not None else None
        found = top_k(model.matcher, query, FeatureMaps(local, query.grid, pooled).to(query.device), k)
        ids = rows["id"].take(found.indices[0].cpu().numpy()).to_pylist()
        scores = found.similarity[0].tolist()
        best = sorted([*best, *((-score, id) for score, id in zip(scores, ids, strict=True))])[:k]
    return [id for _, id in best]


def _hits(
    model: StructuralModel, query: FeatureMaps, rows: pa.Table, gallery: FeatureMaps, by_pooled: bool
) -> list[Hit]:
    chunks = (gallery[at : at + CHUNK] for at in range(0, len(gallery), CHUNK))
    scores = [score for chunk in chunks for score in _scores(model, query, chunk)]
    records = rows.drop_columns(["map", "pooled", "visible"]).to_pylist()
    shown = [score.pooled if by_pooled else score.similarity for score in scores]
    order = sorted(range(len(records)), key=lambda i: (-shown[i], records[i]["id"]))
    names = [name for name in rows.column_names if name not in (*PLAIN, *LARGE, "_distance")]
    return [_hit(rank, records[i], scores[i], names, model, query, gallery[i]) for rank, i in enumerate(order, start=1)]


def _scores(model: StructuralModel, query: FeatureMaps, gallery: FeatureMaps) -> list[Scores]:
    match = model.explain(query[[0] * len(gallery)], gallery)
    columns = (match.similarity, match.structural, match.pooled)
    return [Scores(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def _hit(
    rank: int,
    record: dict[str, Any],
    scores: Scores,
    names: Sequence[str],
    model: StructuralModel,
    query: FeatureMaps,
    maps: FeatureMaps,
) -> Hit:
    def explain() -> Match:
        return model.explain(query, maps)

    return Hit(
        rank=rank,
        id=record["id"],
        path=record["path"],
        label=record["label"],
        **scores._asdict(),
        columns={name: record[name] for name in names},
        size=(record["width"], record["height"]),
        thumbnail=record["thumbnail"],
        _explain=explain,
    )
