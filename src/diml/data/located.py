"""Images that are no files of their own: a place that their bytes can be read from.

Whatever opens an image file takes a `Located` too. It is a small value that can be pickled, so a collection holds one
for each image and no bytes of any, and other processes can read them.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from diml.data.printable import printable

MAX_BYTES = 256 * 2**20
"""Images of more bytes are not read into memory."""
CHANGED = "changed while it was read; run the same command again"


class UnusableError(Exception):
    """Why an image cannot be used, and what to do about it; the caller adds the name."""


@dataclass(frozen=True)
class NamedBytes:
    """The content of an image file that is in memory, and its name, which messages begin with."""

    data: bytes = field(repr=False)
    name: str

    def __fspath__(self) -> str:
        return self.name


class Located(ABC):
    """An image in a larger file, in a table or in a store.

    `os.fspath` and `str` give its name, which messages begin with and from which nothing can be opened.
    """

    __slots__ = ()

    path: str
    """In its container: what its path in a collection ends with."""

    @property
    @abstractmethod
    def name(self) -> str:
        """For messages, safe to print."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Bytes of the encoded image; None where only reading it would tell."""

    @property
    @abstractmethod
    def mtime_ns(self) -> int:
        """When the image was last written, at the latest, in nanoseconds since 1970; known without reading it."""

    @property
    def distant(self) -> bool:
        """Whether reading waits for a network, so that many images are to be read at once."""
        return False

    @abstractmethod
    def content(self) -> bytes:
        """The encoded image.

        Raises:
            UnusableError: it cannot be read, or has more than `MAX_BYTES`.
            OSError: of the system.
        """

    def __fspath__(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


class Container(Protocol):
    """A file that holds images: on this machine, or an object of a store. It can be hashed and pickled.

    Attributes:
        size: in bytes.
        mtime_ns: when it was last written.
        distant: whether reading waits for a network.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def mtime_ns(self) -> int: ...

    @property
    def distant(self) -> bool: ...

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file as it was when this value was made.

        Raises:
            UnusableError: the file was replaced or changed since.
            OSError: it cannot be read.
        """

    def open(self) -> BinaryIO:
        """The whole file, to read and to seek in.

        Raises:
            UnusableError, OSError: as `read`.
        """


@dataclass(frozen=True)
class LocalFile:
    """A file of this machine as it was when it was looked at."""

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> LocalFile:
        """The file as it is now.

        Raises:
            OSError: there is none.
        """
        status = os.stat(path)
        return cls(path, status.st_size, mtime_ns(status))

    @property
    def name(self) -> str:
        return printable(self.path)

    @property
    def distant(self) -> bool:
        return False

    def read(self, offset: int, size: int) -> bytes:
        with self.open() as file:
            file.seek(offset)
            return file.read(size)

    def open(self) -> BinaryIO:
        file = open(self.path, "rb")  # noqa: SIM115 - the caller closes it
        status = os.fstat(file.fileno())
        if (status.st_size, mtime_ns(status)) != (self.size, self.mtime_ns):
            file.close()
            raise UnusableError(f"lies in {self.path.name}, which {CHANGED}")
        return file


@dataclass(frozen=True, slots=True)
class ByteRange(Located):
    """An image whose bytes lie in one piece in a file, such as a member of a tar; without a `path`, the whole file.

    >>> file = LocalFile.of(Path(__file__))
    >>> image = ByteRange(file, 3, 10, "first/words.jpg")
    >>> image.content(), image.name.endswith("located.py/first/words.jpg")
    (b'Images tha', True)
    """

    container: Container
    offset: int
    length: int
    path: str

    @property
    def name(self) -> str:
        return f"{self.container.name}/{printable(self.path)}" if self.path else self.container.name

    @property
    def size(self) -> int:
        return self.length

    @property
    def mtime_ns(self) -> int:
        return self.container.mtime_ns

    @property
    def distant(self) -> bool:
        return self.container.distant

    def content(self) -> bytes:
        check_bytes(self.length)
        data = self.container.read(self.offset, self.length)
        if len(data) != self.length:
            raise UnusableError("is truncated, its end is missing; copy the file that it lies in again")
        return data


def check_bytes(size: int) -> None:
    """Refuse an image that is too large to be held in memory, if possible before it is read.

    Raises:
        UnusableError: it has more than `MAX_BYTES`.
    """
    if size > MAX_BYTES:
        raise UnusableError(f"has {size:,} bytes, more than the {MAX_BYTES:,} that are read; make it smaller first")


def mtime_ns(status: os.stat_result) -> int:
    """The modification time in nanoseconds since 1970, limited to what 64 bits hold: the years 1678 to 2262."""
    return max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))
