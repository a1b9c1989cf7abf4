"""diml mcp: the index as tools for assistants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import check_indexes, existing
from diml.cli.path_options import PATH, PLACE
from diml.errors import UsageError

MISSING = "diml mcp needs the extra mcp; install it with: pip install 'diml[mcp]'"


def mcp(
    index: Annotated[str, typer.Argument(help="An index made by diml index.", show_default=False, **PLACE)],
    root: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder in which images may be read; may be repeated. By default that of the collection, and the "
            "working folder.",
            **PATH,
        ),
    ] = None,
) -> None:
    """Serve an index to assistants, as a Model Context Protocol server over standard input and output.

    Example: diml mcp photos.diml --root ~/Pictures
    """
    check_indexes([index])
    for each in root or ():
        existing(each, "folder")
    try:
        from diml.assistants import make_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "diml":
            raise
        raise UsageError(MISSING) from error
    make_server(index, root or ()).run("stdio")
