"""What a PNG says beside its pixels, read with limits: a valid picture is not refused for its texts or its profile."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Larger profiles are ignored; those of printers have a few megabytes.
MAX_PROFILE = 16 << 20
# Of all texts together, decompressed: they are not needed for pixels, and Pillow refuses an image with more than 1 MB
# in one of them.
MAX_TEXT = 1 << 19
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Pillow expects at least so many bytes in chunks that do not change what it decodes.
_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}
_PIXELS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"})


@dataclass
class PngMetadata:
    """What a PNG says beside its pixels.

    Attributes:
        bits: the largest number of significant bits of a colour channel (chunk sBIT); None where it does not say.
        profile: its colour profile; None without one, or where it is damaged or too large.
        unwanted: start and end of the chunks that Pillow would refuse.
        texts: bytes of the texts that remain.
    """

    bits: int | None = None
    profile: bytes | None = None
    unwanted: list[tuple[int, int]] = field(default_factory=list)
    texts: int = 0


def png_metadata(file: BinaryIO) -> PngMetadata:
    """Read it from an open file, whose position is restored; nothing where the file is no PNG."""
    position, found = file.tell(), PngMetadata()
    try:
        file.seek(0)
        if file.read(8) == SIGNATURE:
            for name, start, length in _chunks(file):
                _note(file, found, name, start, length)
    finally:
        file.seek(position)
    return found


def without(file: BinaryIO, unwanted: list[tuple[int, int]]) -> BinaryIO:
    """A copy of the file in memory, without some of its parts."""
    kept, at = io.BytesIO(), 0
    file.seek(0)
    for start, end in unwanted:
        kept.write(file.read(start - at))
        file.seek(end)
        at = end
    kept.write(file.read())
    kept.seek(0)
    return kept


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of the content of each chunk, as far as they are complete."""
    end = file.seek(0, os.SEEK_END)
    at = len(SIGNATURE)
    while at + 12 <= end:
        file.seek(at)
        header = file.read(8)
        length = int.from_bytes(header[:4], "big")
        if at + 12 + length > end:
            return
        yield header[4:], at + 8, length
        at += 12 + length


def _note(file: BinaryIO, found: PngMetadata, name: bytes, start: int, length: int) -> None:
    if name in _PIXELS or not name[:1].islower():
        return
    limit = MAX_PROFILE if name == b"iCCP" else MAX_TEXT
    if not _LENGTHS.get(name, 0) <= length <= limit or not _is_intact(file, name, start, length):
        found.unwanted.append((start - 8, start + length + 4))
        return
    file.seek(start)
    content = file.read(length)
    if name == b"sBIT" and content:
        # Grey, or three colours; a second or fourth number is for transparency.
        found.bits = max(content[: 3 if length >= 3 else 1]) or None
    elif name == b"iCCP":
        found.profile = _inflated(content.partition(b"\0")[2][1:], MAX_PROFILE)
        found.unwanted.append((start - 8, start + length + 4))
    elif name in _TEXTS:
        size = _length(name, content)
        if found.texts + size > MAX_TEXT:
            found.unwanted.append((start - 8, start + length + 4))
        else:
            found.texts += size


def _is_intact(file: BinaryIO, name: bytes, start: int, length: int) -> bool:
    file.seek(start)
    content, check = file.read(length), file.read(4)
    return zlib.crc32(content, zlib.crc32(name)) == int.from_bytes(check, "big")


def _length(name: bytes, content: bytes) -> int:
    """Bytes of a text when it is decompressed; above the limit where it is damaged or longer."""
    value = content.partition(b"\0")[2]
    if name == b"zTXt":
        data, method = value[1:], value[:1]
    elif name == b"iTXt" and value[:1] == b"\x01":
        data, method = value[2:].partition(b"\0")[2].partition(b"\0")[2], value[1:2]
    else:
        return len(content)
    text = _inflated(data, MAX_TEXT) if method == b"\0" else None
    return MAX_TEXT + 1 if text is None else len(text)


def _inflated(data: bytes, limit: int) -> bytes | None:
    """The decompressed data; None where it is damaged or larger than the limit, of which no more is decompressed."""
    stream = zlib.decompressobj()
    try:
        value = stream.decompress(data, limit)
    except zlib.error:
        return None
    return None if stream.unconsumed_tail else value
