"""Labelled collections to measure on: folders of classes, CSV tables, and the three benchmarks of the field."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from diml.data.collection import Collection, Skipped, from_table, open_csv, open_folder
from diml.data.images import printable
from diml.data.tables import Row, Table, inside
from diml.data.walk import walk
from diml.errors import DatasetError, UsageError

_KINDS = "a folder of class folders, a CSV (path,label[,split]), cub200:DIR, cars196:DIR or sop:DIR"

# What folders that are no classes are called.
_HALVES = frozenset({"train", "test", "val", "valid", "validation", "query", "gallery"})


def open_dataset(spec: str) -> Collection:
    """A collection in which every image has a label.

    Args:
        spec: a folder of class folders (below `train/` and `test/`, if these two are all it holds), a CSV with the
            columns path,label[,split], or one of the benchmarks in the layout that it comes in:

            - `cub200:DIR`, CUB-200-2011 (Wah et al. 2011). Train is the first half of the classes by id, 1-100.
            - `cars196:DIR`, Cars196 (Krause et al. 2013): `cars_annos.mat` beside `car_ims/`, or class folders,
              also below `train/` and `test/`. Train is the first half of the classes, by id or name.
            - `sop:DIR`, Stanford Online Products (Song et al. 2016), with its own halves.

    Returns:
        A collection whose `labels` hold no None, and whose `splits` say "train" or "test" for a benchmark, what the
        column `split` says for a CSV, and are None where there are no halves.

    Raises:
        UsageError: there is no such folder, file or kind of collection.
        DatasetError: the files are not laid out as they should be; the message says what was expected and found.
    """
    if not spec.strip():
        raise UsageError(f"an empty name came; expected {_KINDS}")
    kind, colon, folder = spec.partition(":")
    if colon and kind in _BENCHMARKS:
        return _BENCHMARKS[kind](_existing(Path(folder), kind))
    path = Path(spec)
    if os.path.isdir(path):
        return _class_folders(path)
    if os.path.lexists(path):
        return _without_unlabelled(open_csv(path), "has no label in the table")
    raise UsageError(f"{printable(spec)}: there is no such folder or file; expected {_KINDS}")


def _existing(folder: Path, kind: str) -> Path:
    if not os.path.isdir(folder):
        raise UsageError(f"{kind}:{printable(folder)}: there is no such folder; expected the folder that holds {kind}")
    return folder


def _class_folders(folder: Path) -> Collection:
    found = _without_unlabelled(open_folder(folder, labels_from="folder"), "lies in no class folder")
    tops = {path.split("/")[0] for path in found.paths}
    if tops != {"train", "test"}:
        _check_no_halves(found, tops)
        return found
    halves = [path.split("/") for path in found.paths]
    if any(len(parts) < 3 for parts in halves):
        return found
    return Collection(
        folder, found.paths, [p[1] for p in halves], [p[0] for p in halves], skipped=found.skipped, name=found.name
    )


def _check_no_halves(found: Collection, tops: set[str]) -> None:
    """Refuse to take halves for classes, where class folders lie in them."""
    deep = {path.split("/")[0] for path in found.paths if path.count("/") > 1}
    if halves := sorted(deep & _HALVES):
        among = ", ".join(sorted(tops)[:5])
        raise DatasetError(
            f"{found.name}: holds class folders below {', '.join(halves)} (of {among}); expected train and test alone, "
            "or a folder for each class; a CSV with a column split can say anything else"
        )


def _without_unlabelled(found: Collection, reason: str) -> Collection:
    labels = found.labels or [None] * len(found)
    kept = found.subset(i for i, label in enumerate(labels) if label is not None)
    if not kept.paths:
        raise DatasetError(f"{found.name}: none of its {len(found)} images has a label; expected {_KINDS}")
    bare = [Skipped(printable(path), reason) for path, label in zip(found.paths, labels, strict=True) if label is None]
    return Collection(kept.root, kept.paths, kept.labels, kept.splits, kept.columns, found.skipped + bare, found.name)


def _cub200(folder: Path) -> Collection:
    root = _root_with(
        folder, ["images.txt", "image_class_labels.txt", "classes.txt", "images/"], ["", "CUB_200_2011"], "cub200"
    )
    names = dict(_pairs(root / "classes.txt"))
    classes = dict(_pairs(root / "image_class_labels.txt"))
    train = _first_half(names)
    source = root / "images.txt"

    def rows() -> Iterator[Row]:
        for line, (image, path) in enumerate(_pairs(source), start=1):
            class_id = classes.get(image, "")
            if class_id not in names:
                raise DatasetError(
                    f"{printable(source)}: image {printable(image)} has no class in image_class_labels.txt and "
                    "classes.txt; expected one for every image"
                )
            split = "train" if class_id in train else "test"
            yield Row(inside(f"images/{path}", _line(source, line)), {"label": names[class_id], "split": split}, line)

    return from_table(root, Table(source, ["label", "split"], list(rows())), "cub200")


def _cars196(folder: Path) -> Collection:
    if (folder / "cars_annos.mat").exists():
        return _cars_from_mat(folder)
    paths, left_out = walk(folder)
    parts = [path.split("/") for path in paths]
    halves = bool(parts) and all(len(p) > 2 and p[0] in ("train", "test") for p in parts)
    labels = [p[-2] if len(p) == 2 + halves else "" for p in parts]
    if len(set(labels)) < 2 or set(labels) & {"", "train", "test", "cars_train", "cars_test"}:
        raise DatasetError(
            f"cars196:{printable(folder)}: expected cars_annos.mat and car_ims/, or class folders of images, in it or "
            f"in its train/ and test/; found {_contents(folder)}"
        )
    places = {(p[0], label) for p, label in zip(parts, labels, strict=True)}
    if halves and len(places) == len(set(labels)) and {"train", "test"} == {place for place, _ in places}:
        # No class is in both folders: these are class-disjoint halves already.
        splits = [p[0] for p in parts]
    else:
        # Otherwise train/ and test/ are the halves of the classification task, where both hold all classes.
        train = set(sorted(set(labels))[: len(set(labels)) // 2])
        splits = ["train" if label in train else "test" for label in labels]
    skipped = [Skipped(path, reason) for path, reason in left_out]
    return Collection(folder, paths, list(labels), splits, skipped=skipped, name="cars196")


def _cars_from_mat(folder: Path) -> Collection:
    source = folder / "cars_annos.mat"
    images, ids, names = _read_cars_mat(source)
    train = _first_half({str(i): name for i, name in enumerate(names, start=1)})
    rows = []
    for line, (path, class_id) in enumerate(zip(images, ids, strict=True), start=1):
        if not 1 <= class_id <= len(names):
            raise DatasetError(f"{_line(source, line)}: class {class_id} is not one of its {len(names)} class names")
        split = "train" if str(class_id) in train else "test"
        rows.append(Row(inside(path, _line(source, line)), {"label": names[class_id - 1], "split": split}, line))
    return from_table(folder, Table(source, ["label", "split"], rows), "cars196")


def _read_cars_mat(source: Path) -> tuple[list[str], list[int], list[str]]:
    """Paths, class ids (from 1) and class names. A .mat file of MATLAB 5 is plain data: loading it runs no code."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DatasetError(
            f"{printable(source)}: reading .mat files takes scipy, which is not installed; pip install 'diml[mat]'"
        ) from None
    try:
        held: dict[str, Any] = loadmat(str(source), variable_names=["annotations", "class_names"])
        annotations = held["annotations"].ravel()
        images = [str(path.item()) for path in annotations["relative_im_path"]]
        ids = [int(number.item()) for number in annotations["class"]]
        return images, ids, [str(name.item()) for name in held["class_names"].ravel()]
    except Exception as error:  # whatever scipy and numpy raise where the bytes are no such table
        raise DatasetError(
            f"{printable(source)}: cannot be read ({printable(str(error))}); expected the variables annotations "
            "(relative_im_path, class) and class_names"
        ) from error


