"""What both pictures of a search need of its hits, whoever made them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from diml.explanation.marks import Box, Mark, cell_of, marks_of, original_size
from diml.explanation.words import number, without_middle

if TYPE_CHECKING:
    from PIL.Image import Image

    from diml.matching import Match

READING = (
    "Ranked by similarity: 1 is the same, 0 is unrelated, below 0 is opposed. Boxes of one number and colour are what "
    "counted most: a part of the query (small, left) and the part of the hit that it was matched with. "
    "\u201cWhole\u201d compares the images in one piece, \u201cparts\u201d their matched parts."
)
PART_READING = (
    "Ranked by the similarity of the chosen part, outlined by dots, with whatever is most like it in the hit: 1 is "
    "the same, 0 is unrelated, below 0 is opposed. Boxes of one number and colour are what counted most: a cell of the "
    "part (small, left) and what it was matched with. What else the hit shows does not count."
)
NO_HITS = "Nothing was found{}."
# Letters of a condition, which may be long.
CONDITION = 300


class Hit(Protocol):
    """One hit of a search, as these pictures need it; `size` is width and height of the original in pixels."""

    @property
    def rank(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def similarity(self) -> float: ...
    @property
    def structural(self) -> float: ...
    @property
    def pooled(self) -> float: ...
    @property
    def thumbnail(self) -> bytes: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def match(self) -> Match: ...


def hit_marks(hit: Hit, query_size: tuple[int, int], parts: int, chosen: Sequence[int] | None = None) -> list[Mark]:
    """The strongest pairs of parts of the query and a hit; `a` is the query. See `marks_of`."""
    match = hit.match
    size = (int(hit.size[0]), int(hit.size[1]))
    return marks_of(match, parts, original_size(match.maps_a, query_size), size, chosen)


def outlines(hits: Sequence[Hit], query_size: tuple[int, int], chosen: Sequence[int] | None) -> list[Box]:
    """The boxes of the chosen cells in pixels of the query; none without hits, whose matches know where they lie."""
    if chosen is None or not hits:
        return []
    maps = hits[0].match.maps_a
    return [cell_of(maps, each, original_size(maps, query_size)) for each in chosen]


def reading(hits: Sequence[Hit], chosen: Sequence[int] | None, where: str | None = None) -> str:
    """How to read the hits; without any, the condition that none of the images met."""
    if not hits:
        return NO_HITS.format("" if where is None else f" where {without_middle(where, CONDITION)}")
    return READING if chosen is None else PART_READING


def made_of(hit: Hit, between: str = ", ") -> str:
    """The two numbers that a hit's similarity is made of; nothing where it is of parts alone, as of a part query."""
    if hit.match.weight == 1:
        return ""
    return f"whole {number(hit.pooled)}{between}parts {number(hit.structural)}"


def thumbnail_image(hit: Hit) -> Image:
    import PIL.Image

    return PIL.Image.open(io.BytesIO(hit.thumbnail)).convert("RGB")


def query_title(
    query_image: Image | str | os.PathLike[str], name: str | None, chosen: Sequence[int] | None = None
) -> str:
    if name is not None:
        return name
    path = query_image if isinstance(query_image, str | os.PathLike) else getattr(query_image, "filename", "")
    return ("" if chosen is None else "a part of ") + (Path(path).name or "the query")
