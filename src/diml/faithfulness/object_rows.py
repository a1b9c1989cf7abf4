"""The rows of a report on heat on the object, and on interactions, from what was recorded for each pair."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from diml.explanation.methods.method import MethodResult
from diml.faithfulness.embedded_pairs import EmbeddedPair
from diml.faithfulness.interactions import Reference
from diml.faithfulness.intervals import Estimate, estimate
from diml.faithfulness.object_heat import ObjectHeat, even_heats, object_heat
from diml.faithfulness.stability import rank_correlation

Results = Mapping[str, Sequence[MethodResult]]

# A heat that is the same everywhere, measured beside the methods.
EVEN = "even"


@dataclass(frozen=True)
class Compared:
    """A mean over the pairs, and how it compares with other methods.

    Attributes:
        mean: of this method.
        gain: for each method of the report's `against`, this method's value minus that method's, pair by pair.
    """

    mean: Estimate
    gain: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """`mean, low, high, gain`, with None for NaN."""
        return {**self.mean.to_dict(), "gain": {name: each.to_dict() for name, each in self.gain.items()}}


@dataclass(frozen=True)
class ObjectScores:
    """Where the heat of one method lies in the measured images; `ObjectHeat` says what is counted.

    Attributes:
        method: its name, or `EVEN`.
        share, right, pointed, covered: over the pairs.
        by_kind: `share` for each kind of pair.
    """

    method: str
    share: Compared
    right: Compared
    pointed: Compared
    covered: Compared
    by_kind: Mapping[str, float]


@dataclass(frozen=True)
class InteractionScores:
    """How well one method agrees with interactions that were found by hiding cells, see `reference_interactions`.

    Attributes:
        method: its name.
        fill: what replaced the hidden cells.
        pearson, spearman: correlation of its contributions of all pairs of cells with the interactions, -1..1, the mean
            over the pairs of images. NaN for a method that gives none.
        cells: correlation (Pearson's) of its heat of the measured image with the values of the cells; NaN without heat.
    """

    method: str
    fill: str
    pearson: Compared
    spearman: Compared
    cells: Compared


@dataclass(frozen=True)
class InteractionReliability:
    """How well the interactions that were found by hiding cells agree with themselves.

    Attributes:
        fill: what replaced the hidden cells.
        subsets: number of the copies of each image.
        pearson, spearman, cells: correlation of what one half of the copies gives with what the other half gives.
        best: by the names above, the correlation that a method would reach that knew the true interactions: the root
            of the reliability `2 r / (1 + r)` of all copies (Spearman, Brown 1910), 0 where that is negative.
    """

    fill: str
    subsets: int
    pearson: Estimate
    spearman: Estimate
    cells: Estimate
    best: Mapping[str, float]


def object_scores(
    results: Results, pairs: Sequence[EmbeddedPair], against: Sequence[str], seed: int
) -> list[ObjectScores]:
    """A row for each method with a heat and for `EVEN`, from the pairs with masks."""
    masked = [(at, each.masks) for at, each in enumerate(pairs) if each.masks is not None]
    if not masked:
        return []
    found: dict[str, list[ObjectHeat]] = {}
    for name, of_method in results.items():
        heats = [pairs[at].measured_heat(of_method[at]) for at, _ in masked]
        scored = [object_heat(heat, masks) for heat, (_, masks) in zip(heats, masked, strict=True) if heat is not None]
        if len(scored) == len(masked):
            found[name] = scored
    even = even_heats([masks for _, masks in masked])
    found[EVEN] = [object_heat(heat, masks) for heat, (_, masks) in zip(even, masked, strict=True)]
    groups = [pairs[at].pair.group for at, _ in masked]
    kinds = [pairs[at].pair.kind for at, _ in masked]

    def row(name: str) -> ObjectScores:
        def of(get: Callable[[ObjectHeat], float]) -> Compared:
            return compared({key: [get(each) for each in values] for key, values in found.items()}, name, groups)

        return ObjectScores(
            name,
            share=of(lambda each: each.share),
            right=of(lambda each: each.right),
            pointed=of(lambda each: each.pointed),
            covered=of(lambda each: each.covered),
            by_kind=_by_kind([each.share for each in found[name]], kinds),
        )

    compared = _Comparison(against, seed)
    return [row(name) for name in found]


def interaction_scores(
    results: Results,
    references: Sequence[Reference],
    pairs: Sequence[EmbeddedPair],
    fill: str,
    against: Sequence[str],
    seed: int,
) -> list[InteractionScores]:
    """A row for each method with contributions of pairs of cells, or a heat of the measured image."""
    groups = [each.pair.group for each in pairs]
    found: dict[str, list[tuple[float, float, float]]] = {}
    for name, of_method in results.items():
        agreement = [_agreement(*each) for each in zip(of_method, references, pairs, strict=True)]
        if not all(math.isnan(value) for each in agreement for value in each):
            found[name] = agreement
    compared = _Comparison(against, seed)

    def of(k: int, name: str) -> Compared:
        return compared({key: [each[k] for each in values] for key, values in found.items()}, name, groups)

    return [InteractionScores(name, fill, of(0, name), of(1, name), of(2, name)) for name in found]


def interaction_reliability(
    references: Sequence[Reference], pairs: Sequence[EmbeddedPair], fill: str, subsets: int, seed: int
) -> InteractionReliability:
    """The agreement of the halves, from the reference of each pair."""
    groups = [each.pair.group for each in pairs]
    halves = [each.halves for each in references]
    cells = [
        [half.cells_a if each.pair.measured == "a" else half.cells_b for half in both]
        for both, each in zip(halves, pairs, strict=True)
    ]
    pearson = estimate([correlation(a.pairs, b.pairs) for a, b in halves], groups, seed)
    spearman = estimate([rank_correlation(a.pairs.flatten(), b.pairs.flatten()) for a, b in halves], groups, seed)
    values = estimate([correlation(a, b) for a, b in cells], groups, seed)
    means = {"pearson": pearson.mean, "spearman": spearman.mean, "cells": values.mean}
    best = {name: math.sqrt(max(2 * r / (1 + r), 0.0)) for name, r in means.items()}
    return InteractionReliability(fill, subsets, pearson, spearman, values, best)


def _agreement(result: MethodResult, reference: Reference, pair: EmbeddedPair) -> tuple[float, float, float]:
    """Pearson's and Spearman's correlation of pairs of cells, and Pearson's of cells; NaN for what is not given."""
    pearson = spearman = cells = float("nan")
    whole = reference.whole
    if result.contributions is not None:
        given = result.contributions.double()
        pearson, spearman = correlation(given, whole.pairs), rank_correlation(given.flatten(), whole.pairs.flatten())
    heat = pair.measured_heat(result)
    if heat is not None:
        cells = correlation(heat, whole.cells_a if pair.pair.measured == "a" else whole.cells_b)
    return pearson, spearman, cells


def correlation(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> float:
    """Pearson's correlation of all values, -1..1; NaN if one of the two is constant.

    >>> import torch
    >>> round(correlation(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 5.0, 9.0])), 9)
    1.0
    """
    centred = [each.double().flatten() - each.double().mean() for each in (a, b)]
    scale = float((centred[0].square().sum() * centred[1].square().sum()).sqrt())
    return float((centred[0] * centred[1]).sum()) / scale if scale > 0 else float("nan")


@dataclass(frozen=True)
class _Comparison:
    """Compares the values of methods, pair by pair, with those of some of them."""

    against: Sequence[str]
    seed: int

    def __call__(self, values: Mapping[str, Sequence[float]], name: str, groups: Sequence[str]) -> Compared:
        """Args: by method, a value for each pair; a method; the group of each pair."""
        own = values[name]
        gains = {
            other: estimate([a - b for a, b in zip(own, values[other], strict=True)], groups, self.seed)
            for other in self.against
            if other in values
        }
        return Compared(estimate(own, groups, self.seed), gains)


def _by_kind(values: Sequence[float], kinds: Sequence[str]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for value, kind in zip(values, kinds, strict=True):
        found.setdefault(kind, []).append(value)
    return {kind: statistics.fmean(of_kind) for kind, of_kind in found.items()}
