"""The curves of a run as a picture: the loss, and the metric of the validation classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from diml.files import SOFTWARE

LOSS, FOUND, FAINT = "#b3470f", "#1f5f99", "#6b6b6b"


def draw_curves(
    rows: Sequence[Mapping[str, Any]],
    select: str,
    best: int | None,
    write: Callable[[Callable[[IO[bytes]], object]], object],
) -> None:
    """Draw `metrics.csv`: the mean loss of each epoch above, a metric of the validation classes below.

    Args:
        rows: one row for each epoch from 0, with "epoch", "train_loss" and the metric.
        select: the metric that chooses the best epoch.
        best: the best epoch; None without validation classes.
        write: writes the file by a function that fills it, see `RunFolder.write_by`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    height = 5 if best is not None else 2.8
    # Fixed margins: a layout that measures the labels takes half of the time.
    margins = {"left": 0.12, "right": 0.97, "top": 1 - 0.3 / height, "bottom": 0.5 / height, "hspace": 0.22}
    figure = Figure(figsize=(7, height))
    figure.subplots_adjust(**margins)
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if best is not None else 1, 1, sharex=True, squeeze=False)[:, 0]
    _line(axes[0], rows, "train_loss", LOSS)
    axes[0].set_ylabel("training loss")
    if best is not None:
        _line(axes[1], rows, select, FOUND)
        value = rows[best][select]
        axes[1].axvline(best, color=FAINT, linewidth=0.8, linestyle=":")
        axes[1].set_title(f"best: {value:.4f} in epoch {best}", loc="right", fontsize=9, color=FAINT)
        axes[1].set_ylabel(f"{select}, validation classes")
    axes[-1].set_xlabel("epoch (0: before training)")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1].set_xlim(-0.3, max(1, rows[-1]["epoch"]) + 0.3)
    write(lambda file: figure.savefig(file, format="png", dpi=120, metadata={"Software": SOFTWARE}))


def _line(axes: Any, rows: Sequence[Mapping[str, Any]], name: str, colour: str) -> None:
    known = [(row["epoch"], row[name]) for row in rows if row[name] is not None]
    axes.plot(*zip(*known, strict=True), color=colour, marker="o", markersize=3) if known else None
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
