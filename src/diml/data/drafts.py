"""JPEGs decoded at 1/2, 1/4 or 1/8 of their size, which takes less time, where no more pixels are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from diml.image_sizes import Original, Size

# Pixels that are decoded for one that is wanted, at least, on both axes: resizing them hides how libjpeg averages. With
# as many as are wanted, maps of photographs are clearly further from those of all pixels.
SPARE = 2
_TURNED = (5, 6, 7, 8)
_FROM_THE_RIGHT, _FROM_THE_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)

T = TypeVar("T", int, float)


def draft(image: Image.Image, wanted: Callable[[Size], Size], orientation: int) -> Original | None:
    """Have an opened image decoded at the smallest scale with `SPARE` times the pixels that are wanted.

    Args:
        image: not decoded yet.
        wanted: the width and height that are wanted of an upright image of a width and height.
        orientation: EXIF orientation of the image, 1 to 8.

    Returns:
        What the upright image will show of the original; None where all pixels are decoded, as those of other formats
        are and of images that are not large enough.
    """
    if not isinstance(image, JpegImageFile):
        return None
    stored = image.size
    least = [SPARE * side for side in turned(wanted(turned(stored, orientation)), orientation)]
    if any(side < 2 * needed for side, needed in zip(stored, least, strict=True)):
        return None
    drafted = image.draft(None, (least[0], least[1]))
    if drafted is None:
        return None
    (width, height), (right, bottom) = turned(image.size, orientation), turned(drafted[1][2:], orientation)
    left = width - right if orientation in _FROM_THE_RIGHT else 0.0
    top = height - bottom if orientation in _FROM_THE_BOTTOM else 0.0
    return Original(turned(stored, orientation), (left, top, left + right, top + bottom), (width, height))


def turned(size: tuple[T, T], orientation: int) -> tuple[T, T]:
    """Width and height of the upright image that is stored with an EXIF orientation, or the other way round."""
    return (size[1], size[0]) if orientation in _TURNED else size
