"""One pair of images and why they are similar, on one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diml.explanation.heat_picture import draw_heat, draw_scale, heat_scale
from diml.explanation.marks import Box, Mark, cell_of, marks_of, original_size, visible_box
from diml.explanation.numbers import heat, one_pair, scalar
from diml.explanation.page import Page, draw_marks, enough
from diml.explanation.side import BODY, MOST_ROWS, SIDE, Row, Side
from diml.explanation.words import describe, number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from diml.feature_maps import FeatureMaps
    from diml.matching import Match

# All in inches.
MARGIN, GAP, BESIDE = 0.35, 1.1, 0.45
TALLEST, WIDEST, NARROWEST = 4.2, 9.4, 6.0
TITLE, HEADING, SCALE = 0.3, 0.55, 0.6
HOW = "A pair counts by how alike its two parts look to the model, and by how much of the images the matching gives it."


@dataclass(frozen=True)
class Subject:
    """One of the two images: a picture of it, its title, the size of the original and what the model saw of it."""

    picture: Image
    title: str
    size: tuple[int, int]
    visible: Box


@dataclass(frozen=True)
class Layout:
    """Where things stand on the page: the images, beneath them their heats, and beside these the words."""

    tall: float
    width_a: float
    width_b: float
    gap: float

    @property
    def side(self) -> float:
        """Where the words begin."""
        return MARGIN + self.width_a + self.gap + self.width_b + BESIDE

    @property
    def height(self) -> float:
        return TITLE + self.tall + HEADING + self.tall + SCALE

    def cells(self, top: float, tall: float) -> tuple[Box, Box]:
        """The room for both images in a row of the page."""
        x_b = MARGIN + self.width_a + self.gap
        return (MARGIN, top, MARGIN + self.width_a, top + tall), (x_b, top, x_b + self.width_b, top + tall)


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
    a, b = subject_of(image_a, title_a, match.maps_a), subject_of(image_b, title_b, match.maps_b)
    shown = marks_of(match, min(parts, MOST_ROWS), a.size, b.size, chosen)
    side = _side(match, shown, chosen)
    layout = layout_of(a.size, b.size)
    page = Page(layout.side + SIDE + MARGIN, 2 * MARGIN + max(layout.height, side.height))
    _draw_pairs(page, layout, a, b, shown, [cell_of(match.maps_a, each, a.size) for each in chosen or ()])
    _draw_heats(page, layout, a, b, match)
    side.draw(page, layout.side, MARGIN)
    return page.figure


def _draw_pairs(page: Page, layout: Layout, a: Subject, b: Subject, shown: list[Mark], chosen: Sequence[Box]) -> None:
    cell_a, cell_b = layout.cells(MARGIN + TITLE, layout.tall)
    page.title(a.title, cell_a[0], MARGIN, layout.width_a)
    page.title(b.title, cell_b[0], MARGIN, layout.width_b)
    panel_a, panel_b = page.image(a.picture, cell_a, a.size), page.image(b.picture, cell_b, b.size)
    for box in chosen:
        page.outline(panel_a, box)
    draw_marks(page, panel_a, panel_b, shown)


def _draw_heats(page: Page, layout: Layout, a: Subject, b: Subject, match: Match) -> None:
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


def opened(image: Image | str | os.PathLike[str]) -> Image:
    """A PIL image as RGB, upright; a path is opened."""
    from diml.data.images import open_image, to_rgb

    return open_image(Path(image)) if isinstance(image, str | os.PathLike) else to_rgb(image)


def image_name(image: Image | str | os.PathLike[str], otherwise: str) -> str:
    path = image if isinstance(image, str | os.PathLike) else getattr(image, "filename", "")
    return Path(path).name or otherwise


def subject_of(image: Image | str | os.PathLike[str], title: str, maps: FeatureMaps) -> Subject:
    picture = opened(image)
    size = original_size(maps, picture.size)
    return Subject(enough(picture), title, size, visible_box(maps, size))


def layout_of(size_a: tuple[int, int], size_b: tuple[int, int]) -> Layout:
    """Both images get the same height; very long shapes are made to fit into milder ones."""
    a, b = (min(max(width / height, 0.45), 2.5) for width, height in (size_a, size_b))
    tall = min(TALLEST, (WIDEST - GAP) / (a + b))
    gap = max(GAP, NARROWEST - (a + b) * tall)
    return Layout(tall, a * tall, b * tall, gap)


def _side(match: Match, shown: list[Mark], chosen: Sequence[int] | None) -> Side:
    words = describe(match, [mark.pair for mark in shown], chosen)
    # The score stands above in large type, so its sentence need not repeat the number.
    words[0] = words[0].split(": ", 1)[1]
    similarity = scalar(match.similarity)
    shares = [percent(mark.pair.contribution, similarity) for mark in shown]
    rows = [
        Row(mark, mark.pair.contribution, f"{share} of it" if share else "")
        for mark, share in zip(shown, shares, strict=True)
    ]
    return Side.of(("Similarity", number(similarity)), words, "The strongest pairs of parts", HOW, rows)
