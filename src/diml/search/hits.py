"""What a search gives: hits, best first, and their matches on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from diml.matching import Match
from diml.model import Query, QueryPart


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
        pooled_rank: its place among the re-ranked images by the coarse, pooled ranking alone: 1 + how many of them
            were nearer. Far from `rank`, the two ways to compare disagree about this image.
        margin: by how much the number it is ranked by exceeds the next image's, shown or not, >= 0; None where none
            follows among the re-ranked. Small: another order would have been as good.
        concentration: how sure the plan is of which part goes with which, 0..1, see `diml.matching.concentration`.
        columns: further columns of the collection.
        size: width and height of the original in pixels.
        thumbnail: JPEG bytes, longest side at most 160 px.
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
    _explain: Callable[[], Match] = field(repr=False, compare=False)

    @cached_property
    def match(self) -> Match:
        """The match of the query (a) with this image (b): one pair, float64, solved when first asked for."""
        return self._explain()

    def as_dict(self) -> dict[str, Any]:
        """The hit as `diml search --json` prints it."""
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
        }


@dataclass(frozen=True)
class SearchResult:
    """The hits of a search; iterating, indexing and `len` go over them.

    Attributes:
        hits: best first; fewer than k where fewer images are in question, none where there are none.
        k: as asked.
        shortlist: images that were re-ranked by similarity: at least k, at most what is in question; 0 where the pooled
            ranking was asked for.
        query: the image that was looked for, or the part of it; None where the index holds no images.
        where: the condition that hits had to meet; None where there was none.
    """

    hits: list[Hit]
    k: int
    shortlist: int
    query: Query | None = None
    where: str | None = None

    @property
    def part(self) -> QueryPart | None:
        """The part of the query that was looked for; None for all of it."""
        return None if self.query is None else self.query.part

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __getitem__(self, at: int) -> Hit:
        return self.hits[at]

    def as_dict(self, *, index: str, query: str) -> dict[str, Any]:
        """The document that `diml search --json` prints; `part` is in it where one was looked for."""
        hits = [hit.as_dict() for hit in self.hits]
        part = {} if self.part is None else {"part": self.part.to_dict()}
        asked = {"index": index, "query": query, **part, "where": self.where, "k": self.k}
        return {**asked, "shortlist": self.shortlist, "hits": hits}
