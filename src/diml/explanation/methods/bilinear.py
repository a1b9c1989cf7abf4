"""The decomposition of the pooled cosine: no matching, every pair of cells brings its dot product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from diml.explanation.methods.method import MethodResult
from diml.explanation.methods.structural import unmatched
from diml.explanation.numbers import heat, scalar
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True)
class Bilinear:
    """`(a_i . b_j) / (r_a r_b |pooled_a| |pooled_b|)` for each pair of cells, summing to the pooled similarity.

    The activation decomposition of Zhu, Yang and Chen (*Visual Explanation for Deep Metric Learning*, arXiv
    1909.12977): a cell's heat is its row's sum, the correspondence its row. It accounts for the pooled similarity only.
    """

    name: str = "bilinear"
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = True

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        # At weight 0 a contribution is the pooled share and nothing else, whatever the plan.
        match = unmatched(maps_a, maps_b)
        return MethodResult(
            *heat(match), match.contributions[0].clamp(min=0), scalar(match.pooled), "pooled similarity"
        )
