"""Labelled collections by name: folders of classes, CSV tables, and the benchmark data sets of metric learning."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from diml.data.cars196 import cars196
from diml.data.collection import AnyPath, Collection, Skipped, open_csv, open_folder
from diml.data.cub200 import cub200
from diml.data.images import printable
from diml.data.sop import sop
from diml.errors import DatasetError, UsageError

LOADERS: dict[str, Callable[[Path], Collection]] = {"cub200": cub200, "cars196": cars196, "sop": sop}
KINDS = "a folder of class folders, a CSV (path,label[,split]), cub200:DIR, cars196:DIR or sop:DIR"
# Names of folders that hold a split, and are not classes.
SPLIT_FOLDERS = frozenset({"train", "test", "val", "valid", "validation", "query", "gallery"})


def open_dataset(spec: AnyPath) -> Collection:
    """A collection in which every image has a label.

    Args:
        spec: a folder of class folders (below `train/` and `test/`, if it holds nothing else), a CSV file with the
            columns path,label[,split], or a benchmark in the layout in which it is distributed:

            - `cub200:DIR`, CUB-200-2011 (Wah et al. 2011). Train is the first half of the classes by id, 1-100.
            - `cars196:DIR`, Cars196 (Krause et al. 2013): `cars_annos.mat` beside `car_ims/`, or class folders,
              also below `train/` and `test/`. Train is the first half of the classes, by id or name.
            - `sop:DIR`, Stanford Online Products (Song et al. 2016), with its own halves.

    Returns:
        A collection whose `labels` are all known. Its `splits` are "train" or "test" for a benchmark, the values of the
        column `split` for a CSV file, and None for a collection without splits.

    Raises:
        UsageError: there is no such folder, file or kind of collection.
        DatasetError: the files are not laid out as expected; the message says what was expected and found.
    """
    if not isinstance(spec, str | os.PathLike):
        raise UsageError(f"expected {KINDS}, got {type(spec).__name__}")
    spec = os.fspath(spec)
    if not spec.strip():
        raise UsageError(f"expected {KINDS}, got an empty name")
    kind, colon, folder = spec.partition(":")
    if colon and kind in LOADERS:
        return LOADERS[kind](_existing(Path(folder), kind))
    path = Path(spec)
    if os.path.isdir(path):
        return _class_folders(path)
    if os.path.lexists(path):
        return _without_unlabelled(open_csv(path), "has no label in the table")
    raise UsageError(f"{printable(spec)}: there is no such folder or file; expected {KINDS}")


def _existing(folder: Path, kind: str) -> Path:
    if not os.path.isdir(folder):
        raise UsageError(f"{kind}:{printable(folder)}: there is no such folder; expected the folder that holds {kind}")
    return folder


def _class_folders(folder: Path) -> Collection:
    found = _without_unlabelled(open_folder(folder, labels_from="folder"), "is not in a class folder")
    tops = {path.split("/")[0] for path in found.paths}
    if tops != {"train", "test"}:
        _check_no_splits(found, tops)
        return found
    parts = [path.split("/") for path in found.paths]
    if any(len(p) < 3 for p in parts):
        return found
    labels: list[str | None] = [p[1] for p in parts]
    splits = [p[0] for p in parts]
    return Collection(folder, found.paths, labels, splits, skipped=found.skipped, name=found.name)


def _check_no_splits(found: Collection, tops: set[str]) -> None:
    """Refuse to take split folders for classes if they contain class folders."""
    deep = {path.split("/")[0] for path in found.paths if path.count("/") > 1}
    if splits := sorted(deep & SPLIT_FOLDERS):
        among = ", ".join(sorted(tops)[:5])
        raise DatasetError(
            f"{found.name}: holds class folders below {', '.join(splits)} (of {among}); expected train and test alone, "
            "or a folder for each class; for other splits use a CSV file with a column split"
        )


def _without_unlabelled(found: Collection, reason: str) -> Collection:
    labels = found.labels or [None] * len(found)
    kept = found.subset(i for i, label in enumerate(labels) if label is not None)
    if not kept.paths:
        raise DatasetError(f"{found.name}: none of its {len(found)} images has a label; expected {KINDS}")
    bare = [Skipped(printable(path), reason) for path, label in zip(found.paths, labels, strict=True) if label is None]
    return Collection(kept.root, kept.paths, kept.labels, kept.splits, kept.columns, found.skipped + bare, found.name)
