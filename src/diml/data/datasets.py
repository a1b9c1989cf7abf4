"""Labelled collections by name: folders of classes, tables, and the benchmark data sets of metric learning."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from diml.data.cars196 import cars196
from diml.data.class_folders import class_folders
from diml.data.collection import Collection, Skipped, open_folder, open_table
from diml.data.cub200 import cub200
from diml.data.object_files import is_url
from diml.data.packed import is_packed, names_in_containers, open_packed
from diml.data.printable import printable
from diml.data.sop import sop
from diml.data.split_folders import conflict, splits_of
from diml.data.stored_collections import open_stored
from diml.errors import DatasetError, UsageError
from diml.files import AnyPath, user_path

LOADERS: dict[str, Callable[[Path], Collection]] = {"cub200": cub200, "cars196": cars196, "sop": sop}
KINDS = (
    "a folder of class folders, a table (path,label[,split]), a tar or table of images, cub200:DIR, cars196:DIR or "
    "sop:DIR"
)


def open_dataset(spec: AnyPath) -> Collection:
    """A collection in which every image has a label.

    Args:
        spec: a folder of class folders, also below folders of splits (`train`, `val` and `test`, or `train`, `query`
            and `gallery`, in any case, and under other usual names such as `training` or `images_test`); a folder in
            the layout of Market-1501; a table with the columns path,label[,split], see `open_table`; a tar, a
            Parquet file or a Lance dataset of images, or a pattern of several, see `open_packed`; or a benchmark in the
            layout in which it is distributed:

            - `cub200:DIR`, CUB-200-2011 (Wah et al. 2011). Train is the first half of the classes by id, 1-100.
            - `cars196:DIR`, Cars196 (Krause et al. 2013): `cars_annos.mat` beside `car_ims/`, or class folders,
              also below `train/` and `test/`. Train is the first half of the classes, by id or name.
            - `sop:DIR`, Stanford Online Products (Song et al. 2016), with its own halves.

    Returns:
        A collection whose `labels` are all known. Its `splits` are "train" or "test" for a benchmark, those and
        "validation", "query" and "gallery" for folders of splits, the values of the column `split` for a table, and
        None for a collection without splits.

    Raises:
        UsageError: there is no such folder, file or kind of collection.
        DatasetError: the files are not laid out as expected; the message says what was expected and found.
    """
    if not isinstance(spec, str | os.PathLike):
        raise UsageError(f"expected {KINDS}, got {type(spec).__name__}")
    text = os.fspath(spec)
    if not text.strip():
        raise UsageError(f"expected {KINDS}, got an empty name")
    kind, colon, folder = text.partition(":")
    if colon and kind in LOADERS:
        return LOADERS[kind](_existing(user_path(folder), kind))
    if is_url(text):
        return _stored(open_stored(text, labelled_table=True))
    path = user_path(spec)
    if is_packed(path):
        return _packed(open_packed(path))
    if os.path.isdir(path):
        return _class_folders(path)
    if os.path.lexists(path):
        return _with_usual_splits(_without_unlabelled(open_table(path), "has no label in the table"))
    raise UsageError(f"{printable(path)}: there is no such folder or file; expected {KINDS}")


def _existing(folder: Path, kind: str) -> Path:
    if not os.path.isdir(folder):
        raise UsageError(f"{kind}:{printable(folder)}: there is no such folder; expected the folder that holds {kind}")
    return folder


def _class_folders(folder: Path) -> Collection:
    found = open_folder(folder)
    return _by_folders(found) if found.sources is None else _packed(found)


def _by_folders(found: Collection) -> Collection:
    classes = class_folders(found.paths)
    if classes.unclear:
        raise DatasetError(f"{found.name}: {classes.unclear}; or list the images in a table with a column split")
    kept = [i for i, label in enumerate(classes.labels) if label is not None]
    if not kept:
        raise _no_labels(found)
    left_out = [Skipped(printable(path), reason) for path, reason in classes.left_out]
    return replace(found, labels=classes.labels, splits=classes.splits, skipped=[*found.skipped, *left_out]).subset(
        kept
    )


def _stored(found: Collection) -> Collection:
    """The images of an object store: labels of their own, or those of class folders."""
    assert found.sources is not None
    packed = any(source.path for source in found.sources)
    return _packed(found) if packed or found.labels is not None else _by_folders(found)


def _packed(found: Collection) -> Collection:
    """The images of tars and tables: their own labels, or else the folders in them."""
    if found.labels is None:
        found = replace(found, labels=class_folders(names_in_containers(found)).labels)
    return _with_usual_splits(_without_unlabelled(found, "has no label"))


def _with_usual_splits(found: Collection) -> Collection:
    """The collection with its splits under their usual names ("val" is validation), if all of them have one."""
    usual = splits_of(sorted(set(found.splits or [])))
    if found.splits is None or not set(found.splits) <= usual.keys() or conflict(usual):
        return found
    return replace(found, splits=[usual[split] for split in found.splits])


def _without_unlabelled(found: Collection, reason: str) -> Collection:
    labels = found.labels or [None] * len(found)
    kept = found.subset(i for i, label in enumerate(labels) if label is not None)
    if not kept.paths:
        raise _no_labels(found)
    bare = [Skipped(printable(path), reason) for path, label in zip(found.paths, labels, strict=True) if label is None]
    return replace(kept, skipped=found.skipped + bare)


def _no_labels(found: Collection) -> DatasetError:
    return DatasetError(f"{found.name}: none of its {len(found)} images has a label; expected {KINDS}")
