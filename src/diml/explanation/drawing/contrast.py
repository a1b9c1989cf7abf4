"""Why this image rather than that one, on one page: the query between the two, and what its parts bring to either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from diml.errors import UsageError
from diml.explanation.contrast_words import CONTRAST_HOW, describe_contrast
from diml.explanation.drawing.drawn_image import DrawnImage, drawn_image
from diml.explanation.drawing.heat import draw_heat, draw_scale, heat_scale
from diml.explanation.drawing.page import Page, draw_marks
from diml.explanation.drawing.text_column import BODY, MOST_ROWS, SIDE, Row, TextColumn
from diml.explanation.images import image_name
from diml.explanation.marks import Box, Mark, cell_of, marks_between
from diml.explanation.words import number, signed

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor

    from diml.explanation.contrast import Contrast, PartLead
    from diml.matching import Match

# All in inches.
MARGIN, GAP, BESIDE = 0.35, 0.9, 0.45
TALLEST, WIDEST, NARROWEST = 3.6, 11.5, 9.5
TITLE, HEADING, SCALE = 0.3, 0.62, 0.6
BESIDE_IT = "Both stand beside it: with A / with B."


def draw_contrast(
    contrast: Contrast,
    query: Image | str | os.PathLike[str],
    image_a: Image | str | os.PathLike[str],
    image_b: Image | str | os.PathLike[str],
    *,
    parts: int = 6,
    chosen: Sequence[int] | None = None,
) -> Figure:
    """Draw which parts of a query give one image its lead over another.

    The parts that speak most for a are boxed in the query, between the two images, and joined to their strongest
    partner in either. Beneath it stands the query three times: what each part brings with a, the difference, and what
    it brings with b.

    Args:
        contrast: of the query with the two images.
        query, image_a, image_b: paths, or PIL images; a smaller copy of the original will do.
        parts: how many parts of the query to show, from 1; 16 at most, as many as the list beside them has room for.
        chosen: for a part query, the numbers of the cells of the query that were chosen; they are outlined.

    Raises:
        UsageError: `parts` is below 1.
        ImageError: an image cannot be read.
    """
    if parts < 1:
        raise UsageError(f"{parts} parts were asked to be shown; expected 1 or more")
    q = drawn_image(query, "Query: " + image_name(query, "an image"), contrast.match_a.maps_a)
    a = drawn_image(image_a, "A: " + image_name(image_a, "first image"), contrast.match_a.maps_b)
    b = drawn_image(image_b, "B: " + image_name(image_b, "second image"), contrast.match_b.maps_b)
    leads = contrast.parts(min(parts, MOST_ROWS), chosen)
    marks_a, marks_b = (_marks(leads, m, q, other) for m, other in ((contrast.match_a, a), (contrast.match_b, b)))
    column = _column(contrast, leads, marks_a, chosen)
    cells = _columns([a, q, b])
    right, below = cells[2][2], _heats_of(q, cells)[0][3]
    page = Page(right + BESIDE + SIDE + MARGIN, MARGIN + max(below + SCALE, MARGIN + column.height))
    outlined = [cell_of(contrast.match_a.maps_a, each, q.size) for each in chosen or ()]
    _draw_images(page, [a, q, b], cells, (marks_a, marks_b), outlined)
    _draw_heats(page, contrast, q, cells)
    column.draw(page, right + BESIDE, MARGIN)
    return page.figure


def _marks(leads: Sequence[PartLead], match: Match, query: DrawnImage, other: DrawnImage) -> list[Mark]:
    """Each part with its strongest partner; dashed where the part speaks for b, whatever the pair itself does."""
    best = {pair.a: pair for pair in reversed(match.parts())}
    marks = marks_between([best[lead.cell] for lead in leads], match, query.size, other.size)
    return [replace(mark, dashed=lead.difference < 0) for mark, lead in zip(marks, leads, strict=True)]


def _column(
    contrast: Contrast, leads: Sequence[PartLead], marks: Sequence[Mark], chosen: Sequence[int] | None
) -> TextColumn:
    rows = [Row(mark, lead.difference, _note(lead)) for mark, lead in zip(marks, leads, strict=True)]
    headline = ("Similarity with A less that with B", signed(contrast.difference))
    words = describe_contrast(contrast, leads, chosen)
    return TextColumn.of(headline, words, "The parts that speak most for A", f"{CONTRAST_HOW} {BESIDE_IT}", rows)


def _note(lead: PartLead) -> str:
    return f"{number(lead.a)} / {number(lead.b)}"


def _columns(subjects: Sequence[DrawnImage]) -> list[Box]:
    """Room for three images side by side; they get the same height, very long shapes are made to fit milder ones."""
    shapes = [min(max(each.size[0] / each.size[1], 0.45), 2.5) for each in subjects]
    tall = min(TALLEST, (WIDEST - 2 * GAP) / sum(shapes))
    gap = max(GAP, (NARROWEST - sum(shapes) * tall) / 2)
    cells, x, top = [], MARGIN, MARGIN + TITLE
    for shape in shapes:
        cells.append((x, top, x + shape * tall, top + tall))
        x += shape * tall + gap
    return cells


def _draw_images(
    page: Page,
    subjects: Sequence[DrawnImage],
    cells: Sequence[Box],
    marks: tuple[list[Mark], list[Mark]],
    outlined: Sequence[Box],
) -> None:
    for subject, cell in zip(subjects, cells, strict=True):
        page.title(subject.title, cell[0], MARGIN, cell[2] - cell[0])
    a, q, b = (page.image(each.picture, cell, each.size) for each, cell in zip(subjects, cells, strict=True))
    for box in outlined:
        page.outline(q, box)
    draw_marks(page, a, q, [mark.swapped() for mark in marks[0]])
    draw_marks(page, q, b, marks[1])


def _draw_heats(page: Page, contrast: Contrast, query: DrawnImage, cells: Sequence[Box]) -> None:
    """Three times the query: with a, the difference, with b; the outer two share their colours."""
    with_a, with_b = contrast.heats
    shared, own = heat_scale(with_a, with_b), heat_scale(with_a - with_b)
    both, difference = ("against", "for it"), ("for B", "for A")
    columns = [
        (f"With A: {_total(with_a)}", with_a, shared, both),
        (f"Difference: {_total(with_a - with_b)}", with_a - with_b, own, difference),
        (f"With B: {_total(with_b)}", with_b, shared, both),
    ]
    for cell, (heading, values, limit, ends) in zip(_heats_of(query, cells), columns, strict=True):
        middle = (cell[0] + cell[2]) / 2
        page.text(middle, cell[1] - 0.32, heading, BODY, ha="center", weight="bold")
        panel = page.image(query.picture.convert("L"), cell, query.size)
        draw_heat(page, panel, values, limit, query.visible)
        draw_scale(page, middle, cell[3] + 0.2, [values], limit, bar=1.9, ends=ends)


def _heats_of(query: DrawnImage, cells: Sequence[Box]) -> list[Box]:
    """Room for three times the query beneath the images, no higher than they are nor than it needs."""
    wide, top = (cells[2][2] - MARGIN - 2 * GAP) / 3, cells[0][3] + HEADING
    tall = min(cells[0][3] - cells[0][1], max(wide * query.size[1] / query.size[0], 0.5))
    lefts = [MARGIN + k * (wide + GAP) for k in range(3)]
    return [(x, top, x + wide, top + tall) for x in lefts]


def _total(values: Float[Tensor, "h w"]) -> str:
    return f"the query's parts add up to {number(float(values.sum()))}"
