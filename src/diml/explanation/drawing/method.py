"""The result of an explanation method as one picture: the two images with the heat over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diml.explanation.by_method import MethodExplanation, check_drawable
from diml.explanation.drawing.drawn_image import DrawnImage
from diml.explanation.drawing.heat import draw_heat, draw_scale, heat_scale
from diml.explanation.drawing.lettering import wrap
from diml.explanation.drawing.page import FAINT, Page, leading
from diml.explanation.drawing.pair_layout import BESIDE, MARGIN, SCALE, TITLE, pair_layout
from diml.explanation.drawing.text_column import BODY, COLUMN, TextColumn
from diml.explanation.method_words import method_words
from diml.explanation.methods.method import method_sentences

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure
    from torch import Tensor

    from diml.explanation.marks import Box

HEADLINE = 12.0
# Bold letters are at most this much wider than those that `wrap` measures.
BOLD = 1.18
ENDS = ("counts against it", "counts for it")
# Few methods explain the score, so the caveat of other pictures does not fit here.
CAVEAT = "This shows what the model compared; it does not explain the world."
HOW = "The number in a cell is its heat. Both images share one colour scale, with 0 as white."
HOW_A = "The number in a cell is its heat, with 0 as white. The method gives no heat for B, which is shown as it is."


def method_figure(explanation: MethodExplanation) -> Figure:
    """Draw the heat of a method over two images; an image without heat is shown as it is.

    Returns:
        A matplotlib figure; `diml.explanation.save_picture(figure, "why.png")` writes it as PNG, SVG or PDF.

    Raises:
        UsageError: the method gives no heat.
        ImageError: an image cannot be read.
    """
    check_drawable(explanation.method)
    heat_a, heat_b = explanation.result.heat_a, explanation.result.heat_b
    assert heat_a is not None
    a = DrawnImage.of(explanation.a, explanation.match.maps_a, "A: ")
    b = DrawnImage.of(explanation.b, explanation.match.maps_b, "B: ")
    layout = pair_layout(a.size, b.size)
    how = HOW_A if heat_b is None else HOW
    column = TextColumn.of(method_words(explanation), "How to read it", how, [], CAVEAT)
    across = layout.text - BESIDE - MARGIN
    summary, limitation = method_sentences(explanation.method)
    title, faint = wrap(summary, across / BOLD, HEADLINE), wrap(limitation, across, BODY)
    above = len(title) * leading(HEADLINE) + len(faint) * leading(BODY) + 0.25
    tall = above + TITLE + layout.tall + SCALE
    page = Page(layout.text + COLUMN + MARGIN, 2 * MARGIN + max(tall, column.height))
    y = page.paragraph(MARGIN, MARGIN, title, HEADLINE, weight="bold")
    page.paragraph(MARGIN, y + 0.04, faint, BODY, color=FAINT)
    top = MARGIN + above
    heats = [heat_a] if heat_b is None else [heat_a, heat_b]
    limit = heat_scale(*heats)
    cells = layout.cells(top + TITLE, layout.tall)
    for image, cell, heat in zip((a, b), cells, (heat_a, heat_b), strict=True):
        _draw_image(page, cell, top, image, heat, limit)
    draw_scale(page, MARGIN + across / 2, cells[0][3] + 0.2, heats, limit, ends=ENDS)
    column.draw(page, layout.text, MARGIN)
    return page.figure


def _draw_image(
    page: Page, cell: Box, y: float, image: DrawnImage, heat: Float[Tensor, "h w"] | None, limit: float
) -> None:
    page.title(image.title, cell[0], y, cell[2] - cell[0])
    if heat is None:
        page.image(image.picture, cell, image.size)
        return
    panel = page.grey_image(image.picture, cell, image.size)
    draw_heat(page, panel, heat, limit, image.visible)
