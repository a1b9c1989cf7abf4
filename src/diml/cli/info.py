"""diml info: what is in an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import Json, existing
from diml.cli.output import print_json


def info(
    index: Annotated[Path, typer.Argument(help="An index made by diml index.", show_default=False)],
    json: Json = False,
) -> None:
    """Show what is in an index, and which model made it.

    Example: diml info photos.diml --json
    """
    existing(index, "index")
    from diml.search import Index

    stats = {**Index.open(index).stats().to_dict(), "path": str(index)}
    if json:
        print_json(stats)
        return
    shown = {**stats, "grid": "x".join(map(str, stats["grid"])), "columns": ", ".join(stats["columns"]) or "none"}
    for name, value in shown.items():
        typer.echo(f"{name.replace('_', ' '):<12} {value}")
