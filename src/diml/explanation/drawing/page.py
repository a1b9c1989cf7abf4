"""A matplotlib figure measured in inches from its top left corner, and images on it.

Without pyplot, so without a display and global state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.explanation.drawing.lettering import legible, shorten, wrap
from diml.explanation.frame import Frame
from diml.explanation.images import NO_IMAGE, blank
from diml.explanation.marks import Box, Mark, Size, Tag, inset, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from PIL.Image import Image

INK, FAINT, EDGE = "#1a1a1a", "#5f5f5f", "#b0b0b0"
CHOSEN = "#F0E442"
# Of cells that found no counterpart; lines that count against are hatched the other way.
HATCH, HATCHED = r"\\\\", "#5f5f5f"
# Longest side of an image in pixels; more than a page shows only makes the file slow and large.
ENOUGH_PIXELS = 900


@dataclass(frozen=True)
class Panel(Frame):
    """An image on a page: its frame is in inches, its axes count pixels of the original."""

    axes: Axes

    def pixels(self, points: float) -> tuple[float, float]:
        """A length in points, in pixels of the original: across and down."""
        return points / 72 * self.size[0] / self.width, points / 72 * self.size[1] / self.height


class Page:
    """A white figure of `width` x `height` inches."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure: Figure = Figure(figsize=(width, height), facecolor="white")
        self.figure.set_layout_engine("none")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Inches from the top left as fractions of the figure, as matplotlib expects them."""
        return x / self.width, 1 - y / self.height

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        left, bottom = self.place(x, y + height)
        axes = self.figure.add_axes((left, bottom, width / self.width, height / self.height))
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set(visible=True, color=EDGE, linewidth=0.8)
        return axes

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> Text:
        """A line of text; `y` is its top. Characters that no font can show are escaped, and `$` is a dollar sign."""
        text, fonts = legible(text)
        style = {"va": "top", "color": INK} | style
        fraction = self.place(x, y)
        return self.figure.text(*fraction, text, size=size, family=fonts, parse_math=False, usetex=False, **style)

    def paragraph(self, x: float, y: float, lines: list[str], size: float, **style: Any) -> float:
        """Lines as `wrap` returns them; returns where the next paragraph may begin."""
        for i, line in enumerate(lines):
            self.text(x, y + i * leading(size), line, size, **style)
        return y + len(lines) * leading(size)

    def title(self, text: str, panel_x: float, y: float, width: float, size: float = 11) -> None:
        """A title above an image, shortened in its middle where it is much wider than the image."""
        self.text(panel_x + width / 2, y, shorten(text, width + 0.6, size, bold=True), size, ha="center", weight="bold")

    def image(self, picture: Image | None, cell: Box, size: Size) -> Panel:
        """An image, as large as fits and centred in a cell `x0, y0, x1, y1`; `size` is that of the original.

        Without a picture a grey box says so.
        """
        panel = self._panel(picture, cell, size)
        if picture is None:
            middle = panel.x + panel.width / 2, panel.y + panel.height / 2
            self.text(*middle, shorten(NO_IMAGE, panel.width, 9), 9, color=FAINT, ha="center", va="center")
        return panel

    def grey_image(self, picture: Image | None, cell: Box, size: Size) -> Panel:
        """Likewise without its colours, for a heat to be laid over it."""
        return self._panel(None if picture is None else picture.convert("L"), cell, size)

    def _panel(self, picture: Image | None, cell: Box, size: Size) -> Panel:
        x0, y0, x1, y1 = cell
        scale = min((x1 - x0) / size[0], (y1 - y0) / size[1])
        # Extreme shapes keep a visible side.
        width, height = max(size[0] * scale, 0.04), max(size[1] * scale, 0.04)
        x, y = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
        axes = self.axes(x, y, width, height)
        axes.imshow(enough(picture or blank()), extent=(0, size[0], size[1], 0), aspect="auto")
        return Panel(x, y, width, height, size, axes)

    def box(self, panel: Panel, mark: Tag, box: Box, place: tuple[int, int], width: float) -> Box:
        """A mark's box on an image, inset where others share its cell; returns where it was drawn, in pixels."""
        from matplotlib.patches import Rectangle

        x0, y0, x1, y1 = inset(box, place, panel.pixels(width + 2.2))
        patch = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=mark.colour, linewidth=width, clip_on=False)
        patch.set(linestyle="--" if mark.dashed else "-", path_effects=lifted(mark, width), zorder=3, gid="part")
        panel.axes.add_patch(patch)
        return x0, y0, x1, y1

    def outline(self, panel: Panel, box: Box, width: float = 2.4) -> None:
        """A dotted edge around a chosen cell."""
        from matplotlib.patches import Rectangle

        x0, y0, x1, y1 = box
        style: dict[str, Any] = {"fill": False, "clip_on": False, "zorder": 2, "gid": "chosen"}
        for colour, dots in (("black", "-"), (CHOSEN, ":")):
            patch = Rectangle((x0, y0), x1 - x0, y1 - y0, edgecolor=colour, linewidth=width, linestyle=dots, **style)
            panel.axes.add_patch(patch)

    def badge(self, x: float, y: float, mark: Tag, size: float = 8) -> None:
        """The number of a mark on a disc of its colour, centred at (x, y)."""
        from matplotlib.lines import Line2D

        at = self.place(x, y)
        disc = Line2D([at[0]], [at[1]], marker="o", markersize=size * 1.9, color=mark.colour, zorder=6)
        disc.set(markeredgecolor=mark.ink, markeredgewidth=0.8, transform=self.figure.transFigure)
        self.figure.add_artist(disc)
        style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "color": mark.ink, "zorder": 7}
        self.text(x, y, str(mark.number), size if mark.number < 100 else size * 0.7, weight="bold", **style)

    def join(self, start: tuple[float, float], end: tuple[float, float], mark: Tag, width: float) -> None:
        """A curve between two points of the page; both its ends are horizontal, so that neighbours stay apart."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        middle = (start[0] + end[0]) / 2
        points = [self.place(*each) for each in (start, (middle, start[1]), (middle, end[1]), end)]
        curve = Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
        patch = PathPatch(curve, fill=False, edgecolor=mark.colour, linewidth=width, capstyle="round", zorder=5)
        patch.set(linestyle="--" if mark.dashed else "-", path_effects=lifted(mark, width), gid="joint")
        self.figure.add_artist(patch).set_transform(self.figure.transFigure)


def draw_marks(page: Page, a: Panel, b: Panel, shown: list[Mark], badge: float = 8, slim: float = 1) -> None:
    """Boxes on both images, joined; the strongest is drawn last and lies on top. `slim` scales the lines."""
    for mark in reversed(shown):
        a_box = page.box(a, mark, mark.a_box, mark.a_place, 2.2 * slim)
        b_box = page.box(b, mark, mark.b_box, mark.b_place, 2.2 * slim)
        start = a.at(a_box[2], spread(mark.a_box, mark.a_level))
        end = b.at(b_box[0], spread(mark.b_box, mark.b_level))
        page.join(start, end, mark, mark.width * slim)
        page.badge(*start, mark, badge)
        page.badge(*end, mark, badge)


def leading(size: float) -> float:
    """The distance from one line of text to the next, in inches."""
    return size * 1.38 / 72


def paragraphs(texts: list[str], inches: float, size: float) -> list[list[str]]:
    return [wrap(text, inches, size) for text in texts]


def lifted(mark: Tag, width: float) -> list[Any]:
    """A contrasting edge around a line, so that it is visible on any image."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width + 1.6, foreground=mark.ink), Normal()]


def enough(picture: Image) -> Image:
    """The picture, reduced to the pixels that a page can show."""
    if max(picture.size) <= ENOUGH_PIXELS:
        return picture
    small = picture.copy()
    small.thumbnail((ENOUGH_PIXELS, ENOUGH_PIXELS))
    return small
