"""Which pairs of parts a picture or a page shows, where and how; decided before anything is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from diml.explanation.numbers import cell_boxes, check_parts, one_pair
from diml.image_sizes import original_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from diml.feature_maps import FeatureMaps
    from diml.matching import Match, PartPair

Box = tuple[float, float, float, float]
Size = tuple[int, int]

# Okabe and Ito's colours, distinct for colour-blind readers; those that also stand out on a photograph come first.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
# In a heat: what counts against the similarity, and what adds to it.
AGAINST, FOR = "#0072B2", "#D55E00"
LIGHT = frozenset(("#E69F00", "#56B4E9", "#F0E442"))
THINNEST, THICKEST = 1.2, 5.0


@dataclass(frozen=True)
class Tag:
    """How something that is marked is told apart from the rest.

    Attributes:
        number: its rank, from 1.
        colour: of its boxes, lines and badges.
        dashed: whether it counts against what is explained.
    """

    number: int
    colour: str
    dashed: bool

    @property
    def ink(self) -> str:
        """The colour of a number written on the tag's own colour, and of the edge around its lines."""
        return "black" if self.colour in LIGHT else "white"


def tags(values: Sequence[float]) -> list[Tag]:
    """A tag for each value, numbered in order; dashed where the value is negative."""
    return [Tag(i + 1, COLOURS[i % len(COLOURS)], value < 0) for i, value in enumerate(values)]


@dataclass(frozen=True)
class Mark(Tag):
    """One pair of parts as it is drawn; dashed where it counts against the similarity.

    Attributes:
        pair: its numbers.
        width: of the line between its two boxes, in points; grows with the contribution.
        a_box, b_box: `x0, y0, x1, y1` in pixels of the originals.
        a_place, b_place: `(k, n)`: it is the k-th (from 0) of the n shown pairs in its cell of that image.
        a_level, b_level: `(k, n)` likewise in its row of cells, so that no two lines begin at the same height.
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
        """The same mark with the two images exchanged."""
        return replace(
            self,
            a_box=self.b_box,
            b_box=self.a_box,
            a_place=self.b_place,
            b_place=self.a_place,
            a_level=self.b_level,
            b_level=self.a_level,
        )


def marks_of(match: Match, parts: int, size_a: Size, size_b: Size) -> list[Mark]:
    """The `parts` strongest pairs of parts as they are drawn, strongest first.

    Args:
        match: of one pair of images.
        parts: how many, from 1; fewer where there are fewer.
        size_a, size_b: width and height of the originals, used where the maps have no geometry: their grid is then
            taken to cover the whole image.

    Raises:
        UsageError: `parts` is below 1, or the match is not of one pair of images.
    """
    check_parts(parts)
    return marks_between(one_pair(match).parts(parts), match, size_a, size_b)


def marks_between(pairs: Sequence[PartPair], match: Match, size_a: Size, size_b: Size) -> list[Mark]:
    """These pairs of parts of a match as they are drawn, numbered in the given order."""
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
    """For each cell how often it occurred before, and how often it occurs in total.

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


def cell_of(maps: FeatureMaps, i: int, size: Size) -> Box:
    """The box of cell i of an image, of `size` where the geometry is unknown."""
    boxes = cell_boxes(maps)
    return boxes[i] if boxes else cell_box(divmod(i, maps.grid[1]), maps.grid, size)


def chosen_boxes(match: Match, size: Size) -> list[Box]:
    """The boxes of the cells of a that a part query chose; none for whole images."""
    return [cell_of(match.maps_a, i, size) for i in match.chosen or ()]


def original_size(maps: FeatureMaps, picture: Image | None) -> Size:
    """Width and height of the original that the maps were made of.

    Args:
        maps: of one image.
        picture: of it, which may show the original at another scale (a thumbnail, say); used where the geometry is
            unknown. Without a picture cells are taken to be squares of 100 pixels.
    """
    if maps.geometry is None:
        return original_of(picture).size if picture else (100 * maps.grid[1], 100 * maps.grid[0])
    width, height = maps.geometry.size[0].tolist()
    return int(width), int(height)


def visible_box(maps: FeatureMaps, size: Size) -> Box:
    """The rectangle of the original that the grid divides, in pixels; all of it where the geometry is unknown."""
    if maps.geometry is None:
        return 0.0, 0.0, float(size[0]), float(size[1])
    x0, y0, x1, y1 = maps.geometry.visible[0].tolist()
    return x0, y0, x1, y1


def inset(box: Box, place: tuple[int, int], step: tuple[float, float]) -> Box:
    """The box of the k-th of n marks in one cell: shrunk by half a `step` (x, y), and by one more per mark around it.

    All insets of a cell together leave at least a third of it free.

    >>> inset((0, 0, 10, 10), (1, 2), (1, 1))
    (1.5, 1.5, 8.5, 8.5)
    """
    k, n = place
    x0, y0, x1, y1 = box
    x, y = ((k + 0.5) * min(each, side / (3 * n)) for each, side in zip(step, (x1 - x0, y1 - y0), strict=True))
    return float(x0 + x), float(y0 + y), float(x1 - x), float(y1 - y)


def spread(box: Box, level: tuple[int, int]) -> float:
    """The height at which the k-th of n lines begins on a box."""
    k, n = level
    return box[1] + (box[3] - box[1]) * (k + 1) / (n + 1)
