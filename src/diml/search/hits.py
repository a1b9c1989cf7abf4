"""What a search gives: hits, best first, and their matches on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from diml.matching import Match


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        rank: 1 is the best.
        id: of the image in the index.
        path: relative to the collection.
        label: None where the image has none.
        similarity: `(1 - weight) pooled + weight structural`, -1..1, as `StructuralModel.explain` gives it for
            the stored map.
        structural, pooled: the two similarities it is made of, -1..1.
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
        }


@dataclass(frozen=True)
class SearchResult:
    """The hits of a search; iterating, indexing and `len` go over them.

    Attributes:
        hits: best first; fewer than k where fewer images are in question, none where there are none.
        k: as asked.
        shortlist: images that were re-ranked by similarity: at least k, at most what is in question; 0 where the pooled
            ranking was asked for.
    """

    hits: list[Hit]
    k: int
    shortlist: int

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __getitem__(self, at: int) -> Hit:
        return self.hits[at]

    def as_dict(self, *, index: str, query: str) -> dict[str, Any]:
        """The document that `diml search --json` prints."""
        hits = [hit.as_dict() for hit in self.hits]
        return {"index": index, "query": query, "k": self.k, "shortlist": self.shortlist, "hits": hits}
