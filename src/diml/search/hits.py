"""The result of a search: hits, best first, each with its match."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from diml.errors import ImageError
from diml.matching import Match
from diml.model import Query, QueryPart, Source


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        rank: 1 is the best.
        id: of the image in the index.
        path: relative to the collection.
        label: None where the image has none.
        similarity: `(1 - weight) pooled + weight structural`, -1..1, as `StructuralModel.explain` gives it for
            the stored map; of a part query the one-sided similarity, see `diml.matching.find_part`.
        structural, pooled: the two similarities it is made of, -1..1. Of a part query `structural` is the similarity
            and `pooled` compares the mean of the chosen cells with the whole image.
        pooled_rank: its rank among the re-ranked images by the pooled similarity alone: 1 + how many of them were
            nearer. If it is far from `rank`, the two ways to compare disagree about this image.
        margin: the number it is ranked by, minus that of the next image, shown or not, >= 0; None if no re-ranked
            image follows. If it is small, the opposite order would have been as good.
        concentration: how clearly the plan assigns the parts, 0..1, see `diml.matching.concentration`.
        columns: further columns of the collection.
        size: width and height of the original in pixels.
        thumbnail: JPEG bytes, longest side at most 160 px; empty for features that were added without an image file.
        match: the query (a) matched with this image (b): one pair, float64, solved to 1e-6.
        shard: which of several indices, opened as one, the image is in, see `Index.shards`; None of a single index.
    """

    rank: int
    id: str
    path: str
    label: str | None
    similarity: float
    structural: float
    pooled: float
    pooled_rank: int
    margin: float | None
    concentration: float
    columns: dict[str, str | None]
    size: tuple[int, int]
    thumbnail: bytes = field(repr=False)
    match: Match = field(repr=False, compare=False)
    shard: str | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The hit as `diml search --json` prints it; `shard` is present where several indices were searched."""
        shard = {} if self.shard is None else {"shard": self.shard}
        return {
            "rank": self.rank,
            "id": self.id,
            "path": self.path,
            "label": self.label,
            "similarity": self.similarity,
            "structural": self.structural,
            "pooled": self.pooled,
            "pooled_rank": self.pooled_rank,
            "margin": self.margin,
            "concentration": self.concentration,
            "size": list(self.size),
            "columns": dict(self.columns),
            **shard,
        }


@dataclass(frozen=True)
class SearchResult:
    """The hits of a search; iterating, indexing and `len` go over them.

    Attributes:
        hits: best first; fewer than k if fewer images are candidates.
        k: as asked.
        shortlist: number of images that were re-ranked by similarity: at least k, at most the number of candidates; 0
            if the ranking by pooled vectors was asked for.
        query: the image that was looked for, or the part of it.
        where: the condition that hits had to meet; None for no condition.
        index: path of the index, or paths of several.
        settings: settings of the matcher that differ from those of the model of the index, by name.
        maps_read: with the shortlist "proven", the number of images whose maps were read; None with others.
    """

    hits: list[Hit]
    k: int
    shortlist: int
    query: Query
    where: str | None = None
    index: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    maps_read: int | None = None

    @property
    def part(self) -> QueryPart | None:
        """The part of the query that was looked for; None for the whole image."""
        return self.query.part

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __getitem__(self, at: int) -> Hit:
        return self.hits[at]

    def to_dict(self, *, index: str | None = None, query: str | None = None) -> dict[str, Any]:
        """The document that `diml search --json` prints.

        `query_size` is the width and height of the query in pixels, where they are known. `part` is present if a part
        was looked for, and each of `marginals`, `weight`, `eps`, `mass`, `transport` and `bin_similarity` if it differs
        from the setting of the index's model; `maps_read` with the shortlist "proven".

        Args:
            index, query: names to use; by default the path of the index, and that of the query, if it has one.
        """
        source = self.query.source
        if query is None and isinstance(source, str | os.PathLike):
            query = os.fspath(source)
        part = {} if self.part is None else {"part": self.part.to_dict()}
        stated = dict(self.settings)
        if "marginals" in stated:
            stated["marginals"] = self.query.marginals
        geometry = self.query.maps.geometry
        size = {} if geometry is None else {"query_size": geometry.size[0].tolist()}
        asked = {"index": self.index if index is None else index, "query": query, **size, **part, **stated}
        hits = [hit.to_dict() for hit in self.hits]
        read = {} if self.maps_read is None else {"maps_read": self.maps_read}
        return {**asked, "where": self.where, "k": self.k, "shortlist": self.shortlist, **read, "hits": hits}


@dataclass(frozen=True)
class FailedQuery:
    """An image that could not be looked for, because it cannot be read.

    Attributes:
        source: the image as the caller gave it.
        error: why it cannot be read.
    """

    source: Source
    error: ImageError

    def to_dict(self, *, query: str | None = None) -> dict[str, Any]:
        """The line that `diml search --jsonl` prints.

        Args:
            query: name to use; by default the path of the image, if it has one.

        >>> FailedQuery("a.jpg", ImageError("a.jpg: is empty")).to_dict()
        {'query': 'a.jpg', 'error': 'a.jpg: is empty'}
        """
        if query is None and isinstance(self.source, str | os.PathLike):
            query = os.fspath(self.source)
        return {"query": query, "error": str(self.error)}
