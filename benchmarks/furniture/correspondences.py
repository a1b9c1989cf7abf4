"""Points of an object's surface, where each is seen in each view, and whether it is visible there (by z-buffer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.furniture.cameras import Camera

STEP = 12
"""Pixels between the points taken from a view."""

TOLERANCE = 0.003
"""How far from the depths that are seen, in radii of the object, a point still counts as visible."""


@dataclass(frozen=True)
class SurfacePoints:
    """n points of a surface in v views.

    Attributes:
        points: (n, 3) on the normalised object.
        pixels: (v, n, 2) where they lie in each view, x, y.
        visible: (v, n) whether they are seen there.
    """

    points: npt.NDArray[np.float32]
    pixels: npt.NDArray[np.float32]
    visible: npt.NDArray[np.bool_]


def surface_points(
    cameras: Sequence[Camera], depths: Sequence[npt.NDArray[np.float32]], masks: Sequence[npt.NDArray[np.bool_]]
) -> SurfacePoints:
    """The points under a grid of pixels of every view, and what every view sees of them.

    Args:
        cameras: v views.
        depths: v images (size, size) of depths; 0 where nothing is.
        masks: v images (size, size), where the object is opaque.
    """
    taken = []
    for camera, depth, mask in zip(cameras, depths, masks, strict=True):
        places = np.arange(STEP // 2, camera.size, STEP)
        ys, xs = (axis.ravel() for axis in np.meshgrid(places, places, indexing="ij"))
        hit = mask[ys, xs] & (depth[ys, xs] > 0)
        centres = np.stack([xs[hit] + 0.5, ys[hit] + 0.5], axis=1)  # the depth belongs to the centre of its pixel
        taken.append(camera.unproject(centres, depth[ys[hit], xs[hit]]))
    points = np.concatenate(taken)
    pixels, visible = [], []
    for camera, depth, mask in zip(cameras, depths, masks, strict=True):
        at_pixel, distance = camera.project(points)
        pixels.append(at_pixel)
        visible.append(_seen(at_pixel, distance, depth, mask))
    return SurfacePoints(points.astype(np.float32), np.array(pixels, np.float32), np.array(visible, bool))


def _seen(
    at: npt.NDArray[np.float64],
    distance: npt.NDArray[np.float64],
    depth: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Whether a point lies between the depths at the four pixel centres around it, give or take the tolerance.

    A single one of them would not do: the depth of a surface seen at a grazing angle changes much from pixel to pixel.
    """
    x, y = np.floor(at - 0.5).astype(np.int64).T
    inside = (x >= 0) & (y >= 0) & (x < depth.shape[1] - 1) & (y < depth.shape[0] - 1)
    around = [(np.where(inside, y + dy, 0), np.where(inside, x + dx, 0)) for dy in (0, 1) for dx in (0, 1)]
    found = np.stack([np.where(mask[place], depth[place], np.nan) for place in around])
    nearest, farthest = np.fmin.reduce(found), np.fmax.reduce(found)  # NaN where none of the four is on the object
    seen: npt.NDArray[np.bool_] = inside & (nearest - TOLERANCE <= distance) & (distance <= farthest + TOLERANCE)
    return seen
