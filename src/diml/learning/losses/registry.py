"""Losses by name. To add one, write a file with its `LossSpec` beside this one and add a line to `LOSSES`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from diml.errors import UsageError
from diml.learning.losses import library_losses, margin, multi_similarity, quadruplet
from diml.learning.losses.library_objective import LibraryObjective
from diml.learning.losses.objective import LossContext, LossSpec, Objective, Options
from diml.matching import Matcher
from diml.matching.defaults import EPS, WEIGHT

LOSSES: Mapping[str, LossSpec] = {
    "angular": library_losses.ANGULAR,
    "arcface": library_losses.ARCFACE,
    "circle": library_losses.CIRCLE,
    "contrastive": library_losses.CONTRASTIVE,
    "histogram": library_losses.HISTOGRAM,
    "lifted": library_losses.LIFTED,
    "margin": margin.MARGIN,
    "multisimilarity": multi_similarity.MULTI_SIMILARITY,
    "npair": library_losses.NPAIR,
    "proxy-anchor": library_losses.PROXY_ANCHOR,
    "proxynca": library_losses.PROXY_NCA,
    "quadruplet": quadruplet.QUADRUPLET,
    "snr": library_losses.SNR,
    "softmax": library_losses.SOFTMAX,
    "softtriple": library_losses.SOFTTRIPLE,
    "supcon": library_losses.SUPCON,
    "triplet-random": library_losses.TRIPLET_RANDOM,
    "triplet-semihard": library_losses.TRIPLET_SEMIHARD,
    "triplet-softhard": library_losses.TRIPLET_SOFTHARD,
    "triplet-distance": library_losses.TRIPLET_DISTANCE,
}

SIMILARITIES = ("structural", "pooled")
# Options that must be above 0: they divide, count or multiply a whole loss.
ABOVE_ZERO = {"temperature", "gamma", "la", "alpha", "scale", "softmax_scale", "bins", "centers_per_class"}


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
    weighted: bool = False,
) -> Objective:
    """Build a registered loss.

    Args:
        name: a key of `LOSSES`.
        similarity: "structural" to compare matched feature maps, "pooled" to compare their pooled vectors only.
        classes: number of training classes; labels are 0 .. classes - 1.
        dim: d, length of a part's vector.
        grid: rows and columns of the maps.
        marginals, weight, eps: settings of the structural matching, see `Matcher`.
        options: values of the loss's options that differ from their defaults.
        weighted: whether the maps carry weights of their parts.

    Raises:
        UsageError: an unknown name, similarity or option, a value out of its range, or structural matching with a loss
            that requires its own distance.

    >>> objective = build_objective("triplet-random", similarity="structural", classes=4, dim=8, grid=(2, 2))
    >>> objective.describe()
    'triplet-random (margin 0.2) on the structural distance (cross_correlation marginals, weight 0.5, eps 0.05)'
    """
    if name not in LOSSES:
        raise UsageError(f"expected a loss out of {', '.join(LOSSES)}, got {name!r}")
    if similarity not in SIMILARITIES:
        raise UsageError(f"expected similarity structural or pooled, got {similarity!r}")
    spec = LOSSES[name]
    if similarity == "structural" and not spec.structural:
        others = ", ".join(other for other, able in LOSSES.items() if able.structural)
        raise UsageError(
            f"loss {name} requires its own distance and cannot use structural matching; "
            f"use it with similarity pooled, or use one of {others}"
        )
    if min(classes, dim, *grid) < 1:
        raise UsageError(f"expected classes, dim and grid of at least 1, got {classes}, {dim} and {grid}")
    structural = similarity == "structural"
    matcher = Matcher(marginals, float(weight) if structural else 0.0, float(eps))
    numbers = _options(name, spec.options, options or {})
    context = LossContext(structural, classes, dim, grid, matcher, numbers, weighted)
    built = spec.build(context)
    if isinstance(built, Objective):
        return built
    tuples = spec.tuples(context, built) if spec.tuples else None
    objective = LibraryObjective(built, tuples=tuples)
    objective.description = _description(name, context, objective.compared)
    return objective


def _options(name: str, defaults: Options, given: Mapping[str, float | str]) -> Options:
    options = dict(defaults)
    for key, value in given.items():
        if key not in defaults:
            raise UsageError(f"expected an option of loss {name} ({', '.join(defaults) or 'it has none'}), got {key!r}")
        options[key] = _number(f"option {key} of loss {name}", value, type(defaults[key]), key in ABOVE_ZERO)
    return options


def _number(what: str, value: float | str, kind: type, above_zero: bool) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    whole = kind is not int or number.is_integer()
    if not math.isfinite(number) or not whole or (above_zero and number <= 0):
        expected = "a whole number" if kind is int else "a number"
        raise UsageError(f"{what}: expected {expected}{' above 0' if above_zero else ''}, got {value!r}")
    found: float = kind(number)
    return found


def _description(name: str, context: LossContext, compared: str) -> str:
    options = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in context.options.items())
    return f"{name} ({options}) on the {compared}"
