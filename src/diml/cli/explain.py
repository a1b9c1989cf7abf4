"""diml explain: how similar two images are, and which parts made them so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import Device, Grid, Json, Marginals, ModelName, existing, load_model, print_json
from diml.errors import UsageError


def explain(
    a: Annotated[Path, typer.Argument(help="The first image.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="The second image.", show_default=False)],
    model: ModelName = "lite0",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a picture: .png, .svg or .pdf by its ending.")
    ] = None,
    json: Json = False,
    grid: Grid = None,
    marginals: Marginals = None,
    weight: Annotated[
        float | None, typer.Option(help="Share of the matched parts in the similarity, 0..1; as the model has it.")
    ] = None,
    parts: Annotated[int, typer.Option(help="How many pairs of parts to show, the strongest first.")] = 6,
    device: Device = "auto",
) -> None:
    """Say how similar two images are, and which parts made them so.

    Example: diml explain cat.jpg other-cat.jpg --out why.png
    """
    from diml.explanation import check_output, describe, describe_pairs, draw_match, explanation_document, save_picture

    if parts < 1:
        raise UsageError(f"--parts {parts} came; expected at least 1")
    for image in (a, b):
        existing(image, "image")
    if out is not None:
        check_output(out)
    loaded = load_model(model, grid=grid, marginals=marginals, device=device)
    if weight is not None:
        loaded = loaded.with_matcher(weight=weight)
    maps = loaded.encode([a, b])
    match = loaded.explain(maps[0], maps[1])
    if out is not None:
        save_picture(draw_match(match, a, b, parts=parts), out)
    if json:
        scheme = str(loaded.matcher.marginals)
        print_json(explanation_document(match, str(a), str(b), loaded.name, scheme))
        return
    shown = match.parts(parts)
    for line in [*describe(match, shown), "", *describe_pairs(shown)]:
        typer.echo(line)
    if out is not None:
        typer.echo(f"\nThe picture is in {out}")
