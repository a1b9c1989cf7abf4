"""diml train: train a model on labelled images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diml.cli.options import Json
from diml.cli.output import print_json
from diml.cli.path_options import PATH
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
            help="A folder of class folders, a table (path,label[,split]), a tar or table of images, cub200:DIR, "
            "cars196:DIR or sop:DIR.",
            show_default=False,
        ),
    ],
    recipe: Annotated[
        Path | None, typer.Option(help="TrainingSettings as a TOML file; the other options take precedence.", **PATH)
    ] = None,
    loss: Annotated[str | None, typer.Option(help="The loss; by default that of the recipe, or margin.")] = None,
    similarity: Annotated[
        Similarity | None, typer.Option(help="Whether the loss compares matched parts or pooled vectors.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The model to start from: lite0 | timm:NAME?weights=FILE | a model folder."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEME",
            help="How much each part counts: uniform, norm, norm2 or learned; the model's by default.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run folder; by default runs/DATA-LOSS-SIMILARITY-seedK.", **PATH),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in that folder.")] = False,
    set_: Annotated[list[str], typer.Option("--set", help="A setting, as section.key=value; may be repeated.")] = [],  # noqa: B006 (typer copies it)
    json: Json = False,
) -> None:
    """Train a model on labelled images; the best epoch is chosen by held-out classes.

    Example: diml train cub200:CUB_200_2011 --similarity structural --out runs/cub --set optim.epochs=20
    """
    given = {
        "data.spec": data,
        "loss.name": loss,
        "loss.similarity": similarity,
        "model.name": model,
        "model.weights": weights,
    }
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
        return  # only the first of several processes prints
    if json:
        print_json(result.document)
        return
    typer.echo(f"\nThe best model is that of epoch {result.document['best_epoch']}: {folder / 'model'}")
    if result.test is not None:
        typer.echo(f"\n{result.test.summary()}\n\n{result.test.table()}")
    elif result.document["test"] is None:
        typer.echo("The data has no test half, so the model was not measured on unseen classes.")


@contextmanager
def _extra() -> Iterator[None]:
    """Report a missing package with the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "diml"):
            raise
        raise UsageError(f"training needs {package}, which is not installed; pip install 'diml[train]'") from error


def _default_folder(settings: TrainingSettings) -> Path:
    """The default run folder, named after data, loss, similarity and seed.

    The data's name is the last part of its path, without characters that are unusual in file names.
    """
    from diml.data.table_formats import is_table

    spec = settings.data.spec.rstrip("/").rpartition("/")[2] or settings.data.spec
    name = re.sub(r"[^\w.-]+", "-", (os.path.splitext(spec)[0] if is_table(spec) else spec)).strip("-.") or "data"
    return Path("runs") / f"{name}-{settings.loss.name}-{settings.loss.similarity}-seed{settings.run.seed}"
