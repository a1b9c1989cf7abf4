"""Structural matching as an explanation: what `Match` says of a pair, with the model's own settings or others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from PIL import Image

from diml.explanation.methods.method import MethodResult, one_each
from diml.explanation.numbers import heat, scalar
from diml.feature_maps import FeatureMaps
from diml.matching import Match, TransportPlan
from diml.model import StructuralModel


@dataclass(frozen=True)
class Structural:
    """The contributions of the matched parts, per cell; correspondence is the transport plan (Zhao et al. 2021).

    Args:
        name: of this variant.
        changes: settings of the model's matcher that are changed, such as `{"weight": 1.0}`.
        corresponds: whether its plan is one of its own; a change of the weight alone leaves the plan as it is.

    With changes the account is of the similarity under these settings, which is not the one that the model ranks by.
    """

    name: str = "structural"
    changes: Mapping[str, object] = field(default_factory=dict)
    corresponds: bool = True
    heats: ClassVar[bool] = True

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        match = matched(model, maps_a, maps_b, self.changes)
        words = ", ".join(f"{key} {value}" for key, value in self.changes.items())
        return MethodResult(
            *heat(match), match.plan[0], scalar(match.similarity), f"similarity with {words}" if words else "similarity"
        )


@dataclass(frozen=True)
class Contributions:
    """The pairs of parts that `diml explain` lists, by contribution and not by mass: a correspondence, no heat."""

    name: str = "contributions"
    heats: ClassVar[bool] = False
    corresponds: ClassVar[bool] = True

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        # What speaks against the similarity is no correspondence.
        return MethodResult(correspondence=matched(model, maps_a, maps_b).contributions[0].clamp(min=0))


def unmatched(maps_a: FeatureMaps, maps_b: FeatureMaps) -> Match:
    """A match of one pair in float64 with an empty plan: local similarities and pooled shares, and no iterations."""
    one_each(maps_a, maps_b)
    a, b = (maps.detach().to("cpu").to(torch.float64) for maps in (maps_a, maps_b))
    nothing = torch.zeros(1, dtype=torch.float64)
    plan = TransportPlan(nothing.new_zeros(1, a.parts, b.parts), nothing.long(), nothing, nothing.bool())
    return Match(a, b, plan, weight=0.0)


def matched(
    model: StructuralModel, maps_a: FeatureMaps, maps_b: FeatureMaps, changes: Mapping[str, object] | None = None
) -> Match:
    """The match of one pair in float64, with some settings of the matcher changed."""
    one_each(maps_a, maps_b)
    return model.with_matcher(**(changes or {})).explain(maps_a, maps_b)
