"""Ranking for many queries at once: the index is read once for a block of queries, not once for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch

from diml.evaluation.shortlists import Shortlist
from diml.matching import UnitMaps, prepare
from diml.model import Query, WholeQuery
from diml.search.coarse import cosine_distances, rounding
from diml.search.manifest import Manifest
from diml.search.ranking import (
    POOLED_RANK,
    Counts,
    Ranked,
    best_of,
    check_query,
    coarse_vector,
    hits_of,
    rank,
    with_pooled_ranks,
)
from diml.search.stages import stage
from diml.search.store import Store
from diml.search.stored_maps import matrix, stored_maps

# Queries that are ranked together, if the maps of all their shortlists are no more numbers than this.
BLOCK, HELD = 64, 2**25
# Rows whose pooled vectors are read together.
BATCH = 8192
# Instead of the distance of a row whose pooled vector, or the query's, is all zero: it follows all others.
BEHIND = np.float32(3)


def block_size(manifest: Manifest, k: int, shortlist: Shortlist) -> int:
    """How many queries to rank together, within the memory for their maps."""
    rows = k if shortlist == "all" else max(k, shortlist)
    return min(BLOCK, max(1, HELD // (rows * manifest.grid[0] * manifest.grid[1] * manifest.dim)))


def rank_many(
    store: Store, manifest: Manifest, queries: Sequence[Query], k: int, shortlist: Shortlist, where: str | None
) -> list[Ranked]:
    """As `rank`, for each of several queries: the same hits in the same order, with the same numbers.

    The pooled vectors are read once and compared with all queries by one matrix product. Its rounding decides nothing:
    rows that it cannot tell apart from the last of a shortlist are compared as `nearest` compares them. Then the rows
    of all shortlists are read once, and each query is matched with its own, as one query alone is.

    Queries are ranked one by one where the index is searched by its graph, where every image is matched, for parts of
    images, and with weights of parts given for each image.
    """
    for query in queries:
        check_query(query.maps, manifest)
    counts = Counts.of(store.count(where), k, shortlist)
    whole = [query for query in queries if _is_plain(query)]
    one_by_one = shortlist == "all" or not 0 < counts.candidates <= manifest.exact_limit
    if one_by_one or len(whole) < max(2, len(queries)):
        return [rank(store, manifest, query, k, shortlist, where) for query in queries]
    with stage("coarse"):
        nearest = _nearest(store, whole, counts.coarse, where)
    with stage("fetch"):
        found = _Found.of(store, manifest, nearest)
    with stage("match"):
        prepared = prepare(found.maps.to(queries[0].maps.device)) if shortlist else None
        return [
            Ranked(found.hits(query, ids, k, prepared), counts.shortlist)
            for query, ids in zip(whole, nearest, strict=True)
        ]


def _is_plain(query: Query) -> bool:
    """Whether images may be prepared for it before it is known which of them it is matched with."""
    return isinstance(query, WholeQuery) and not isinstance(query.model.matcher.marginals, tuple)
