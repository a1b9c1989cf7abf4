"""Places on an object store, with the part of pathlib's interface that an index needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from diml.errors import UsageError
from diml.object_stores import ObjectStore, ObjectUrl, Stored, open_object_store, parse_object_url


@dataclass(frozen=True)
class ObjectPath(os.PathLike[str]):
    """An object of a store, or all objects below a name, which then is like a folder.

    Every method raises a StoreError if the store cannot be reached, denies access or lacks the bucket.

    >>> path = ObjectPath.parse("s3://bucket/indices/photos.diml/")
    >>> str(path / "model" / "config.json"), path.name, path.suffix
    ('s3://bucket/indices/photos.diml/model/config.json', 'photos.diml', '.diml')
    """

    url: ObjectUrl
    # Connections to the bucket, once there are any; what lies below shares them.
    _opened: list[ObjectStore] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def parse(cls, address: str | os.PathLike[str]) -> ObjectPath:
        """The place of an index.

        Raises:
            UsageError: no address of a store, that of a whole bucket, or one that LanceDB reads in another way.
        """
        url = parse_object_url(address)
        if not url.key:
            raise UsageError(f"expected an address below the bucket, such as {url}/photos.diml, got {url}")
        if found := next((each for each in "?#%" if each in url.key), None):
            raise UsageError(f"expected the address of an index without {found}, got {url}; give another name")
        return cls(url)

    def __fspath__(self) -> str:
        return str(self.url)

    def __str__(self) -> str:
        return str(self.url)

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(self.url / name, self._opened)

    @property
    def name(self) -> str:
        return self.url.name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def store(self) -> ObjectStore:
        """The bucket."""
        if not self._opened:
            self._opened.append(open_object_store(self.url))
        return self._opened[0]

    def absolute(self) -> ObjectPath:
        return self

    def as_path(self) -> Path:
        """For the parts of its name: a path that nothing is at."""
        return Path("/", f"{self.url.scheme}:", self.url.bucket, self.url.key)

    def below(self) -> Iterator[tuple[str, Stored]]:
        """All objects below it, by their names relative to it."""
        for each in self.store.list(self.url.key):
            yield each.key[len(self.url.key) + 1 :], each

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        return next(self.below(), None) is not None

    def exists(self) -> bool:
        """Whether it is an object, or there are objects below it."""
        return self.is_dir() or self.state() is not None

    def state(self) -> Stored | None:
        """The object as it is now, without its content; None if there is none."""
        return self.store.head(self.url.key)

    def read(self) -> tuple[bytes, Stored] | None:
        """The object and its state; None if there is none."""
        return self.store.read_with_version(self.url.key)

    def read_bytes(self) -> bytes:
        """The object.

        Raises:
            FileNotFoundError: there is none.
        """
        found = self.read()
        if found is None:
            raise FileNotFoundError(2, "no such object", str(self))
        return found[0]

    def read_text(self, encoding: str = "utf-8") -> str:
        """The object as text.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.read_bytes().decode(encoding)

    def write(self, data: bytes, *, over: Stored | None) -> bool:
        """Write the object if its state is this one, None for no object; of several that try, one succeeds."""
        key = self.url.key
        return self.store.create(key, data) if over is None else self.store.replace(key, data, over)

    def delete(self) -> None:
        """Delete the object, if there is one."""
        self.store.delete([self.url.key])
