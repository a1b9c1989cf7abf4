"""Heats: the contribution of each cell as a colour, laid over a grey image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from diml.explanation.drawing.lettering import width
from diml.explanation.drawing.page import FAINT, Page, Panel, leading
from diml.explanation.marks import AGAINST, FOR, Box, cell_box
from diml.explanation.words import digits, number

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from matplotlib.colors import LinearSegmentedColormap
    from numpy.typing import NDArray
    from torch import Tensor

NOTHING = "#FFFFFF"
BAR = 2.6
OPACITY = 0.75


def heat_scale(*heats: Float[Tensor, "h w"]) -> float:
    """The value at either end of the colours, the same for all these images: the largest absolute value.

    Zero lies in the middle, so that one colour always means "for" and the other "against".
    """
    largest = max(float(each.abs().max()) for each in heats)
    return largest if largest > 0 else 1.0


def colours() -> LinearSegmentedColormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("diml", [AGAINST, NOTHING, FOR])


def draw_heat(page: Page, panel: Panel, heat: Float[Tensor, "h w"], limit: float, visible: Box) -> None:
    """Colour the cells of an image and write their values where they fit.

    `visible` is the rectangle, in pixels, that the grid divides; the image outside of it stays grey.
    """
    from matplotlib.colors import Normalize

    values = heat.double().cpu().numpy()
    (grey,) = panel.axes.images
    grey.set(cmap="gray", norm=Normalize(-320, 255))
    x0, y0, x1, y1 = visible
    cells = panel.axes.imshow(values, extent=(x0, x1, y1, y0), aspect="auto", interpolation="nearest")
    cells.set(cmap=colours(), norm=Normalize(-limit, limit), alpha=OPACITY)
    panel.axes.set(xlim=(0, panel.size[0]), ylim=(panel.size[1], 0))
    _write_values(page, panel, values, visible)


def _write_values(page: Page, panel: Panel, values: NDArray[np.float64], visible: Box) -> None:
    rows, columns = values.shape
    places = digits(float(abs(values).max()))
    covered = visible[2] - visible[0], visible[3] - visible[1]
    for row, column in product(range(rows), range(columns)):
        x0, y0, x1, y1 = cell_box((row, column), (rows, columns), covered)
        left, top = panel.at(max(visible[0] + x0, 0), max(visible[1] + y0, 0))
        right, bottom = panel.at(min(visible[0] + x1, panel.size[0]), min(visible[1] + y1, panel.size[1]))
        text = number(values[row, column], places)
        size = next((each for each in (8.0, 7.0, 6.0) if width(text, each) + 0.06 <= right - left), None)
        if size is not None and bottom - top >= leading(size):
            page.text((left + right) / 2, (top + bottom) / 2, text, size, ha="center", va="center")


def draw_scale(
    page: Page,
    centre: float,
    y: float,
    heats: Sequence[Float[Tensor, "h w"]],
    limit: float,
    *,
    bar: float = BAR,
    ends: tuple[str, str] = ("counts against it", "adds to the similarity"),
) -> None:
    """A bar of the colours in use, `bar` inches wide, with words at its two ends."""
    import numpy as np

    low = min(0.0, *(float(each.min()) for each in heats))
    high = max(0.0, *(float(each.max()) for each in heats))
    places = digits(max(high, -low))
    x = centre - bar / 2
    axes = page.axes(x, y, bar, 0.14)
    values = np.linspace(low, high if high > low else low + limit, 256)[None]
    axes.imshow(values, cmap=colours(), vmin=-limit, vmax=limit, alpha=OPACITY, aspect="auto")
    page.text(x - 0.1, y + 0.07, number(low, places), 8.5, ha="right", va="center")
    page.text(x + bar + 0.1, y + 0.07, number(high, places), 8.5, va="center")
    left = ends[0] if low < 0 else "contributes nothing"
    page.text(x, y + 0.2, left, 8.5, color=FAINT)
    page.text(x + bar, y + 0.2, ends[1], 8.5, color=FAINT, ha="right")
