"""Points that people marked in images: the 15 parts of birds in CUB-200-2011."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from diml.data.list_files import at_line, read_lines, read_pairs, root_with
from diml.data.listed_paths import inside
from diml.data.printable import printable
from diml.errors import DatasetError, UsageError

Point = tuple[float, float]


@dataclass(frozen=True)
class Keypoints:
    """Marked points of images.

    Attributes:
        names: names of the points, such as "left eye", in the order of the data set.
        points: by path of the image, relative to the collection's folder: the visible points by name, as x and y in
            pixels of the original.
    """

    names: list[str]
    points: dict[str, dict[str, Point]]

    def mirrored(self, name: str) -> str | None:
        """The point on the other side of the body; None for a point that has no side.

        >>> Keypoints(["left eye", "right eye", "beak"], {}).mirrored("left eye")
        'right eye'
        """
        side, _, what = name.partition(" ")
        other = {"left": "right", "right": "left"}.get(side)
        return f"{other} {what}" if other and f"{other} {what}" in self.names else None


def cub_keypoints(folder: Path) -> Keypoints:
    """The part annotations of CUB-200-2011 (Wah et al. 2011): `parts/parts.txt` and `parts/part_locs.txt`.

    Args:
        folder: the DIR of `cub200:DIR`.

    Raises:
        UsageError: there is no such folder.
        DatasetError: the files are missing, or not as the data set contains them.
    """
    if not folder.is_dir():
        raise UsageError(f"cub200:{printable(folder)}: there is no such folder; expected the folder that holds cub200")
    root = root_with(folder, ["images.txt", "parts/parts.txt", "parts/part_locs.txt"], ["", "CUB_200_2011"], "cub200")
    paths = {
        image: inside(f"images/{path}", at_line(root / "images.txt", line))
        for line, (image, path) in enumerate(read_pairs(root / "images.txt"), start=1)
    }
    names = dict(read_pairs(root / "parts" / "parts.txt"))
    points: dict[str, dict[str, Point]] = {path: {} for path in paths.values()}
    source = root / "parts" / "part_locs.txt"
    for line, cells in enumerate(read_lines(source), start=1):
        image, part, point = _located(cells, at_line(source, line))
        if image not in paths or part not in names:
            raise DatasetError(
                f"{at_line(source, line)}: names image {printable(image)} and part {printable(part)}; "
                "expected ids of images.txt and parts.txt"
            )
        if point is not None:
            points[paths[image]][names[part]] = point
    return Keypoints(list(names.values()), points)


def _located(cells: list[str], where: str) -> tuple[str, str, Point | None]:
    """Image, part, and its position; None for a part that is not visible."""
    expected = "expected image id, part id, x, y, and 1 (visible) or 0 (not)"
    if len(cells) != 5 or cells[4] not in ("0", "1"):
        raise DatasetError(f"{where}: says '{printable(' '.join(cells))}'; {expected}")
    try:
        x, y = float(cells[2]), float(cells[3])
    except ValueError:
        raise DatasetError(f"{where}: says '{printable(' '.join(cells))}'; {expected}") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DatasetError(f"{where}: has a position that is not a finite number; {expected}")
    return cells[0], cells[1], (x, y) if cells[4] == "1" else None
