"""Points that correspond, from what was published with the photographs: a homography, or disparities.

Points are (x, y) in pixels from the upper left corner of an image, so the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
SIDE = 64
"""Points are taken from a lattice of so many columns and rows over image a, finer than any grid that is measured."""

OCCLUDED = 1.0
"""Pixels of disparity by which another point of a row has to be nearer to the cameras to hide a point."""


@dataclass(frozen=True)
class Correspondences:
    """k points that are seen in two images, (k, 2) each."""

    a: Points
    b: Points

    def __len__(self) -> int:
        return len(self.a)


def lattice(size: tuple[int, int], side: int = SIDE) -> Points:
    """(side^2, 2) centres of the cells of a lattice over an image of this width and height.

    >>> lattice((8, 4), 2).tolist()
    [[2.0, 1.0], [6.0, 1.0], [2.0, 3.0], [6.0, 3.0]]
    """
    xs, ys = ((np.arange(side) + 0.5) * length / side for length in size)
    return np.stack([axis.ravel() for axis in np.meshgrid(xs, ys)], axis=1)


def read_homography(xml: bytes) -> NDArray[np.float64]:
    """The 3 x 3 matrix of a file that OpenCV's FileStorage wrote.

    Raises:
        ValueError: it is not such a file.
    """
    if b"<!" in xml:  # no entities: the file is fetched from elsewhere
        raise ValueError("expected plain XML, got a declaration")
    data = ElementTree.fromstring(xml).find(".//data")
    values = [float(word) for word in (data.text or "").split()] if data is not None else []
    if len(values) != 9:
        raise ValueError(f"expected the 9 numbers of a homography, got {len(values)}")
    return np.array(values).reshape(3, 3)


def places_by_homography(
    matrix: NDArray[np.float64], size_a: tuple[int, int], size_b: tuple[int, int]
) -> NDArray[np.float64]:
    """Where each pixel of a lies in b, (h, w, 2); NaN where that is outside b. The homography is of pixel indices.

    >>> shift = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
    >>> places_by_homography(shift, (4, 1), (4, 1))[0, :, 0]
    array([2.5, 3.5, nan, nan])
    """
    columns, rows = np.meshgrid(np.arange(size_a[0]), np.arange(size_a[1]))
    moved = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ matrix.T
    in_front = moved[..., 2:] > 0
    there = moved[..., :2] / np.where(in_front, moved[..., 2:], 1) + 0.5
    inside = in_front & ((there >= 0) & (there < np.array(size_b))).all(axis=-1, keepdims=True)
    return np.where(inside, there, np.nan)


def visible(disparity: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the pixels of a left image are seen in the right one, by a z-buffer of each row.

    A pixel is not where its disparity is unknown, where it falls out of the image, and where a pixel of its row that is
    nearer to the cameras, by more than `OCCLUDED`, falls on its place or beside it.

    Args:
        disparity: (h, w), x in the left image minus x in the right one; NaN where it is unknown.

    >>> visible(np.array([[0.0, 0, 0, 0, 2, 2, 0, 0]])).astype(int)
    array([[1, 0, 0, 0, 1, 1, 1, 1]])
    """
    height, width = disparity.shape
    there = np.arange(width) - disparity
    known = np.isfinite(disparity) & (there >= 0) & (there <= width - 1)
    rows = np.broadcast_to(np.arange(height)[:, None], disparity.shape)
    nearest = np.full((height, width + 2), -np.inf)
    place = np.where(known, np.round(np.where(known, there, 0)), 0).astype(np.int64) + 1
    for beside in (-1, 0, 1):
        np.maximum.at(nearest, (rows[known], place[known] + beside), disparity[known])
    seen: NDArray[np.bool_] = known & (np.nan_to_num(disparity) >= nearest[rows, place] - OCCLUDED)
    return seen


def places_by_disparity(disparity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each pixel of a left image lies in the right one, (h, w, 2); NaN where it is not seen there.

    >>> places_by_disparity(np.full((1, 4), 2.0))[0, :, 0]
    array([nan, nan, 0.5, 1.5])
    """
    height, width = disparity.shape
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.where(visible(disparity)[..., None], np.stack([columns - disparity, rows], axis=-1), np.nan)


def on_lattice(places: NDArray[np.float64], side: int = SIDE) -> Correspondences:
    """The pixels of a under a lattice that are seen in b, by their centres.

    Args:
        places: (h, w, 2), where each pixel of a lies in b; NaN where it is not seen.

    >>> found = on_lattice(places_by_disparity(np.full((4, 8), 2.0)), 2)
    >>> found.a.tolist(), found.b.tolist()
    ([[2.5, 1.5], [6.5, 1.5], [2.5, 3.5], [6.5, 3.5]], [[0.5, 1.5], [4.5, 1.5], [0.5, 3.5], [4.5, 3.5]])
    """
    height, width, _ = places.shape
    columns, rows = np.floor(lattice((width, height), side)).astype(np.int64).T
    there = places[rows, columns]
    seen = ~np.isnan(there).any(axis=1)
    return Correspondences(np.stack([columns, rows], axis=1)[seen] + 0.5, there[seen])


def true_places(places: NDArray[np.float64], points: Points) -> Points:
    """Where points of a lie in b, (k, 2), moved as the pixel they lie in is; NaN where it is not seen or outside a.

    >>> true_places(places_by_disparity(np.full((1, 4), 2.0)), np.array([[3.75, 0.5], [0.5, 0.5], [9.0, 0.5]]))
    array([[1.75, 0.5 ],
           [ nan,  nan],
           [ nan,  nan]])
    """
    height, width, _ = places.shape
    columns, rows = np.floor(points).astype(np.int64).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    columns, rows = np.where(inside, columns, 0), np.where(inside, rows, 0)
    off = points - (np.stack([columns, rows], axis=1) + 0.5)
    return np.where(inside[:, None], places[rows, columns] + off, np.nan)
