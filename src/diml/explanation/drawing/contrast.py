"""Why this image rather than that one, in one picture: the query between the two, and what its parts contribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from diml.explanation.contrast import Contrast, PartLead
from diml.explanation.contrast_words import CONTRAST_HOW, REGIONS_LEAD, contrast_words
from diml.explanation.drawing.drawn_image import DrawnImage
from diml.explanation.drawing.heat import draw_heat, draw_scale, heat_scale
from diml.explanation.drawing.page import Page, Panel, draw_marks
from diml.explanation.drawing.region_outlines import draw_regions
from diml.explanation.drawing.text_column import BODY, COLUMN, MOST_ROWS, Row, TextColumn
from diml.explanation.lead_regions import LeadRegion
from diml.explanation.marks import Box, Mark, chosen_boxes, marks_between, tags
from diml.explanation.numbers import check_parts
from diml.explanation.outlines import CellGrid
from diml.explanation.region_marks import region_marks
from diml.explanation.words import number

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure
    from torch import Tensor

    from diml.matching import Match

# All in inches.
MARGIN, GAP, BESIDE = 0.35, 0.9, 0.45
TALLEST, WIDEST, NARROWEST = 3.6, 11.5, 9.5
TITLE, HEADING, SCALE = 0.3, 0.62, 0.6
NOTES = "Both values stand beside it: with A / with B."


def contrast_figure(contrast: Contrast, parts: int | None = None) -> Figure:
    """Draw which regions, or parts, of a query give one image its lead over another.

    The regions that favour either image are outlined in the query, between the two images, and their counterparts in
    both. Parts are boxed, and joined to their strongest counterpart in either. Beneath stands the query three times:
    what each part contributes with a, the difference, and what it contributes with b.

    Args:
        contrast: of the query with the two images.
        parts: draw so many of the parts that favour a most in place of the regions, from 1; 16 at most, as many as the
            list beside them has room for.

    Returns:
        A matplotlib figure, to be changed or shown in a notebook; `contrast.draw("why.png")` writes it.

    Raises:
        UsageError: `parts` is below 1.
        ImageError: an image cannot be read.
    """
    if parts is not None:
        check_parts(parts)
    match_a, match_b = contrast.match_a, contrast.match_b
    q = DrawnImage.of(contrast.query, match_a.maps_a, "Query: ")
    a, b = DrawnImage.of(contrast.a, match_a.maps_b, "A: "), DrawnImage.of(contrast.b, match_b.maps_b, "B: ")
    regions = contrast.regions() if parts is None else []
    leads = [] if parts is None else contrast.parts(min(parts, MOST_ROWS))
    marks_a, marks_b = (_marks(leads, match, q, other) for match, other in ((match_a, a), (match_b, b)))
    column = _column(contrast, leads, marks_a) if parts else _region_column(contrast, regions)
    cells = _columns([a, q, b])
    right, below = cells[2][2], _heat_cells(q, cells)[0][3]
    page = Page(right + BESIDE + COLUMN + MARGIN, MARGIN + max(below + SCALE, MARGIN + column.height))
    panel_a, panel_q, panel_b = _draw_images(page, [a, q, b], cells)
    if parts is None:
        _draw_regions(page, (panel_q, panel_a, panel_b), contrast, regions)
    for box in chosen_boxes(match_a, q.size):
        page.outline(panel_q, box)
    draw_marks(page, panel_a, panel_q, [mark.swapped() for mark in marks_a])
    draw_marks(page, panel_q, panel_b, marks_b)
    _draw_heats(page, contrast, q, cells)
    column.draw(page, right + BESIDE, MARGIN)
    return page.figure


def _marks(leads: Sequence[PartLead], match: Match, query: DrawnImage, other: DrawnImage) -> list[Mark]:
    """Each part with its strongest counterpart; dashed where the part favours b, whatever the pair itself does."""
    best = {pair.a: pair for pair in reversed(match.parts())}
    marks = marks_between([best[lead.cell] for lead in leads], match, query.size, other.size)
    return [replace(mark, dashed=lead.difference < 0) for mark, lead in zip(marks, leads, strict=True)]


def _column(contrast: Contrast, leads: Sequence[PartLead], marks: Sequence[Mark]) -> TextColumn:
    rows = [Row(mark, lead.difference, _note(lead)) for mark, lead in zip(marks, leads, strict=True)]
    words = contrast_words(contrast, leads)
    return TextColumn.of(words, "The parts that favour A most", f"{CONTRAST_HOW} {NOTES}", rows)


def _region_column(contrast: Contrast, regions: Sequence[LeadRegion]) -> TextColumn:
    differences = [region.difference for region in regions]
    rows = [Row(tag, each.difference, _note(each)) for tag, each in zip(tags(differences), regions, strict=True)]
    rest = contrast.difference - contrast.residual - sum(differences)
    rows.append(Row(None, rest, name="other parts"))
    return TextColumn.of(contrast_words(contrast), "What favours A, or (dashed) B", f"{REGIONS_LEAD} {NOTES}", rows)


def _note(lead: PartLead | LeadRegion) -> str:
    return f"{number(lead.a)} / {number(lead.b)}"


def _columns(images: Sequence[DrawnImage]) -> list[Box]:
    """The boxes of three images side by side; they get the same height, very long shapes are limited."""
    shapes = [min(max(each.size[0] / each.size[1], 0.45), 2.5) for each in images]
    tall = min(TALLEST, (WIDEST - 2 * GAP) / sum(shapes))
    gap = max(GAP, (NARROWEST - sum(shapes) * tall) / 2)
    cells, x, top = [], MARGIN, MARGIN + TITLE
    for shape in shapes:
        cells.append((x, top, x + shape * tall, top + tall))
        x += shape * tall + gap
    return cells


def _draw_images(page: Page, images: Sequence[DrawnImage], cells: Sequence[Box]) -> list[Panel]:
    for image, cell in zip(images, cells, strict=True):
        page.title(image.title, cell[0], MARGIN, cell[2] - cell[0])
    return [page.image(each.picture, cell, each.size) for each, cell in zip(images, cells, strict=True)]


def _draw_regions(
    page: Page, panels: tuple[Panel, Panel, Panel], contrast: Contrast, regions: Sequence[LeadRegion]
) -> None:
    """The regions of the query, and their counterparts in a and in b."""
    maps = contrast.match_a.maps_a, contrast.match_a.maps_b, contrast.match_b.maps_b
    cells = [[each.cells for each in regions], [each.a_cells for each in regions], [each.b_cells for each in regions]]
    differences = [region.difference for region in regions]
    for panel, of, shown in zip(panels, maps, cells, strict=True):
        draw_regions(page, panel, CellGrid.of(of, panel.size), region_marks(shown, differences))


def _draw_heats(page: Page, contrast: Contrast, query: DrawnImage, cells: Sequence[Box]) -> None:
    """The query three times: with a, the difference, with b; the outer two share their colours."""
    with_a, with_b = contrast.heats
    shared, own = heat_scale(with_a, with_b), heat_scale(with_a - with_b)
    both, difference = ("against", "for it"), ("for B", "for A")
    columns = [
        (f"With A: {_total(with_a)}", with_a, shared, both),
        (f"Difference: {_total(with_a - with_b)}", with_a - with_b, own, difference),
        (f"With B: {_total(with_b)}", with_b, shared, both),
    ]
    for cell, (heading, values, limit, ends) in zip(_heat_cells(query, cells), columns, strict=True):
        middle = (cell[0] + cell[2]) / 2
        page.text(middle, cell[1] - 0.32, heading, BODY, ha="center", weight="bold")
        panel = page.grey_image(query.picture, cell, query.size)
        draw_heat(page, panel, values, limit, query.visible)
        draw_scale(page, middle, cell[3] + 0.2, [values], limit, bar=1.9, ends=ends)


def _heat_cells(query: DrawnImage, cells: Sequence[Box]) -> list[Box]:
    """The boxes of three times the query beneath the images, no higher than they are nor than it needs."""
    wide, top = (cells[2][2] - MARGIN - 2 * GAP) / 3, cells[0][3] + HEADING
    tall = min(cells[0][3] - cells[0][1], max(wide * query.size[1] / query.size[0], 0.5))
    lefts = [MARGIN + k * (wide + GAP) for k in range(3)]
    return [(x, top, x + wide, top + tall) for x in lefts]


def _total(values: Float[Tensor, "h w"]) -> str:
    return f"the query's parts add up to {number(float(values.sum()))}"
