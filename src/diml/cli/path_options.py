"""How paths on the command line are read."""

from __future__ import annotations

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


# Arguments of `typer.Argument` and `typer.Option` for every path.
PATH: dict[str, Any] = {"parser": path}
