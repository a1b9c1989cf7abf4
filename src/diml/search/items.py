"""Items: the images of a collection as an index knows them, and the state of their files."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from diml.data.collection import Collection
from diml.data.located import Located, NamedBytes, UnusableError, mtime_ns
from diml.data.read_ahead import read_ahead


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
    nothing about an image that its table of labels does not name. It can be pickled.
    """

    id: str
    path: str
    file: Path | Located
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


class Examined(NamedTuple):
    """An image, the state of its file, and what to open: the file, or its content where that was read for the hash."""

    item: Item
    state: FileState
    content: Path | Located | NamedBytes


def examined(wanted: Iterable[Item]) -> Iterator[Examined]:
    """Images with the states of their files, read one by one, or several at once where a network is waited for."""
    for item, read in read_ahead(wanted, lambda item: _examine(item.file), lambda item: _is_distant(item.file)):
        yield Examined(item, *read)


def examine(file: Path | Located) -> FileState:
    """Size, time and hash of a file; no hash if it cannot be read, for which decoding will give the reason."""
    return _examine(file)[0]


def _examine(file: Path | Located) -> tuple[FileState, Path | Located | NamedBytes]:
    try:
        if isinstance(file, Located):
            data = file.content()
            state = FileState(len(data), file.mtime_ns, hashlib.sha256(data).hexdigest())
            return state, NamedBytes(data, file.name)
        status = os.stat(file)
        # Reading a FIFO would block.
        readable = stat.S_ISREG(status.st_mode)
        return FileState(status.st_size, mtime_ns(status), _sha256(file) if readable else ""), file
    except (OSError, UnusableError):
        return FileState(0, 0, ""), file


def seems_unchanged(file: Path | Located, size: int, time: int) -> bool:
    """Whether a file still has this size and modification time; it is not read."""
    if isinstance(file, Located):
        return file.size in (None, size) and file.mtime_ns == time
    try:
        status = os.stat(file)
    except OSError:
        return False
    return (status.st_size, mtime_ns(status)) == (size, time)


def _is_distant(file: Path | Located) -> bool:
    return isinstance(file, Located) and file.distant


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