def _sop(folder: Path) -> Collection:
    lists = ["Ebay_train.txt", "Ebay_test.txt"]
    listed = _root_with(
        folder, lists, ["", "Info_Files", "Stanford_Online_Products", "Stanford_Online_Products/Info_Files"], "sop"
    )
    root = listed.parent if listed.name == "Info_Files" else listed
    rows = [
        row for name, split in zip(lists, ("train", "test"), strict=True) for row in _sop_rows(listed / name, split)
    ]
    table = Table(listed, ["label", "split", "super_class"], rows)
    return from_table(root, table, "sop")


def _sop_rows(source: Path, split: str) -> Iterator[Row]:
    header = ["image_id", "class_id", "super_class_id", "path"]
    for line, cells in enumerate(_lines(source), start=1):
        if line == 1:
            if cells != header:
                raise DatasetError(
                    f"{printable(source)}: starts with '{printable(' '.join(cells))}'; expected '{' '.join(header)}'"
                )
            continue
        if len(cells) != 4:
            raise DatasetError(f"{_line(source, line)}: has {len(cells)} words; expected {' '.join(header)}")
        path = inside(cells[3], _line(source, line))
        # "bicycle_final/111.JPG": the folder says in words what super_class_id says as a number.
        super_class = posixpath.dirname(path).removesuffix("_final") or cells[2]
        yield Row(path, {"label": cells[1], "split": split, "super_class": super_class}, line)


def _root_with(folder: Path, expected: list[str], places: list[str], kind: str) -> Path:
    for place in places:
        root = folder / place
        if all((root / name).is_dir() if name.endswith("/") else (root / name).is_file() for name in expected):
            return root
    raise DatasetError(
        f"{kind}:{printable(folder)}: expected {', '.join(expected)} in it or in its "
        f"{' or '.join(place + '/' for place in places if place)}; found {_contents(folder)}"
    )


def _contents(folder: Path, most: int = 6) -> str:
    names = sorted(child.name + "/" * child.is_dir() for child in folder.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(names[:most])) + more if names else "an empty folder"


def _first_half(names: Iterable[str]) -> set[str]:
    try:
        ids = sorted(names, key=int)
    except ValueError as error:
        raise DatasetError(f"a class id is not a number ({error}); expected 1, 2, ... in classes.txt") from None
    return set(ids[: len(ids) // 2])


def _pairs(source: Path) -> Iterator[tuple[str, str]]:
    for line, cells in enumerate(_lines(source, maxsplit=1), start=1):
        if len(cells) != 2:
            raise DatasetError(f"{_line(source, line)}: has {len(cells)} words; expected an id and a value")
        yield cells[0], cells[1]


def _lines(source: Path, maxsplit: int = -1) -> Iterator[list[str]]:
    try:
        for line in source.read_text("utf-8-sig").splitlines():
            if line.strip():
                yield line.strip().split(maxsplit=maxsplit)
    except UnicodeDecodeError:
        raise DatasetError(
            f"{printable(source)}: is not UTF-8 text; expected the list that the data set ships"
        ) from None
    except OSError as error:
        raise DatasetError(f"{printable(source)}: cannot be read ({error.strerror})") from None


def _line(source: Path, line: int) -> str:
    return f"{printable(source)} line {line}"


_BENCHMARKS: dict[str, Callable[[Path], Collection]] = {"cub200": _cub200, "cars196": _cars196, "sop": _sop}
