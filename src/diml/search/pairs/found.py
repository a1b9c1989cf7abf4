"""A pair that was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diml.matching import Match

if TYPE_CHECKING:
    from diml.search.pairs.pairs import Pairs

FORWARD, BACKWARD = "a in b", "b in a"


@dataclass(frozen=True)
class Pair:
    """Two images of an index that are alike.

    Attributes:
        a, b: their paths relative to the collection, in this order.
        similarity: `(1 - weight) pooled + weight structural`, -1..1, as `StructuralModel.explain` gives it for the
            stored maps.
        structural, pooled: the two similarities it is made of, -1..1.
        direction: where the transport is one-sided, which order has the larger similarity, the one that is given:
            "a in b" matches all of a with what it needs of b, "b in a" all of b. None for other transports.
        a_id, b_id: of the images in the index.
        source: what found it.
    """

    a: str
    b: str
    similarity: float
    structural: float
    pooled: float
    direction: str | None
    a_id: str = field(repr=False)
    b_id: str = field(repr=False)
    source: Pairs = field(repr=False, compare=False)

    @property
    def compared(self) -> tuple[str, str]:
        """The two paths in the order in which they were compared."""
        return (self.b, self.a) if self.direction == BACKWARD else (self.a, self.b)

    @property
    def compared_ids(self) -> tuple[str, str]:
        """The two ids in the order in which they were compared."""
        return (self.b_id, self.a_id) if self.direction == BACKWARD else (self.a_id, self.b_id)

    @cached_property
    def match(self) -> Match:
        """The match of the two images, in the order in which they were compared, solved on demand: float64, to 1e-6.

        Raises:
            StoreError: one of the images is not stored any more.
        """
        return self.source.match(self)

    def to_dict(self) -> dict[str, Any]:
        """The pair as `diml pairs --jsonl` prints it; `direction` is present where the transport is one-sided."""
        stated = {} if self.direction is None else {"direction": self.direction}
        return {
            "a": self.a,
            "b": self.b,
            "similarity": self.similarity,
            "structural": self.structural,
            "pooled": self.pooled,
            **stated,
        }
