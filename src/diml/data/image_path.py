"""Paths of image files as users give them."""

from __future__ import annotations

from pathlib import Path

from diml.errors import ImageError, UsageError
from diml.files import AnyPath, user_path


def image_path(path: AnyPath) -> Path:
    """The path of an image file by the rule of `diml.files.user_path`.

    Raises:
        ImageError: it cannot be the path of a file, so that an image of several is left out like one that is damaged.
    """
    try:
        return user_path(path)
    except UsageError as error:
        raise ImageError(str(error)) from None
