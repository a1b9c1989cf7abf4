"""Where an index lies: a folder of this machine, or a name on an object store. What differs between them is here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from diml.errors import DimlError, StoreError
from diml.files import AnyPath, user_path, write_atomic
from diml.object_stores import is_object_url
from diml.search.object_path import ObjectPath

Place = Path | ObjectPath


def index_place(path: AnyPath) -> Place:
    """The place of an index as a user gives it: a path by the rule of `diml.files.user_path`, or an address.

    Raises:
        UsageError: it is neither.

    >>> index_place("photos.diml"), str(index_place("s3://bucket/photos.diml"))
    (PosixPath('photos.diml'), 's3://bucket/photos.diml')
    """
    if isinstance(path, ObjectPath):
        return path
    return ObjectPath.parse(path) if is_object_url(path) else user_path(path)


def names_in(place: Place) -> Iterator[str]:
    """Names of what lies in it, some of them repeated."""
    if isinstance(place, Path):
        yield from sorted(os.listdir(place))
    else:
        yield from (name.partition("/")[0] for name, _ in place.below())


def file_size(file: Place) -> int | None:
    """Bytes of a file; None if there is no such file."""
    if isinstance(file, Path):
        return file.stat().st_size if file.is_file() else None
    found = file.state()
    return None if found is None else found.size


def sizes(place: Place) -> dict[str, int]:
    """Size in bytes of every file below a place, by its relative posix path."""
    if isinstance(place, Path):
        files = (path for path in sorted(place.rglob("*")) if path.is_file())
        return {path.relative_to(place).as_posix(): path.stat().st_size for path in files}
    return {name: each.size for name, each in sorted(place.below())}


def write_new(file: Place, data: bytes) -> None:
    """Write a file of an index that is being made.

    Raises:
        StoreError: on an object store: another process is making it too.
    """
    if isinstance(file, Path):
        write_atomic(file, data, durable=True)
    elif not file.write(data, over=None) and file.read_bytes() != data:
        raise StoreError(f"{file} was written by another process that makes this index; run the same command again")


def remove(place: Place, names: Iterable[str]) -> None:
    """Remove files and folders of a place, those that are there."""
    if isinstance(place, Path):
        for name in names:
            if (place / name).is_dir():
                shutil.rmtree(place / name)
            else:
                (place / name).unlink(missing_ok=True)
    else:
        listed = {*names}
        place.store.delete([each.key for name, each in place.below() if name.partition("/")[0] in listed])


@contextmanager
def on_this_machine(place: Place) -> Iterator[Path]:
    """The files of a place in a folder of this machine, which is removed afterwards if they were fetched for it.

    Errors that name the folder name the place instead.
    """
    if isinstance(place, Path):
        yield place
        return
    with _temporary(place) as folder:
        for name, _ in place.below():
            file = folder / name
            if not file.resolve().is_relative_to(folder.resolve()):
                raise StoreError(f"{place} holds an object whose name leaves it; make the index again")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes((place / name).read_bytes())
        yield folder


@contextmanager
def written_here(place: Place) -> Iterator[Path]:
    """A folder of this machine to write files into, which then are in the place, as new ones."""
    if isinstance(place, Path):
        yield place
        return
    with _temporary(place) as folder:
        yield folder
        for name in sizes(folder):
            write_new(place / name, (folder / name).read_bytes())


@contextmanager
def _temporary(place: ObjectPath) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="diml-") as folder:
        try:
            yield Path(folder)
        except DimlError as error:
            if folder not in str(error):
                raise
            raise type(error)(str(error).replace(folder, str(place))) from error
