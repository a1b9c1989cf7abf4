"""Where an image stands in a drawing: the one mapping from pixels of an original to places on the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """A rectangle of a drawing, in its units, that shows an original of `size` pixels (width, height).

    >>> Frame(10, 0, 100, 50, (200, 100)).at(100, 100)
    (60.0, 50.0)
    """

    x: float
    y: float
    width: float
    height: float
    size: tuple[int, int]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the original lies in the drawing."""
        return self.x + x / self.size[0] * self.width, self.y + y / self.size[1] * self.height
