"""Points of an object that are visible in two images of a collection with clutter."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.clutter.layers import moved

STEP = 6
"""Pixels between the points taken from a clean image without surface points."""

Points = npt.NDArray[np.float64]


def correspondences(folder: Path, a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Points, Points]:
    """The points seen in both of two images of one class, (n, 2) pixels x, y in each.

    Two images of the same clean picture are joined by their affines, those of two views of a model by the model's
    surface points. Others, such as an emoji by two designers, have no known correspondences: n is 0.

    Args:
        folder: the collection.
        a: a line of `metadata.jsonl`.
        b: another one.
    """
    sources = [row.get("source", row["path"]) for row in (a, b)]
    points = folder / "points" / f"{a['label']}.npz"
    if a["label"] == b["label"] and points.is_file():
        places = _of_surface(points, *(int(posixpath.splitext(posixpath.basename(source))[0]) for source in sources))
    elif sources[0] == sources[1]:
        places = [_grid(folder / f"masks/{sources[0]}")] * 2
    else:
        return np.zeros((0, 2)), np.zeros((0, 2))
    found = [moved(at, row["affine"]) if "affine" in row else at for at, row in zip(places, (a, b), strict=True)]
    seen = np.logical_and(*(_opaque(folder / row["mask"], at) for at, row in zip(found, (a, b), strict=True)))
    return found[0][seen], found[1][seen]


def _of_surface(file: Path, *views: int) -> list[Points]:
    """Where the points that all of the views see lie in each of them."""
    with np.load(file) as held:
        pixels, visible = held["pixels"], held["visible"]
    both = np.logical_and.reduce([visible[view] for view in views])
    return [pixels[view][both].astype(np.float64) for view in views]


def _grid(mask: Path) -> Points:
    with Image.open(mask) as image:
        opaque = np.asarray(image) >= 128
    places = np.arange(STEP // 2, min(opaque.shape), STEP)
    x, y = (axis.ravel() for axis in np.meshgrid(places, places))
    found: Points = np.stack([x, y], axis=1)[opaque[y, x]] + 0.5
    return found


def _opaque(mask: Path, at: Points) -> npt.NDArray[np.bool_]:
    with Image.open(mask) as image:
        opaque = np.asarray(image) >= 128
    column, row = np.floor(at).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < opaque.shape[1]) & (row < opaque.shape[0])
    seen: npt.NDArray[np.bool_] = inside & opaque[np.where(inside, row, 0), np.where(inside, column, 0)]
    return seen
