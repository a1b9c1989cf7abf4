"""What pictures and pages of a search show: the query, the marked parts of each hit, and how to read them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.explanation.images import NamedImage
from diml.explanation.marks import Box, Mark, Size, chosen_boxes, marks_of, original_size
from diml.explanation.region_marks import Cell, RegionPairMark, region_pair_marks, unmatched_cells
from diml.explanation.words import SCALE, number, percent, signed, without_middle

if TYPE_CHECKING:
    from PIL.Image import Image

    from diml.search import Hit, SearchResult

BOTH = "\u201cWhole\u201d compares the images as a whole, \u201cparts\u201d their matched parts."
READING = f"Ranked by similarity: {SCALE} {{marks}} {BOTH}"
PART_READING = (
    "Ranked by the similarity of the chosen part, outlined by dots, with whatever resembles it most in the hit: "
    f"{SCALE} {{marks}} The rest of the hit is ignored."
)
OF_REGIONS = (
    "Outlines with the same number and colour mark regions that correspond, of the query (small, left) and of the hit; "
    "the percentages say how much of the similarity they carry."
)
OF_PAIRS = (
    "Boxes with the same number and colour mark the pairs that contribute most: a part of the query (small, left) and "
    "the part of the hit it was matched with."
)
# Longest condition that is repeated where nothing was found, in characters.
CONDITION = 300


@dataclass(frozen=True, eq=False)
class SearchedImage:
    """The query of a search as it is shown beside its hits.

    Attributes:
        picture: of the query; None where only its features are known.
        title: its file name, or the name of the part of it that was looked for.
        size: of the original in pixels.
        chosen: the boxes of the cells that a part query chose, in pixels of the original.
    """

    picture: Image | None
    title: str
    size: Size
    chosen: list[Box]

    @classmethod
    def of(cls, result: SearchResult) -> SearchedImage:
        query = result.query
        size = original_size(query.maps, query.image)
        named = NamedImage.of(query.source, "the query", query.model.read)
        picture = named.picture if query.image is None else query.image
        chosen = chosen_boxes(result[0].match, size) if len(result) else []
        return cls(picture, named.title if query.part is None else f"a part of {named.title}", size, chosen)


def hit_size(hit: Hit) -> Size:
    """Width and height of the original in pixels."""
    return int(hit.size[0]), int(hit.size[1])


def hit_regions(hit: Hit) -> list[RegionPairMark]:
    """The regions of the query (a) and of a hit (b) that correspond, as they are drawn."""
    return region_pair_marks(hit.match.regions())


def hit_unmatched(hit: Hit) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """The cells of the query and of a hit that found no counterpart."""
    return unmatched_cells(hit.match.regions())


def hit_marks(hit: Hit, query_size: Size, parts: int | None) -> list[Mark]:
    """The strongest pairs of parts of the query (a) and a hit (b), see `marks_of`; none for None."""
    return [] if parts is None else marks_of(hit.match, parts, query_size, hit_size(hit))


def reading(result: SearchResult, parts: int | None) -> str:
    """How to read the hits, with regions or pairs of parts; without any hits, the condition that no image met."""
    if not len(result):
        where = "" if result.where is None else f" where {without_middle(result.where, CONDITION)}"
        return f"Nothing was found{where}."
    text = READING if result.part is None else PART_READING
    return text.format(marks=OF_REGIONS if parts is None else OF_PAIRS)


def share_text(mark: RegionPairMark, hit: Hit) -> str:
    """What a pair of regions carries: its share, or its contribution where shares mean nothing."""
    return percent(mark.pair.contribution, hit.similarity) or signed(mark.pair.contribution)


def composition(hit: Hit, between: str = ", ") -> str:
    """The two numbers that a hit's similarity is made of; empty where it is of parts alone, as for a part query."""
    if hit.match.weight == 1:
        return ""
    return f"whole {number(hit.pooled)}{between}parts {number(hit.structural)}"


def thumbnail_image(hit: Hit) -> Image | None:
    """The thumbnail, decoded; None for features that were added without an image file."""
    import PIL.Image

    return PIL.Image.open(io.BytesIO(hit.thumbnail)).convert("RGB") if hit.thumbnail else None
