"""diml train: learn a metric on labelled images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diml.cli.options import Json
from diml.cli.output import print_json
from diml.errors import UsageError

if TYPE_CHECKING:
    from diml.learning.run.settings import TrainingSettings


class Similarity(StrEnum):
    """What a loss compares images by."""

    structural = "structural"
    pooled = "pooled"


def train(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of class folders, a CSV (path,label[,split]), cub200:DIR, cars196:DIR or sop:DIR.",
            show_default=False,
        ),
    ],
    recipe: Annotated[
        Path | None, typer.Option(help="TrainingSettings as a TOML file; what the other options say goes before it.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="A loss by name; margin where no recipe says another.")] = None,
    similarity: Annotated[
        Similarity | None, typer.Option(help="Whether the loss compares matched parts or pooled vectors.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="What to begin with: lite0 | timm:NAME?weights=FILE | a model folder."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder of the run; by default runs/DATA-LOSS-SIMILARITY-seedK."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    set_: Annotated[
        list[str], typer.Option("--set", help="A setting, as section.key=value; may be given several times.")
    ] = [],  # noqa: B006 (typer copies it)
    json: Json = False,
) -> None:
    """Train a model on labelled images, and keep the best by classes that are held out.

    Example: diml train cub200:CUB_200_2011 --similarity structural --out runs/cub --set optim.epochs=20
    """
    given = {"data.spec": data, "loss.name": loss, "loss.similarity": similarity, "model.name": model}
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None] + list(set_)
    with _extra():
        from diml.learning.run.settings_file import load_settings

        if resume and recipe is None and out is not None and (out / "settings.toml").is_file():
            recipe = out / "settings.toml"
        settings = load_settings(recipe, overrides)
        from diml.cli.training_bars import Bars
        from diml.learning.run.train import train as run
    folder = out or _default_folder(settings)
    with Bars(settings.optim.epochs, settings.run.select, quiet=json) as bars:
        result = run(settings, folder, resume=resume, observer=bars)
    if not result.document:
        return  # one of several processes; the first one speaks
    if json:
        print_json(result.document)
        return
    typer.echo(f"\nThe best model is of epoch {result.document['best_epoch']}: {folder / 'model'}")
    if result.test is not None:
        typer.echo(f"\n{result.test.summary()}\n\n{result.test.table()}")
    elif result.document["test"] is None:
        typer.echo("The data has no test half, so the model is not measured on classes it has not seen.")


@contextmanager
def _extra() -> Iterator[None]:
    """Name the extra that is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "diml"):
            raise
        raise UsageError(f"training needs {package}, which is not installed; pip install 'diml[train]'") from error


def _default_folder(settings: TrainingSettings) -> Path:
    """Named after what is trained on, and how.

    The data's name is the last part of its path without what a file name should not have.
    """
    spec = settings.data.spec.rstrip("/").rpartition("/")[2] or settings.data.spec
    name = re.sub(r"[^\w.-]+", "-", spec.removesuffix(".csv")).strip("-.") or "data"
    return Path("runs") / f"{name}-{settings.loss.name}-{settings.loss.similarity}-seed{settings.run.seed}"
