"""Paths on object stores, for what is no image: with the part of pathlib's interface that is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from diml.data.located import UnusableError
from diml.data.object_files import (
    StoredObject,
    Version,
    delete_objects,
    listed,
    parts,
    read_object,
    stored_object,
    write_object,
)
from diml.data.printable import printable
from diml.errors import StoreError, UsageError


@dataclass(frozen=True, order=True)
class ObjectPath(os.PathLike[str]):
    """An object of a store, or all objects below a name, which then is like a folder.

    Every method raises a StoreError if the store cannot be reached, denies access or lacks the bucket.

    Args:
        url: the address, such as `s3://bucket/photos.diml`.

    Raises:
        UsageError: it is no address of a store, or that of a whole bucket.

    >>> path = ObjectPath("s3://bucket/indices/photos.diml/")
    >>> str(path / "model" / "config.json"), path.name
    ('s3://bucket/indices/photos.diml/model/config.json', 'photos.diml')
    """

    url: str

    def __post_init__(self) -> None:
        bucket, path = parts(self.url)
        steps = [step for step in path.split("/") if step]
        if not steps or {".", ".."} & {*steps}:
            raise UsageError(
                f"expected an address below a bucket, such as {bucket}/photos.diml, got {printable(self.url)}"
            )
        object.__setattr__(self, "url", "/".join([bucket, *steps]))

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def absolute(self) -> ObjectPath:
        return self

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        return next(self.below(), None) is not None

    def exists(self) -> bool:
        """Whether it is an object, or there are objects below it."""
        return self.is_dir() or self.size() is not None

    def is_file(self) -> bool:
        return self.size() is not None

    def size(self) -> int | None:
        """Bytes of the object; None if there is none."""
        found = self.state()
        return None if found is None else found.size

    def state(self) -> StoredObject | None:
        """The object as it is now, without its content; None if there is none."""
        with _named(self):
            return stored_object(self.url)

    def below(self) -> Iterator[StoredObject]:
        """All objects below it, page by page."""
        with _named(self):
            yield from listed(self.url)

    def read(self) -> tuple[bytes, Version] | None:
        """The object and its version; None if there is none."""
        with _named(self):
            return read_object(self.url)

    def read_bytes(self) -> bytes:
        """
        Raises:
            FileNotFoundError: there is no such object.
        """
        found = self.read()
        if found is None:
            raise FileNotFoundError(2, "no such object", self.url)
        return found[0]

    def read_text(self, encoding: str = "utf-8") -> str:
        """
        Raises:
            FileNotFoundError: there is no such object.
        """
        return self.read_bytes().decode(encoding)

    def write(self, data: bytes, *, over: Version | None) -> Version | None:
        """Write it if its version is this one, None for no object; returns the new version, or None if it is not."""
        with _named(self, "written"):
            return write_object(self.url, data, over=over)

    def delete(self) -> None:
        """Delete the object, if there is one."""
        with _named(self, "written"):
            delete_objects([self.url])


def delete_all(objects: list[StoredObject]) -> None:
    """Delete objects of one bucket."""
    if objects:
        with _named(ObjectPath(objects[0].url), "written"):
            delete_objects([each.url for each in objects])


@contextmanager
def _named(path: ObjectPath, done: str = "read") -> Iterator[None]:
    try:
        yield
    except UnusableError as reason:
        raise StoreError(f"{path} cannot be {done}: {reason}") from None
