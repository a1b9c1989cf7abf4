"""Walking through a folder: every image once, and a reason for everything left out."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from pathlib import Path
from typing import NamedTuple

from diml.data.containers import is_lance, may_hold_images
from diml.data.formats import ENDINGS, Kind, kind_of
from diml.data.outputs import HEAD, kind_of_folder, kind_of_picture
from diml.data.printable import printable
from diml.files import first_bytes

_Inode = tuple[int, int]


class Found(NamedTuple):
    """What a walk found.

    Attributes:
        images: sorted POSIX paths of the images, relative to the folder.
        left_out: (path, reason) of what was left out, safe to print.
        outputs: (path, kind) of what this program has written.
        unread: (path, kind) of files that hold something else, such as formats that are not read.
        packed: sorted paths of tars, Parquet files and Lance datasets, which may hold images.
    """

    images: list[str]
    left_out: list[tuple[str, str]]
    outputs: list[tuple[str, str]]
    unread: list[tuple[str, Kind]]
    packed: list[str]


def walk(root: Path) -> Found:
    """The images in a folder and its subfolders, by their content; hidden files and folders are left out.

    A file whose name ends like that of an image is taken for one also where its content is unknown, so that decoding it
    gives the reason why it is none.

    Links to folders are followed after all real folders, so that a folder inside the collection is found under its own
    name. Each folder is entered once, so that links cannot form a cycle. Indices, training runs and pictures of this
    program are left out.
    """
    search = _Walk(root)
    search.run()
    unread = sorted(search.unread, key=lambda each: each[0])
    return Found(sorted(search.images), sorted(search.left_out), sorted(search.outputs), unread, sorted(search.packed))


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: list[str] = []
        self.left_out: list[tuple[str, str]] = []
        self.outputs: list[tuple[str, str]] = []
        self.unread: list[tuple[str, Kind]] = []
        self.packed: list[str] = []
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
        if is_lance(folder):
            self.packed.append(relative)
            return None
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not entry.name.startswith("."):
                    self._see(entry, f"{relative}/{entry.name}" if relative else entry.name)

    def _see(self, entry: os.DirEntry[str], relative: str) -> None:
        ending = os.path.splitext(entry.name)[1].lower()
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            if entry.is_symlink() or ending in ENDINGS:
                self._leave(relative, _why_unseen(entry, error))
            return
        if stat.S_ISREG(mode):
            self._examine(entry, relative, ending)
        elif stat.S_ISDIR(mode) and self._has_usable_name(entry, relative):
            (self._links if entry.is_symlink() else self._folders).append(relative)
        elif ending in ENDINGS:
            self._leave(relative, "is not a regular file (a pipe, socket or device)")

    def _examine(self, entry: os.DirEntry[str], relative: str, ending: str) -> None:
        head = first_bytes(entry.path, HEAD)  # without any, decoding gives the reason
        kind = kind_of(head, ending)
        if (kind is None and ending not in ENDINGS) or not self._has_usable_name(entry, relative):
            if may_hold_images(entry.name) and _is_utf8(entry.name):
                self.packed.append(relative)
            return
        if kind is not None and not kind.is_read:
            self.unread.append((relative, kind))
        elif output := kind_of_picture(head):
            self.outputs.append((relative, output))
        else:
            self.images.append(relative)

    def _has_usable_name(self, entry: os.DirEntry[str], relative: str) -> bool:
        usable = _is_utf8(entry.name)
        if not usable:
            self._leave(relative, "has a name that is not UTF-8; rename it")
        return usable


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
