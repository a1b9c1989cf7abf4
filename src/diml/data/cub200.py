"""CUB-200-2011 in the layout in which it is distributed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diml.data.collection import Collection, from_table
from diml.data.list_files import at_line, first_half, read_pairs, root_with
from diml.data.listed_paths import inside
from diml.data.printable import printable
from diml.data.tables import ListedImage, Table
from diml.errors import DatasetError

LISTS = ["images.txt", "image_class_labels.txt", "classes.txt", "images/"]


def cub200(folder: Path) -> Collection:
    """The images of CUB-200-2011; the training half is the first half of the classes by id.

    Raises:
        DatasetError: the lists are missing, or not as the data set contains them.
    """
    root = root_with(folder, LISTS, ["", "CUB_200_2011"], "cub200")
    names = dict(read_pairs(root / "classes.txt"))
    classes = dict(read_pairs(root / "image_class_labels.txt"))
    train = first_half(names)
    source = root / "images.txt"

    def rows() -> Iterator[ListedImage]:
        for line, (image, path) in enumerate(read_pairs(source), start=1):
            class_id = classes.get(image, "")
            if class_id not in names:
                raise DatasetError(
                    f"{printable(source)}: image {printable(image)} has no class in image_class_labels.txt and "
                    "classes.txt; expected one for every image"
                )
            values = {"label": names[class_id], "split": "train" if class_id in train else "test"}
            yield ListedImage(inside(f"images/{path}", at_line(source, line)), values, line)

    return from_table(root, Table(source, ["label", "split"], list(rows())), "cub200")
