"""diml evaluate: how well a model finds images of the same class."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import (
    Device,
    Grid,
    Json,
    Marginals,
    Mass,
    ModelName,
    load_model,
    parse_shortlist,
    print_json,
    progress_bar,
    report_skipped,
)
from diml.errors import UsageError


class Protocol(StrEnum):
    """How relevant images are counted."""

    correct = "correct"
    published = "published"


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of class folders, a CSV (path,label[,split]), cub200:DIR, cars196:DIR or sop:DIR.",
            show_default=False,
        ),
    ],
    model: ModelName = "lite0",
    shortlist: Annotated[
        list[str],
        typer.Option(help="Images re-ranked by matched parts, 0 for none, or all; may be given several times."),
    ] = ["0", "100"],  # noqa: B006 (typer copies it)
    grid: Grid = None,
    dim: Annotated[
        int | None,
        typer.Option(help="Numbers per part, by a head fitted for a model that has none; 0 fits none. By default 128."),
    ] = None,
    marginals: Marginals = None,
    mass: Mass = None,
    protocol: Annotated[
        Protocol, typer.Option(help="published counts a query among its own relevant images, as in printed tables.")
    ] = Protocol.correct,
    json: Json = False,
    batch_size: Annotated[int, typer.Option(help="Images per pass of the model.")] = 32,
    device: Device = "auto",
) -> None:
    """Measure Recall@1,2,4,8, R-precision and MAP@R, by pooled vectors and after re-ranking by matched parts.

    Example: diml evaluate cub200:CUB_200_2011 --shortlist 0 --shortlist 100
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size} came; expected at least 1")
    shortlists = [parse_shortlist(text) for text in shortlist]
    from diml.data import open_dataset, printable
    from diml.evaluation import evaluate as measure
    from diml.search.manifest import is_index

    collection = open_dataset(data)
    as_it_is = dim is None and is_index(Path(model))
    if as_it_is:
        dim = 0  # the embedding that the index searches with is what is measured
    loaded = load_model(model, grid=grid, marginals=marginals, mass=mass, device=device)
    with Stages() as stages:
        result = measure(
            collection,
            loaded,
            shortlists=shortlists,
            protocol=str(protocol),
            batch_size=batch_size,
            head_dim=dim,
            progress=stages,
        )
    if as_it_is and not loaded.head_fitted:
        result = replace(result, head=f"none, as the index {printable(model)} has none")
    report_skipped(list(result.skipped))
    if json:
        print_json(result.as_dict() | {"mass": loaded.matcher.mass})
        return
    moved = "" if loaded.matcher.mass == 1 else f"\npartial transport of mass {loaded.matcher.mass:g}"
    typer.echo(f"{result.summary()}{moved}\n\n{result.table()}")


class Stages(ExitStack):
    """A progress bar for each stage, one after the other."""

    stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.close()
            self.stage, self.update = stage, self.enter_context(progress_bar(stage))
        self.update(done, total)
