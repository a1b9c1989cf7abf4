"""The mapping from pixels of an original image to places in a drawing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """A rectangle of a drawing, in units of the drawing, that shows an original of `size` pixels (width, height).

    >>> Frame(10, 0, 100, 50, (200, 100)).at(100, 100)
    (60.0, 50.0)
    """

    x: float
    y: float
    width: float
    height: float
    size: tuple[int, int]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a pixel of the original in the drawing."""
        return self.x + x / self.size[0] * self.width, self.y + y / self.size[1] * self.height
