"""How certain a mean over pairs is: percentile bootstrap over independent groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean and its confidence interval by the bootstrap, 95 % unless another level was asked for."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """`mean, low, high`, with None for NaN, which JSON does not have."""
        return {key: None if np.isnan(value) else value for key, value in asdict(self).items()}


def estimate(
    values: Sequence[float] | NDArray[np.float64], groups: Sequence[str], seed: int = 0, level: float = 0.95
) -> Estimate:
    """The mean of n values and its percentile bootstrap interval (Efron 1979), whole groups drawn with replacement.

    Values of one group, such as warps of one photograph, are not independent; drawing them together keeps the interval
    from being too narrow. NaN values are left out. The mean of no values and the bounds of a single group are NaN.

    Args:
        values: one for each pair; for a paired comparison the differences.
        groups: n names.
        level: of confidence, 0..1.
        seed: of the resampling.

    >>> estimate([0.25] * 4, ["a", "a", "b", "c"])
    Estimate(mean=0.25, low=0.25, high=0.25)
    """
    known = np.asarray(values, dtype=np.float64)
    at = ~np.isnan(known)
    if not at.any():
        return Estimate(float("nan"), float("nan"), float("nan"))
    names, which = np.unique(np.asarray(groups)[at], return_inverse=True)
    sums, counts = np.bincount(which, known[at]), np.bincount(which)
    mean = float(known[at].mean())
    if len(names) < 2:
        return Estimate(mean, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(mean, float(low), float(high))
