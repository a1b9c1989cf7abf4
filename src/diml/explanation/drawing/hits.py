"""The hits of a search in one picture: each beside the query, with the parts that contributed most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diml.explanation.drawing.lettering import shorten, wrap
from diml.explanation.drawing.page import FAINT, Page, draw_marks, leading
from diml.explanation.hits import SearchedImage, composition, hit_marks, hit_size, reading, thumbnail_image
from diml.explanation.marks import Mark, Size
from diml.explanation.numbers import check_parts
from diml.explanation.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diml.search import Hit, SearchResult

# All in inches.
MARGIN, COLUMNS, BETWEEN = 0.35, 3, 0.45
QUERY, GAP, FOUND = 1.25, 0.4, 1.75
CELL = QUERY + GAP + FOUND
# A line above the images, two below them, and the space to the next row.
LINES = 1.0
HEADER = 1.9
MOST_HITS = 60


def hits_figure(result: SearchResult, parts: int = 3) -> Figure:
    """Draw the hits of a search in a grid, best first, each joined to the query by its strongest pairs of parts.

    Args:
        result: of a search; 60 of its hits are drawn at most, and the picture then says so.
        parts: how many pairs of parts are shown on each hit, from 1.

    Returns:
        A matplotlib figure, to be changed or shown in a notebook; `draw_hits(result, "hits.png")` writes it.

    Raises:
        UsageError: `parts` is below 1.
    """
    check_parts(parts)
    query = SearchedImage.of(result)
    shown = result.hits[:MOST_HITS]
    columns = min(COLUMNS, max(len(shown), 2))
    rows = [shown[at : at + columns] for at in range(0, len(shown), columns)]
    tall = [max(_height(hit_size(hit), FOUND) for hit in row) for row in rows]
    tall = [max(each, _height(query.size, QUERY)) for each in tall]
    page = Page(2 * MARGIN + columns * (CELL + BETWEEN) - BETWEEN, 2 * MARGIN + HEADER + sum(tall) + LINES * len(rows))
    _draw_header(page, query, reading(result), len(result))
    y = MARGIN + HEADER
    for row, height in zip(rows, tall, strict=True):
        for column, hit in enumerate(row):
            marks = hit_marks(hit, query.size, parts)
            _draw_hit(page, (MARGIN + column * (CELL + BETWEEN), y, height), hit, query, marks)
        y += height + LINES
    return page.figure


def _height(size: Size, side: float) -> float:
    """How tall an image is in a square of that side."""
    return side * min(1.0, size[1] / size[0])


def _draw_header(page: Page, query: SearchedImage, text: str, count: int) -> None:
    side = HEADER - 0.35
    cell = MARGIN, MARGIN, MARGIN + side, MARGIN + min(side, _height(query.size, side))
    page.image(query.picture, cell, query.size)
    x = MARGIN + side + 0.25
    width = page.width - x - MARGIN
    page.text(x, MARGIN, shorten(f"Images like {query.title}", width, 15, bold=True), 15, weight="bold")
    y = page.paragraph(x, MARGIN + 0.36, wrap(text, width, 9.5), 9.5, color=FAINT)
    if count > MOST_HITS:
        page.text(x, y + 0.05, f"The first {MOST_HITS} of {count:,} hits.", 9.5, color=FAINT)


def _draw_hit(page: Page, cell: tuple[float, float, float], hit: Hit, query: SearchedImage, shown: list[Mark]) -> None:
    x, y, tall = cell
    head = f"{hit.rank}.  {number(hit.similarity)}"
    page.text(x, y, head, 13, weight="bold")
    page.text(x + CELL, y + 0.03, composition(hit), 8.5, color=FAINT, ha="right")
    y += 0.3
    left = page.image(query.picture, (x, y, x + QUERY, y + tall), query.size)
    for box in query.chosen:
        page.outline(left, box, 1.4)
    right = page.image(thumbnail_image(hit), (x + QUERY + GAP, y, x + CELL, y + tall), hit_size(hit))
    draw_marks(page, left, right, shown, badge=6, slim=0.6)
    y += tall + 0.07
    if hit.label is not None:
        page.text(x, y, shorten(hit.label, CELL, 9.5), 9.5)
        y += leading(9.5)
    page.text(x, y, shorten(hit.path, CELL, 8.5), 8.5, color=FAINT)
