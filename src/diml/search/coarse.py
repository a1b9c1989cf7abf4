"""Coarse search: the rows of a table whose pooled vectors have the largest cosine with that of a query."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diml.model import Query
from diml.search.store import Store
from diml.search.stored_maps import matrix
from diml.search.stored_rows import StoredRows

# Candidates that a search of the graph keeps: of the true 100 nearest, 0.992 were found at 100,000 rows. It cannot
# return more rows than that.
EF = 300
# Rows of several tables that are read with all of their columns, at most, to keep the nearest of them.
AT_ONCE = 1024
# Running sums that the table keeps of a scalar product, at least.
LANES = 8
# Column with a row's rank by the pooled similarity.
POOLED_RANK = "_pooled_rank"


def coarse_vector(query: Query) -> np.ndarray:
    """(dim,) float32: the pooled vector, scaled by a power of two so that its length is of the order of 1."""
    vector: np.ndarray = query.maps.pooled[0].detach().float().cpu().numpy()
    scaled: np.ndarray = np.ldexp(vector, -np.frexp(np.abs(vector).max())[1])
    return scaled


def pooled_ranks(distances: np.ndarray) -> np.ndarray:
    """(n,) int64: 1 + how many of n rows are nearer; equal distances share a rank.

    >>> pooled_ranks(np.float32([0.1, 0.3, 0.1])).tolist()
    [1, 3, 1]
    """
    ranks: np.ndarray = 1 + np.searchsorted(np.sort(distances), distances)
    return ranks


def nearest(
    store: StoredRows, vector: np.ndarray, limit: int, where: str | None = None, exact: bool = True
) -> pa.Table:
    """The `limit` rows with the largest cosine, best first, ties by id: all columns, and `_distance` = 1 - cosine.

    Rows whose pooled vector is all zero are chosen after all others, by id; their distance is 1.

    Args:
        vector: (dim,) float32.
        limit: at most the number of rows that meet `where`.
        exact: compare with every row; otherwise use the graph of each table, which may miss some.
    """
    shares = _shares(store, vector, limit, where, exact)
    of_each = dict(zip(store.tables, shares or [limit] * len(store.tables), strict=True))
    found = store.joined(lambda table: _with_direction(table, vector, of_each[table], where, exact, width=limit))
    # Of the shares, as another process may have removed rows since.
    missing = limit - (sum(shares) if shares else len(found))
    if missing > 0:
        found = pa.concat_tables([found, _without_direction(store, found, missing, where)])
    return measured(found, vector)[:limit]


def cosine_distances(pooled: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(n,) float32: 1 - cosine of n vectors with one; 1 where one of the two is all zero.

    It is summed in float64 vector by vector, so that equal vectors have equal distances, whatever others are beside
    them. The table's own distances, and those of a matrix product, differ from these by rounding.

    >>> cosine_distances(np.float32([[2, 0], [0, 1], [0, 0]]), np.float32([1, 0]))
    array([0., 1., 1.], dtype=float32)
    """
    rows, one = pooled.astype(np.float64), vector.astype(np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1)) * np.sqrt((one * one).sum())
    cosine = np.divide((rows * one).sum(axis=1), lengths, out=np.zeros(len(rows)), where=lengths > 0)
    distances: np.ndarray = np.float32(1) - cosine.astype(np.float32)
    return distances


def measured(rows: pa.Table, vector: np.ndarray) -> pa.Table:
    """Rows with the column `_distance` as `cosine_distances` gives it, nearest first, ties by id."""
    distances = pa.array(cosine_distances(matrix(rows, "pooled"), vector))
    names = [name for name in rows.column_names if name != "_distance"]
    return _ordered(rows.select(names).append_column("_distance", distances))


def rounding(steps: float) -> float:
    """How far a cosine may be from the exact one whose three sums take so many float32 additions one after another."""
    return (2 * steps + 16) * 2.0**-24


def _shares(store: StoredRows, vector: np.ndarray, limit: int, where: str | None, exact: bool) -> list[int] | None:
    """How many of the nearest rows each table has; None where `limit` rows of each are few enough to read them all."""
    if len(store.tables) == 1 or len(store.tables) * limit <= AT_ONCE:
        return None
    columns = ["id", "pooled"]
    found = store.of_each(lambda table: _with_direction(table, vector, limit, where, exact, limit, columns))
    best = [
        (distance, id, at)
        for at, rows in enumerate(found)
        for distance, id in zip(
            *(measured(rows, vector)[name].to_pylist() for name in ("_distance", "id")), strict=True
        )
    ]
    counts = Counter(at for _, _, at in heapq.nsmallest(limit, best))
    return [counts[at] for at in range(len(found))]


def _with_direction(
    table: Store,
    vector: np.ndarray,
    limit: int,
    where: str | None,
    exact: bool,
    width: int,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The nearest rows of one table, at least `limit` if there are so many whose pooled vector is not all zero.

    Args:
        width: of the search of a graph, in rows.
        columns: to be read; by default all.
    """
    names = table.schema.names if columns is None else list(columns)
    if not (limit and np.any(vector)):
        return _unmeasured(table.schema.empty_table().select(names))
    found = _search(table, vector, limit, where, exact, width, names)
    if len(found) < limit and not exact:
        found, exact = _search(table, vector, limit, where, True, width, names), True
    return _settled(table, found, vector, limit, where) if exact and len(found) > limit else found


def _search(
    table: Store, vector: np.ndarray, limit: int, where: str | None, exact: bool, width: int, names: Sequence[str]
) -> pa.Table:
    """One row more than asked for, which shows whether the last of them is settled."""
    query = table.cosine_query(vector, limit + 1, where)
    query = query.bypass_vector_index() if exact else query.ef(max(EF, 2 * width))
    return _ordered(table.read(query.select([*names, "_distance"]).to_arrow))


def _without_direction(store: StoredRows, found: pa.Table, limit: int, where: str | None) -> pa.Table:
    """Rows that the table leaves out because their pooled vector, or the query's, is all zero: their cosine is 0."""
    rest = store.ids(where) - set(found["id"].to_pylist())
    return _unmeasured(store.rows(sorted(rest)[:limit]))


def _settled(table: Store, found: pa.Table, vector: np.ndarray, limit: int, where: str | None) -> pa.Table:
    """Of several rows whose distance is that of the last one within rounding, keep the nearest, ties by id."""
    distance = found["_distance"].to_numpy()
    slack = 2 * rounding(len(vector) / LANES)
    low, high = (np.float32(distance[limit - 1] + by) for by in (-slack, slack))
    if distance[limit] > high:
        return found[:limit]
    closer = found.filter(pc.less(found["_distance"], pa.scalar(low, pa.float32())))
    query = table.cosine_query(vector, table.count(where), where).bypass_vector_index()
    beyond = np.nextafter(high, np.float32(np.inf))
    near = query.select(["id", "pooled", "_distance"]).distance_range(float(low), float(beyond))
    ids = measured(table.read(near.to_arrow), vector)["id"].to_pylist()[: limit - len(closer)]
    rows = table.rows(ids).select([name for name in found.column_names if name != "_distance"])
    return pa.concat_tables([closer, _unmeasured(rows)])


def _unmeasured(rows: pa.Table) -> pa.Table:
    return rows.append_column("_distance", pa.nulls(len(rows), pa.float32()))


def _ordered(rows: pa.Table) -> pa.Table:
    return rows.sort_by([("_distance", "ascending"), ("id", "ascending")])
