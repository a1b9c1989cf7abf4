"""Nearest patches: every part goes to the part of the other image that is most like it, whatever the others do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from PIL import Image

from diml.explanation.methods.method import MethodResult
from diml.explanation.methods.structural import unmatched
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True)
class NearestPatch:
    """Max-sim: part i of a corresponds with `argmax_j S_ij`; a cell's heat is `max_j S_ij / r_a`.

    The patch correspondences of Taesiri, Nguyen and Nguyen (*Visual correspondence-based explanations improve AI
    robustness and human-AI team accuracy*, NeurIPS 2022) without a limit on how often a part may be chosen. The heat of
    a sums to the mean best local similarity of its parts, and the one of b to that of its own.
    """

    name: str = "nearest"
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
        local = unmatched(maps_a, maps_b).local_similarity[0]
        best, at = local.max(dim=1)
        heat_a = (best / maps_a.parts).reshape(maps_a.grid)
        heat_b = (local.amax(dim=0) / maps_b.parts).reshape(maps_b.grid)
        chosen = F.one_hot(at, maps_b.parts).to(local) / maps_a.parts
        return MethodResult(heat_a, heat_b, chosen, float(best.mean()), "mean best local similarity")
