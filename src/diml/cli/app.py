"""The commands, by name."""

from __future__ import annotations

from typing import Annotated

import typer

from diml.cli.bench import bench
from diml.cli.evaluate import evaluate
from diml.cli.explain import explain
from diml.cli.export import export
from diml.cli.faithfulness import faithfulness
from diml.cli.import_checkpoint import import_checkpoint
from diml.cli.index import index
from diml.cli.info import info
from diml.cli.mcp import mcp
from diml.cli.pairs import pairs
from diml.cli.report import report
from diml.cli.search import search
from diml.cli.serve import serve
from diml.cli.train import train

app = typer.Typer(
    name="diml",
    help="How similar are two images, and which parts made them so?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from diml import __version__

        typer.echo(f"diml {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


COMMANDS = (
    explain,
    index,
    search,
    pairs,
    serve,
    mcp,
    info,
    evaluate,
    faithfulness,
    bench,
    train,
    report,
    import_checkpoint,
    export,
)

for command in COMMANDS:
    app.command()(command)
