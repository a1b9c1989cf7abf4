"""The classes and splits of images by the folders they lie in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from diml.data.printable import printable
from diml.data.split_folders import conflict, is_container, split_of, splits_of

NO_CLASS = "is not in a class folder"
NO_PERSON = "shows no person, as its name begins with -1"
# Person re-identification (Market-1501, DukeMTMC-reID): the number of the person, then that of the camera.
_PERSON = re.compile(r"(-1|\d{4,})_?c\d+")
# Detections that show no person or a part of one; the data set leaves them out of its evaluation.
_JUNK = "-1"
# Folders beside the splits of Market-1501, with other crops of the same images.
_OTHER_CROPS = frozenset({"gt_bbox", "gt_query"})


@dataclass
class ClassFolders:
    """What the folders say about n images.

    Attributes:
        labels: n class names; None for an image outside of a class folder.
        splits: n splits (train, validation, test, query, gallery; "" without a label); None if there are no folders of
            splits.
        left_out: (path, reason) of the images without a label, or of a folder that holds only such images.
        unclear: why the folders can be neither classes nor splits, and what to do; empty if they are one of them. The
            labels are then those of the first folders.
    """

    labels: list[str | None]
    splits: list[str] | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)
    unclear: str = ""


def class_folders(paths: Sequence[str]) -> ClassFolders:
    """The classes and splits of images by their relative paths.

    A class is the first folder, or the first folder below a folder of a split. The folders of splits may lie below
    folders that hold nothing else ("images/train/cat/1.png") or in the folders of the classes ("cat/train/1.png").

    >>> found = class_folders(["Train/cat/1.png", "Test/dog/1.png"])
    >>> found.labels, found.splits
    (['cat', 'dog'], ['train', 'test'])
    """
    folders = [tuple(path.split("/")[:-1]) for path in paths]
    level, splits = _split_level(folders)
    if splits:
        return _below_splits(paths, folders, level, splits)
    found = _by_first_folder(paths, folders)
    found.unclear = _unclear(folders, level)
    if not found.unclear and level == 0:
        found.splits = _splits_in_classes(folders)
    return found


def _by_first_folder(paths: Sequence[str], folders: Sequence[tuple[str, ...]]) -> ClassFolders:
    labels = [folder[0] if folder else None for folder in folders]
    return ClassFolders(labels, left_out=[(path, NO_CLASS) for path, at in zip(paths, folders, strict=True) if not at])


def _names(folders: Sequence[tuple[str, ...]], level: int) -> list[str]:
    return sorted({folder[level] for folder in folders if len(folder) > level})


def _split_level(folders: Sequence[tuple[str, ...]]) -> tuple[int, dict[str, str]]:
    """The depth at which all folders are splits, and the split of each; without one, where they first branch."""
    level = 0
    while True:
        names = _names(folders, level)
        splits = splits_of([name for name in names if name not in _OTHER_CROPS])
        if splits and len(splits) == len(set(names) - _OTHER_CROPS):
            return level, splits
        if len(names) != 1:
            return level, {}
        level += 1


def _below_splits(
    paths: Sequence[str], folders: Sequence[tuple[str, ...]], level: int, splits: dict[str, str]
) -> ClassFolders:
    found = _by_first_folder(paths, folders)
    names = " and ".join(map(printable, splits))
    if reason := conflict(splits):
        found.unclear = f"its folders are {names}, of which {reason}; leave one out"
        return found
    found.left_out = []
    inner = [folder[level + 1 :] for folder in folders]
    while len(_names(inner, 0)) == 1 and is_container(_names(inner, 0)[0]):
        inner = [folder[1:] for folder in inner]
    if any(inner):
        labels = [folder[0] if folder else None for folder in inner]
    elif (persons := _persons(paths, folders, level, splits)) is not None:
        labels = persons
    else:
        found.unclear = (
            f"its folders {names} are splits, but there are no class folders in them; add one for each class"
        )
        return found
    places = [splits.get(folder[level], "") if len(folder) > level else "" for folder in folders]
    found.labels = [label if place else None for label, place in zip(labels, places, strict=True)]
    found.splits = ["" if label is None else place for label, place in zip(found.labels, places, strict=True)]
    found.left_out = _left_out(paths, folders, level, found.labels)
    return found


def _persons(
    paths: Sequence[str], folders: Sequence[tuple[str, ...]], level: int, splits: dict[str, str]
) -> list[str | None] | None:
    """The persons by the names of the files; None if one of the files in the splits has another name."""
    labels: list[str | None] = []
    for path, folder in zip(paths, folders, strict=True):
        in_split = len(folder) > level and folder[level] in splits
        match = _PERSON.match(path.rpartition("/")[2]) if in_split else None
        if in_split and match is None:
            return None
        labels.append(match[1] if match and match[1] != _JUNK else None)
    return labels


def _left_out(
    paths: Sequence[str], folders: Sequence[tuple[str, ...]], level: int, labels: Sequence[str | None]
) -> list[tuple[str, str]]:
    """The images without a label: each, or in one line all of a folder that holds many."""
    where: dict[tuple[str, str], list[str]] = {}
    for path, folder, label in zip(paths, folders, labels, strict=True):
        if label is None:
            junk = path.rpartition("/")[2].startswith(_JUNK)
            reason = NO_PERSON if junk else NO_CLASS
            where.setdefault(("/".join(folder), reason), []).append(path)
    found = []
    for (inside, reason), files in where.items():
        if len(files) > 3:
            found.append((inside or ".", f"{len(files)} images in it are left out; the first {reason}"))
        else:
            found += [(path, reason) for path in files]
    return found


def _unclear(folders: Sequence[tuple[str, ...]], level: int) -> str:
    """Why folders that are not all splits cannot be taken for classes; empty if they can."""
    names = _names(folders, level)
    deep = {folder[level] for folder in folders if len(folder) > level + 1}
    splits = splits_of(names)
    if mixed := sorted(deep & splits.keys()):
        return (
            f"it holds class folders below {printable(', '.join(mixed))} (of {printable(', '.join(names[:5]))}); "
            "expected train and test alone, with val if there is one, or a folder for each class"
        )
    if {"train", "test"} <= set(splits.values()):
        others = printable(", ".join(name for name in names if name not in splits))
        return f"its folders {printable(', '.join(splits))} are splits, but {others} beside them is none; move it away"
    below = {folder[level + 1] for folder in folders if len(folder) > level + 2}
    if below and all(split_of(name) for name in below):
        each = printable(", ".join(names[:5]))
        return f"each of its folders {each} holds splits with class folders in them; give one of these folders"
    directly_in_it = any(0 < len(folder) <= level for folder in folders)
    if level > 0 and len(names) > 1 and not directly_in_it:
        wrapper = printable("/".join(next(folder[:level] for folder in folders if len(folder) > level)))
        return f"all of its class folders lie below {wrapper}; give that folder"
    return ""


def _splits_in_classes(folders: Sequence[tuple[str, ...]]) -> list[str] | None:
    """The splits of a collection whose class folders hold folders of splits, and nothing else."""
    below = {folder[1] if len(folder) == 2 else "" for folder in folders if folder}
    splits = splits_of(sorted(below))
    if len(splits) < max(2, len(below)) or conflict(splits):
        return None
    return [splits[folder[1]] if folder else "" for folder in folders]
