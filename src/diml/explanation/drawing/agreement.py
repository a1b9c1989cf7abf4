"""Where many images agree: an image, its heat, and where its strongest parts lie in others, on one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.errors import UsageError
from diml.explanation.agreement_words import AGREEMENT_HOW, describe_agreement
from diml.explanation.drawing.drawn_image import DrawnImage, drawn_image
from diml.explanation.drawing.heat import draw_heat, draw_scale, heat_scale
from diml.explanation.drawing.lettering import shorten
from diml.explanation.drawing.page import FAINT, Page, enough, leading
from diml.explanation.drawing.text_column import BODY, MOST_ROWS, SIDE, Row, TextColumn
from diml.explanation.images import image_name, opened
from diml.explanation.marks import Box, Tag, cell_of, tags
from diml.explanation.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from diml.explanation.agreement import Agreement, SharedPart

# All in inches.
MARGIN, GAP, BESIDE = 0.35, 0.7, 0.45
TALLEST, WIDEST, NARROWEST = 3.8, 9.4, 7.6
TITLE, HEADING, SCALE = 0.3, 0.75, 0.7
OTHERS, FEWEST, BETWEEN, LINES = 5, 3, 0.2, 0.45


def draw_agreement(
    found: Agreement,
    image: Image | str | os.PathLike[str],
    others: Sequence[Image | str | os.PathLike[str]],
    *,
    parts: int = 6,
    against: str = "",
    chosen: Sequence[int] | None = None,
) -> Figure:
    """Draw which parts of an image many others share: the strongest boxed, a heat, and the five most similar others.

    Args:
        found: of the image with the others.
        image: a path or a PIL image; a smaller copy of the original will do.
        others: likewise, in the order of the matches; the five most similar are opened.
        parts: how many parts to show, from 1; 16 at most, as many as the list beside them has room for.
        against: what to call the others.
        chosen: for a part query, the numbers of the cells of the image that were chosen; they are outlined.

    Raises:
        UsageError: `parts` is below 1, or another number of others came than was matched.
        ImageError: an image cannot be read.
    """
    if parts < 1:
        raise UsageError(f"{parts} parts were asked to be shown; expected 1 or more")
    if len(others) != len(found):
        raise UsageError(f"{len(others)} images came for {len(found)} matches; give one for each")
    subject = drawn_image(image, image_name(image, "the image"), found.maps)
    shown = found.parts(min(parts, MOST_ROWS), chosen)
    marked = tags([part.contribution for part in shown])
    column = _column(found, shown, marked, chosen)
    shape = min(max(subject.size[0] / subject.size[1], 0.45), 2.5)
    tall = min(TALLEST, (WIDEST - GAP) / 2 / shape)
    wide = max(shape * tall, (NARROWEST - GAP) / 2)
    right = MARGIN + 2 * wide + GAP
    count = max(min(len(found), OTHERS), FEWEST)
    square = (right - MARGIN - (count - 1) * BETWEEN) / count
    below = MARGIN + TITLE + tall + SCALE + HEADING
    page = Page(right + BESIDE + SIDE + MARGIN, max(below + square + LINES, column.height + MARGIN) + MARGIN)
    top = MARGIN + TITLE
    outlined = [cell_of(found.maps, each, subject.size) for each in chosen or ()]
    _draw_image(page, (MARGIN, top, MARGIN + wide, top + tall), subject, found, shown, marked, outlined)
    _draw_heat(page, (MARGIN + wide + GAP, top, right, top + tall), subject, found)
    page.text(MARGIN, below - 0.32, _heading(found, against, right - MARGIN), BODY, weight="bold")
    _draw_others(page, below, square, found, others, shown, marked)
    column.draw(page, right + BESIDE, MARGIN)
    return page.figure


def _column(
    found: Agreement, shown: Sequence[SharedPart], marked: Sequence[Tag], chosen: Sequence[int] | None
) -> TextColumn:
    rows = [Row(tag, part.contribution, f"± {number(part.deviation)}") for tag, part in zip(marked, shown, strict=True)]
    headline = ("Mean similarity", number(float(found.similarity.mean())))
    return TextColumn.of(
        headline, describe_agreement(found, shown, chosen), "The parts that are shared most", AGREEMENT_HOW, rows
    )


def _draw_image(
    page: Page,
    cell: Box,
    subject: DrawnImage,
    found: Agreement,
    shown: Sequence[SharedPart],
    marked: Sequence[Tag],
    outlined: Sequence[Box],
) -> None:
    page.title(subject.title, cell[0], MARGIN, cell[2] - cell[0])
    panel = page.image(subject.picture, cell, subject.size)
    for box in outlined:
        page.outline(panel, box)
    columns = found.maps.grid[1]
    for tag, part in reversed(list(zip(marked, shown, strict=True))):
        box = cell_of(found.maps, part.cell[0] * columns + part.cell[1], subject.size)
        x0, y0, _, _ = page.box(panel, tag, box, (0, 1), 2.2)
        x, y = panel.at(x0, y0)
        page.badge(x + 0.13, y + 0.13, tag)


def _draw_heat(page: Page, cell: Box, subject: DrawnImage, found: Agreement) -> None:
    heat = found.heat
    limit = heat_scale(heat)
    page.title(f"The parts bring {number(float(heat.sum()))} on average", cell[0], MARGIN, cell[2] - cell[0])
    panel = page.image(subject.picture.convert("L"), cell, subject.size)
    draw_heat(page, panel, heat, limit, subject.visible)
    draw_scale(page, (cell[0] + cell[2]) / 2, cell[3] + 0.2, [heat], limit)


def _heading(found: Agreement, against: str, inches: float) -> str:
    few = "The other image" if len(found) == 1 else f"The most similar of {len(found):,}"
    text = f"{few}{' in ' + against if against else ''}, with what each part is most matched with"
    return shorten(text, inches, BODY, bold=True)


def _draw_others(
    page: Page,
    top: float,
    square: float,
    found: Agreement,
    others: Sequence[Image | str | os.PathLike[str]],
    shown: Sequence[SharedPart],
    marked: Sequence[Tag],
) -> None:
    order = found.similarity.argsort(descending=True, stable=True)[:OTHERS].tolist()
    for column, k in enumerate(order):
        x = MARGIN + column * (square + BETWEEN)
        picture = opened(others[k])
        size = found.sizes[k] or picture.size
        panel = page.image(enough(picture), (x, top, x + square, top + square), size)
        boxes = [found.partner_box(k, part.cell, size) for part in shown]
        for at in reversed(range(len(boxes))):
            place = boxes[:at].count(boxes[at]), boxes.count(boxes[at])
            page.box(panel, marked[at], boxes[at], place, 1.4)
            (left, upper), (far, _) = panel.at(*boxes[at][:2]), panel.at(*boxes[at][2:])
            page.badge(left + (far - left) * (place[0] + 1) / (place[1] + 1), upper + 0.11, marked[at], 5)
        name = shorten(image_name(others[k], "an image"), square, 8.5)
        page.text(x, top + square + 0.07, number(float(found.similarity[k])), 9.5, weight="bold")
        page.text(x, top + square + 0.07 + leading(9.5), name, 8.5, color=FAINT)
