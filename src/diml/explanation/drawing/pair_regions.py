"""One pair of images and the regions of both that correspond, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.drawing.drawn_image import DrawnImage
from diml.explanation.drawing.page import Page
from diml.explanation.drawing.pair_layout import MARGIN, TITLE, PairLayout, pair_layout
from diml.explanation.drawing.region_outlines import draw_crop, draw_regions
from diml.explanation.drawing.text_column import BODY, COLUMN, Row, TextColumn
from diml.explanation.marks import chosen_boxes
from diml.explanation.outlines import CellGrid
from diml.explanation.pair import PairExplanation
from diml.explanation.pair_words import pair_words
from diml.explanation.region_marks import RegionPairMark, region_pair_marks, unmatched_cells
from diml.explanation.region_words import NAMES, REGIONS_HOW, carried_sentence, region_note
from diml.explanation.words import number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diml.matching import Match, RegionPair, RegionPairs

# All in inches: a row of pairs of crops beneath the images.
HEADING, BADGE, CROP, BETWEEN, LEAST = 0.5, 0.3, 1.0, 0.35, 3


def pair_regions_figure(explanation: PairExplanation) -> Figure:
    """Draw why two images are similar: the regions that correspond, outlined in both and cut out beneath.

    Args:
        explanation: of the two images.

    Returns:
        A matplotlib figure, to be changed or shown in a notebook; `explanation.draw("why.png")` writes it.

    Raises:
        ImageError: an image cannot be read.
    """
    match, regions = explanation.match, explanation.regions()
    a, b = DrawnImage.of(explanation.a, match.maps_a), DrawnImage.of(explanation.b, match.maps_b)
    shown = region_pair_marks(regions)
    column = _column(match, regions, shown)
    layout = pair_layout(a.size, b.size)
    below = MARGIN + TITLE + layout.tall
    height = max(below + (HEADING + BADGE + CROP if shown else 0), MARGIN + column.height) + MARGIN
    page = Page(layout.text + COLUMN + MARGIN, height)
    _draw_images(page, layout, match, (a, b), shown, regions)
    if shown:
        _draw_crops(page, layout, below, match, (a, b), shown, regions)
    column.draw(page, layout.text, MARGIN)
    return page.figure


def _draw_images(
    page: Page,
    layout: PairLayout,
    match: Match,
    images: tuple[DrawnImage, DrawnImage],
    shown: Sequence[RegionPairMark],
    regions: RegionPairs,
) -> None:
    cells = layout.cells(MARGIN + TITLE, layout.tall)
    marks = [mark.a for mark in shown], [mark.b for mark in shown]
    for side, (image, maps) in enumerate(zip(images, (match.maps_a, match.maps_b), strict=True)):
        page.title(image.title, cells[side][0], MARGIN, cells[side][2] - cells[side][0])
        panel = page.image(image.picture, cells[side], image.size)
        unmatched = unmatched_cells(regions)[side]
        draw_regions(page, panel, CellGrid.of(maps, image.size), marks[side], unmatched=unmatched)
        for box in chosen_boxes(match, image.size) if side == 0 else ():
            page.outline(panel, box)


def _draw_crops(
    page: Page,
    layout: PairLayout,
    top: float,
    match: Match,
    images: tuple[DrawnImage, DrawnImage],
    shown: Sequence[RegionPairMark],
    regions: RegionPairs,
) -> None:
    """Each pair of regions beside each other, with its share above."""
    page.text(MARGIN, top + 0.14, "What corresponds to what", BODY, weight="bold")
    total = layout.cells(0, 1)[1][2] - MARGIN
    wide = (total + BETWEEN) / max(len(shown), LEAST) - BETWEEN
    y = top + HEADING
    for k, mark in enumerate(shown):
        x = MARGIN + k * (wide + BETWEEN)
        page.badge(x + 0.1, y + 0.06, mark.tag)
        share = percent(mark.pair.contribution, regions.similarity) or number(mark.pair.contribution)
        page.text(x + 0.27, y - 0.03, share, 11, weight="bold")
        half = (wide - 0.08) / 2
        for side, (region, maps) in enumerate(((mark.a, match.maps_a), (mark.b, match.maps_b))):
            left = x + side * (half + 0.08)
            cell = left, y + BADGE, left + half, y + BADGE + CROP
            draw_crop(page, images[side], cell, CellGrid.of(maps, images[side].size), region)


def _column(match: Match, regions: RegionPairs, shown: Sequence[RegionPairMark]) -> TextColumn:
    rows = [Row(mark.tag, mark.pair.contribution, region_note(mark.pair, regions)) for mark in shown]
    rows += [
        Row(None, pair.contribution, region_note(pair, regions), NAMES[pair.kind], _hatched(pair))
        for pair in regions
        if pair.kind != "region"
    ]
    words = pair_words(match, carried=carried_sentence(regions))
    return TextColumn.of(words, "The regions that correspond", REGIONS_HOW, rows)


def _hatched(pair: RegionPair) -> bool:
    """Whether cells of this group are hatched in the images: what is unmatched may be spread over matched cells."""
    return pair.kind == "unmatched" and bool(pair.a_cells or pair.b_cells)
