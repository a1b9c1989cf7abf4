"""What both pictures of a search need of its hits, whoever made them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from diml.explanation.marks import Mark, marks_of, original_size
from diml.explanation.words import number

if TYPE_CHECKING:
    from PIL.Image import Image

    from diml.matching import Match

READING = (
    "Ranked by similarity: 1 is the same, 0 is unrelated, below 0 is opposed. Boxes of one number and colour are what "
    "counted most: a part of the query (small, left) and the part of the hit that it was matched with. "
    "\u201cWhole\u201d compares the images in one piece, \u201cparts\u201d their matched parts."
)
NO_HITS = "Nothing was found."


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


def hit_marks(hit: Hit, query_size: tuple[int, int], parts: int) -> list[Mark]:
    """The strongest pairs of parts of the query and a hit; `a` is the query."""
    match = hit.match
    return marks_of(match, parts, original_size(match.maps_a, query_size), (int(hit.size[0]), int(hit.size[1])))


def made_of(hit: Hit, between: str = ", ") -> str:
    """The two numbers that a hit's similarity is made of; nothing where it is of parts alone, as of a part query."""
    if hit.match.weight == 1:
        return ""
    return f"whole {number(hit.pooled)}{between}parts {number(hit.structural)}"


def thumbnail_image(hit: Hit) -> Image:
    import PIL.Image

    return PIL.Image.open(io.BytesIO(hit.thumbnail)).convert("RGB")


def query_title(query_image: Image | str | os.PathLike[str], name: str | None) -> str:
    if name is not None:
        return name
    path = query_image if isinstance(query_image, str | os.PathLike) else getattr(query_image, "filename", "")
    return Path(path).name or "the query"
