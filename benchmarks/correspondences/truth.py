"""Points that correspond, from what was published with the photographs: a homography, or disparities.

Points are (x, y) in pixels from the upper left corner of an image, so the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

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


def by_homography(
    matrix: NDArray[np.float64], size_a: tuple[int, int], size_b: tuple[int, int], side: int = SIDE
) -> Correspondences:
    """The points of a lattice over a that lie in b, where b is a seen through a homography of pixel indices.

    >>> shift = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
    >>> found = by_homography(shift, (8, 4), (8, 4), 2)
    >>> found.a.tolist(), found.b.tolist()
    ([[2.0, 1.0], [2.0, 3.0]], [[4.0, 1.0], [4.0, 3.0]])
    """
    points = lattice(size_a, side)
    moved = np.column_stack([points - 0.5, np.ones(len(points))]) @ matrix.T
    in_front = moved[:, 2] > 0
    there = moved[:, :2] / np.where(in_front, moved[:, 2], 1)[:, None] + 0.5
    inside = in_front & ((there >= 0) & (there < np.array(size_b))).all(axis=1)
    return Correspondences(points[inside], there[inside])


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


def by_disparity(disparity: NDArray[np.float64], side: int = SIDE) -> Correspondences:
    """The points of a lattice over a left image that are seen in the right one, which has the same size.

    >>> found = by_disparity(np.full((4, 8), 2.0), 2)
    >>> found.a.tolist(), found.b.tolist()
    ([[2.5, 1.5], [6.5, 1.5], [2.5, 3.5], [6.5, 3.5]], [[0.5, 1.5], [4.5, 1.5], [0.5, 3.5], [4.5, 3.5]])
    """
    height, width = disparity.shape
    columns, rows = np.floor(lattice((width, height), side)).astype(np.int64).T
    seen = visible(disparity)[rows, columns]
    a = np.stack([columns, rows], axis=1)[seen] + 0.5
    b = a - np.column_stack([disparity[rows, columns][seen], np.zeros(len(a))])
    return Correspondences(a, b)
