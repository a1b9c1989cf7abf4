"""diml import-checkpoint: convert a published checkpoint to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import existing
from diml.cli.path_options import PATH
from diml.errors import UsageError


def import_checkpoint(
    file: Annotated[
        Path, typer.Argument(help="A checkpoint of ResNet-50 with a linear embedding.", show_default=False, **PATH)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to write; new or empty.", **PATH)],
) -> None:
    """Convert a published checkpoint to a model, without executing code that the file may contain.

    Example: diml import-checkpoint cub_margin.pth --out models/cub-margin
    """
    existing(file, "checkpoint")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is not an empty folder; give a new one with --out")
    from diml.model.published import import_checkpoint as read

    imported = read(file)
    imported.model.save_pretrained(out)
    if imported.left_out:
        parts = sorted({name.partition(".")[0] for name in imported.left_out})
        typer.echo(f"Left out, because the embedding does not use it: {', '.join(parts)}", err=True)
    typer.echo(f"The model is in {out}: {imported.model.name}, dim {imported.model.dim}")
