"""Items: the images of a collection as an index knows them, and the state of their files."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diml.data.collection import Collection


def image_id(path: str) -> str:
    """The id of an image: the first 16 hex digits of the SHA-256 of its path, relative to its collection.

    >>> image_id("cats/tom.jpg")
    'c20dca593997b815'
    """
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def is_id(name: str) -> bool:
    """Whether a name looks like an id."""
    return re.fullmatch("[0-9a-f]{16}", name) is not None


@dataclass(frozen=True)
class Item:
    """An image of a collection, and what the collection states about it: only the columns that the collection has, and
    nothing about an image that its table of labels does not name.
    """

    id: str
    path: str
    file: Path
    meta: dict[str, str | None]


@dataclass(frozen=True)
class FileState:
    """A file's size, modification time and SHA-256 in hex; the hash is empty if the file could not be read."""

    bytes: int
    mtime_ns: int
    hash: str


def items(collection: Collection) -> list[Item]:
    """The images of a collection; its `split` is stored like any other column."""
    columns: dict[str, Sequence[str | None]] = dict(collection.columns)
    if collection.splits is not None:
        columns["split"] = collection.splits
    if collection.labels is not None:
        columns["label"] = collection.labels
    said = collection.listed or [True] * len(collection)
    return [
        Item(image_id(path), path, collection.file(i), {name: values[i] for name, values in columns.items() if said[i]})
        for i, path in enumerate(collection.paths)
    ]


def column_names(collection: Collection) -> list[str]:
    """Names of the further columns of a collection."""
    return [*collection.columns, *(["split"] if collection.splits is not None else [])]


def mtime_ns(status: os.stat_result) -> int:
    """The modification time in nanoseconds since 1970, limited to what 64 bits hold: the years 1678 to 2262."""
    return max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))


def examine(file: Path) -> FileState:
    """Size, time and hash of a file; no hash if it cannot be read, for which decoding will give the reason."""
    try:
        status = os.stat(file)
        # Reading a FIFO would block.
        readable = stat.S_ISREG(status.st_mode)
        return FileState(status.st_size, mtime_ns(status), _sha256(file) if readable else "")
    except OSError:
        return FileState(0, 0, "")


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
