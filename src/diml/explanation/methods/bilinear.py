"""The decomposition of the pooled cosine: without matching, every pair of cells contributes its dot product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from diml.explanation.methods.method import MethodInput, MethodResult
from diml.explanation.methods.structural import unmatched
from diml.explanation.numbers import heat, scalar


@dataclass(frozen=True)
class Bilinear:
    """`alpha_i beta_j (a_i . b_j) / (|pooled_a| |pooled_b|)` for each pair of cells, summing to the pooled similarity.

    The weights of the parts, alpha and beta, are `1 / r` for a model without weights.

    The activation decomposition of Zhu, Yang and Chen (*Visual Explanation for Deep Metric Learning*, arXiv
    1909.12977): the heat of a cell is the sum of its row, its correspondence the row itself. It accounts for the pooled
    similarity only.
    """

    name: str = "bilinear"
    summary: ClassVar[str] = "the pooled similarity, split into the products of all pairs of cells"
    limitation: ClassVar[str] = "it says nothing about the matched parts"
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = True

    def explain(self, pair: MethodInput) -> MethodResult:
        # At weight 0 a contribution is the pooled share alone, whatever the plan.
        match = unmatched(pair)
        shares = match.contributions[0]
        return MethodResult(*heat(match), shares.clamp(min=0), scalar(match.pooled), "pooled similarity", shares)
