"""What compared the images of an explanation, as documents state it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diml.model import QueryPart


@dataclass(frozen=True, eq=False)
class Conditions:
    """What compared the images.

    Attributes:
        model: its name.
        marginals: the name of what weighed the parts, such as `uniform`, `part` or `rollout:2`.
        mass: share of the parts' mass that was matched, above 0 to 1.
        part: the part of the query that was looked for; None for the whole image.
    """

    model: str = ""
    marginals: str = ""
    mass: float = 1.0
    part: QueryPart | None = None

    def unusual(self) -> dict[str, Any]:
        """What documents state only where it is not the default: the part, or else the mass."""
        if self.part is not None:
            return {"part": self.part.to_dict()}
        return {"mass": self.mass} if self.mass < 1 else {}


UNKNOWN = Conditions()
