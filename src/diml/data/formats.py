"""What a file holds, told by its first bytes: a format that is read, or one that is not and what to do about it."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from PIL import features

# Bytes of a file that are looked at.
HEAD = 64
CONVERT = "convert to PNG or JPEG"
HEIF_EXTRA = "pip install 'diml[heif]'"

ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpx", ".tga"}
)
"""File endings, in lower case, of files that are reported where they hold no image."""


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Attributes:
        name: for messages and counts.
        pillow: the format's name in Pillow; empty where it is never read.
        remedy: what to do about a file that is not read.
        picture: whether it holds one picture; a document or a film does not.
    """

    name: str
    pillow: str = ""
    remedy: str = CONVERT
    picture: bool = True

    @property
    def is_read(self) -> bool:
        """Whether this installation reads it."""
        return self.pillow in readable()


@cache
def readable() -> tuple[str, ...]:
    """The formats that are read, by Pillow's names: with all of its formats, Pillow would start Ghostscript for EPS."""
    names = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA"]
    names += ["JPEG2000"] if features.check("jpg_2000") else []
    names += ["AVIF"] if features.check("avif") else []
    return (*names, *(["HEIF"] if importlib.util.find_spec("pillow_heif") else []))


TIFF = Kind("TIFF", "TIFF")
TGA = Kind("TGA", "TGA")
HEIC = Kind("HEIC", "HEIF", HEIF_EXTRA)
RAW = Kind("camera raw", remedy="develop to TIFF or JPEG")
VIDEO = Kind("video", remedy="extract frames", picture=False)
# By an ISO container's brand: HEIC and AVIF are films of one frame.
_BRANDS = {b"avif": Kind("AVIF", "AVIF"), b"avis": Kind("AVIF", "AVIF"), b"crx ": RAW} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), HEIC
)
_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", Kind("JPEG", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", Kind("PNG", "PNG")),
    (b"GIF87a", Kind("GIF", "GIF")),
    (b"GIF89a", Kind("GIF", "GIF")),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", Kind("JPEG 2000", "JPEG2000")),
    (b"\xff\x4f\xff\x51", Kind("JPEG 2000", "JPEG2000")),
    (b"\xff\x0a", Kind("JPEG XL")),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", Kind("JPEG XL")),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\x00", RAW),
    (b"II\xbc\x01", Kind("JPEG XR")),
    (b"8BPS", Kind("Photoshop")),
    (b"gimp xcf", Kind("GIMP")),
    (b"v/1\x01", Kind("OpenEXR")),
    (b"#?RADIANCE", Kind("Radiance HDR")),
    (b"DDS ", Kind("DDS")),
    (b"qoif", Kind("QOI")),
    (b"icns", Kind("icon")),
    (b"%!PS", Kind("PostScript", picture=False)),
    (b"%PDF-", Kind("PDF", remedy="extract its pages as PNG", picture=False)),
    (b"\x1aE\xdf\xa3", VIDEO),
    (b"\x00\x00\x01\xba", VIDEO),
    (b"\x00\x00\x01\xb3", VIDEO),
)
_RAW_ENDINGS = frozenset(
    {".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".cr2", ".pef", ".3fr", ".erf", ".kdc", ".dcr"}
)


def kind_of(head: bytes, ending: str = "") -> Kind | None:
    """What a file holds; None for anything that is not listed here.

    Args:
        head: its first bytes, `HEAD` of them are enough.
        ending: of its name, in lower case, with the dot: needed for formats that the bytes leave open.

    >>> kind_of(b"GIF89a").name, kind_of(b"%PDF-1.7").remedy, kind_of(b"path,label")
    ('GIF', 'extract its pages as PNG', None)
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    found = (test(head, ending) for test in _TESTS)
    return next((kind for kind in found if kind is not None), None)


def describe(unread: Iterable[Kind]) -> str:
    """One line on files that are not read, counted by kind.

    >>> describe([HEIC, VIDEO, HEIC])
    "left out, as they are not read here: 2 HEIC (pip install 'diml[heif]'), 1 video (extract frames)"
    """
    counts = Counter(unread)
    parts = [f"{n} {kind.name} ({kind.remedy})" for kind, n in sorted(counts.items(), key=lambda each: each[0].name)]
    return f"left out, as they are not read here: {', '.join(parts)}"


def _riff(head: bytes, ending: str) -> Kind | None:
    if head[:4] != b"RIFF":
        return None
    return {b"WEBP": Kind("WebP", "WEBP"), b"AVI ": VIDEO}.get(head[8:12])


def _iso(head: bytes, ending: str) -> Kind | None:
    """AVIF, HEIC or a film, by the main brand of an ISO container; where it is generic, by the compatible ones."""
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))]
    if brands[0] in (b"mif1", b"msf1"):
        brands.sort(key=lambda brand: brand in (b"mif1", b"msf1"))
    audio = brands[0] in (b"M4A ", b"M4B ")
    return None if audio else _BRANDS.get(brands[0], VIDEO)


def _tiff(head: bytes, ending: str) -> Kind | None:
    if head[:4] not in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return None
    return RAW if ending in _RAW_ENDINGS or head[8:10] == b"CR" else TIFF


def _bmp(head: bytes, ending: str) -> Kind | None:
    header = int.from_bytes(head[14:18], "little")
    return Kind("BMP", "BMP") if head[:2] == b"BM" and header in (12, 40, 52, 56, 64, 108, 124) else None


def _ppm(head: bytes, ending: str) -> Kind | None:
    return Kind("PPM", "PPM") if re.match(rb"P[1-6]\s+(#|\d)", head) else None


def _icon(head: bytes, ending: str) -> Kind | None:
    plausible = head[:4] in (b"\x00\x00\x01\x00", b"\x00\x00\x02\x00") and ending in (".ico", ".cur")
    return Kind("icon") if plausible else None


def _svg(head: bytes, ending: str) -> Kind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    named = ending in (".svg", ".svgz") and text.startswith((b"<", b"\x1f\x8b"))
    return Kind("SVG", remedy="convert to PNG") if named or text.startswith(b"<svg") else None


def _tga(head: bytes, ending: str) -> Kind | None:
    """A TGA has no signature: its header must be plausible, and its name must end as it should."""
    if ending not in (".tga", ".icb", ".vda", ".vst") or len(head) < 18:
        return None
    plausible = head[1] in (0, 1) and head[2] in (1, 2, 3, 9, 10, 11) and head[16] in (1, 8, 15, 16, 24, 32)
    return TGA if plausible and any(head[12:14]) and any(head[14:16]) else None


_TESTS: tuple[Callable[[bytes, str], Kind | None], ...] = (_riff, _iso, _tiff, _bmp, _ppm, _icon, _svg, _tga)
