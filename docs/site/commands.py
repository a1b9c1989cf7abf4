"""The page of the command-line reference, made from the Typer commands: what `--help` says, without a terminal."""

from __future__ import annotations

import inspect
import re
from typing import Any

import typer.main

from diml.cli.app import app

START = """# Commands

What `diml COMMAND --help` prints, made from the same definitions. Exit codes: 0 for success, 1 for a failure, 2 for a
command that is wrong. An error is one line on standard error.
"""


def commands_page() -> str:
    """A section for every command: its usage, its description, and tables of its arguments and options."""
    group = typer.main.get_command(app)
    context = group.make_context("diml", [], resilient_parsing=True)
    names = group.list_commands(context)  # type: ignore[attr-defined]
    return "\n".join([START, *(_section(name, group.get_command(context, name), context) for name in names)])  # type: ignore[attr-defined]


def _section(name: str, command: Any, parent: Any) -> str:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = " ".join(command.get_usage(context).removeprefix("Usage:").split())
    rows = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    table = ["| argument or option | |", "|---|---|"]
    table += [f"| `{_cell(names)}` | {_cell(words)} |" for names, words in filter(None, rows)]
    return (
        "\n\n".join([f"## diml {name}", f"```text\n{usage}\n```", _description(command.help or ""), "\n".join(table)])
        + "\n"
    )


def _description(text: str) -> str:
    """A command's help as Markdown: an example, which stands at the end of a line, becomes code.

    >>> _description("Find images.\\n\\nExample: diml search a.diml b.png")
    'Find images.\\n\\nExample: `diml search a.diml b.png`'
    """
    return re.sub(r": (diml .*)$", r": `\1`", inspect.cleandoc(text), flags=re.MULTILINE)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
