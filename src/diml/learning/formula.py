"""What a loss makes of a cosine: the similarity itself, or a distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# Under the root of a distance, so that its slope stays finite where two vectors are the same.
SMALL = 1e-6


@dataclass(frozen=True)
class Formula:
    """A function of a cosine.

    Attributes:
        name: "similarity" or "distance".
        value: the function, elementwise.
        slope: its derivative, elementwise, given its value; None for a derivative of 1.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor] | None = None


def _chord(cosine: Tensor) -> Tensor:
    # Rounding can lift a cosine above 1 by more than what stands under the root.
    return (2 - 2 * cosine).clamp(min=0).add(SMALL).sqrt()


SIMILARITY = Formula("similarity", lambda cosine: cosine)
DISTANCE = Formula("distance", _chord, lambda value: -1 / value)
