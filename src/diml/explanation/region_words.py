"""Regions that correspond, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.words import NOTICEABLE, digits, number, percent, signed

if TYPE_CHECKING:
    from diml.matching import Match, RegionPair, RegionPairs

REGIONS_HOW = (
    "A region is a group of neighbouring parts. Two regions correspond where their parts are matched with each other "
    "and add much to the similarity."
)
OTHERS = {
    "background": "The background, parts of little weight,",
    "unmatched": "What found no counterpart",
    "remainder": "Everything else, the parts outside and the pairs of parts across regions,",
}
# The same groups in tables.
NAMES = {"background": "background", "unmatched": "no counterpart", "remainder": "everything else"}
# From this share of an image on, words say that it found no counterpart.
WORTH_SAYING = 0.005
ROWS, COLUMNS = ("upper", "", "lower"), ("left", "", "right")
ALONE = {("upper", ""): "top", ("lower", ""): "bottom", ("", ""): "centre"}


def carried_sentence(regions: RegionPairs) -> str:
    """How many regions correspond, and how much of the similarity they carry."""
    count = len(regions.named)
    if not count:
        return "No regions of the two images correspond."
    total = sum(pair.contribution for pair in regions.named)
    share = percent(total, regions.similarity)
    carried = f"{number(total)} of it" + (f" ({share})" if share else "")
    if count == 1:
        return f"One region of each image carries {carried}."
    return f"{count} regions of each image correspond; together they carry {carried}."


def region_lines(match: Match, regions: RegionPairs) -> list[str]:
    """A sentence for each pair of regions, the largest contribution first, then one for each other group."""
    places = digits(max((abs(pair.contribution) for pair in regions), default=0.0))
    lines = []
    for rank, pair in enumerate(regions.named, start=1):
        a = region_place(pair.a_cells, pair.a_box, match.maps_a.grid)
        b = region_place(pair.b_cells, pair.b_box, match.maps_b.grid)
        lines.append(f"Region {rank} {_adds(pair, regions, places)}: {a} in the first image, {b} in the second.")
    others = [pair for pair in regions if pair.kind != "region" and _told(pair)]
    return lines + [f"{OTHERS[pair.kind]} {_adds(pair, regions, places)}." for pair in others]


def unmatched_sentence(shares: tuple[float, float]) -> str:
    """Which shares of the two images found no counterpart; empty where that is hardly anything.

    >>> unmatched_sentence((0.412, 0.12))
    '41 % of the first image and 12 % of the second found no counterpart.'
    >>> unmatched_sentence((0.001, 0.03))
    '3.0 % of the second image found no counterpart.'
    """
    a, b = (percent(share, 1.0) if share >= WORTH_SAYING else "" for share in shares)
    if a and b:
        return f"{a} of the first image and {b} of the second found no counterpart."
    return f"{a or b} of the {'first' if a else 'second'} image found no counterpart." if a or b else ""


def region_note(pair: RegionPair, regions: RegionPairs) -> str:
    """The share of a group as pictures and pages state it; empty where shares mean nothing."""
    share = percent(pair.contribution, regions.similarity)
    return f"{share} of it" if share else ""


def _adds(pair: RegionPair, regions: RegionPairs, places: int) -> str:
    value, share = signed(pair.contribution, places), percent(pair.contribution, regions.similarity)
    if pair.contribution < 0:
        return f"counts against the similarity ({value})"
    return f"carries {share} of the similarity ({value})" if share else f"adds {value} to the similarity"


def _told(pair: RegionPair) -> bool:
    return abs(pair.contribution) >= NOTICEABLE


def region_place(cells: Sequence[tuple[int, int]], box: Sequence[float] | None, grid: tuple[int, int]) -> str:
    """Where a region lies: in words, and its box in pixels where that is known.

    >>> region_place([(0, 0), (0, 1)], (0.0, 0.0, 20.0, 10.0), (4, 4))
    'upper left (0,0-20,10, 2 parts)'
    >>> region_place([(1, 1), (2, 1), (1, 2), (2, 2)], None, (4, 4))
    'centre (4 parts)'
    """
    count = f"{len(cells)} part{'' if len(cells) == 1 else 's'}"
    if box is None:
        return f"{whereabouts(cells, grid)} ({count})"
    x0, y0, x1, y1 = (f"{edge:.0f}" for edge in box)
    return f"{whereabouts(cells, grid)} ({x0},{y0}-{x1},{y1}, {count})"


def whereabouts(cells: Sequence[tuple[int, int]], grid: tuple[int, int]) -> str:
    """In which third of the rows and of the columns the middle of these cells lies.

    >>> whereabouts([(0, 3)], (4, 4)), whereabouts([(3, 1), (3, 2)], (4, 4)), whereabouts([(1, 0)], (3, 3))
    ('upper right', 'bottom', 'left')
    """
    row, column = (sum(each) / len(each) + 0.5 for each in zip(*cells, strict=True))
    name = ROWS[min(int(3 * row / grid[0]), 2)], COLUMNS[min(int(3 * column / grid[1]), 2)]
    return ALONE.get(name) or " ".join(word for word in name if word)
