"""The hits of a search as a picture: each beside the query, with the parts that counted most."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.explanation.drawing.lettering import shorten, wrap
from diml.explanation.drawing.page import FAINT, Page, draw_marks, enough, leading
from diml.explanation.hits import Hit, hit_marks, made_of, outlines, query_title, reading, thumbnail_image
from diml.explanation.images import opened
from diml.explanation.marks import Box, Mark
from diml.explanation.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

Size = tuple[int, int]

# All in inches.
MARGIN, COLUMNS, BETWEEN = 0.35, 3, 0.45
QUERY, GAP, FOUND = 1.25, 0.4, 1.75
CELL = QUERY + GAP + FOUND
# A line above the images, two below them, and the space to the next row.
LINES = 1.0
HEADER = 1.9
MOST = 60


@dataclass(frozen=True)
class Query:
    """The query, no larger than it need be, the size of its original in pixels, and the boxes of its chosen cells."""

    picture: Image
    size: Size
    dotted: list[Box]


def draw_hits(
    hits: Iterable[Hit],
    query_image: Image | str | os.PathLike[str],
    *,
    query_name: str | None = None,
    parts: int = 3,
    chosen: Sequence[int] | None = None,
    where: str | None = None,
) -> Figure:
    """Draw the hits of a search in a grid, best first, each joined to the query by its strongest pairs of parts.

    Args:
        hits: as a search gave them, best first; 60 are drawn at most, and the picture then says so.
        query_image: a path or a PIL image.
        query_name: what to call the query; its file name if left out.
        parts: how many pairs of parts to show on each hit, from 1.
        chosen: for a part query, the numbers of the cells of the query that were chosen; they are outlined.
        where: the condition of the search; named where nothing was found.

    Raises:
        UsageError: `parts` is below 1.
        ImageError: the query cannot be read.
    """
    hits = list(hits)
    picture = opened(query_image)
    query = Query(enough(picture), picture.size, outlines(hits, picture.size, chosen))
    shown = hits[:MOST]
    columns = min(COLUMNS, max(len(shown), 2))
    rows = [shown[at : at + columns] for at in range(0, len(shown), columns)]
    tall = [max(_height(hit.size, FOUND) for hit in row) for row in rows]
    tall = [max(each, _height(query.size, QUERY)) for each in tall]
    page = Page(2 * MARGIN + columns * (CELL + BETWEEN) - BETWEEN, 2 * MARGIN + HEADER + sum(tall) + LINES * len(rows))
    title = query_title(query_image, query_name, chosen)
    _draw_header(page, query, title, reading(hits, chosen, where), len(hits))
    y = MARGIN + HEADER
    for row, height in zip(rows, tall, strict=True):
        for column, hit in enumerate(row):
            marks = hit_marks(hit, query.size, parts, chosen)
            _draw_hit(page, (MARGIN + column * (CELL + BETWEEN), y, height), hit, query, marks)
        y += height + LINES
    return page.figure


def _height(size: Size, side: float) -> float:
    """How tall an image is in a square of that side."""
    return side * min(1.0, size[1] / size[0])


def _draw_header(page: Page, query: Query, name: str, text: str, count: int) -> None:
    side = HEADER - 0.35
    page.image(
        query.picture, (MARGIN, MARGIN, MARGIN + side, MARGIN + min(side, _height(query.size, side))), query.size
    )
    x = MARGIN + side + 0.25
    room = page.width - x - MARGIN
    page.text(x, MARGIN, shorten(f"Images like {name}", room, 15, bold=True), 15, weight="bold")
    y = page.paragraph(x, MARGIN + 0.36, wrap(text, room, 9.5), 9.5, color=FAINT)
    if count > MOST:
        page.text(x, y + 0.05, f"The first {MOST} of {count:,} hits.", 9.5, color=FAINT)


def _draw_hit(page: Page, cell: tuple[float, float, float], hit: Hit, query: Query, shown: list[Mark]) -> None:
    x, y, tall = cell
    head = f"{hit.rank}.  {number(hit.similarity)}"
    page.text(x, y, head, 13, weight="bold")
    page.text(x + CELL, y + 0.03, made_of(hit), 8.5, color=FAINT, ha="right")
    y += 0.3
    size = (int(hit.size[0]), int(hit.size[1]))
    left = page.image(query.picture, (x, y, x + QUERY, y + tall), query.size)
    for box in query.dotted:
        page.outline(left, box, 1.4)
    right = page.image(thumbnail_image(hit), (x + QUERY + GAP, y, x + CELL, y + tall), size)
    draw_marks(page, left, right, shown, badge=6, slim=0.6)
    y += tall + 0.07
    if hit.label is not None:
        page.text(x, y, shorten(hit.label, CELL, 9.5), 9.5)
        y += leading(9.5)
    page.text(x, y, shorten(hit.path, CELL, 8.5), 8.5, color=FAINT)
