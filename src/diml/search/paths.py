"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path

AnyPath = str | os.PathLike[str]


def expanded(path: AnyPath) -> Path:
    """The path with `~` replaced by the home directory.

    >>> expanded("photos.diml")
    PosixPath('photos.diml')
    """
    return Path(path).expanduser()
