"""One pair of images and why they are similar, on one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.drawing.drawn_image import DrawnImage, drawn_image
from diml.explanation.drawing.heat import draw_heat, draw_scale, heat_scale
from diml.explanation.drawing.page import Page, draw_marks
from diml.explanation.drawing.pair_layout import BESIDE, HEADING, MARGIN, TITLE, PairLayout, pair_layout
from diml.explanation.drawing.text_column import BODY, MOST_ROWS, SIDE, Row, TextColumn
from diml.explanation.images import image_name
from diml.explanation.marks import Box, Mark, cell_of, marks_of
from diml.explanation.numbers import heat, one_pair, scalar
from diml.explanation.words import PAIR_HOW, describe, number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from diml.matching import Match


def draw_match(
    match: Match,
    image_a: Image | str | os.PathLike[str],
    image_b: Image | str | os.PathLike[str],
    *,
    parts: int = 6,
    title_a: str | None = None,
    title_b: str | None = None,
    chosen: Sequence[int] | None = None,
) -> Figure:
    """Draw why two images are similar: the strongest pairs of parts, boxed and joined, and a heat for each image.

    Args:
        match: of this pair of images; best from `model.explain`.
        image_a, image_b: paths, or PIL images; a smaller copy of the original will do.
        parts: how many pairs of parts to show, the strongest first, from 1; no more than the 16 that the list beside
            them has room for.
        title_a, title_b: what to write above the images; their file names if left out.
        chosen: for a part query, the numbers of the cells of a that were chosen; they are outlined.

    Returns:
        A matplotlib figure; `diml.explanation.save_picture(figure, "why.png")` writes it as PNG, SVG or PDF.

    Raises:
        UsageError: `parts` is below 1, or the match is not of one pair of images.
        ImageError: an image cannot be read.
    """
    match = one_pair(match)
    title_a = image_name(image_a, "first image") if title_a is None else title_a
    title_b = image_name(image_b, "second image") if title_b is None else title_b
    a, b = drawn_image(image_a, title_a, match.maps_a), drawn_image(image_b, title_b, match.maps_b)
    shown = marks_of(match, min(parts, MOST_ROWS), a.size, b.size, chosen)
    column = _column(match, shown, chosen)
    layout = pair_layout(a.size, b.size)
    page = Page(layout.side + SIDE + MARGIN, 2 * MARGIN + max(layout.height, column.height))
    _draw_pairs(page, layout, a, b, shown, [cell_of(match.maps_a, each, a.size) for each in chosen or ()])
    _draw_heats(page, layout, a, b, match)
    column.draw(page, layout.side, MARGIN)
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
    for subject, cell, values in zip((a, b), layout.cells(top, layout.tall), heats, strict=True):
        panel = page.image(subject.picture.convert("L"), cell, subject.size)
        draw_heat(page, panel, values, limit, subject.visible)
    draw_scale(page, (MARGIN + layout.side - BESIDE) / 2, top + layout.tall + 0.2, heats, limit)


def _column(match: Match, shown: list[Mark], chosen: Sequence[int] | None) -> TextColumn:
    words = describe(match, [mark.pair for mark in shown], chosen)
    # The score stands above in large type, so its sentence need not repeat the number.
    words[0] = words[0].split(": ", 1)[1]
    similarity = scalar(match.similarity)
    shares = [percent(mark.pair.contribution, similarity) for mark in shown]
    rows = [
        Row(mark, mark.pair.contribution, f"{share} of it" if share else "")
        for mark, share in zip(shown, shares, strict=True)
    ]
    return TextColumn.of(("Similarity", number(similarity)), words, "The strongest pairs of parts", PAIR_HOW, rows)
