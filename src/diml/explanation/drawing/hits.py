"""The hits of a search in one picture: each beside the query, with the regions or parts that contributed most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diml.explanation.drawing.lettering import shorten, wrap
from diml.explanation.drawing.page import FAINT, Page, draw_marks, leading
from diml.explanation.drawing.region_outlines import draw_regions
from diml.explanation.hits import (
    SearchedImage,
    composition,
    hit_marks,
    hit_regions,
    hit_size,
    hit_unmatched,
    reading,
    share_text,
    thumbnail_image,
)
from diml.explanation.marks import Size
from diml.explanation.numbers import check_parts
from diml.explanation.outlines import CellGrid
from diml.explanation.region_marks import RegionPairMark
from diml.explanation.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diml.search import Hit, SearchResult

# All in inches.
MARGIN, COLUMNS, BETWEEN = 0.35, 3, 0.45
QUERY, GAP, FOUND = 1.25, 0.4, 1.75
CELL = QUERY + GAP + FOUND
# A line above the images, three below them, and the space to the next row.
LINES = 1.2
HEADER = 1.9
MOST_HITS = 60


def hits_figure(result: SearchResult, parts: int | None = None) -> Figure:
    """Draw the hits of a search in a grid, best first, each with the regions that correspond to those of the query.

    Args:
        result: of a search; 60 of its hits are drawn at most, and the picture then says so.
        parts: draw so many of the strongest pairs of parts of each hit in place of the regions, from 1.

    Returns:
        A matplotlib figure, to be changed or shown in a notebook; `draw_hits(result, "hits.png")` writes it.

    Raises:
        UsageError: `parts` is below 1.
    """
    if parts is not None:
        check_parts(parts)
    query = SearchedImage.of(result)
    shown = result.hits[:MOST_HITS]
    columns = min(COLUMNS, max(len(shown), 2))
    rows = [shown[at : at + columns] for at in range(0, len(shown), columns)]
    tall = [max(_height(hit_size(hit), FOUND) for hit in row) for row in rows]
    tall = [max(each, _height(query.size, QUERY)) for each in tall]
    page = Page(2 * MARGIN + columns * (CELL + BETWEEN) - BETWEEN, 2 * MARGIN + HEADER + sum(tall) + LINES * len(rows))
    _draw_header(page, query, reading(result, parts), len(result))
    y = MARGIN + HEADER
    for row, height in zip(rows, tall, strict=True):
        for column, hit in enumerate(row):
            _draw_hit(page, (MARGIN + column * (CELL + BETWEEN), y, height), hit, query, parts)
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


def _draw_hit(page: Page, cell: tuple[float, float, float], hit: Hit, query: SearchedImage, parts: int | None) -> None:
    x, y, tall = cell
    head = f"{hit.rank}.  {number(hit.similarity)}"
    page.text(x, y, head, 13, weight="bold")
    page.text(x + CELL, y + 0.03, composition(hit), 8.5, color=FAINT, ha="right")
    y += 0.3
    left = page.image(query.picture, (x, y, x + QUERY, y + tall), query.size)
    right = page.image(thumbnail_image(hit), (x + QUERY + GAP, y, x + CELL, y + tall), hit_size(hit))
    regions = hit_regions(hit) if parts is None else []
    if parts is None:
        cells_a, cells_b = hit_unmatched(hit)
        for panel, maps, marks, cells in (
            (left, hit.match.maps_a, [mark.a for mark in regions], cells_a),
            (right, hit.match.maps_b, [mark.b for mark in regions], cells_b),
        ):
            draw_regions(page, panel, CellGrid.of(maps, panel.size), marks, unmatched=cells, badge=6, slim=0.6)
    for box in query.chosen:
        page.outline(left, box, 1.4)
    draw_marks(page, left, right, hit_marks(hit, query.size, parts), badge=6, slim=0.6)
    y += tall + 0.07
    if regions:
        _draw_shares(page, x, y, hit, regions)
        y += leading(9.5) + 0.04
    if hit.label is not None:
        page.text(x, y, shorten(hit.label, CELL, 9.5), 9.5)
        y += leading(9.5)
    page.text(x, y, shorten(hit.path, CELL, 8.5), 8.5, color=FAINT)


def _draw_shares(page: Page, x: float, y: float, hit: Hit, regions: list[RegionPairMark]) -> None:
    for k, mark in enumerate(regions):
        at = x + k * CELL / 5
        page.badge(at + 0.08, y + 0.07, mark.tag, 6)
        page.text(at + 0.2, y + 0.07, share_text(mark, hit), 8.5, va="center")
