"""Walking through a folder: every image once, and a reason for everything left out."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from pathlib import Path
from typing import NamedTuple

from diml.data.formats import ENDINGS
from diml.data.outputs import kind_of_file, kind_of_folder
from diml.data.printable import printable

_Inode = tuple[int, int]


class Found(NamedTuple):
    """What a walk found.

    Attributes:
        images: sorted POSIX paths of the images, relative to the folder.
        left_out: (path, reason) of what was left out, safe to print.
        outputs: (path, kind) of what this program has written.
    """

    images: list[str]
    left_out: list[tuple[str, str]]
    outputs: list[tuple[str, str]]


def walk(root: Path) -> Found:
    """The images in a folder and its subfolders, by their file endings; hidden files and folders are left out.

    Links to folders are followed after all real folders, so that a folder inside the collection is found under its own
    name. Each folder is entered once, so that links cannot form a cycle. Indices, training runs and pictures of this
    program are left out.
    """
    search = _Walk(root)
    search.run()
    return Found(sorted(search.images), sorted(search.left_out), sorted(search.outputs))


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: list[str] = []
        self.left_out: list[tuple[str, str]] = []
        self.outputs: list[tuple[str, str]] = []
        self._entered: dict[_Inode, str] = {}
        self._above = {_inode(parent) for parent in root.resolve().parents}
        self._folders = deque([""])
        self._links: deque[str] = deque()

    def run(self) -> None:
        while self._folders or self._links:
            relative = self._folders.popleft() if self._folders else self._links.popleft()
            try:
                self._enter(relative)
            except OSError as error:
                self._leave(relative, f"cannot be read ({error.strerror})")

    def _leave(self, relative: str, reason: str) -> None:
        self.left_out.append((printable(relative or "."), reason))

    def _enter(self, relative: str) -> None:
        folder = self.root / relative
        inode = _inode(folder)
        if inode in self._above:
            return self._leave(relative, "links back to a folder that contains this collection")
        if inode in self._entered:
            first = self._entered[inode] or "."
            return self._leave(relative, f"links to a folder that is in the collection already, as {printable(first)}")
        self._entered[inode] = relative
        if kind := kind_of_folder(folder):
            self.outputs.append((relative or ".", kind))
            return None
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not entry.name.startswith("."):
                    self._see(entry, f"{relative}/{entry.name}" if relative else entry.name)

    def _see(self, entry: os.DirEntry[str], relative: str) -> None:
        looks_like_image = os.path.splitext(entry.name)[1].lower() in ENDINGS
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            if entry.is_symlink() or looks_like_image:
                self._leave(relative, _why_unseen(entry, error))
            return
        if stat.S_ISDIR(mode) or looks_like_image:
            self._sort(entry, relative, mode)

    def _sort(self, entry: os.DirEntry[str], relative: str, mode: int) -> None:
        if not _is_utf8(entry.name):
            self._leave(relative, "has a name that is not UTF-8; rename it")
        elif stat.S_ISDIR(mode):
            (self._links if entry.is_symlink() else self._folders).append(relative)
        elif stat.S_ISREG(mode):
            self._take(entry, relative)
        else:
            self._leave(relative, "is not a regular file (a pipe, socket or device)")

    def _take(self, entry: os.DirEntry[str], relative: str) -> None:
        if kind := kind_of_file(entry.path):
            self.outputs.append((relative, kind))
        else:
            self.images.append(relative)


def _why_unseen(entry: os.DirEntry[str], error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a link in a cycle of links"
    if error.errno == errno.ENOENT and entry.is_symlink():
        return f"is a broken link (to {printable(os.readlink(entry.path))})"
    return f"cannot be read ({error.strerror})"


def _inode(path: Path) -> _Inode:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
