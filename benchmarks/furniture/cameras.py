"""Cameras around an object, and the two ways between its points and their pixels.

The object is centred at the origin and fits a sphere of radius 1; y is up, and azimuth 0 looks at its front from +z.
Pixels are x, y; pixel 0 covers 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

FIELD_OF_VIEW = math.radians(30)
DISTANCE = 1.04 / math.sin(FIELD_OF_VIEW / 2)
NEAR, FAR = DISTANCE - 1.5, DISTANCE + 1.5


@dataclass(frozen=True)
class Camera:
    """A view of the object from a direction, in degrees, as a square image of `size` pixels."""

    azimuth: float
    elevation: float
    size: int

    @property
    def pose(self) -> Points:
        """(4, 4) camera to world; the camera looks along its -z, y is up (the convention of OpenGL)."""
        azimuth, elevation = math.radians(self.azimuth), math.radians(self.elevation)
        back = np.array(
            [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
        )
        right = np.array([math.cos(azimuth), 0, -math.sin(azimuth)])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
        pose[:3, 3] = DISTANCE * back
        return pose

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.size / 2 / math.tan(FIELD_OF_VIEW / 2)

    def project(self, points: npt.ArrayLike) -> tuple[Points, Points]:
        """(n, 2) pixels of (n, 3) points, and (n,) their depths, the distance along the viewing direction."""
        pose = self.pose
        seen = (np.asarray(points, np.float64) - pose[:3, 3]) @ pose[:3, :3]
        depth = -seen[:, 2]
        across = seen[:, :2] * [1, -1] * (self.focal / depth)[:, None]
        return across + self.size / 2, depth

    def unproject(self, pixels: npt.ArrayLike, depth: npt.ArrayLike) -> Points:
        """(n, 3) points at pixels (n, 2) and depths (n,)."""
        depths = np.asarray(depth, np.float64)[:, None]
        across = (np.asarray(pixels, np.float64) - self.size / 2) * [1, -1] * depths / self.focal
        pose = self.pose
        seen: Points = np.concatenate([across, -depths], axis=1)
        return seen @ pose[:3, :3].T + pose[:3, 3]


def around(azimuths: int, elevations: list[float], size: int) -> list[Camera]:
    """Cameras at every elevation and evenly spaced azimuths; those of later elevations stand between the earlier ones.

    >>> [(view.azimuth, view.elevation) for view in around(2, [10, 40], 64)]
    [(30.0, 10), (210.0, 10), (120.0, 40), (300.0, 40)]
    """
    step = 360 / azimuths
    return [
        Camera((30 + step * (turn + row / len(elevations))) % 360, elevation, size)
        for row, elevation in enumerate(elevations)
        for turn in range(azimuths)
    ]
