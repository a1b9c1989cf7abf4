"""Masks: images whose brightness selects a part of another image."""

from __future__ import annotations

from PIL import Image, ImageOps

from diml.data.located import NamedBytes
from diml.data.opening import opened
from diml.files import AnyPath


def open_mask(path: AnyPath | NamedBytes, max_pixels: int | None = None) -> Image.Image:
    """The image in a file, upright, in its own mode; unlike `open_image`, it keeps transparency.

    Raises:
        ImageError: as for `open_image`.

    >>> open_mask("missing.png")
    Traceback (most recent call last):
    diml.errors.ImageError: missing.png: there is no such file; check the path
    """
    with opened(path, max_pixels) as source:
        source.image.load()
        return _upright(source.image)


def _upright(image: Image.Image) -> Image.Image:
    """As stored where the EXIF data is damaged."""
    try:
        return ImageOps.exif_transpose(image).copy()
    except Exception:
        return image.copy()
