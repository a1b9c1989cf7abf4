"""The numbers of benchmarks.scale as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diml.markdown import table

# What a row of the table is called, the number it shows, and how.
ROWS = (
    ("rows stored a second", "rows_per_second", "{:,.0f}"),
    ("building the graph, and tidying, s", "build_s", "{:,.1f}"),
    ("disk, GB", "disk_gb", "{:.2f}"),
    ("memory of indexing, MB", "index_mb", "{:,.0f}"),
    ("memory of searching, MB", "search_mb", "{:,.0f}"),
    ("opening, s", "open_s", "{:.2f}"),
    ("first search, cold, ms", "cold_ms", "{:,.0f}"),
    ("next searches, cold, ms", "cold_rest_ms", "{:,.0f}"),
    ("search, warm, p50, ms", "p50_ms", "{:,.1f}"),
    ("p95, ms", "p95_ms", "{:,.1f}"),
    ("p99, ms", "p99_ms", "{:,.1f}"),
    ("recall@10 of the exhaustive answer", "recall@10", "{:.3f}"),
    ("shortlist of 1,000, p50, ms", "p50_ms of 1000", "{:,.0f}"),
    ("its recall@10", "recall@10 of 1000", "{:.3f}"),
    ("shortlist of 10,000, p50, ms", "p50_ms of 10000", "{:,.0f}"),
    ("its recall@10", "recall@10 of 10000", "{:.3f}"),
    ("exhaustive search, s", "all_s", "{:,.2f}"),
    ("the same, 64 queries at once, each, s", "all_together_s", "{:,.2f}"),
    ("the same by `proven`, s", "proven_s", "{:,.2f}"),
    ("maps that it reads", "proven_read", "{:.2%}"),
    ("adding 1,000, s", "add_1000_s", "{:,.1f}"),
    ("deleting 1,000, s", "delete_1000_s", "{:,.1f}"),
    ("memory of both, MB", "change_mb", "{:,.0f}"),
    ("compacting, s", "compact_s", "{:,.1f}"),
    ("search meanwhile, p95, ms", "compacting_p95_ms", "{:,.1f}"),
)
# What is drawn: the name of each line, its number, and what that is divided by to be seconds or GB.
TIMES = (
    ("building the graph", "build_s", 1),
    ("search of all images", "all_s", 1),
    ("search, shortlist of 100, p95", "p95_ms", 1000),
    ("opening", "open_s", 1),
)
SPACES = (
    ("disk", "disk_gb", 1),
    ("memory while indexing", "index_mb", 1000),
    ("memory while searching", "search_mb", 1000),
)


def printed(rows: Sequence[dict[str, Any]]) -> str:
    """A column for each run."""
    header = ["", *(f"{row['images']:,}, {_form(row)}" for row in rows)]
    cells = []
    for title, name, form in ROWS:
        values = [row.get(name) for row in rows]
        cells.append([title, *("-" if value is None else form.format(value) for value in values)])
    return table(header, cells)


def draw(rows: Sequence[dict[str, Any]], picture: Path) -> None:
    """How the costs of one form of maps grow with the number of images, on logarithmic axes."""
    import matplotlib.pyplot as plt

    plain = sorted((row for row in rows if _form(row) == _form(rows[0])), key=lambda row: row["images"])
    images = [row["images"] for row in plain]
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for panel, drawn, unit in zip(panels, (TIMES, SPACES), ("seconds", "GB"), strict=True):
        for title, name, divisor in drawn:
            panel.plot(images, [row[name] / divisor for row in plain], marker="o", label=title)
        panel.set(xscale="log", yscale="log", xlabel="images", ylabel=unit)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    figure.savefig(picture, dpi=120)


def _form(row: dict[str, Any]) -> str:
    return f"{row['codes']}{', sketches' if row['sketches'] else ''}"
