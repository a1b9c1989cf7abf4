"""What is known of the images of a collection beside their classes: masks of objects, and points that correspond."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from diml.data import open_mask, printable
from diml.data.listed_paths import inside
from diml.data.table_formats import read_rows
from diml.data.tables import read_table
from diml.errors import DatasetError
from diml.faithfulness.pairs import ImagePair, KnownPoints, LazyImage, ObjectMasks
from diml.files import no_home

POINTS = ("a", "b", "ax", "ay", "bx", "by")


def with_masks(pairs: Sequence[ImagePair], table: Path, root: Path) -> list[ImagePair]:
    """The pairs with the masks of their measured images.

    Args:
        pairs: of images below `root`.
        table: as `open_table` reads it, with the columns `path` and `mask`, and optionally `other_mask` (what another
            object, or an occluder, shows of itself) and `kind` (by which results are listed). A mask is an image of
            the size of its image, bright where the object is.
        root: the folder that the paths of images and masks are relative to.

    Raises:
        UsageError: there is no such file.
        DatasetError: it is not such a table, or it has no mask for any of the pairs.
    """
    read = read_table(table, ("path", "mask"), root)
    rows = {row.path: row for row in read.rows}
    known = []
    for pair in pairs:
        row = rows.get(_below(pair.measured_image, root))
        if row is None or row.values["mask"] is None:
            known.append(pair)
            continue
        object_mask, other = row.values["mask"], row.values.get("other_mask")
        where = f"{printable(table)} {read.unit} {row.line}"
        masks = ObjectMasks(_mask(object_mask, where, root), None if other is None else _mask(other, where, root))
        known.append(replace(pair, masks=masks, kind=row.values.get("kind") or pair.kind))
    if not any(pair.masks for pair in known):
        raise DatasetError(
            f"{printable(table)}: has no mask for the images of any of the {len(pairs)} pairs; expected paths relative "
            f"to {printable(root)} in its column path"
        )
    return known


def with_points(pairs: Sequence[ImagePair], table: Path, root: Path) -> list[ImagePair]:
    """The pairs with the points that are known to correspond.

    Args:
        pairs: of images below `root`.
        table: with the columns `a,b,ax,ay,bx,by`, a row for each point: the paths of two images, and where the point
            lies in them, in pixels from the upper left corner. Points of b and a count for a and b as well. Optionally
            `kind`, by which results are listed; that of the first row of a pair counts.
        root: the folder that the paths are relative to.

    Raises:
        UsageError: there is no such file.
        DatasetError: it is not such a table, or it has no points for any of the pairs.
    """
    found, kinds = _points(table, root)
    known = []
    for pair in pairs:
        a, b = _below(pair.a, root), _below(pair.b, root)
        rows = found[a, b] + [(bx, by, ax, ay) for ax, ay, bx, by in found[b, a]]
        if rows:
            values = torch.tensor(rows, dtype=torch.float64)
            nowhere = torch.full((len(rows), 2), torch.nan, dtype=torch.float64)
            points = KnownPoints(values[:, :2], values[:, 2:], nowhere)
            known.append(replace(pair, points=points, kind=kinds.get((a, b)) or kinds.get((b, a)) or pair.kind))
        else:
            known.append(pair)
    if not any(pair.points for pair in known):
        raise DatasetError(
            f"{printable(table)}: has no points for any of the {len(pairs)} pairs; expected paths relative to "
            f"{printable(root)} in its columns a and b"
        )
    return known


Images = tuple[str, str]


def _points(table: Path, root: Path) -> tuple[defaultdict[Images, list[tuple[float, ...]]], dict[Images, str]]:
    """By two images, as listed, their points and their kind, if it has one."""
    read = read_rows(table)
    header = [name.strip() for name in read.header]
    if missing := [name for name in POINTS if name not in header]:
        raise DatasetError(
            f"{printable(table)}: has no column {missing[0]} (columns found: {printable(', '.join(header))}); expected "
            f"the columns {','.join(POINTS)}"
        )
    found: defaultdict[Images, list[tuple[float, ...]]] = defaultdict(list)
    kinds: dict[Images, str] = {}
    for number, raw in read.rows:
        cells = dict(zip(header, (cell or "" for cell in raw), strict=False))
        if not any(cells.values()):
            continue
        where = f"{printable(table)} {read.unit} {number}"
        a, b = (inside(cells.get(name, "").strip(), where, root, "the folder of the images") for name in "ab")
        try:
            values = tuple(float(cells.get(name, "")) for name in POINTS[2:])
        except ValueError:
            values = (math.nan,)
        if not all(map(math.isfinite, values)):
            raise DatasetError(f"{where}: expected four finite numbers ax, ay, bx and by; correct the row")
        found[a, b].append(values)
        if kind := cells.get("kind", "").strip():
            kinds.setdefault((a, b), kind)
    return found, kinds


def _below(image: LazyImage, root: Path) -> str:
    return Path(image.name).relative_to(no_home(root)).as_posix()


def _mask(listed: str, where: str, root: Path) -> LazyImage:
    file = no_home(root / inside(listed, where, root, "the folder of the images"))
    return LazyImage(str(file), lambda: open_mask(file))
