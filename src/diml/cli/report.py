"""diml report: finished training runs as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import Json
from diml.cli.output import print_json
from diml.errors import UsageError


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders written by diml train.", show_default=False)],
    csv: Annotated[Path | None, typer.Option(help="Write the table as a CSV file too, with every metric.")] = None,
    json: Json = False,
) -> None:
    """Print what training runs came to on the test classes, as mean and standard deviation over seeds.

    Runs that differ in their seed alone make a row for each ranking: by pooled vectors, and re-ranked by matched parts.

    Example: diml report runs/cub200-* --csv cub200.csv
    """
    if csv is not None and not csv.absolute().parent.is_dir():
        raise UsageError(f"--csv {csv} came; expected a file in a folder that exists")
    from diml.learning.run.report import report as read

    table = read(runs)
    if csv is not None:
        part = csv.with_name(csv.name + ".part")
        part.write_text(table.csv(), encoding="utf-8")
        part.replace(csv)
    if json:
        print_json({"rows": [row.to_dict() for row in table.rows]})
        return
    typer.echo(table.markdown())
    if csv is not None:
        typer.echo(f"\nThe table is in {csv}")
