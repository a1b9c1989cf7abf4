"""Paths as lists and tables name them: checked, and found under another spelling of the same name."""

from __future__ import annotations

import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from diml.data.printable import printable
from diml.errors import DatasetError

NO_FILE = "there is no such file"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def inside(path: str, where: str, root: Path | None = None, of: str = "the folder of the table") -> str:
    """A listed path in normalised POSIX form, relative to the folder of its list.

    Args:
        path: the path; absolute paths and those with `..` are taken if they lead below `root`. A URL stays as it is, so
            that it can be told where the file is missing.
        where: the place of the path, for messages.
        root: the folder; None where paths have to be relative.
        of: the name of the folder, for messages.

    Raises:
        DatasetError: the path is empty or leads out of the folder.

    >>> inside("./a//b.jpg", "list.csv line 2")
    'a/b.jpg'
    >>> inside("/data/list/a/b.jpg", "list.csv line 2", Path("/data/list"))
    'a/b.jpg'
    """
    if path.startswith("file://"):
        path = unquote(urlsplit(path).path)
    if _URL.match(path):
        return path
    plain = posixpath.normpath(path)
    if not path or plain == ".":
        raise DatasetError(f"{where}: does not name a file; expected a path relative to {of}")
    if _leads_out(plain) and root is not None and "\0" not in plain:
        plain = _below(root, plain) or plain
    if _leads_out(plain) or "\0" in plain:
        raise DatasetError(
            f"{where}: the path {printable(path)} leads out of {of}; expected a relative path below it, so "
            "use a folder that holds all of the images"
        )
    return plain


def _leads_out(plain: str) -> bool:
    return plain.startswith(("/", "../")) or plain == ".."


def _below(root: Path, plain: str) -> str | None:
    """A path relative to the folder, by its name or by what links lead to; None if it is not below it."""
    top, real = os.path.abspath(root), os.path.realpath(root)
    parent, name = os.path.split(os.path.join(real, plain))
    for folder, file in (
        (top, os.path.normpath(os.path.join(top, plain))),
        (real, os.path.join(os.path.realpath(parent), name)),
    ):
        if file.startswith(folder.rstrip("/") + "/"):
            return posixpath.relpath(file, folder)
    return None


class ListedFiles:
    """The files below a folder, found by listed paths.

    A path that does not exist is looked for in other spellings of the same name: other Unicode forms of a letter with
    an accent, spaces at the ends, `\\` in place of `/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[str, dict[str, list[str]]] = {}
        self._lower: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> tuple[str, str | None]:
        """The path of the file as it is stored, and why it cannot be used, in words; None if it can."""
        if _URL.match(path):
            return path, "it is a URL; download the image and name the file"
        reason = self._why_not(path)
        if reason is None:
            return path, None
        for form in (path, posixpath.normpath(path.replace("\\", "/"))):
            found = None if _leads_out(form) else self._spelled(form)
            if found is not None and self._why_not(found) is None:
                return found, None
        return path, reason + self._hint(path)

    def _why_not(self, path: str) -> str | None:
        try:
            mode = os.stat(self.root / path).st_mode
        except OSError as error:
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            return NO_FILE if missing else f"it cannot be read ({error.strerror})"
        return None if stat.S_ISREG(mode) else "it is not a regular file"

    def _spelled(self, path: str) -> str | None:
        """The path with the names that the folders hold; None if one of them is missing, or held in two spellings."""
        found = ""
        for part in path.split("/"):
            same = self._folder(found).get(spelling(part), [])
            exact = [name for name in same if name == part] or same
            if len(exact) != 1:
                return None
            found = f"{found}/{exact[0]}" if found else exact[0]
        return found

    def _folder(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._names:
            names: list[str] = []
            with suppress(OSError):
                names = os.listdir(self.root / folder)
            self._names[folder] = by_spelling(names)
            self._lower[folder] = {name.lower(): name for name in names}
        return self._names[folder]

    def _hint(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        self._folder(folder)
        alike = self._lower[folder].get(name.lower(), name)
        return f"; there is {printable(alike)}" if alike != name else ""


def spelling(name: str) -> str:
    """What the spellings of one name have in common: composed letters, no spaces at the ends.

    >>> spelling("cafe\\u0301.jpg ") == spelling("caf\\u00e9.jpg")
    True
    """
    return unicodedata.normalize("NFC", name).strip()


def by_spelling(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by what their spellings have in common."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(spelling(name), []).append(name)
    return found
