"""What a picture will show of a match, decided before anything is drawn: which pairs, where, how thick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from diml.explanation.numbers import cell_boxes, strongest_pairs

if TYPE_CHECKING:
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match, PartPair

Box = tuple[float, float, float, float]

# Okabe and Ito's colours, which stay apart for colour-blind eyes; those that also stand out on a photograph come first.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
# Of a heat: what counts against the similarity, and what adds to it.
AGAINST, FOR = "#0072B2", "#D55E00"
LIGHT = frozenset(("#E69F00", "#56B4E9", "#F0E442"))
THINNEST, THICKEST = 1.2, 5.0


@dataclass(frozen=True)
class Tag:
    """How something that is marked can be told from the rest.

    Attributes:
        number: its place in the ranking, from 1.
        colour: of its boxes, lines and badges.
        dashed: whether it counts against what is explained.
    """

    number: int
    colour: str
    dashed: bool

    @property
    def ink(self) -> str:
        """The colour of a number written on the tag's own colour, and of the edge that lifts it off the image."""
        return "black" if self.colour in LIGHT else "white"


def tags(values: Sequence[float]) -> list[Tag]:
    """A tag for each of these, numbered as they came; dashed where the value is negative."""
    return [Tag(i + 1, COLOURS[i % len(COLOURS)], value < 0) for i, value in enumerate(values)]


@dataclass(frozen=True)
class Mark(Tag):
    """One pair of parts as it is drawn; dashed where it counts against the similarity.

    Attributes:
        pair: its numbers.
        width: of the line between its two boxes, in points; grows with the contribution.
        a_box, b_box: `x0, y0, x1, y1` in pixels of the originals.
        a_place, b_place: `(k, n)`: it is the k-th (from 0) of the n shown pairs in its cell of that image.
        a_level, b_level: `(k, n)` likewise among those in its row of cells; no two lines begin at one height.
    """

    pair: PartPair
    width: float
    a_box: Box
    b_box: Box
    a_place: tuple[int, int]
    b_place: tuple[int, int]
    a_level: tuple[int, int]
    b_level: tuple[int, int]

    def swapped(self) -> Mark:
        """The same with the two images exchanged."""
        return replace(
            self,
            a_box=self.b_box,
            b_box=self.a_box,
            a_place=self.b_place,
            b_place=self.a_place,
            a_level=self.b_level,
            b_level=self.a_level,
        )


def marks_of(
    match: Match,
    parts: int,
    size_a: tuple[int, int],
    size_b: tuple[int, int],
    chosen: Sequence[int] | None = None,
) -> list[Mark]:
    """What will be drawn of the `parts` strongest pairs of parts, strongest first.

    Args:
        match: of one pair of images.
        parts: how many, from 1; no more than there are.
        size_a, size_b: width and height of the originals, for maps that do not know where they lie in them: their
            grid is then taken to cover the whole image.
        chosen: for a part query, the numbers of the cells of a that were chosen.

    Raises:
        UsageError: `parts` is below 1, or the match is not of one pair of images.
    """
    return marks_between(strongest_pairs(match, parts, chosen), match, size_a, size_b)


def marks_between(
    pairs: Sequence[PartPair], match: Match, size_a: tuple[int, int], size_b: tuple[int, int]
) -> list[Mark]:
    """What will be drawn of these pairs of parts of a match, numbered in the order in which they came."""
    strongest = max((pair.contribution for pair in pairs), default=0.0)
    a_places, b_places = _places([pair.a for pair in pairs]), _places([pair.b for pair in pairs])
    a_levels, b_levels = _places([pair.a[0] for pair in pairs]), _places([pair.b[0] for pair in pairs])
    return [
        Mark(
            number=i + 1,
            colour=COLOURS[i % len(COLOURS)],
            dashed=pair.contribution < 0,
            pair=pair,
            width=_width(pair.contribution, strongest),
            a_box=pair.a_box or cell_box(pair.a, match.maps_a.grid, size_a),
            b_box=pair.b_box or cell_box(pair.b, match.maps_b.grid, size_b),
            a_place=a_places[i],
            b_place=b_places[i],
            a_level=a_levels[i],
            b_level=b_levels[i],
        )
        for i, pair in enumerate(pairs)
    ]


def _width(contribution: float, strongest: float) -> float:
    share = max(0.0, contribution / strongest) if strongest > 0 else 0.0
    return THINNEST + (THICKEST - THINNEST) * share


def _places(cells: Sequence[Hashable]) -> list[tuple[int, int]]:
    """For each cell how often it came before, and how often it comes in all.

    >>> _places([(0, 0), (0, 1), (0, 0)])
    [(0, 2), (0, 1), (1, 2)]
    """
    total, seen = Counter(cells), Counter[Hashable]()
    places = []
    for cell in cells:
        places.append((seen[cell], total[cell]))
        seen[cell] += 1
    return places


def cell_box(cell: tuple[int, int], grid: tuple[int, int], size: tuple[float, float]) -> Box:
    """The box of a cell of a grid that covers an image of that width and height.

    >>> cell_box((0, 1), (2, 2), (100, 50))
    (50.0, 0.0, 100.0, 25.0)
    """
    x, y = size[0] / grid[1], size[1] / grid[0]
    row, column = cell
    return column * x, row * y, (column + 1) * x, (row + 1) * y


def cell_of(maps: FeatureMaps, i: int, size: tuple[int, int]) -> Box:
    """The box of cell i of an image, of `size` where the maps do not know."""
    boxes = cell_boxes(maps)
    return boxes[i] if boxes else cell_box(divmod(i, maps.grid[1]), maps.grid, size)


def original_size(maps: FeatureMaps, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the original that the maps were made of; `size` where they do not know.

    A picture may stand in for its original at another scale (a thumbnail, say).
    """
    if maps.geometry is None:
        return size
    known = maps.geometry.size[0].tolist()
    return int(known[0]), int(known[1])


def visible_box(maps: FeatureMaps, size: tuple[int, int]) -> Box:
    """The rectangle of the original that the grid divides, in pixels: all of it where the maps do not know."""
    if maps.geometry is None:
        return 0.0, 0.0, float(size[0]), float(size[1])
    x0, y0, x1, y1 = maps.geometry.visible[0].tolist()
    return x0, y0, x1, y1


def inset(box: Box, place: tuple[int, int], step: tuple[float, float]) -> Box:
    """The box, drawn in by half a `step` (x, y), so that it lies within its cell, and by one for every mark around it.

    All the insets of a cell together leave at least a third of it free.

    >>> inset((0, 0, 10, 10), (1, 2), (1, 1))
    (1.5, 1.5, 8.5, 8.5)
    """
    k, n = place
    x0, y0, x1, y1 = box
    x, y = ((k + 0.5) * min(each, side / (3 * n)) for each, side in zip(step, (x1 - x0, y1 - y0), strict=True))
    return float(x0 + x), float(y0 + y), float(x1 - x), float(y1 - y)


def spread(box: Box, level: tuple[int, int]) -> float:
    """How far down a box the k-th line of n begins."""
    k, n = level
    return box[1] + (box[3] - box[1]) * (k + 1) / (n + 1)
