"""What compared the images of an explanation, as documents state it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diml.matching import Matcher
    from diml.model import QueryPart


@dataclass(frozen=True, eq=False)
class Conditions:
    """What compared the images.

    Attributes:
        model: its name.
        marginals: the name of what weighed the parts, such as `uniform`, `part` or `rollout:2`.
        mass: share of the parts' mass that was matched, above 0 to 1.
        transport: what of the parts had to be matched: `full`, `one-sided` or `dustbin`.
        bin_similarity: the price of what a dustbin left unmatched; None for other transports.
        part: the part of the query that was looked for; None for the whole image.
    """

    model: str = ""
    marginals: str = ""
    mass: float = 1.0
    transport: str = "full"
    bin_similarity: float | None = None
    part: QueryPart | None = None

    @classmethod
    def of(cls, model: str, marginals: str, matcher: Matcher, part: QueryPart | None = None) -> Conditions:
        """Those of a model by its name, its marginals by theirs, and its matcher."""
        bin_similarity = matcher.bin_similarity if matcher.transport == "dustbin" else None
        return cls(model, marginals, matcher.mass, matcher.transport, bin_similarity, part)

    def unusual(self) -> dict[str, Any]:
        """What documents state only where it is not the default: the part, or else how its parts were matched."""
        if self.part is not None:
            return {"part": self.part.to_dict()}
        stated: dict[str, Any] = {"mass": self.mass} if self.mass < 1 else {}
        if self.transport != "full":
            stated["transport"] = self.transport
        if self.bin_similarity is not None:
            stated["bin_similarity"] = self.bin_similarity
        return stated


UNKNOWN = Conditions()
