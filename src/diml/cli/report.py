"""diml report: finished training runs as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import Json
from diml.cli.output import print_json
from diml.cli.path_options import PATH
from diml.errors import UsageError
from diml.files import write_atomic


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders written by diml train.", show_default=False, **PATH)],
    csv: Annotated[
        Path | None, typer.Option(help="Also write the table with every metric as a CSV file.", **PATH)
    ] = None,
    json: Json = False,
) -> None:
    """Print the results of training runs on the test classes, as mean and standard deviation over seeds.

    Runs that differ in their seed only form one row for each ranking: pooled, and re-ranked by matched parts.

    Example: diml report runs/cub200-* --csv cub200.csv
    """
    if csv is not None and not csv.absolute().parent.is_dir():
        raise UsageError(f"expected --csv in a folder that exists, got {csv}")
    from diml.learning.run.report import report as read

    table = read(runs)
    if csv is not None:
        write_atomic(csv, table.csv().encode())
    if json:
        print_json({"rows": [row.to_dict() for row in table.rows]})
        return
    typer.echo(table.markdown())
    if csv is not None:
        typer.echo(f"\nThe table is in {csv}")
