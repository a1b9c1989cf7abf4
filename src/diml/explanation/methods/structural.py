"""Structural matching as an explanation method: the numbers of a `Match`, with the model's settings or others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from diml.explanation.methods.method import MethodInput, MethodResult
from diml.explanation.numbers import heat, scalar
from diml.matching import Match, TransportPlan


@dataclass(frozen=True)
class Structural:
    """The contributions of the matched parts, per cell; correspondence is the transport plan (Zhao et al. 2021).

    With `changes` it explains the similarity under these settings, which is not the one that the model ranks by.

    Args:
        name: of this variant.
        changes: settings of the model's matcher to replace, such as `{"weight": 1.0}`.
        corresponds: whether its plan differs from that of `structural`; changing the weight alone does not change it.
        summary, limitation: of this variant, see `Method`.
    """

    name: str = "structural"
    changes: Mapping[str, object] = field(default_factory=dict)
    corresponds: bool = True
    summary: str = "what the matched parts contribute to the similarity"
    limitation: str = "it does not say what would happen if a part were hidden"
    heats: ClassVar[bool] = True

    def explain(self, pair: MethodInput) -> MethodResult:
        match = matched(pair, self.changes)
        changed = ", ".join(f"{key} {value}" for key, value in self.changes.items())
        accounts_for = f"similarity with {changed}" if changed else "similarity"
        return MethodResult(
            *heat(match), match.plan[0], scalar(match.similarity), accounts_for, match.contributions[0].detach()
        )


# Variants explain another number than the one that the model ranks by.
VARIANT = "it explains the similarity under this setting, which need not be the one that the model ranks by"


def structural_only() -> Structural:
    """The structural share alone; its plan is that of `structural`."""
    summary = "what the matched parts contribute, without the share of the images as a whole"
    return Structural("structural-only", {"weight": 1.0}, False, summary, VARIANT)


def structural_uniform() -> Structural:
    summary = "what the matched parts contribute, all parts weighing the same"
    return Structural("structural-uniform", {"marginals": "uniform"}, True, summary, VARIANT)


def structural_cross() -> Structural:
    summary = "what the matched parts contribute, weighted by cross-correlation"
    return Structural("structural-cross", {"marginals": "cross_correlation"}, True, summary, VARIANT)


def structural_partial() -> Structural:
    """Partial transport."""
    summary = "what the matched parts contribute, with half of their mass matched"
    return Structural("structural-partial", {"mass": 0.5}, True, summary, VARIANT)


@dataclass(frozen=True)
class Contributions:
    """The pairs of parts that `diml explain` lists, by contribution rather than by mass: a correspondence, no heat."""

    name: str = "contributions"
    summary: ClassVar[str] = "which pairs of parts contribute most to the similarity"
    limitation: ClassVar[str] = "it has no heat, and leaves out pairs that lower the similarity"
    heats: ClassVar[bool] = False
    corresponds: ClassVar[bool] = True

    def explain(self, pair: MethodInput) -> MethodResult:
        # A pair that lowers the similarity does not correspond.
        return MethodResult(correspondence=matched(pair).contributions[0].clamp(min=0))


def unmatched(pair: MethodInput) -> Match:
    """A match in float64 with an empty plan: local similarities and pooled shares, without solving a plan."""
    a, b = (maps.detach().to("cpu").to(torch.float64) for maps in (pair.maps_a, pair.maps_b))
    nothing = torch.zeros(1, dtype=torch.float64)
    plan = TransportPlan(nothing.new_zeros(1, a.parts, b.parts), nothing.long(), nothing, nothing.bool())
    return Match(a, b, plan, weight=0.0)


def matched(pair: MethodInput, changes: Mapping[str, object] | None = None) -> Match:
    """The match of the pair in float64, with some settings of the model's matcher replaced."""
    return pair.model.with_matcher(**(changes or {})).explain(pair.maps_a, pair.maps_b)
