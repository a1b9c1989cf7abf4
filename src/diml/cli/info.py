"""diml info: what is in an index."""

from __future__ import annotations

import typer

from diml.cli.options import Indexes, Json, name_of, opened_index
from diml.cli.output import print_json


def info(
    index: Indexes,
    json: Json = False,
) -> None:
    """Show what is in an index, and which model made it; of several, whether they can be read as one.

    Example: diml info photos.diml --json
    """
    stats = {**opened_index(index).stats().to_dict(), "path": name_of(index)}
    if json:
        print_json(stats)
        return
    shown = {**stats, "grid": "x".join(map(str, stats["grid"])), "columns": ", ".join(stats["columns"]) or "none"}
    if stats["decoding"] == 1:
        shown["decoding"] = "1, that of diml 0.1.0; make a new index to use decoding 3"
    held = {name: number for name, number in stats["row_bytes"].items() if number}
    shown["row_bytes"] = ", ".join(f"{name} {number:,.0f}" for name, number in held.items()) or None
    if "shards" in stats:
        shown["shards"] = ", ".join(f"{name} {images:,}" for name, images in stats["shards"].items())
    shown["backends"] = ", ".join(stats["backends"]) or None
    for name, value in shown.items():
        if value is None:
            continue
        typer.echo(f"{name.replace('_', ' '):<12} {value}")
