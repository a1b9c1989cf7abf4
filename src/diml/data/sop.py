"""Stanford Online Products in the layout in which it is distributed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from diml.data.collection import Collection, from_table
from diml.data.list_files import at_line, read_lines, root_with
from diml.data.listed_paths import inside
from diml.data.printable import printable
from diml.data.tables import ListedImage, Table
from diml.errors import DatasetError

SPLITS = {"Ebay_train.txt": "train", "Ebay_test.txt": "test"}
PLACES = ["", "Info_Files", "Stanford_Online_Products", "Stanford_Online_Products/Info_Files"]
HEADER = ["image_id", "class_id", "super_class_id", "path"]


def sop(folder: Path) -> Collection:
    """The images of Stanford Online Products, with the data set's own halves.

    Raises:
        DatasetError: the lists are missing, or not as the data set contains them.
    """
    lists = root_with(folder, list(SPLITS), PLACES, "sop")
    root = lists.parent if lists.name == "Info_Files" else lists
    rows = [row for name, split in SPLITS.items() for row in _rows(lists / name, split)]
    return from_table(root, Table(lists, ["label", "split", "super_class"], rows), "sop")


def _rows(source: Path, split: str) -> Iterator[ListedImage]:
    for line, cells in enumerate(read_lines(source), start=1):
        if line == 1:
            if cells != HEADER:
                raise DatasetError(
                    f"{printable(source)}: starts with '{printable(' '.join(cells))}'; expected '{' '.join(HEADER)}'"
                )
            continue
        if len(cells) != len(HEADER):
            raise DatasetError(f"{at_line(source, line)}: has {len(cells)} words; expected {' '.join(HEADER)}")
        path = inside(cells[3], at_line(source, line))
        # In "bicycle_final/111.JPG" the folder names the super class, whose number is super_class_id.
        super_class = posixpath.dirname(path).removesuffix("_final") or cells[2]
        yield ListedImage(path, {"label": cells[1], "split": split, "super_class": super_class}, line)
