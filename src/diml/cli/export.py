"""diml export: a model for programs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import Grid, Weights, load_model
from diml.cli.path_options import PATH


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="lite0 | lite1 | lite2 | timm:NAME?weights=FILE | timm:NAME?weights=hub, both with &block=N, "
            "&norm=1, &size=PIXELS | a model folder | an index.",
            show_default=False,
        ),
    ],
    onnx: Annotated[Path, typer.Option("--onnx", help="The ONNX file to write, such as photos.onnx.", **PATH)],
    grid: Grid = None,
    weights: Weights = None,
) -> None:
    """Write a model in the ONNX format, with its head and its weights of parts, and check it with ONNX Runtime.

    Example: diml export photos.diml --onnx photos.onnx
    """
    loaded = load_model(model, grid=grid, weights=weights, device="cpu")
    from diml.model.export import export_onnx

    apart = export_onnx(loaded, onnx)
    rows, columns = loaded.grid
    typer.echo(
        f"{onnx}: {loaded.name}, grid {rows}x{columns}, dim {loaded.dim}; in ONNX Runtime at most {apart:.1g} of the "
        "largest number from PyTorch"
    )
