"""Regions on an image: outlined in their colour and numbered, with the rest of the image faded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.drawing.page import HATCH, HATCHED, Page, Panel, lifted
from diml.explanation.images import blank
from diml.explanation.outlines import Cell, CellGrid, Loop, outline

if TYPE_CHECKING:
    from matplotlib.path import Path

    from diml.explanation.drawing.drawn_image import DrawnImage
    from diml.explanation.marks import Box
    from diml.explanation.region_marks import RegionMark

LINE, FADED = 2.6, 0.62


def draw_regions(
    page: Page,
    panel: Panel,
    of: CellGrid,
    marks: Sequence[RegionMark],
    *,
    unmatched: Sequence[Cell] = (),
    badge: float = 9,
    slim: float = 1,
) -> None:
    """Outline and number regions of an image; what is in none of them is faded, and what is unmatched hatched.

    `slim` scales the lines.
    """
    fade(panel, of, [cell for mark in marks for cell in mark.cells])
    if unmatched:
        hatch(panel, of, unmatched)
    for mark in [mark for mark in reversed(marks) if mark.cells]:
        draw_outline(panel, of, mark, LINE * slim)
    for mark in marks:
        if mark.cells:
            x, y = panel.at(*of.box(min(mark.cells))[:2])
            page.badge(x + badge / 48, y + badge / 48, mark.tag, badge)


def draw_outline(panel: Panel, of: CellGrid, mark: RegionMark, width: float) -> None:
    from matplotlib.patches import PathPatch

    inset = panel.pixels(width / 2 + 0.6)
    path = _path(outline(mark.cells, of, inset))
    patch = PathPatch(path, fill=False, edgecolor=mark.tag.colour, linewidth=width, clip_on=False, joinstyle="miter")
    patch.set(linestyle="--" if mark.tag.dashed else "-", path_effects=lifted(mark.tag, width), zorder=3, gid="region")
    panel.axes.add_patch(patch)


def fade(panel: Panel, of: CellGrid, kept: Sequence[Cell]) -> None:
    """Fade an image except for some of its cells."""
    from matplotlib.patches import PathPatch

    width, height = panel.size
    frame: Loop = [(0.0, 0.0), (0.0, float(height)), (float(width), float(height)), (float(width), 0.0)]
    path = _path([frame, *outline(kept, of)])
    panel.axes.add_patch(PathPatch(path, facecolor="white", edgecolor="none", alpha=FADED, zorder=2, gid="faded"))


def hatch(panel: Panel, of: CellGrid, cells: Sequence[Cell]) -> None:
    """Hatch the cells of an image that found no counterpart."""
    from matplotlib.patches import PathPatch

    style = {"facecolor": "none", "edgecolor": HATCHED, "linewidth": 0.0, "hatch": HATCH}
    panel.axes.add_patch(PathPatch(_path(outline(cells, of)), zorder=2.5, gid="unmatched", **style))


def draw_crop(page: Page, image: DrawnImage, cell: Box, of: CellGrid, mark: RegionMark) -> None:
    """The part of an image that shows a region, as large as fits in a cell of the page, centred."""
    x0, y0, x1, y1 = of.around(mark.cells)
    wide, tall = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    scale = min((cell[2] - cell[0]) / wide, (cell[3] - cell[1]) / tall)
    width, height = max(wide * scale, 0.04), max(tall * scale, 0.04)
    x, y = (cell[0] + cell[2] - width) / 2, (cell[1] + cell[3] - height) / 2
    axes = page.axes(x, y, width, height)
    axes.imshow(image.picture or blank(), extent=(0, image.size[0], image.size[1], 0), aspect="auto")
    fade(Panel(x, y, width, height, image.size, axes), of, mark.cells)
    axes.set(xlim=(x0, x0 + wide), ylim=(y0 + tall, y0))
    for spine in axes.spines.values():
        spine.set(edgecolor=mark.tag.colour, linewidth=1.6)


def _path(loops: Sequence[Loop]) -> Path:
    from matplotlib.path import Path

    points, codes = [], []
    for loop in loops:
        points += [*loop, loop[0]]
        codes += [Path.MOVETO, *[Path.LINETO] * (len(loop) - 1), Path.CLOSEPOLY]
    return Path(points or [(0.0, 0.0)], codes or [Path.MOVETO])
