"""Progress of a training run in a terminal: bars, and one line for each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from diml.cli.output import report_skipped
from diml.data import Skipped
from diml.learning.run.folder import EpochRow


class Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} images/s")


class Bars(ExitStack):
    """A bar on standard error for the whole run, one below it for other work, and a line for each epoch.

    Args:
        epochs: number of epochs of the run.
        select: the metric that chooses the best epoch.
        quiet: print no lines, and notices on standard error.
    """

    def __init__(self, epochs: int, select: str, *, quiet: bool) -> None:
        super().__init__()
        self.epochs, self.select, self.quiet = epochs, select, quiet
        what, left = TextColumn("{task.description}"), TextColumn("left")
        columns = (what, BarColumn(), MofNCompleteColumn(), Rate(), left, TimeRemainingColumn())
        console = Console(stderr=True)
        self.shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self.enter_context(self.shown)
        return self

    def begin(self, lines: Sequence[str], notices: Sequence[str]) -> None:
        """Training starts."""
        if not self.quiet:
            typer.echo("\n".join(lines))
        for notice in notices:
            typer.echo(notice, err=self.quiet)

    def skipped(self, images: Sequence[Skipped]) -> None:
        """Images were left out."""
        report_skipped(images)

    def stage(self, what: str, done: int, total: int) -> None:
        """Progress of work other than training steps."""
        self._update(what, what, done, total)
        if done >= total:
            self._forget(what)

    def step(self, epoch: int, loss: float, done: int, total: int) -> None:
        """Progress of the training."""
        self._update("training", f"epoch {epoch}/{self.epochs}, loss {loss:.4f}", done, total)

    def epoch(self, row: EpochRow) -> None:
        """An epoch was saved."""
        if not self.quiet:
            typer.echo(self._line(row))

    def _line(self, row: EpochRow) -> str:
        head = f"epoch {row['epoch']:>{len(str(self.epochs))}}/{self.epochs}"
        loss = "before training" if row["train_loss"] is None else f"loss {row['train_loss']:.4f}"
        rate = "" if row["images_per_second"] is None else f"  {row['images_per_second']:.1f} images/s"
        names = dict.fromkeys(("recall@1", self.select))
        measured = "".join(f"  {name} {row[name]:.4f}" for name in names if row.get(name) is not None)
        return f"{head}  {loss:<15}{measured}{rate}"

    def _update(self, name: str, description: str, done: int, total: int) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.shown.add_task(description, total=total, completed=done)
        self.shown.update(self.tasks[name], description=description, completed=done, total=total)

    def _forget(self, name: str) -> None:
        self.shown.remove_task(self.tasks.pop(name))
