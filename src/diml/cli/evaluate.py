"""diml evaluate: how well a model finds images of the same class."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from diml.cli.options import (
    Backend,
    BitDepth,
    Device,
    Eps,
    Grid,
    Json,
    Marginals,
    Mass,
    ModelName,
    Transport,
    Weight,
    Weights,
    load_model,
)
from diml.cli.output import Stages, print_json, report_skipped
from diml.errors import UsageError
from diml.query_text import parse_shortlist


class Protocol(StrEnum):
    """How relevant images are counted."""

    correct = "correct"
    published = "published"


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of class folders, a table (path,label[,split]), a tar or table of images, cub200:DIR, "
            "cars196:DIR or sop:DIR.",
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
        typer.Option(
            help="Outputs of the head that is fitted for a model without one; 0 fits none. [default: 128]",
            show_default=False,
        ),
    ] = None,
    weights: Weights = None,
    marginals: Marginals = None,
    weight: Weight = None,
    eps: Eps = None,
    mass: Mass = None,
    transport: Transport = None,
    protocol: Annotated[
        Protocol, typer.Option(help="published counts a query among its own relevant images, as in printed tables.")
    ] = Protocol.correct,
    json: Json = False,
    batch_size: Annotated[int, typer.Option(help="Images per pass of the model.")] = 32,
    bit_depth: BitDepth = None,
    device: Device = "auto",
    backend: Backend = "auto",
) -> None:
    """Measure Recall@1,2,4,8, R-precision and MAP@R, by pooled vectors and after re-ranking by matched parts.

    Example: diml evaluate cub200:CUB_200_2011 --shortlist 0 --shortlist 100
    """
    if batch_size < 1:
        raise UsageError(f"expected --batch-size >= 1, got {batch_size}")
    shortlists = [parse_shortlist(text) for text in shortlist]
    from diml.data import open_dataset, printable
    from diml.evaluation import evaluate as measure
    from diml.search.manifest import is_index
    from diml.search.places import index_place

    collection = open_dataset(data)
    of_index = dim is None and is_index(index_place(model))
    if of_index:
        dim = 0  # evaluate the embedding that the index searches with
    loaded = load_model(
        model,
        grid=grid,
        weights=weights,
        marginals=marginals,
        weight=weight,
        eps=eps,
        mass=mass,
        transport=transport,
        bit_depth=bit_depth,
        device=device,
        backend=backend,
    )
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
    if of_index and not loaded.head_fitted:
        result = replace(result, head=f"none, as the index {printable(model)} has none")
    report_skipped(result.skipped, collection.notes)
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(f"{result.summary()}\n\n{result.table()}")
