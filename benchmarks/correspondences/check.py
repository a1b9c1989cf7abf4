"""Whether points correspond, by the pixels alone: patches around them look alike, and less so beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.correspondences.truth import Correspondences, Points

SHIFTS = (0, 2, 4, 8, 16)


def grey_values(image: NDArray[np.float64], points: Points) -> NDArray[np.float64]:
    """Grey values at points, by bilinear interpolation; NaN outside the image."""
    height, width = image.shape
    x, y = (points - 0.5).T
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    x, y = np.where(inside, x, 0), np.where(inside, y, 0)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    dx, dy = x - left, y - top
    upper = image[top, left] * (1 - dx) + image[top, right] * dx
    lower = image[bottom, left] * (1 - dx) + image[bottom, right] * dx
    return np.where(inside, upper * (1 - dy) + lower * dy, np.nan)


def correlations(
    a: NDArray[np.float64], b: NDArray[np.float64], points: Correspondences, shifts: tuple[int, ...] = SHIFTS
) -> dict[int, float]:
    """The correlation of the grey values of a and b at points that correspond, by the shift of the points in b.

    A shift of s pixels is made in four directions, and the mean of the four correlations is given. If the points are
    right, it is largest at 0.

    Args:
        a, b: grey images (h, w).
    """
    here = grey_values(a, points.a)
    found = {}
    for shift in shifts:
        each = []
        for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            there = grey_values(b, points.b + shift * np.array(direction))
            known = np.isfinite(here) & np.isfinite(there)
            each.append(float(np.corrcoef(here[known], there[known])[0, 1]))
        found[shift] = float(np.mean(each))
    return found
