"""diml faithfulness: how far explanations can be trusted, by measurement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diml.cli.options import Device, Grid, Json, Marginals, ModelName, load_model, parse_grid
from diml.cli.output import Stages, print_json
from diml.errors import DimlError, UsageError

if TYPE_CHECKING:
    from diml.faithfulness import Faithfulness


def faithfulness(
    data: Annotated[
        str,
        typer.Argument(
            help="As in evaluate: pairs of a class. Or photos (scikit-image's), or a folder of photographs: pairs of a "
            "photograph and a warped copy.",
            show_default=False,
        ),
    ],
    model: ModelName = "lite0",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="What to measure, may be given several times; by default what there is."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure", help="deletion, correspondence or stability, may be given several times; by default all."
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Pairs of images, at most.")] = 200,
    steps: Annotated[int, typer.Option(help="Steps of deletion and insertion, at most one for each cell.")] = 8,
    against: Annotated[
        list[str],
        typer.Option(help="A method over which gains are counted, pair by pair; may be given several times."),
    ] = ["random", "centre"],  # noqa: B006 (typer copies it)
    fill: Annotated[
        list[str],
        typer.Option("--fill", help="What hides a cell: blur or mean (the mean colour); may be given several times."),
    ] = ["blur"],  # noqa: B006 (typer copies it)
    keypoint_grid: Annotated[
        list[str] | None,
        typer.Option("--keypoint-grid", help="Grid for the keypoints; by default the model's own, 7 and 14."),
    ] = None,
    stable_pairs: Annotated[int, typer.Option(help="Pairs on which the stability is measured, at most.")] = 20,
    grid: Grid = None,
    dim: Annotated[
        int | None,
        typer.Option(
            help="Numbers per part of a head that is fitted for a model without one, on the training half where there "
            "is one; by default none is."
        ),
    ] = None,
    marginals: Marginals = None,
    seed: Annotated[int, typer.Option(help="Of the pairs, the ties, the noise and the intervals.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to draw the curves and dots into.")] = None,
    json: Json = False,
    batch_size: Annotated[int, typer.Option(help="Images per pass of the model.")] = 32,
    device: Device = "auto",
) -> None:
    """Measure how far explanations can be trusted: deletion and insertion, correct keypoints, residuals, stability.

    Deletion embeds up to 2 (steps - 1) images for each pair, method with a heat, and fill.

    Example: diml faithfulness photos --model lite0 --method structural --method nearest --out faith
    """
    if pairs < 1:
        raise UsageError(f"--pairs {pairs} came; expected at least 1")
    grids = None if keypoint_grid is None else [parse_grid(text, "--keypoint-grid") for text in keypoint_grid]
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; --out names a folder for the pictures")
    from diml.data import printable
    from diml.explanation.methods import methods
    from diml.faithfulness import (
        MEASURES,
        Plan,
        fitted,
        measure_faithfulness,
        open_pairs,
        summary,
        tables,
    )

    chosen = methods(method or ())
    plan = Plan(tuple(measure or MEASURES), tuple(fill), steps, tuple(against), grids, stable_pairs, batch_size, seed)
    name, opened = open_pairs(data, pairs, seed)
    if out is not None:
        _make(out)  # before the slow work
    loaded = load_model(model, grid=grid, marginals=marginals, device=device)
    if dim is not None:
        fitted(loaded, data, dim, seed)
    with Stages() as stages:
        report = measure_faithfulness(name, opened, loaded, chosen, plan, stages)
    for what, why in report.skipped:
        # The reason for a file that was opened begins with its name.
        named = why.startswith(f"{printable(what)}: ")
        typer.echo(f"left out: {why if named else f'{printable(what)}: {why}'}", err=True)
    written = [] if out is None else _draw(report, out)
    if json:
        print_json(report.as_dict())
        return
    typer.echo(f"{summary(report)}\n\n{tables(report)}")
    if written:
        typer.echo(f"\nThe pictures are {', '.join(map(str, written))}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DimlError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error


def _draw(report: Faithfulness, folder: Path) -> list[Path]:
    from diml.explanation import save_picture
    from diml.faithfulness import draw_curves, draw_keypoints

    figures = {
        f"deletion-{fill}.png": draw_curves(report, fill) for fill in dict.fromkeys(r.fill for r in report.removal)
    }
    if report.keypoints:
        figures["keypoints.png"] = draw_keypoints(report)
    for name, figure in figures.items():
        save_picture(figure, folder / name)
    return [folder / name for name in figures]
