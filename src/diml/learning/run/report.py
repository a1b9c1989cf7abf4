"""Finished runs as one table: the results of each loss, as mean and standard deviation over seeds."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diml.data import printable
from diml.errors import UsageError
from diml.evaluation import METRICS
from diml.files import AnyPath, user_path
from diml.learning.run.finished_run import FREE, FinishedRun, read_run
from diml.markdown import table

# The metrics in the Markdown table; a CSV has all of `METRICS`.
SHOWN = ("recall@1", "r_precision", "map@r")
COLUMNS = ("dataset", "images", "classes", "loss", "trained_with", "ranking", "settings", "seeds")


@dataclass(frozen=True)
class ReportRow:
    """The results of runs that differ in their seed only, in one ranking.

    Attributes:
        dataset: name, number of images and number of classes of the test data.
        loss: name of the loss.
        trained_with: what the loss compared, "pooled" or "structural".
        ranking: "pooled", or "structural" with the number of images it re-ranks.
        settings: the settings that distinguish these runs from others with the same loss, such as "optim.lr=0.001".
        seeds: the seeds of the runs.
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
        """Mean and deviation of a metric, as the table shows them."""
        deviation = self.deviation[metric]
        return f"{self.mean[metric]:.2f} ± {'-' if deviation is None else f'{deviation:.2f}'}"

    def to_dict(self) -> dict[str, Any]:
        """The row as `diml report --json` prints it."""
        named = dict(zip(("dataset", "images", "classes"), self.dataset, strict=True))
        measured = {name: {"mean": self.mean[name], "deviation": self.deviation[name]} for name in METRICS}
        about = {name: getattr(self, name) for name in COLUMNS[3:-1]}
        return {**named, **about, "seeds": list(self.seeds), "percent": measured}


@dataclass(frozen=True)
class Report:
    """The rows of one or several data sets, in display order."""

    rows: Sequence[ReportRow]

    def markdown(self) -> str:
        """One table for each data set, below its name."""
        datasets = dict.fromkeys(row.dataset for row in self.rows)
        return "\n\n".join(_section(data, [row for row in self.rows if row.dataset == data]) for data in datasets)

    def csv(self) -> str:
        """All rows and metrics as one table, in percent."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"{name}_{what}" for name in METRICS for what in ("mean", "deviation"))])
        for row in self.rows:
            about = (row.loss, row.trained_with, row.ranking, row.settings, " ".join(map(str, row.seeds)))
            numbers = [value for name in METRICS for value in (row.mean[name], row.deviation[name])]
            writer.writerow([*row.dataset, *about, *numbers])
        return text.getvalue()


def report(folders: Iterable[AnyPath]) -> Report:
    """Read finished runs and average those that differ in their seed only.

    Every run gives one row for the pooled ranking and one for each shortlist it was measured with, whatever the loss
    compared: a run trained on pooled vectors and ranked by matched parts is the method applied at test time only. Runs
    on different data are in different tables.

    Args:
        folders: run folders written by `train`.

    Raises:
        UsageError: no folders, a folder that is not a run, a run that is not finished or has no test half, or two runs
            with the same settings and the same seed.
    """
    runs = [read_run(user_path(folder)) for folder in folders]
    if not runs:
        raise UsageError("expected at least one folder written by diml train, got none")
    groups: dict[tuple[Any, ...], dict[int, FinishedRun]] = {}
    for run in runs:
        group = groups.setdefault((run.data, run.kind), {})
        if (other := group.get(run.seed)) is not None:
            raise UsageError(
                f"{printable(other.folder)} and {printable(run.folder)}: have the same settings and the seed "
                f"{run.seed}; give only one of them"
            )
        group[run.seed] = run
    found = [[group[seed] for seed in sorted(group)] for group in groups.values()]
    found.sort(key=lambda group: (group[0].data, group[0].trained, group[0].kind))
    rows = [row for group in found for row in _rows(group, [other[0] for other in found])]
    return Report(rows)


def _rows(group: Sequence[FinishedRun], firsts: Sequence[FinishedRun]) -> Iterable[ReportRow]:
    """A row for each ranking that all runs of the group were measured with."""
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
    """The settings in which a run differs from others with the same loss, as arguments of `--set`."""
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
    differ = any(row.settings for row in rows)
    header = ["loss", "trained with", "ranking", *["settings"] * differ, "seeds", *SHOWN]
    lines = [
        [row.loss, row.trained_with, row.ranking, *[row.settings or "-"] * differ, str(len(row.seeds))]
        + [row.cell(name) for name in SHOWN]
        for row in rows
    ]
    return f"{heading}\n\n{table(header, lines, left=3 + differ)}"
