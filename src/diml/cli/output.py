"""What commands print beside their result: progress, skipped images, JSON documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from diml.data import Skipped


def print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


def report_skipped(skipped: Sequence[Skipped], notes: Sequence[str] = ()) -> None:
    """Print on standard error which images were left out, and why; and the notes of the collection."""
    for note in notes:
        typer.echo(note, err=True)
    if skipped:
        typer.echo(f"{len(skipped)} skipped:", err=True)
    for each in skipped:
        # The reason for a file that was opened begins with its whole path.
        named = each.reason.partition(": ")[0].endswith(each.path)
        typer.echo(f"  {each.reason if named else f'{each.path}: {each.reason}'}", err=True)


@contextmanager
def progress_bar(stage: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error with images per second and time left; only in a terminal, and removed at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.1f} images/s")

    columns = (TextColumn(stage), BarColumn(), MofNCompleteColumn(), Rate(), TextColumn("left"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(stage, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Stages(ExitStack):
    """A progress bar for each stage, one after the other."""

    stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.close()
            self.stage, self.update = stage, self.enter_context(progress_bar(stage))
        self.update(done, total)
