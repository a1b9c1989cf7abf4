"""Collections on object stores: folders, tables, and what packed images lie in."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from diml.data.class_folders import class_folders
from diml.data.collection import Collection, labelled
from diml.data.containers import LANCE, PARQUET, ending_of, is_tar, may_hold_images
from diml.data.formats import ENDINGS
from diml.data.gathered import Gathered
from diml.data.located import ByteRange, UnusableError
from diml.data.object_files import StoredObject, is_url, listed, parts
from diml.data.packed import gathered
from diml.data.patterns import expanded
from diml.data.printable import printable
from diml.data.table_formats import MAX_BYTES, is_table
from diml.data.tables import read_table
from diml.errors import DatasetError, UsageError
from diml.files import AnyPath, user_path


def open_stored(
    places: str | Sequence[str], labels_from: AnyPath | None = None, labelled_table: bool = False
) -> Collection:
    """The images at addresses of an object store: a folder, a table, images, or tars and tables that hold images.

    A folder is listed, and what is named like an image is one; where there is none, its tars, Parquet files and Lance
    datasets are read as `open_packed` reads them. A table lists images by their paths relative to its folder. Images
    are read when they are needed, many at once.

    Args:
        places: such as `s3://bucket/photos`; see `expanded` for patterns of several.
        labels_from: as for `open_folder`; a table may be an address too.
        labelled_table: whether a table has to have a column `label`.

    Raises:
        UsageError: places in several buckets, or of several kinds.
        StoreError: the store cannot be read.
        DatasetError: there are no images, or they are not laid out as expected.
    """
    given = [places] if isinstance(places, str) else list(places)
    with _explained(given[0]):
        found = [place.rstrip("/") for pattern in given for place in expanded(pattern, _matching)]
        if not found:
            raise UsageError(f"{printable(given[0])}: no object matches; check the address")
        name = printable(given[0]) if len(given) == 1 else f"{len(found)} objects"
        if all(map(_holds_images, found)):
            folder, paths = _below_one(found)
            return gathered(folder, paths, name, labels_from)
        if all(ending_of(place) in ENDINGS for place in found):
            return _with_labels(_images(*_below_one(found), name), labels_from)
        if len(found) > 1:
            raise UsageError(
                f"expected one folder or table, or several images, tars or tables of images, got {printable(found[0])} "
                f"and {printable(found[1])}; add them one after the other"
            )
        if is_table(found[0]):
            if labels_from is not None:
                raise UsageError(f"labels_from cannot be combined with {name}, which has its own labels; leave it out")
            return _of_table(found[0], ("path", "label") if labelled_table else ("path",))
        return _folder(found[0], labels_from)


def _holds_images(place: str) -> bool:
    from diml.data.parquet_images import parquet_layout

    if ending_of(place) in PARQUET:
        return parquet_layout(StoredObject.at(place)) is not None
    return is_tar(place) or ending_of(place) == LANCE


def _folder(url: str, labels_from: AnyPath | None) -> Collection:
    into, packed = Gathered(), dict[str, None]()
    images: dict[str, StoredObject] = {}
    start = len(url) + 1
    for each in listed(url):
        path = each.url[start:]
        if any(part.startswith(".") for part in path.split("/")):
            continue
        dataset, versions, _ = path.partition(f"{LANCE}/_versions/")
        if versions:
            packed[dataset + LANCE] = None
        elif ending_of(path) in ENDINGS:
            images[path] = each
        elif may_hold_images(path):
            packed[path] = None
    if not images and (held := [path for path in packed if _holds_images(f"{url}/{path}")]):
        return gathered(url, held, printable(url), labels_from)
    if not images:
        raise DatasetError(
            f"{printable(url)}: holds no images; looked for objects with names like 12.jpg, and for tars and tables of "
            "images"
        )
    for path in sorted(images):
        into.add(path, ByteRange(images[path], 0, images[path].size, ""), {})
    if tars := [path for path in packed if is_tar(path)]:
        into.note(f"{printable(url)}/{tars[0]}", "left out, as there are images beside it; give tars by their names")
    return _with_labels(into.collection(url, printable(url)), labels_from)


def _images(folder: str, paths: Sequence[str], name: str) -> Collection:
    into = Gathered()
    for path in sorted(set(paths)):
        stored = StoredObject.at(f"{folder}/{path}")
        into.add(path, ByteRange(stored, 0, stored.size, ""), {})
    return into.collection(folder, name)


def _of_table(url: str, required: tuple[str, ...]) -> Collection:
    folder = url.rpartition("/")[0]
    with fetched(url) as file:
        table = read_table(file, required)
        rows = table.by_path([(row.path, row) for row in table.rows])
    if not rows:
        raise DatasetError(f"{printable(url)}: names no images; expected one on each line below the header")
    common = os.path.commonpath([posixpath.dirname(path) for path in rows])
    there = {each.url[len(folder) + 1 :]: each for each in listed(f"{folder}/{common}")}
    into = Gathered()
    for path in sorted(rows):
        if stored := there.get(path):
            into.add(path, ByteRange(stored, 0, stored.size, ""), rows[path].values)
        else:
            into.leave(path, f"{table.where(rows[path])}, but there is no such object")
    if not into.paths:
        raise DatasetError(
            f"{printable(url)}: none of the {len(rows)} objects that it names (such as {into.skipped[0].path}) exists "
            f"below {printable(folder)}; expected paths relative to that folder"
        )
    into.notes.update((note, [printable(url)]) for note in table.notes)
    return into.collection(folder, printable(url))


def _with_labels(found: Collection, labels_from: AnyPath | None) -> Collection:
    if labels_from is None:
        return found
    if os.fspath(labels_from) == "folder":
        return replace(found, labels=class_folders(found.paths).labels)
    if not is_url(labels_from):
        return labelled(found, user_path(labels_from))
    with fetched(os.fspath(labels_from)) as file:
        return labelled(found, file)


@contextmanager
def fetched(url: str) -> Iterator[Path]:
    """A table of a store as a file of this machine, as long as the block takes; errors name the address.

    Raises:
        DatasetError: it is too large, or cannot be read.
    """
    with _explained(url):
        stored = StoredObject.at(url)
        if stored.size > MAX_BYTES:
            raise DatasetError(
                f"{printable(url)}: has {stored.size:,} bytes; expected at most {MAX_BYTES:,}: leave columns out, "
                "or divide it"
            )
        with tempfile.TemporaryDirectory(prefix="diml-") as place:
            file = Path(place) / posixpath.basename(url)
            file.write_bytes(stored.read(0, stored.size))
            try:
                yield file
            except DatasetError as error:
                raise DatasetError(str(error).replace(printable(file), printable(url))) from None


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except UnusableError as reason:
        raise DatasetError(f"{printable(url)}: {reason}") from None


def _below_one(places: Sequence[str]) -> tuple[str, list[str]]:
    """The innermost folder in which all of these lie, and their paths in it."""
    split = [parts(place) for place in places]
    buckets = sorted({bucket for bucket, _ in split})
    if len(buckets) > 1:
        raise UsageError(f"expected images of one bucket, got {buckets[0]} and {buckets[1]}; add them one by one")
    folder = os.path.commonpath([posixpath.dirname(path) for _, path in split])
    return f"{buckets[0]}/{folder}".rstrip("/"), [posixpath.relpath(path, folder or ".") for _, path in split]


def _matching(pattern: str) -> list[str]:
    """The addresses of objects that a pattern matches; `*` does not match `/`."""
    bucket, path = parts(pattern)
    names = path.split("/")
    fixed = next(i for i, name in enumerate(names) if re.search(r"[*?[]", name))
    found = set()
    for each in listed("/".join([bucket, *names[:fixed]])):
        there = parts(each.url)[1].split("/")[: len(names)]
        if len(there) == len(names) and all(map(fnmatch.fnmatchcase, there, names)):
            found.add("/".join([bucket, *there]))
    return sorted(found)
