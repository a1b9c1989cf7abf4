"""diml info: what is in an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import Json, existing
from diml.cli.output import print_json
from diml.cli.path_options import PATH


def info(
    index: Annotated[Path, typer.Argument(help="An index made by diml index.", show_default=False, **PATH)],
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
    if stats["decoding"] == 1:
        shown["decoding"] = "1, that of diml 0.1.0; make a new index to use decoding 2"
    held = {name: number for name, number in stats["row_bytes"].items() if number}
    shown["row_bytes"] = ", ".join(f"{name} {number:,.0f}" for name, number in held.items()) or None
    shown["backends"] = ", ".join(stats["backends"]) or None
    for name, value in shown.items():
        if value is None:
            continue
        typer.echo(f"{name.replace('_', ' '):<12} {value}")
