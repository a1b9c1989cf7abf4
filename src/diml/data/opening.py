"""Opening image files with Pillow: only tested formats, and one sentence for every file that cannot be read."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from diml.data.formats import HEAD, Kind, kind_of, readable
from diml.data.image_path import image_path
from diml.data.located import Located, NamedBytes, UnusableError
from diml.data.object_files import is_url, stored_image
from diml.data.png_metadata import PngMetadata, png_metadata, without
from diml.data.printable import printable
from diml.errors import ImageError, StoreError
from diml.files import AnyPath

MAX_PIXELS = 100_000_000
"""Larger images are refused before a pixel is decoded: 100 million take 300 MB as RGB."""


EMPTY = "is empty (0 bytes); replace it or leave it out"


@dataclass(frozen=True)
class Opened:
    """An image file that is open.

    Attributes:
        image: not decoded yet.
        file: what it is decoded from.
        metadata: what a PNG says beside its pixels.
    """

    image: Image.Image
    file: BinaryIO
    metadata: PngMetadata


@contextmanager
def opened(path: AnyPath | NamedBytes | Located, max_pixels: int | None = None) -> Iterator[Opened]:
    """Open an image file; errors of the block become one sentence that starts with the path.

    Args:
        path: the file, its content, or where that lies.
        max_pixels: larger images are refused; `MAX_PIXELS` by default.

    Raises:
        ImageError: there is no such file, or it is not an image that is read.
    """
    if isinstance(path, str) and is_url(path):
        path = stored_image(path)
    elif not isinstance(path, NamedBytes | Located):
        path = image_path(path)
    with explained(path, max_pixels), _content(path) as given:
        kind = kind_of(given.read(HEAD), os.path.splitext(os.fspath(path))[1].lower())
        if kind is not None and not kind.is_read:
            raise UnusableError(f"is {kind.name}, which is not read here; {kind.remedy}")
        metadata = png_metadata(given)
        file: BinaryIO = without(given, metadata.unwanted) if metadata.unwanted else given
        file.seek(0)
        with _identified(file, kind) as image:
            check_size(image, max_pixels)
            yield Opened(image, file, metadata)


@contextmanager
def explained(name: AnyPath, max_pixels: int | None = None) -> Iterator[None]:
    """Turn any error of decoding into an ImageError of one sentence.

    Raises:
        ImageError: for any error of the block.
    """
    try:
        yield
    except StoreError:  # an object store that cannot be reached
        raise
    except UnusableError as reason:
        raise ImageError(f"{printable(name)}: {reason}") from None
    # On arbitrary bytes decoders raise errors of many types: KeyError, struct.error, ...
    except Exception as error:
        raise ImageError(f"{printable(name)}: {_reason(error, max_pixels or MAX_PIXELS)}") from error


def check_size(image: Image.Image, max_pixels: int | None = None) -> None:
    """Refuse an image that is too large, before a pixel is decoded."""
    most = MAX_PIXELS if max_pixels is None else max_pixels
    width, height = image.size
    if width * height > most:
        raise UnusableError(
            f"has {width} x {height} pixels, more than the {most:,} that are decoded; make it smaller first"
        )


def _content(path: AnyPath | NamedBytes | Located) -> BinaryIO:
    if isinstance(path, NamedBytes | Located):
        data = path.data if isinstance(path, NamedBytes) else path.content()
        if not data:
            raise UnusableError(EMPTY)
        return io.BytesIO(data)
    _check_file(path)
    return open(path, "rb")


def _identified(file: BinaryIO, kind: Kind | None) -> Image.Image:
    if kind is not None and kind.pillow == "HEIF":
        import pillow_heif  # type: ignore[import-not-found]

        pillow_heif.register_heif_opener()
    formats = [name for name in readable() if name not in ("TGA", "HEIF")] if kind is None else [kind.pillow]
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError:
        if kind is not None:
            raise UnusableError(
                f"is {kind.name} of a kind that is not read here, or damaged; convert it to 8-bit PNG or JPEG, or "
                "leave it out"
            ) from None
        raise UnusableError(
            f"is not an image in a format that is read here ({', '.join(readable())}); "
            "convert it to JPEG or PNG, or leave it out"
        ) from None


def _check_file(path: AnyPath) -> None:
    """Refuse anything but a regular, non-empty file before it is opened: opening a FIFO would block forever."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise UnusableError("is a folder; expected an image file")
    if not stat.S_ISREG(status.st_mode):
        raise UnusableError("is not a regular file (a pipe, socket or device); expected an image file")
    if status.st_size == 0:
        raise UnusableError(EMPTY)


def _reason(error: Exception, max_pixels: int) -> str:
    simple: list[tuple[type[Exception] | tuple[type[Exception], ...], str]] = [
        (FileNotFoundError, "there is no such file; check the path"),
        (PermissionError, "may not be read (permission denied); change its permissions or leave it out"),
        (
            (Image.DecompressionBombError, Image.DecompressionBombWarning),
            f"has more pixels than the {max_pixels:,} that are decoded; make it smaller first",
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
