"""Coarse search: the rows of a table whose pooled vectors have the largest cosine with that of a query."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diml.search.store import Store

# Candidates that a search of the graph keeps: of the true 100 nearest, 0.992 were found at 100,000 rows. It cannot
# return more rows than that.
EF = 300


def nearest(store: Store, vector: np.ndarray, limit: int, where: str | None = None, exact: bool = True) -> pa.Table:
    """The `limit` rows with the largest cosine, best first, ties by id: all columns, and `_distance` = 1 - cosine.

    Args:
        vector: (dim,) float32.
        limit: at most the number of rows that meet `where`.
        exact: compare with every row; otherwise use the graph, which may miss some.
    """
    found = _search(store, vector, limit, where, exact)
    if len(found) < limit and not exact:
        found = _search(store, vector, limit, where, exact=True)
    if len(found) < limit:
        found = pa.concat_tables([found, _without_direction(store, found, limit - len(found), where)])
    elif exact and len(found) > limit and found["_distance"][limit - 1] == found["_distance"][limit]:
        found = _break_tie(store, found, vector, limit, where)
    return _ordered(found)[:limit]


def _search(store: Store, vector: np.ndarray, limit: int, where: str | None, exact: bool) -> pa.Table:
    """One row more than asked for, which shows whether there is a tie at the end."""
    if not np.any(vector):
        return _at(store.schema.empty_table(), 1.0)
    query = store.cosine_query(vector, limit + 1, where)
    query = query.bypass_vector_index() if exact else query.ef(max(EF, 2 * limit))
    return _ordered(store.read(query.select([*store.schema.names, "_distance"]).to_arrow))


def _without_direction(store: Store, found: pa.Table, limit: int, where: str | None) -> pa.Table:
    """Rows that the table leaves out because their pooled vector, or the query's, is all zero: their cosine is 0."""
    rest = store.ids(where) - set(found["id"].to_pylist())
    return _at(store.rows(sorted(rest)[:limit]), 1.0)


def _break_tie(store: Store, found: pa.Table, vector: np.ndarray, limit: int, where: str | None) -> pa.Table:
    """Of several rows with the distance of the last one, keep those with the smallest ids."""
    edge = np.float32(found["_distance"][limit].as_py())
    closer = found.filter(pc.less(found["_distance"], pa.scalar(edge, pa.float32())))
    query = store.cosine_query(vector, store.count(where), where).bypass_vector_index().select(["id", "_distance"])
    beyond = np.nextafter(edge, np.float32(np.inf))
    tied = store.read(query.distance_range(float(edge), float(beyond)).to_arrow)
    ids = sorted(tied["id"].to_pylist())[: limit - len(closer)]
    return pa.concat_tables([closer, _at(store.rows(ids), float(edge))])


def _at(rows: pa.Table, distance: float) -> pa.Table:
    return rows.append_column("_distance", pa.array([distance] * len(rows), pa.float32()))


def _ordered(rows: pa.Table) -> pa.Table:
    return rows.sort_by([("_distance", "ascending"), ("id", "ascending")])
