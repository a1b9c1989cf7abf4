"""Where two images and the text beside them stand on a page."""

from __future__ import annotations

from dataclasses import dataclass

from diml.explanation.marks import Box, Size

# All in inches.
MARGIN, GAP, BESIDE = 0.35, 1.1, 0.45
TALLEST, WIDEST, NARROWEST = 4.2, 9.4, 6.0
TITLE, HEADING, SCALE = 0.3, 0.55, 0.6


@dataclass(frozen=True)
class PairLayout:
    """Two images beside each other, their heats beneath them, and the words to the right; in inches."""

    tall: float
    width_a: float
    width_b: float
    gap: float

    @property
    def text(self) -> float:
        """Where the words begin."""
        return MARGIN + self.width_a + self.gap + self.width_b + BESIDE

    @property
    def height(self) -> float:
        return TITLE + self.tall + HEADING + self.tall + SCALE

    def cells(self, top: float, tall: float) -> tuple[Box, Box]:
        """The boxes of both images in a row of the page."""
        x_b = MARGIN + self.width_a + self.gap
        return (MARGIN, top, MARGIN + self.width_a, top + tall), (x_b, top, x_b + self.width_b, top + tall)


def pair_layout(size_a: Size, size_b: Size) -> PairLayout:
    """Both images get the same height; very long shapes are limited."""
    a, b = (min(max(width / height, 0.45), 2.5) for width, height in (size_a, size_b))
    tall = min(TALLEST, (WIDEST - GAP) / (a + b))
    gap = max(GAP, NARROWEST - (a + b) * tall)
    return PairLayout(tall, a * tall, b * tall, gap)
