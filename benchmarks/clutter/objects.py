"""The objects to paste: a built collection with a mask for each image."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.clutter.layers import Cutout, ground_of
from benchmarks.emoji.build import mask_path
from benchmarks.errors import BuildError

QUERY_SHARE = 0.25
"""The share of each class's images that are queries, at least one."""


@dataclass(frozen=True)
class Object:
    """An image of a collection: its path there, its class, its half (train or test), and its role."""

    path: str
    label: str
    half: str
    role: str

    @property
    def name(self) -> str:
        """The path below the folder `images`."""
        return self.path.removeprefix("images/")

    def cutout(self, folder: Path) -> Cutout:
        with Image.open(folder / self.path) as opened, Image.open(folder / mask_path(self.path)) as mask:
            image, grey = opened.convert("RGB"), mask.convert("L")
        return Cutout(image, grey, ground_of(image, grey))


def read_objects(folder: Path) -> list[Object]:
    """The images of a collection in the order of its table, with roles.

    Raises:
        BuildError: a mask is missing.
    """
    with open(folder / "data.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    queries = query_paths([(row["path"], row["label"]) for row in rows])
    objects = [
        Object(row["path"], row["label"], row["split"], "query" if row["path"] in queries else "gallery")
        for row in rows
    ]
    for item in objects:
        if not (folder / mask_path(item.path)).is_file():
            raise BuildError(f"expected the mask {folder / mask_path(item.path)}, it is missing; build {folder} again")
    return objects


def query_paths(images: list[tuple[str, str]]) -> set[str]:
    """The images, given as path and class, that are queries: those of a class whose paths have the smallest SHA-1.

    >>> len(query_paths([(f"images/a/{i}.png", "a") for i in range(8)] + [("images/b/0.png", "b")]))
    3
    """
    classes: dict[str, list[str]] = {}
    for path, label in images:
        classes.setdefault(label, []).append(path)
    chosen = set()
    for paths in classes.values():
        paths.sort(key=lambda path: hashlib.sha1(path.encode()).digest())
        chosen |= set(paths[: max(1, int(len(paths) * QUERY_SHARE))])
    return chosen
