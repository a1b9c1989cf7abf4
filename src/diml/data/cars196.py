"""Cars196: `cars_annos.mat` beside `car_ims/`, or class folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diml.data.class_folders import class_folders
from diml.data.collection import Collection, Skipped, from_table
from diml.data.list_files import at_line, contents, first_half
from diml.data.listed_paths import inside
from diml.data.printable import printable
from diml.data.tables import ListedImage, Table
from diml.data.walk import walk
from diml.errors import DatasetError


def cars196(folder: Path) -> Collection:
    """The images of Cars196; the training half is the first half of the classes, by id or by name.

    Raises:
        DatasetError: neither of the two layouts is found, or `cars_annos.mat` cannot be read.
    """
    return _from_annotations(folder) if (folder / "cars_annos.mat").exists() else _from_class_folders(folder)


def _from_class_folders(folder: Path) -> Collection:
    paths, left_out, *_ = walk(folder)
    found = class_folders(paths)
    labels = [label for label in found.labels if label is not None]
    if found.unclear or len(labels) < len(paths) or len(set(labels)) < 2:
        raise DatasetError(
            f"cars196:{printable(folder)}: expected cars_annos.mat and car_ims/, or class folders of images, in it or "
            f"in its train/ and test/; found {contents(folder)}"
        )
    places = set(zip(found.splits or [], labels, strict=False))
    if found.splits and len(places) == len(set(labels)) and {"train", "test"} == set(found.splits):
        # No class is in both folders, so they are the class-disjoint halves of metric learning.
        splits = found.splits
    else:
        # With every class in both folders, train/ and test/ are the splits of the classification task.
        train = set(sorted(set(labels))[: len(set(labels)) // 2])
        splits = ["train" if label in train else "test" for label in labels]
    skipped = [Skipped(path, reason) for path, reason in left_out]
    return Collection(folder, paths, list(labels), splits, skipped=skipped, name="cars196")


def _from_annotations(folder: Path) -> Collection:
    source = folder / "cars_annos.mat"
    images, ids, names = _read_annotations(source)
    train = first_half({str(i): name for i, name in enumerate(names, start=1)})
    rows = []
    for line, (path, class_id) in enumerate(zip(images, ids, strict=True), start=1):
        if not 1 <= class_id <= len(names):
            raise DatasetError(f"{at_line(source, line)}: class {class_id} is not one of its {len(names)} class names")
        values = {"label": names[class_id - 1], "split": "train" if str(class_id) in train else "test"}
        rows.append(ListedImage(inside(path, at_line(source, line)), values, line))
    return from_table(folder, Table(source, ["label", "split"], rows), "cars196")


def _read_annotations(source: Path) -> tuple[list[str], list[int], list[str]]:
    """Paths, class ids (from 1) and class names. A MATLAB 5 file is plain data, so loading it runs no code."""
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
    except Exception as error:  # scipy and numpy raise errors of many types on arbitrary bytes
        raise DatasetError(
            f"{printable(source)}: cannot be read ({printable(str(error))}); expected the variables annotations "
            "(relative_im_path, class) and class_names"
        ) from error
