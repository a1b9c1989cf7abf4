"""The similarity of two images, made of its pooled and its structural half, and the scores of many pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from jaxtyping import Bool, Float, Int
from torch import Tensor

Score = TypeVar("Score", float, Tensor)


def combine(pooled: Score, structural: Score | float, weight: float) -> Score:
    """`(1 - weight) pooled + weight structural`, the similarity.

    Args:
        pooled, structural: numbers, or tensors of one shape, -1..1.
        weight: share of the structural similarity, 0..1.

    >>> combine(0.5, 1.0, weight=0.25)
    0.625
    """
    return (1 - weight) * pooled + weight * structural


@dataclass(frozen=True)
class PairScores:
    """Scores of p pairs of images, each (p,).

    Attributes:
        similarity: `combine` of the next two, -1..1.
        structural: `sum_ij T_ij S_ij`, -1..1.
        pooled: cosine of the pooled vectors, -1..1.
        converged: whether the plan met its marginals within the tolerance; if not, the similarity can be above that of
            any plan with these marginals, or below that of the solution.
        iterations: how many iterations the plan took.
    """

    similarity: Float[Tensor, " p"]
    structural: Float[Tensor, " p"]
    pooled: Float[Tensor, " p"]
    converged: Bool[Tensor, " p"]
    iterations: Int[Tensor, " p"]
