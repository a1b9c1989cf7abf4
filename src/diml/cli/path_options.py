"""How paths on the command line are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from diml.errors import UsageError
from diml.files import user_path


def path(text: str) -> Path:
    """The path; its name is what some versions of Typer show as the type."""
    try:
        return user_path(text)
    except UsageError as error:
        # Typer replaces the message of a ValueError, and our error is one.
        raise typer.BadParameter(str(error)) from None


def place(text: str) -> str:
    """A path, or the address of an object store, as text."""
    from diml.data.object_files import is_url

    return text if is_url(text) else os.fspath(path(text))


# Arguments of `typer.Argument` and `typer.Option` for every path.
PATH: dict[str, Any] = {"parser": path}
# The same where addresses of object stores are taken too.
PLACE: dict[str, Any] = {"parser": place}
