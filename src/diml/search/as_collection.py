"""Whatever images `Index.add` is given, as a collection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diml.data import printable
from diml.data.collection import Collection, open_folder, open_table
from diml.data.object_files import is_url
from diml.data.packed import is_packed, open_packed
from diml.data.stored_collections import open_stored
from diml.data.table_formats import is_table
from diml.errors import UsageError
from diml.files import AnyPath, user_path
from diml.search.schema import stored_name

Added = AnyPath | Sequence[AnyPath] | Collection


def as_collection(
    images: Added,
    labels_from: AnyPath | None = None,
    labels: Sequence[Any] | None = None,
    root: Path | None = None,
) -> Collection:
    """A folder, a table, image files, tars and tables of images, or a collection, as a collection.

    Args:
        images: what to add.
        labels_from: for a folder: where its labels come from, see `open_folder`; for tars and tables of images that
            have no labels, see `open_packed`.
        labels: for image files: a label for each.
        root: for image files, tars and tables of images: the folder that their paths are relative to, if all of them
            lie below it; otherwise, and by default, it is the innermost folder that holds all of them.

    Raises:
        UsageError: labels that cannot be combined with these images, or something that is not a path.
    """
    if labels_from is not None and labels is not None:
        raise UsageError("labels and labels_from cannot be combined; use one of them")
    if (urls := _urls(images)) is not None:
        if labels is not None:
            raise UsageError("labels needs a list of image files of this machine; for object stores use labels_from")
        return with_stored_names(open_stored(urls, labels_from))
    packed = _packed(images)
    if packed is not None:
        if labels is not None:
            raise UsageError("labels needs a list of image files; tars and tables of images have labels of their own")
        return with_stored_names(open_packed(packed, labels_from, root))
    files = _image_files(images)
    if files is not None:
        if labels_from is not None:
            raise UsageError("labels_from needs a folder, got image files; give labels, one for each file")
        return _of_files(files, labels, root)
    if labels is not None:
        raise UsageError("labels needs a list of image files; for a folder use labels_from")
    if isinstance(images, Collection):
        if labels_from is not None:
            raise UsageError("labels_from cannot be combined with a collection, which has its own labels; leave it out")
        return with_stored_names(images)
    assert isinstance(images, str | os.PathLike)
    path = user_path(images)
    if is_table(path) and path.is_file():
        if labels_from is not None:
            raise UsageError(f"labels_from cannot be combined with {path}, which has its own labels; leave it out")
        return with_stored_names(open_table(path, labelled=False))
    place = labels_from if labels_from is None or os.fspath(labels_from) == "folder" else user_path(labels_from)
    return with_stored_names(open_folder(path, place))


def with_stored_names(collection: Collection) -> Collection:
    """The collection with its further columns under the names by which an index can store them; a note says which.

    Raises:
        UsageError: two columns would get one name.
    """
    names = {name: stored_name(name) for name in collection.columns}
    renamed = {name: stored for name, stored in names.items() if stored != name}
    for name, stored in renamed.items():
        other = next((each for each in names if each != name and names[each].lower() == stored.lower()), None)
        if other is not None:
            raise UsageError(f"the columns {name!r} and {other!r} would both be stored as {stored!r}; rename one")
    if not renamed:
        return collection
    said = ", ".join(f"{printable(name)} as {printable(stored)}" for name, stored in renamed.items())
    return replace(
        collection,
        columns={names[name]: values for name, values in collection.columns.items()},
        notes=[*collection.notes, f"columns are stored under other names: {said}"],
    )


def as_labels(labels: Sequence[Any], images: int) -> list[str | None]:
    """A label for each image, as text; None stays None.

    >>> as_labels(["cat", None, 3], 3)
    ['cat', None, '3']
    """
    return as_texts(labels, images, "labels")


def as_texts(values: Sequence[Any], images: int, name: str) -> list[str | None]:
    """The values of a column, one for each image, as text; None stays None.

    Raises:
        UsageError: not one value for each image.
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise UsageError(f"expected a list of {images} {name}, got {type(values).__name__}")
    if len(values) != images:
        raise UsageError(f"expected {images} {name}, one for each image, got {len(values)}")
    plain = (value.item() if hasattr(value, "item") else value for value in values)
    return [None if value is None else str(value) for value in plain]


def _urls(images: Any) -> list[str] | None:
    """Addresses of an object store; None for anything else.

    Raises:
        UsageError: there are paths of this machine among them.
    """
    listed = [images] if isinstance(images, str) else images
    if isinstance(images, Collection) or not isinstance(listed, Sequence):
        return None
    found = [each for each in listed if is_url(each)]
    if found and len(found) < len(listed):
        other = next(each for each in listed if not is_url(each))
        raise UsageError(
            f"expected addresses of an object store alone, or paths of this machine alone, got {found[0]} and {other}; "
            "add them one after the other"
        )
    return found or None


def _packed(images: Any) -> list[AnyPath] | None:
    """Paths of tars and tables of images; None for anything else.

    Raises:
        UsageError: there are image files among them.
    """
    listed = [images] if isinstance(images, str | os.PathLike) else images
    if isinstance(images, Collection) or not isinstance(listed, Sequence):
        return None
    found = [each for each in listed if isinstance(each, str | os.PathLike) and is_packed(user_path(each))]
    if found and len(found) < len(listed):
        other = next(each for each in listed if each not in found)
        raise UsageError(
            f"expected image files alone, or tars and tables of images alone, got {found[0]} and {other}; add them one "
            "after the other"
        )
    return found or None


def _image_files(images: Any) -> list[Path] | None:
    """Image files that were listed, absolute; None for a folder, a table or a collection."""
    if isinstance(images, Collection):
        return None
    if isinstance(images, str | os.PathLike):
        path = user_path(images)
        return [path.absolute()] if path.is_file() and not is_table(path) else None
    if not isinstance(images, Sequence):
        raise UsageError(f"expected a folder, a table or a list of image files to add, got {type(images).__name__}")
    for image in images:
        if not isinstance(image, str | os.PathLike):
            raise UsageError(f"expected paths in the list of image files to add, got {type(image).__name__}")
    if not images:
        raise UsageError("expected at least one image file to add, got an empty list")
    return [user_path(image).absolute() for image in images]


def _of_files(files: Sequence[Path], labels: Sequence[Any] | None, root: Path | None) -> Collection:
    # Without `..` and `.`, so that one file has one path.
    plain = [Path(os.path.normpath(file)) for file in files]
    folder = Path(os.path.commonpath([file.parent for file in plain]))
    if root is not None and folder.is_relative_to(root):
        folder = root
    paths = [file.relative_to(folder).as_posix() for file in plain]
    texts = None if labels is None else as_labels(labels, len(paths))
    firsts: dict[str, int] = {}
    for i, path in enumerate(paths):
        first = firsts.setdefault(path, i)
        if texts is not None and texts[first] != texts[i]:
            raise UsageError(f"{plain[i]} is listed twice, with two labels; give it one")
    order = [firsts[path] for path in sorted(firsts)]
    kept = None if texts is None else [texts[i] for i in order]
    name = str(plain[0]) if len(order) == 1 else f"{len(order)} files"
    return Collection(folder, [paths[i] for i in order], kept, name=name)
