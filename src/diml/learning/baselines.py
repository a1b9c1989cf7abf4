"""An objective by the name of its loss, with its options checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diml.errors import UsageError
from diml.learning.catalogue import LOSSES, Asked, Numbers
from diml.learning.distances import StructuralDistance, StructuralSimilarity
from diml.learning.library_objective import Adjusted, LibraryObjective
from diml.learning.objectives import Objective
from diml.matching import Matcher
from diml.matching.defaults import EPS, WEIGHT

SIMILARITIES = ("structural", "pooled")
# Options that divide, count or multiply a whole loss.
ABOVE_ZERO = {"temperature", "gamma", "la", "alpha", "scale", "softmax_scale", "bins", "centers_per_class"}

__all__ = ["LOSSES", "SIMILARITIES", "build_objective"]


def build_objective(
    name: str,
    *,
    similarity: str,
    classes: int,
    dim: int,
    grid: tuple[int, int],
    marginals: str = "cross_correlation",
    weight: float = WEIGHT,
    eps: float = EPS,
    options: Mapping[str, float | str] | None = None,
) -> Objective:
    """The objective of that name.

    Args:
        name: one of `LOSSES`.
        similarity: "structural", matched feature maps; or "pooled", their pooled vectors alone.
        classes: how many there are to train on; labels count from 0.
        dim: d, numbers per part.
        grid: rows and columns of the maps.
        marginals, weight, eps: of the structural matching, see `Matcher`.
        options: numbers of the loss that are not to be its defaults.

    Raises:
        UsageError: an unknown name, similarity or option, a number that cannot be, or structural matching with a loss
            that insists on a distance of its own.

    >>> objective = build_objective("triplet-random", similarity="structural", classes=4, dim=8, grid=(2, 2))
    >>> objective.describe()
    'triplet-random (margin 0.2) on the structural distance (cross_correlation marginals, weight 0.5, eps 0.05)'
    """
    if name not in LOSSES:
        raise UsageError(f"loss {name!r} came; expected one of {', '.join(LOSSES)}")
    if similarity not in SIMILARITIES:
        raise UsageError(f"similarity {similarity!r} came; expected structural or pooled")
    loss = LOSSES[name]
    if similarity == "structural" and not loss.structural:
        others = ", ".join(other for other, able in LOSSES.items() if able.structural)
        raise UsageError(
            f"loss {name} insists on a distance of its own and cannot take structural matching; "
            f"use it with similarity pooled, or one of {others}"
        )
    if min(classes, dim, *grid) < 1:
        raise UsageError(f"classes {classes}, dim {dim}, grid {grid} came; expected numbers of at least 1")
    structural = similarity == "structural"
    matcher = Matcher(marginals, float(weight) if structural else 0.0, float(eps))
    asked = Asked(structural, classes, dim, grid, matcher, _numbers(name, loss.options, options or {}))
    built = loss.build(asked)
    if isinstance(built, Objective):
        return built
    tuples = loss.tuples(asked, built) if loss.tuples else None
    return LibraryObjective(built, _description(name, asked, built), tuples)


def _numbers(name: str, defaults: Numbers, options: Mapping[str, float | str]) -> Numbers:
    numbers = dict(defaults)
    for key, value in options.items():
        if key not in defaults:
            raise UsageError(f"option {key!r} came for loss {name}; expected {', '.join(defaults) or 'none'}")
        numbers[key] = _number(f"option {key} of loss {name}", value, type(defaults[key]), key in ABOVE_ZERO)
    return numbers


def _number(what: str, value: float | str, kind: type, above_zero: bool) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    whole = kind is not int or number.is_integer()
    if not math.isfinite(number) or not whole or (above_zero and number <= 0):
        expected = "a whole number" if kind is int else "a number"
        raise UsageError(f"{what} came as {value!r}; expected {expected}{' above 0' if above_zero else ''}")
    found: float = kind(number)
    return found


def _description(name: str, asked: Asked, built: Any) -> str:
    numbers = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in asked.numbers.items())
    distance = built.distance.distance if isinstance(built.distance, Adjusted) else built.distance
    if isinstance(distance, StructuralSimilarity | StructuralDistance):
        what = distance.comparison.what
    else:
        what = "pooled vectors"
    return f"{name} ({numbers}) on the {what}"
