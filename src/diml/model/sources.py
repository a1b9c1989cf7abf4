"""Image sources that a model accepts: paths, PIL images, arrays and tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from diml.data.images import open_image, to_rgb
from diml.errors import ImageError
from diml.image_sizes import Size

Source = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8] | Tensor
EXPECTED = "a path, a PIL image, an array (H, W, 3) of uint8 or a tensor (3, H, W)"


def read_image(
    source: Source,
    decoding: int = 3,
    bit_depth: int | None = None,
    wanted: Callable[[Size], Size] | None = None,
) -> Image.Image | Tensor:
    """Open an image as RGB, upright; a tensor is returned as it is.

    Args:
        source: a path (`~` is expanded), a PIL image of any mode, an array (H, W, 3) of uint8, or a tensor (3, H, W) of
            uint8 0..255 or floats 0..1.
        decoding, bit_depth, wanted: see `diml.data.open_image`; only files are decoded smaller than they are.

    Raises:
        ImageError: the file cannot be read, or the value is not an image.

    >>> read_image(np.zeros((2, 3, 3), np.uint8)).size
    (3, 2)
    """
    if isinstance(source, Tensor):
        return source
    if isinstance(source, Image.Image):
        return to_rgb(source, decoding, bit_depth)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, str | os.PathLike):
        return open_image(source, decoding, bit_depth, wanted=wanted)
    raise ImageError(f"expected {EXPECTED} as an image, got {type(source).__name__}")


def is_one_image(images: Any) -> TypeGuard[Source]:
    """Whether the argument is a single image rather than several.

    >>> is_one_image("cat.jpg"), is_one_image(["cat.jpg"]), is_one_image(np.zeros((2, 8, 8, 3), np.uint8))
    (True, False, False)
    """
    if isinstance(images, Tensor | np.ndarray):
        return images.ndim < 4
    return isinstance(images, str | os.PathLike | Image.Image)


def as_list(images: Source | Iterable[Source]) -> Iterable[Source]:
    """A single image as a list of one; several images unchanged.

    Raises:
        ImageError: the argument is neither an image nor iterable.
    """
    if is_one_image(images):
        return [images]
    if not isinstance(images, Iterable):
        raise ImageError(f"expected {EXPECTED} as an image, got {type(images).__name__}")
    return images


def _from_array(values: npt.NDArray[Any]) -> Image.Image:
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] != 3 or 0 in values.shape:
        raise ImageError(
            f"expected an array (H, W, 3) of uint8 as an image, got {values.dtype} of shape {values.shape}; "
            "convert it with PIL.Image.fromarray(...).convert('RGB')"
        )
    return Image.fromarray(values)
