"""The images that an explanation shows: opened, and named by their file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def opened(image: Image | str | os.PathLike[str]) -> Image:
    """A PIL image as RGB, upright; a path is opened."""
    from diml.data.images import open_image, to_rgb

    return open_image(Path(image)) if isinstance(image, str | os.PathLike) else to_rgb(image)


def image_name(image: Image | str | os.PathLike[str], otherwise: str) -> str:
    """The file name of a path, or of an image that was read from a file."""
    path = image if isinstance(image, str | os.PathLike) else getattr(image, "filename", "")
    return Path(path).name or otherwise
