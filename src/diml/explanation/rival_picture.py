"""What another method says of a pair of images, on one page: the two images with the heat over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diml.errors import UsageError
from diml.explanation.drawing.drawn_image import DrawnImage
from diml.explanation.drawing.heat import draw_heat, draw_scale, heat_scale
from diml.explanation.drawing.lettering import wrap
from diml.explanation.drawing.page import FAINT, Page, leading
from diml.explanation.drawing.pair_layout import BESIDE, MARGIN, SCALE, TITLE, pair_layout
from diml.explanation.drawing.text_column import BODY, COLUMN, TextColumn
from diml.explanation.images import NamedImage
from diml.explanation.rival_words import describe_method, describe_rival
from diml.explanation.words import Words, number

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure
    from torch import Tensor

    from diml.explanation.marks import Box
    from diml.explanation.rival_document import RivalAnswer
    from diml.model import Source

HEADLINE = 12.0
# Bold letters are at most this much wider than those that `wrap` measures.
BOLD = 1.18
ENDS = ("counts against it", "counts for it")
# The one beneath other pictures says that the score is accounted for, which few methods do.
CAVEAT = "This is about what the model compared, not about the world."
HOW = "The number in a cell is its heat. Both images share one scale of colours, with 0 as white."
HOW_A = "The number in a cell is its heat, with 0 as white. The method gives no heat for B, which stands as it is."


def check_drawable(method: str, heats: bool) -> None:
    """Refuse, before anything slow, to draw a method that gives no heat.

    Raises:
        UsageError: it gives none.
    """
    if not heats:
        raise UsageError(f"the method {method} gives no heat, so there is nothing to draw; leave out the picture")


def draw_rival(answer: RivalAnswer, image_a: Source | NamedImage, image_b: Source | NamedImage) -> Figure:
    """Draw the heat of a method over two images; an image of which it says nothing stands as it is.

    Args:
        answer: of this pair of images.
        image_a, image_b: paths, or PIL images; a smaller copy of the original will do.

    Returns:
        A matplotlib figure; `diml.explanation.save_picture(figure, "why.png")` writes it as PNG, SVG or PDF.

    Raises:
        UsageError: the method gives no heat.
        ImageError: an image cannot be read.
    """
    heat_a, heat_b = answer.found.heat_a, answer.found.heat_b
    check_drawable(answer.method.name, heat_a is not None)
    assert heat_a is not None
    a = DrawnImage.of(NamedImage.of(image_a, "first image"), answer.match.maps_a, "A: ")
    b = DrawnImage.of(NamedImage.of(image_b, "second image"), answer.match.maps_b, "B: ")
    layout = pair_layout(a.size, b.size)
    column = _column(answer)
    across = layout.text - BESIDE - MARGIN
    does, lacks = describe_method(answer.method.name)
    title, faint = wrap(does, across / BOLD, HEADLINE), wrap(lacks, across, BODY)
    above = len(title) * leading(HEADLINE) + len(faint) * leading(BODY) + 0.25
    tall = above + TITLE + layout.tall + SCALE
    page = Page(layout.text + COLUMN + MARGIN, 2 * MARGIN + max(tall, column.height))
    y = page.paragraph(MARGIN, MARGIN, title, HEADLINE, weight="bold")
    page.paragraph(MARGIN, y + 0.04, faint, BODY, color=FAINT)
    top = MARGIN + above
    heats = [heat_a] if heat_b is None else [heat_a, heat_b]
    limit = heat_scale(*heats)
    cells = layout.cells(top + TITLE, layout.tall)
    for subject, cell, heat in zip((a, b), cells, (heat_a, heat_b), strict=True):
        _draw_image(page, cell, top, subject, heat, limit)
    draw_scale(page, MARGIN + across / 2, cells[0][3] + 0.2, heats, limit, ends=ENDS)
    column.draw(page, layout.text, MARGIN)
    return page.figure


def _draw_image(
    page: Page, cell: Box, y: float, subject: DrawnImage, heat: Float[Tensor, "h w"] | None, limit: float
) -> None:
    page.title(subject.title, cell[0], y, cell[2] - cell[0])
    if heat is None:
        page.image(subject.picture, cell, subject.size)
        return
    panel = page.grey_image(subject.picture, cell, subject.size)
    draw_heat(page, panel, heat, limit, subject.visible)


def _column(answer: RivalAnswer) -> TextColumn:
    first, *rest = describe_rival(answer)
    words = Words(("Similarity", number(answer.similarity)), [first.split(": ", 1)[1], *rest])
    how = HOW_A if answer.found.heat_b is None else HOW
    return TextColumn.of(words, "How to read it", how, [], CAVEAT)
