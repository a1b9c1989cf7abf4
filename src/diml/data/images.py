"""Reading image files as RGB, with one sentence for every file that cannot be read."""

from __future__ import annotations

import os
import stat
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from diml.errors import ImageError

MAX_PIXELS = 100_000_000
"""Larger images are refused before a pixel is decoded: 100 million take 300 MB as RGB."""

ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"}
)
"""File endings, in lower case, that are taken for images when a folder is searched."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _UnusableError(Exception):
    """Why an image cannot be used, and what to do about it; the caller adds the name."""


def open_image(path: str | os.PathLike[str], decoding: int = 2, bit_depth: int | None = None) -> Image.Image:
    """The image in a file, as 8-bit RGB, upright.

    The EXIF orientation is applied, transparent pixels are blended with white, CMYK and palettes are converted, 16-bit
    and floating point values are scaled (see `to_rgb`), and the first frame of an animation is used. The formats read
    are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM and, if Pillow supports it, AVIF. Safe to call from many threads.

    Returns:
        An image of mode RGB without an open file.

    Raises:
        ImageError: there is no such file, it is not a regular file, or it cannot be decoded completely. The message is
            one sentence that starts with the path.

    >>> open_image("missing.jpg")
    Traceback (most recent call last):
    diml.errors.ImageError: missing.jpg: there is no such file; check the path
    """
    try:
        _check_file(path)
        with open(path, "rb") as file, Image.open(file, formats=_formats()) as image:
            return _upright_rgb(image)
    except _UnusableError as reason:
        raise ImageError(f"{printable(path)}: {reason}") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{printable(path)}: is not an image in a format that is read here ({', '.join(_formats())}); "
            "convert it to JPEG or PNG, or leave it out"
        ) from None
    # On arbitrary bytes decoders raise errors of many types: KeyError, struct.error, ...
    except Exception as error:
        raise ImageError(f"{printable(path)}: {_reason(error)}") from error


def to_rgb(image: Image.Image, decoding: int = 2, bit_depth: int | None = None) -> Image.Image:
    """An opened Pillow image as 8-bit RGB, upright, converted as `open_image` converts a file.

    16-bit integers are scaled by their full range, 0 to 65535. Floating point values are scaled from 0 to 1 if all lie
    in that range, from 0 to 255 if all lie in that one, and otherwise from the smallest to the largest; 32-bit integers
    likewise, from 0 to 65535 or from the smallest to the largest. The result has no EXIF data, so that its orientation
    cannot be applied twice.

    Raises:
        ImageError: the image cannot be decoded, has more than `MAX_PIXELS`, or has NaN or infinite pixels.

    >>> to_rgb(Image.new("I;16", (1, 1), 65535)).getpixel((0, 0))
    (255, 255, 255)
    """
    name = printable(getattr(image, "filename", "") or "the image")
    try:
        return _upright_rgb(image)
    except _UnusableError as reason:
        raise ImageError(f"{name}: {reason}") from None
    except Exception as error:
        raise ImageError(f"{name}: {_reason(error)}") from error


def _check_file(path: str | os.PathLike[str]) -> None:
    """Refuse anything but a regular, non-empty file before it is opened: opening a FIFO would block forever."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise _UnusableError("is a folder; expected an image file")
    if not stat.S_ISREG(status.st_mode):
        raise _UnusableError("is not a regular file (a pipe, socket or device); expected an image file")
    if status.st_size == 0:
        raise _UnusableError("is empty (0 bytes); replace it or leave it out")


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path on one line that any terminal can show; bytes that are not UTF-8 and control characters are escaped.

    >>> print(printable("b\udcffd\n.jpg"))
    b\xffd\n.jpg
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in os.fspath(path))


def _escaped(character: str) -> str:
    """Python keeps a byte of a file name that is not UTF-8 as a character from U+DC80 to U+DCFF."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _formats() -> tuple[str, ...]:
    """The tested formats: with all of its formats, Pillow would also start Ghostscript for EPS."""
    return ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *(("AVIF",) if features.check("avif") else ()))


def _upright_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _UnusableError(
            f"has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are decoded; make it smaller first"
        )
    image.load()
    rgb = _rgb(image)
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info = {}
    return rgb


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, read after `load`, which applies it for TIFF; 1 (as stored) for damaged EXIF data."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_numbers(np.asarray(image).astype(np.float32), 65535.0)
    if image.mode == "I":
        return _from_numbers(np.asarray(image).astype(np.float64), 65535.0)
    if image.mode == "F":
        return _from_numbers(np.asarray(image).astype(np.float64), 1.0, 255.0)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image.convert("RGB")


def _from_numbers(values: npt.NDArray[Any], *tops: float) -> Image.Image:
    """Grey values on the first of the scales 0 to `top` that contains them all, otherwise on their own range."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _UnusableError("has pixels that are not finite numbers (NaN or infinite); replace these values first")
    fitting = [top for top in tops if low >= 0 and high <= top]
    bottom, top = (0.0, fitting[0]) if fitting else (low, high)
    scaled = (values - bottom) * (255.0 / max(top - bottom, 1e-12))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8)).convert("RGB")


def _reason(error: Exception) -> str:
    simple: list[tuple[type[Exception] | tuple[type[Exception], ...], str]] = [
        (FileNotFoundError, "there is no such file; check the path"),
        (PermissionError, "may not be read (permission denied); change its permissions or leave it out"),
        (
            (Image.DecompressionBombError, Image.DecompressionBombWarning),
            f"has more pixels than the {MAX_PIXELS:,} that are decoded; make it smaller first",
        ),
        (MemoryError, "does not fit into memory; make it smaller first"),
    ]
    for kind, sentence in simple:
        if isinstance(error, kind):
            return sentence
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be opened ({error.strerror}); check the path"
    detail = printable(str(error)).rstrip(". ") or type(error).__name__
    if "truncated" in detail.lower():
        return f"is truncated, its end is missing ({detail}); copy it again or leave it out"
    return f"is damaged and cannot be decoded ({detail}); replace it or leave it out"
