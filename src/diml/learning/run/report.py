"""Finished runs as one table: what each loss came to, as the mean and the standard deviation over seeds."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diml.data import printable
from diml.errors import UsageError
from diml.evaluation import METRICS
from diml.learning.run.finished_run import FREE, FinishedRun, read_run

# What the Markdown table shows; a CSV has all of `METRICS`.
SHOWN = ("recall@1", "r_precision", "map@r")
COLUMNS = ("dataset", "images", "classes", "loss", "trained_with", "ranking", "settings", "seeds")


@dataclass(frozen=True)
class ReportRow:
    """What runs that differ in their seed alone came to in one ranking.

    Attributes:
        dataset: name, images and classes of what was measured on.
        loss: its name.
        trained_with: "pooled" or "structural", what the loss compared.
        ranking: "pooled", or "structural" with how many images it re-ranks.
        settings: what tells these runs from others of the table with the same loss, such as "optim.lr=0.001".
        seeds: of the runs.
        mean, deviation: percent, by metric; the deviation is that of a sample (n - 1), None for a single run.
    """

    dataset: tuple[str, int, int]
    loss: str
    trained_with: str
    ranking: str
    settings: str
    seeds: tuple[int, ...]
    mean: Mapping[str, float]
    deviation: Mapping[str, float | None]

    def cell(self, metric: str) -> str:
        """Mean and deviation as the table shows them."""
        deviation = self.deviation[metric]
        return f"{self.mean[metric]:.2f} ± {'-' if deviation is None else f'{deviation:.2f}'}"

    def to_dict(self) -> dict[str, Any]:
        """As it is written as JSON."""
        named = dict(zip(("dataset", "images", "classes"), self.dataset, strict=True))
        measured = {name: {"mean": self.mean[name], "deviation": self.deviation[name]} for name in METRICS}
        about = {name: getattr(self, name) for name in COLUMNS[3:-1]}
        return {**named, **about, "seeds": list(self.seeds), "percent": measured}


@dataclass(frozen=True)
class Report:
    """Rows of one or several data sets, in the order in which they are shown."""

    rows: Sequence[ReportRow]

    def markdown(self) -> str:
        """A table for each data set, below its name."""
        datasets = dict.fromkeys(row.dataset for row in self.rows)
        return "\n\n".join(_section(data, [row for row in self.rows if row.dataset == data]) for data in datasets)

    def csv(self) -> str:
        """One table of everything, in percent."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"{name}_{what}" for name in METRICS for what in ("mean", "deviation"))])
        for row in self.rows:
            about = (row.loss, row.trained_with, row.ranking, row.settings, " ".join(map(str, row.seeds)))
            numbers = [value for name in METRICS for value in (row.mean[name], row.deviation[name])]
            writer.writerow([*row.dataset, *about, *numbers])
        return text.getvalue()


def report(folders: Iterable[Path]) -> Report:
    """Read finished runs and average those that differ in their seed alone.

    Every run gives a row for the pooled ranking and one for each shortlist that it was measured with, whatever it was
    trained with: a run on pooled vectors that is ranked by matched parts is the method without training for it. Runs on
    different data stand in different tables.

    Args:
        folders: of runs, as `train` writes them.

    Raises:
        UsageError: no run, a folder that holds none, a run that is not finished or has no test half, or two runs with
            the same settings and the same seed.
    """
    runs = [read_run(Path(folder)) for folder in folders]
    if not runs:
        raise UsageError("no runs came; expected folders written by diml train")
    groups: dict[tuple[Any, ...], dict[int, FinishedRun]] = {}
    for run in runs:
        group = groups.setdefault((run.data, run.kind), {})
        if (other := group.get(run.seed)) is not None:
            raise UsageError(
                f"{printable(other.folder)} and {printable(run.folder)}: have the same settings and the seed "
                f"{run.seed}; name one of them"
            )
        group[run.seed] = run
    found = [[group[seed] for seed in sorted(group)] for group in groups.values()]
    found.sort(key=lambda group: (group[0].data, group[0].trained, group[0].kind))
    rows = [row for group in found for row in _rows(group, [other[0] for other in found])]
    return Report(rows)


def _rows(group: Sequence[FinishedRun], firsts: Sequence[FinishedRun]) -> Iterable[ReportRow]:
    """A row for each ranking that all runs of a group were measured with."""
    first = group[0]
    measured = [{row["shortlist"]: row for row in run.test["results"]} for run in group]
    alike = [run for run in firsts if run.data == first.data and run.trained == first.trained]
    for shortlist in measured[0]:
        if all(shortlist in rows for rows in measured):
            values = {name: [100 * float(rows[shortlist][name]) for rows in measured] for name in METRICS}
            yield ReportRow(
                first.data,
                *first.trained,
                ranking="pooled" if shortlist == 0 else f"structural ({shortlist})",
                settings=_differences(first, alike),
                seeds=tuple(run.seed for run in group),
                mean={name: statistics.fmean(of) for name, of in values.items()},
                deviation={name: statistics.stdev(of) if len(of) > 1 else None for name, of in values.items()},
            )


def _differences(run: FinishedRun, others: Sequence[FinishedRun]) -> str:
    """The settings in which a run differs from others of the same loss, as they would be set."""
    names = sorted({name for other in others for name in other.settings} - FREE)
    differing = [name for name in names if any(other.settings.get(name) != run.settings.get(name) for other in others)]
    return " ".join(f"{name}={_value(run.settings.get(name))}" for name in differing)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _section(data: tuple[str, int, int], rows: Sequence[ReportRow]) -> str:
    name, images, classes = data
    heading = f"{name}: {images} images of {classes} test classes; percent, mean ± standard deviation over seeds"
    told = any(row.settings for row in rows)
    lines = [["loss", "trained with", "ranking", *["settings"] * told, "seeds", *SHOWN]]
    for row in rows:
        about = [row.loss, row.trained_with, row.ranking, *[row.settings or "-"] * told, str(len(row.seeds))]
        lines.append(about + [row.cell(name) for name in SHOWN])
    return heading + "\n\n" + _table(lines, left=3 + told)


def _table(lines: Sequence[Sequence[str]], left: int) -> str:
    """Markdown that is also readable as plain text: the first columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rules = [":" + "-" * (w - 1) if at < left else "-" * (w - 1) + ":" for at, w in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        columns = enumerate(zip(cells, widths, strict=True))
        return "| " + " | ".join(cell.ljust(w) if at < left else cell.rjust(w) for at, (cell, w) in columns) + " |"

    return "\n".join(line(cells) for cells in (lines[0], rules, *lines[1:]))
