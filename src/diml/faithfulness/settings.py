"""What a faithfulness run measures, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diml.errors import UsageError
from diml.explanation.methods.pixels import filling
from diml.explanation.methods.registry import methods
from diml.faithfulness.grids import Grid

MEASURES = ("deletion", "objects", "correspondence", "stability", "interactions")
# Interactions cost many passes of the model and are measured only when they are named.
USUAL = MEASURES[:-1]


@dataclass(frozen=True)
class FaithfulnessSettings:
    """What is measured, and how.

    Attributes:
        measures: any of `MEASURES`; completeness and time are always measured. Objects are measured on pairs with
            masks, correspondence on pairs with points.
        fills: what replaces removed cells, see `diml.explanation.methods.pixels.FILLS`.
        steps: of deletion and insertion, >= 1.
        against: methods with a heat; the gains of all methods over these are reported.
        grids: for the keypoints; None for the model's own grid, 7x7 and 14x14, as far as the model can give them.
        stable_pairs: pairs on which the stability is measured, >= 1.
        batch_size: images per pass of the model, >= 1.
        seed: of ties, bootstrap and noise, 0 to 2^32 - 1.
        subsets: copies of each image for the interactions, see `reference_interactions`; None for its default.

    Raises:
        UsageError: an unknown measure, fill or method, a method without heat in `against`, or a number out of range.
    """

    measures: Sequence[str] = USUAL
    fills: Sequence[str] = ("blur",)
    steps: int = 8
    against: Sequence[str] = ("random", "centre")
    grids: Sequence[Grid] | None = None
    stable_pairs: int = 20
    batch_size: int = 32
    seed: int = 0
    subsets: int | None = None

    def __post_init__(self) -> None:
        for measure in self.measures:
            if measure not in MEASURES:
                raise UsageError(f"expected one of the measures {', '.join(MEASURES)}, got {measure!r}")
        for fill in self.fills:
            filling(fill)
        for method in methods(self.against) if self.against else ():
            if not method.heats:
                raise UsageError(f"the method {method.name} gives no heat to compare with; use random or centre")
        if self.subsets is not None and self.subsets < 1:
            raise UsageError(f"expected subsets >= 1, got {self.subsets}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"expected a seed from 0 to {2**32 - 1}, got {self.seed}")
        for name in ("steps", "stable_pairs", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"expected {name.replace('_', ' ')} >= 1, got {getattr(self, name)}")
