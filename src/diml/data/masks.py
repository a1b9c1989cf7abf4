"""Masks: images that say by their brightness which part of another image is meant."""

from __future__ import annotations

import os

from PIL import Image, ImageOps

from diml.data.images import open_image


def open_mask(path: str | os.PathLike[str]) -> Image.Image:
    """The image in a file, upright, in its own mode: unlike for `open_image`, transparency stays what it is.

    Raises:
        ImageError: as `open_image`.

    >>> open_mask("missing.png")
    Traceback (most recent call last):
    diml.errors.ImageError: missing.png: there is no such file; check the path
    """
    open_image(path)  # whatever cannot be used is refused there, by name
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).copy()
