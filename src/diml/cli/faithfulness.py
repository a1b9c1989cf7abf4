"""diml faithfulness: how far explanations can be trusted, by measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from diml.cli.options import (
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
    check_weights,
    load_model,
    matching_settings,
    parse_grid,
)
from diml.cli.output import Stages, print_json
from diml.cli.path_options import PATH
from diml.errors import UsageError


def faithfulness(
    data: Annotated[
        str,
        typer.Argument(
            help="As in evaluate: pairs of a class. Or photos (scikit-image's), or a folder of photographs: pairs of a "
            "photograph and a warped copy of it.",
            show_default=False,
        ),
    ],
    model: ModelName = "lite0",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Explanation method to measure; may be repeated; by default all but variants."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            help="deletion, objects, correspondence, stability or interactions; may be repeated; by default all but "
            "interactions.",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Table with the columns path and mask, and optionally other_mask and kind: masks of the object, and "
            "of another object, for the heat on the object. Paths are relative to the folder of the images.",
            **PATH,
        ),
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option(
            help="Table with the columns a,b,ax,ay,bx,by, and optionally kind: points that correspond in two images, "
            "for the keypoints.",
            **PATH,
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(help="The largest number of pairs of images.")] = 200,
    steps: Annotated[int, typer.Option(help="Steps of deletion and insertion, at most one for each cell.")] = 8,
    against: Annotated[
        list[str],
        typer.Option(help="Method over which gains are reported, pair by pair; may be repeated."),
    ] = ["random", "centre"],  # noqa: B006 (typer copies it)
    fill: Annotated[
        list[str],
        typer.Option("--fill", help="What replaces a hidden cell: blur or mean (the mean colour); may be repeated."),
    ] = ["blur"],  # noqa: B006 (typer copies it)
    keypoint_grid: Annotated[
        list[str] | None,
        typer.Option("--keypoint-grid", help="Grid for the keypoints; by default the model's own, 7 and 14."),
    ] = None,
    stable_pairs: Annotated[int, typer.Option(help="The largest number of pairs for the stability.")] = 20,
    subsets: Annotated[
        int | None,
        typer.Option(
            help="Copies of each image with hidden cells, for the interactions; by default 8 for each cell.",
            show_default=False,
        ),
    ] = None,
    grid: Grid = None,
    dim: Annotated[
        int | None,
        typer.Option(
            help="Numbers per part of a head to fit for a model without one, on the training split if there is one; by "
            "default no head is fitted."
        ),
    ] = None,
    weights: Weights = None,
    marginals: Marginals = None,
    weight: Weight = None,
    eps: Eps = None,
    mass: Mass = None,
    transport: Transport = None,
    seed: Annotated[int, typer.Option(help="Of the pairs, the ties, the noise and the intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for pictures of the curves and dots.", **PATH)
    ] = None,
    json: Json = False,
    batch_size: Annotated[int, typer.Option(help="Images per pass of the model.")] = 32,
    device: Device = "auto",
) -> None:
    """Measure how far explanations can be trusted: deletion and insertion, correct keypoints, residuals, stability.

    Deletion embeds up to 2 (steps - 1) images for each pair, method with a heat, and fill; interactions embed twice as
    many as --subsets for each pair and fill.

    Example: diml faithfulness photos --model lite0 --method structural --method nearest --out faith
    """
    if pairs < 1:
        raise UsageError(f"expected --pairs >= 1, got {pairs}")
    grids = None if keypoint_grid is None else [parse_grid(text, "--keypoint-grid") for text in keypoint_grid]
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; expected a folder for the pictures as --out")
    matching: dict[str, Any] = {"marginals": marginals, "weight": weight, "eps": eps, "mass": mass}
    matching["transport"] = transport
    matching_settings(**matching)  # checks them before a folder is made
    check_weights(weights)
    if masks is None and "objects" in (measure or ()):
        raise UsageError("expected --masks with --measure objects, got none; name a table with the columns path,mask")
    from diml.explanation.methods import methods
    from diml.faithfulness import (
        USUAL,
        FaithfulnessSettings,
        fit_head,
        make_folder,
        measure_faithfulness,
        open_pairs,
    )

    chosen = methods(method or ())
    settings = FaithfulnessSettings(
        measures=tuple(measure or USUAL),
        fills=tuple(fill),
        steps=steps,
        against=tuple(against),
        grids=grids,
        stable_pairs=stable_pairs,
        subsets=subsets,
        batch_size=batch_size,
        seed=seed,
    )
    name, opened = open_pairs(data, pairs, seed, masks=masks, points=points)
    if out is not None:
        make_folder(out)  # before the slow work
    loaded = load_model(model, grid=grid, weights=weights, device=device, **matching)
    if dim is not None or not loaded.weights_ready:
        report_left_out(fit_head(loaded, data, dim, seed))
    with Stages() as stages:
        report = measure_faithfulness(name, opened, loaded, chosen, settings, stages)
    report_left_out(report.skipped)
    files = [] if out is None else report.draw(out)
    if json:
        print_json(report.to_dict())
        return
    typer.echo(report.describe())
    if files:
        typer.echo(f"\nThe pictures are {', '.join(map(str, files))}")


def report_left_out(skipped: Sequence[tuple[str, str]]) -> None:
    """Say on standard error which images and grids were left out, and why."""
    from diml.data import printable

    for name, reason in skipped:
        # The reason for a file that was opened begins with its name.
        named = reason.startswith(f"{printable(name)}: ")
        typer.echo(f"left out: {reason if named else f'{printable(name)}: {reason}'}", err=True)
