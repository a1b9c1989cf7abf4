"""Where many images agree, in one picture: an image, its heat, and where its strongest parts lie in others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diml.explanation.agreement import Agreement, SharedPart
from diml.explanation.agreement_words import AGREEMENT_HOW, REGIONS_SHARED, agreement_words
from diml.explanation.drawing.drawn_image import DrawnImage
from diml.explanation.drawing.heat import draw_heat, draw_scale, heat_scale
from diml.explanation.drawing.lettering import shorten
from diml.explanation.drawing.page import FAINT, Page, leading
from diml.explanation.drawing.region_outlines import draw_regions
from diml.explanation.drawing.text_column import BODY, COLUMN, MOST_ROWS, Row, TextColumn
from diml.explanation.images import NamedImage
from diml.explanation.marks import Box, Tag, cell_box, cell_of, tags
from diml.explanation.numbers import check_parts
from diml.explanation.outlines import Cell, CellGrid
from diml.explanation.region_marks import RegionMark, region_marks
from diml.explanation.shared_regions import SharedRegion, counterparts
from diml.explanation.words import number
from diml.image_sizes import original_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# All in inches.
MARGIN, GAP, BESIDE = 0.35, 0.7, 0.45
TALLEST, WIDEST, NARROWEST = 3.8, 9.4, 7.6
TITLE, HEADING, SCALE = 0.3, 0.75, 0.7
OTHERS, FEWEST, BETWEEN, LINES = 5, 3, 0.2, 0.45

Marked = Sequence[tuple[Tag, SharedPart]]


@dataclass(frozen=True)
class AgreementLayout:
    """The image and its heat beside each other, the others in a row of squares beneath; in inches."""

    wide: float
    tall: float
    count: int

    @classmethod
    def of(cls, image: DrawnImage, others: int) -> AgreementLayout:
        shape = min(max(image.size[0] / image.size[1], 0.45), 2.5)
        tall = min(TALLEST, (WIDEST - GAP) / 2 / shape)
        return cls(max(shape * tall, (NARROWEST - GAP) / 2), tall, max(min(others, OTHERS), FEWEST))

    @property
    def right(self) -> float:
        return MARGIN + 2 * self.wide + GAP

    @property
    def square(self) -> float:
        return (self.right - MARGIN - (self.count - 1) * BETWEEN) / self.count

    @property
    def below(self) -> float:
        """Where the row of the others begins."""
        return MARGIN + TITLE + self.tall + SCALE + HEADING

    @property
    def image(self) -> Box:
        return MARGIN, MARGIN + TITLE, MARGIN + self.wide, MARGIN + TITLE + self.tall

    @property
    def heat(self) -> Box:
        return MARGIN + self.wide + GAP, MARGIN + TITLE, self.right, MARGIN + TITLE + self.tall

    def other(self, k: int) -> Box:
        x = MARGIN + k * (self.square + BETWEEN)
        return x, self.below, x + self.square, self.below + self.square


def agreement_figure(agreement: Agreement, parts: int | None = None) -> Figure:
    """Draw which regions of an image many others share: outlined, a heat, and the five most similar others.

    Args:
        agreement: of the image with the others; the five most similar of them are opened.
        parts: box so many of the parts that are shared most in place of the regions, from 1; 16 at most, as many as the
            list beside them has room for.

    Returns:
        A matplotlib figure, to be changed or shown in a notebook; `agreement.draw("why.png")` writes it.

    Raises:
        UsageError: `parts` is below 1.
        ImageError: an image cannot be read.
    """
    image = DrawnImage.of(agreement.image, agreement.sums.maps)
    marked, regions = _marked(agreement, parts), agreement.regions() if parts is None else []
    column = _column(agreement, marked) if parts else _region_column(agreement, regions)
    layout = AgreementLayout.of(image, len(agreement))
    height = max(layout.below + layout.square + LINES, column.height + MARGIN) + MARGIN
    page = Page(layout.right + BESIDE + COLUMN + MARGIN, height)
    _draw_image(page, layout.image, image, agreement, marked, regions)
    _draw_heat(page, layout.heat, image, agreement)
    heading = _heading(agreement, layout.right - MARGIN)
    page.text(MARGIN, layout.below - 0.32, heading, BODY, weight="bold")
    for at, k in enumerate(agreement.most_similar(OTHERS)):
        _draw_other(page, layout.other(at), agreement, k, marked, regions)
    column.draw(page, layout.right + BESIDE, MARGIN)
    return page.figure


def _marked(agreement: Agreement, parts: int | None) -> Marked:
    if parts is None:
        return []
    check_parts(parts)
    shown = agreement.parts(min(parts, MOST_ROWS))
    return list(zip(tags([part.contribution for part in shown]), shown, strict=True))


def _region_column(agreement: Agreement, regions: Sequence[SharedRegion]) -> TextColumn:
    contributions = [region.contribution for region in regions]
    rows = [
        Row(tag, each.contribution, f"± {number(each.deviation)}")
        for tag, each in zip(tags(contributions), regions, strict=True)
    ]
    rows.append(Row(None, agreement.similarity - agreement.residual - sum(contributions), name="other parts"))
    return TextColumn.of(agreement_words(agreement), "The regions that are shared most", REGIONS_SHARED, rows)


def _region_marks(regions: Sequence[SharedRegion], cells: Sequence[tuple[Cell, ...]]) -> list[RegionMark]:
    return region_marks(cells, [region.contribution for region in regions])


def _column(agreement: Agreement, marked: Marked) -> TextColumn:
    rows = [Row(tag, part.contribution, f"± {number(part.deviation)}") for tag, part in marked]
    words = agreement_words(agreement, [part for _, part in marked])
    return TextColumn.of(words, "The parts that are shared most", AGREEMENT_HOW, rows)


def _draw_image(
    page: Page,
    cell: Box,
    image: DrawnImage,
    agreement: Agreement,
    marked: Marked,
    regions: Sequence[SharedRegion],
) -> None:
    page.title(image.title, cell[0], MARGIN, cell[2] - cell[0])
    panel = page.image(image.picture, cell, image.size)
    maps = agreement.sums.maps
    if regions:
        draw_regions(
            page, panel, CellGrid.of(maps, image.size), _region_marks(regions, [region.cells for region in regions])
        )
    for i in agreement.sums.chosen or ():
        page.outline(panel, cell_of(maps, i, image.size))
    for tag, part in reversed(marked):
        box = cell_of(maps, part.cell[0] * maps.grid[1] + part.cell[1], image.size)
        x0, y0, _, _ = page.box(panel, tag, box, (0, 1), 2.2)
        x, y = panel.at(x0, y0)
        page.badge(x + 0.13, y + 0.13, tag)


def _draw_heat(page: Page, cell: Box, image: DrawnImage, agreement: Agreement) -> None:
    heat = agreement.heat
    limit = heat_scale(heat)
    title = f"The parts contribute {number(float(heat.sum()))} on average"
    page.title(title, cell[0], MARGIN, cell[2] - cell[0])
    panel = page.grey_image(image.picture, cell, image.size)
    draw_heat(page, panel, heat, limit, image.visible)
    draw_scale(page, (cell[0] + cell[2]) / 2, cell[3] + 0.2, [heat], limit)


def _heading(agreement: Agreement, inches: float) -> str:
    few = "The other image" if len(agreement) == 1 else f"The most similar of {len(agreement):,}"
    where = Path(agreement.against).name
    text = f"{few}{' in ' + where if where else ''}, with the strongest counterparts"
    return shorten(text, inches, BODY, bold=True)


def _draw_other(
    page: Page, cell: Box, agreement: Agreement, k: int, marked: Marked, regions: Sequence[SharedRegion]
) -> None:
    other = agreement.others[k] if agreement.others else NamedImage("", "an image")
    picture, grid = other.picture, agreement.sums.grid
    size = agreement.sums.sizes[k] or (original_of(picture).size if picture else (100 * grid[1], 100 * grid[0]))
    panel = page.image(picture, cell, size)
    if regions:
        known = agreement.sums.boxes[k]
        cells = CellGrid(grid, known or [cell_box(divmod(j, grid[1]), grid, size) for j in range(grid[0] * grid[1])])
        marks = _region_marks(regions, counterparts(agreement.sums, k, regions))
        draw_regions(page, panel, cells, marks, badge=5, slim=0.6)
    boxes = [agreement.counterpart_box(k, part.cell, size) for _, part in marked]
    for at in reversed(range(len(boxes))):
        tag, place = marked[at][0], (boxes[:at].count(boxes[at]), boxes.count(boxes[at]))
        page.box(panel, tag, boxes[at], place, 1.4)
        (left, upper), (far, _) = panel.at(*boxes[at][:2]), panel.at(*boxes[at][2:])
        page.badge(left + (far - left) * (place[0] + 1) / (place[1] + 1), upper + 0.11, tag, 5)
    name = shorten(other.title, cell[2] - cell[0], 8.5)
    page.text(cell[0], cell[3] + 0.07, number(float(agreement.sums.similarities[k])), 9.5, weight="bold")
    page.text(cell[0], cell[3] + 0.07 + leading(9.5), name, 8.5, color=FAINT)
