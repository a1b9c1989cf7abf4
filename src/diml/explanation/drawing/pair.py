"""One pair of images and why they are similar, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.drawing.drawn_image import DrawnImage
from diml.explanation.drawing.heat import draw_heat, draw_scale, heat_scale
from diml.explanation.drawing.page import Page, draw_marks
from diml.explanation.drawing.pair_layout import BESIDE, HEADING, MARGIN, TITLE, PairLayout, pair_layout
from diml.explanation.drawing.pair_regions import pair_regions_figure
from diml.explanation.drawing.text_column import BODY, COLUMN, MOST_ROWS, Row, TextColumn
from diml.explanation.marks import Box, Mark, chosen_boxes, marks_of
from diml.explanation.numbers import heat, scalar
from diml.explanation.pair import PairExplanation
from diml.explanation.pair_words import PAIR_HOW, pair_words
from diml.explanation.words import number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diml.matching import Match


def pair_figure(explanation: PairExplanation, parts: int | None = None) -> Figure:
    """Draw why two images are similar: the regions that correspond, or else the strongest pairs of parts.

    Regions are outlined in both images and cut out beneath. Pairs of parts are boxed and joined, above a heat for each
    image.

    Args:
        explanation: of the two images.
        parts: draw so many pairs of parts in place of the regions, the strongest first, from 1; 16 at most, as many as
            the list beside them has room for.

    Returns:
        A matplotlib figure, to be changed or shown in a notebook; `explanation.draw("why.png")` writes it.

    Raises:
        UsageError: `parts` is below 1.
        ImageError: an image cannot be read.
    """
    if parts is None:
        return pair_regions_figure(explanation)
    match = explanation.match
    a, b = DrawnImage.of(explanation.a, match.maps_a), DrawnImage.of(explanation.b, match.maps_b)
    shown = marks_of(match, min(parts, MOST_ROWS), a.size, b.size)
    column = _column(match, shown)
    layout = pair_layout(a.size, b.size)
    page = Page(layout.text + COLUMN + MARGIN, 2 * MARGIN + max(layout.height, column.height))
    _draw_pairs(page, layout, a, b, shown, chosen_boxes(match, a.size))
    _draw_heats(page, layout, a, b, match)
    column.draw(page, layout.text, MARGIN)
    return page.figure


def _draw_pairs(
    page: Page, layout: PairLayout, a: DrawnImage, b: DrawnImage, shown: list[Mark], chosen: Sequence[Box]
) -> None:
    cell_a, cell_b = layout.cells(MARGIN + TITLE, layout.tall)
    page.title(a.title, cell_a[0], MARGIN, layout.width_a)
    page.title(b.title, cell_b[0], MARGIN, layout.width_b)
    panel_a, panel_b = page.image(a.picture, cell_a, a.size), page.image(b.picture, cell_b, b.size)
    for box in chosen:
        page.outline(panel_a, box)
    draw_marks(page, panel_a, panel_b, shown)


def _draw_heats(page: Page, layout: PairLayout, a: DrawnImage, b: DrawnImage, match: Match) -> None:
    top = MARGIN + TITLE + layout.tall + HEADING
    total = scalar(match.similarity) - scalar(match.residual)
    heading = f"Where the similarity comes from: the cells of each image add up to {number(total)}"
    page.text(MARGIN, top - 0.32, heading, BODY, weight="bold")
    heats = heat(match)
    limit = heat_scale(*heats)
    for image, cell, values in zip((a, b), layout.cells(top, layout.tall), heats, strict=True):
        panel = page.grey_image(image.picture, cell, image.size)
        draw_heat(page, panel, values, limit, image.visible)
    draw_scale(page, (MARGIN + layout.text - BESIDE) / 2, top + layout.tall + 0.2, heats, limit)


def _column(match: Match, shown: list[Mark]) -> TextColumn:
    words = pair_words(match, [mark.pair for mark in shown])
    shares = [percent(mark.pair.contribution, scalar(match.similarity)) for mark in shown]
    rows = [
        Row(mark, mark.pair.contribution, f"{share} of it" if share else "")
        for mark, share in zip(shown, shares, strict=True)
    ]
    return TextColumn.of(words, "The strongest pairs of parts", PAIR_HOW, rows)
