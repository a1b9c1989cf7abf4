"""16-bit images whose samples have fewer bits: the range of the samples, and their values on 8 bits."""

from __future__ import annotations

import sys
import threading
import warnings
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from diml.data.png_metadata import png_metadata

# An image of fewer bits in 16 is taken to be meant dark where a value reaches 12 bits.
REACHED = 4096
_BITS_PER_SAMPLE, _MAX_SAMPLE, _S_MAX_SAMPLE = 258, 281, 341


class BitDepthWarning(UserWarning):
    """A 16-bit image seems to have samples of fewer bits; warned of once in a process."""


@dataclass(frozen=True)
class Samples:
    """How an image stores its samples, noted before it is decoded.

    Attributes:
        deep: whether they take 16 bits in the file.
        bits: how many of them are used, as the file says; None where it does not.
    """

    deep: bool = False
    bits: int | None = None


def samples_of(image: Image.Image, png_bits: int | None = None) -> Samples:
    """How an image that was not decoded yet stores its samples.

    Args:
        image: opened by Pillow.
        png_bits: significant bits by the chunk sBIT, where it was read already.
    """
    modes = [str(_raw_mode(tile)) for tile in getattr(image, "tile", [])]
    deep = image.mode.startswith("I;16") or any(";16" in mode or mode == "I;12" for mode in modes)
    if image.format == "PPM" and any(tile[0] != "raw" for tile in getattr(image, "tile", [])):
        return Samples(deep=False)  # Pillow has scaled them by the maximum that the file states
    if not deep and image.mode != "I":
        return Samples()
    return Samples(True, png_bits or _tiff_bits(image))


def png_bits_of(image: Image.Image) -> int | None:
    """Significant bits of a PNG that is still open."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None or getattr(file, "closed", True):
        return None
    return png_metadata(file).bits


def grey(values: npt.NDArray[Any], samples: Samples, bit_depth: int | None, name: str) -> npt.NDArray[np.uint8]:
    """16-bit values as 8-bit ones, by the range of the samples."""
    highest = int(values.max(initial=0))
    top = 2 ** _used_bits(highest, samples, bit_depth, name) - 1
    return _scaled(values, top)


def colours(
    image: Image.Image, file: BinaryIO | None, samples: Samples, bit_depth: int | None, name: str
) -> Image.Image:
    """A 16-bit colour image, of which Pillow decodes the upper 8 bits, by the range of its samples.

    Args:
        image: decoded, RGB or RGBA.
        file: where it is decoded from, to read the lower 8 bits; without it they are taken to be 0.
        samples: how it is stored.
        bit_depth: as the user gave it.
        name: of the image, for a warning.
    """
    upper = np.asarray(image)
    # Above 8 bits, the upper byte alone tells which powers of two the values reach.
    highest = int(upper[..., :3].max(initial=0)) * 256
    bits = _used_bits(highest, samples, bit_depth, name)
    if bits == 16:
        return image
    lower = np.zeros_like(upper) if file is None else np.asarray(_lower_bytes(file, image.format))
    values = upper.astype(np.uint16) * 256 + (lower if lower.shape == upper.shape else 0)
    scaled = _scaled(values, 2**bits - 1)
    if scaled.shape[2] == 4 and values[..., 3].max() >= 2**bits:
        scaled[..., 3] = upper[..., 3]  # transparency of 16 bits
    return Image.fromarray(scaled, image.mode)


def _used_bits(highest: int, samples: Samples, bit_depth: int | None, name: str) -> int:
    """How many bits the samples have: as the user says, as the file says if its values agree, or 16."""
    if bit_depth is not None:
        return bit_depth
    if samples.bits is not None:
        return samples.bits if highest < 2**samples.bits else 16
    if 0 < highest < REACHED:
        _warn(name)
    return 16


def _scaled(values: npt.NDArray[Any], top: int) -> npt.NDArray[np.uint8]:
    scaled = np.rint(values.astype(np.float32) * np.float32(255 / top))
    eight: npt.NDArray[np.uint8] = scaled.clip(0, 255).astype(np.uint8)
    return eight


def _lower_bytes(file: BinaryIO, form: str | None) -> Image.Image:
    """The image decoded again, reading of each sample the byte that Pillow leaves out."""
    file.seek(0)
    again = Image.open(file, formats=[form] if form else None)
    again.tile = [tile._replace(args=_with_other_byte(tile.args)) for tile in again.tile]
    again.load()
    return again


def _with_other_byte(args: Any) -> Any:
    native = "B" if sys.byteorder == "little" else "L"
    mode = args if isinstance(args, str) else args[0]
    swapped = mode[:-1] + {"B": "L", "L": "B", "N": native}[mode[-1]]
    return swapped if isinstance(args, str) else (swapped, *args[1:])


def _raw_mode(tile: Any) -> object:
    args = tile[3]
    return args[0] if isinstance(args, tuple) and args else args


def _tiff_bits(image: Image.Image) -> int | None:
    """Bits of a TIFF's samples, where it states 10 to 15, or a maximum of 2^n - 1."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return None
    stated = _numbers(tags, _BITS_PER_SAMPLE)
    if stated and max(stated) < 16:
        return max(stated)
    for tag in (_S_MAX_SAMPLE, _MAX_SAMPLE):
        top = max(_numbers(tags, tag), default=0)
        # Some programs write the largest value of this image instead, which says nothing about the range.
        if top > 255 and (top + 1) & top == 0 and top < 2**16:
            return int(top).bit_length()
    return None


def _numbers(tags: Any, tag: int) -> list[int]:
    try:
        value = tags.get(tag, ())
        return [int(each) for each in (value if isinstance(value, tuple) else (value,))]
    except Exception:  # metadata may hold anything
        return []


_warned = threading.Lock()


def _warn(name: str) -> None:
    """Warn once in a process: a collection of such images would give a warning for each."""
    if _warned.acquire(blocking=False):
        warnings.warn(
            f"{name or 'an image'}: no value of this 16-bit image reaches {REACHED}, so it is nearly black; if its "
            "samples have 12 bits, give --bit-depth 12 (bit_depth=12 in Python)",
            BitDepthWarning,
            stacklevel=2,
        )
