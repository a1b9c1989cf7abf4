"""Figures of a faithfulness report: deletion and insertion curves, and correct keypoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diml.errors import DimlError
from diml.explanation.marks import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from diml.faithfulness.intervals import Estimate
    from diml.faithfulness.report import Faithfulness, KeypointScores, RemovalScores

# Yellow is too faint for a thin line on white.
LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")
DASHES, MARKERS = ("-", "--", ":"), ("o", "s", "^", "D", "v", "P", "X")
CONTROLS = ("random", "centre", "identity")
GREY = "#5f5f5f"


def write_figures(report: Faithfulness, folder: Path) -> list[Path]:
    """Write `deletion-FILL.png` for each fill, and `keypoints.png` if there are any, into a folder.

    Returns:
        The files.

    Raises:
        DimlError: the folder or a file cannot be written.
    """
    from diml.explanation.files import save_picture

    make_folder(folder)
    fills = dict.fromkeys(row.fill for row in report.removal)
    figures = {f"deletion-{fill}.png": curves_figure(report, fill) for fill in fills}
    if report.keypoints:
        figures["keypoints.png"] = keypoints_figure(report)
    for name, figure in figures.items():
        save_picture(figure, folder / name)
    return [folder / name for name in figures]


def make_folder(folder: Path) -> None:
    """Create a folder and those above it; call it before the slow work.

    Raises:
        DimlError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DimlError(f"cannot create the folder {folder} ({error.strerror}); choose another") from error


def curves_figure(report: Faithfulness, fill: str) -> Figure:
    """The mean similarity as cells are hidden and shown with one fill, most important first, one line per method."""
    from matplotlib.figure import Figure

    rows = [row for row in report.removal if row.fill == fill and row.measured == "similarity"]
    figure = Figure(figsize=(10.5, 4.4), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _curves(left, report, rows, "deletion")
    _curves(right, report, rows, "insertion")
    _label(left, "Deletion: a faithful order falls early", "share of the cells that are hidden")
    _label(right, "Insertion: a faithful order rises early", "share of the cells that are shown")
    left.set_ylabel(f"mean similarity, {report.pairs} pairs")
    figure.legend(handles=left.lines, loc="outside right center", frameon=False, fontsize=9)
    return figure


def _curves(axes: Axes, report: Faithfulness, rows: list[RemovalScores], which: str) -> None:
    for at, row in enumerate(rows):
        values = row.deletion_curve if which == "deletion" else row.insertion_curve
        axes.plot(report.shares, values, label=row.method, **style(row.method, at))


def style(method: str, at: int) -> dict[str, Any]:
    """The line of a method: a colour that colour-blind readers can tell apart, a marker and a dash."""
    colour = GREY if method in CONTROLS else LINES[at % len(LINES)]
    dash = ":" if method in CONTROLS else DASHES[at // len(LINES) % len(DASHES)]
    marker = MARKERS[at % len(MARKERS)]
    return {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4.5, "linewidth": 1.6}


def keypoints_figure(report: Faithfulness) -> Figure:
    """The share of the points whose strongest counterpart is the right cell, with its interval, one panel per grid."""
    from matplotlib.figure import Figure

    grids = list(dict.fromkeys(row.grid for row in report.keypoints))
    names = list(dict.fromkeys(row.method for row in report.keypoints))
    figure = Figure(figsize=(2.2 + 2.9 * len(grids), 0.9 + 0.32 * len(names)), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(grids), sharey=True, squeeze=False)[0]
    for axes, grid in zip(panels, grids, strict=True):
        rows = [row for row in report.keypoints if row.grid == grid]
        _dots(axes, rows, names)
        _label(axes, f"{grid[0]}x{grid[1]} cells", "points in the right cell, %")
        axes.axvline(100 * rows[0].chance, color=GREY, linestyle=":", linewidth=1.2)
        axes.axvline(100 * rows[0].best, color=GREY, linestyle="--", linewidth=1.2)
        axes.text(100 * rows[0].chance + 1, len(names) - 0.4, "chance", color=GREY, size=8, va="center")
        axes.text(100 * rows[0].best - 1, len(names) - 0.4, "at best", color=GREY, size=8, va="center", ha="right")
        axes.set(xlim=(0, 101), ylim=(len(names) - 0.05, -0.75))
    panels[0].set_yticks(range(len(names)), names)
    return figure


def _dots(axes: Axes, rows: list[KeypointScores], names: list[str]) -> None:
    for row in rows:
        at = names.index(row.method)
        colour = GREY if row.method in CONTROLS else LINES[1]
        mean, low, high = (100 * value for value in _bounds(row.right))
        axes.plot([low, high], [at, at], color=colour, linewidth=2.2)
        axes.plot([mean], [at], marker="o", markersize=6, color=colour)


def _bounds(value: Estimate) -> tuple[float, float, float]:
    """Mean, low and high; the mean for all three where there is no interval."""
    if math.isnan(value.low):
        return value.mean, value.mean, value.mean
    return value.mean, value.low, value.high


def _label(axes: Axes, title: str, x: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.grid(True, color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
