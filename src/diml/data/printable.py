"""Paths on one line that any terminal can show."""

from __future__ import annotations

import os


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
