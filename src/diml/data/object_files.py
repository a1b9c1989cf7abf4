"""Images on object stores: `s3://`, `gs://` and `az://`, with credentials and options from the environment."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

from diml.data.located import CHANGED, ByteRange, Located, UnusableError
from diml.data.printable import printable
from diml.errors import ImageError, StoreError
from diml.object_stores import (
    ObjectStore,
    ObjectUrl,
    Stored,
    UnreachableError,
    is_object_url,
    open_object_store,
    parse_object_url,
)

# Bytes that are read of a tar or a Parquet file at once.
_BUFFER = 2**20
_MISSING = "there is no such object; check the address"


def is_url(place: object) -> bool:
    """Whether something is the address of an object store, as text.

    >>> is_url("s3://bucket/photos"), is_url("photos"), is_url("https://example.org/a.jpg")
    (True, False, False)
    """
    return isinstance(place, str) and is_object_url(place)


@dataclass(frozen=True)
class StoredObject:
    """An object of a store as it was when it was looked at; see `diml.data.located.Container`.

    Attributes:
        url: its address.
        size: in bytes.
        mtime_ns: when it was last written, to the second; the digits below are made of its entity tag, so that an
            object that is replaced within a second has another time.
        etag: its entity tag; empty where the store gives none.
    """

    url: str
    size: int
    mtime_ns: int
    etag: str

    @classmethod
    def at(cls, url: str) -> StoredObject:
        """The object as it is now.

        Raises:
            UnusableError: there is none.
            StoreError: the store cannot be read.
        """
        bucket, key = parts(url)
        found = _store(bucket).head(key)
        if found is None:
            raise UnusableError(_MISSING)
        return cls.of(bucket, found)

    @classmethod
    def of(cls, bucket: str, stored: Stored) -> StoredObject:
        """An object that was listed."""
        etag = stored.e_tag or ""
        below = int.from_bytes(hashlib.sha256(etag.encode()).digest()[:8], "big") % 10**9 if etag else 0
        return cls(f"{bucket}/{stored.key}", stored.size, int(stored.modified.timestamp()) * 10**9 + below, etag)

    @property
    def name(self) -> str:
        return printable(self.url)

    @property
    def distant(self) -> bool:
        return True

    def read(self, offset: int, size: int) -> bytes:
        if size == 0:
            return b""
        bucket, key = parts(self.url)
        try:
            data = _store(bucket).read_range(key, offset, size, self.etag)
        except UnreachableError:
            raise
        except StoreError as error:  # such as an object that is archived, or that others may not read
            raise UnusableError(str(error).removeprefix(f"{self.url}: ")) from None
        if data is None:
            raise UnusableError(f"is an object that was removed, or {CHANGED}")
        return data

    def open(self) -> BinaryIO:
        return io.BufferedReader(_Ranges(self), _BUFFER)


def stored_image(url: str) -> Located:
    """The image at an address.

    Raises:
        ImageError: there is none.
        StoreError: the store cannot be read.
    """
    try:
        stored = StoredObject.at(url)
    except UnusableError as reason:
        raise ImageError(f"{printable(url)}: {reason}") from None
    return ByteRange(stored, 0, stored.size, "")


class _Ranges(io.RawIOBase):
    """An object as a file, of which what is asked for is read."""

    def __init__(self, stored: StoredObject) -> None:
        self._stored, self._at = stored, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stored.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._stored.size - self._at))
        data = self._stored.read(self._at, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def listed(url: str) -> Iterator[StoredObject]:
    """The objects below a folder of a store, page by page.

    Raises:
        StoreError: it cannot be listed.
    """
    bucket, folder = parts(url)
    for found in _store(bucket).list(folder):
        yield StoredObject.of(bucket, found)


def exists(url: str) -> bool:
    """Whether there is an object, or a folder of objects; also where that cannot be found out."""
    bucket, key = parts(url)
    try:
        return _store(bucket).head(key) is not None or next(_store(bucket).list(key), None) is not None
    except StoreError:
        return True


def parts(url: str) -> tuple[str, str]:
    """The address of the bucket, and the key in it.

    Raises:
        UsageError: it is no address of a store.

    >>> parts("s3://bucket/photos/a.jpg")
    ('s3://bucket', 'photos/a.jpg')
    """
    found = parse_object_url(url)
    return str(ObjectUrl(found.scheme, found.bucket)), found.key


@lru_cache(maxsize=64)
def _store(bucket: str) -> ObjectStore:
    return open_object_store(parse_object_url(bucket))
